"""The recipient map of two branches as one: every host, user, group and rule by itself.

Both sides' texts are merged table by table, so that every byte and comment of either
side is kept; then the result is read again and compared with what the merge of the
parsed maps means.  A removal on one side wins over a change on the other.  Pure.
"""

import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from nixsecrets.errors import MapError
from nixsecrets.frozen import NamedTuple
from nixsecrets.map import tomledit
from nixsecrets.map.draft import DraftText, name_lists
from nixsecrets.map.edit import add_group, rename
from nixsecrets.map.load import load
from nixsecrets.map.names import MAP_NAME
from nixsecrets.map.tomlspans import Header, Path, ScanError, scan
from nixsecrets.merge import three
from nixsecrets.splice import line_at

Entity = tuple[str, ...]
"""What the map is made of: `("hosts", "brunnen", "keys")`, `("groups", "servers")`."""

_TABLES = ("users", "hosts", "secrets")
_MISSING = object()
_MOST_CORRECTIONS = 1000


class Clash(NamedTuple):
    """An entity that both sides changed, each in its own way; lines count from 1."""

    entity: Entity
    ours: int
    theirs: int

    @property
    def name(self) -> str:
        """How a person names it: `hosts.brunnen.keys`."""
        return ".".join(self.entity)


class Merged(NamedTuple):
    """The map of both sides.

    `text` is empty where there are clashes.  `removed` are the entities that one side
    removed although the other had changed them, `met` all that both changed, also those
    that were chosen.
    """

    text: str
    clashes: tuple[Clash, ...] = ()
    removed: tuple[Entity, ...] = ()
    met: tuple[str, ...] = ()


def merged(
    base: str,
    ours: str,
    theirs: str,
    choices: Mapping[str, str] | None = None,
) -> Merged:
    """Return the map with the changes of both sides.

    The texts are maps that `map.load` accepts; `base` may be "" (each side began one).
    `choices` settle clashes: "ours" or "theirs" by the entity's name.

    Raises:
        MapError: each side can be read, but together they make no valid map.
    """
    base, ours, theirs = _renamed(base, ours, theirs)
    meaning = _Meaning(choices or {})
    sides = [_by_name(tomllib.loads(text)) for text in (base, ours, theirs)]
    wanted = meaning.of((), *sides)
    if meaning.clashes:
        places = [_Places(text) for text in (ours, theirs)]
        found = (Clash(e, *(p.line(e) for p in places)) for e in meaning.clashes)
        return Merged("", tuple(found), met=tuple(meaning.met))
    _drop_names(wanted, *sides)
    order = three.order(*(list(side.get("secrets", {})) for side in sides))
    text = _corrected(_text(base, ours, theirs, wanted), wanted)
    rules = [name for name in order if name in wanted.get("secrets", {})]
    if rules != list(_by_name(tomllib.loads(text)).get("secrets", {})):
        _refuse()
    load(text)
    return Merged(text, (), tuple(meaning.removed), tuple(meaning.met))


def _refuse() -> NoReturn:
    raise MapError(
        MAP_NAME,
        0,
        "both sides changed lines of the map that cannot be put together safely",
        f"write {MAP_NAME} as it shall be, then: nixsecrets resolve --keep-map",
    )


def _renamed(base: str, ours: str, theirs: str) -> tuple[str, str, str]:
    """Return the texts with the names that one side gave, so that they correspond."""
    for old, new in _renames(base, ours):
        base, theirs = _rename(base, old, new), _rename(theirs, old, new)
    for old, new in _renames(base, theirs):
        base, ours = _rename(base, old, new), _rename(ours, old, new)
    return base, ours, theirs


def _renames(base: str, side: str) -> list[tuple[str, str]]:
    """Return the hosts and users that have another name in a side, by their keys."""
    before, after = (tomllib.loads(text) for text in (base, side))
    found: list[tuple[str, str]] = []
    for table in ("users", "hosts"):
        had, has = before.get(table, {}), after.get(table, {})
        fresh = {repr(one.get("keys")): n for n, one in has.items() if n not in had}
        keys = {name: repr(one.get("keys")) for name, one in had.items()}
        found += [
            (name, fresh[key])
            for name, key in keys.items()
            if name not in has and key in fresh
        ]
    return found


def _rename(text: str, old: str, new: str) -> str:
    try:
        return rename(text, old, new)
    except MapError:  # it has no such name, or the new one already
        return text


def _drop_names(wanted: dict[str, Any], *sides: dict[str, Any]) -> None:
    """Take the names that one side removed out of every list, and keep empty groups."""
    had, has = set[str](), set[str]()
    for table in ("users", "hosts", "groups"):
        has |= set(wanted.get(table, {}))
        for side in sides:
            had |= set(side.get(table, {}))
    groups = {
        group
        for side in (*sides, wanted)
        for table in ("users", "hosts")
        for owner in side.get(table, {}).values()
        for group in owner.get("groups", ())
    }
    gone = had - has - groups
    joined, mentioned = set[str](), set[str]()
    for path, names in _name_lists(wanted):
        names[:] = [name for name in names if name not in gone]
        (joined if path[0] in ("users", "hosts") else mentioned).update(names)
    for group in sorted((mentioned & groups) - joined - has):
        wanted.setdefault("groups", {})[group] = []


def _name_lists(wanted: dict[str, Any]) -> Iterator[tuple[Path, list[str]]]:
    rules = [*wanted.get("secrets", {}).values()]
    return name_lists({**wanted, "secrets": rules})


# --- what the merge means -----------------------------------------------------------


class _Meaning:
    """The merge of parsed maps, with what it met on the way."""

    def __init__(self, choices: Mapping[str, str]) -> None:
        self.choices = choices
        self.clashes: list[Entity] = []
        self.removed: list[Entity] = []
        self.met: list[str] = []

    def of(self, at: Entity, base: Any, ours: Any, theirs: Any) -> Any:
        """Return what a value becomes; `_MISSING` for none."""
        if ours == theirs or theirs == base:
            return ours
        if ours == base:
            return theirs
        if _MISSING in (ours, theirs):
            return self._gone(at, ours, theirs)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            return self._table(at, base if isinstance(base, dict) else {}, ours, theirs)
        if all(isinstance(side, list) for side in (ours, theirs)):
            return self._list(at, base if isinstance(base, list) else [], ours, theirs)
        return self._clash(at, ours, theirs)

    def _gone(self, at: Entity, ours: Any, theirs: Any) -> Any:
        """Return what becomes of something that one side removed and one changed."""
        if len(at) == 2 and at[0] in (*_TABLES, "groups"):
            self.removed.append(at)
            return _MISSING
        return self._clash(at, ours, theirs)

    def _table(self, at: Entity, *sides: dict[str, Any]) -> dict[str, Any]:
        every = dict.fromkeys(key for side in sides[1:] for key in side)
        found = {
            key: self.of((*at, key), *(side.get(key, _MISSING) for side in sides))
            for key in every
        }
        return {key: value for key, value in found.items() if value is not _MISSING}

    def _list(self, at: Entity, base: Any, ours: Any, theirs: Any) -> Any:
        names = three.names(base, ours, theirs)
        lost = [set(base) - set(side) for side in (ours, theirs)]
        gained = [set(side) - set(base) for side in (ours, theirs)]
        replaced = all(gained) and gained[0] != gained[1] and (all(lost) or not base)
        if at[-1] == "keys" and (replaced or not names):
            return self._clash(at, ours, theirs)
        return list(names)

    def _clash(self, at: Entity, ours: Any, theirs: Any) -> Any:
        self.met.append(".".join(at))
        chosen = self.choices.get(".".join(at))
        if chosen is None:
            self.clashes.append(at)
        return theirs if chosen == "theirs" else ours


def _by_name(data: dict[str, Any]) -> dict[str, Any]:
    """Return a parsed map with its rules and retired keys by what they are about."""
    found = dict(data)
    for section, fields in (("secrets", ("path", "path_regex")), ("retired", ())):
        entries: dict[str, Any] = {}
        for entry in data.get(section, []):
            named = [str(entry[f]) for f in fields if f in entry]
            name = named[0] if named else repr(sorted(entry.items()))
            while name in entries:
                name += "'"
            entries[name] = entry
        if entries:
            found[section] = entries
    return found


# --- its text -----------------------------------------------------------------------


class _Places:
    """Where the entities of a text stand: its blocks, and its lines."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.document = scan(text)
        self.data = tomllib.loads(text)
        self.named = _by_name(self.data)
        self.starts = self.document.starts()

    def path(self, entity: Entity) -> Path:
        """Return the path of an entity in the parsed text."""
        if entity[0] not in self.data or not isinstance(self.data[entity[0]], list):
            return entity
        names = list(self.named[entity[0]])
        if len(entity) < 2 or entity[1] not in names:
            return entity
        return (entity[0], names.index(entity[1]), *entity[2:])

    def entity(self, path: Path) -> Entity:
        """Return the entity that stands at a path."""
        if len(path) > 1 and isinstance(path[1], int):
            name = list(self.named[str(path[0])])[path[1]]
            return (str(path[0]), name, *map(str, path[2:]))
        return tuple(map(str, path))

    def line(self, entity: Entity) -> int:
        """Return the line of an entity, or of the nearest thing around it."""
        path = self.path(entity)
        for length in range(len(path), 0, -1):
            if path[:length] in self.starts:
                return line_at(self.text, self.starts[path[:length]])
        return 1

    def blocks(self) -> dict[Entity, str]:
        """Return the text of each table, with the comments and the gap above it."""
        found: dict[Entity, str] = {}
        key: Entity = ()
        at = end = 0
        for statement in self.document.statements:
            if isinstance(statement, Header):
                start = max(end, at)
                if start or key:
                    found[key] = self.text[at:start]
                at, key = start, self.entity(statement.path)
                while key in found:  # a table in several pieces
                    key = (*key, "")
            end = tomledit.block_end(self.document, statement)
        found[key] = self.text[at:end]
        found[("",)] = self.text[end:]
        return {key: text for key, text in found.items() if text}


def _text(base: str, ours: str, theirs: str, wanted: Mapping[str, Any]) -> str:
    """Return the texts merged table by table; what it means is still to be checked."""
    sides = [_Places(text).blocks() for text in (base, ours, theirs)]
    pieces: list[str] = []
    for key in three.order(*map(list, sides)):
        if _gone(key, wanted):
            continue
        before, mine, other = (side.get(key) for side in sides)
        if mine is None or other is None:
            pieces.append(mine or other or "")
            continue
        pieces.append(three.texts(before or "", mine, other))
    return "".join(
        piece if piece.endswith("\n") or n + 1 == len(pieces) else piece + "\n"
        for n, piece in enumerate(pieces)
    )


def _gone(key: Entity, wanted: Mapping[str, Any]) -> bool:
    """Return whether a table is of something that the merge removes."""
    table = len(key) > 1 and key[0] in (*_TABLES, "retired")
    return table and key[1] not in wanted.get(key[0], {})


def _corrected(text: str, wanted: Mapping[str, Any]) -> str:
    """Return a text that means what is wanted; edits put right what words could not.

    Raises:
        MapError: it cannot be made so.
    """
    try:
        draft = DraftText(text)
        for _ in range(_MOST_CORRECTIONS):
            found = next(_differences((), _Places(draft.text).named, wanted), None)
            if found is None:
                return draft.text
            before = draft.text
            _correct(draft, *found)
            if draft.text == before:
                break
    except (tomllib.TOMLDecodeError, ScanError, KeyError, TypeError):
        pass
    _refuse()


def _correct(draft: DraftText, entity: Entity, value: Any) -> None:
    path = _Places(draft.text).path(entity)
    match value:
        case list() if path in draft.document.values():
            draft.set_strings(path, value)
        case list() if entity[0] == "groups" and not value:
            add_group(draft, entity[1])
        case list():
            draft.set_value(path[:-1], entity[-1], tomledit.toml_strings(value))
        case str():
            draft.set_value(path[:-1], entity[-1], tomledit.toml_string(value))
        case _ if value is _MISSING:
            draft.remove(path)
        case _:
            raise TypeError("only strings and lists of them are corrected")


def _differences(at: Entity, read: Any, wanted: Any) -> Iterator[tuple[Entity, Any]]:
    """Yield what a text says otherwise than wanted: an entity, and what it shall be.

    Sets of names are compared without their order; the order of rules is not looked at.
    """
    if isinstance(read, dict) and isinstance(wanted, Mapping):
        for key in dict.fromkeys((*read, *wanted)):
            have, want = read.get(key, _MISSING), wanted.get(key, _MISSING)
            if {} not in (have, want):
                yield from _differences((*at, key), have, want)
    elif isinstance(read, list) and isinstance(wanted, list):
        if sorted(map(repr, read)) != sorted(map(repr, wanted)):
            yield at, wanted
    elif read is not wanted and read != wanted:
        yield at, wanted

"""A map under edit: its text, and the value that the text must have in the end.

Both are changed independently and compared at the end, so that a mistake in either is
caught before anything is written.
"""

import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from nixsecrets.errors import MapError, quoted
from nixsecrets.map import tomledit
from nixsecrets.map.load import NAME, NAME_HINT, load
from nixsecrets.map.model import Host, User
from nixsecrets.map.names import MAP_NAME
from nixsecrets.map.source import did_you_mean, quotable
from nixsecrets.map.tomledit import Edit, toml_string
from nixsecrets.map.tomlspans import Array, Path, scan
from nixsecrets.splice import SpliceError, apply_edits, require_value

Data = dict[str, Any]
"""A parsed map, as tomllib gives it; `load` has checked its shape."""

_SECTIONS = ("", "users", "hosts", "groups", "sops", "agenix", "secrets", "retired")
"""The usual order of the tables in a map; "" stands for the keys above all tables."""


class DraftText:
    """The text of a map under edit; its methods change it and judge nothing."""

    def __init__(self, text: str) -> None:
        """Start from a TOML text.

        Raises:
            ScanError: it is none.
        """
        self.text = text
        self.document = scan(text)

    def apply(self, edits: Sequence[Edit]) -> None:
        """Apply `edits` to the text."""
        self.text = apply_edits(self.text, edits)
        self.document = scan(self.text)

    def set_strings(self, path: Path, wanted: Sequence[str]) -> None:
        """Change the list of strings at `path` to `wanted`.

        Strings that stay keep their place and comments (`wanted` must have them in the
        present order); new ones are appended.
        """
        present = self._strings(path)
        dropped = [text for text in present if text not in wanted]
        fresh = [toml_string(text) for text in wanted if text not in present]
        replaces_all = dropped == present
        if not replaces_all:
            self._drop_items(path, dropped, replaced=False)
        for item in fresh:
            self.apply(tomledit.append_item(self.document, self._array(path), item))
        if replaces_all:  # afterwards, so that the new strings take over the layout
            self._drop_items(path, dropped, replaced=True)

    def drop_name(self, name: str) -> None:
        """Remove `name` from every list of names."""
        while True:  # one occurrence per list and round: edits shift the others
            lists = [
                (p, names)
                for p, names in name_lists(tomllib.loads(self.text))
                if name in names
            ]
            if not lists:
                return
            edits: list[Edit] = []
            for path, names in lists:
                array = self._array(path)
                index = names.index(name)
                edits += tomledit.remove_item(self.document, array, index)
            self.apply(edits)

    def set_string(self, table: Path, key: str, value: str | None) -> None:
        """Set `key` of a table to the string `value`; None removes it."""
        if value is None:
            self.remove((*table, key))
        else:
            self.set_value(table, key, toml_string(value))

    def set_value(self, table: Path, key: str, value: str) -> None:
        """Set `key` of a table to `value`, which is TOML text."""
        self.apply(tomledit.set_key(self.document, table, key, value))

    def remove(self, path: Path) -> None:
        """Remove the key or table at `path`, all its pieces included."""
        while edits := tomledit.remove_path(self.document, path):
            self.apply(edits)

    def add_table(self, section: str, block: str) -> None:
        """Add a table's text `block` after the other tables of its section."""
        before = _SECTIONS[: _SECTIONS.index(section)]
        sections = (section, *reversed(before))
        self.apply(tomledit.insert_table(self.document, sections, block))

    def _strings(self, path: Path) -> list[str]:
        value: Any = tomllib.loads(self.text)
        for part in path:
            value = value[part]
        return list(value)

    def _array(self, path: Path) -> Array:
        value = self.document.values()[path]
        if not isinstance(value, Array):
            raise TypeError(f"no list at {path}")
        return value

    def _drop_items(self, path: Path, texts: Sequence[str], *, replaced: bool) -> None:
        for text in texts:
            index = self._strings(path).index(text)
            array = self._array(path)
            self.apply(
                tomledit.remove_item(
                    self.document, array, index, heads_no_others=replaced
                )
            )


class Draft(DraftText):
    """One edit of a map.

    The caller changes `intended`, the parsed map, to the value that the text must have
    afterwards; the methods change only the text.
    """

    def __init__(self, text: str) -> None:
        """Start from the text of a map; MapError if it is not a valid one."""
        self.map = load(text)
        self.intended: Data = tomllib.loads(text)
        super().__init__(text)

    def finished(self, what: str) -> str:
        """Return the new text after checking that it is valid and reads as intended.

        Raises:
            MapError: it is not; the reason starts with `what`.

        """
        try:
            require_value(self.text, reread=_parsed, intended=_normal(self.intended))
            load(self.text)
        except (SpliceError, tomllib.TOMLDecodeError):
            raise MapError(
                MAP_NAME,
                0,
                f"{what}: the map is written in an unusual way",
                "make this change by hand, in an editor",
            ) from None
        except MapError as error:
            # without the line, which is one of a text that is never written
            reason = f"{what}: {error.reason}"
            raise MapError(MAP_NAME, 0, reason, error.hint) from None
        return self.text

    def owner(self, name: str) -> Host | User:
        """Return the host or user called `name`; MapError if there is none."""
        owners = self._owners()
        if name not in owners:
            raise MapError(
                MAP_NAME,
                0,
                f"no host or user is called {quotable(name)}",
                did_you_mean(name, owners) or "see the names in the map",
            )
        return owners[name]

    def names(self) -> set[str]:
        """Return the names of all hosts, users and groups."""
        return set(self._owners()) | set(dict(self.map.groups))

    def require_free(self, name: str) -> None:
        """Raise MapError unless `name` can be the name of something new."""
        if not NAME.fullmatch(name):
            reason = f"{quotable(name)} cannot be a name"
            raise MapError(MAP_NAME, 0, reason, NAME_HINT)
        if name in self.names():
            raise MapError(
                MAP_NAME,
                0,
                f"{quoted(name)} is in the map already",
                "hosts, users and groups share one set of names; choose another",
            )

    def _owners(self) -> dict[str, Host | User]:
        owners: list[Host | User] = [*self.map.hosts, *self.map.users]
        return {owner.name: owner for owner in owners}


def name_lists(data: Data) -> Iterator[tuple[Path, list[str]]]:
    """Yield every list of names in a parsed map, with its path."""
    if "always" in data:
        yield ("always",), data["always"]
    for group, members in data.get("groups", {}).items():
        yield ("groups", group), members
    for kind in ("users", "hosts"):
        for name, owner in data.get(kind, {}).items():
            if "groups" in owner:
                yield (kind, name, "groups"), owner["groups"]
    for index, rule in enumerate(data.get("secrets", [])):
        for key in ("readers", "except"):
            if key in rule:
                yield ("secrets", index, key), rule[key]


def _parsed(text: str) -> Data:
    return _normal(tomllib.loads(text))


def _normal(data: Data) -> Data:
    """Return `data` without empty tables, which mean the same as absent ones."""
    empty_is_none = ("users", "hosts", "groups", "secrets", "retired")
    return {k: v for k, v in data.items() if v or k not in empty_is_none}

"""Checks across the parts of a map: names, groups, keys, readers.

`map.load` has already checked each part by itself.
"""

from collections.abc import Iterable, Iterator, Mapping

from nixsecrets.errors import quoted
from nixsecrets.keys.recipients import KeyId, Recipient
from nixsecrets.map.model import Host, RecipientMap, Rule, User
from nixsecrets.map.source import Source, Table, did_you_mean, quotable
from nixsecrets.map.tomlspans import Path

_PLACEHOLDERS = ("{host}", "{user}")
Groups = Mapping[str, tuple[str, ...]]


def check_consistency(recipient_map: RecipientMap, source: Source) -> None:
    """Raise MapError for the first contradiction in a map.

    Checked: one namespace, only known names, no cycle of groups, one name and one form
    for each key, at least one reader for each rule.
    """
    known = _namespace(recipient_map, source)
    groups = dict(recipient_map.groups)
    for path, name in _mentions(source.root()):
        _check_known(path, name, known, source)
    for name in groups:
        _check_acyclic(name, groups, source)
    _check_keys((*recipient_map.users, *recipient_map.hosts), source)
    if not _owners(recipient_map.always, groups):
        for rule in recipient_map.rules:
            _check_somebody_reads(rule, groups, source)


def _namespace(recipient_map: RecipientMap, source: Source) -> dict[str, Path]:
    """Return where each name is defined; MapError if one is defined twice."""
    places: list[tuple[str, Path]] = []
    places += [(user.name, _owner_path(user)) for user in recipient_map.users]
    places += [(host.name, _owner_path(host)) for host in recipient_map.hosts]
    places += list(_group_paths(source).items())
    defined: dict[str, Path] = {}
    for name, path in sorted(places, key=lambda place: source.line(place[1])):
        if name in defined:
            first = defined[name]
            raise source.error(
                path,
                f"{quoted(name)} is already {_what(first)} (line {source.line(first)})",
                "hosts, users and groups share one set of names; rename one of them",
            )
        defined[name] = path
    return defined


def _owner_path(owner: Host | User) -> Path:
    return ("hosts" if isinstance(owner, Host) else "users", owner.name)


def _group_paths(source: Source) -> dict[str, Path]:
    """Return where each group is defined: in [groups], else where first joined."""
    root = source.root()
    paths: dict[str, Path] = {}
    joins = (
        (path, group)
        for kind in ("users", "hosts")
        for owner in root.table(kind).data
        for path, group in _listed(root.table(kind).table(owner), "groups")
    )
    for path, group in sorted(joins, key=lambda join: source.line(join[0])):
        paths.setdefault(group, path)
    return paths | {name: ("groups", name) for name in root.table("groups").data}


def _what(path: Path) -> str:
    match path:
        case ("hosts", _):
            return "a host"
        case ("users", _):
            return "a user"
        case _:
            return "a group"


def _mentions(root: Table) -> Iterator[tuple[Path, str]]:
    """Yield every name that refers to a host, user or group, with its place."""
    yield from _listed(root, "always")
    groups = root.table("groups")
    for group in groups.data:
        yield from _listed(groups, group)
    for rule in root.tables("secrets"):
        yield from _listed(rule, "readers")
        yield from _listed(rule, "except")


def _listed(table: Table, key: str) -> Iterator[tuple[Path, str]]:
    for index, name in enumerate(table.strings(key)):
        yield (*table.at(key), index), name


def _check_known(path: Path, name: str, known: Iterable[str], source: Source) -> None:
    if name in known:
        return
    if name not in _PLACEHOLDERS:
        raise source.error(
            path,
            f"no host, user or group is called {quotable(name)}",
            did_you_mean(name, known)
            or "add the host or user first, or define the group in [groups]",
        )
    if path[0] != "secrets":
        raise source.error(
            path,
            f"{quoted(name)} is allowed only in a rule",
            "name hosts, users or groups here",
        )


def _check_acyclic(start: str, groups: Groups, source: Source) -> None:
    """Raise MapError if the group `start` contains itself."""
    seen: set[str] = set()
    waiting = list(groups[start])
    while waiting:
        name = waiting.pop()
        if name == start:
            raise source.error(
                _group_paths(source)[start],
                f"the group {quoted(start)} contains itself",
                "remove one of the groups in the cycle from the other",
            )
        if name not in seen:
            seen.add(name)
            waiting += groups.get(name, ())


def _check_keys(owners: Iterable[Host | User], source: Source) -> None:
    """Raise MapError if a key is in the map twice, in the same or the other form."""
    first: dict[KeyId, tuple[Host | User, Recipient]] = {}
    for owner in owners:
        for index, key in enumerate(owner.keys):
            if key.key_id in first:
                path = (*_owner_path(owner), "keys", index)
                message, hint = _same_key(owner, key, *first[key.key_id])
                raise source.error(path, message, hint)
            first[key.key_id] = (owner, key)


def _same_key(
    owner: Host | User, key: Recipient, other: Host | User, earlier: Recipient
) -> tuple[str, str]:
    if owner is not other:
        return (
            f"{quoted(owner.name)} has the same key as {quoted(other.name)}",
            "a key belongs to one name; put both roles into groups of that name",
        )
    if key.kind is earlier.kind:
        return f"{quoted(owner.name)} has this key twice", "remove one"
    return (
        f"{quoted(owner.name)} has both forms of one key",
        "keep the ssh-ed25519 line only; it is converted where age1… is needed",
    )


def _check_somebody_reads(rule: Rule, groups: Groups, source: Source) -> None:
    readers = _owners(rule.readers, groups) - _owners(rule.except_, groups)
    if not readers:
        raise source.error(
            ("secrets", rule.index, "readers"),
            f"nobody could read the files of the rule {quotable(rule.pattern)}",
            'name a reader, or somebody who reads every secret: always = ["…"]',
        )


def _owners(names: Iterable[str], groups: Groups) -> set[str]:
    """Return the hosts, users and placeholders behind `names`."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in groups:
            waiting += groups[name]
        else:
            found.add(name)
    return found

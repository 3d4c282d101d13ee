"""The owners of keys: one entry in the map for each, named by all hints.

Occurrences of a key are joined by its key id, in either form.  Keys with the same name
become one entry only if they read the same files: otherwise one entry would grant each
key the access of the other.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from nixsecrets.adopt.hints import (
    Hints,
    OwnerKind,
    Sighting,
    from_comment,
    is_heading,
    kind_of_words,
    safe_name,
)
from nixsecrets.adopt.oldrules import Old
from nixsecrets.adopt.pathnames import folded, names_from_paths, spellings
from nixsecrets.keys.recipients import KeyId, Kind, Recipient

_HOST_FOLDERS = "hosts|host|machines|systems|nodes|servers|nixos|darwin|clusters"
_USER_FOLDERS = "users|user|home|homes|people"
_SSH = (Kind.SSH_ED25519, Kind.SSH_RSA)
_PERSONAL = (Kind.PLUGIN, Kind.TAG, Kind.TAG_PQ, Kind.PQ)


@dataclass(frozen=True, slots=True)
class Owner:
    """A host or user of the new map, and where its name comes from.

    `also` are other names of its keys; `ssh_in_sops`: sops files have its key in ssh
    form; `guessed`: nothing indicates whether it is a host or a user.
    """

    name: str
    kind: OwnerKind
    keys: tuple[Recipient, ...]
    origin: str
    also: tuple[str, ...] = ()
    comment: str = ""
    ssh_in_sops: bool = False
    guessed: bool = False

    @property
    def key_ids(self) -> frozenset[KeyId]:
        """The ids of its keys."""
        return frozenset(key.key_id for key in self.keys)


@dataclass(frozen=True, slots=True)
class _Known:
    """One key with all its occurrences; `column` are the accesses it has, by number."""

    key: Recipient
    seen: tuple[Sighting, ...]
    column: frozenset[int]

    def names(self, *, full: bool = False) -> list[str]:
        said = [(one.full if full else None) or one.name for one in self.seen]
        return list(dict.fromkeys(name for name in said if name))


def owners(old: Old, hints: Hints, paths: Collection[str]) -> tuple[Owner, ...]:
    """Return an owner for every key that the old configurations name.

    `paths` are the repository's files: folders are often named after hosts.
    """
    evidence = _Evidence(old, hints, paths)
    spelled = spellings([*paths, *(rule.rule.path_regex for rule in old.sops)])
    named = _named(_known(old, hints), spelled)
    return tuple(
        _owner(name, members, evidence) for name, members in _unique(named).items()
    )


def _known(old: Old, hints: Hints) -> list[_Known]:
    """Return the keys in the order of their first occurrence."""
    sets, by_path = _accesses(old), names_from_paths(old)
    seen: dict[KeyId, list[Sighting]] = {}
    best: dict[KeyId, Recipient] = {}
    written = [key for rule in old.sops for key in rule.readers]
    written += [key for entry in old.age for key in entry.readers]
    for one in (*hints.sightings, *(Sighting(key, None, "") for key in written)):
        key = one.key.key_id
        seen.setdefault(key, []).append(one)
        held = best.setdefault(key, one.key)
        better = one.key.kind in _SSH and held.kind not in _SSH
        if better or (one.key.kind is held.kind and not held.comment):
            best[key] = one.key
    return [
        _Known(
            best[key],
            tuple(_with_path(best[key], found, by_path.get(key))),
            frozenset(number for number, access in enumerate(sets) if key in access),
        )
        for key, found in seen.items()
    ]


def _with_path(
    key: Recipient, found: list[Sighting], by_path: Sighting | None
) -> list[Sighting]:
    """Return the occurrences of a key with the name that paths give it, if it is apt.

    It comes first if a folder of hosts or users has it, or it resembles another name;
    a name that only a file has is for keys without any other.
    """
    if by_path is None:
        return found
    words = set(folded(by_path.name or "").split("-"))
    said = [folded(one.name).split("-") for one in found if one.name]
    if by_path.kind is not None or any(words & set(one) for one in said):
        return [by_path, *found]
    return found if said or from_comment(key)[0] else [by_path]


def _accesses(old: Old) -> list[frozenset[KeyId]]:
    """Return the distinct sets of keys that rules and entries grant access to."""
    rules = [rule.access for rule in old.sops if rule.foreign is None]
    return list(dict.fromkeys([*rules, *(entry.access for entry in old.age)]))


def _named(
    known: Iterable[_Known], spelled: Mapping[str, str]
) -> dict[str, list[_Known]]:
    """Return the keys by name, in its spelling; several keys can have the same name."""
    known = list(known)
    plain: dict[str, set[str]] = {}
    for one in known:
        full = one.names(full=True)
        for name in one.names()[:1]:
            plain.setdefault(name, set()).update(full[:1])
    found: dict[str, list[_Known]] = {}
    for one in known:
        said = one.names()
        name = said[0] if said else _from_key(one.key)
        if said and len(plain[name]) > 1:
            name = one.names(full=True)[0]  # `host_x` and `user_x` keep their roles
        found.setdefault(spelled.get(folded(name), name), []).append(one)
    return found


def _from_key(key: Recipient) -> str:
    name, _ = from_comment(key)
    user, _, host = key.comment.partition("@")
    if name is not None and host and user != "root":
        return safe_name(f"{user}-{host.partition('.')[0]}") or name
    return name or f"key-{key.id[:6]}"


def _unique(named: Mapping[str, list[_Known]]) -> dict[str, list[_Known]]:
    """Split the keys that have the same name but not the same access."""
    found: dict[str, list[_Known]] = {}
    for name, members in named.items():
        columns = dict.fromkeys(one.column for one in members)
        parts = [[m for m in members if m.column == c] for c in columns]
        for number, part in enumerate(parts, start=1):
            form = "ssh" if part[0].key.kind in _SSH else "age"
            wanted = name if number == 1 else f"{name[:56]}-{form}"
            while wanted in found or (number > 1 and wanted in named):
                wanted = f"{name[:56]}-{number}"
                number += 1
            found[wanted] = part
    return found


def _owner(name: str, members: list[_Known], evidence: "_Evidence") -> Owner:
    keys = tuple(_without_noise(one.key) for one in members)
    seen = [sighting for one in members for sighting in one.seen]
    first = next((one for one in seen if one.name), None)
    if first is not None:
        origin = first.origin
    elif any(one.key.comment for one in members):
        origin = "comment of the key"
    else:
        origin = "no name was found"
    others = (n for one in members for n in (*one.names(full=True), *one.names()))
    same = [one for one in seen if name in (one.name, one.full)]
    own = {name, *(one.name for one in same), *(one.full for one in same)}
    in_ssh = any(key in evidence.ssh_in_sops for key in keys)
    kind = "user" if in_ssh else evidence.kind(name, members)
    comments = dict.fromkeys(one.comment for one in seen if one.comment)
    return Owner(
        name,
        kind or evidence.likely(members),
        keys,
        origin,
        tuple(dict.fromkeys(n for n in others if n not in own)),
        "; ".join(comments),
        in_ssh,
        kind is None,
    )


def _without_noise(key: Recipient) -> Recipient:
    """Return the key without a comment that has control characters."""
    comment = key.comment if key.comment.isprintable() else ""
    return replace(key, comment=comment)


class _Evidence:
    """Distinguishes hosts from users if no heading and no prefix does."""

    def __init__(self, old: Old, hints: Hints, paths: Collection[str]) -> None:
        regexes = [rule.rule.path_regex.replace("\\", "") for rule in old.sops]
        self.text = "\n".join(f"/{path}" for path in (*paths, *regexes))
        adopted = [rule for rule in old.sops if rule.foreign is None]
        self.ssh_in_sops = {
            key for rule in adopted for key in rule.readers if key.kind in _SSH
        }
        accesses = _accesses(old)
        self.everywhere = len(accesses)
        self.overseen = bool(accesses and frozenset.intersection(*accesses))
        self.sets = [
            (kind, one.keys)
            for one in hints.sets
            if is_heading(one.name) and (kind := kind_of_words([one.name]))
        ]

    def kind(self, name: str, members: list[_Known]) -> OwnerKind | None:
        """Return whether keys are a host's or a user's, None if that is unknown."""
        kinds = [one.kind for known in members for one in known.seen if one.kind]
        if kinds:
            return kinds[0]
        keys = {known.key.key_id for known in members}
        listed = {kind for kind, group in self.sets if keys <= group}
        if len(listed) == 1:
            return listed.pop()
        if any(known.key.kind in _PERSONAL for known in members):
            return "user"
        word = re.escape(name)
        if re.search(rf"/(?:{_USER_FOLDERS})/{word}[/.]", self.text):
            return "user"
        if re.search(rf"/(?:{_HOST_FOLDERS})/(?:[^/\n]+/)?{word}[/.]", self.text):
            return "host"
        said = [from_comment(known.key)[1] for known in members]
        if any(said):
            return next(one for one in said if one)
        if self.everywhere > 1 and len(members[0].column) == self.everywhere:
            return "user"
        return kind_of_words([name])

    def likely(self, members: list[_Known]) -> OwnerKind:
        """Return the kind of owner to propose where nothing says it.

        Where somebody reads everything, those who read a part are mostly machines.
        """
        part = 0 < len(members[0].column) < self.everywhere
        return "host" if part and self.overseen else "user"

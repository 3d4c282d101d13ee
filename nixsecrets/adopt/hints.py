"""Names for keys, found in the old configurations, and what they say about owners."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nixsecrets.keys.recipients import KeyId, Recipient, recipient_of
from nixsecrets.map.load import NAME

OwnerKind = Literal["user", "host"]

_HOST_WORDS = frozenset(
    (
        *("host", "machine", "server", "system", "node", "device", "desktop"),
        *("hosts", "machines", "servers", "systems", "nodes", "devices", "desktops"),
        *("laptop", "workstation", "router", "vm", "vps", "nixos", "darwin"),
        *("laptops", "workstations", "routers", "vms", "hostkeys", "systemkeys"),
    )
)
_USER_WORDS = frozenset(
    (
        *("user", "admin", "people", "person", "developer", "operator"),
        *("users", "admins", "persons", "developers", "operators"),
        *("home", "human", "maintainer", "me", "team", "master", "backup", "yubikey"),
        *("homes", "humans", "maintainers", "recovery", "userkeys"),
    )
)
_PREFIX = re.compile(
    r"(?P<word>hosts?|machine|server|system|device|users?|admin|home)[_-](?P<name>.+)"
)
_UNSAFE = re.compile(r"[^A-Za-z0-9._@-]+")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One place where a key occurs.

    `name` is its name there, None without one; `kind` is that of its owner, None if
    unknown; `comment` is a comment on it; `full` is the name with its role
    (`host_web`).
    """

    key: Recipient
    name: str | None
    origin: str
    kind: OwnerKind | None = None
    comment: str = ""
    full: str | None = None


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set of keys with a name; `parts` are the names of others that it is made of."""

    name: str
    keys: frozenset[KeyId]
    origin: str
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Hints:
    """All names found in the old configurations; earlier ones take precedence."""

    sightings: tuple[Sighting, ...] = ()
    sets: tuple[NamedSet, ...] = ()

    def __add__(self, other: "Hints") -> "Hints":
        """Return the hints of both, those of `self` first."""
        return Hints(self.sightings + other.sightings, self.sets + other.sets)


def kind_of_words(words: Iterable[str]) -> OwnerKind | None:
    """Return the kind of owner that headings name, the last one that names any."""
    for word in reversed(list(words)):
        parts = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", word).lower())
        if _HOST_WORDS & set(parts):
            return "host"
        if _USER_WORDS & set(parts):
            return "user"
    return None


def is_heading(word: str) -> bool:
    """Return whether a name is that of a group of keys (`hosts`), not of one owner."""
    lower = word.lower()
    if lower in {"keys", "all", "everyone", "everything", "publickeys", "allkeys"}:
        return True
    return lower.endswith("s") and kind_of_words([word]) is not None


def split_prefix(name: str) -> tuple[OwnerKind | None, str]:
    """Return the role before a name, as in `host_web`, and the name without it."""
    found = _PREFIX.fullmatch(name)
    if found is None:
        return None, name
    return kind_of_words([found["word"]]), found["name"]


def safe_name(text: str) -> str | None:
    """Return `text` as a valid name of the map, None if nothing of it remains."""
    name = _UNSAFE.sub("-", text).strip("-._@")[:63]
    return name if NAME.fullmatch(name) else None


def keys_in(text: str) -> list[Recipient]:
    """Return the keys in a text, separated by commas or newlines."""
    keys = map(recipient_of, re.split(r"[,\n]", text))
    return [key for key in keys if key is not None]


def from_comment(key: Recipient) -> tuple[str | None, OwnerKind | None]:
    """Return the owner's name and kind that an ssh key's comment suggests."""
    words = key.comment.split()
    user, at, host = (words[0] if words else "").partition("@")
    if not at:
        return safe_name(user), None
    if user == "root":
        return safe_name(host.partition(".")[0]), "host"
    return safe_name(user), "user"

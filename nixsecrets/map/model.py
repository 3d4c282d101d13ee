"""The recipient map as values (design: the recipient map, `nixsecrets.toml`)."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId, Kind, Recipient

SopsForm = Literal["age", "ssh"]


@dataclass(frozen=True, slots=True)
class Host:
    """A machine; its ssh keys are held in their ssh form."""

    name: str
    keys: tuple[Recipient, ...]
    groups: tuple[str, ...] = ()
    address: str | None = None
    verified: str | None = None
    line: int = field(default=0, compare=False)

    @property
    def ssh_key(self) -> Recipient | None:
        """Its ssh-ed25519 key, None where it has other kinds only."""
        return next((k for k in self.keys if k.kind is Kind.SSH_ED25519), None)


@dataclass(frozen=True, slots=True)
class User:
    """A person (or a CI job): somebody who reads and writes secrets."""

    name: str
    keys: tuple[Recipient, ...]
    groups: tuple[str, ...] = ()
    sops_form: SopsForm = "age"
    line: int = field(default=0, compare=False)


class Retired(NamedTuple):
    """A key that was in use once, so that files in the history can be attributed."""

    name: str
    key: Recipient
    date: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A `[[secrets]]` entry; exactly one of `path` and `path_regex` is set."""

    index: int
    path: str | None
    path_regex: str | None
    readers: tuple[str, ...]
    except_: tuple[str, ...] = ()
    plaintext_allowed: bool = False
    backend: Backend | None = None
    armor: bool = False
    sops: tuple[tuple[str, str | bool], ...] = ()
    line: int = field(default=0, compare=False)

    @property
    def pattern(self) -> str:
        """The rule's own text, for messages."""
        return self.path if self.path is not None else str(self.path_regex)


@dataclass(frozen=True, slots=True)
class RecipientMap:
    """Who may read what.  Names are one namespace; `groups` holds joined members."""

    always: tuple[str, ...]
    users: tuple[User, ...]
    hosts: tuple[Host, ...]
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    rules: tuple[Rule, ...]
    retired: tuple[Retired, ...] = ()
    sops_config: str | None = None
    agenix_rules: str | None = None
    version: int = 1

    @property
    def owners(self) -> "tuple[User | Host, ...]":
        """Everybody who has keys: users, then hosts, in the order of the map."""
        return (*self.users, *self.hosts)

    @property
    def keys_in_use(self) -> dict[KeyId, str]:
        """Whose each key is."""
        return {key.key_id: owner.name for owner in self.owners for key in owner.keys}

    def host(self, name: str) -> Host | None:
        """Return the host of that name, None where there is none."""
        return next((host for host in self.hosts if host.name == name), None)

    def retired_as(self, key_id: KeyId) -> Retired | None:
        """Return what the map remembers of a retired key: the latest entry."""
        entries = [one for one in self.retired if one.key.key_id == key_id]
        return entries[-1] if entries else None


class Reader(NamedTuple):
    """One key that may read a file: whose it is, and in the form the file needs."""

    name: str
    recipient: Recipient


class Desired(NamedTuple):
    """What the map wants for a path: one value for all paths with the same answer.

    `readers` are in set order: the keys of `always` first, each key once.
    `unclaimed` is the text that `{host}`/`{user}` captured when the map has no such
    name; the readers are then those of `always` only.
    """

    backend: Backend
    rule: Rule
    readers: tuple[Reader, ...]
    unclaimed: str | None = None

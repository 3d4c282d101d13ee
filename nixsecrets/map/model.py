"""The recipient map (`nixsecrets.toml`) as frozen values."""

from typing import Literal

from nixsecrets.frozen import NamedTuple, field, frozen
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId, Kind, Recipient

SopsForm = Literal["age", "ssh"]


@frozen
class Host:
    """A machine.

    `keys` are as the map spells them, ssh keys in their ssh form; `address` is where to
    collect its key, `verified` how the key was verified and when; `line` is that of
    its table in the map, as in all values here.
    """

    name: str
    keys: tuple[Recipient, ...]
    groups: tuple[str, ...] = ()
    address: str | None = None
    verified: str | None = None
    line: int = field(default=0, compare=False)

    @property
    def ssh_key(self) -> Recipient | None:
        """Its ssh-ed25519 key, None if it only has keys of other kinds."""
        return next((k for k in self.keys if k.kind is Kind.SSH_ED25519), None)


@frozen
class User:
    """A person or a CI job that reads and writes secrets.

    `sops_form` is the form of its ssh-ed25519 keys in sops files.
    """

    name: str
    keys: tuple[Recipient, ...]
    groups: tuple[str, ...] = ()
    sops_form: SopsForm = "age"
    line: int = field(default=0, compare=False)


class Retired(NamedTuple):
    """A key that was in use once: `[[retired]]`, with date (YYYY-MM-DD) and reason.

    It names recipients of files in the git history.
    """

    name: str
    key: Recipient
    date: str | None = None
    reason: str | None = None


@frozen
class Rule:
    """A `[[secrets]]` entry; exactly one of `path` and `path_regex` is set.

    `index` is its place among the rules, from 0; `sops` are sorted sops options.
    """

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


@frozen
class RecipientMap:
    """Who may read what.

    Hosts, users and groups share one namespace.  `groups` are pairs of name and
    members, including those that join by their own `groups`.
    """

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
        """All users, then all hosts, in the order of the map."""
        return (*self.users, *self.hosts)

    @property
    def keys_in_use(self) -> dict[KeyId, str]:
        """The owner's name of each key in use, by key id."""
        return {key.key_id: owner.name for owner in self.owners for key in owner.keys}

    def host(self, name: str) -> Host | None:
        """Return the host of that name, None if there is none."""
        return next((host for host in self.hosts if host.name == name), None)

    def retired_as(self, key_id: KeyId) -> Retired | None:
        """Return the latest `[[retired]]` entry of a key, None if there is none."""
        entries = [one for one in self.retired if one.key.key_id == key_id]
        return entries[-1] if entries else None


class Reader(NamedTuple):
    """One key that may read a file: its owner's name, and the form the file needs."""

    name: str
    recipient: Recipient


class Desired(NamedTuple):
    """What the map specifies for a path; one object for all paths with this answer.

    `readers` are in set order: the keys of `always` first, each key once.
    `unclaimed` is the text that `{host}` or `{user}` captured if the map has no such
    name; the readers are then those of `always` only.
    """

    backend: Backend
    rule: Rule
    readers: tuple[Reader, ...]
    unclaimed: str | None = None

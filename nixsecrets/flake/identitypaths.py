"""The private keys that a configuration names, and what they open.

Only their paths are known: a path that may be a key's private half counts as it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from nixsecrets.files.state import Actual
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.flake.declared import AgeSide, Framework, SopsSide
from nixsecrets.keys.recipients import Kind, Recipient

FLAKE = "flake.nix"
Problem = tuple[Code, str]
# NS078 is an error, so a name counts only if it says what it holds: `agenix` and
# `universal` say neither age nor RSA, and ~/.ssh may have an age key.
_RSA = re.compile(r"(^|[^a-z])rsa([^a-z]|$)", re.IGNORECASE)
_ED25519 = re.compile(r"ed25519", re.IGNORECASE)
_SSH = re.compile(r"(^|/)(ssh_host_|id_)[^/]*$", re.IGNORECASE)
_AGE = re.compile(
    r"(\.agekey|\.age|\.txt|(^|[/._-])age([._-][^/]*|keys?[^/]*)?)$", re.IGNORECASE
)
BY_DEFAULT = re.compile(r"(^|/)(ssh_host_[a-z0-9]+_key|id_(rsa|ed25519))$")
"""Names that agenix, sops-nix and sshd choose by themselves, whatever the map has."""
_SSH_KINDS = frozenset({Kind.SSH_ED25519, Kind.SSH_RSA})


class Identity(NamedTuple):
    """A private key: the option that names it, and its path.

    `keys` are the keys of the map that may be there, by the place; `generated`:
    sops-nix creates it on the machine if it does not exist.
    """

    option: str
    path: str
    keys: tuple[Recipient, ...]
    generated: bool = False

    def opened(self) -> set[Recipient]:
        """Return the recipients that this opens."""
        return {form for key in self.keys if (form := self.opens(key)) is not None}

    def opens(self, key: Recipient) -> Recipient | None:
        """Return the form of `key` that this opens, None if it is another key's."""
        match self.option:
            case "sops.age.sshKeyPaths":
                # the map may have the ssh key as ssh-to-age converts it
                may = key.ours and _may_be_ed25519(self.path)
                return key.converted() if may else None
            case "sops.age.keyFile":
                # may hold the converted ssh key under any name, unless it is generated
                converted = not self.generated and key.kind is Kind.SSH_ED25519
                return key.converted() if converted or not _is_ssh(key) else None
            case "sops.environment.SOPS_AGE_SSH_PRIVATE_KEY_FILE":
                return key if _is_ssh(key) and _may_be(self.path, key) else None
            case _:
                return key if _may_be(self.path, key) else None


@dataclass(frozen=True)
class Keys:
    """The keys of the map that a part uses, and the private keys that it names.

    `identities` are None if they are unknown; `gnupg`: gpg has a private key as well;
    `unreached` is why identities have no keys, if they have none.
    """

    framework: Framework
    keys: tuple[Recipient, ...]
    identities: tuple[Identity, ...] | None
    gnupg: bool = False
    unreached: str = ""

    @cached_property  # as the others here: asked for each secret
    def forms(self) -> set[Recipient]:
        """Return every recipient that the tool could open with the keys of the map."""
        if self.framework == "age":
            return set(self.keys)
        return {key.converted() for key in self.keys}

    @cached_property
    def opened(self) -> set[Recipient]:
        """Return the recipients that the named private keys open."""
        if self.identities is None:
            return self.forms
        return {form for one in self.identities for form in one.opened()}

    @cached_property
    def problem(self) -> Problem | None:
        """Return code and message of why no private key fits, None if one does."""
        if self.identities is None or self.opened:
            return None
        if not self.identities:
            unset = "neither sops.age.sshKeyPaths nor sops.age.keyFile is set"
            empty = "age.identityPaths is empty"
            return Code.NO_IDENTITY, empty if self.framework == "age" else unset
        if not any(one.keys for one in self.identities):
            message = f"{_named(self.identities)}, which is {self.unreached}"
            return Code.CONTAINER_KEY, message
        kinds = ", ".join(sorted({str(key.kind) for key in self.keys}))
        message = f"the map has a key of kind {kinds}, and {_named(self.identities)}"
        return Code.IDENTITY_UNLIKELY, message

    def unopened(self, recipients: Iterable[Recipient]) -> Problem:
        """Return code and message for a file that only other keys of the map open."""
        kinds = {one.key_id: str(one.kind) for one in self.keys}
        mine = sorted({kinds[r.key_id] for r in recipients if r.key_id in kinds})
        message = (
            f"it is encrypted to the key of kind {', '.join(mine)},"
            f" and {_named(self.identities or ())}"
        )
        return Code.IDENTITY_UNLIKELY, message

    def other_means(self, found: Actual) -> str | None:
        """Return what may open a file that is no age key, None if nothing does."""
        kinds = (other.kind for other in found.others)
        return next((kind for kind in kinds if kind != "pgp" or self.gnupg), None)

    def unused(self) -> Iterator[Identity]:
        """Yield the private keys that somebody chose and that open nothing."""
        for one in self.identities or ():
            if not one.opened() and not BY_DEFAULT.search(one.path):
                yield one


KeysAt = Callable[[str], tuple[Recipient, ...]]
"""Returns the keys of the map whose private half may be at a path."""


def keys_of(
    side: AgeSide | SopsSide,
    keys: tuple[Recipient, ...],
    keys_at: KeysAt,
    unreached: str = "",
) -> Keys:
    """Return the keys with which a part opens the secrets of agenix or of sops-nix."""
    if isinstance(side, SopsSide):
        return Keys("sops", keys, _of_sops(side, keys_at), side.gnupg, unreached)
    paths = side.identity_paths
    named = None if paths is None else _all("age.identityPaths", paths, keys_at)
    return Keys("age", keys, named, unreached=unreached)


def _of_sops(side: SopsSide, keys_at: KeysAt) -> tuple[Identity, ...] | None:
    if side.ssh_key_paths is None and side.key_file is None:
        return None
    named = _all("sops.age.sshKeyPaths", side.ssh_key_paths or (), keys_at)
    if (path := side.key_file) is not None:
        option = "sops.age.keyFile"
        named += (Identity(option, path, keys_at(path), side.generate_key),)
    if (path := side.ssh_private_key_file) is not None:
        option = "sops.environment.SOPS_AGE_SSH_PRIVATE_KEY_FILE"
        named += (Identity(option, path, keys_at(path)),)
    return named


def _all(option: str, paths: Iterable[str], keys_at: KeysAt) -> tuple[Identity, ...]:
    return tuple(Identity(option, path, keys_at(path)) for path in paths)


def identity_findings(
    who: str, keys: Keys, persistent: Sequence[str], *, needed: bool
) -> Iterator[Finding]:
    """Yield findings on the private keys of one part, named `who` in messages.

    `persistent` are the folders that survive a reboot, empty if all do; `needed`: some
    secret can be opened by no other means.
    """
    if problem := keys.problem:
        if needed:
            yield Finding(FLAKE, problem[0], f"{who}: {problem[1]}")
        return
    for one in keys.unused():
        generated = " is generated on the machine, and" if one.generated else ""
        message = f"{who}: {one.option} {one.path}{generated} opens no key of the map"
        yield Finding(FLAKE, Code.IDENTITY_UNUSED, message)
    yield from _lost(who, keys, persistent)


def _lost(who: str, keys: Keys, persistent: Sequence[str]) -> Iterator[Finding]:
    """Yield a finding if impermanence is in use and no fitting path is persistent."""
    folders = tuple(folder.rstrip("/") + "/" for folder in persistent)
    fitting = [one for one in keys.identities or () if one.opened()]
    if (
        folders
        and fitting
        and not any(one.path.startswith((*folders, "/nix/")) for one in fitting)
    ):
        message = f"{who}: {_named(fitting[:1])}, which is not below {persistent[0]}"
        yield Finding(FLAKE, Code.IDENTITY_LOST, message)


def _named(identities: Sequence[Identity]) -> str:
    """Return the options with their paths, in words."""
    paths: dict[str, list[str]] = {}
    for one in identities:
        shown = f"{one.path} (generated on the machine)" if one.generated else one.path
        paths.setdefault(one.option, []).append(shown)
    each = (f"{option} names {', '.join(of)}" for option, of in paths.items())
    return ", ".join(each)


def _is_ssh(key: Recipient) -> bool:
    return key.kind in _SSH_KINDS


def _may_be_ed25519(path: str) -> bool:
    return bool(_ED25519.search(path)) or not (_RSA.search(path) or _AGE.search(path))


def _may_be(path: str, key: Recipient) -> bool:
    """Return whether `path` may be the private key of `key`."""
    if key.kind is Kind.SSH_ED25519:
        return _may_be_ed25519(path)
    if key.kind is Kind.SSH_RSA:
        return bool(_RSA.search(path)) or not (
            _ED25519.search(path) or _AGE.search(path)
        )
    return bool(_AGE.search(path)) or not _SSH.search(path)

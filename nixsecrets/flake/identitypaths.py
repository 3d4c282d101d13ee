"""Findings on the private keys that a configuration names, judged by their paths.

Only the paths are known, so all but a missing private key are warnings.
"""

import re
from collections.abc import Iterator, Sequence

from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.flake.declared import Part, SopsSide
from nixsecrets.keys.recipients import Kind, Recipient

FLAKE = "flake.nix"
_RSA = re.compile(r"rsa", re.IGNORECASE)
_ED25519 = re.compile(r"ed25519", re.IGNORECASE)
_SSH = re.compile(r"(^|/)(ssh_host_|id_)|/\.?ssh/", re.IGNORECASE)
_AGE = re.compile(r"(\.agekey|\.age|\.txt|(^|[/._-])age[^/]*)$", re.IGNORECASE)


def identity_findings(
    who: str, part: Part, keys: Sequence[Recipient]
) -> Iterator[Finding]:
    """Yield findings on the private keys of one part; `keys` are those of the map.

    `who` names the part in messages.
    """
    if part.age is not None and part.age.secrets:
        paths = part.age.identity_paths
        yield from _age(who, part, paths, keys)
    if part.sops is not None and part.sops.secrets:
        yield from _sops(who, part, part.sops, keys)


def _age(
    who: str, part: Part, paths: Sequence[str] | None, keys: Sequence[Recipient]
) -> Iterator[Finding]:
    if paths is None:
        return
    if not paths:
        message = f"{who}: age.identityPaths is empty"
        yield Finding(FLAKE, Code.NO_IDENTITY, message)
        return
    if not any(_may_be(path, key) for path in paths for key in keys):
        yield _unlikely(who, "age.identityPaths", paths, keys)
    yield from _lost(who, "age.identityPaths", paths, part.persistent)


def _sops(
    who: str, part: Part, side: SopsSide, keys: Sequence[Recipient]
) -> Iterator[Finding]:
    if side.ssh_key_paths is None and side.key_file is None:
        return
    ssh = side.ssh_key_paths or ()
    option = "sops.age.sshKeyPaths" if ssh else "sops.age.keyFile"
    paths = [*ssh, *filter(None, [side.key_file, side.ssh_private_key_file])]
    if not paths:
        if not side.gnupg:
            message = f"{who}: neither sops.age.sshKeyPaths nor sops.age.keyFile is set"
            yield Finding(FLAKE, Code.NO_IDENTITY, message)
        return
    # a key file may hold the converted key under any name
    if side.key_file is None and not any(
        _may_be(path, key) for path in paths for key in keys
    ):
        yield _unlikely(who, option, paths, keys)
    yield from _lost(who, option, paths, part.persistent)


def _may_be(path: str, key: Recipient) -> bool:
    """Return whether `path` may be the private key of `key`."""
    if key.kind is Kind.SSH_ED25519:
        return bool(_ED25519.search(path)) or not (
            _RSA.search(path) or _AGE.search(path)
        )
    if key.kind is Kind.SSH_RSA:
        return bool(_RSA.search(path)) or not (
            _ED25519.search(path) or _AGE.search(path)
        )
    return bool(_AGE.search(path)) or not _SSH.search(path)


def _unlikely(
    who: str, option: str, paths: Sequence[str], keys: Sequence[Recipient]
) -> Finding:
    kinds = ", ".join(sorted({str(key.kind) for key in keys}))
    message = (
        f"{who}: the map has a key of kind {kinds}, and {option} names"
        f" {', '.join(paths)}"
    )
    return Finding(FLAKE, Code.IDENTITY_UNLIKELY, message)


def _lost(
    who: str, option: str, paths: Sequence[str], persistent: Sequence[str]
) -> Iterator[Finding]:
    """Yield a finding if impermanence is in use and no path is persistent."""
    folders = tuple(folder.rstrip("/") + "/" for folder in persistent)
    if folders and not any(path.startswith((*folders, "/nix/")) for path in paths):
        message = (
            f"{who}: {option} names {paths[0]}, which is not below {persistent[0]}"
        )
        yield Finding(FLAKE, Code.IDENTITY_LOST, message)

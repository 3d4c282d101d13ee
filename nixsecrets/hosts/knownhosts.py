"""Looks up a host key in known_hosts (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT).

`ssh-keygen -F` finds the lines for a name, so hashed names, wildcards and negations
mean what they mean to ssh.  `trust` decides whether the result suffices.
"""

import base64
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.frozen import NamedTuple
from nixsecrets.hosts import openssh
from nixsecrets.hosts.address import SSH_PORT, parse_address
from nixsecrets.hosts.sshconfig import Endpoint
from nixsecrets.keys.recipients import Kind, Recipient, from_ssh_blob
from nixsecrets.untrusted import inputs

# What ssh-keygen prints above each line; the line's marker is repeated at the end.
_FOUND = re.compile(r"# Host .* found: line (\d+) ?(REVOKED|CA)?")
_SECONDS = 10


class Entry(NamedTuple):
    """One line that applies to a name: `FILE:LINE`, its key, and whether it revokes."""

    where: str
    key: Recipient
    revoked: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What known_hosts says about a key under a name; each place is `FILE:LINE`.

    `same` is the line with this key, `revoked` one that revokes it; `others` are lines
    with other ed25519 keys (only if `same` is None).
    """

    same: str | None = None
    revoked: str | None = None
    others: tuple[tuple[str, Recipient], ...] = ()


def names_of(name: str, address: str | None) -> list[str]:
    """Return the names of a host of the map as known_hosts spells them, each once."""
    reached = parse_address(address or name)
    port = reached.port
    hosts = dict.fromkeys((name, reached.host))
    return [host if port == SSH_PORT else f"[{host}]:{port}" for host in hosts]


def line_of(names: Sequence[str], key: Recipient) -> str:
    """Return the known_hosts line of a host with these names."""
    return f"{','.join(names)} {key.text}"


def append(file: Path, line: str) -> bool:
    """Append a line to a known_hosts file; return False if it has the line already.

    Raises:
        NixsecretsError: the file cannot be read or written.
    """
    try:
        text = inputs.read_text(file, errors="surrogateescape")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise _failed(file, "cannot be read", error) from error
    if line in text.splitlines():
        return False
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        with file.open("a", encoding="utf-8") as out:
            out.write(("" if not text or text.endswith("\n") else "\n") + line + "\n")
    except OSError as error:
        raise _failed(file, "cannot be written", error) from error
    return True


def _failed(file: Path, what: str, error: OSError) -> NixsecretsError:
    return NixsecretsError(f"{quoted(str(file))}: {(error.strerror or what).lower()}")


def standing(where: Endpoint, key: Recipient) -> Standing:
    """Return what the known_hosts files of an endpoint say about an ed25519 key.

    Raises:
        NixsecretsError: ssh-keygen cannot be run.
    """
    # `Path.is_file` raises for a file in a folder without permission
    files = [file for file in where.known_hosts if os.path.isfile(file)]  # noqa: PTH113
    by_name = [
        [entry for file in files for entry in entries(file, name)]
        for name in lookup_names(where)
    ]
    return judge(by_name, key)


def lookup_names(where: Endpoint) -> tuple[str, ...]:
    """Return the names of an endpoint in known_hosts, the decisive one first.

    Like ssh, a key under the name without port also counts for other ports.
    """
    if where.alias is not None:
        return (where.alias,)
    host = where.address.host
    if where.address.port == SSH_PORT:
        return (host,)
    return f"[{host}]:{where.address.port}", host


def judge(by_name: Sequence[Sequence[Entry]], key: Recipient) -> Standing:
    """Return the standing of `key`, from the entries of each name of `lookup_names`.

    Names after the first count only if the first one has no ed25519 key; a revocation
    counts under any name.
    """
    every = [entry for entries in by_name for entry in entries]
    revoked = next((e.where for e in every if e.revoked and e.key == key), None)
    named = [entry for entry in by_name[0] if not entry.revoked]
    asked = named or [entry for entry in every if not entry.revoked]
    same = next((entry.where for entry in asked if entry.key == key), None)
    others = () if same else tuple((entry.where, entry.key) for entry in named)
    return Standing(same, revoked, others)


def entries(file: Path, name: str) -> Iterator[Entry]:
    """Yield the ed25519 entries of a known_hosts file that apply to a name.

    Lines that cannot be parsed and keys of certificate authorities are skipped.

    Raises:
        NixsecretsError: ssh-keygen cannot be run.
    """
    place: re.Match[str] | None = None
    for line in _search(file, name).splitlines():
        found = _FOUND.fullmatch(line)
        if found is None and place is not None and place[2] != "CA":
            key = _ed25519(line.split(), marked=place[2] is not None)
            if key is not None:
                yield Entry(f"{file}:{place[1]}", key, place[2] == "REVOKED")
        place = found


def _search(file: Path, name: str) -> str:
    """Return the output of `ssh-keygen -F`, which skips lines it cannot parse."""
    late = NixsecretsError(
        f"ssh-keygen did not finish reading {file}", "check what that file is"
    )
    command = ["ssh-keygen", "-F", name.lower(), "-f", str(file)]
    return openssh.run(command, _SECONDS, late).stdout.decode(errors="replace")


def _ed25519(words: list[str], *, marked: bool) -> Recipient | None:
    """Return the key of a line (`[MARKER] NAMES TYPE BASE64 …`), None for other types.

    The blob contains the type too: a line with two different types has no key.
    """
    kind, encoded = [*words[1 + marked :], "", ""][:2]
    if kind != Kind.SSH_ED25519:
        return None
    try:
        key = from_ssh_blob(base64.b64decode(encoded, validate=True))
    except (ValueError, NixsecretsError):  # also binascii.Error
        return None
    return key if key.kind is Kind.SSH_ED25519 else None

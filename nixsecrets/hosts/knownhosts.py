"""known_hosts files (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT): what they say of a key.

Pure text: a line that cannot be read is passed over and spoils nothing.  Whether the
answer suffices to believe a key is `trust`'s to say.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nixsecrets.errors import NixsecretsError
from nixsecrets.hosts.address import SSH_PORT
from nixsecrets.hosts.sshconfig import Endpoint
from nixsecrets.keys.recipients import Kind, Recipient, from_ssh_blob, ssh_string
from nixsecrets.untrusted import inputs

REVOKED, AUTHORITY = "@revoked", "@cert-authority"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: `patterns` as written, the key's type and its wire blob."""

    where: str
    marker: str | None
    patterns: str
    kind: str
    blob: bytes

    def names(self, name: str) -> bool:
        """Tell whether the line is about `name` (`host`, or `[host]:port`)."""
        name = name.lower()
        if self.patterns.startswith("|"):
            return _hashed(self.patterns, name)
        found = False
        for pattern in self.patterns.lower().split(","):
            if _matches(pattern.removeprefix("!"), name):
                if pattern.startswith("!"):
                    return False
                found = True
        return found


@dataclass(frozen=True, slots=True)
class Standing:
    """What known_hosts says of a key under a name; each place is `FILE:LINE`.

    `same` holds exactly this key, `revoked` revokes it, `others` are the ed25519 keys
    that stand there instead of it (only where `same` is None).
    """

    same: str | None = None
    revoked: str | None = None
    others: tuple[tuple[str, Recipient], ...] = ()


def standing(where: Endpoint, key: Recipient) -> Standing:
    """Return what the known_hosts files of an endpoint say of an ed25519 key."""
    texts = [(str(file), text) for file in where.known_hosts if (text := _read(file))]
    entries = (e for name, text in texts for e in parse(text, name))
    return judge(list(entries), lookup_names(where), key)


def _read(file: Path) -> str:
    """Return a file's text; one that is not there or unreadable says nothing."""
    try:
        return inputs.read_text(file, errors="replace")
    except OSError:
        return ""


def lookup_names(where: Endpoint) -> tuple[str, ...]:
    """Return the names of an endpoint in known_hosts, the one that counts first.

    A key under the name without port is believed for the other ports too, as ssh does.
    """
    if where.alias is not None:
        return (where.alias,)
    host = where.address.host
    if where.address.port == SSH_PORT:
        return (host,)
    return f"[{host}]:{where.address.port}", host


def judge(entries: Sequence[Entry], names: Sequence[str], key: Recipient) -> Standing:
    """Return the standing of `key` under `names`, as `lookup_names` gives them."""
    about = [e for e in entries if any(e.names(name) for name in names)]
    revoked = (e.where for e in about if e.marker == REVOKED and e.blob == key.key)
    plain = [e for e in about if e.marker is None]
    named = [e for e in plain if e.names(names[0])]
    others = [
        (e.where, from_ssh_blob(e.blob)) for e in named if e.kind == Kind.SSH_ED25519
    ]
    # the other names only count where the first one has no ed25519 key at all
    same = next((e.where for e in named if e.blob == key.key), None)
    if not others:
        same = next((e.where for e in plain if e.blob == key.key), None)
    return Standing(same, next(revoked, None), () if same else tuple(others))


def parse(text: str, filename: str) -> Iterator[Entry]:
    """Yield the lines that hold a key."""
    for number, line in enumerate(text.split("\n"), start=1):
        entry = _entry(line.split(), f"{filename}:{number}")
        if entry is not None:
            yield entry


def _entry(words: list[str], where: str) -> Entry | None:
    marker = None
    if words and words[0].startswith("@"):
        marker = words.pop(0).lower()
    if len(words) < 3 or words[0].startswith("#"):
        return None
    if marker not in (None, REVOKED, AUTHORITY):
        return None
    patterns, kind, encoded = words[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
        named, _ = ssh_string(blob)
        if named == Kind.SSH_ED25519.value.encode():
            from_ssh_blob(blob)
    except (binascii.Error, ValueError, NixsecretsError):
        return None
    return (
        Entry(where, marker, patterns, kind, blob) if named == kind.encode() else None
    )


def _hashed(pattern: str, name: str) -> bool:
    """Compare with a hashed name: `|1|base64(salt)|base64(HMAC-SHA1(salt, name))`."""
    try:
        _, version, salt, digest = pattern.split("|")
        if version != "1":
            return False
        expected = base64.b64decode(digest, validate=True)
        key = base64.b64decode(salt, validate=True)
    except ValueError:  # also binascii.Error
        return False
    return hmac.compare_digest(hmac.digest(key, name.encode(), "sha1"), expected)


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern in which only `*` and `?` mean something."""
    parts = {"*": ".*", "?": "."}
    text = "".join(parts.get(char, re.escape(char)) for char in _squeezed(pattern))
    return re.compile(text, re.DOTALL)


def _squeezed(pattern: str) -> str:
    """Return the pattern without repeated stars, which only cost time."""
    return re.sub(r"\*+", "*", pattern)


def _matches(pattern: str, name: str) -> bool:
    if "*" not in pattern and "?" not in pattern:
        return pattern == name
    return _compiled(pattern).fullmatch(name) is not None

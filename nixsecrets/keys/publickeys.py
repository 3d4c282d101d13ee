"""Parsing files of public keys: `.pub`, authorized_keys, known_hosts, GitHub `.keys`.

The result lists the skipped keys, too.  Whether to trust the keys is up to the caller.
"""

import re
from collections.abc import Iterator

from nixsecrets.errors import KeyFormatError
from nixsecrets.frozen import frozen
from nixsecrets.keys.mistakes import (
    UnsupportedKeyError,
    private_key_in,
    refuse_private_key,
)
from nixsecrets.keys.recipients import Recipient, parse_recipient

_KEY_START = re.compile(
    r"(?:ssh-\S+|ecdsa-sha2-\S+|sk-(?:ssh|ecdsa)-\S+|(?i:age1)\S+)(?:\s|$)"
)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_CONVERT_HINT = "convert it: ssh-keygen -i -m RFC4716 -f FILE (or -m PKCS8)"


@frozen
class Skipped:
    """A line (counted from 1) whose key was skipped, and why."""

    line: int
    reason: str


@frozen
class PublicKeys:
    """The usable keys of a file, each once and in order, and the skipped lines."""

    recipients: tuple[Recipient, ...]
    skipped: tuple[Skipped, ...] = ()


def read_public_keys(text: str, filename: str) -> PublicKeys:
    """Return every public key in `text`; `filename` is its name in messages.

    One key per line, optionally after authorized_keys options or known_hosts names;
    blank lines and `#` lines are ignored.  Valid keys that age cannot encrypt to
    (ecdsa, FIDO, certificates, `@revoked`) are skipped.

    Raises:
        KeyFormatError: a line has a private key or is not a key (skipping it would
            silently drop a reader); the message has file and line.
    """
    recipients: dict[Recipient, None] = {}
    skipped: list[Skipped] = []
    for number, line in _lines(text):
        where = f"{filename}:{number}: "
        refuse_private_key(line, where)
        try:
            recipients.setdefault(_parse_line(line))
        except UnsupportedKeyError as error:
            skipped.append(Skipped(number, error.message))
        except KeyFormatError as error:
            raise KeyFormatError(where + error.message, error.hint) from error
    return PublicKeys(tuple(recipients), tuple(skipped))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, stripped line) of the lines that may have a key."""
    # not `splitlines`, which also splits at form feeds and Unicode separators
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        stripped = line.strip()
        # a private key in a comment is still a leak
        if stripped and (not stripped.startswith("#") or private_key_in(stripped)):
            yield number, stripped


def _parse_line(line: str) -> Recipient:
    if line.startswith(("-----BEGIN ", "---- BEGIN ")):
        raise KeyFormatError("this form of public key is not read here", _CONVERT_HINT)
    key = _without_prefix(line)
    before = _QUOTED.sub("", line[: len(line) - len(key)])
    words = set(re.split(r"[\s,]+", before))
    if words & {"cert-authority", "@cert-authority"}:
        raise UnsupportedKeyError("this key signs certificates and is nobody's own")
    if "@revoked" in words:
        raise UnsupportedKeyError("this key is marked as revoked")
    return parse_recipient(key)


def _without_prefix(line: str) -> str:
    """Return `line` from its key on: without authorized_keys options or host names.

    Options end at the first blank outside of quotes (sshd(8)); known_hosts has up to
    two words before the key (a marker and names).  A line without a key is returned
    unchanged.
    """
    rest = line
    for _ in range(3):
        if _KEY_START.match(rest):
            return rest
        word = re.match(r'(?:[^\s"]|"(?:[^"\\]|\\.)*")+\s+', rest)
        if not word:
            break
        rest = rest[word.end() :]
    return line

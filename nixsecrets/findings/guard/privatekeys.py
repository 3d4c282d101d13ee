"""Private keys in any file, reported without quoting them.

Only usable keys count: an age identity with a correct checksum, a PEM block with most
of its content, a WireGuard key under its name; not a mention in code, nor a truncated
key in a manual.  An expression is compiled once a word that it needs was found, which
is rare.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator

from nixsecrets.findings.guard import der, toolkeys, wrapped
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.bech32 import Bech32Error, decode

_AGE = (
    rb"(?i)age-(secret-key(?:-pq)?|plugin-[a-z0-9._+-]{1,64}?)-"
    rb"1([02-9ac-hj-np-z]{20,8000})"
)
# The same with escaped dashes, or broken anywhere: into lines, or into strings that
# are concatenated.  Possessive, so that the n of `\n` is never taken as a letter.
_BREAK = rb"(?:\\[nrt]|[^A-Za-z0-9]){1,80}+"
_DASH = rb"(?:\\[nrt]|\\{1,2}(?:u002d|x2d)|%2d|&#(?:45|x2d);|[^A-Za-z0-9]){1,80}+"
_ANY_BREAK = rb"(?:" + _BREAK + rb")?+"
_SECRET, _KEY = (
    _ANY_BREAK.join(bytes([letter]) for letter in word) for word in (b"secret", b"key")
)
_BROKEN_AGE = (
    rb"(?i)age" + _DASH + _SECRET + _DASH + _KEY + rb"(" + _DASH + rb"p" + _ANY_BREAK
) + (rb"q)?" + _DASH + rb"1" + _ANY_BREAK + rb"((?:[02-9ac-hj-np-z]" + _ANY_BREAK)
_BROKEN_AGE += rb"){58})"
_BEGIN = rb"-{4,5} ?BEGIN ([A-Z0-9 ]{0,32})PRIVATE KEY(?: BLOCK)? ?-{4,5}"
_END = rb"-{4,5} ?END"
_GAP = rb"(?:[^A-Za-z0-9]|(?<=\\)[nr]){0,200}"  # line ends, quotes, indentation, `\n`
_RUN = rb"[A-Za-z0-9+/]{16,}"
_HEADERS = (
    b"(?:" + _GAP + rb"(?:Charset|Comment|DEK-Info|Hash|MessageID|Proc-Type|Subject"
    rb"|Version): ?(?:(?!\\+[nr])[^\n]){0,200})*"
)
_PUTTY = (
    rb"PuTTY-User-Key-File-\d: (?:(?!PuTTY-User).){0,9000}?"
    rb"Private-Lines: \d{1,3}" + _GAP + _RUN
)
_GPG = (
    rb"\((?:11:|21:protected-|protected-)private-key\s{0,9}\((?:\d:)?(?:rsa|dsa|ecc|elg)"
    rb"|\(private-key\s{1,9}\((?:rsa|dsa|ecc|elg)"
)
_WIREGUARD = (
    rb"(?i)(?:private|preshared)[_-]?key[\\\"']{0,3}\s{0,64}[:=]\s{0,64}"
    rb"(?:[\w.]{1,32}\s{1,64}){0,3}[\\\"']{0,3}"
    rb"((?-i:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=))(?![A-Za-z0-9+/=])"
)
_WORDS = (
    *(b"PRIVATE KEY", b"PuTTY-User-Key-File-", b"AGE-", b"age-", b"Age-"),
    *(b"rivate", b"RIVATE", b"reshared", b"RESHARED", b"SECRET"),
)
# Base64 without the lines around it that PEM wants.
_OPENSSH = b"b3BlbnNzaC1rZXktdjEA"  # `openssh-key-v1` and its zero byte
_BARE = (
    rb"(?:(?<![A-Za-z0-9+/])|(?<=\\[nrt]))(?:M" + _RUN + b"|" + _OPENSSH
) + rb"[A-Za-z0-9+/]*+)"
_LINES = rb"(?:" + _RUN + rb"(?:" + _GAP + rb")?)+"
_BARE_WORDS = (b"MII", b"MC4CAQ", b"MG", b"MHcCAQ", b"MHQCAQ", b"MIG", b"MIH", _OPENSSH)
_WINDOW = 8000  # of a PEM block: an RSA key of 8192 bits has 6400 characters
_LINE_RUN = rb"[A-Za-z0-9+/]{32,}"  # of a block whose lines have something before them
# Characters of base64, by the first word of the label; of OPENSSH ed25519 has more.
_SHORTEST = {b"OPENSSH": 200, b"PGP": 100, b"NEBULA": 40, b"MATRIX": 40}
_SHORT = 90
_FEW = 8  # different characters: 43 times the same letter is an example


class Sighting(NamedTuple):
    """The kind of a private key, and its line (from 1)."""

    what: str
    line: int


def private_keys(path: str, data: bytes) -> Iterator[Sighting]:
    """Yield the private keys in a file, in the order of their kinds and places."""
    if what := _whole_file(path, data):
        yield Sighting(what, 1)
        return
    texts = [data]
    if b"\0" in data:  # UTF-16, as PowerShell writes and appends it; and UTF-32
        texts.append(data.replace(b"\0", b""))
    if b"%2" in data or b"%0" in data:  # URL-encoded
        texts.append(_unquoted(data))
    found: dict[Sighting, None] = {}
    for text in texts:
        found |= dict.fromkeys(_in_plaintext(text))
        found |= dict.fromkeys(_in_base64(text))
    yield from found


def _unquoted(text: bytes) -> bytes:
    """Return a text with `%XX` decoded; newlines become spaces to keep the lines."""
    plain = re.sub(rb"%0[AaDd]|\+", b" ", text)  # forms write `+` for a blank
    return re.sub(rb"%([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), plain)


def _in_plaintext(text: bytes) -> Iterator[Sighting]:
    found = list(_found(text)) if any(word in text for word in _WORDS) else []
    found += toolkeys.found(text)
    found += _bare(text)
    ends = [m.start() for m in re.finditer(rb"\n", text)] if found else []
    for what, place in found:
        yield Sighting(what, bisect_left(ends, place) + 1)


def _in_base64(text: bytes) -> Iterator[Sighting]:
    found = [
        (what, place)
        for inner, place in wrapped.texts(text)
        for what, _ in (*_found(inner), *toolkeys.found(inner))
    ]
    lines = wrapped.lines_of(text, [place for _, place in found])
    for (what, _), line in zip(found, lines, strict=True):
        yield Sighting(f"{what} in base64", line)


def _found(text: bytes) -> Iterator[tuple[str, int]]:
    whole = set()
    for match in re.finditer(_AGE, text):
        if what := _identity(match[1].decode().lower(), match[0].decode()):
            whole.add(match.start())
            yield what, match.start()
    for match in re.finditer(_BROKEN_AGE, text):
        kind = "secret-key-pq" if match[1] else "secret-key"
        joined = re.sub(_BREAK, b"", match[2]).decode()
        what = _identity(kind, f"age-{kind}-1{joined}".upper())
        if what and match.start() not in whole:
            yield what, match.start()
    for match in re.finditer(_BEGIN, text):
        label = match[1].strip()
        if _has_content(label, text[match.end() : match.end() + _WINDOW]):
            yield _pem(label), match.start()
    for match in re.finditer(_PUTTY, text, re.DOTALL):
        yield "a PuTTY private key", match.start()
    for match in re.finditer(_GPG, text):
        yield "a GnuPG private key", match.start()
    for match in re.finditer(_WIREGUARD, text):
        before = text[max(0, match.start() - 200) : match.start()]
        if b"Private-key-format" in before:  # of DNSSEC, which is reported as that
            continue
        if len(set(match[1])) > _FEW:
            yield "a WireGuard private key", match.start()


def _identity(kind: str, text: str) -> str | None:
    """Return the kind of an age identity, None if its checksum is wrong.

    Letters that follow it may belong to something else: shorter texts are tried too.
    """
    known = {"secret-key": 74, "secret-key-pq": 77}
    one_case = re.match(r"[A-Z0-9._+-]+|[a-z0-9._+-]+", text)
    cut = one_case[0] if one_case else text
    for candidate in {text, text[: known.get(kind, len(text))], cut}:
        same_case = candidate.upper() if candidate[-1].isupper() else candidate.lower()
        try:
            decode(same_case)
        except Bech32Error:
            continue
        if kind == "secret-key-pq":
            return "a post-quantum age identity"
        return "an age identity" if kind == "secret-key" else "an age plugin identity"
    return None


# --- PEM and its relatives


def _has_content(label: bytes, after: bytes) -> bool:
    """Return whether most of a key follows its BEGIN line, in any quoting.

    If the END line follows too, each line may be preceded or followed by other text
    (line numbers, timestamps, HTML).
    """
    end = re.search(_END, after)
    body = after[: end.start()] if end else after.partition(b"-----")[0]
    if end:
        runs = b"".join(re.findall(_LINE_RUN, body))
        if len(runs) >= _needed(label, runs):
            return len(set(runs)) > _FEW
    headers = re.match(_HEADERS, body)
    lines = re.compile(b"(?:" + _GAP + _RUN + b")+").match(
        body, headers.end() if headers else 0
    )
    joined = b"".join(re.findall(_RUN, lines[0])) if lines else b""
    return len(joined) >= _needed(label, joined) and len(set(joined)) > _FEW


def _needed(label: bytes, base64: bytes) -> int:
    """Return how many base64 characters a key must have: half of its DER length."""
    kind = label.partition(b" ")[0]
    if kind in _SHORTEST:
        return _SHORTEST[kind]
    # the n of `\nMIIE…` in a quoted text, or the + of a patch, is not part of it
    head = wrapped.decoded(base64[base64[:1] != b"M" :][:8])
    if head[:1] != b"\x30" or len(head) < 4:
        return _SHORT
    long = {0x82: int.from_bytes(head[2:4], "big"), 0x81: head[2]}
    return long.get(head[1], head[1]) * 4 // 3 // 2


def _pem(label: bytes) -> str:
    name = label.decode()
    if name == "PGP":
        return "a PGP private key"
    return f"{name} private key" if name else "a private key"


def _bare(text: bytes) -> Iterator[tuple[str, int]]:
    """Yield the keys in base64 without PEM lines around it."""
    if not any(word in text for word in _BARE_WORDS):
        return
    bare, lines, at = re.compile(_BARE), re.compile(_LINES), 0
    while (match := bare.search(text, at)) is not None:
        place, at = match.start(), match.end()
        openssh = match[0].startswith(_OPENSSH)
        der_begins = wrapped.decoded(match[0][:4])[:1] == b"\x30"
        if not (openssh or der_begins) or _in_pem(text, place):
            continue
        block = lines.match(text, place, place + _WINDOW)
        at = block.end() if block else at  # search no line twice
        joined = b"".join(re.findall(_RUN, block[0])) if block else b""
        if openssh:
            if len(joined) >= _SHORTEST[b"OPENSSH"] and len(set(joined[20:])) > _FEW:
                yield "an OpenSSH private key in base64", place
            continue
        key = der.private_key(wrapped.decoded(joined[:400]))
        if key is not None and len(joined) >= key[1] * 4 // 3 // 2:
            yield f"{key[0]} in base64", place


def _in_pem(text: bytes, place: int) -> bool:
    """Return whether `place` is inside a PEM block, which is reported as a whole."""
    before = text[max(0, place - 400) : place]
    begin = max(before.rfind(b"PRIVATE KEY"), before.rfind(b"BEGIN "))
    ended = before.rfind(b"END ") > before.rfind(b"BEGIN ")
    return begin >= 0 and b"-----" in before[begin:] and not ended


# --- files that are nothing but a key


def _whole_file(path: str, data: bytes) -> str | None:
    """Return the kind of private key that a whole file is, None if it is none."""
    if _is_pgp(data):
        return "a PGP private key"
    key = der.private_key(data[:128]) if data[:1] == b"\x30" else None
    if key is not None and key[1] <= len(data) <= key[1] + 2:
        return key[0]
    if 44 <= len(data) <= 48 and _is_wireguard(path, data.strip()):
        return "a WireGuard private key"
    return None


def _is_pgp(data: bytes) -> bool:
    """Return whether a file begins with a secret key packet (RFC 9580, sections 4, 5).

    A packet has a tag and a length (section 4.2), then the version of the key, four
    bytes of date, and an algorithm (section 5.5).
    """
    if len(data) < 40 or data[0] not in {0x94, 0x95, 0x96, 0xC5}:
        return False
    if data[0] == 0xC5:  # new format: a length of 1, 2 or 5 bytes
        size = 1 if data[1] < 192 else 2 if data[1] < 224 else 5
        length = data[1] if size == 1 else ((data[1] - 192) << 8) + data[2] + 192
        length = length if size < 5 else int.from_bytes(data[2:6], "big")
    else:  # legacy format: the two low bits of the tag are the size of the length
        size = 1 << (data[0] & 3)
        length = int.from_bytes(data[1 : 1 + size], "big")
    end = 1 + size + length
    follows = end == len(data) or (end < len(data) and data[end] & 0x80 != 0)
    body = data[1 + size :]
    known = body[0] in {3, 4, 5, 6} and body[5] in {1, 2, 3, *range(16, 29)}
    return follows and known and length >= 30


def _is_wireguard(path: str, text: bytes) -> bool:
    """Return whether a file with a single key is a private one (`wg genkey`).

    Its name says so (wg(8) calls it `privatekey`), or the path mentions WireGuard and
    the key has the fixed bits of a private key (RFC 7748, section 5).
    """
    if not re.fullmatch(rb"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=", text):
        return False
    folder, _, name = path.lower().rpartition("/")
    if len(set(text)) <= _FEW or "pub" in name:
        return False
    if "priv" in name or "preshared" in name or "psk" in name:
        return True
    key = wrapped.decoded(text)
    fixed = key[0] & 7 == 0 and key[31] & 0xC0 == 0x40
    return fixed and re.search(r"wg|wireguard", f"{folder}/{name}") is not None

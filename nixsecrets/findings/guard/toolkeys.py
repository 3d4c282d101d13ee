"""Private keys in the formats of single tools, recognized by their surroundings.

64 hexadecimal digits or 44 characters of base64 are common in a repository (hashes,
public keys): they count only with a word or a structure of their tool around them.
"""

import itertools
import re
from collections.abc import Callable, Iterator

from nixsecrets.findings.guard import wrapped
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.convert import is_ed25519_pair

_B64 = rb"[A-Za-z0-9+/]"
_NOT_B64 = rb"(?![A-Za-z0-9+/=])"
_NEW = rb"(?:(?<![A-Za-z0-9+/])|(?<=\\[nrt]))"  # `\n` in a quoted text ends a line
_MOST = 1000  # matches of one form in one file that are examined
_FEW = 8  # different characters: fewer are an example


class Form(NamedTuple):
    """A kind of key: its name, a word in every such text, and its expression.

    `sure` decides whether a match of the expression is a key.
    """

    what: str
    word: bytes
    pattern: bytes
    sure: Callable[[re.Match[bytes]], bool]


def found(text: bytes) -> Iterator[tuple[str, int]]:
    """Yield the kind and the offset of each key in a text."""
    for form in FORMS:
        if form.word in text:
            every = re.finditer(form.pattern, text)
            for match in itertools.islice(every, _MOST):
                if form.sure(match):
                    yield form.what, match.start()


def _random(match: re.Match[bytes]) -> bool:
    """Return whether the key (group 1) is random, unlike those in examples."""
    return len(set(match[1])) > _FEW


def _signs(match: re.Match[bytes]) -> bool:
    """Return whether the key (group 1) is an ed25519 seed with its public key."""
    return is_ed25519_pair(wrapped.decoded(match[1]))


def _is_jwk(match: re.Match[bytes]) -> bool:
    """Return whether the object around `"kty"` has a private part (RFC 7517, 7518)."""
    text, place = match.string, match.start()
    begin = text.rfind(b"{", max(0, place - _JWK), place)
    end = text.find(b"}", place, place + _JWK)
    whole = text[max(begin, 0) : end if end >= 0 else place + _JWK]
    part = b"k" if match[1] == b"oct" else b"d"
    value = rb'\\*"' + part + rb'\\*"\s{0,64}:\s{0,64}\\*"([A-Za-z0-9_-]{20,})'
    private = re.search(value, whole)
    return private is not None and _random(private)


_JWK = 8000  # characters: an RSA key of 8192 bits has 6,500

FORMS = (
    Form(
        "an OpenSSH private key",  # openssh/openssh-portable: PROTOCOL.key
        b"openssh-key-v1\0",
        rb"(?s)openssh-key-v1\0\0\0\0.[a-z0-9@.-]{4,64}\0\0\0.(?:none|bcrypt)\0\0"
        rb"(.{100})",
        _random,
    ),
    Form(
        "a Nix signing key",  # NixOS/nix: src/libutil/signature/local-keys.cc
        b"==",
        rb"(?<![\w.-])[\w.-]{1,128}:(" + _B64 + rb"{86}==)" + _NOT_B64,
        _signs,
    ),
    Form(
        "an OpenVPN static key",
        b"OpenVPN Static key",
        rb"-----BEGIN OpenVPN Static key V1-----"
        rb"((?:(?:[^0-9a-fA-F]|\\[nr]){1,64}[0-9a-fA-F]{32}){8,})",
        _random,
    ),
    Form(
        "an OpenVPN key",
        b"OpenVPN tls-crypt-v2",
        rb"-----BEGIN OpenVPN tls-crypt-v2 (?:client|server) key-----"
        rb"(?:[^A-Za-z0-9+/]|\\[nr]){1,64}(" + _B64 + rb"{40,})",
        _random,
    ),
    Form(
        "a minisign secret key",  # jedisct1/minisign: format; "EdSc" or "Ed", then "B2"
        b"RW",
        _NEW + rb"(RW(?:RTY0Iy|QAAEIy)" + _B64 + rb"{200,206}={0,2})",
        _random,
    ),
    Form(
        "a signify secret key",  # openbsd/src: usr.bin/signify, struct enckey
        b"RWRCS",
        _NEW + rb"(RWRCS[w-z]" + _B64 + rb"{130,134}={0,2})",
        _random,
    ),
    Form(
        "the key of a Tor onion service",  # torproject/torspec: rend-spec-v3, appendix
        b"ed25519v1-secret",
        rb"(?s)== ed25519v1-secret: type0 ==\0{3}(.{40})",
        _random,
    ),
    Form(
        "the key of a Tor onion service",  # torspec: control-spec, ADD_ONION
        b"ED25519-V3:",
        rb"ED25519-V3:(" + _B64 + rb"{86}(?:==)?)" + _NOT_B64,
        _random,
    ),
    Form(
        "a Tor client's key",  # torspec: rend-spec-v3, client authorization
        b":descriptor:x25519:",
        rb"[a-z2-7]{56}:descriptor:x25519:([A-Za-z2-7]{52})",
        _random,
    ),
    Form(
        "a DNSSEC private key",  # isc-projects/bind9: lib/dns/dst_parse.c
        b"Private-key-format:",
        rb"Private-key-format: v1\.\d(?:[^\0]{0,800}?)"
        rb"(?:PrivateKey|PrivateExponent|Key):[ \\n]{1,3}(" + _B64 + rb"{16,})",
        _random,
    ),
    Form(
        "a TSIG key",  # BIND's named.conf, Knot's and PowerDNS' configurations
        b"hmac-",
        rb"(?i)algorithm[\s:=\\\"']{1,16}hmac-(?:md5|sha\d{1,3})[^{}]{0,200}?"
        rb"secret[\s:=\\\"']{1,16}((?-i:" + _B64 + rb"{20,}={0,2}))" + _NOT_B64,
        _random,
    ),
    Form(
        "a Matrix signing key",  # matrix-org/python-signedjson: signedjson/key.py
        b"ed25519 ",
        rb"(?:^|[\n\"'\s])ed25519 [A-Za-z0-9_]{1,64} (" + _B64 + rb"{43})" + _NOT_B64,
        _random,
    ),
    Form(
        "a private key in hexadecimal digits",  # wireguard.com/xplatform: private_key=
        b"key",
        rb"(?i)(?:private|preshared|secret)[_-]?key[\\\"']{0,3}\s{0,64}[:=]\s{0,64}"
        rb"[\\\"']{0,3}(?:0x)?((?-i:[0-9a-f]{64}|[0-9A-F]{64}))(?![0-9A-Fa-f])",
        _random,
    ),
    Form(
        "a JSON web key with its private part",
        b"kty",
        rb"\\*\"kty\\*\"\s{0,64}:\s{0,64}\\*\"(RSA|EC|OKP|oct)\\*\"",
        _is_jwk,
    ),
)

"""Errors for text that was given in place of a public key.

Recognizes private keys, unsupported ssh keys, placeholders and the like.  No message
quotes the text: it may be a private key.  `recipients` decides what is a valid key.
"""

import re

from nixsecrets.errors import KeyFormatError
from nixsecrets.keys.bech32 import Bech32Error

AGE_HINT = "copy the whole public key again; `age-keygen -y FILE` prints it"
SSH_HINT = "copy the whole line again; `ssh-keygen -y -f FILE` prints it"
_PUBLIC_HINT = (
    "give the public key instead (`age-keygen -y` or `ssh-keygen -y` prints it); "
    "if the private key was saved in a repository, replace it"
)


class UnsupportedKeyError(KeyFormatError):
    """A valid public key of a kind that age cannot encrypt to."""


# Patterns for mistakes stay text: `re` compiles them when one is made.
#
# Comments mention keys ("age-plugin-yubikey", "AGE-SECRET-KEY-1…"): it is a key only if
# at least the six characters of a Bech32 checksum follow.
_PRIVATE = (
    r"AGE-(?:(?P<pq>SECRET-KEY-PQ)|(?P<age>SECRET-KEY)|(?P<plugin>PLUGIN-[\w.+-]{1,64}))"
    r"-1[02-9AC-HJ-NP-Z]{6}"
    r"|(?P<pem>-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY|PuTTY-User-Key-File-)"
)
_PRIVATE_NAMES = {
    "pq": "a post-quantum age identity (a private key)",
    "age": "an age identity (a private key)",
    "plugin": "the identity of an age plugin",
    "pem": "a private key file",
}
_UNSUPPORTED_SSH = (
    r"(?P<cert>.*-cert-v\d\d@openssh\.com)|(?P<sk>sk-(?:ssh|ecdsa)-.*)"
    r"|(?P<ecdsa>ecdsa-sha2-.*)|(?P<dss>ssh-dss)"
)
_UNSUPPORTED_NAMES = {
    "cert": "an ssh certificate",
    "sk": "the ssh key of a FIDO token (sk-)",
    "ecdsa": "an ecdsa ssh key",
    "dss": "a dsa ssh key",
}
_PLACEHOLDER = (
    r"[<>…]|\.\.\.|(?<![a-z])(?:replace|changeme|placeholder|todo|your|example)(?![a-z])"
    r"|(?:x{6}|0{10}|\?{3})"
)
_SSH_WORD_INSIDE = r"\s(?:ssh-(?:ed25519|rsa|dss)|ecdsa-sha2-\S+|sk-\S+) "


def private_key_in(text: str) -> str | None:
    """Return what kind of private key `text` contains, None if none is recognized."""
    upper = text.upper()  # the pattern takes half a millisecond to compile
    if not any(word in upper for word in ("AGE-", "-----", "PUTTY")):
        return None
    found = re.search(_PRIVATE, text, re.IGNORECASE)
    return _PRIVATE_NAMES[str(found.lastgroup)] if found else None


def refuse_private_key(text: str, where: str = "") -> None:
    """Refuse text that contains a private key; `where` prefixes the message.

    Raises:
        KeyFormatError: `text` contains one.
    """
    found = private_key_in(text)
    if found:
        raise KeyFormatError(
            f"{where}this is {found}, where a public key belongs", _PUBLIC_HINT
        )


def refuse_unsupported_ssh(word: str) -> None:
    """Refuse an ssh key type that age does not support.

    Raises:
        UnsupportedKeyError: `word` is such a type.
    """
    found = re.fullmatch(_UNSUPPORTED_SSH, word)
    if not found:
        return
    hint = "use an ssh-ed25519 key: ssh-keygen -t ed25519"
    if found.lastgroup == "cert":
        hint = "give the .pub file of the key itself, not the -cert.pub file"
    name = _UNSUPPORTED_NAMES[str(found.lastgroup)]
    raise UnsupportedKeyError(f"this is {name}; age cannot encrypt to it", hint)


def explain_bech32(text: str, error: Bech32Error) -> KeyFormatError:
    """Return the error for a `text` that starts like an age key and is not valid."""
    if re.search(_PLACEHOLDER, text, re.IGNORECASE):
        return _placeholder()
    if "," in text:
        return KeyFormatError("there are several keys in one text", "give each alone")
    if len(text.split()) > 1:
        return KeyFormatError(
            "the age key has something after it; only ssh keys have a comment",
            "give the key alone",
        )
    return KeyFormatError(f"the age key is corrupt: {error}", AGE_HINT)


def explain_base64(word: str, encoded: str) -> KeyFormatError:
    """Return the error for the invalid base64 of an ssh key of type `word`."""
    if re.search(_PLACEHOLDER, encoded, re.IGNORECASE):
        return _placeholder()
    return KeyFormatError(f"the {word} key is not complete base64", SSH_HINT)


def _placeholder() -> KeyFormatError:
    return KeyFormatError(
        "this is a placeholder, not a key", "put the real public key in its place"
    )


def explain(text: str) -> KeyFormatError:
    """Return the error for a `text` that does not start like a public key."""
    if re.search(_SSH_WORD_INSIDE, text):
        return KeyFormatError(
            "there is something before the ssh key: options or a host name",
            "give only the key: its kind, its base64, and a comment if you like",
        )
    if text.startswith("AAAA"):
        return KeyFormatError(
            "the ssh key lacks its kind", "write ssh-ed25519 or ssh-rsa before it"
        )
    if re.fullmatch(r"(?:0x)?(?:[0-9A-Fa-f]{4}\s*){10}", text):
        return KeyFormatError(
            "this is a PGP fingerprint, which age cannot encrypt to",
            "give an age1 or ssh-ed25519 public key",
        )
    if re.search(_PLACEHOLDER, text, re.IGNORECASE):
        return _placeholder()
    return KeyFormatError(
        "this is not a public key", "a public key starts with age1 or ssh-ed25519"
    )

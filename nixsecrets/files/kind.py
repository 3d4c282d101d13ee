"""Detection of encrypted files: age, sops in one of its formats, or neither.

Cheap, as it runs for every staged file and for every file of the repository.  Whether a
detected file is complete is up to the parsers and `faults`.
"""

import re
from enum import StrEnum
from typing import assert_never

from nixsecrets.files.sops.token import MARK
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.forms import Backend

MAGIC = b"age-encryption.org/"
ARMOR_BEGIN = b"-----BEGIN AGE ENCRYPTED FILE-----"
ARMOR_END = b"-----END AGE ENCRYPTED FILE-----"
BOM = b"\xef\xbb\xbf"

# `re` compiles them at the first use: most commits change no secret
_ENCRYPTED = re.escape(MARK).encode() + rb"data:[A-Za-z0-9+/=]*,iv:"
YAML_KEY = rb"(?m)^(?:sops|\"sops\"|'sops')[ \t]*:"
_JSON_KEY = rb'"sops"\s*:\s*\{'
INI_SECTION = rb"(?m)^[ \t]*\[[ \t]*sops[ \t]*\]"
_DOTENV_NAME = rb"(?m)^sops_(?:mac|age__|lastmodified)"
# names of dotenv files that sops treats as binary
_ODD_ENV = r"(?:^|/)\.env\.[^/]+$|\.env\.[^/.]+$"
# every sops file, even a corrupt one, contains one of them (`\\u`: an escape in JSON)
_WORDS = (b"sops", b"ENC[", b"\\u")


class SopsFormat(StrEnum):
    """The formats of sops, by the names of its `--input-type`."""

    YAML = "yaml"
    JSON = "json"
    DOTENV = "dotenv"
    INI = "ini"
    BINARY = "binary"


class _Signs(NamedTuple):
    """The suffixes of a format, and the patterns that find its metadata."""

    suffixes: tuple[str, ...]
    metadata: tuple[bytes, ...]


def _signs(kind: SopsFormat) -> _Signs:
    """Return how to detect a format (getsops/sops:cmd/sops/formats/formats.go)."""
    match kind:
        case SopsFormat.YAML:
            return _Signs((".yaml", ".yml"), (YAML_KEY, _JSON_KEY))
        case SopsFormat.JSON:
            return _Signs((".json",), (_JSON_KEY,))
        case SopsFormat.DOTENV:
            return _Signs((".env",), (_DOTENV_NAME,))
        case SopsFormat.INI:
            return _Signs((".ini",), (INI_SECTION,))
        case SopsFormat.BINARY:  # any other suffix; see `detect_format`
            return _Signs((), ())
        case _ as never:
            assert_never(never)


_BY_SUFFIX = {suffix: kind for kind in SopsFormat for suffix in _signs(kind).suffixes}


def looks_secret(path: str, data: bytes) -> bool:
    """Return whether a file is, or was meant to be, encrypted."""
    return backend_of(path, data) is not None


def backend_of(path: str, data: bytes) -> Backend | None:
    """Return which kind of secret a file is or was meant to be, None if neither."""
    if looks_like_age(data):
        return Backend.AGE
    return Backend.SOPS if looks_like_sops(path, data) else None


def looks_like_age(data: bytes) -> bool:
    """Return whether `data` starts like an age file of any version, armored or not.

    Also with blanks or a byte order mark before the armor: such a file was meant to be
    a secret, and `age.header.parse` reports what is wrong with it.
    """
    if data.startswith(MAGIC):
        return True
    return data[:1024].removeprefix(BOM).lstrip().startswith(ARMOR_BEGIN)


def looks_like_sops(path: str, data: bytes) -> bool:
    """Return whether a file is, or was meant to be, a sops file; parses nothing.

    Also true for truncated metadata, or for encrypted values without metadata;
    `metadata.parse` reports what is wrong with it.
    """
    if b"sops" not in data and b"ENC[" not in data:
        return False
    kind = format_for(path)
    if kind is SopsFormat.BINARY:
        return detect_format(data) is not None
    named = any(re.search(sign, data) for sign in _signs(kind).metadata)
    return (named and _is_metadata(data)) or bool(re.search(_ENCRYPTED, data))


def called_age(path: str) -> bool:
    """Return whether a path has the suffix `.age`, in any case."""
    return path[-4:].lower() == ".age"


def no_sops(data: bytes) -> bool:
    """Return whether a file is surely not a sops file, not even a corrupt one."""
    first, *others = _WORDS
    return first not in data and not any(word in data for word in others)


def format_for(path: str) -> SopsFormat:
    """Return the format that sops assumes for a path: by suffix, else binary."""
    return _BY_SUFFIX.get(path[path.rfind(".") :], SopsFormat.BINARY)


def name_warning(path: str) -> str | None:
    """Return a warning if sops treats a path as another format than it looks like."""
    if re.search(_ODD_ENV, path):
        return "sops treats it as binary, not as dotenv: the name must end in .env"
    return None


def detect_format(data: bytes) -> SopsFormat | None:
    """Return the format of a sops file by its content, None if it is not a sops file.

    For names without a suffix that sops knows.  sops treats them as binary by default,
    but `--input-type`, or `format` of sops-nix, can select another format.
    """
    if not _is_metadata(data) or not re.search(_ENCRYPTED, data):
        return None
    if data.lstrip()[:1] == b"{":
        if not re.search(_JSON_KEY, data):
            return None
        # a binary file is JSON with the only keys "data" and "sops"
        binary = re.match(rb'\s*\{\s*"(?:data"\s*:\s*"|sops")', data)
        return SopsFormat.BINARY if binary else SopsFormat.JSON
    if re.search(YAML_KEY, data):
        return SopsFormat.YAML
    if re.search(INI_SECTION, data):
        return SopsFormat.INI
    return SopsFormat.DOTENV if re.search(_DOTENV_NAME, data) else None


def _is_metadata(data: bytes) -> bool:
    return (b"mac" in data and b"lastmodified" in data) or b"BEGIN AGE ENC" in data

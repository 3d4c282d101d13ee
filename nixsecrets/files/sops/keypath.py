"""Key paths: the syntax that names one value in a sops file.

The keys of all levels, separated by `/` as in sops-nix (`powerdns/api-key`); a number
is an index in a list, from 0.  The prefix `[2]/` selects the second document of a YAML
file.  A backslash escapes `/`, `[`, `]`, `"` and backslash in a key.
"""

import re
from collections.abc import Iterator, Mapping
from typing import assert_never

from nixsecrets.errors import SecretFileError, UsageError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.frozen import NamedTuple, field, frozen

NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
_DOCUMENT = re.compile(r"\[([1-9][0-9]{0,8})\]/")
_LEVEL = re.compile(r'(?:[^\\/\[\]"]|\\[\\/\[\]"])+')
# characters that a key cannot contain in formats without quotes for keys
_UNFIT = {
    SopsFormat.DOTENV: re.compile(r"[=\n\r]|\A#|\A\Z"),
    SopsFormat.INI: re.compile(r"[=:\[\]\n\r`\"]|\A[#;\s]|\s\Z"),
}
_ESCAPED = re.compile(r"\\(.)")
_SPECIAL = re.compile(r'[\\/\[\]"]')


class KeyPath(NamedTuple):
    """The keys down to a value, and its document (from 0; None for the one with it)."""

    names: tuple[str, ...]
    document: int | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The escaped parts of the path, which are joined by `/`."""
        names = tuple(_SPECIAL.sub(r"\\\g<0>", name) for name in self.names)
        return names if self.document is None else (f"[{self.document + 1}]", *names)

    def __str__(self) -> str:
        """Return the path as the user types it."""
        return "/".join(self.parts)


@frozen
class NewValues:
    """New texts for some values of a file."""

    values: Mapping[KeyPath, str] = field(repr=False)


def key_path(kind: SopsFormat, key: str) -> KeyPath:
    """Parse a key path for a file of the format `kind`.

    Raises:
        UsageError: it is not a path, or not possible in this format.
    """
    document = _DOCUMENT.match(key)
    rest = key[document.end() :] if document else key
    parts = _levels(rest)
    if not parts:
        raise UsageError(
            "not a valid path to a value",
            "name each level, for example powerdns/api-key; "
            'put a backslash before a /, [, ] or " in a name',
        )
    if kind is SopsFormat.BINARY:
        raise UsageError("a binary file is a single value", "omit --key")
    if kind is SopsFormat.DOTENV and len(parts) != 1:
        raise UsageError("a dotenv file has no levels", "--key NAME")
    if kind is SopsFormat.INI and len(parts) != 2:
        raise UsageError("an ini file has two levels", "--key SECTION/NAME")
    unfit = _UNFIT.get(kind)
    if unfit is not None and any(map(unfit.search, parts)):
        raise UsageError(
            f"the path has a key that is not possible in a file of the format {kind}",
            "use letters, digits, - and _",
        )
    if parts[0] == "sops" or (kind is SopsFormat.DOTENV and parts[0][:5] == "sops_"):
        raise UsageError("sops reserves that name", "choose another name")
    return KeyPath(parts, int(document[1]) - 1 if document else None)


def _levels(text: str) -> tuple[str, ...]:
    """Return the keys of a path without a document prefix; empty if it is invalid."""
    parts, at = list[str](), 0
    while level := _LEVEL.match(text, at):
        parts.append(_ESCAPED.sub(r"\1", level[0]))
        at = level.end()
        if at == len(text):
            return tuple(parts)
        if text[at] != "/":
            break
        at += 1
    return ()


def expressions(path: KeyPath) -> Iterator[str]:
    """Yield the possible expressions of sops: numbers as keys first, then as indexes.

    None for what sops cannot express: quotes in keys, documents after the first.
    """
    if path.document or any(set(name) & set('[]"\\') for name in path.names):
        return
    yield "".join(f'["{name}"]' for name in path.names)
    if any(NUMBER.fullmatch(name) for name in path.names):
        yield "".join(
            f"[{name}]" if NUMBER.fullmatch(name) else f'["{name}"]'
            for name in path.names
        )


def require_text(value: bytes) -> str:
    """Return a value as text that a sops file can store.

    Raises:
        SecretFileError: it is not UTF-8, or contains a NUL.
    """
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise SecretFileError(
            "the value is not text, which a sops value must be",
            "encode it (base64), or keep it in an age file of its own",
        )
    return text


def first_text(kind: SopsFormat, path: KeyPath, value: str) -> bytes:
    """Return the plaintext of a new file with a single value, which is a bare word."""
    names = path.names
    match kind:
        case SopsFormat.DOTENV:
            return f"{names[0]}={value}\n".encode()
        case SopsFormat.INI:
            return f"[{names[0]}]\n{names[1]} = {value}\n".encode()
        case SopsFormat.YAML | SopsFormat.JSON | SopsFormat.BINARY:
            nested: object = value
            for name in reversed(names):
                nested = {name: nested}
            import json  # 2 ms, to create a file

            return json.dumps(nested, ensure_ascii=False).encode() + b"\n"
        case _ as never:
            assert_never(never)

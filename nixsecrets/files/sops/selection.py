"""Which values of a sops file must be encrypted, and which are.

Like sops (getsops/sops:sops.go, shouldBeEncrypted): by one of six selection options in
the metadata, which match the keys of a value's path or the comments above it.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops.comments import Comment, comments
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.selectors import (
    DEFAULT_OPTION,
    LeftOpen,
    Options,
    selection_of,
    unusable,
)
from nixsecrets.files.sops.token import MARK, is_encrypted
from nixsecrets.files.sops.values import Leaf, leaves
from nixsecrets.keys.sopsoptions import SELECTION
from nixsecrets.untrusted import regex

# a comment mark that is followed by something other than a token
_OPEN_MARK = re.compile(rb"[#;][ \t]*+(?!%b)[^\s]" % re.escape(MARK).encode())
Selector = Callable[[Leaf | Comment], bool]
"""Returns whether options select a value or a comment for encryption."""


def open_values(values: Iterable[Leaf], selects: Selector) -> Iterator[Leaf]:
    """Yield the values that are selected but not encrypted."""
    for leaf in values:
        if not (leaf.empty or is_encrypted(leaf.value)) and selects(leaf):
            yield leaf


def by_default(values: Iterable[Leaf]) -> list[Leaf]:
    """Return the values that are in plaintext because of sops' default suffix."""
    selects = selector((DEFAULT_OPTION,))
    open_there = (one for one in values if not (one.empty or is_encrypted(one.value)))
    return [leaf for leaf in open_there if not selects(leaf)]


def opened_by(values: Iterable[Leaf], options: Options) -> list[Leaf]:
    """Return the encrypted values that re-encrypting with `options` would decrypt.

    Empty for options that sops cannot use; re-encrypting refuses them.
    """
    if unusable(options):
        return []
    selects = selector(options)
    return [one for one in values if is_encrypted(one.value) and not selects(one)]


def left_open(kind: SopsFormat, data: bytes, options: Options) -> LeftOpen:
    """Return what a file has in plaintext that re-encrypting would encrypt.

    Empty if the file cannot be parsed; `faults` reports that.
    """
    chosen = selection_of(options)
    if kind is SopsFormat.BINARY or not (chosen or _maybe_commented(kind, data)):
        return LeftOpen()
    usual = selector(())
    # sops treats an expression that it cannot compile as one that matches nothing
    own = (lambda _: False) if unusable(options) else selector(options)
    try:
        marks = [c for c in comments(kind, data) if not is_encrypted(c.text.strip())]
        weak = bool(chosen) and (
            any(usual(one) and not own(one) for one in marks)
            or any(not own(leaf) for leaf in open_values(leaves(kind, data), usual))
        )
    except SecretFileError:
        return LeftOpen()
    return LeftOpen(any(open_comments(marks, own)), weak)


def _maybe_commented(kind: SopsFormat, data: bytes) -> bool:
    """Return whether a file may have a comment that is not encrypted; no parsing."""
    return kind is not SopsFormat.JSON and _OPEN_MARK.search(data) is not None


def open_comments(found: Iterable[Comment], selects: Selector) -> Iterator[Comment]:
    """Yield the comments that are selected but not encrypted.

    And the unencrypted ones that sops drops: it never encrypts them.
    """
    for one in found:
        if not is_encrypted(one.text.strip()) and (one.dropped or selects(one)):
            yield one


def selector(options: Options) -> Selector:
    """Return the selector of some options (getsops/sops:sops.go, Tree.Encrypt).

    Suffixes and expressions match any key of the path.  Options about comments select a
    value whose comments are unknown.  A comment itself counts as one of its comments
    only for `unencrypted_comment_regex`.

    Raises:
        ValueError: sops cannot compile the regular expression; has the reason.
    """
    chosen = {name: str(value) for name, value in options if name in SELECTION}
    name, text = next(iter(chosen.items()), DEFAULT_OPTION)
    wanted = not name.startswith("unencrypted_")
    if name.endswith("_suffix"):
        return lambda leaf: wanted is any(key.endswith(text) for key in leaf.path)
    found = regex.parse(text).found_in
    if name.endswith("_comment_regex"):
        return lambda one: _by_comments(one, found, wanted=wanted)
    return lambda leaf: wanted is any(map(found, leaf.path))


def selector_of(file: SopsFile) -> Selector:
    """Return the selector of a file's own options.

    Raises:
        ValueError: sops cannot compile their regular expression; has the reason.
    """
    if file.format is SopsFormat.BINARY:  # one value; sops reads no options there
        return lambda _: True
    return selector(file.options)


def _by_comments(
    one: Leaf | Comment, found: Callable[[str], bool], *, wanted: bool
) -> bool:
    if isinstance(one, Comment):
        texts = one.applying if wanted else (*one.applying, one.text)
    elif one.comments is None:
        return True
    else:
        texts = one.comments
    return wanted is any(map(found, texts))


def require_encrypted(kind: SopsFormat, data: bytes, options: Options) -> None:
    """Check that sops encrypted every value that `options` select, and at least one.

    Raises:
        SecretFileError: it did not, or the options have an expression that it cannot
            compile.
    """
    if why := unusable(options):
        raise SecretFileError(
            f"sops would not use the file's {why}",
            "correct the sops options of the file's rule",
        )
    values = [leaf for leaf in leaves(kind, data) if not leaf.empty]
    if any(open_values(values, selector(options))):
        raise SecretFileError(
            "sops left a value in plaintext that the options encrypt",
            "check the sops options of the file's rule",
        )
    if values and not any(is_encrypted(leaf.value) for leaf in values):
        if not selection_of(options):
            raise SecretFileError(
                "nothing in it would be encrypted: sops by default leaves values below"
                f" keys that end in {DEFAULT_OPTION[1]} in plaintext; the file has no"
                " others",
                "give the keys other names; options of the rule are not needed",
            )
        raise SecretFileError(
            "the sops options select no value: nothing would be encrypted",
            "check the sops options of the file's rule",
        )

"""The options with which sops chooses what to encrypt, in a form to be compared."""

from collections.abc import Iterable
from typing import NamedTuple

from nixsecrets.keys.sopsoptions import SELECTION
from nixsecrets.untrusted import regex


class LeftOpen(NamedTuple):
    """What a file leaves in plaintext that re-encrypting it would encrypt.

    `comments`: comments that its own options want encrypted, or that sops drops.
    `weak`: values or comments that sops would encrypt but for the file's options.
    """

    comments: bool = False
    weak: bool = False


Options = tuple[tuple[str, str | bool], ...]

DEFAULT_OPTION = ("unencrypted_suffix", "_unencrypted")


def selection_of(options: Iterable[tuple[str, str | bool]]) -> Options:
    """Return the option that selects values, in canonical form; none: sops' default."""
    return canonical_options(o for o in options if o[0] in SELECTION)


def canonical_options(options: Iterable[tuple[str, str | bool]]) -> Options:
    """Return selection options so that equal meanings compare equal.

    Sorted; what is empty, false or sops' own default (`unencrypted_suffix:
    _unencrypted`) is left out.
    """
    kept = (o for o in options if o[1] and tuple(o) != DEFAULT_OPTION)
    return tuple(sorted(kept, key=lambda option: option[0]))


def unusable(options: Iterable[tuple[str, str | bool]]) -> str | None:
    """Return which option has an expression that cannot be compiled, and why.

    sops says nothing about one: it treats it as an expression that matches no key, and
    so leaves every value of an `encrypted_regex` in plaintext.
    """
    for name, text in options:
        if name.endswith("_regex"):
            try:
                regex.parse(str(text))
            except ValueError as error:
                return f"{name}: {error}"
    return None

"""The selection options of sops in a canonical form, for comparison."""

from collections.abc import Iterable

from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.sopsoptions import SELECTION
from nixsecrets.untrusted import regex


class LeftOpen(NamedTuple):
    """What a file has in plaintext that re-encrypting it would encrypt.

    `comments`: comments that its own options select, or that sops drops.  `weak`:
    values or comments that are in plaintext only because of the file's options.
    """

    comments: bool = False
    weak: bool = False


Options = tuple[tuple[str, str | bool], ...]

DEFAULT_OPTION = ("unencrypted_suffix", "_unencrypted")


def selection_of(options: Iterable[tuple[str, str | bool]]) -> Options:
    """Return the selecting option in canonical form; empty for sops' default."""
    return canonical_options(o for o in options if o[0] in SELECTION)


def canonical_options(options: Iterable[tuple[str, str | bool]]) -> Options:
    """Return options such that equivalent ones compare equal.

    They are sorted; empty or false ones, and sops' default (`unencrypted_suffix:
    _unencrypted`), are dropped.
    """
    kept = (o for o in options if o[1] and tuple(o) != DEFAULT_OPTION)
    return tuple(sorted(kept, key=lambda option: option[0]))


def unusable(options: Iterable[tuple[str, str | bool]]) -> str | None:
    """Return which option has an expression that cannot be compiled, and why.

    sops does not report it: it treats the expression as one that matches no key, and
    with `encrypted_regex` leaves every value in plaintext.
    """
    for name, text in options:
        if name.endswith("_regex"):
            try:
                regex.parse(str(text))
            except ValueError as error:
                return f"{name}: {error}"
    return None

"""The options with which sops chooses what to encrypt, in a form to be compared."""

from collections.abc import Iterable

Options = tuple[tuple[str, str | bool], ...]

_DEFAULT_OPTION = ("unencrypted_suffix", "_unencrypted")


def canonical_options(options: Iterable[tuple[str, str | bool]]) -> Options:
    """Return selection options so that equal meanings compare equal.

    Sorted; what is empty, false or sops' own default (`unencrypted_suffix:
    _unencrypted`) is left out.
    """
    kept = (o for o in options if o[1] and tuple(o) != _DEFAULT_OPTION)
    return tuple(sorted(kept, key=lambda option: option[0]))

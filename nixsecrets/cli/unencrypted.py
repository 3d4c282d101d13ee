"""Values of sops files that a save or a re-encryption leaves in plaintext: say so."""

from nixsecrets.cli import show, ui
from nixsecrets.errors import NixsecretsError
from nixsecrets.findings import argument
from nixsecrets.keys.forms import Backend
from nixsecrets.secretfiles.sopsoptions import DEFAULT_OPTION, selection_of
from nixsecrets.world import World

_SUFFIX = DEFAULT_OPTION[1]
_RULE = f'sops = {{ unencrypted_suffix = "{_SUFFIX}" }}'
Values = frozenset[tuple[tuple[str, ...], object]]
"""Key paths of values, and the values: not for anybody's eyes."""


def by_default(world: World, path: str) -> Values:
    """Return what a sops file has in plaintext because of sops' default suffix.

    Nothing where its own options or those of its rule select values: then it is meant.
    """
    from nixsecrets.secretfiles import selection, sopsmeta
    from nixsecrets.secretfiles.sopsvalues import leaves

    want = world.policy.desired(path, Backend.SOPS)
    if want is not None and selects(want.rule.sops):
        return frozenset()
    try:
        data = world.repo.read(path)
        file = sopsmeta.parse(path, data)
        if selection_of(file.options):
            return frozenset()
        found = selection.by_default(leaves(file.format, data))
        return frozenset((leaf.path, leaf.value) for leaf in found)
    except NixsecretsError:
        return frozenset()  # not encrypted yet, or not there


def selects(options: tuple[tuple[str, str | bool], ...]) -> bool:
    """Tell whether a rule says which values are to be encrypted, if only as sops does.

    `unencrypted_suffix = "_unencrypted"` does; it is what sops goes by anyway.
    """
    return DEFAULT_OPTION in map(tuple, options) or bool(selection_of(options))


def warn_of_default(world: World, path: str, before: Values) -> None:
    """Warn of the values that were just saved in plaintext; `before` were already."""
    paths = sorted({keys for keys, _ in by_default(world, path) - before})
    if not paths:
        return
    names = ", ".join(show.path_text("/".join(keys)) for keys in paths)
    stay = "stays" if len(paths) == 1 else "stay"
    ui.warn(
        f"{show.path_text(path)}: {names} {stay} in plaintext: sops by default encrypts"
        f" nothing below a key that ends in {_SUFFIX}",
        f"if it is a secret, rename the key: nixsecrets edit {argument(path)}\n"
        f"if it is meant, write {_RULE} into the rule",
    )

"""Least privilege: the secrets that hosts can read and do not declare."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.flake.declared import Configuration
from nixsecrets.flake.gather import Place
from nixsecrets.flake.owners import owner_of
from nixsecrets.world.world import World


def unused(
    world: World, configurations: Sequence[Configuration], place: Place
) -> Iterator[Finding]:
    """Yield findings on secrets that hosts can read but do not declare.

    Hosts that are not in the flake or do not evaluate are skipped, and those in
    `always`, which read everything by intent.
    """
    declared = declared_paths(world, configurations, place)
    always = world.policy.always_readers
    names = {host.name for host in world.map.hosts} - always
    for path, actual in sorted(world.secrets.items()):
        by = {world.book.name(one) for one in actual.recipients}
        readers = sorted(name for name in names if name in by)
        known = [name for name in readers if name in declared]
        without = [name for name in known if path not in declared[name]]
        if not without:
            continue
        if without == readers and not any(path in one for one in declared.values()):
            message = f"{', '.join(readers)} can read it, and nothing declares it"
            yield Finding(path, Code.NOBODY_DECLARES, message)
            continue
        for name in without:
            message = f"{name} can read it, and nothing it declares uses it"
            yield Finding(path, Code.READ_NOT_DECLARED, message)


def declared_paths(
    world: World, configurations: Sequence[Configuration], place: Place
) -> dict[str, set[str]]:
    """Return the declared files of each host whose configurations all evaluate."""
    declared: dict[str, set[str]] = {}
    broken: set[str] = set()
    for one in configurations:
        if one.error is not None:
            broken.add(one.name)
        elif one.kind != "home":
            declared.setdefault(owner_of(world, one).name, set())
        for part in one.parts:
            owner = owner_of(world, one, part)
            names = {owner.name, owner_of(world, one, replace(part, user=None)).name}
            paths = {path for s in part.secrets if (path := place.path_of(s))}
            for name in names:
                declared.setdefault(name, set()).update(paths)
            if any(secret.error for secret in part.secrets):
                broken |= names
    return {name: paths for name, paths in declared.items() if name not in broken}

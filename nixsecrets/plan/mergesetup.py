"""Where git merges with our driver: lines in the clone's own `info/attributes`.

They have a marked block there, with a part for each map of the repository:

    # nixsecrets: begin
    # nixsecrets.toml
    /nixsecrets.toml merge=nixsecrets
    *.age merge=nixsecrets
    # nixsecrets: end

`.gitattributes`, which everybody shares, does not name the driver: a clone or a forge
without it then never writes conflict markers into a secret.
"""

import re
from collections.abc import Iterator, Mapping

from nixsecrets.generated import blocks
from nixsecrets.map.names import LOCK_NAME, MAP_NAME
from nixsecrets.plan.outputs import ATTRIBUTE_OF_DIFF, attribute_path, git_pattern
from nixsecrets.repo import files
from nixsecrets.untrusted import inputs
from nixsecrets.world.world import ATTRIBUTES, World

DRIVER = "nixsecrets"
SECTION = f"merge.{DRIVER}"
_ATTRIBUTE = f"merge={DRIVER}"
_SECTION = f'[merge "{DRIVER}"]'
_COMMAND = "nixsecrets git-setup"
_LARGEST = 1 << 20


def lines(world: World) -> list[str]:
    """Return the lines for one map: its secrets, also those to come, and public files.

    A rule whose pattern git would read differently has a line for each of its files.
    """
    found = dict.fromkeys(f"{pattern} {_ATTRIBUTE}" for pattern in _patterns(world))
    return list(found)


def _patterns(world: World) -> Iterator[str]:
    below = _folder(world)
    config, rules = world.map.sops_config, world.map.agenix_rules
    for name in (MAP_NAME, LOCK_NAME, config, rules):
        if name is not None:
            yield attribute_path(below + name)
    yield (git_pattern(f"{below}**/*.age") or "*.age") if below else "*.age"
    spelled = {rule.path: _pattern(below, rule.path) for rule in world.map.rules}
    yield from filter(None, spelled.values())
    if all(spelled.values()):
        return
    for path in world.secrets:
        winning = world.policy.winning(path)
        if winning is not None and not spelled[winning[0].path]:
            yield attribute_path(below + path)


def _pattern(below: str, pattern: str | None) -> str | None:
    return None if pattern is None else git_pattern(f"{below}{pattern}")


def _folder(world: World) -> str:
    """Return the map's folder below the top of the work tree, "" or with a slash."""
    return _map(world).removesuffix(MAP_NAME)


def _map(world: World) -> str:
    return world.repo.relative_to_top(str(world.repo.root / MAP_NAME))


def with_lines(text: str, world: World, wanted: list[str]) -> str:
    """Return `info/attributes` with the lines of one map, without them if none.

    Raises:
        PlaceError: the markers in it do not fit.
    """
    rest, parts = _parts(text)
    parts = {**parts, _title(world): wanted}
    inside = [line for title, some in parts.items() if some for line in (title, *some)]
    if not inside:
        return rest
    if rest and not rest.endswith("\n"):
        rest += "\n"
    # at the end, where they win over others
    return f"{rest}{blocks.written(inside, '', chr(10))}\n"


def without(text: str) -> str:
    """Return `info/attributes` without our lines.

    Raises:
        PlaceError: the markers in it do not fit.
    """
    return _parts(text)[0]


def _parts(text: str) -> tuple[str, Mapping[str, list[str]]]:
    """Return a text without our block, and the block's lines by their map."""
    rest, gaps = blocks.take_out(text, "info/attributes")
    parts: dict[str, list[str]] = {}
    title = "#"
    for gap in gaps:
        for line in gap.content.splitlines():
            if line in (blocks.BEGIN, blocks.END):
                continue
            if line.startswith("#"):
                title = line
            else:
                parts.setdefault(title, []).append(line)
    return rest, parts


def _title(world: World) -> str:
    return "# " + attribute_path(_map(world)).removeprefix("/")


def reminder(world: World) -> str | None:
    """Return a line on what this clone's setup lacks; None if nothing.

    Only where somebody uses it: this clone, or another one that has marked the secrets
    in `.gitattributes`.  Reads three small files and starts no git.
    """
    git = world.repo.git
    if git is None:
        return None
    _, section, settings = _read(str(git.common / "config")).partition(_SECTION)
    if not section:
        shared = _read(str(world.repo.root / ATTRIBUTES))
        if ATTRIBUTE_OF_DIFF not in shared:
            return None
        return f"git does not merge secrets in this clone: {_COMMAND}"
    if _is_gone(settings.partition("\n[")[0]):
        return f"the merge driver of this clone is no longer where it was: {_COMMAND}"
    text = _read(str(git.common / "info/attributes"))
    if set(lines(world)) <= set(text.splitlines()):
        return None
    return f"git would not merge every secret in this clone: {_COMMAND}"


def _is_gone(settings: str) -> bool:
    """Return whether the driver in a section is a path at which there is no file."""
    found = re.search(r"^\s*driver = \"?(?:'(/[^']*)'|(/\S*))", settings, re.MULTILINE)
    if found is None:
        return False  # by name
    try:
        inputs.open_regular(found[1] or found[2]).close()
    except OSError:
        return True
    return False


def _read(path: str) -> str:
    try:
        data = files.read_up_to(path, _LARGEST)
    except OSError:
        return ""
    return (data or b"").decode(errors="surrogateescape")

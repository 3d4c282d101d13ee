"""The files that a `{host}` or `{user}` rule gives to one name, and how they move.

Pure except for one access to the tree: whether a file already exists at a path.
"""

from collections.abc import Sequence

from nixsecrets.errors import NixsecretsError, SecretFileError, path_text
from nixsecrets.files.state import Actual
from nixsecrets.map import hostkeys
from nixsecrets.plan.diff import move_step, rename_step
from nixsecrets.plan.model import Step
from nixsecrets.plan.steps import Context
from nixsecrets.world.world import World


def own_files(world: World, name: str) -> list[Actual]:
    """Return the secrets whose path contains `name` in place of a placeholder."""
    found = []
    for path, actual in world.secrets.items():
        winning = world.policy.winning(path)
        if winning is not None and name in (winning[1].host, winning[1].user):
            found.append(actual)
    return found


def private_key(world: World, name: str) -> Actual | None:
    """Return the secret with the private key of host `name`, None if there is none."""
    return world.secrets.get(hostkeys.key_path(name))


def move_steps(
    before: World, after: World, ctx: Context, name: str, folder: str
) -> list[Step]:
    """Return the steps that move the own files of `name` below `folder`.

    Raises:
        NixsecretsError: a file already exists at a new path.
        SecretFileError: no rule matches a new path.
    """
    files = own_files(before, name)
    new = {a.path: f"{folder.strip('/')}/{_rest(a.path, name)}" for a in files}
    _require_free(before, list(new.values()))
    return [move_step(after, a, new[a.path], ctx) for a in files]


def rename_steps(before: World, after: World, old: str, new: str) -> list[Step]:
    """Return the steps that move the own files of `old`, which is renamed to `new`.

    Raises:
        NixsecretsError: a file already exists at a new path.
        SecretFileError: at its new path, a file would not belong to the new name.
    """
    files = own_files(before, old)
    paths = {a.path: _replaced(a.path, old, new) for a in files}
    _require_free(before, list(paths.values()))
    private = private_key(before, old)
    if private is not None and private.path not in paths:
        files.append(private)
        paths[private.path] = hostkeys.key_path(new)
    return [_renamed(after, a, paths[a.path], new) for a in files]


def _renamed(world: World, actual: Actual, path: str, name: str) -> Step:
    winning = world.policy.winning(path)
    if path != hostkeys.key_path(name) and (winning is None or winning[1].host != name):
        raise SecretFileError(
            f"{path_text(path)}: would not be a file of {name}",
            "move the file and its rule by hand",
        )
    return rename_step(world, actual, path)


def _require_free(world: World, paths: Sequence[str]) -> None:
    for path in paths:
        there = world.repo.read_if_there(path) is not None
        if there or paths.count(path) > 1:
            raise NixsecretsError(
                f"{path_text(path)}: a file already exists there",
                "move it away first; nothing was changed",
            )


def _rest(path: str, name: str) -> str:
    """Return the part of `path` below the segment with `name`, else its last one."""
    segments = path.split("/")
    at = next(i for i, segment in enumerate(segments) if name in segment)
    return "/".join(segments[at + 1 :]) or segments[-1]


def _replaced(path: str, old: str, name: str) -> str:
    """Return `path` with `name` in place of `old`, once.

    The first segment that equals `old` is changed, else the first that contains it.
    If `old` occurs twice, the path does not show which one `{host}` matched: the caller
    checks that the new path belongs to `name`.
    """
    segments = path.split("/")
    whole = [i for i, segment in enumerate(segments) if segment == old]
    part = [i for i, segment in enumerate(segments) if old in segment]
    at = (whole or part)[0]
    segments[at] = segments[at].replace(old, name, 1)
    return "/".join(segments)

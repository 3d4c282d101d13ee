"""Secrets of the map that a command cannot change, since it cannot reach them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nixsecrets.cli import show, ui
from nixsecrets.errors import SecretFileError
from nixsecrets.findings.catalogue import argument
from nixsecrets.plan.diff import absent_losses, hidden_losses
from nixsecrets.plan.problems import unreached_problems
from nixsecrets.world.world import World


class Unreached(NamedTuple):
    """Files that a command would change if it reached them, and what to do."""

    what: str
    paths: Sequence[str]
    hint: str

    def refusal(self) -> SecretFileError:
        """Return the error that stops the command before anything is written."""
        lines = [f"  {show.path_text(path)}" for path in self.paths[: show.LINES]]
        if len(self.paths) > show.LINES:
            lines.append(f"  and {len(self.paths) - show.LINES} more")
        message = "\n".join([f"nothing was changed: {self.what}:", *lines])
        return SecretFileError(message, f"{self.hint}; --keep-going does the rest")

    def left_out(self) -> SecretFileError:
        """Return the error that ends a command that did the rest."""
        return SecretFileError(f"left out: {self.what}", self.hint)


def warn(world: World) -> None:
    """Say which secrets of the map no command reaches."""
    for finding in unreached_problems(world):
        ui.warn(f"{show.path_text(finding.path)}: {finding.message}")


def refuse(missed: Iterable[Unreached]) -> None:
    """Stop where a command does not reach files; raises `SecretFileError`."""
    for one in missed:
        raise one.refusal()


def report(missed: Iterable[Unreached]) -> None:
    """Say what a command left out that did the rest."""
    for one in missed:
        ui.report_error(one.left_out())


def losses(before: World, after: World) -> list[Unreached]:
    """Return what a change of the map takes from somebody and cannot re-encrypt."""
    return [*_hidden(before, after), *absent(absent_losses(before, after))]


def absent(paths: Sequence[str]) -> list[Unreached]:
    """Return files that git tracks and that are not on the disk; nothing for none."""
    if not paths:
        return []
    count = len(paths)
    what = (
        "a secret that git tracks is"
        if count == 1
        else (f"{count} secrets that git tracks are")
    )
    hint = "git checkout -- FILE, git sparse-checkout disable, or git rm FILE"
    return [Unreached(f"{what} not on the disk", paths, hint)]


def _hidden(before: World, after: World) -> Iterator[Unreached]:
    for inner, paths in hidden_losses(before, after).items():
        files = show.counted(len(paths), "file")
        yield Unreached(
            f"{show.path_text(inner)} hides {files} to re-encrypt",
            paths,
            f"remove that map (git rm {argument(inner)}), or narrow the rule of this"
            " one to what lies outside of its folder",
        )

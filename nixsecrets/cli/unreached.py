"""Secrets of the map that a command cannot change, since it cannot reach them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nixsecrets.cli import show, ui
from nixsecrets.diff import hidden_losses
from nixsecrets.errors import SecretFileError
from nixsecrets.findings import argument
from nixsecrets.problems import unreached_problems
from nixsecrets.world import World


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
        ui.warn(f"{show.path_text(finding.path)} {finding.message}")


def losses(before: World, after: World) -> list[Unreached]:
    """Return what a change of the map takes from somebody and cannot re-encrypt."""
    return list(_hidden(before, after))


def _hidden(before: World, after: World) -> Iterator[Unreached]:
    for inner, paths in hidden_losses(before, after).items():
        files = show.counted(len(paths), "file")
        yield Unreached(
            f"{show.path_text(inner)} hides {files} to re-encrypt",
            paths,
            f"remove that map (git rm {argument(inner)}), or narrow the rule of this"
            " one to what lies outside of its folder",
        )

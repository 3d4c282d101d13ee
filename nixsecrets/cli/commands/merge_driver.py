"""`nixsecrets merge-driver`: merge one file for git."""

from pathlib import Path

import click

from nixsecrets.cli import mergedriver

_FILE = click.Path(path_type=Path)


@click.command("merge-driver")
@click.argument("base", type=_FILE, metavar="%O")
@click.argument("ours", type=_FILE, metavar="%A")
@click.argument("theirs", type=_FILE, metavar="%B")
@click.argument("path", metavar="%P")
def command(base: Path, ours: Path, theirs: Path, path: str) -> int:
    """Merge one secret, or a file that goes with them, for git.

    git runs it after `nixsecrets git-setup`, with the arguments of gitattributes(5).
    It merges values and readers as `nixsecrets resolve` does, and never prompts.  What
    it cannot decide stays unmerged, with our version in %A: exit code 1.

    \b
    Examples:
      git config merge.nixsecrets.driver   # how git runs it in this clone
    """
    return mergedriver.merged(mergedriver.Names(base, ours, theirs, path))

"""`nixsecrets resolve`: finish a merge of secrets, map and generated files."""

import contextlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import click

from nixsecrets.cli import road, show, ui
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.errors import NixsecretsError, UsageError, argument
from nixsecrets.keys.unlock import once
from nixsecrets.map.names import MAP_NAME
from nixsecrets.merge import decide, trees
from nixsecrets.merge.secrets import Clash
from nixsecrets.merge.valuemerge import WHOLE
from nixsecrets.repo import parted, private
from nixsecrets.repo.git import Git

PARTIAL = 1
_LARGEST = 64 << 20


@click.command("resolve")
@click.option(
    "--ours",
    multiple=True,
    metavar="FILE[#KEY]",
    help="Keep our version of a file, or of one value in it (repeatable).",
)
@click.option(
    "--theirs",
    multiple=True,
    metavar="FILE[#KEY]",
    help="Take their version of a file, or of one value in it (repeatable).",
)
@click.option(
    "--last",
    is_flag=True,
    help="Look at the merge, rebase or cherry-pick that git just finished.",
)
@click.option(
    "--keep-map",
    is_flag=True,
    help="Take nixsecrets.toml as it lies there for the merged map.",
)
@road_options(Reach.FILES)
@click.pass_obj
def command(
    start: Path,
    options: RoadOptions,
    *,
    ours: tuple[str, ...],
    theirs: tuple[str, ...],
    last: bool,
    keep_map: bool,
) -> int:
    """Finish a merge: values and readers of both sides, in every file they changed.

    For a merge, rebase, cherry-pick, revert or stash pop at which git stopped.  What
    both sides changed differently stays unmerged, with our version on the disk; the
    rest is merged and added to git.  A reader whom either side removed opens nothing
    afterwards.

    \b
    Examples:
      nixsecrets resolve
      nixsecrets resolve --dry-run
      nixsecrets resolve --ours secrets/a.yaml#db/password --theirs secrets/b.age
      nixsecrets resolve --last
    """
    session = Session.open(start)
    git = session.repo.git
    if git is None:
        raise UsageError("resolve works on a merge of git, and there is no git here")
    with session.writing(dry_run=options.dry_run):
        commits = (
            parted.finished(git) or parted.replayed(git)
            if last
            else parted.stopped(git)
        )
        if commits is None:
            raise NixsecretsError(
                "HEAD is not a merge, rebase or cherry-pick that git just finished"
                if last
                else "git is not merging anything",
                "nixsecrets status"
                if last
                else "nixsecrets resolve --last looks at"
                " the merge that git just committed",
            )
        with git.reader(limit=_LARGEST) as read, session.surveying() as begun:
            sides = trees.three(git, session.repo, commits, read)
            choices = _choices(ours, theirs, sides.changed())
            if keep_map:
                map_text = begun.map.decode()
            else:
                merged = trees.merged_map(sides, choices.get(MAP_NAME, {}))
                map_text = merged.text
                for entity in merged.removed:
                    ui.say(f"{'.'.join(entity)}: removed, as one side did")
            world = trees.world(session.repo, begun, map_text, sides)
            with contextlib.ExitStack() as stack:
                folder = stack.enter_context(private.private_folder(os.environ))
                opened = decide.opener(keyring(options.identity), once(unlock), folder)
                decider = decide.Decider(
                    sides,
                    world,
                    opened,
                    begun.unmerged,
                    choices,
                    allow_again=keep_map,
                )
                merge = decider.decided()
            return _walked(session, git, merge, options)


def _choices(
    ours: Sequence[str], theirs: Sequence[str], changed: Collection[str]
) -> dict[str, dict[str, str]]:
    """Return the chosen sides, by path and key path.

    Raises:
        UsageError: neither side changed such a file, or both sides were chosen.
    """
    found: dict[str, dict[str, str]] = {}
    for side, given in (("ours", ours), ("theirs", theirs)):
        for one in given:
            path, key = _named(one, changed)
            if found.setdefault(path, {}).setdefault(key, side) != side:
                raise UsageError(f"{one}: --ours and --theirs were both given")
    return found


def _named(choice: str, changed: Collection[str]) -> tuple[str, str]:
    """Return the path and the key path of a choice; a path may contain `#`, too."""
    if choice in changed:
        return choice, WHOLE
    ends = [at for at, letter in enumerate(choice) if letter == "#"]
    for end in reversed(ends):
        if choice[:end] in changed:
            return choice[:end], choice[end + 1 :]
    raise UsageError(
        f"neither side changed {show.path_text(choice)}",
        "name a file as `nixsecrets resolve` lists it, from the map's folder",
    )


def _walked(
    session: Session, git: Git, merge: decide.Merge, options: RoadOptions
) -> int:
    code = road.walk(
        session,
        merge.world,
        merge.plan,
        keyring(options.identity),
        options._replace(git_add=not options.dry_run),
        named=merge.gone,
        contents=merge.contents,
        unstaged={*merge.clashes, *merge.closed},
    )
    if not options.dry_run:
        _stage(git, session.repo.root, merge)
    for path, clash in merge.clashes.items():
        _report(path, clash)
    for path, error in merge.closed.items():
        ui.report_error(NixsecretsError(f"{show.path_text(path)}: {error.message}"))
    return PARTIAL if merge.clashes or merge.closed else code


def _stage(git: Git, root: Path, merge: decide.Merge) -> None:
    there = [
        path for path in (*merge.settled, *_public(merge)) if (root / path).exists()
    ]
    gone = sorted(set(merge.settled) - set(there))
    tracked = git.tracked(root)
    git.add(root, [*there, *(path for path in gone if path in tracked)])


def _public(merge: decide.Merge) -> list[str]:
    names = [MAP_NAME, *merge.world.texts]
    return list(dict.fromkeys(names))


def _report(path: str, clash: Clash) -> None:
    word = argument(path)
    for key in clash.keys:
        name = word if key == WHOLE else f"{word}#{argument(key)}"
        what = (
            show.path_text(path) if key == WHOLE else f"{show.path_text(path)}: {key}"
        )
        ui.report_error(
            NixsecretsError(
                f"{what}: {clash.reason}",
                f"nixsecrets resolve --ours {name}\n"
                f"nixsecrets resolve --theirs {name}\n"
                f"nixsecrets edit {word}  (both versions in the editor)",
            )
        )

"""`nixsecrets resolve`: finish a merge of secrets, map and generated files."""

import contextlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import click

from nixsecrets.cli import mergeedit, road, show, ui
from nixsecrets.cli.mergereport import Reporter
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.errors import NixsecretsError, UsageError
from nixsecrets.keys.unlock import once
from nixsecrets.map.names import MAP_NAME
from nixsecrets.merge import decide, trees
from nixsecrets.merge.valuemerge import WHOLE
from nixsecrets.repo import parted, private
from nixsecrets.repo.git import Git

PARTIAL = 1
_LARGEST = 64 << 20


class Asked(NamedTuple):
    """What a person chose; `edited` are texts that they made of both versions."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    last: bool
    keep_map: bool
    edited: Mapping[str, bytes] = MappingProxyType({})

    def __repr__(self) -> str:
        """Show the choices, no text."""
        return f"Asked({self.ours}, {self.theirs})"


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
    "--edit",
    metavar="FILE",
    help="Open both versions of a file in your editor, as one text.",
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
    edit: str | None,
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
      nixsecrets resolve --edit secrets/a.yaml
      nixsecrets resolve --last
    """
    session = Session.open(start)
    git = session.repo.git
    if git is None:
        raise UsageError("resolve works on a merge of git, and there is no git here")
    asked = Asked(ours, theirs, last=last, keep_map=keep_map)
    if edit is not None:
        return _edited(session, git, options, asked, edit)
    return _resolved(session, git, options, asked)


def _resolved(session: Session, git: Git, options: RoadOptions, asked: Asked) -> int:
    with (
        session.writing(dry_run=options.dry_run),
        _deciding(session, git, options, asked) as decider,
    ):
        return _walked(session, git, decider, options)


def _edited(
    session: Session, git: Git, options: RoadOptions, asked: Asked, path: str
) -> int:
    """Merge, with the text that a person makes of both versions of a file.

    The repository is not locked while the editor is open.
    """
    with _deciding(session, git, options, asked) as decider:
        work = mergeedit.both(decider, path)

    def store(text: bytes) -> int:
        edited = asked._replace(edited={path: text})
        return _resolved(session, git, options, edited)

    ring = keyring(options.identity)
    return mergeedit.run(session, ring, work, store, dry_run=options.dry_run)


@contextlib.contextmanager
def _deciding(
    session: Session, git: Git, options: RoadOptions, asked: Asked
) -> Iterator[decide.Decider]:
    commits = _commits(git, last=asked.last)
    with (
        git.reader(limit=_LARGEST) as read,
        session.surveying() as begun,
        private.private_folder(os.environ) as folder,
    ):
        sides = trees.three(git, session.repo, commits, read)
        trees.refuse_links(sides, session.repo)
        choices = _choices(asked.ours, asked.theirs, sides.changed())
        if asked.keep_map:
            map_text = begun.map.decode()
        else:
            merged = trees.merged_map(sides, choices.get(MAP_NAME, {}))
            map_text = merged.text
            trees.refuse_own_map(sides, begun.map, map_text, folder)
            for entity in merged.removed if not asked.edited else ():
                ui.say(f"{'.'.join(entity)}: removed, as one side did")
        yield decide.Decider(
            sides,
            trees.world(session.repo, begun, map_text, sides),
            decide.opener(keyring(options.identity), once(unlock), folder),
            begun.unmerged,
            choices,
            allow_again=asked.keep_map,
            edited=asked.edited,
        )


def _commits(git: Git, *, last: bool) -> parted.Commits:
    """Return what is merged.

    Raises:
        NixsecretsError: git merges nothing, or HEAD is no merge.
    """
    if not last:
        found = parted.stopped(git)
        if found is None:
            raise NixsecretsError(
                "git is not merging anything",
                "nixsecrets resolve --last looks at the merge that git just committed",
            )
        return found
    found = parted.finished(git) or parted.replayed(git)
    if found is None:
        raise NixsecretsError(
            "HEAD is not a merge, rebase or cherry-pick that git just finished",
            "nixsecrets status",
        )
    return found


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
    session: Session, git: Git, decider: decide.Decider, options: RoadOptions
) -> int:
    merge = decider.decided()
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
    reporter = Reporter(decider, [*merge.clashes])
    for path, clash in merge.clashes.items():
        reporter.report(path, clash)
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

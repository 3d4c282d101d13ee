"""The report after a plan was applied: values to change, and what is left to do."""

import contextlib
import json
import posixpath
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from nixsecrets.cli import consent, show, ui
from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.session import Session
from nixsecrets.errors import NixsecretsError, SecretFileError, printable, shell_word
from nixsecrets.files.pieces import Piece, sealed
from nixsecrets.findings.catalogue import Finding
from nixsecrets.frozen import NamedTuple
from nixsecrets.keys.forms import Backend
from nixsecrets.plan import approvals
from nixsecrets.plan.diff import differing, differs_after
from nixsecrets.plan.model import Action, Plan, Step
from nixsecrets.repo import deleted
from nixsecrets.repo.worktree import Repo
from nixsecrets.world.world import World

if TYPE_CHECKING:
    from nixsecrets.apply.apply import Outcome

PARTIAL = 1
KEYS_SHOWN = 40


def report(
    session: Session,
    world: World,
    outcome: "Outcome",
    options: RoadOptions,
    unstaged: Collection[str] = (),
) -> int:
    """Report what was done, which values to change, and what to add to git.

    `unstaged` are written paths that git is not told of.

    Returns the exit code.
    """
    exposed = exposed_items(session.repo, outcome.done)
    if options.as_json:
        ui.answer_text(to_json(exposed))
    elif exposed:
        ui.say("change these values; those who lost access still know them:")
        for line in checklist_lines(exposed):
            ui.say(line)
        ui.say(closing_line(world, outcome.done))
    for note in outcome.notes:
        ui.warn(note)
    for path in outcome.hard_links:
        ui.warn(
            f"{show.path_text(path)} had other names (hard links),"
            " which keep the old content"
        )
    steps = [step for step in outcome.done if step.path not in unstaged]
    git_add(session, steps, stage=options.git_add)
    for failure in outcome.failed:
        what = f"skipped {show.path_text(failure.step.path)}: {failure.error.message}"
        ui.report_error(NixsecretsError(what, failure.hint))
    return PARTIAL if outcome.failed else 0


def git_add(
    session: Session, steps: Collection[Step], *, stage: bool, below: str = ""
) -> None:
    """Stage the written files, or print the `git add` line for untracked ones.

    Flakes see only files that git tracks.  `below` is the map's folder relative to the
    working directory.
    """
    git = session.repo.git
    if git is None:
        return
    written = [s.path for s in steps if s.action is not Action.DELETE]
    gone = {s.origin or s.path for s in steps} - set(written)
    if stage:
        known = gone & git.tracked(session.repo.root) if gone else set()
        git.add(session.repo.root, [*written, *sorted(known)])
        return
    deleted.note(session.repo, gone)
    # After a merge conflict the lock is staged with the file: it records its readers.
    merged = any(s.action is Action.CREATE and s.before is not None for s in steps)
    fresh = [s for s in steps if merged or s.before is None or s.origin is not None]
    new = [s.path for s in fresh if s.path in written]
    if new:
        paths = (posixpath.join(below, path) for path in new)
        ui.say("git add -- " + " ".join(map(shell_word, paths)))


def report_remaining(world: World, plan: Plan, carried: Collection[str]) -> None:
    """Report how many other files differ from the map, and unapproved keys.

    `carried` are configurations whose earlier drift this command resolved.
    """
    planned = {s.path for s in plan.steps} | {s.origin for s in plan.steps}
    count = len(differing(world, besides=planned))
    count += sum(differs_after(world, step) for step in plan.steps)
    if count or carried:
        files = show.counted(count + len(carried), "file")
        written = f", {len(carried)} of them written by this command" if carried else ""
        then = "; nixsecrets rekey" if count else ""
        ui.say(f"also differs from the map: {files}{written}{then}")
    others = approvals.line_on_others(world.map, consent.memory(world.repo).read())
    if others is not None:
        ui.say(others)


def report_problems(left: Sequence[Finding]) -> None:
    """Report what `check` will still fail on."""
    failing = [p for p in left if p.code.fails_check]
    if failing:
        paths = list(dict.fromkeys(show.path_text(p.path) for p in failing))
        rest = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        what = ", ".join(paths[:3]) + rest
        ui.say(f"also needs attention: {what}; nixsecrets status")


# --- the values that somebody who lost access may still know


class Item(NamedTuple):
    """One file with values to change: who knows them, and their key paths.

    `keys` are the paths that `--key` takes, split at `/`; it is empty for a file that
    is a single value (age, binary sops).  `unnamed` counts the values that `--key`
    cannot name.
    """

    path: str
    names: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    unnamed: int = 0


def exposed_items(repo: Repo, steps: Sequence[Step]) -> list[Item]:
    """Return the files that a step revoked from someone, with their present values."""
    return [_item(repo, step) for step in steps if step.losers]


def _item(repo: Repo, step: Step) -> Item:
    names = tuple(dict.fromkeys(step.losers))
    values: Sequence[Piece] = ()
    if step.backend is Backend.SOPS:
        with contextlib.suppress(SecretFileError):  # a spelling that only sops reads
            values = [p for p in sealed(step.path, repo.read(step.path)) if p.path]
    keys = tuple(dict.fromkeys(piece.place for piece in values if piece.place))
    return Item(step.path, names, keys, sum(not piece.place for piece in values))


def key_lines(keys: Sequence[Sequence[str]], unnamed: int) -> Iterator[str]:
    """Yield the paths of values as `--key` takes them, in a shell: `db/password`."""
    for key in keys[:KEYS_SHOWN]:
        yield shell_word("/".join(key))
    if len(keys) > KEYS_SHOWN:
        yield f"… and {len(keys) - KEYS_SHOWN} more (--json has all)"
    if unnamed:
        what = show.counted(unnamed, "value")
        yield f"… and {what} that --key cannot name (nixsecrets edit)"


def checklist_lines(found: Sequence[Item]) -> Iterator[str]:
    """Yield the checklist for a terminal."""
    for item in found:
        yield f"  {show.path_text(item.path)}  (known to {', '.join(item.names)})"
        for line in key_lines(item.keys, item.unnamed):
            yield f"      {line}"


def closing_line(world: World, steps: Sequence[Step]) -> str:
    """Return the line on whether `nixsecrets exposed` can repeat the list.

    It covers removed keys only: not a reader who stays in the map, nor a recipient
    that is not an age key.
    """
    if world.repo.git is None:
        return "keep this list: without git, nixsecrets exposed cannot repeat it"
    use = world.map.keys_in_use
    names: dict[str, None] = {}
    for step in steps:
        stay = (r.name for r in step.remove if r.recipient.key_id in use)
        names |= dict.fromkeys((*stay, *map(str, step.dropped)))
    if not names:
        return "nixsecrets exposed lists them until they have changed"
    who = ", ".join(map(printable, names))
    return (
        "keep this list: nixsecrets exposed covers values known to removed keys, not"
        " what"
        f" {who} knows"
    )


def to_json(found: Sequence[Item]) -> str:
    """Return the checklist for machines."""
    listed = [
        {
            "path": item.path,
            "known_to": list(item.names),
            "keys": [list(keys) for keys in item.keys],
        }
        for item in found
    ]
    return json.dumps({"version": 1, "exposed": listed}, indent=2)

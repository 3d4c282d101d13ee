"""`nixsecrets hook`: block commits that contain plaintext secrets."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nixsecrets.cli import ui
from nixsecrets.errors import (
    NixsecretsError,
    ProgramError,
    UsageError,
    counted,
    quoted,
)
from nixsecrets.findings.catalogue import Finding, failing
from nixsecrets.findings.guard.judge import Judge, Scanner
from nixsecrets.map.names import MAP_NAME
from nixsecrets.repo.changes import Change, Changes, Entry
from nixsecrets.repo.git import Git
from nixsecrets.repo.snapshot import Snapshot
from nixsecrets.repo.unmerged import GITHEAD, merging, unmerged
from nixsecrets.values.macs import Macs

if TYPE_CHECKING:  # not needed by `hook run`, which starts on every commit
    from nixsecrets.findings.hookfile import HookFile

FINDINGS = 1
_scan_option = click.option(
    "--scan",
    is_flag=True,
    help="Also search ordinary files for tokens; needs nixsecrets[scan].",
)
BLOB_LIMIT = 64 << 20


@click.group("hook")
def command() -> None:
    """Block commits that contain plaintext secrets.

    The hook checks the staged content, not the work tree.  The map determines which
    files must be encrypted; private keys and editors' copies of secrets are blocked
    everywhere.
    """


@command.command("install")
@click.option(
    "--pre-push", "push", is_flag=True, help="Also check commits before a push."
)
@_scan_option
@click.pass_obj
def install(start: Path, *, push: bool, scan: bool) -> None:
    """Install the hook in this repository.

    An existing hook is kept and runs first.

    \b
    Examples:
      nixsecrets hook install
      nixsecrets hook install --pre-push
    """
    # also below: 10 ms that `hook run`, on every commit, saves
    from nixsecrets.findings.hookfile import PUSH_HOOK, Standing

    git = _work_tree(start)
    for hook in _hooks(_folder(git)):
        if hook.name == PUSH_HOOK and not push:
            continue
        arguments = "hook run --scan" if scan else "hook run"
        if hook.name == PUSH_HOOK:
            arguments += ' --pushed="$1"'
        was = hook.standing()
        aside = hook.install(_own_command(), arguments)
        done = "installed again" if was is Standing.OURS else "installed"
        ui.say(f"{hook.name}: {done} in {hook.path}")
        if aside:
            ui.say(f"  the existing hook is kept as {hook.aside.name}, run first")


@command.command("uninstall")
@click.pass_obj
def uninstall(start: Path) -> None:
    """Remove the hook and restore the previous one."""
    git = _work_tree(start)
    removed = False
    for hook in _hooks(git.git_path("hooks")):
        had_other = os.path.lexists(hook.aside)
        if hook.uninstall():
            removed = True
            tail = "; the previous hook is restored" if had_other else ""
            ui.say(f"{hook.name}: removed{tail}")
    if not removed:
        ui.say("nothing to do: no hook of nixsecrets is installed")


@command.command("status")
@click.pass_obj
def status(start: Path) -> None:
    """Show which hooks are installed, and which hooks run before them."""
    from nixsecrets.findings.hookfile import Standing

    git = _work_tree(start)
    for hook in _hooks(git.git_path("hooks")):
        standing = hook.standing()
        line = f"{hook.name}: {standing.value}"
        if standing is not Standing.NONE:
            line += f" ({hook.path})"
        if standing is Standing.OURS and os.path.lexists(hook.aside):
            line += f", runs {hook.aside.name} first"
        ui.answer(line)


@command.command("run")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--all", "everything", is_flag=True, help="Check every file in the index."
)
@click.option("--from", "since", metavar="REV", help="Check each commit after REV …")
@click.option("--to", "until", metavar="REV", help="… up to this one (default: HEAD).")
@click.option("--pushed", metavar="REMOTE", hidden=True, help="Arguments of pre-push.")
@_scan_option
@click.pass_obj
def run(
    start: Path,
    *,
    files: tuple[Path, ...],
    everything: bool,
    since: str | None,
    until: str | None,
    pushed: str | None,
    scan: bool,
) -> int:
    """Check the staged content; the hook and CI call this.

    Alternatively checks the whole index, each commit of a range (so that a secret
    removed by a later commit is found), or the staged content of FILES.  Exit code 0:
    clean, 1: findings.

    \b
    Examples:
      nixsecrets hook run
      nixsecrets hook run --all
      nixsecrets hook run --from origin/main --to HEAD
    """
    if sum((bool(files), everything, bool(since or until), pushed is not None)) > 1:
        raise UsageError(
            "FILE, --all and --from/--to exclude each other", "give one of them"
        )
    if until is not None and since is None:
        raise UsageError("--to needs --from", "nixsecrets hook run --from REV --to REV")
    git = _work_tree(start)
    with ui.waiting("checking the files"):
        if files:
            wanted: Iterable[Changes] = [_some(git, start, files)]
        elif everything:
            staged = [change.new for change in git.everything_staged().changed]
            wanted = [_all(git, staged)]
        elif since is not None:
            tip = git.resolve(until or "HEAD")
            wanted = git.commits(tip, without=[git.resolve(since)])
        elif pushed is not None:
            wanted = _pushed(git, pushed)
        else:
            wanted = [git.staged()]
        found = _judged(git, wanted, _scanner() if scan else None)
    if git.has_journal and not (since or pushed):
        ui.warn_unfinished()  # no lock is taken: a commit never waits for a command
    return _report(found, staged=not (everything or since or pushed))


def _judged(
    git: Git, wanted: Iterable[Changes], scan: Scanner | None
) -> list[tuple[str, Finding]]:
    """Return the findings on changes, each with its commit ("" for the index)."""
    found: dict[Finding, str] = {}
    macs = Macs()
    cut: set[str] = set()
    last: str | None = ""
    with git.reader(limit=BLOB_LIMIT) as read:

        def reader(oid: str) -> bytes:
            data = read(oid)
            if len(data) >= BLOB_LIMIT:
                cut.add(oid)
            return data

        for changes in wanted:
            merge = changes.commit is None and merging(git)
            snapshot = Snapshot(git, reader, changes.commit)
            judge = Judge(snapshot, scan, macs.opening, merging=merge)
            commit = (changes.commit or "")[:12]
            for finding in judge.findings(changes.changed, changes.deleted):
                found.setdefault(finding, commit)
            unknown = changes.commit is None and not judge.maps.at_top
            there = unknown and (git.top / MAP_NAME).exists()
            if there and not snapshot.lookup([MAP_NAME]):
                ui.warn(
                    f"{MAP_NAME} is not in git, so its rules are ignored",
                    f"git add {MAP_NAME}",
                )
            last = changes.commit
        for finding in _regained(git, reader, last):
            found.setdefault(finding, (last or "")[:12])
    if macs.looked:
        ui.say(f"nixsecrets: {macs.looked}")
    if cut:
        number = counted(len(cut), "file")
        ui.warn(f"{number} over 64 MB: only the beginning was checked")
    return [(commit, finding) for finding, commit in found.items()]


def _regained(
    git: Git, read: Callable[[str], bytes], last: str | None
) -> Iterable[Finding]:
    """Return what a merge gives back: the last commit of a range, or that to be made.

    Without a `last` commit that to be made; "" for an empty range.
    """
    beginning = any(name.startswith(GITHEAD) for name in os.environ)
    if last == "" or (last is None and not (beginning or merging(git))):
        return ()
    from nixsecrets.repo import parted  # for merges alone, as below

    made = parted.committing(git, os.environ) if last is None else None
    commits = made or (last and parted.finished(git, last))
    if not commits or (last is None and unmerged(git, git.top)):
        return ()  # git commits no unmerged path
    from nixsecrets.merge import regained

    return regained.in_commit(git, commits, read, last)


def _scanner() -> Scanner:
    """Return the scanner for tokens (detect-secrets).

    Raises:
        ProgramError: it is not installed.
    """
    from nixsecrets.findings import scanner  # for --scan alone

    if not scanner.available():
        raise ProgramError(
            "--scan needs detect-secrets", "pipx install 'nixsecrets[scan]'"
        )
    return scanner.scan


def _all(git: Git, entries: Sequence[Entry]) -> Changes:
    old = {entry.path: entry for entry in git.head_entries([e.path for e in entries])}
    changed = (Change(entry, old.get(entry.path)) for entry in entries)
    return Changes(None, tuple(changed), ())


def _some(git: Git, start: Path, files: Sequence[Path]) -> Changes:
    """Return the staged content of files, or of all files in folders, as changes.

    Raises:
        UsageError: a file is not in the index.
    """
    paths: list[str] = []
    for file in files:
        full = start / file
        place = full.parent.resolve() / full.name
        if not place.is_relative_to(git.top):
            raise UsageError(f"{quoted(str(file))} is not in this work tree")
        paths.append(place.relative_to(git.top).as_posix())
    entries = git.entries(paths)
    known = {entry.path for entry in entries}
    for path in paths:
        if path not in known and not any(one.startswith(path + "/") for one in known):
            raise UsageError(f"{quoted(path)} is not staged", "git add it first")
    return _all(git, entries)


def _pushed(git: Git, remote: str) -> Iterator[Changes]:
    """Yield the commits of a push, which git lists on stdin (githooks(5), pre-push)."""
    for line in sys.stdin:
        words = line.split()
        if len(words) != 4:
            continue
        _, tip, _, there = words
        if tip.strip("0"):
            known = [there] if there.strip("0") and git.has(there) else []
            yield from git.commits(tip, without=known, remote=remote)


def _report(found: Sequence[tuple[str, Finding]], *, staged: bool) -> int:
    """Print the findings with their remedies; return the exit code."""
    if not found:
        return 0
    # 10 ms, for a commit that is blocked
    from nixsecrets.findings.reports import text_line

    for commit, finding in found:
        prefix = f"{commit} " if commit else ""
        ui.answer(f"{prefix}{text_line(finding)}")
        if finding.fix and not commit:
            ui.answer(f"    {finding.fix}")
    sys.stdout.flush()  # git shows both streams as one
    codes = sorted({finding.code.value for _, finding in found})
    ui.say(
        f"nixsecrets: {counted(len(found), 'finding')};"
        f" for details: nixsecrets explain {codes[0]}"
    )
    if staged:
        ui.say(
            "nixsecrets: to commit anyway: git commit --no-verify"
            " (or SKIP=nixsecrets-guard)"
        )
    return FINDINGS if failing(finding for _, finding in found) else 0


def _work_tree(start: Path) -> Git:
    """Return the work tree, with the index that git passes to hooks.

    Raises:
        NixsecretsError: there is no work tree, or git runs the hook for another one.
    """
    index = os.environ.get("GIT_INDEX_FILE")
    git = Git.find(start, index_file=start.resolve() / index if index else None)
    if git is None:
        raise NixsecretsError(
            "this is not a git repository", "git init, or go to one (or -C DIR)"
        )
    given = os.environ.get("GIT_DIR")
    if given and (start / given).resolve() != git.folder:
        raise NixsecretsError(
            "git runs this hook for another repository",
            "repositories whose work tree lies elsewhere are not supported",
        )
    return git


def _hooks(folder: Path) -> "list[HookFile]":
    from nixsecrets.findings.hookfile import COMMIT_HOOKS, PUSH_HOOK, HookFile

    return [HookFile(folder, name) for name in (*COMMIT_HOOKS, PUSH_HOOK)]


def _folder(git: Git) -> Path:
    """Return the folder of the repository's hooks.

    Raises:
        NixsecretsError: `core.hooksPath` is outside of this repository.
    """
    folder = git.git_path("hooks")
    configured = git.hooks_path()
    inside = folder.resolve().is_relative_to(git.top)
    if configured is not None and not inside:
        raise NixsecretsError(
            f"core.hooksPath is {quoted(configured)}, which is not this repository's",
            "let its pre-commit call: nixsecrets hook run"
            "\nor, for this repository alone: git config core.hooksPath .git/hooks",
        )
    return folder


def _own_command() -> tuple[str, ...]:
    """Return the command that started this program, for a hook without it on PATH."""
    started = Path(sys.argv[0])
    if started.name == "nixsecrets" and started.is_file():
        return (str(started.absolute()),)
    return (sys.executable, "-m", "nixsecrets")

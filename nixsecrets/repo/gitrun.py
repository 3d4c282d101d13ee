"""Running git: in a clean environment, and with its failures in our words.

For one command, for as many blobs as are asked for, and for a merge of two texts that
are in no repository.
"""

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nixsecrets.errors import ProgramError

BlobReader = Callable[[str], bytes]
_MOST_CONFLICTS = 127  # `git merge-file` ends with their number, above it failed

# git exports GIT_DIR, GIT_INDEX_FILE, GIT_PREFIX and more to its hooks, where they
# would point our calls at another repository.  These few are a person's or a CI's.
_KEPT = frozenset(
    {
        "GIT_CEILING_DIRECTORIES",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "GIT_EXEC_PATH",
    }
)
_KEPT_PREFIXES = ("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")
_ALWAYS = {
    "GIT_LITERAL_PATHSPECS": "1",  # a file may be called `:(top)*`
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone must not go to the network
    "GIT_NO_REPLACE_OBJECTS": "1",  # others get what was committed, not refs/replace
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` without what git exports to hooks, and with our own settings."""
    kept = {
        name: value
        for name, value in env.items()
        if not name.startswith("GIT_")
        or name in _KEPT
        or name.startswith(_KEPT_PREFIXES)
    }
    return kept | _ALWAYS


def run(
    arguments: Sequence[str],
    folder: Path,
    stdin: bytes = b"",
    index_file: Path | None = None,
) -> subprocess.CompletedProcess[bytes]:
    command, env = _command(arguments), _environment(index_file)
    try:
        return subprocess.run(
            command, cwd=folder, env=env, input=stdin, capture_output=True, check=False
        )
    except OSError as error:
        raise _no_git() from error


@contextlib.contextmanager
def started(
    arguments: Sequence[str], folder: Path, index_file: Path | None = None
) -> Iterator[Callable[[], subprocess.CompletedProcess[bytes]]]:
    """Start git, and give the function that waits for its end.

    Raises:
        ProgramError: git cannot be started.
    """
    try:
        process = subprocess.Popen(
            _command(arguments),
            cwd=folder,
            env=_environment(index_file),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise _no_git() from error

    def finished() -> subprocess.CompletedProcess[bytes]:
        said, complained = process.communicate()
        return subprocess.CompletedProcess(
            process.args, process.returncode, said, complained
        )

    with process:
        yield finished


def _command(arguments: Sequence[str]) -> tuple[str, ...]:
    # a file system monitor is a program of the repository's choice: listing needs none
    return ("git", "-c", "core.fsmonitor=false", *arguments)


def _environment(index_file: Path | None = None) -> dict[str, str]:
    env = clean_environment(os.environ)
    if index_file is not None:
        env["GIT_INDEX_FILE"] = str(index_file)
    return env


def failure(command: str, result: subprocess.CompletedProcess[bytes]) -> ProgramError:
    """Translate git's own words; they name files and settings, never content."""
    lines = result.stderr.decode(errors="replace").splitlines() or ["no message"]
    said = lines[0].removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
    if "dubious ownership" in said:
        hint = "run as the owner, or: git config --global --add safe.directory DIR"
    else:
        hint = f"see what `git {command}` says in this folder"
    return ProgramError(f"git {command} failed: {said}", hint)


def _no_git() -> ProgramError:
    return ProgramError("git cannot be started", "install git, or put it on PATH")


@contextlib.contextmanager
def blob_reader(top: Path, limit: int) -> Iterator[BlobReader]:
    """Give a function that reads a blob by its id, at most `limit` bytes of it.

    One process answers for all of them.

    Raises:
        ProgramError: git cannot be started, or (from the function) a blob is missing.
    """
    command = ("git", "-c", "core.fsmonitor=false", "cat-file", "--batch")
    try:
        process = subprocess.Popen(
            command,
            cwd=top,
            env=clean_environment(os.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise _no_git() from error
    with process:
        try:
            yield lambda oid: _ask(process, oid, limit)
        finally:
            process.kill()


def _ask(process: "subprocess.Popen[bytes]", oid: str, limit: int) -> bytes:
    """Ask a running `cat-file --batch` for one blob (`oid type size`, its content)."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101 - both are pipes
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(oid.encode() + b"\n")
        process.stdin.flush()
    head = process.stdout.readline().split()
    if len(head) != 3:
        raise ProgramError(
            f"git cannot read the object {oid[:12]}",
            "fetch it: git fetch --refetch (or leave out --filter when you clone)",
        )
    size = int(head[2])
    data = process.stdout.read(min(size, limit))
    rest = size - len(data) + 1
    while rest > 0 and (more := process.stdout.read(min(rest, 1 << 20))):
        rest -= len(more)
    return data


def merge_texts(
    folder: Path,
    mine: tuple[str, bytes],
    base: tuple[str, bytes],
    theirs: tuple[str, bytes],
) -> bytes:
    """Return two versions of a text as one, marks around what both changed.

    Each is a label and its bytes; they lie in `folder`, which is private, for a moment.

    Raises:
        ProgramError: git cannot merge them (they are not text).
    """
    sides = (mine, base, theirs)
    places = [folder / f"merge-{number}" for number in range(len(sides))]
    labels = [word for label, _ in sides for word in ("-L", label)]
    try:
        for place, (_, text) in zip(places, sides, strict=True):
            place.touch(mode=0o600)
            place.write_bytes(text)
        result = run(("merge-file", "-p", *labels, *map(str, places)), folder)
    finally:
        for place in places:
            place.unlink(missing_ok=True)
    if result.returncode > _MOST_CONFLICTS:
        raise ProgramError(
            "both versions cannot be shown together", "they are not text"
        )
    return result.stdout

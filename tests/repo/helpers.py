"""A fault injector for the seam, and what a run of a batch looks like here."""

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from typing_extensions import override

from nixsecrets.repo import fsops
from nixsecrets.repo.files import sha256
from nixsecrets.repo.fsops import FileOps
from nixsecrets.repo.locking import exclusive
from nixsecrets.repo.staging import Batch
from nixsecrets.repo.worktree import Repo

OLD = {
    "nixsecrets.toml": b"version = 1\n",
    "secrets/wifi.age": b"old wifi",
    "secrets/dns/key.yaml": b"old key",
    "secrets/moved.age": b"to be moved",
}
NEW = {
    "secrets/wifi.age": b"new wifi",
    "secrets/dns/key.yaml": b"new key",
    "secrets/new/deep/moved.age": b"to be moved",
}
REMOVED = "secrets/moved.age"


def tree(repo: Repo) -> dict[str, bytes]:
    """Return all files below the root except git's and the lock."""
    found = {}
    for place in sorted(repo.root.rglob("*")):
        path = place.relative_to(repo.root)
        if place.is_file() and path.parts[0] != ".git" and place.name != "lock":
            found[str(path)] = place.read_bytes()
    return found


def staging_names(repo: Repo) -> set[str]:
    """Return the names in the staging folder except the lock."""
    return {place.name for place in repo.staging.glob("*")} - {"lock"}


def after() -> dict[str, bytes]:
    """Return the files after `run_batch`."""
    return {path: data for path, data in (OLD | NEW).items() if path != REMOVED}


def fill(root: Path) -> None:
    """Make `root` hold the usual files, git's, and nothing else."""
    root.mkdir(exist_ok=True)
    for place in root.iterdir():
        if place.is_dir() and place.name != ".git":
            shutil.rmtree(place)
    for path, content in OLD.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def run_batch(repo: Repo, between: Callable[[Batch], None] | None = None) -> None:
    """Change two secrets and move a third; call `between` before the commit."""
    with exclusive(repo), Batch(repo) as batch:
        for path, content in NEW.items():
            old = repo.read_if_there(path)
            batch.stage(path, content, before=None if old is None else sha256(old))
        batch.delete(REMOVED, sha256(repo.read(REMOVED)))
        batch.flush()
        for path, content in NEW.items():
            assert batch.read_staged(path) == content
        if between is not None:
            between(batch)
        batch.commit()


class Counting(FileOps):
    """Counts the operations, and calls `act` before the `n`-th (from 1)."""

    def __init__(self, n: int = 0, act: Callable[[], None] = lambda: None) -> None:
        self.n, self.act, self.steps = n, act, 0

    @override
    def step(self, operation: str, path: str | int) -> None:
        self.steps += 1
        if self.steps == self.n:
            self.act()

    @override
    def write(self, descriptor: int, data: bytes | memoryview) -> int:
        if self.steps + 1 == self.n:
            os.write(descriptor, data[: len(data) // 2])  # torn
        return super().write(descriptor, data)


@contextmanager
def installed(ops: FileOps) -> Iterator[None]:
    """Use `ops` inside of the block."""
    before = fsops.use(ops)
    try:
        yield
    finally:
        fsops.use(before)


def die() -> None:
    """Kill this process, as a power failure would."""
    os.kill(os.getpid(), signal.SIGKILL)


def failing(number: int) -> Callable[[], None]:
    """Return a function that makes an operation fail with the errno `number`."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


def in_child(body: Callable[[], object], *, user: int | None = None) -> int:
    """Run `body` in a forked process; return its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if user is not None:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
            body()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        except BaseException:  # noqa: BLE001 (the child must not return to pytest)
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

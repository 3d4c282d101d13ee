"""A child process of `gitrun`: a program that runs, and pipes to and from it.

It does what `subprocess` does for git; that module and what it loads (locale,
selectors, signal, fcntl) take 3 ms, of a command that takes 75.
"""

import os
import select
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from nixsecrets.frozen import NamedTuple

_SOME = 1 << 16  # bytes, as many as a pipe holds


class Result(NamedTuple):
    """Exit code (negative for a signal) and output of a program that has ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


class Child:
    """A running program; at the end of a `with` block its pipes close, and it ends."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        env: Mapping[str, str],
        *,
        stdin: bool = True,
        stderr: bool = True,
    ) -> None:
        """Start a program of PATH; without a pipe, a stream is /dev/null.

        Raises:
            OSError: there is no such program, or no process for it.
        """
        null = os.open(os.devnull, os.O_RDWR)
        given, feed = os.pipe() if stdin else (null, -1)
        read, answers = os.pipe()
        complained, errors = os.pipe() if stderr else (-1, null)
        theirs = (given, answers, errors)
        to = [(os.POSIX_SPAWN_DUP2, end, at) for at, end in enumerate(theirs)]
        self.stdin = None if feed == -1 else os.fdopen(feed, "wb", buffering=0)
        self.stdout = os.fdopen(read, "rb")
        self.stderr = None if complained == -1 else os.fdopen(complained, "rb")
        self._said: dict[int, list[bytes]] = {}
        self._left = memoryview(b"")
        try:
            name = arguments[0]
            self._pid = os.posix_spawnp(name, arguments, env, file_actions=to)
        except BaseException:
            self._close()
            raise
        finally:
            for end in {null, *theirs}:
                os.close(end)
        self._code: int | None = None

    def finish(self, data: bytes = b"", seconds: float | None = None) -> Result | None:
        """Feed it `data`, and return the result; None if that takes too long.

        Then it still runs, and another call goes on waiting.
        """
        end = None if seconds is None else time.monotonic() + seconds
        outputs = [one for one in (self.stdout, self.stderr) if one is not None]
        numbers = [one.fileno() for one in outputs]
        if not self._said:
            self._said = {number: [] for number in numbers}
            self._left = memoryview(data)
        poll = select.poll()
        for number in numbers:
            poll.register(number, select.POLLIN)
        if self.stdin is not None:
            poll.register(self.stdin, select.POLLOUT)
        reading = len(numbers)
        while reading:
            left = None if end is None else max(0, end - time.monotonic()) * 1000
            ready = poll.poll(left)
            if not ready:
                return None
            for number, _ in ready:
                if number not in self._said:
                    self._feed(poll)
                elif part := os.read(number, _SOME):
                    self._said[number].append(part)
                else:
                    poll.unregister(number)
                    reading -= 1
        said = [b"".join(self._said[number]) for number in numbers]
        return Result(self.wait(), *said, *[b""] * (2 - len(said)))

    def _feed(self, poll: "select.poll") -> None:
        assert self.stdin is not None  # noqa: S101 - it was registered
        try:
            # so much is written without waiting, if the pipe is ready at all
            count = self.stdin.write(self._left[: select.PIPE_BUF]) or 0
            self._left = self._left[count:]
        except BrokenPipeError:
            self._left = memoryview(b"")  # it reads no more
        if not self._left:
            poll.unregister(self.stdin)
            self.stdin.close()
            self.stdin = None

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        if self._code is None:
            try:
                _, status = os.waitpid(self._pid, 0)
            except ChildProcessError:  # where SIGCHLD is ignored
                status = 0
            self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def kill(self) -> None:
        """Kill it, unless it has ended and was waited for."""
        if self._code is None:
            os.kill(self._pid, 9)

    def _close(self) -> None:
        for pipe in (self.stdin, self.stdout, self.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Self:
        """Return the child."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the pipes and wait."""
        self._close()
        self.wait()

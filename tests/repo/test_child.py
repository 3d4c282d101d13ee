"""A child of `gitrun` runs to its end whatever it reads, writes and leaves unread."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from nixsecrets.repo.child import Child, Result

ENV = dict(os.environ)
LARGE = bytes(range(256)) * 10_000  # more than a pipe holds


def shell(script: str, *, stdin: bool = True, stderr: bool = True) -> Child:
    return Child(("sh", "-c", script), ENV, stdin=stdin, stderr=stderr)


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    """Fail for a descriptor that is left open."""
    before = sorted(Path("/proc/self/fd").iterdir())
    yield
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_exit_code_and_both_outputs_are_returned() -> None:
    with shell("echo out; echo error >&2; exit 3") as child:
        assert child.finish() == Result(3, b"out\n", b"error\n")


def test_large_input_and_output_pass_through_together() -> None:
    with shell("tee /dev/stderr") as child:
        assert child.finish(LARGE) == Result(0, LARGE, LARGE)


def test_input_that_is_not_read_is_dropped() -> None:
    with shell("exec <&-; echo done") as child:
        assert child.finish(LARGE) == Result(0, b"done\n", b"")


def test_without_pipes_there_is_no_input_and_no_error() -> None:
    with shell("cat; echo lost >&2", stdin=False, stderr=False) as child:
        assert child.finish() == Result(0, b"", b"")


def test_a_call_that_took_too_long_is_followed_by_one_that_goes_on() -> None:
    with shell("echo one; read -r line; echo $line") as child:
        assert child.stdin is not None
        feed = os.dup(child.stdin.fileno())  # so that its input does not end
        try:
            assert child.finish(seconds=0.05) is None
            os.write(feed, b"two\n")
            assert child.finish() == Result(0, b"one\ntwo\n", b"")
        finally:
            os.close(feed)


def test_one_that_is_killed_says_so() -> None:
    with shell("echo $$; exec sleep 60") as child:
        assert child.stdout.readline()
        child.kill()
        assert child.finish() == Result(-9, b"", b"")
        child.kill()  # has no effect on another process of that number


def test_output_that_is_not_wanted_ends_a_program() -> None:
    with shell("exec cat /dev/zero", stdin=False):
        pass


def test_a_program_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        Child(("no-such-program",), ENV)


def test_it_gets_no_file_that_is_open_here(tmp_path: Path) -> None:
    place = tmp_path / "open"
    with place.open("wb"), shell("ls -l /proc/self/fd") as child:
        result = child.finish()
    assert result is not None
    assert os.fsencode(place) not in result.stdout


def test_where_its_end_is_not_told_the_exit_code_is_zero() -> None:
    import signal

    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with shell("exit 0") as child:
            assert child.finish() == Result(0, b"", b"")
    finally:
        signal.signal(signal.SIGCHLD, before)

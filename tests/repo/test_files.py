"""Single files: read without following links, written atomically."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from nixsecrets.repo import files, fsops
from nixsecrets.repo.fsops import FileOps
from tests.repo.helpers import Counting, failing, installed


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (3 << 20) + 5])
def test_content_and_hash_are_those_of_the_file(tmp_path: Path, size: int) -> None:
    data = os.urandom(size)
    (tmp_path / "x").write_bytes(data)
    assert files.read_bytes_nofollow(str(tmp_path / "x")) == data
    assert files.hash_file(str(tmp_path / "x")) == files.sha256(data)


def test_a_missing_file_has_no_hash(tmp_path: Path) -> None:
    assert files.hash_file(str(tmp_path / "x")) is None


@pytest.mark.parametrize("read", [files.read_bytes_nofollow, files.hash_file])
def test_links_folders_and_fifos_are_not_read(
    tmp_path: Path, read: Callable[[str], object]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="symbolic links"):
        read(str(tmp_path / "link"))
    for name in ("folder", "fifo"):
        with pytest.raises(OSError, match="not a regular file"):
            read(str(tmp_path / name))


def test_a_durable_write_replaces_in_one_move(tmp_path: Path) -> None:
    place = tmp_path / "x"
    files.write_durably(str(place), b"one")
    files.write_durably(str(place), b"two")
    assert place.read_bytes() == b"two"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [place]


def test_a_durable_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_bytes(b"old")
    for n in range(1, 4):
        with (
            installed(Counting(n, failing(errno.ENOSPC))),
            pytest.raises(OSError, match="No space"),
        ):
            files.write_durably(str(place), b"new")
        assert place.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [place]


def test_a_write_that_takes_one_byte_at_a_time_is_completed(tmp_path: Path) -> None:
    class Slow(FileOps):
        def write(self, descriptor: int, data: bytes | memoryview) -> int:
            return os.write(descriptor, data[:1])

    with installed(Slow()):
        files.write_durably(str(tmp_path / "x"), b"slowly")
    assert (tmp_path / "x").read_bytes() == b"slowly"


@pytest.mark.parametrize("number", [1, 100])
def test_many_files_are_flushed_by_one_call(tmp_path: Path, number: int) -> None:
    calls: list[str] = []

    class Watching(FileOps):
        def step(self, operation: str, path: str | int) -> None:
            calls.append(operation)
            assert path

    names = [str(tmp_path / str(n)) for n in range(number)]
    for name in names:
        Path(name).touch()
    with installed(Watching()):
        files.flush(names, [str(tmp_path)])
    fsyncs = calls.count("fsync")
    if number > 8 and calls.count("syncfs"):
        assert (calls.count("syncfs"), fsyncs) == (1, 0)
    else:
        assert fsyncs == number + 1


def test_without_syncfs_every_file_is_flushed(tmp_path: Path) -> None:
    flushed: list[str] = []

    class Without(FileOps):
        def step(self, operation: str, path: str | int) -> None:
            if operation == "fsync":
                flushed.append(str(Path(f"/proc/self/fd/{path}").readlink()))

        def syncfs(self, descriptor: int) -> bool:
            assert descriptor
            return False

    names = [str(tmp_path / str(n)) for n in range(20)]
    for name in names:
        Path(name).touch()
    with installed(Without()):
        files.flush(names, [str(tmp_path)])
    assert sorted(flushed) == sorted([*names, str(tmp_path)])


def test_a_folder_that_cannot_be_flushed_is_passed_over(tmp_path: Path) -> None:
    class Refusing(FileOps):
        def fsync(self, descriptor: int) -> None:
            raise OSError(errno.EINVAL, f"no fsync of {descriptor}")

    with installed(Refusing()):
        files.fsync_path(str(tmp_path))


def test_the_seam_is_put_back() -> None:
    before = fsops.ops
    with installed(Counting()):
        assert fsops.ops is not before
    assert fsops.ops is before


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.ENOSPC, "free some space"), (errno.EACCES, "owner and mode"), (0, None)],
)
def test_errors_say_what_failed_and_what_to_do(number: int, hint: str | None) -> None:
    error = files.explained(OSError(number, "x"), "write", "a\nb")
    assert error.message.startswith('cannot write "a\\nb": ')
    assert error.message == error.message.lower()
    assert (hint is None) == (error.hint is None)
    assert hint is None or hint in (error.hint or "")

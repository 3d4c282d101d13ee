"""The private folder: in memory, for this user alone, and removed afterwards."""

import os
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.repo import private
from nixsecrets.repo.private import private_folder, remove_leftovers
from tests.repo.helpers import Counting, failing, in_child, installed


@pytest.fixture
def env(other_disk: Path) -> Iterator[dict[str, str]]:
    """An environment whose runtime folder is a fresh one in memory."""
    yield {"XDG_RUNTIME_DIR": str(other_disk)}


def test_it_is_in_memory_and_nobody_else_can_enter(env: dict[str, str]) -> None:
    with private_folder(env) as folder:
        assert folder.parent == Path(env["XDG_RUNTIME_DIR"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert list(folder.iterdir()) == []


def test_it_and_all_in_it_are_gone_afterwards(
    env: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    with private_folder(env) as folder:
        (folder / "a/b").mkdir(parents=True)
        (folder / "a/b/plain").write_bytes(b"x")
        (folder / "link").symlink_to(tmp_path / "kept")
    assert not folder.exists()
    assert (tmp_path / "kept").is_dir()


def test_it_is_gone_after_an_error(env: dict[str, str]) -> None:
    with pytest.raises(KeyError), private_folder(env) as folder:
        raise KeyError
    assert not folder.exists()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_it_is_gone_after_a_signal(env: dict[str, str], name: str) -> None:
    def body() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        try:
            with private_folder(env) as folder:
                (folder / "plain").write_bytes(b"x")
                os.kill(os.getpid(), signal.Signals[name])
        except KeyboardInterrupt:
            raise SystemExit(130) from None

    assert in_child(body) == 128 + signal.Signals[name]
    assert list(Path(env["XDG_RUNTIME_DIR"]).iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_uses_is_not(
    env: dict[str, str],
) -> None:
    def killed() -> None:
        with private_folder(env) as folder:
            (folder / "plain").write_bytes(b"x")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(killed) == -signal.SIGKILL
    place = Path(env["XDG_RUNTIME_DIR"])
    assert len(list(place.iterdir())) == 1
    with private_folder(env) as living:
        assert list(place.iterdir()) == [living]
        assert remove_leftovers(env) == 0
        assert list(place.iterdir()) == [living]


def test_a_forked_worker_does_not_keep_it(env: dict[str, str]) -> None:
    with private_folder(env):
        assert in_child(lambda: None) == 0
        assert remove_leftovers(env) == 0


@pytest.mark.parametrize("value", ["", "relative", "/nowhere/at/all"])
def test_without_a_runtime_folder_shared_memory_is_used(value: str) -> None:
    with private_folder({"XDG_RUNTIME_DIR": value}) as folder:
        assert folder.parent == Path("/dev/shm")


def test_a_runtime_folder_on_a_disk_is_not_used(tmp_path: Path) -> None:
    with private_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) as folder:
        assert folder.parent == Path("/dev/shm")


def test_a_runtime_folder_that_others_can_write_to_is_not_used(
    env: dict[str, str],
) -> None:
    Path(env["XDG_RUNTIME_DIR"]).chmod(0o777)
    with private_folder(env) as folder:
        assert folder.parent == Path("/dev/shm")


def test_no_memory_file_system_is_an_error_that_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(private, "_SHARED_MEMORY", tmp_path)
    with (
        pytest.raises(NixsecretsError, match="no memory file system") as caught,
        private_folder({"XDG_RUNTIME_DIR": str(tmp_path)}),
    ):
        pass
    assert "tmpfs" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_said(env: dict[str, str]) -> None:
    with (
        pytest.raises(NixsecretsError, match="cannot remove the private folder"),
        private_folder(env) as folder,
    ):
        (folder / "plain").write_bytes(b"x")
        stack = installed(Counting(1, failing(5)))
        stack.__enter__()
    stack.__exit__(None, None, None)
    assert folder.exists()
    assert remove_leftovers(env) == 1


def test_the_answer_of_mount_is_read() -> None:
    assert private.type_in_mount_list(MACOS, Path("/")) == "apfs"
    assert private.type_in_mount_list(MACOS, Path("/Users/a (b)/.memory")) == "tmpfs"
    assert private.type_in_mount_list(MACOS, Path("/Volumes/x")) is None


MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
devfs on /dev (devfs, local, nobrowse)
tmpfs on /Users/a (b)/.memory (tmpfs, local, noowners, mounted by alice)
"""

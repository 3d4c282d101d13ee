"""What a repository brings along in its staging folder replaces nothing unasked."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from tests import gate
from tests.cli.conftest import changed, copied
from tests.fleet import Fleet

FOREIGN = b"{ evil = true; }\n"
TARGET = "flake.nix"
WRITING = (("rekey", "--yes"), ("sync",), ("set", "secrets/wifi.age"))


def _journal(fleet: Fleet, *, version: int = 1) -> dict[str, bytes]:
    """Return a journal that replaces flake.nix and removes a secret, and its file."""
    name = ".nixsecrets-" + "0" * 32
    place = fleet.root / TARGET
    before = hashlib.sha256(place.read_bytes()).hexdigest() if place.exists() else None
    after = hashlib.sha256(FOREIGN).hexdigest()
    wifi = hashlib.sha256(fleet.read("secrets/wifi.age")).hexdigest()
    lines: list[dict[str, object]] = [
        {"nixsecrets-journal": version, "entries": 2},
        {
            **{"path": TARGET, "before": before, "after": after},
            **{"staged": name, "beside": None},
        },
        {
            **{"path": "secrets/wifi.age", "before": wifi, "after": None},
            **{"staged": None, "beside": None},
        },
    ]
    if version == 2:
        lines[0]["mac"] = "0" * 64
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return {"journal": text.encode(), name: FOREIGN}


def _plant(fleet: Fleet, folder: Path, *, version: int = 1) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, data in _journal(fleet, version=version).items():
        (folder / name).write_bytes(data)


@pytest.fixture
def fleet(ready: Fleet) -> Fleet:
    """A repository with a flake."""
    (ready.root / TARGET).write_text("{ }\n")
    ready.commit("a flake")
    shutil.rmtree(ready.root / ".git/nixsecrets")
    return ready


@pytest.fixture
def unpacked(fleet: Fleet) -> Fleet:
    """The same from an archive, with a journal that its maker put there."""
    archive = io.BytesIO()
    _plant(fleet, fleet.root / ".git/nixsecrets")
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(fleet.root, "repo")
    shutil.rmtree(fleet.root)
    archive.seek(0)
    with tarfile.open(fileobj=archive) as tar:
        tar.extractall(fleet.root.parent, filter="tar")
    return fleet


@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
@pytest.mark.parametrize("version", [1, 2])
def test_a_journal_from_an_archive_replaces_nothing_and_its_files_are_named(
    unpacked: Fleet, arguments: tuple[str, ...], version: int
) -> None:
    _plant(unpacked, unpacked.root / ".git/nixsecrets", version=version)
    before = unpacked.snapshot()
    done = unpacked.run(*arguments, stdin="x")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-3:] == [
        "nixsecrets: error: an interrupted run is recorded here that you did not start"
        ' on this machine; it would change "flake.nix", "secrets/wifi.age"',
        "nixsecrets: hint: if it came with the repository: `nixsecrets recover"
        " --discard`",
        "nixsecrets: hint: if it is yours (of an older nixsecrets, another user, or the"
        " folder was moved): `nixsecrets recover` lists its files and asks",
    ]
    assert changed(unpacked, before) == set()


def test_recover_without_a_terminal_lists_its_files_and_replaces_nothing(
    unpacked: Fleet,
) -> None:
    before = unpacked.snapshot()
    done = unpacked.run("recover")
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: warning: you did not start this run on this machine; it would\n"
        '  replace     "flake.nix"\n'
        '  remove      "secrets/wifi.age"\n'
        "nixsecrets: error: nothing was changed: cannot prompt without a terminal\n"
        "nixsecrets: hint: nixsecrets recover --finish, or --discard\n"
    )
    assert changed(unpacked, before) == set()


def test_discard_drops_it_and_the_next_command_works(unpacked: Fleet) -> None:
    before = unpacked.snapshot()
    unpacked.ok("recover", "--discard")
    assert changed(unpacked, before) == set()
    assert {place.name for place in (unpacked.root / ".git/nixsecrets").iterdir()} == {
        "lock"
    }
    unpacked.ok("rekey", "--yes")


def test_who_says_finish_gets_it_and_reads_each_file(unpacked: Fleet) -> None:
    done = unpacked.run("recover", "--finish")
    assert done.returncode == 0
    assert done.stderr.endswith(
        "completed an interrupted run: 2 files put in place\n"
        '  replaced    "flake.nix"\n'
        '  removed     "secrets/wifi.age"\n'
    )
    assert unpacked.read(TARGET) == FOREIGN


def test_a_journal_without_git_is_no_better(fleet: Fleet) -> None:
    shutil.rmtree(fleet.root / ".git")
    _plant(fleet, fleet.root / ".nixsecrets")
    before = fleet.snapshot()
    assert fleet.run("rekey", "--yes").returncode == 1
    assert changed(fleet, before) == {".nixsecrets/lock"}


# --- the folder ---------------------------------------------------------------------


def _link(fleet: Fleet) -> Path:
    place = fleet.root.parent / "elsewhere"
    _plant(fleet, place)
    (fleet.root / ".git/nixsecrets").symlink_to(place)
    return place


def _open_to_all(fleet: Fleet) -> Path:
    place = fleet.root / ".git/nixsecrets"
    _plant(fleet, place)
    place.chmod(0o777)
    return place


def _of_a_group(fleet: Fleet) -> Path:
    place = fleet.root / ".git/nixsecrets"
    _plant(fleet, place)
    place.chmod(0o2770)
    return place


def _of_another(fleet: Fleet) -> Path:
    place = fleet.root / ".git/nixsecrets"
    _plant(fleet, place)
    os.chown(place, 12345, 12345)
    return place


@pytest.mark.parametrize(
    ("make", "objection"),
    [
        (_link, "it is a link, not a folder"),
        (_open_to_all, "others may write it (mode 0777)"),
        (_of_a_group, "others may write it (mode 2770)"),
        (_of_another, "it belongs to another user (uid 12345)"),
    ],
)
def test_a_staging_folder_that_is_not_ours_alone_is_not_used(
    fleet: Fleet, make: object, objection: str
) -> None:
    assert callable(make)
    if make is _of_another and os.geteuid() != 0:
        gate.absent("root", "files of another owner")
    place = make(fleet)
    there = {one.name: one.read_bytes() for one in place.iterdir()}
    before = fleet.snapshot()
    for arguments in (*WRITING, ("recover", "--finish"), ("recover", "--discard")):
        done = fleet.run(*arguments, stdin="x")
        assert done.returncode == 1
        folder = fleet.root / ".git/nixsecrets"
        assert done.stderr.endswith(
            f'nixsecrets: error: the staging folder "{folder}" cannot be trusted:'
            f" {objection}\n"
            "nixsecrets: hint: inspect it, then remove it or restrict it to yourself"
            " (chmod 700)\n"
        )
    assert fleet.run("check").returncode == 0
    assert changed(fleet, before) == set()
    assert {one.name: one.read_bytes() for one in place.iterdir()} == there


# --- the key ----------------------------------------------------------------------


def test_the_key_is_the_persons_own_and_in_no_repository(ready: Fleet) -> None:
    place = ready.home / ".local/state/nixsecrets/journal-key"
    assert place.stat().st_mode & 0o7777 == 0o600
    assert place.parent.stat().st_mode & 0o077 == 0
    key = place.read_bytes()
    assert len(key) == 32
    for file in ready.root.rglob("*"):
        assert not file.is_file() or key not in file.read_bytes()


def test_a_key_that_others_may_write_signs_nothing(
    template: Fleet, tmp_path: Path
) -> None:
    fleet = copied(template, tmp_path / "fleet")
    (fleet.home / ".local/state/nixsecrets/journal-key").chmod(0o666)
    fleet.ok("set", "secrets/wifi.age", "--yes", stdin="a value")
    assert not (fleet.root / ".git/nixsecrets/journal").exists()

"""Many sops files are verified by one run of sops; the others one by one."""

import os
import re
import resource
import stat
import sys
from pathlib import Path

import pytest

from nixsecrets.errors import ProgramError
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops import metadata, operations, publish, verify
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.program import SopsProgram
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key

KEY = age_key()
ALICE = reader(KEY)
NAMES = [*sopsfiles.PLAIN, "many.yaml"]


def sample(name: str) -> bytes:
    return sopsfiles.sample("3.11", name, ALICE.recipient.text)


def read(
    program: SopsProgram, names: list[tuple[str, bytes]], folder: Path
) -> set[int]:
    files = [(format_for(name), data) for name, data in names]
    return publish.read_by_sops(program, files, identity=KEY.private, workdir=folder)


def tampered(name: str) -> bytes:
    """A file with a value that its MAC does not know."""
    data = sample(name)
    start = data.index(b"ENC[")
    end = data.index(b"]", start) + 1
    return data[:start] + b"other" + data[end:]


def logging(folder: Path, script: str = "") -> SopsProgram:
    """A sops that leaves a line for each of its runs."""
    path = folder / "sops"
    real = sopsfiles.old_sops().path
    runs = folder / "runs"
    path.write_text(
        f"#!/bin/sh\necho \"$3 $#\" >> '{runs}'\n{script}\nexec '{real}' \"$@\"\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return SopsProgram(path, dict(os.environ))


def runs(folder: Path) -> list[str]:
    """The command of each run."""
    return [line.split()[0] for line in (folder / "runs").read_text().splitlines()]


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_files_of_every_format_are_read_in_one_run(
    version: str, tmp_path: Path
) -> None:
    names = [(name, sample(name)) for name in NAMES]
    assert read(sopsfiles.SOPS[version](), names, tmp_path) == set(range(len(NAMES)))


def test_one_run_is_enough_for_hundreds_of_files(tmp_path: Path) -> None:
    program = logging(tmp_path)
    files = [("s.yaml", sample("s.yaml"))] * 600
    assert read(program, files, tmp_path) == set(range(600))
    assert runs(tmp_path) == ["publish"]


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("name", sopsfiles.PLAIN)
def test_a_file_whose_mac_is_wrong_is_not_read(
    name: str, version: str, tmp_path: Path
) -> None:
    files = [("s.yaml", sample("s.yaml")), (name, tampered(name))]
    assert read(sopsfiles.SOPS[version](), files, tmp_path) == {0}


# What a program does that is told to publish, instead of it; `go` connects and asks.
ODD = {
    "connects, and says nothing": "go(b'')",
    "ends in the middle of a head": "go(b'PUT /v1/000000.ya')",
    "ends in the middle of a body": "go(put(0, 'Content-Length: 9') + b'x')",
    "promises more than memory holds": "go(put(0, 'Content-Length: ' + '9' * 17))",
    "promises more than a number holds": "go(put(0, 'Content-Length: ' + '9' * 30))",
    "promises a number without end": "go(put(0, 'Content-Length: ' + '9' * 5000))",
    "puts a file that nobody has": "go(put('9' * 5000))",
    "speaks something else": "go(os.urandom(1 << 17))",
    "prints a lot": "print('x' * 3_000_000)",
    "prints a lot before it asks": "line = go(b''); print('x' * 3_000_000)",
    "opens two lines and asks at one": "idle = go(b''); go(put(0), wait=True)",
    "is killed": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("does", ODD.values(), ids=ODD)
def test_a_sops_that_does_anything_else_is_survived(does: str, tmp_path: Path) -> None:
    path = tmp_path / "sops"
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, os, socket, sys\n"
        "config = json.load(open(sys.argv[sys.argv.index('--config') + 1]))\n"
        "door = config['destination_rules'][0]['vault_address']\n"
        "def go(data, wait=False):\n"
        "    line = socket.socket(socket.AF_UNIX)\n"
        "    line.connect(door.removeprefix('unix://'))\n"
        "    line.sendall(data)\n"
        "    return wait and line.recv(99) or line\n"
        "def put(place, *headers):\n"
        "    head = [f'PUT /v1/{place:06}.yaml HTTP/1.1', *headers, '', '']\n"
        "    return '\\r\\n'.join(head).encode()\n"
        f"{does}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    program = SopsProgram(path, dict(os.environ))
    found = read(program, [("s.yaml", sample("s.yaml"))], tmp_path)
    assert found <= {0}


def test_files_without_room_for_them_are_not_read(tmp_path: Path) -> None:
    program = logging(tmp_path)
    files = [("s.yaml", sample("s.yaml"))]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        assert read(program, files, tmp_path) == set()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["sops"]


def test_nothing_is_left_in_the_folder(tmp_path: Path) -> None:
    read(sopsfiles.old_sops(), [("s.yaml", sample("s.yaml"))], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_socket_whose_path_would_be_too_long_is_not_tried(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    program = logging(tmp_path)
    assert read(program, [("s.yaml", sample("s.yaml"))], deep) == set()
    assert not (tmp_path / "runs").exists()


def test_a_program_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    nothing = SopsProgram(tmp_path / "no-such-program", {})
    with pytest.raises(ProgramError, match="cannot run"):
        read(nothing, [("s.yaml", sample("s.yaml"))], tmp_path)


# --- as it is used -------------------------------------------------------------------


def rewritten(
    name: str, old: bytes | None = None, *, lie: bool = False
) -> tuple[SopsFile, SopsSealed]:
    """A file under a new data key; `lie`: with a value that its MAC does not know."""
    sealed = operations.reencrypt(
        name,
        old or sample(name),
        [ALICE.identity],
        [ALICE.recipient],
        sops=SopsProgram(Path("no-such-program"), {}),
        workdir=Path("no-such-folder"),
    )
    data = sealed.data
    if lie:
        data = re.sub(rb"ENC\[[^\]]*\]", b"other", data, count=1)
    return metadata.parse(name, data), sealed


def test_files_that_were_reencrypted_take_one_run(tmp_path: Path) -> None:
    written = [rewritten(name) for name in ("s.yaml", "s.json", "s.ini", "s.bin")]
    program = logging(tmp_path)
    verify.verify_values(written, sops=program, workdir=tmp_path)
    assert runs(tmp_path) == ["publish"]


def test_what_was_not_read_at_once_is_read_alone(tmp_path: Path) -> None:
    """Here with a sops that cannot publish."""
    written = [rewritten("s.yaml"), rewritten("s.json")]
    program = logging(tmp_path, 'test "$3" = publish && exit 1')
    verify.verify_values(written, sops=program, workdir=tmp_path)
    assert runs(tmp_path) == ["publish", "decrypt", "decrypt"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_wrong_file_among_many_is_named_as_if_it_were_alone(
    place: int, tmp_path: Path
) -> None:
    written = [rewritten("s.yaml", lie=number == place) for number in range(3)]
    sops = sopsfiles.old_sops()
    wrong = verify.verify_values(written, sops=sops, workdir=tmp_path)
    assert list(wrong) == [place]
    assert "MAC of the sops file does not match" in wrong[place].message


def test_a_file_that_sops_stops_at_does_not_make_the_rest_slow(tmp_path: Path) -> None:
    written = [rewritten("s.yaml", lie=number in {0, 4}) for number in range(9)]
    program = logging(tmp_path)
    wrong = verify.verify_values(written, sops=program, workdir=tmp_path)
    assert list(wrong) == [0, 4]
    assert runs(tmp_path) == ["publish"] * 3 + ["decrypt"] * 2


NO_VERSION = ("s.json", rb',\n\t\t"version": "[^"]*"', b"")
ODD_VERSION = ("s.yaml", rb"version: .*", b"version: 3.x")
NUMBER = ("s.bin", rb"(data.*),type:str\]", rb"\1,type:int]")


@pytest.mark.parametrize(("name", "old", "new"), [NO_VERSION, ODD_VERSION, NUMBER])
def test_what_sops_would_not_decrypt_is_refused_among_many_as_alone(
    name: str, old: bytes, new: bytes, tmp_path: Path
) -> None:
    plaintext = b"5" if name == "s.bin" else sopsfiles.PLAIN[name]
    readers = [ALICE.recipient.text]
    program = sopsfiles.old_sops()
    data = sopsfiles.encrypt(program, name, plaintext, readers, tmp_path)
    written = [rewritten(name, re.sub(old, new, data, count=1))]
    for number in (1, 3):
        wrong = verify.verify_values(written * number, sops=program, workdir=tmp_path)
        assert list(wrong) == list(range(number))
        assert all(
            re.search("sops (decrypt|rejects)", one.message) for one in wrong.values()
        )

"""Many sops files are read by one run of sops; what it does not read is read alone."""

import os
import re
import stat
from pathlib import Path

import pytest

from nixsecrets.errors import ProgramError, SecretFileError
from nixsecrets.secretfiles import sopsmany, sopsmeta, sopsops, sopsverify
from nixsecrets.secretfiles.program import SopsProgram
from nixsecrets.secretfiles.sopsgrant import SopsSealed
from nixsecrets.secretfiles.sopsmeta import SopsFile, format_for
from tests.fleet import age_key
from tests.secretfiles import sopsfiles
from tests.secretfiles.agekeys import reader

KEY = age_key()
ALICE = reader(KEY)
NAMES = [*sopsfiles.PLAIN, "many.yaml"]


def sample(name: str) -> bytes:
    return sopsfiles.sample("3.11", name, ALICE.recipient.text)


def read(
    program: SopsProgram, names: list[tuple[str, bytes]], folder: Path
) -> set[int]:
    files = [(format_for(name), data) for name, data in names]
    return sopsmany.read_by_sops(program, files, identity=KEY.private, workdir=folder)


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


def test_one_run_is_enough_for_more_files_than_a_wave_has(tmp_path: Path) -> None:
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


def rewritten(name: str, *, lie: bool = False) -> tuple[SopsFile, SopsSealed]:
    """A file under a new data key; `lie`: with a value that its MAC does not know."""
    sealed = sopsops.reencrypt(
        name,
        sample(name),
        [ALICE.identity],
        [ALICE.recipient],
        sops=SopsProgram(Path("no-such-program"), {}),
        workdir=Path("no-such-folder"),
    )
    data = sealed.data
    if lie:
        data = re.sub(rb"ENC\[[^\]]*\]", b"other", data, count=1)
    return sopsmeta.parse(name, data), sealed


def test_files_that_were_reencrypted_take_one_run(tmp_path: Path) -> None:
    written = [rewritten(name) for name in ("s.yaml", "s.json", "s.ini", "s.bin")]
    program = logging(tmp_path)
    sopsverify.verify_values(written, sops=program, workdir=tmp_path)
    assert runs(tmp_path) == ["publish"]


def test_what_was_not_read_at_once_is_read_alone(tmp_path: Path) -> None:
    """Here by a sops that does not know how to publish."""
    written = [rewritten("s.yaml"), rewritten("s.json")]
    program = logging(tmp_path, 'test "$3" = publish && exit 1')
    sopsverify.verify_values(written, sops=program, workdir=tmp_path)
    assert runs(tmp_path) == ["publish", "decrypt", "decrypt"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_wrong_file_among_many_is_named_as_if_it_were_alone(
    place: int, tmp_path: Path
) -> None:
    written = [rewritten("s.yaml", lie=number == place) for number in range(3)]
    with pytest.raises(SecretFileError, match="MAC of the sops file does not fit"):
        sopsverify.verify_values(written, sops=sopsfiles.old_sops(), workdir=tmp_path)

"""The lines of dotenv and INI files are those that sops reads."""

import json
import time
from pathlib import Path

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.flat import Kind, dotenv_lines, ini_lines
from nixsecrets.files.sops.values import leaves
from tests.files import sopsfiles
from tests.fleet import age_key, run_program

OWNER = age_key()
INI = '''\
above = 1
# a comment
[one]
plain = two words ; beside
colon: v
quoted = "q # r"
single = 's'
back = `b ; c`
long = """first
 second = x
[no section]
third""" # behind
empty =
several = `1
2`
[two] ; beside
a.b = c=d
last = """x"""'''
DOTENV = 'A=1\n# a comment\nB=two = three\n C = "d" \nD=\n'


def as_sops_reads_it(version: str, name: str, text: str, folder: Path) -> object:
    """The values of a text by section and name, as sops prints them in JSON."""
    program = sopsfiles.SOPS[version]()
    label = OWNER.public
    data = sopsfiles.encrypt(program, name, text.encode(), [label], folder)
    (folder / name).write_bytes(data)
    argv = [str(program.path), "decrypt", "--output-type", "json", name]
    env = {**program.env, "SOPS_AGE_KEY": OWNER.private}
    return json.loads(run_program(*argv, env=env, cwd=folder))


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_an_ini_file_has_the_values_that_sops_reads(
    version: str, tmp_path: Path
) -> None:
    found: dict[str, dict[str, object]] = {}
    for leaf in leaves(SopsFormat.INI, INI.encode()):
        section, name = leaf.path
        found.setdefault(section, {})[name] = leaf.value
    assert found == as_sops_reads_it(version, "f.ini", INI, tmp_path)


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_a_dotenv_file_has_the_values_that_sops_reads(
    version: str, tmp_path: Path
) -> None:
    found = {
        leaf.path[0]: leaf.value for leaf in leaves(SopsFormat.DOTENV, DOTENV.encode())
    }
    assert found == as_sops_reads_it(version, "f.env", DOTENV, tmp_path)


@pytest.mark.parametrize(("read", "text"), [(ini_lines, INI), (dotenv_lines, DOTENV)])
def test_lines_stand_where_they_say(read: object, text: str) -> None:
    lines = list(ini_lines(text) if read is ini_lines else dotenv_lines(text))
    assert "".join(text[line.start : line.end] for line in lines) == text
    for line in lines:
        assert text.count("\n", 0, line.start) + 1 == line.number
        start, end = line.comment
        assert start == end or text[start] in "#;"
        if line.kind is Kind.PAIR:
            assert line.value in text[slice(*line.span)]
            assert text[: line.name_end].endswith(line.name)
    assert not any(line.kind is Kind.BROKEN for line in lines)


@pytest.mark.parametrize(
    "text",
    [f"a{' ' * 1_000_000}b\n", "a=`\n`\n" * 80_000],
    ids=["blanks", "quotes"],
)
def test_an_ini_file_is_read_in_time_that_grows_with_its_size(text: str) -> None:
    start = time.process_time()
    assert sum(1 for _ in ini_lines(text))
    assert time.process_time() - start < 20  # minutes to hours before


@pytest.mark.parametrize(
    "name", [f"age__list_{'9' * 5000}__map_enc", f"x{'__map_a' * 3000}"]
)
def test_metadata_that_nobody_writes_is_refused_and_no_bug(name: str) -> None:
    with pytest.raises(SecretFileError):
        metadata.parse("f.env", f"A=1\nsops_{name}=x\n".encode())

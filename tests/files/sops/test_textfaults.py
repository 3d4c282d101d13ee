"""A text that sops refuses: the place of the mistake, and a spelling that works."""

from pathlib import Path

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import operations
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.program import SopsProgram
from tests.files import sopsfiles
from tests.files.sops.test_operations import ALICE

FAULTS = [
    ("a.yaml", "k: v\n# note\n1: x\n", 3, "key 1 is not text", '"1": x'),
    ("a.yaml", "k:\n  true: x\n", 2, "key true is not text", '"true": x'),
    ("a.yaml", "k: v\nk: w\n", 2, "key k is duplicated", "j: w"),
    (
        "a.yaml",
        "k:\n  n: 12345678901234567890\n",
        2,
        "k/n is a number with more digits than sops keeps",
        'n: "12345678901234567890"',
    ),
    ("a.yaml", "k: v\nj: - x\n", 2, "", 'j: "- x"'),
    ("a.yaml", "k: v\n---\n- x\n", 3, "its top level has no keys", "k: x"),
    ("a.yaml", "- x\n", 1, "its top level has no keys", "k: x"),
    ("a.json", '{"k": "v",\n"j" 1}', 2, "", '"j": 1}'),
    ("a.json", "[1]", 1, "its top level is not an object", '{"k": [1]}'),
    ("a.env", "K=v\n  # note\n", 2, "not NAME=value", "# note"),
    ("a.env", "K=v\nline two\n", 2, "not NAME=value", "J=v\\nline two"),
    ("a.ini", "[s]\nk = v\n  more\n", 3, "not name = value", "; more"),
]


@pytest.fixture(params=sopsfiles.SOPS)
def sops(request: pytest.FixtureRequest) -> SopsProgram:
    return sopsfiles.SOPS[request.param]()


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    return tmp_path


def make(path: str, text: str, sops: SopsProgram, workdir: Path) -> SopsSealed:
    return operations.create(
        path, text.encode(), [ALICE.recipient], options=(), sops=sops, workdir=workdir
    )


@pytest.mark.parametrize(("path", "text", "line", "words", "better"), FAULTS)
def test_the_first_mistake_is_named_with_its_line_and_the_advice_works(
    path: str,
    text: str,
    line: int,
    words: str,
    better: str,
    sops: SopsProgram,
    workdir: Path,
) -> None:
    with pytest.raises(SecretFileError) as caught:
        make(path, text, sops, workdir)
    kind = {"env": "dotenv"}.get(path[2:], path[2:])
    start = f"sops cannot store the content as {kind} (line {line})"
    assert caught.value.message.startswith(start)
    assert words in caught.value.message
    assert caught.value.line == line
    lines = text.splitlines()
    lines[line - 1] = better
    make(path, "\n".join(lines) + "\n", sops, workdir)


def test_an_edit_with_a_number_that_sops_cannot_store_names_it(
    sops: SopsProgram, workdir: Path
) -> None:
    sealed = make("s.yaml", "a: x\n", sops, workdir)
    with pytest.raises(SecretFileError) as caught:
        operations.replace_content(
            "s.yaml",
            sealed.data,
            [ALICE.identity],
            b"a: x\nn: 12345678901234567890\n",
            sops=sops,
            workdir=workdir,
        )
    assert caught.value.line == 2
    assert caught.value.hint == 'write it in double quotes: n: "…"'


@pytest.mark.parametrize("path", ["a.yaml", "a.json", "a.env", "a.ini"])
def test_a_byte_order_mark_is_called_one(
    path: str, sops: SopsProgram, workdir: Path
) -> None:
    text = {"json": '{"k": "v"}', "yaml": "k: v\n"}.get(path[2:], "k=v\n")
    with pytest.raises(SecretFileError) as caught:
        make(path, "\ufeff" + text, sops, workdir)
    assert caught.value.message == "the text begins with a byte order mark"
    assert caught.value.line == 1
    make(path, text, sops, workdir)


def test_a_line_break_of_unicode_in_quotes_has_a_spelling_that_works(
    sops: SopsProgram, workdir: Path
) -> None:
    with pytest.raises(SecretFileError) as caught:
        make("a.yaml", 'k: "x\x85y"\n', sops, workdir)
    assert caught.value.hint == r'write U+0085 as \N, in double quotes: k: "…\N…"'
    make("a.yaml", 'k: "x\\Ny"\n', sops, workdir)


@pytest.mark.parametrize("spelled", ["\u2028", "\\L", "\\P"])
def test_separators_that_no_spelling_keeps_are_left_to_set_key(
    spelled: str, sops: SopsProgram, workdir: Path
) -> None:
    with pytest.raises(SecretFileError) as caught:
        make("a.yaml", f'k: "x{spelled}y"\n', sops, workdir)
    assert "nixsecrets set --key stores them" in str(caught.value.hint)

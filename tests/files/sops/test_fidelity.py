"""What is written compared with what sops returns, and spellings that preserve it."""

import re
from pathlib import Path

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops import fidelity, opening, operations, plaintexts
from nixsecrets.files.sops.grant import SopsSealed
from tests import gate
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import SHARED, age_key

ALICE = reader(age_key())
FORMS = {"yaml": "s.yaml", "json": "s.json", "ini": "s.ini", "env": "s.env"}


def created(version: str, name: str, text: str, folder: Path) -> SopsSealed:
    """Encrypt a text as `set FILE` does, with the real sops."""
    program = sopsfiles.SOPS[version]()
    return operations.create(
        name,
        text.encode(),
        [ALICE.recipient],
        options=(),
        sops=program,
        workdir=folder,
    )


def printed(version: str, name: str, data: bytes, folder: Path) -> str:
    program = sopsfiles.SOPS[version]()
    found = opening.decrypt(name, data, [ALICE.identity], sops=program, workdir=folder)
    return found.decode()


# form, text, what is said of it, the text that the hint asks for, and its values
LOST = {
    "octal": ("yaml", "pin: 0123\n", "number (octal)", 'pin: "0123"\n'),
    "zeros": ("yaml", "pin: 0099\n", "leading zeros", 'pin: "0099"\n'),
    "underscore": ("yaml", "a: 123_456\n", "underscores", 'a: "123_456"\n'),
    "exponent": ("yaml", "h: 0e12345\n", "exponent", 'h: "0e12345"\n'),
    "digits": ("yaml", f"t: {'1234567890' * 3}\n", "more digits", None),
    "hexadecimal": ("yaml", "a: 0x1F\n", "hexadecimal", 'a: "0x1F"\n'),
    "octal, new": ("yaml", "a: 0o17\n", "(octal)", 'a: "0o17"\n'),
    "binary": ("yaml", "a: 0b11\n", "(binary)", 'a: "0b11"\n'),
    "plus": ("yaml", "tel: +4915112345\n", "plus sign", 'tel: "+4915112345"\n'),
    "date": ("yaml", "d: 2024-01-02\n", "a date", 'd: "2024-01-02"\n'),
    "time": ("yaml", "d: 2024-01-02 03:04:05\n", "a date", None),
    "tag": ("yaml", "a: !env SOMEVAR\n", "has a tag", 'a: "!env SOMEVAR"\n'),
    "block tag": ("yaml", "b: !vault |\n  x\n", "has a tag", 'b: "!vault |\\n x"\n'),
    "binary tag": ("yaml", "c: !!binary aGVsbG8=\n", "has a tag", None),
    "tag of a mapping": ("yaml", "m: !x\n  a: b\n", "has a tag", None),
    "in a list": ("yaml", "l:\n- x\n- - 012\n", "line 3: l/1/0", None),
    "in flow": ("yaml", "m: {a: [x, 012]}\n", "m/a/1 is read", None),
    "later document": ("yaml", "a: x\n---\nb: 007\n", "line 3: [2]/b", None),
    "repeated": ("json", '{"a": 1,\n "a": 2}', "twice", '{"a": 2}'),
    "big": ("json", '{"a": 9007199254740993.5}', "more digits", None),
    "surrogate": ("json", '{"a": "\\ud800"}', "an invalid character", None),
    "trailing": ("json", '{"a": 1} x', "", '{"a": 1}'),
    "double quotes": (
        "ini",
        '[s]\npw = "word1"\n',
        "loses the quotes",
        '[s]\npw = `"word1"`\n',
    ),
    "single quotes": (
        "ini",
        "[s]\npw = 'word1'\n",
        "the quotes",
        "[s]\npw = `'word1'`\n",
    ),
    "hash in quotes": (
        "ini",
        '[s]\npw = "p#ss"\n',
        "is cut short",
        '[s]\npw = `"p#ss"`\n',
    ),
    "hash": ("ini", "[s]\npw = p#ss\n", "is cut short", "[s]\npw = `p#ss`\n"),
    "semicolon": ("ini", "[s]\npw = a ;b\n", "cut short", "[s]\npw = `a ;b`\n"),
    "backslash": (
        "ini",
        "[db]\npw = a\\\nuser = bob\n",
        "ends with a backslash",
        "[db]\npw = `a\\`\nuser = bob\n",
    ),
    "hash and backquote": (
        "ini",
        "[s]\npw = a`b#c\n",
        "cut short",
        '[s]\npw = """a`b#c"""\n',
    ),
    "key twice": ("ini", "[s]\na = 1\na = 2\n", "line 3: s/a is duplicated", None),
    "CR": ("env", "A=1\r\nB=2\r\n", "ends with CR", "A=1\nB=2\n"),
}


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("case", LOST)
def test_what_would_be_another_value_is_refused_with_a_spelling_that_works(
    version: str, case: str, tmp_path: Path
) -> None:
    form, text, said, way = LOST[case]
    name = FORMS[form]
    if case == "big" and version != "3.11":
        text = text.replace(".5", ".55555")
    with pytest.raises(SecretFileError) as caught:
        created(version, name, text, tmp_path)
    assert said in caught.value.message
    assert caught.value.hint
    secrets = re.findall(r"(?:[=:] )(\S{3,})", text)
    told = caught.value.message + caught.value.hint
    assert not [one for one in secrets if one.strip("\"'") in told], "values are secret"
    if way is None:
        return
    meant = plaintexts.read(format_for(name), way.encode()).values
    made = created(version, name, way, tmp_path)
    got = printed(version, name, made.data, tmp_path)
    kept = plaintexts.read(format_for(name), got.encode()).values
    assert [(one.place, one.text) for one in kept] == [
        (one.place, one.text) for one in meant
    ]


NOTED = {
    "fraction": ("yaml", "v: 1.20\n", 'v: "…" keeps it'),
    "word": ("yaml", "sw: on\n", "is a string for sops"),
    "constant": ("yaml", "t: TRUE\n", "spelled differently"),
    "alias": ("yaml", "a: &x 1\nb: *x\n", "sops expands YAML anchors"),
    "comment": ("yaml", "a: b\nc: d # why\n", "line 2: sops moves a comment"),
    "json": ("json", '{"a": 1.50}', "spelled differently"),
    "export": ("env", "export A=1\n", 'has "export "'),
    "quotes": ("env", "A='x y'\n", "has quotes"),
    "line feed": ("env", "A=a\\nb\n", "reads as a line feed"),
    "blanks": ("env", "A = b\n", "has spaces"),
}


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("case", NOTED)
def test_another_spelling_is_reported_and_stored(
    version: str, case: str, tmp_path: Path
) -> None:
    form, text, said = NOTED[case]
    made = created(version, FORMS[form], text, tmp_path)
    assert [note for note in made.notes if said in note], made.notes


KEPT = {
    "yaml": [
        "a: 5\nb: -1.5\nc: true\nd: null\ne: ~\nf:\ng: ''\nh: \"0123\"\n",
        "a: |\n  two\n  lines\nb: |-\n    x \n\n    y\n",
        "c: >\n  a\n  b\n\n  c\nd: |+\n  x\n\n",
        "a: plain\n  on two lines\nb: 'it''s'\nc: \"\\t\\u00fc\\U0001F600 \\\\\"\n",
        'm: {a: b, c: [d, "0x1"]}\nl:\n  - - x\n    - y\n  - k: v\n',
        "a: b: c\n".replace("b: c", "b:c"),
        "a: 12:30:45\nb: 1:30\nc: '='\nd: a#b\n",
        "a: x\n---\nb: y\n---\n# only a comment\nc: z\n",
        '{"a": 1, "b": ["x"]}\n',
        'k: "\\n  x"\nl: "\\tx"\nt: \'a  \'\n',
        '"on": x\n\'1\': y\nnull_: z\n"a b": c\n',
        "cert: |\n    -----BEGIN-----\n    AAAA=\n    -----END-----\n",
    ],
    "json": [
        '{"a": 1, "b": -2.5, "c": true, "d": null, "e": "", "f": [], "g": {}}',
        '{"a": "\\u00fc\\ud83d\\ude00 \\n\\t\\"\\\\ \\u0000"}',
        '{"a": {"b": [1, {"c": "x"}]}}',
    ],
    "ini": [
        'top = 1\n[s]\na = b c\nd = e=f\ng: h\n; why\nq = `a#b`\nt = """a`;"""\n',
        '[a]\nb = %(c)s\n[d e]\nf = x"y\n',
        "[s]\na = `C:\\`\nb = \n",
    ],
    "env": ["A=1\nB=x=y\n# why\n\nC=\nD=a b#c\n", "A=1\nA=2\n"],
}


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize(
    ("form", "text"), [(form, text) for form, texts in KEPT.items() for text in texts]
)
def test_what_sops_keeps_is_taken_without_a_word(
    version: str, form: str, text: str, tmp_path: Path
) -> None:
    assert created(version, FORMS[form], text, tmp_path).notes == ()


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_repeated_keys_are_kept_in_a_file_that_sops_stores_whole(
    version: str, tmp_path: Path
) -> None:
    text = "[Interface]\nAddress = 10.0.0.1/24\nAddress = fd00::1/64\n"
    with pytest.raises(SecretFileError) as caught:
        created(version, "wg.ini", text, tmp_path)
    assert "one that ends in .conf" in str(caught.value.hint)
    made = created(version, "wg.conf", text, tmp_path)
    assert printed(version, "wg.conf", made.data, tmp_path) == text


def test_every_value_is_named_and_none_is_shown() -> None:
    text = "".join(f"k{n}: 0{n}{n}1\n" for n in range(1, 8)) * 1
    other = "".join(f"k{n}: {int(f'0{n}{n}1', 8)}\n" for n in range(1, 8))
    with pytest.raises(SecretFileError) as caught:
        fidelity.require_kept(format_for("a.yaml"), text.encode(), other.encode())
    assert "7 values" in caught.value.message
    assert [f"line {n}: k{n} is" in caught.value.message for n in range(1, 8)]
    assert caught.value.line == 1


def test_a_value_that_the_file_had_already_is_not_reported_again() -> None:
    text = b"A='x'\nB=\"y\"\n"
    kind = format_for("a.env")
    assert len(fidelity.require_kept(kind, text, text)) == 2
    notes = fidelity.require_kept(kind, text, text, {(0, ("A",)): "'x'"})
    assert len(notes) == 1
    assert "B has quotes" in notes[0]


@pytest.mark.skipif(not SHARED.is_dir(), reason=gate.reason("shared", "the cases"))
@pytest.mark.parametrize("case", ["f03", "f04", "f05", "f14"])
def test_the_cases_that_were_found_are_refused(case: str, tmp_path: Path) -> None:
    (file,) = (SHARED / "cases").glob(f"{case}-*")
    with pytest.raises(SecretFileError, match="would not keep"):
        created("3.11", file.name, file.read_text(), tmp_path)

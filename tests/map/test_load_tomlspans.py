"""The span scanner against tomllib: it finds the same values, at the right places."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nixsecrets.map import tomlspans
from nixsecrets.map.tomlspans import (
    Array,
    Document,
    Entry,
    Header,
    InlineTable,
    ScanError,
    scan,
)
from nixsecrets.splice import line_at

PROJECT = Path(__file__).parents[2]


def rebuilt(document: Document) -> dict[str, Any]:
    """Build the data from spans alone: only scalars are read by tomllib."""
    root: dict[str, Any] = {}
    for statement in document.statements:
        match statement:
            case Header(path=path):
                _container(root, path)
            case Entry(path=path, value=value):
                _container(root, path[:-1])[path[-1]] = _value(document, value)
    return root


def _container(root: dict[str, Any], path: tuple[str | int, ...]) -> Any:
    here: Any = root
    for part, following in zip(path, [*path[1:], ""], strict=False):
        empty: Any = [] if isinstance(following, int) else {}
        if isinstance(part, int):
            if part == len(here):
                here.append(empty)
            here = here[part]
        else:
            here = here.setdefault(part, empty)
    return here


def _value(document: Document, value: tomlspans.Value) -> Any:
    match value:
        case Array(items=items):
            return [_value(document, item) for item in items]
        case InlineTable(entries=entries):
            table: dict[str, Any] = {}
            for entry in entries:
                inner = entry.path[len(value.path) :]
                _container(table, inner[:-1])[inner[-1]] = _value(document, entry.value)
            return table
        case _:
            return tomllib.loads(f"x = {document.text[value.start : value.end]}")["x"]


CASES = [
    "",
    "\n\n# only a comment",
    "a=1",
    "a = 1 # comment",
    "a = 1\r\nb = 2\r\n",
    "a.b.c = 1\na.b.d = 2",
    ' "a" . b = 1',
    "'a.b' = 1",
    '"" = 1',
    "'' = 1",
    r'"a\"b\u00e9" = 1',
    "3.14 = 'pi'",
    "a = '''\n'x''\\'''",
    'a = """\n\\""" # " \\\n  x"""',
    'a = """"""',
    'a = """x"""""',
    "a = '''x'''''",
    'a = """ "" """',
    'a = "# no comment" # but this',
    "a = '\\' # comment",
    "a = [ ]",
    "a = [ # c\n ]",
    'a = ["]", \'[\', """,\n]""", # ]\n ]',
    "a = [[1, 2], [ ], {b = [3]}]",
    "a = {}",
    "a = { b = {c.d = 1}, 'e' = [\n1\n] }",
    "[a]\n[a.b]\nc = 1\n[d]",
    "[[a]]\nb = 1\n[[a]]\n[a.c]\nd = 1\n[[a.e]]\n[[a.e]]\nf = 2\n[[a]]",
    "[ a . 'b' ]\nc = 1",
    "[[ a ]] # x\n",
    "[a.b]\nc = 1\n[a]\nd = 2",
    "a = 1979-05-27 07:32:00.5Z\nb = 1979-05-27\nc = 07:32:00",
    "a = [1979-05-27 07:32:00,1979-05-27T07:32:00-07:00]",
    "a = [true,-1e5,+inf,0x_f]".replace("_", ""),
    "a = -0.0 #\n",
]


@pytest.mark.parametrize("text", CASES)
def test_spans_and_tomllib_agree(text: str) -> None:
    assert rebuilt(scan(text)) == tomllib.loads(text)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_the_projects_own_toml_is_scanned(newline: str) -> None:
    text = (PROJECT / "pyproject.toml").read_text().replace("\n", newline)
    assert rebuilt(scan(text)) == tomllib.loads(text)


def test_places_are_those_of_the_text() -> None:
    text = '# c\n[[secrets]]\npath = "x" # y\nreaders = [\n  "a",\n]\n'
    document = scan(text)
    starts = document.starts()
    lines = {path: line_at(text, at) for path, at in starts.items()}
    assert lines[("secrets",)] == lines[("secrets", 0)] == 2
    assert lines[("secrets", 0, "readers")] == 4
    assert lines[("secrets", 0, "readers", 0)] == 5
    item = document.values()[("secrets", 0, "readers", 0)]
    assert text[item.start : item.end] == '"a"'


BARE = st.text("abc-_01", min_size=1, max_size=3)
KEY = BARE | st.sampled_from(['"a b"', "'x.y'", '"\\u00e9#"', '"]"', "''"])
DOTTED = st.lists(KEY, min_size=1, max_size=3).flatmap(
    lambda keys: st.sampled_from([".".join(keys), " . ".join(keys)])
)
SCALAR = st.sampled_from(
    [
        "1",
        "-0.5e3",
        "true",
        "0xff",
        "inf",
        "1979-05-27",
        "1979-05-27 07:32:00Z",
        "07:32:00",
        '""',
        '"a # ] } , \\" \\\\"',
        "'\\'",
        '"""a\n"" # ]\\\n  """',
        '"""x"""""',
        "'''\n[a]\n= '' '''",
        "''''x'''",
    ]
)
TRIVIA = st.sampled_from(["", " ", "\t", "\n", "\r\n", " # c ]\n", "\n  # [x] = \n"])


def _arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    item = st.tuples(TRIVIA, values, TRIVIA).map("".join)
    last = st.sampled_from(["]", ",]", ",\n # c\n]"])
    return st.one_of(
        TRIVIA.map(lambda gap: f"[{gap}]"),
        st.tuples(st.lists(item, min_size=1, max_size=3), last).map(
            lambda parts: "[" + ",".join(parts[0]) + parts[1]
        ),
    )


def _inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    entries = st.lists(st.tuples(DOTTED, values), max_size=3)
    return entries.map(
        lambda pairs: "{ " + ", ".join(f"{k} = {v}" for k, v in pairs) + " }"
    )


VALUE = st.recursive(SCALAR, lambda v: _arrays(v) | _inline_tables(v), max_leaves=5)
LINE = st.one_of(
    st.tuples(DOTTED, VALUE).map(lambda pair: f"{pair[0]} = {pair[1]}"),
    DOTTED.map("[{}]".format),
    DOTTED.map("[[ {} ]]".format),
    st.sampled_from(["", "# [comment]"]),
)
DOCUMENT = st.tuples(
    st.lists(st.tuples(LINE, st.sampled_from(["", " # c"])), max_size=8),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
).map(lambda parts: parts[1].join("".join(line) for line in parts[0]))


@given(DOCUMENT)
def test_on_random_documents_spans_and_tomllib_agree(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)
    assert rebuilt(scan(text)) == data


@given(st.text("ab=.,[]{}\"'#\\ \n\r1-:é", max_size=30))
def test_the_scanner_never_fails_but_with_its_own_error(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        try:
            scan(text)
        except ScanError as error:
            assert 0 <= error.offset <= len(text)
    else:
        assert rebuilt(scan(text)) == data


@pytest.mark.parametrize("opening", ['"', "'", '"""', "'''", '"\\', "'''''x"])
def test_an_endless_string_fails_in_linear_time(opening: str) -> None:
    with pytest.raises(ScanError):
        scan("a = " + opening + "ab\\\\ " * 200_000)

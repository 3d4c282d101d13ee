"""RE2 compared with Go's `regexp`, which sops uses."""

import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.untrusted.regex import (
    MAX_LENGTH,
    MAX_NESTING,
    matcher,
    parse,
    quote,
)
from tests import gate
from tests.fleet import clean_env

GO = """package main

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"regexp"
)

func main() {
	var asked struct {
		Patterns []string
		Texts    []string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	found := [][]int{}
	for _, pattern := range asked.Patterns {
		compiled, err := regexp.Compile(pattern)
		if err != nil {
			found = append(found, nil)
			continue
		}
		row := []int{}
		for at, text := range asked.Texts {
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				panic(err)
			}
			if compiled.Match(raw) {
				row = append(row, at)
			}
		}
		found = append(found, row)
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}
"""
Answers = list[list[int] | None]
"""For each pattern the numbers of the texts it is found in; None: it is refused."""

PIECES = [
    *(
        "a",
        "b",
        "c",
        "k",
        ".",
        "/",
        "-",
        "_",
        " ",
        "ä",
        "\u017f",
        "K",
        "\n",
        "\t",
        "\0",
    ),
    *("*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{,2}", "{2,}?", "{0}", "{2"),
    *("^", "$", "|", "(", ")", "[", "]", "{", "}", "(?:", "(?P<n>", "(?<m>", "(?i)"),
    *("(?s)", "(?m)", "(?U)", "(?i:", "(?-i)", "(?s-i:", "(?=", "(?!", "(?<=", "(?#"),
    *("[a-c]", "[^a]", "[]a]", "[^]a]", "[a^-]", "[[:alpha:]]", "[^[:^word:]]"),
    *("[[:foo:]]", "[b-a]", "[\\d.-]", "[\\pL\\s]", "[\\x{e4}]", "[[:a]", "[&&a]"),
    *("\\.", "\\d", "\\D", "\\s", "\\S", "\\w", "\\W", "\\b", "\\B", "\\A", "\\z"),
    *("\\Z", "\\pL", "\\PN", "\\p{Greek}", "\\p{^Lu}", "\\pX", "\\C", "\\Qa.b\\E"),
    *("\\Q*", "\\x41", "\\x{e4}", "\\x", "\\07", "\\101", "\\1", "\\a", "\\v", "\\é"),
    *("\\G", "\\R", "\\K", "\\u0041", "\\-", "\\/", "a{1001}", "(a{100}){10}"),
    *("(a{101}){10}", "(?P<ä>", "(?P<n>x)", "(?)", "(?-)", "[", "\\", "x*+", "x**"),
]
TEXTS = [
    *(b"", b"a", b"ab", b"A", b"aa", b"a.b", b"a/b", b"abc", b"b\n", b"\n", b"a\nb"),
    *(b" ", b"-", b"_", b"\t", b"\x0b", b"\0", b"1", b"K", b"k", b"\xe2\x84\xaa"),
    *("ä".encode(), "Äß".encode(), "\u017f".encode(), "٣".encode(), "λ".encode()),
    *(b"secrets/a.yaml", b"x/secrets/b.yaml\n", b"k8s/data", b"data", b"stringData"),
    *(b"\xff", b"a\xffb", b"\xe2\x82", b"\xe2\x82A", b"\xed\xa0\x80", b"\xc0\x80"),
    *(b"\xf4\x90\x80\x80", b"{2}", b"a{,2}", b"*", b"^", b"]", b"\\"),
]
KNOWN = [
    *(r"^[[:alpha:]]+$", r"^\pL+\z", "(?i)^DATA$", "(?m)^b$", r"\C", "a\\C", "(?!x)"),
    *(r"(?P<n>a)(?P<n>b)", r"(?P<ä>a)", "^.$", "^..$", "^...$", "[^a]", r"\x{fffd}"),
    *("(?:" * 999 + "a" + ")" * 999, "^(data|stringData)$", "^*", r"\b+", "(|a)*"),
]


# What `go build` would use: without it, Go's own library is compiled in each run.
GO_CACHE = os.environ.get("GOCACHE", str(Path.home() / ".cache/go-build"))


@pytest.fixture(scope="module")
def go(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Sequence[str]], Answers]:
    """Return a function that matches all of TEXTS with Go's `regexp`."""
    compiler = shutil.which("go")
    if compiler is None:
        gate.absent("go", "install golang")
    folder = tmp_path_factory.mktemp("go")
    (folder / "main.go").write_text(GO)
    flags = {"GOFLAGS": "-mod=mod", "GO111MODULE": "off", "CGO_ENABLED": "0"}
    env = clean_env(folder, GOCACHE=GO_CACHE, **flags)
    subprocess.run(
        [compiler, "build", "-o", "ask", "main.go"], cwd=folder, env=env, check=True
    )

    def ask(patterns: Sequence[str]) -> Answers:
        from base64 import b64encode

        texts = [b64encode(text).decode() for text in TEXTS]
        asked = json.dumps({"patterns": patterns, "texts": texts})
        done = subprocess.run(
            [folder / "ask"], input=asked.encode(), capture_output=True, check=True
        )
        answers: Answers = json.loads(done.stdout)
        return answers

    return ask


def ours(pattern: str) -> list[int] | None:
    try:
        compiled = parse(pattern)
    except ValueError as error:
        assert re.match("[^A-Z]", str(error)), error
        return None
    texts = [text.decode("utf-8", "surrogateescape") for text in TEXTS]
    return [at for at, text in enumerate(texts) if compiled.found_in(text)]


def test_every_generated_expression_means_what_it_means_to_go(
    go: Callable[[Sequence[str]], Answers],
) -> None:
    dice = random.Random(15)  # noqa: S311 (a repeatable dice)
    made = ("".join(dice.choices(PIECES, k=dice.randint(1, 6))) for _ in range(6000))
    patterns = [*KNOWN, *PIECES, *dict.fromkeys(made)]
    answers = go(patterns)
    wrong = [
        (pattern, ours(pattern), answer)
        for pattern, answer in zip(patterns, answers, strict=True)
        if ours(pattern) != answer and r"\B" not in pattern
    ]
    assert wrong == []
    assert sum(answer is not None for answer in answers) > 1200


REFUSED = {
    "(?=a)": "invalid perl operator: (?=",
    "(?>a)": "invalid perl operator: (?>",
    r"(a)\1": r"invalid escape sequence: \1",
    r"\Z": r"invalid escape sequence: \Z",
    r"a\C": r"invalid escape sequence: \C",
    "*.yaml": "no argument for repetition operator: *",
    "a**": "bad repetition operator: **",
    "(a": "missing ): (a",
    "a)": "unexpected ): a)",
    "[a": "missing ]: [a",
    "[b-a]": "invalid character class range: b-a",
    "a\\": "trailing \\",
    "\x1b[31m(": r"missing ]: [31m(",
    "\udcff": "it is not valid UTF-8",
    "(" * 1001 + ")" * 1001: "expression nests too deeply",
    "a" * 4097: "it has more than 4096 characters",
    r"\pL{900}": "pattern too large - compile failed",
}


@pytest.mark.parametrize("pattern", REFUSED)
def test_what_sops_cannot_compile_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(REFUSED[pattern])}$"):
        parse(pattern)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("^(a+)+c$", "a" * 4000),
        ("(x+x+)+y", "x" * 4000),
        ("(a|a)*b$", "a" * 4000),
        ("(.*a){20}b", "a" * 4000),
        ("(a?){900}a{900}", "a" * 900),
        (r"^(\w+\s?)*$", "a" * 4000 + "!"),
    ],
)
def test_no_expression_takes_long(pattern: str, text: str) -> None:
    started = time.process_time()
    parse(pattern).found_in(text)
    assert time.process_time() - started < 1


def test_the_largest_expressions_are_compiled_or_refused_at_once() -> None:
    parts = ["(", "(?:", r"\pL", "a|", "[a-z]{1000}", ".*", "(a)", "[[:a", "{", r"\Q"]
    started = time.process_time()
    for part in parts:
        for text in (part * MAX_LENGTH, part * (MAX_LENGTH // len(part))):
            ours(text)
    assert time.process_time() - started < 5


def test_nesting_ends_where_it_ends_for_go() -> None:
    deepest = "(" * MAX_NESTING + ")" * MAX_NESTING
    assert parse(deepest).found_in("")
    with pytest.raises(ValueError, match="nests too deeply"):
        parse(f"({deepest})")


def test_what_begins_and_ends_every_match_is_known() -> None:
    ends = {
        r"^a\.b/(x|y)\.age$": ("a.b/", ".age"),
        "^ab?c$": ("a", "c"),
        r"\Aa\z": ("a", "a"),
        "^$": ("", ""),
        "a$": ("", "a"),
        "$": ("", ""),
        "^a|b$": ("", ""),
        "(?i)^a$": ("", ""),
        "(?m)^a$": ("", ""),
        r"^\Qa.\Eb$": ("", ""),
        "^a{2}$": ("", ""),
        "^a{,2}$": ("a{,2}", "a{,2}"),
        "^(?m:a$)": ("", ""),
        "^[a]b$": ("", "b"),
        r"^\$": ("$", ""),
    }
    found = {one: (parse(one).prefix, parse(one).suffix) for one in ends}
    assert found == ends


@given(st.text(max_size=40))
def test_no_text_breaks_the_engine(text: str) -> None:
    ours(text)


@given(
    st.lists(st.sampled_from([*PIECES, *"^$abc./"]), max_size=6).map("".join),
    st.text(alphabet="abc./Ak\n", max_size=8),
)
def test_beginnings_and_ends_are_never_claimed_wrongly(pattern: str, text: str) -> None:
    try:
        compiled = parse(pattern)
    except ValueError:
        return
    if r"\Q" in pattern:
        return
    assert "".join(compiled.tokens) == pattern
    found = parse(f"(?:{pattern})").found_in(text)  # in a group nothing is known of it
    assert compiled.found_in(text) == found
    if found:
        assert text.startswith(compiled.prefix)
        assert text.endswith(compiled.suffix)


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_a_quoted_text_matches_itself_alone(text: str) -> None:
    quoted = parse(f"^{quote(text)}$")
    assert quoted.found_in(text)
    assert not quoted.found_in(text + "x")


def test_groups_are_returned_as_the_text_has_them() -> None:
    match = matcher("(?P<host>[^/]+)-(?P<user>[^/]*)/x", whole=True)
    assert match("ä\udcff-\udcfeb/x") == {"host": "ä\udcff", "user": "\udcfeb"}
    assert match("ä/x") is None
    assert matcher("[^/]*a[^/]*b", whole=True)("xaxb") == {}

"""The matcher against the real sops, which decides by creation rule.

Each call of sops asks about one path and a whole configuration: every rule of it has a
recipient of its own, so the recipient of the result names the rule that won.
"""

import json
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pyrage
import pytest

from nixsecrets.map.match import compile_rule, rendered_regexes
from nixsecrets.map.model import Rule
from nixsecrets.untrusted.regex import parse
from tests.fleet import clean_env, sops_path
from tests.map.test_match import COVERED, FOUND, NOT_COVERED, NOT_FOUND

HOSTS = ["web", "web-db", "a.b"]
GLOB_PIECES = [
    "a",
    "b",
    ".",
    "*",
    "?",
    "/",
    "/**/",
    "{host}",
    "[a-c]",
    "[!b]",
    "-",
    "ä",
]
REGEX_PIECES = [
    *(
        "a",
        "b",
        r"\.",
        ".",
        "*",
        "+",
        "?",
        "/",
        "^",
        "$",
        "|",
        "(",
        ")",
        "[^/]+",
        "(?:",
    ),
    *(
        r"\w",
        r"\s",
        r"\b",
        "{2}",
        "{1,2}?",
        "[a-c]",
        "[[:alpha:]]",
        "(?i)",
        "[^a]",
        "ä",
    ),
    *(r"\Qa.b\E", r"\x{e4}", r"\d", "{,2}", "(?s:.)", r"\W", "B", "]", "}"),
]
PATH_PIECES = [
    "a",
    "b",
    "c",
    ".",
    "/",
    "-",
    "ä",
    "web",
    "web-db",
    "a.b",
    "aa",
    "B",
    " ",
]
RECIPIENTS = [str(pyrage.x25519.Identity.generate().to_public()) for _ in range(120)]


class Sops:
    """Real sops in a folder of its own, asked which rule wins a path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = clean_env(folder)
        (folder / "plain").write_bytes(b"x")

    def winner(self, regexes: Sequence[str], path: str) -> int | str | None:
        """Return the index of the rule that won, None for none, or sops' complaint."""
        rules = [
            {"path_regex": regex, "age": recipient}
            for regex, recipient in zip(regexes, RECIPIENTS, strict=False)
        ]
        config = self.folder / ".sops.yaml"
        config.write_text(json.dumps({"creation_rules": rules}))  # YAML reads JSON
        done = subprocess.run(
            [
                *(sops_path(), "--disable-version-check", "--config", str(config)),
                *("encrypt", "--input-type", "binary", "--output-type", "json"),
                *("--filename-override", str(self.folder / path), "plain"),
            ],
            env=self.env,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            found = json.loads(done.stdout)["sops"]["age"][0]["recipient"]
            return RECIPIENTS.index(found)
        return None if "no matching creation rules" in done.stderr else done.stderr


@pytest.fixture
def sops(tmp_path: Path) -> Sops:
    return Sops(tmp_path)


def possible_glob(dice: random.Random) -> str:
    """Return a random glob that `compile_rule` accepts."""
    while True:
        text = "".join(dice.choices(GLOB_PIECES, k=dice.randint(1, 7)))
        try:
            compile_rule(Rule(0, text, None, ()))
        except ValueError:
            continue
        return text


def possible_regex(dice: random.Random) -> str:
    """Return a random expression that `parse` accepts and that is not empty."""
    while True:
        text = "".join(dice.choices(REGEX_PIECES, k=dice.randint(1, 6)))
        try:
            parse(text)
        except ValueError:
            continue
        return text


def possible_path(dice: random.Random) -> str:
    """Return a random path without empty segments, `.` and `..`."""
    while True:
        text = "".join(dice.choices(PATH_PIECES, k=dice.randint(1, 6)))
        if not {"", ".", ".."} & set(text.split("/")):
            return text


@pytest.mark.parametrize("seed", range(40))
def test_globs_win_in_sops_as_they_do_here(sops: Sops, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 (a repeatable dice)
    rules = [Rule(at, possible_glob(dice), None, ()) for at in range(24)]
    path = possible_path(dice)
    expansions = [
        (rule.index, one.regex, one.match)
        for rule in rules
        for one in rendered_regexes(rule, HOSTS)
    ]
    found = next(
        (
            (rule.index, match if match.host in (None, *HOSTS) else None)
            for rule in rules
            if (match := compile_rule(rule, hosts=HOSTS).match(path)) is not None
        ),
        None,
    )
    winner = sops.winner([regex for _, regex, _ in expansions], path)
    assert not isinstance(winner, str), winner
    decided = None if winner is None else (expansions[winner][0], expansions[winner][2])
    assert decided == found, [path, *(rule.path for rule in rules)]


@pytest.mark.parametrize("seed", range(60))
def test_expressions_win_in_sops_as_they_do_here(sops: Sops, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 (a repeatable dice)
    regexes = [possible_regex(dice) for _ in range(24)]
    path = possible_path(dice)
    found = next(
        (at for at, one in enumerate(regexes) if parse(one).found_in(path)), None
    )
    assert sops.winner(regexes, path) == found, [path, *regexes]


@pytest.mark.parametrize(
    ("pattern", "path"),
    [case for case in (*FOUND, *NOT_FOUND) if case[0] and "\n" not in case[1]],
)
def test_the_table_of_expressions_holds_in_sops(
    sops: Sops, pattern: str, path: str
) -> None:
    found = parse(pattern).found_in(path)
    assert sops.winner([pattern], path) == (0 if found else None)


def test_the_table_of_globs_holds_in_sops(sops: Sops) -> None:
    cases = [*COVERED, *NOT_COVERED]
    by_path: dict[str, list[str]] = {}
    for pattern, path in cases:
        (one,) = rendered_regexes(Rule(0, pattern, None, ()))
        by_path.setdefault(path, []).append(one.regex)
    for path, regexes in by_path.items():
        if path.startswith("/"):
            continue
        found = [at for at, one in enumerate(regexes) if parse(one).found_in(path)]
        assert sops.winner(regexes, path) == (found[0] if found else None), path


@pytest.mark.parametrize(
    "pattern", ["a*+", "a**", "(?=a)", r"\Z", "(a{100}){100}", "a{1001}", "[b-a]", "a)"]
)
def test_what_go_cannot_compile_is_refused_here_too(sops: Sops, pattern: str) -> None:
    assert "can not compile regexp" in str(sops.winner([pattern], "x"))
    with pytest.raises(ValueError, match=r"^[^A-Z]"):
        parse(pattern)

"""Which paths a rule covers: the globs of the map, and RE2 as Python follows it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.map.match import (
    Match,
    check_rule,
    compile_rule,
    literal_path,
    literal_suffix,
    reads_one_way,
    rendered_regexes,
)
from nixsecrets.map.model import Rule
from nixsecrets.untrusted.regex import parse, quote


def glob(path: str, *readers: str) -> Rule:
    return Rule(0, path, None, readers)


def regex(pattern: str, *readers: str) -> Rule:
    return Rule(0, None, pattern, readers)


COVERED = [
    ("a.yaml", "a.yaml"),
    ("*", "a.yaml"),
    ("*", ".env"),
    ("*.yaml", ".yaml"),
    ("a*b", "ab"),
    ("a?c", "abc"),
    ("a?c", "aäc"),
    ("a?c", "a\nc"),
    ("secrets/*", "secrets/x"),
    ("secrets/**", "secrets/x"),
    ("secrets/**", "secrets/a/b/x"),
    ("**", "x"),
    ("**", "a/b/.x"),
    ("**/x", "x"),
    ("**/x", "a/b/x"),
    ("a/**/x", "a/x"),
    ("a/**/x", "a/b/c/x"),
    ("a/**/**/x", "a/x"),
    ("[a-c].age", "b.age"),
    ("[!a-c].age", "d.age"),
    ("[^a-c].age", "d.age"),
    ("[]].age", "].age"),
    ("[!]].age", "x.age"),
    ("[*].age", "*.age"),
    ("[{]a[}].age", "{a}.age"),
    ("[\\]x", "\\x"),
    ("[a-]x", "-x"),
    ("[+-9]x", "5x"),
    ("a.b+(c)|d^$", "a.b+(c)|d^$"),
    ("[&|~-]", "~"),
]
NOT_COVERED = [
    ("a.yaml", "a_yaml"),
    ("a.yaml", "xa.yaml"),
    ("a.yaml", "a.yaml.bak"),
    ("a.yaml", "a.yaml\n"),
    ("a.yaml", "sub/a.yaml"),
    ("*", "a/b"),
    ("a?c", "a/c"),
    ("a?c", "ac"),
    ("secrets/**", "secrets"),
    ("secrets/**", "other/secrets/x"),
    ("**/x", "ax"),
    ("a/**/x", "a/bx"),
    ("[a-c].age", "d.age"),
    ("[!a-c].age", "/.age"),
    ("[+-9]x", "/x"),
    ("x[!a]y", "x/y"),
]


@pytest.mark.parametrize(("pattern", "path"), COVERED)
def test_a_glob_covers(pattern: str, path: str) -> None:
    assert compile_rule(glob(pattern)).match(path) == Match()


@pytest.mark.parametrize(("pattern", "path"), NOT_COVERED)
def test_a_glob_does_not_cover(pattern: str, path: str) -> None:
    assert compile_rule(glob(pattern)).match(path) is None


REFUSED_GLOBS = {
    "": "empty",
    "a\0b": "NUL",
    "/etc/x": "relative",
    "a//b": "empty",
    "a/": "empty",
    "./a": "relative",
    "a/../b": "relative",
    "a**": "whole segment",
    "**.age": "whole segment",
    "a/***": "whole segment",
    "{hosts}/x": "only {host} and {user}",
    "{a,b}.age": "only {host} and {user}",
    "a}": "write [}]",
    "a]": "write []]",
    "a\\*": "write [\\]",
    "[a": "without ]",
    "[]": "without ]",
    "[]/a": "without ]",
    "[b-a]": "backwards",
    "[[:alpha:]]": "not available",
    "[/-/]": "without ]",
    "{host}/{host}": "only once",
    "{user}-{user}": "only once",
}


@pytest.mark.parametrize("pattern", REFUSED_GLOBS)
def test_a_glob_that_could_be_misread_is_refused_with_the_reason(pattern: str) -> None:
    with pytest.raises(ValueError, match=re.escape(REFUSED_GLOBS[pattern])):
        check_rule(glob(pattern))


@pytest.mark.parametrize(
    "rule",
    [
        glob("a/*", "{host}"),
        glob("a/{user}", "{host}"),
        Rule(0, "a/{host}", None, (), except_=("{user}",)),
        regex("a/.*", "{host}"),
    ],
)
def test_a_placeholder_that_nothing_fills_is_refused(rule: Rule) -> None:
    with pytest.raises(ValueError, match=r"host|user"):
        check_rule(rule)


@pytest.mark.parametrize(
    "pattern",
    [
        "(a|{host})/x",
        "a/{host}|b",
        "({host}/)?x",
        "[{host}]",
        "{host}+",
        "{host}{2}",
        "{host}/{host}",
        r"\{host}",
        r"\Q{host}\E",
        "(?i){host}",
        "{user}/({host})",
    ],
)
def test_a_placeholder_of_an_expression_stands_apart(pattern: str) -> None:
    with pytest.raises(ValueError, match="stands once in a path_regex"):
        check_rule(regex(pattern))


HOSTS = ["web", "web-db", "a.b"]
USERS = ["al", "bo"]
PLACES = [
    ("hosts/{host}/**", "hosts/web/x", Match("web")),
    ("hosts/{host}/**", "hosts/web-db/x/y", Match("web-db")),
    ("hosts/{host}/**", "hosts/gone/x", Match("gone")),
    ("{host}.age", "a.b.age", Match("a.b")),
    ("{host}.age", "axb.age", Match("axb")),
    ("k-{host}.age", "k-web.age", Match("web")),
    ("{user}/{host}.age", "al/web.age", Match("web", "al")),
    ("{host}-{user}", "web-db-al", Match("web-db", "al")),
    ("{host}-*", "web-db-al", Match("web-db")),
    ("{host}-*", "web-al", Match("web")),
    ("{host}-*", "mail-al", Match("mail")),
    ("**/{host}/**", "a/web/b", Match("web")),
    ("**/{host}/**", "web-db/web/b", Match("web-db")),
    ("**/{host}/x", "a/web/x", Match("web")),
]
FOUND_PLACES = [
    ("^hosts/{host}/secrets.yaml$", "hosts/web/secrets.yaml", Match("web")),
    ("^hosts/{host}/secrets.yaml$", "hosts/a.b/secretsxyaml", Match("a.b")),
    ("^hosts/{host}/secrets.yaml$", "hosts/axb/secrets.yaml", Match("axb")),
    ("hosts/{host}/", "d/hosts/web-db/x", Match("web-db")),
    ("{host}", "d/xweb/y", Match("web")),
    ("{host}-", "web-db-", Match("web-db")),
    ("{host}.*(x|y)", "web-db/x", Match("web-db")),
    ("^{user}/.*/{host}$", "al/s/web", Match("web", "al")),
    ("^{user}/{host}$", "who/what", Match("what", "who")),
]
EVERY_PLACE = [
    *((glob(pattern), path, found) for pattern, path, found in PLACES),
    *((regex(pattern), path, found) for pattern, path, found in FOUND_PLACES),
]


@pytest.mark.parametrize(("rule", "path", "expected"), EVERY_PLACE)
def test_placeholders_capture_names(rule: Rule, path: str, expected: Match) -> None:
    matcher = compile_rule(rule, hosts=HOSTS, users=USERS)
    assert matcher.match(path) == expected


@pytest.mark.parametrize(("rule", "path", "_expected"), EVERY_PLACE)
def test_the_rendered_expressions_decide_as_the_matcher_does(
    rule: Rule, path: str, _expected: Match
) -> None:
    found = compile_rule(rule, hosts=HOSTS, users=USERS).match(path)
    first = next(
        one
        for one in rendered_regexes(rule, HOSTS, USERS)
        if parse(one.regex).found_in(path)
    )
    assert found is not None
    known = found.host in (None, *HOSTS) and found.user in (None, *USERS)
    assert first.match == (found if known else None)


def test_the_expansion_ends_with_a_catch_all() -> None:
    regexes = [one.regex for one in rendered_regexes(glob("{host}/x"), ["b", "a.c"])]
    assert regexes == [r"^a\.c/x$", "^b/x$", "^[^/]+/x$"]
    regexes = [one.regex for one in rendered_regexes(regex("{host}.x"), ["b", "a.c"])]
    assert regexes == [r"a\.c.x", "b.x", "[^/]+.x"]


@pytest.mark.parametrize(
    ("pattern", "one_way"),
    [
        ("{host}/**", True),
        ("**/{host}/x", True),
        ("a-{host}.age", True),
        ("{user}/{host}/*", True),
        ("**/{host}/**", False),
        ("{host}*", False),
        ("{host}-{user}", False),
    ],
)
def test_it_is_known_which_patterns_can_be_read_in_several_ways(
    pattern: str, *, one_way: bool
) -> None:
    assert reads_one_way(glob(pattern)) is one_way


BELOW = [
    ("secrets/a.yaml", [r"^a\.yaml$"]),
    ("secrets/**", ["^(?:[^/]+/)*[^/]+$"]),
    ("**", ["^(?:[^/]+/)*[^/]+$"]),
    ("**/secrets/x", ["^(?:[^/]+/)*secrets/x$", "^x$"]),
    ("*/x", ["^x$"]),
    ("s?crets/x", ["^x$"]),
    ("other/x", []),
    ("secrets", []),
    ("{host}/x", ["^x$"]),
    ("secrets/{host}/x", ["^web/x$", "^[^/]+/x$"]),
]


@pytest.mark.parametrize(("pattern", "expected"), BELOW)
def test_a_glob_is_restated_for_a_folder(pattern: str, expected: list[str]) -> None:
    found = rendered_regexes(glob(pattern), ["web"], below="secrets")
    assert [one.regex for one in found] == expected


def test_a_path_regex_is_restated_only_where_that_is_certain() -> None:
    (one,) = rendered_regexes(regex(r"^sec\.rets/(a|b)$"), below="sec.rets")
    assert one.regex == "^(a|b)$"
    for pattern in [
        r"^\Qsecrets/x\E",
        "secrets/x",
        "^secrets/x|y",
        "^sec",
        "^secret[s]/x",
        "^secrets/*",
    ]:
        with pytest.raises(ValueError, match=r"must begin with \^secrets/"):
            rendered_regexes(regex(pattern), below="secrets")


def test_literal_paths_and_suffixes_are_known() -> None:
    assert literal_path(glob("a/b.age")) == "a/b.age"
    assert literal_path(glob("a/[b].age")) is None
    assert literal_path(glob("{host}.age")) is None
    assert literal_path(regex("^a$")) is None
    assert literal_suffix(glob("a/*.age")) == ".age"
    assert literal_suffix(regex(r"a/{host}\.age$")) == ".age"
    assert literal_suffix(regex(r"a/{host}")) == ""
    assert literal_suffix(glob("x/y")) == "y"
    assert literal_suffix(glob("a/**")) == ""
    assert literal_suffix(regex(r"^a/[^/]+\.age$")) == ".age"
    assert literal_suffix(regex(r"a\.age")) == ""
    assert literal_suffix(regex(r"b$|\.age$")) == ""
    assert literal_suffix(regex(r"\.ag?e$")) == "e"


FOUND = [
    ("", "anything"),
    ("secrets/h1", "x/secrets/h10.yaml"),
    (r"\.yaml$", "a.yaml"),
    (r"^(.+/|)secrets\.yaml$", "secrets.yaml"),
    ("modules/nebula/*", "modules/nebula-x"),
    (r"(?i)\.YAML$", "a.yaml"),
    ("(?i:A)b", "ab"),
    (r"^\d{2,3}$", "123"),
    (r"^[[:alpha:]\d]+$", "a1"),
    (r"\x{e4}\x62", "äb"),
    (r"\Qa.b\E+", "a.bb"),
    ("a{,2}b", "a{,2}b"),
    ("^a{x}$", "a{x}"),
    ("(?P<n>a)b", "ab"),
    (r"^[^\W_]+$", "ab"),
    (r"\bx\b", "a-x.b"),
    ("(?s)a.b", "a\nb"),
    ("a(?:)b", "ab"),
    ("[a^-]", "^"),
    ("[]a]", "]"),
    (r"[\x41-\x43]", "B"),
    ("(a(?i)b)c", "aBc"),
    (r"\A\x61\z", "a"),
]
NOT_FOUND = [
    (r"\.yaml$", "a.yaml\n"),
    (r"^\d+$", "٣"),
    (r"^\w+$", "ä"),
    (r"^\s$", "\v"),
    ("a.b", "a\nb"),
    ("(a(?i)b)c", "aBC"),
    (r"\Qa.b\E", "axb"),
    ("(?i)a(?-i)b", "aB"),
]


@pytest.mark.parametrize(("pattern", "path"), FOUND)
def test_an_expression_is_found(pattern: str, path: str) -> None:
    assert compile_rule(regex(pattern)).match(path) == Match()


@pytest.mark.parametrize(("pattern", "path"), NOT_FOUND)
def test_an_expression_is_not_found(pattern: str, path: str) -> None:
    assert compile_rule(regex(pattern)).match(path) is None


@given(st.text(min_size=1, max_size=40))
def test_a_quoted_text_matches_itself_alone(text: str) -> None:
    quoted = parse(f"^{quote(text)}$")
    assert quoted.found_in(text)
    assert not quoted.found_in(text + "x")


@given(st.text(alphabet="ab*?[]!-{}/.", min_size=1, max_size=12))
def test_a_glob_that_is_accepted_can_be_rendered(text: str) -> None:
    rule = glob(text)
    try:
        matcher = compile_rule(rule)
    except ValueError:
        return
    (one,) = rendered_regexes(rule)
    for path in ("a", "a/b", "b.a", text):
        assert (matcher.match(path) is None) != parse(one.regex).found_in(path)

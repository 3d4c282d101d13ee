"""Our blocks in a `.sops.yaml`: what they say, and what they leave alone."""

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import MapError, NixsecretsError
from nixsecrets.generated import sopsyaml
from nixsecrets.generated.creations import only_ours
from nixsecrets.generated.rules import Winners
from nixsecrets.generated.sopsyaml import without_blocks
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import parse_recipient
from nixsecrets.map.model import Host, RecipientMap, Retired, Rule, User
from nixsecrets.map.resolve import Policy
from tests import gate
from tests.fleet import SHARED, rsa_key
from tests.generated.conftest import Encrypt
from tests.map.maps import converted, recipient

ALICE = User("alice", (recipient("alice"),))
WEB = Host("web", (recipient("web"),))
DB = Host("db", (recipient("db"),))
FLEET = RecipientMap(
    always=("alice",),
    users=(ALICE,),
    hosts=(WEB, DB),
    groups=(("servers", ("web", "db")),),
    rules=(
        Rule(0, "secrets/{host}.yaml", None, ("{host}",)),
        Rule(1, "k8s/**", None, ("db",), sops=(("encrypted_regex", "^(data)$"),)),
    ),
    sops_config=".sops.yaml",
)


def render(
    fleet: RecipientMap, text: str | None, adopted: Mapping[int, int] | None = None
) -> str:
    return sopsyaml.render(Policy(fleet), text, adopted=adopted)


def is_own(fleet: RecipientMap, text: str) -> bool:
    return sopsyaml.is_own(Policy(fleet), text)


FOREIGN = converted("foreign")
FOREIGN_RULE = f"- path_regex: ^foreign/\n  age: {FOREIGN}\n"

NEW = f"""\
keys:
  # nixsecrets: begin
  # written from nixsecrets.toml; edits in here are lost
  - &alice {converted("alice")}
  - &web {converted("web")}
  - &db {converted("db")}
  # nixsecrets: end
creation_rules:
  # nixsecrets: begin
  # written from nixsecrets.toml; edits in here are lost
  - path_regex: ^secrets/web\\.yaml$
    key_groups:
      - age:
          - *alice
          - *web
  - path_regex: ^secrets/db\\.yaml$
    key_groups:
      - age:
          - *alice
          - *db
  - path_regex: ^secrets/[^/]+\\.yaml$
    key_groups:
      - age:
          - *alice
  - path_regex: ^k8s/(?:[^/]+/)*[^/]+$
    key_groups:
      - age:
          - *alice
          - *db
    encrypted_regex: ^(data)$
  # nixsecrets: end
"""


def keys(*names: str) -> tuple[str, ...]:
    return tuple(converted(name) for name in names)


def test_a_new_file_is_exactly_this() -> None:
    for existing in (None, "", "\n\n"):
        assert render(FLEET, existing) == NEW
    assert render(FLEET, NEW) == NEW
    assert without_blocks(NEW) == "keys:\ncreation_rules:\n"
    assert render(FLEET, without_blocks(NEW)) == NEW


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("secrets/web.yaml", ("alice", "web")),
        ("secrets/db.yaml", ("alice", "db")),
        ("secrets/gone.yaml", ("alice",)),
        ("k8s/a/b.json", ("alice", "db")),
    ],
)
def test_sops_encrypts_to_the_readers_of_the_map(
    recipients_by_sops: Encrypt, path: str, names: tuple[str, ...]
) -> None:
    assert recipients_by_sops(NEW, path) == keys(*names)


def test_sops_refuses_what_no_rule_names(recipients_by_sops: Encrypt) -> None:
    assert "no matching creation rules" in recipients_by_sops(NEW, "x/secrets/web.yaml")


# --- foreign bytes ----------------------------------------------------------------

KEYS = f"keys:\n  - &foreign {FOREIGN}\n"
RULES = f"creation_rules:\n  - path_regex: ^foreign/\n    age: {FOREIGN}\n"
SHAPES = {
    "both lists": KEYS + RULES,
    "no keys": RULES,
    "no rules": KEYS,
    "neither": "stores:\n  yaml:\n    indent: 2\n",
    "comments only": "# nothing here yet\n",
    "a document start": "---\n" + KEYS + RULES,
    "null lists": "keys:\ncreation_rules:\n",
    "a null list at the end": KEYS + "creation_rules:",
    "null lists with comments": "keys: # none\n# yet\ncreation_rules: # none\n# yet\n",
    "no final line end": (KEYS + RULES)[:-1],
    "no final line end and no keys": RULES[:-1],
    "no final line end and no rules": KEYS[:-1],
    "no final line end and neither": "stores: {}",
    "blank lines and comments at the end": KEYS
    + "\n"
    + RULES
    + "\n\n  # more\n# last\n",
    "a list that is not indented": f"creation_rules:\n{FOREIGN_RULE}keys:\n- x\n",
    "a list indented by four": f"creation_rules:\n    - age: {FOREIGN}\n",
    "a dash on a line of its own": f"creation_rules:\n  -\n    age: {FOREIGN}\n",
    "a comment above the rules": f"note: x\n\n# the rules\n# of the fleet\n{RULES}",
    "a comment at the top": f"# the rules\n{RULES}",
    "fields after the rules": KEYS + RULES + "stores:\n  yaml:\n    indent: 2\n",
    "fields between": KEYS + "note: x\n" + RULES,
    "nested keys": f"keys:\n  - &users\n    - &foreign {FOREIGN}\n{RULES}",
    "keys with a colon": f"keys:\n  - &users:\n    - &foreign {FOREIGN}\n{RULES}",
    "keys as fields": f"keys:\n  foreign: &foreign {FOREIGN}\n{RULES}",
    "keys in brackets": f"keys: [&foreign {FOREIGN}]\n{RULES}",
    "keys after the rules": RULES + KEYS,
    "quoted names": f'"keys":\n  - &f {FOREIGN}\n'
    + RULES.replace("creation_rules", "'creation_rules'"),
    "a folded text at the end": f"creation_rules:\n- age: >-\n    {FOREIGN}\n\n# x\n",
    "a null at the end": f"creation_rules:\n  - age: {FOREIGN}\n    pgp:\n\n# x\n",
    "flow groups": f"creation_rules:\n  - key_groups: [{{age: [{FOREIGN}]}}] # x\n",
    "an indented file": "  note: x\n"
    + "".join(f"  {one}\n" for one in RULES.split("\n")),
    "two documents": RULES + "---\nother: 1\n",
    "anchors named like ours": f"keys:\n- &web {FOREIGN}\n- &alice_ {FOREIGN}\n{RULES}",
    "our anchors already": f"keys:\n  - &web {converted('web')}\n{RULES}",
    "wide characters": KEYS + "# 😀 äöü\n" + RULES,
}
VARIANTS = {
    "as it is": lambda text: text,
    "windows": lambda text: text.replace("\n", "\r\n"),
    "a byte order mark": lambda text: "\ufeff" + text,
}
CASES = [
    pytest.param(variant(text), id=f"{shape}, {name}")
    for (shape, text), (name, variant) in itertools.product(
        SHAPES.items(), VARIANTS.items()
    )
]


@pytest.mark.parametrize("text", CASES)
def test_blocks_go_in_and_come_out_and_the_foreign_bytes_stay(text: str) -> None:
    rendered = render(FLEET, text)
    assert without_blocks(rendered) == text
    assert render(FLEET, rendered) == rendered
    assert rendered.count("\r\n") in (0, rendered.count("\n"))
    foreign = Winners(text).winner("foreign/x")
    assert Winners(rendered).winner("foreign/x") == foreign
    ours = Winners(rendered).winner("k8s/x")
    assert ours is not None
    assert ours.ours or ours == foreign


@pytest.mark.parametrize("text", CASES[:: len(VARIANTS)])
def test_sops_reads_the_file_with_our_blocks_in_it(
    recipients_by_sops: Encrypt, text: str
) -> None:
    rendered = render(FLEET, text)
    before = recipients_by_sops(text, "foreign/x")
    if isinstance(before, tuple):
        assert recipients_by_sops(rendered, "foreign/x") == before
    if isinstance(recipients_by_sops(text, "secrets/db.yaml"), str):
        assert recipients_by_sops(rendered, "secrets/db.yaml") == keys("alice", "db")


REFUSED = {
    "JSON": '{"creation_rules": []}\n',
    "rules in brackets": f"creation_rules: [{{age: {FOREIGN}}}]\n",
    "empty brackets": "creation_rules: []\n",
    "rules by alias": f"x: &x\n  - age: {FOREIGN}\ncreation_rules: *x\n",
    "a list": "- creation_rules\n",
    "a text": "creation_rules\n",
    "not YAML": "creation_rules: [\n",
    "a begin without an end": NEW.replace("# nixsecrets: end", "", 1),
    "an end without a begin": NEW.replace("# nixsecrets: begin", "", 1),
    "only a begin": "creation_rules:\n  # nixsecrets: begin\n",
    "a tilde": "creation_rules: ~\n",
    "a conflict": "<<<<<<< HEAD\n" + NEW,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_damaged_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(NixsecretsError, match=r"^\.sops\.yaml") as caught:
        render(FLEET, REFUSED[name])
    assert caught.value.hint
    assert FOREIGN not in caught.value.message


def test_without_rules_nothing_is_put_in() -> None:
    empty = replace(FLEET, rules=())
    assert render(empty, KEYS + RULES) == KEYS + RULES
    assert render(empty, render(FLEET, KEYS + RULES)) == KEYS + RULES
    assert render(empty, None) == "keys:\ncreation_rules:\n"


# --- real files -------------------------------------------------------------------

CORPUS = sorted((SHARED / "corpus" / "sops").glob("[0-9][0-9][0-9].yaml"))
NAMESPACED = replace(
    FLEET,
    rules=tuple(
        replace(rule, path=f"our namespace/{rule.path}") for rule in FLEET.rules
    ),
)


@pytest.mark.skipif(not CORPUS, reason=gate.reason("shared", "the corpus"))
@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_real_files_take_our_blocks_and_give_them_back(
    recipients_by_sops: Encrypt, file: Path
) -> None:
    text = file.read_bytes().decode()
    rendered = render(NAMESPACED, text)
    assert without_blocks(rendered) == text
    assert render(NAMESPACED, rendered) == rendered
    before, after = Winners(text), Winners(rendered)
    assert [rule for rule in after.rules if not rule.ours] == list(before.rules)
    for path in listed_paths(file):
        assert after.winner(path) == before.winner(path)
    path = "our namespace/secrets/db.yaml"
    if (foreign := before.winner(path)) is None:
        assert recipients_by_sops(rendered, path) == keys("alice", "db")
    else:
        assert after.winner(path) == foreign


def listed_paths(config: Path) -> Iterator[str]:
    """Yield the secret files of the repository that a configuration is from."""
    listing = config.with_suffix(".files.tsv")
    if listing.exists():
        for line in listing.read_text().splitlines()[1:]:
            yield line.partition("\t")[0]


# --- anchors ----------------------------------------------------------------------


def test_anchors_hold_only_what_go_yaml_takes(recipients_by_sops: Encrypt) -> None:
    hosts = (Host("a.b", WEB.keys), Host("a@b", DB.keys), Host("a_b", ALICE.keys))
    rules = (Rule(0, "x", None, ("a.b", "a@b", "a_b")),)
    text = render(replace(FLEET, always=(), users=(), hosts=hosts, rules=rules), None)
    assert [line.split()[1] for line in text.splitlines() if "&" in line] == [
        *("&a_b", "&a_b_", "&a_b__")
    ]
    assert recipients_by_sops(text, "x") == keys("web", "db", "alice")


def test_several_keys_of_one_owner_are_numbered() -> None:
    user = User("alice", (*ALICE.keys, *WEB.keys, *DB.keys))
    hosts = (Host("alice-2", (recipient("other"),)),)
    rules = (Rule(0, "x", None, ("alice-2",)),)
    text = render(replace(FLEET, users=(user,), hosts=hosts, rules=rules), None)
    for name, key in [
        ("alice", "alice"),
        ("alice-2", "web"),
        ("alice-3", "db"),
        ("alice-2_", "other"),
    ]:
        assert f"- &{name} {converted(key)}\n" in text


def test_a_foreign_anchor_is_never_redefined(recipients_by_sops: Encrypt) -> None:
    foreign = (
        f"keys:\n  - &web {FOREIGN}\ncreation_rules:\n"
        "  - path_regex: ^foreign/\n    age: *web\n"
    )
    text = render(FLEET, foreign)
    assert recipients_by_sops(text, "foreign/x") == (FOREIGN,)
    assert recipients_by_sops(text, "secrets/web.yaml") == keys("alice", "web")
    assert f"- &web_ {converted('web')}\n" in text


def test_a_foreign_anchor_for_the_same_key_is_used_until_it_changes() -> None:
    foreign = f"keys:\n  - &web {converted('web')}\n" + RULES
    text = render(FLEET, foreign)
    assert text.count(converted("web")) == 1
    assert "          - *web\n" in text
    stale = text.replace(converted("web"), FOREIGN)
    assert f"- &web_ {converted('web')}\n" in render(FLEET, stale)


def test_a_foreign_rule_may_name_our_anchors(recipients_by_sops: Encrypt) -> None:
    using = NEW + "  - path_regex: ^foreign/\n    key_groups: [{age: [*web]}]\n"
    assert render(FLEET, using) == using
    rotated = replace(FLEET, hosts=(Host("web", (recipient("new"),)), DB))
    text = render(rotated, using)
    assert recipients_by_sops(text, "foreign/x") == keys("new")
    gone = replace(FLEET, hosts=(DB,), groups=(), rules=FLEET.rules[1:])
    with pytest.raises(NixsecretsError, match=r"^\.sops\.yaml"):
        render(gone, using)


def test_where_no_anchor_can_stand_keys_are_written_out() -> None:
    text = render(FLEET, SHAPES["keys in brackets"])
    assert f"          - {converted('web')} # web\n" in text
    assert "*web" not in text


# --- places of blocks -------------------------------------------------------------


def test_adopted_rules_are_replaced_where_they_stand() -> None:
    text = (
        "creation_rules:\n"
        f"  # the web server\n  - path_regex: ^secrets/web\n    age: {FOREIGN}\n"
        f"  - path_regex: ^secrets/db\n    age: {FOREIGN}\n"
        f"  # ours no more\n  - path_regex: ^foreign/\n    age: {FOREIGN}\n"
        f"  # kubernetes\n  - path_regex: ^k8s/\n    age: {FOREIGN}\n"
    )
    rendered = render(FLEET, text, adopted={0: 0, 1: 0, 3: 1})
    lines = [
        line.strip()
        for line in rendered.splitlines()
        if line.strip().startswith(("#", "- path_regex")) and "written" not in line
    ]
    assert lines[lines.index("# the web server") :] == [
        "# the web server",
        "# nixsecrets: begin",
        "- path_regex: ^secrets/web\\.yaml$",
        "- path_regex: ^secrets/db\\.yaml$",
        "- path_regex: ^secrets/[^/]+\\.yaml$",
        "# nixsecrets: end",
        "# ours no more",
        "- path_regex: ^foreign/",
        "# kubernetes",
        "# nixsecrets: begin",
        "- path_regex: ^k8s/(?:[^/]+/)*[^/]+$",
        "# nixsecrets: end",
    ]
    assert render(FLEET, rendered) == rendered


def blocks_of(text: str) -> list[list[str]]:
    """Return the expressions of each block of rules."""
    found: list[list[str]] = []
    for block in text.split("# nixsecrets: begin")[1:]:
        lines = block.split("# nixsecrets: end")[0].splitlines()
        found.append([one.split(": ")[1] for one in lines if "path_regex" in one])
    return [one for one in found if one]


def in_blocks(*rules: Rule) -> list[list[str]]:
    """Return where rules go in a file whose two blocks hold `b` and `d`."""
    base = replace(FLEET, rules=(literal("b", 0), literal("d", 1)))
    foreign = f"creation_rules:\n{FOREIGN_RULE}{FOREIGN_RULE}{FOREIGN_RULE}"
    text = render(base, foreign, adopted={0: 0, 2: 1})
    assert blocks_of(text) == [["^b$"], ["^d$"]]
    result = render(replace(base, rules=rules), text)
    assert render(replace(base, rules=rules), result) == result
    return blocks_of(result)


def literal(path: str, index: int) -> Rule:
    return Rule(index, path, None, ("web",))


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("bd", [["^b$"], ["^d$"]]),
        ("abcde", [["^a$", "^b$", "^c$"], ["^d$", "^e$"]]),
        ("cd", [["^c$", "^d$"]]),
        ("db", [["^d$", "^b$"]]),
        ("ace", [["^a$", "^c$", "^e$"]]),
        ("b", [["^b$"]]),
    ],
)
def test_rules_keep_their_block_and_new_ones_follow_the_rule_before(
    rules: str, expected: list[list[str]]
) -> None:
    found = in_blocks(*(literal(path, at) for at, path in enumerate(rules)))
    assert found == expected


# --- what rules say ---------------------------------------------------------------


def rendered_regexes(*rules: Rule, config: str = ".sops.yaml") -> list[str]:
    """Return the expressions of a new file for these rules."""
    text = render(replace(FLEET, rules=rules, sops_config=config), None)
    return [rule.path_regex for rule in Winners(text).rules]


def test_rules_for_age_files_alone_stay_out_unless_a_later_rule_would_win() -> None:
    age = Rule(0, "secrets/*.age", None, ("web",))
    regex = Rule(1, None, r"^x/.*\.age$", ("web",))
    yaml = Rule(2, "**/*.yaml", None, ("db",))
    assert rendered_regexes(age, regex, yaml) == [r"^(?:[^/]+/)*[^/]*\.yaml$"]
    every = Rule(3, "secrets/**", None, ("db",))
    assert rendered_regexes(age, yaml, every)[0] == r"^secrets/[^/]*\.age$"
    assert rendered_regexes(every, age) == ["^secrets/(?:[^/]+/)*[^/]+$"]


def test_rules_are_restated_for_the_folder_of_the_configuration() -> None:
    rules = (
        Rule(0, "secrets/a.yaml", None, ("web",)),
        Rule(1, "other/b.yaml", None, ("web",)),
        Rule(2, None, r"^secrets/(c|d)\.yaml$", ("web",)),
        Rule(3, "**", None, ()),
    )
    assert rendered_regexes(*rules, config="secrets/.sops.yaml") == [
        r"^a\.yaml$",
        r"^(c|d)\.yaml$",
        "^(?:[^/]+/)*[^/]+$",
    ]
    unanchored = Rule(0, None, r"c\.yaml$", ("web",), line=12)
    with pytest.raises(MapError, match=r"^nixsecrets\.toml:12: path_regex must begin"):
        rendered_regexes(unanchored, config="secrets/.sops.yaml")
    assert rendered_regexes(unanchored) == [r"c\.yaml$"]


def test_readers_that_sops_nix_cannot_serve_are_skipped(
    recipients_by_sops: Encrypt,
) -> None:
    rsa = parse_recipient(rsa_key().public)
    bob = User("bob", (recipient("bob"), rsa), sops_form="ssh")
    fleet = replace(
        FLEET,
        users=(ALICE, bob),
        hosts=(WEB, Host("old", (rsa,))),
        rules=(Rule(0, "x", None, ("web", "old", "bob")), Rule(1, "y", None, ("old",))),
    )
    text = render(fleet, None)
    bobs = (recipient("bob").text, rsa.text)
    assert recipients_by_sops(text, "x") == (*keys("alice"), *bobs, *keys("web"))
    nobody = render(replace(fleet, always=()), None)
    assert "      - age: []\n" in nobody
    assert isinstance(recipients_by_sops(nobody, "y"), str)


@pytest.mark.parametrize(
    "value",
    [
        *(
            "^(data|stringData)$",
            "_x",
            "",
            "true",
            "1",
            "a b",
            "a: b",
            "a #b",
            "'",
            '"',
        ),
        "-",
        "\\d",
        "^a:$",
        "ä€😀",
        "\u2028\x85\x07",
        "*a",
        "&a",
        "!a",
        "^[^a]*#:?,{}",
        "null",
    ],
)
def test_options_say_what_the_map_says(value: str) -> None:
    options = (("encrypted_regex", value), ("mac_only_encrypted", True))
    text = render(replace(FLEET, rules=(Rule(0, "x", None, (), sops=options),)), None)
    (rule,) = Winners(text).rules
    assert rule.options == options[not value :]


def test_sops_reads_unusual_texts_as_we_wrote_them(recipients_by_sops: Encrypt) -> None:
    paths = [
        "a b",
        "a: b",
        "a #b",
        "'a'",
        '"a"',
        "ä€😀",
        "*a",
        "&a",
        "a\\b",
        "true",
        "[a]",
    ]
    escaped = {"\\": "[\\]", "*": "[*]", "[": "[[]", "]": "[]]"}
    rules = tuple(
        Rule(at, "".join(escaped.get(char, char) for char in path), None, ("web",))
        for at, path in enumerate(paths)
    )
    text = render(replace(FLEET, rules=rules), None)
    for path in paths:
        assert recipients_by_sops(text, path) == keys("alice", "web"), path


@pytest.mark.parametrize("seed", range(20))
def test_sops_decides_as_the_map_does(recipients_by_sops: Encrypt, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 (a repeatable dice)
    patterns = [
        "{host}-*",
        "a/{host}/**",
        "**/{user}",
        "{user}-{host}",
        "*",
        "a/**",
        "**",
    ]
    readers = ["{host}", "{user}", "web", "db", "servers", "alice", "zoe"]
    rules = tuple(
        Rule(
            at,
            pattern,
            None,
            tuple(
                one
                for one in dice.sample(readers, 3)
                if one[0] != "{" or one in pattern
            ),
            except_=tuple(dice.sample(["web", "alice"], 1)),
        )
        for at, pattern in enumerate(dice.sample(patterns, 4))
    )
    fleet = replace(
        FLEET,
        users=(ALICE, User("zoe", (recipient("zoe"),)), User("z", (recipient("z"),))),
        hosts=(WEB, DB, Host("web-db", (recipient("web-db"),))),
        retired=(Retired("db-x", recipient("retired")),),
        rules=rules,
    )
    parts = ["web", "db", "web-db", "zoe", "z", "a", "gone", "-", "/", "db-x"]
    path = "".join(dice.choices(parts, k=4)).strip("/").replace("//", "/") or "x"
    found = Policy(fleet).desired(path, Backend.SOPS)
    real = recipients_by_sops(render(fleet, None), path)
    if found is None:
        assert "no matching creation rules" in real
    else:
        assert real == tuple(one.recipient.text for one in found.readers), path


# --- files that hold nothing else -----------------------------------------------

ODD = replace(
    FLEET,
    hosts=(
        Host("a.b", (recipient("dot"),)),
        Host("a_b", (recipient("line"), recipient("second"))),
        *(WEB, DB),
    ),
    rules=(
        Rule(0, "s/{host}/**", None, ("{host}",)),
        Rule(1, None, r"^s/x\.json$", ("web",), sops=(("encrypted_regex", "^a: b$"),)),
        Rule(2, "s/**", None, ("a.b", "a_b"), except_=("alice",)),
    ),
)
OWN = {
    "usual": FLEET,
    "odd names, several keys": ODD,
    "in a folder": replace(ODD, sops_config="s/.sops.yaml"),
    "of nobody": replace(FLEET, always=(), rules=(Rule(0, "s/**", None, ()),)),
    "without rules": replace(FLEET, rules=()),
}


@pytest.mark.parametrize("case", OWN)
def test_a_file_of_our_own_is_recognized_without_reading_it(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, mark = OWN[case], "\ufeff"
    text = render(fleet, None)
    assert render(fleet, mark + text) == mark + text  # in which blocks were looked for
    monkeypatch.setattr("nixsecrets.generated.yamltree.parse", None)
    assert is_own(fleet, text)
    assert render(fleet, text) == text


@pytest.mark.parametrize(
    "text", ["", NEW + "\n", NEW.replace("web", "wab"), "# x\n" + NEW]
)
def test_any_other_file_is_not_our_own(text: str) -> None:
    assert is_own(FLEET, NEW)
    assert not is_own(FLEET, text)


def test_a_map_that_cannot_be_restated_has_no_file_of_its_own() -> None:
    rules = (Rule(0, None, "secrets", ()),)
    assert not is_own(replace(FLEET, rules=rules, sops_config="k/.sops.yaml"), NEW)


@pytest.mark.parametrize("case", OWN)
def test_a_file_with_our_blocks_alone_has_no_foreign_rule(case: str) -> None:
    for text in (render(OWN[case], None), render(FLEET, render(OWN[case], None))):
        assert only_ours(text)
        rules = Winners(text, ".sops.yaml").rules
        assert all(rule.ours for rule in rules)


@pytest.mark.parametrize(
    "text",
    [
        "",
        NEW + "\n",
        "# x\n" + NEW,
        NEW + "  - path_regex: x\n",
        NEW.replace("# nixsecrets: end", "#"),
        "stores: {}\n",
    ],
)
def test_whatever_else_is_in_a_file_may_be_a_foreign_rule(text: str) -> None:
    assert not only_ours(text)


# --- any text ---------------------------------------------------------------------

LINES = st.sampled_from(
    [
        *("keys:", "creation_rules:", "  - &web x", "  - &u", "  - &l:", "    - &a y"),
        *(
            f"  - age: {FOREIGN}",
            "    pgp:",
            "  - path_regex: ^f",
            "    age: *web",
            "-",
        ),
        *(
            "  -",
            "note: |+",
            "  text",
            "",
            "# comment",
            "  # comment",
            "stores: {}",
            "---",
        ),
        *("    - path_regex: >-", "        ^x", "- key_groups:", "  - age:", "    - z"),
        *(
            "keys: [a]",
            "  <<: *a",
            "...",
            "? a",
            ": b",
            "'creation_rules':",
            "keys: # c",
        ),
        *(
            "# nixsecrets: begin",
            "# nixsecrets: end",
            "x: &web {a: 1}",
            "\t",
            "  x: 'a",
        ),
        *(
            "creation_rules: # c",
            "  b'",
            "%YAML 1.2",
            "!t keys: !u",
            "- [*web, {a: b}]",
        ),
    ]
)


@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_any_text_is_extended_exactly_or_refused(
    lines: list[str], newline: str, ended: bool
) -> None:
    text = newline.join(lines) + (newline if ended else "")
    try:
        rendered = render(FLEET, text)
    except NixsecretsError as error:
        assert error.hint
        return
    assert render(FLEET, rendered) == rendered
    if not text.strip():
        return
    assert without_blocks(rendered) == without_blocks(text)
    try:
        before = Winners(text).rules
    except NixsecretsError:
        return  # an alias of it names an anchor of ours, which it lacked
    if "nixsecrets:" not in text:
        foreign = [rule for rule in Winners(rendered).rules if not rule.ours]
        assert foreign == list(before)


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        Winners(text).winner("a")
    except NixsecretsError as error:
        assert error.hint

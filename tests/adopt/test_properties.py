"""Random configurations keep their access, by the word of sops and of Nix."""

import json
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.adopt.evaluate import Evaluated, evaluate_rules
from nixsecrets.adopt.hints import keys_in
from nixsecrets.adopt.nixsource import imports, read_public_key, read_source
from nixsecrets.adopt.oldrules import Old, read_age, read_sops
from nixsecrets.adopt.patterns import glob_of, nearby, possible, samples
from nixsecrets.adopt.planned import Tree
from nixsecrets.adopt.propose import propose
from nixsecrets.adopt.yamlnames import names_in
from nixsecrets.errors import NixsecretsError
from nixsecrets.generated import secretsnix
from nixsecrets.generated.secretsnix import nix_string
from nixsecrets.keys.forms import Backend
from nixsecrets.map.load import load
from nixsecrets.map.match import compile_rule
from nixsecrets.map.model import Rule
from nixsecrets.map.resolve import Policy
from nixsecrets.untrusted.regex import parse
from tests.fleet import clean_env, program, run_program, sops_path, ssh_key

SEEDS = range(8)
SSH = [ssh_key(f"adopt {n}", comment=f"root@h{n}").public for n in range(6)]
AGE = [keys_in(text)[0].converted().text for text in SSH]
FINGERPRINT = "85D77543B3D624B63CEA9E6DBC17301B491B3F21"
REGEXES = [
    *(r"^secrets/[^/]+\.yaml$", r"secrets/.*", r"secrets/h1", r"^hosts/h0/.*$"),
    *(r"hosts/h1/secrets.yaml$", r"^hosts/h2/secrets\.yaml$", r"\.env$", r".*\.yaml$"),
    *(r"^(.+/|)secrets/[^/]+$", r"secrets/(a|b)?\.(yaml|env)$", r"modules/x/*", ""),
    *(r"^hosts/h0/secrets\.yaml$", r"^hosts/h1/secrets\.yaml$", r"^[a-c]+/", r"x$|y$"),
]
PATHS = [
    *("secrets/a.yaml", "secrets/h10/b.env", "a/b-secrets/x.yaml", "hosts/h0/x/y"),
    *("hosts/h1/secretsXyaml", "hosts/h2/secrets.yaml", "modules/xx", "abc/d"),
    *("hosts/h0/secrets.yaml", "hosts/h9/secrets.yaml", "secrets/.yaml", "top.yaml"),
]


def random_config(dice: random.Random) -> str:
    """A `.sops.yaml` with anchors, literal keys, all three shapes, foreign rules."""
    lines = ["keys:"]
    lines += [f"  - &host_h{n} {key}" for n, key in enumerate(AGE[:4])]
    lines.append("creation_rules:")
    for _ in range(dice.randint(1, 6)):
        regex = dice.choice(REGEXES)
        lines.append(f"  - path_regex: {json.dumps(regex)}" if regex else "  -")
        aliases = [f"*host_h{n}" for n in dice.sample(range(4), dice.randint(1, 3))]
        shape = dice.randrange(5)
        if shape == 0:
            lines.append(f"    age: {','.join(dice.sample(AGE, 2))}")
        elif shape == 1:
            lines.append(f"    age: [{', '.join(aliases)}]")
        elif shape == 2 and dice.random() < 0.4:
            lines += ["    key_groups:", f"    - pgp: [{FINGERPRINT}]"]
            lines.append(f"      age: [{aliases[0]}]")
        else:
            lines += ["    key_groups:", f"      - age: [{', '.join(aliases)}]"]
            lines.append(f"    age: {AGE[5]}  # hidden by key_groups")
    return "\n".join(lines).replace("  -\n    ", "  - ") + "\n"


class Sops:
    """The real sops in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = clean_env(folder)
        (folder / "plain").write_bytes(b"x")

    def readers(self, config: str, path: str) -> object:
        """To whom sops encrypts a new file at `path`; what it says where it cannot."""
        import subprocess

        (self.folder / ".sops.yaml").write_text(config)
        done = subprocess.run(
            [
                *(sops_path(), "--disable-version-check", "--config", ".sops.yaml"),
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
            return {one["recipient"] for one in json.loads(done.stdout)["sops"]["age"]}
        return "no rule" if "no matching creation rules" in done.stderr else "foreign"


@pytest.mark.parametrize("seed", SEEDS)
def test_sops_encrypts_to_the_same_keys_before_and_after(
    seed: int, tmp_path: Path
) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same in every run
    sops = Sops(tmp_path)
    adopted = 0
    for _ in range(4):
        text = random_config(dice)
        old = Old(read_sops(text, ".sops.yaml"), (), ".sops.yaml", None)
        try:
            proposal = propose(old, {}, names_in(text, ".sops.yaml"), config_text=text)
        except NixsecretsError as error:
            assert "no rule of it can be adopted" in error.message
            continue
        adopted += 1
        assert proposal.config is not None
        for path in dice.sample(PATHS, 3):
            before = sops.readers(text, path)
            after = sops.readers(proposal.config, path)
            if before == "no rule" and "{host}" in proposal.map_text:
                continue  # a {host} rule may claim what nobody could encrypt
            assert after == before, (path, text, proposal.config)
    assert adopted


@pytest.mark.parametrize("seed", range(4))
def test_nix_sees_the_same_rules_before_and_after(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)  # noqa: S311 - the same in every run
    names = ["wifi.age", "a/b.age", "a/c.age", "a/d.age", "x ${y}.age", 'q".age', "raw"]
    names += [f"hosts/h{n}/pw.age" for n in range(4)] + ["./dot.age", "-dash.age"]
    sets = [dice.sample(SSH, dice.randint(1, 4)) for _ in range(3)]
    lines = ["let", *(f"  h{n} = {nix_string(key)};" for n, key in enumerate(SSH))]
    lines += ['  twice = h0 + "\\n" + h1;', "in {"]
    for name in names:
        chosen = [f"h{SSH.index(key)}" for key in dice.choice(sets)]
        extra = dice.choice(["", ' ++ [ "" ]', " ++ [ twice ]", " ++ [ h0 h0 ]"])
        armor = dice.choice(["", "armor = true; "])
        if name.startswith("hosts/"):
            chosen, extra, armor = ["h5", name[6:8]], "", ""
        keys = f"[ {' '.join(chosen)} ]{extra}"
        lines.append(f"  {nix_string(name)} = {{ {armor}publicKeys = {keys}; }};")
    (tmp_path / "secrets.nix").write_text("\n".join([*lines, "}"]) + "\n")
    found = evaluate_rules(tmp_path / "secrets.nix", tmp_path, os.environ)
    assert [one.name for one in found] == sorted(names)
    age = read_age(found, "secrets.nix", {})
    tree: Tree = {entry.path: Backend.AGE for entry in age}
    source = (tmp_path / "secrets.nix").read_text()
    proposal = propose(
        Old((), age, None, "secrets.nix"),
        tree,
        read_source(source, "secrets.nix").hints,
    )
    text = secretsnix.render(Policy(load(proposal.map_text)), tree)
    (tmp_path / "secrets.nix").write_text(text)
    again = evaluate_rules(tmp_path / "secrets.nix", tmp_path, os.environ)
    assert _said(again) == _said(found)
    assert "{host}" in proposal.map_text


def _said(found: list[Evaluated]) -> dict[str, object]:
    return {
        one.name.removeprefix("./"): (
            {key.key_id for text in one.public_keys for key in keys_in(text)},
            one.armor,
        )
        for one in found
    }


PIECES = [
    *("secrets", "/", r"\.", ".", "[^/]+", "[^/]*", "[^/]", ".*", ".+", "^", "$"),
    *("a", "b", "-", r"\.yaml$", "(^|/)", "^(.+/|)", "(a|b)", "*", "?", "{", "[a-c]"),
]
SEGMENTS = st.lists(
    st.sampled_from(["a", "b", ".", "-", "secrets", "x.yaml"]), min_size=1
)


@given(
    st.lists(st.sampled_from(PIECES), max_size=7).map("".join),
    st.lists(SEGMENTS.map("".join), min_size=1, max_size=4).map("/".join),
)
def test_a_glob_covers_what_its_expression_finds_and_nothing_else(
    source: str, path: str
) -> None:
    try:
        glob = glob_of(source)
    except ValueError:
        return
    if glob is None or not possible(path):
        return
    matcher = compile_rule(Rule(0, glob.text, None, ()))
    found = parse(source).found_in(path) if source else True
    assert (matcher.match(path) is not None) == found, (source, glob.text)


@given(st.lists(st.sampled_from(PIECES), max_size=7).map("".join))
def test_samples_are_paths_that_the_expression_is_found_in(source: str) -> None:
    try:
        regex = parse(source)
    except ValueError:
        return
    drawn = samples(source)
    assert all(possible(path) and regex.found_in(path) for path in drawn)
    assert set(drawn) <= set(nearby(drawn))


@given(st.text(alphabet="let in={}[]();\"'#/*\\\n.a b${+", max_size=60))
def test_any_text_is_looked_through_without_an_error(text: str) -> None:
    read_source(text, "secrets.nix")
    list(imports(text, "a/secrets.nix"))
    read_public_key(text, "keys/a.pub")


@pytest.mark.parametrize(
    ("source", "glob"),
    [
        ("", "**"),
        (".*", "**"),
        (r"^secrets/x\.yaml$", "secrets/x.yaml"),
        (r"^secrets/[^/]+\.yaml$", "secrets/?*.yaml"),
        (r"^secrets/[^/]+$", "secrets/*"),
        (r"^secrets/.*$", "secrets/**"),
        (r"^secrets/", "secrets/**"),
        (r"^secrets/.*\.yaml$", "secrets/**/*.yaml"),
        (r".*\.yaml$", "**/*.yaml"),
        (r"(^|/)x\.yaml$", "**/x.yaml"),
        (r"^(.+/|)secrets/[^/]+$", "**/secrets/*"),
        (r"^a\[b\]$", "a[[]b[]]"),
        (r"secrets/x\.yaml$", "**/*secrets/x.yaml"),
        # an unescaped dot, an open end, alternatives: no glob says the same
        (r"^secrets/x.yaml$", None),
        (r"^secrets/x\.yaml", None),
        (r"^secrets/(a|b)\.yaml$", None),
        (r"^secrets/.+\.yaml$", None),
        ("modules/voc-nebula/*", None),
    ],
)
def test_an_expression_becomes_the_glob_that_means_the_same(
    source: str, glob: str | None
) -> None:
    found = glob_of(source)
    assert (found and found.text) == glob


def test_the_reference_programs_are_the_real_ones() -> None:
    version = run_program(program("nix-instantiate"), "--version", env=os.environ)
    assert version.startswith(b"nix-instantiate (Nix)")

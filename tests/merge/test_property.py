"""Random maps, values and edits on two branches, merged in a random way.

By real decryption: nobody whom a side removed opens a file afterwards, everybody whom
the merged map names does, and the plaintext is the three-way merge of the sides'
plaintexts.  A seed gives the same story in every run.
"""

import configparser
import json
import os
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from nixsecrets.files.kind import backend_of
from nixsecrets.keys.identities import parse_identities
from nixsecrets.keys.recipients import KeyId
from nixsecrets.map.load import load
from nixsecrets.map.resolve import Policy
from tests import fleet as kit
from tests.cli.conftest import copied
from tests.fleet import Fleet, age_secret, make_fleet, program, ssh_key
from tests.merge.branches import Act, Parted, git, parted, resolve

STORIES = 300 if os.environ.get("HYPOTHESIS_PROFILE") == "fuzz" else 16
WAYS = ("merge", "merge", "rebase", "cherry-pick", "stash")
MEMBERS = ("schere", "stein", "carol", "brunnen", "weide")
NAMES = ("a", "b", "c", "d")
WORDS = ("one", "two", "three", "four")
RULES = """
[sops]
config = ".sops.yaml"

[agenix]
rules = "secrets/secrets.nix"

[groups]
admins = ["alice", "bob"]
dns = ["schere", "stein", "carol"]
web = ["brunnen", "weide"]

[[secrets]]
path = "secrets/dns/**"
readers = ["dns"]

[[secrets]]
path = "secrets/web/**"
readers = ["web"]

[[secrets]]
path = "secrets/**"
readers = ["dns", "web"]
"""
Values = dict[str, Any]
FILES: dict[str, Values] = {
    "secrets/dns/a.yaml": {"a": "one", "b": {"a": "one", "b": "two"}},
    "secrets/dns/b.age": {"a": "one", "b": "two"},
    "secrets/web/c.json": {"a": "one", "b": {"a": "one", "b": "two"}},
    "secrets/web/d.env": {"a": "one", "b": "two"},
    "secrets/e.ini": {"a": "one", "b": "two"},
}
_GONE = object()


# --- plaintexts ---------------------------------------------------------------------


def text(path: str, values: Values) -> str:
    """Return a plaintext with these values."""
    match Path(path).suffix:
        case ".json":
            return json.dumps(values, indent="\t") + "\n"
        case ".yaml":
            return "".join(_yaml(values))
        case ".ini":
            return "[main]\n" + "".join(f"{k} = {v}\n" for k, v in values.items())
        case ".env":
            return "".join(f"{k}={v}\n" for k, v in values.items())
        case _:
            return "".join(f"{k}={v}\n\n" for k, v in values.items())


def _yaml(values: Values, indent: str = "") -> list[str]:
    return [
        f"{indent}{key}:\n{''.join(_yaml(value, indent + '    '))}"
        if isinstance(value, dict)
        else f"{indent}{key}: {value}\n"
        for key, value in values.items()
    ]


def read(path: str, plaintext: str) -> Values:
    """Return the values of a plaintext."""
    match Path(path).suffix:
        case ".json":
            return dict(json.loads(plaintext))
        case ".yaml":
            return dict(YAML(typ="safe").load(plaintext) or {})
        case ".ini":
            parser = configparser.ConfigParser()
            parser.read_string(plaintext)
            return dict(parser["main"])
        case _:
            return dict(one.split("=", 1) for one in plaintext.split("\n") if one)


def three_way(sides: tuple[Any, Any, Any], at: str, chosen: Mapping[str, str]) -> Any:
    """Return the merge of trees; `_GONE` for what is in none."""
    base, ours, theirs = sides
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if at in chosen:
        return theirs if chosen[at] == "theirs" else ours
    assert isinstance(ours, dict), f"a conflict at {at} that resolve did not see"
    assert isinstance(theirs, dict), f"a conflict at {at} that resolve did not see"
    had = base if isinstance(base, dict) else {}
    found = {
        key: three_way(
            tuple(side.get(key, _GONE) for side in (had, ours, theirs)),
            f"{at}/{key}" if at else key,
            chosen,
        )
        for key in ours | theirs
    }
    return {key: value for key, value in found.items() if value is not _GONE}


# --- what happens on a branch -------------------------------------------------------


class Story:
    """What one side does: acts that a person could do, chosen by chance.

    Both sides care more for one file and for one name than for the others.
    """

    def __init__(self, seed: int, side: str) -> None:
        both = random.Random(seed)  # noqa: S311 (a repeatable dice)
        self.path, self.name = both.choice([*FILES]), both.choice(MEMBERS)
        self.chance = random.Random(f"{seed} {side}")  # noqa: S311 (a repeatable dice)
        self.side = side

    def __call__(self, fleet: Fleet) -> None:
        acts = (
            *(self.change, self.change, self.add_value, self.drop_value),
            *(self.new_file, self.remove_file, self.add, self.rotate),
            *(self.leave, self.leave, self.out_of_group, self.out_of_group),
            *(self.into_group, self.named_directly, self.into_always),
        )
        for act in self.chance.sample(acts, self.chance.randint(1, 4)):
            act(fleet)

    def _secret(self, fleet: Fleet) -> str:
        found = secrets(fleet)
        favourite = [self.path] * 4 if self.path in found else []
        return self.chance.choice(found + favourite)

    def _write(self, fleet: Fleet, path: str, values: Values) -> None:
        fleet.run("set", path, "--yes", stdin=text(path, values))

    def _values(self, fleet: Fleet, path: str) -> Values:
        return read(path, fleet.ok("cat", path))

    def change(self, fleet: Fleet) -> None:
        path = self._secret(fleet)
        values = self._values(fleet, path)
        self._put(values, self.chance.choice([*values]))
        self._write(fleet, path, values)

    def _put(self, values: Values, key: str) -> None:
        inner = values.get(key)
        if isinstance(inner, dict) and inner:
            self._put(inner, self.chance.choice([*inner]))
        else:
            values[key] = self.chance.choice(WORDS)

    def add_value(self, fleet: Fleet) -> None:
        path = self._secret(fleet)
        values = self._values(fleet, path)
        self._put(values, self.chance.choice(NAMES))
        self._write(fleet, path, values)

    def drop_value(self, fleet: Fleet) -> None:
        path = self._secret(fleet)
        values = self._values(fleet, path)
        if len(values) > 1:
            del values[self.chance.choice([*values])]
            self._write(fleet, path, values)

    def new_file(self, fleet: Fleet) -> None:
        folder = self.chance.choice(("dns/", "web/", ""))
        name = self.chance.choice(("new.age", "new.env", f"{self.side}.yaml"))
        self._write(fleet, f"secrets/{folder}{name}", {"a": self.chance.choice(WORDS)})

    def remove_file(self, fleet: Fleet) -> None:
        fleet.run("rm", self._secret(fleet), "--yes")

    def add(self, fleet: Fleet) -> None:
        name = f"{self.side}-host"
        fleet.add_host(name, ssh_key(name))
        group = self.chance.choice(("dns", "web"))
        fleet.run(
            *("add-host", name, "--group", group, "--yes"),
            *("--key", fleet.public(name)),
        )

    def _member(self) -> str:
        return self.chance.choice((*MEMBERS, *[self.name] * 4))

    def rotate(self, fleet: Fleet) -> None:
        name = self._member()
        new = ssh_key(f"{self.side} {name}")
        new.write(fleet.keys / f"{name}.{self.side}")
        command = "rotate-user" if name == "carol" else "rotate-host"
        fleet.run(command, name, "--key", new.public, "--yes", "--allow-revoke")

    def leave(self, fleet: Fleet) -> None:
        name = self._member()
        command = "remove-user" if name == "carol" else "remove-host"
        fleet.run(command, name, "--yes", "--allow-revoke")

    def _edit(self, fleet: Fleet, pattern: str, new: str) -> None:
        before = fleet.read("nixsecrets.toml").decode()
        fleet.write(
            "nixsecrets.toml", re.sub(pattern, new, before, count=1, flags=re.M)
        )
        if fleet.run("rekey", "--yes", "--allow-revoke").returncode:
            fleet.write("nixsecrets.toml", before)

    def out_of_group(self, fleet: Fleet) -> None:
        name = self._member()
        self._edit(fleet, rf'^((?:dns|web) = .*?)(?:, )?"{name}"', r"\1")

    def into_group(self, fleet: Fleet) -> None:
        group = self.chance.choice(("dns", "web"))
        self._edit(fleet, rf'^({group} = \[.*")\]', rf'\1, "{self._member()}"]')

    def named_directly(self, fleet: Fleet) -> None:
        group = self.chance.choice(("dns", "web"))
        self._edit(fleet, rf'^(readers = \["{group}")\]', rf'\1, "{self._member()}"]')

    def into_always(self, fleet: Fleet) -> None:
        self._edit(fleet, r'^(always = \["admins")\]', rf'\1, "{self._member()}"]')


# --- what there is ------------------------------------------------------------------


def secrets(fleet: Fleet) -> list[str]:
    found = (fleet.root / "secrets").rglob("*")
    return sorted(
        str(path.relative_to(fleet.root))
        for path in found
        if path.is_file() and path.suffix != ".nix"
    )


def decrypted(fleet: Fleet, path: str, *keys: Path) -> str | None:
    """Return what real age or sops opens with these keys, None for nothing."""
    env = dict(fleet.env)
    if path.endswith(".age"):
        words = [word for key in keys for word in ("-i", str(key))]
        argv = [program("age"), "-d", *words, path]
    else:
        identities = "\n".join(age_secret(key.read_bytes()) for key in keys)
        env |= {"HOME": str(fleet.keys / "nobody"), "SOPS_AGE_KEY": identities}
        argv = [kit.sops_path(), "decrypt", path]
    try:
        return kit.run_program(*argv, env=env, cwd=fleet.root).decode()
    except kit.ProgramFailed:
        return None


class Version:
    """A side as it was committed: the values of each file, and the map."""

    def __init__(self, fleet: Fleet) -> None:
        alice = fleet.keys / "alice"
        self.values: dict[str, Values] = {}
        for path in secrets(fleet):
            plaintext = decrypted(fleet, path, alice)
            assert plaintext is not None, path
            self.values[path] = read(path, plaintext)
        self.policy = Policy(load(fleet.read("nixsecrets.toml").decode()))

    def readers(self, path: str, data: bytes) -> set[KeyId]:
        backend = backend_of(path, data)
        assert backend is not None
        want = self.policy.desired(path, backend)
        return {one.recipient.key_id for one in want.readers} if want else set()


def key_ids(place: Path) -> set[KeyId]:
    (found,) = parse_identities(place.read_bytes(), place.name).identities
    return {one.key_id for one in found.recipients}


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    """A repository that both sides start from."""
    base = tmp_path_factory.mktemp("start") / "fleet"
    hosts, users = ("brunnen", "weide", "schere", "stein"), ("alice", "bob", "carol")
    fleet = make_fleet(base, hosts=hosts, users=users)
    fleet.write_map(RULES, always=("admins",))
    fleet.ok("sync")
    for path, values in FILES.items():
        fleet.ok("set", path, "--yes", stdin=text(path, values))
    fleet.commit("base")
    return fleet


@pytest.mark.parametrize("seed", range(STORIES))
def test_a_removal_wins_and_values_are_the_merge_of_both_sides(
    start: Fleet, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 (a repeatable dice)
    fleet = copied(start, tmp_path / "fleet")
    versions = [Version(fleet)]

    def side(name: str) -> Act:
        story = Story(seed, name)

        def told(clone: Fleet) -> None:
            story(clone)
            versions.append(Version(clone))

        return told

    way = chance.choice(WAYS)
    found = parted(fleet, side("ours"), side("theirs"), way, colleague="bob")
    base, theirs, ours = versions
    if way in ("rebase", "stash"):  # what git replays is theirs for it
        ours, theirs = theirs, ours
    if way == "stash" and not fleet.git("ls-files", "-u"):
        return  # git popped it, or refused to: nothing says that there was one
    chosen = settled(found, chance)
    if chosen is None:
        return  # the map needs a person; nothing was changed
    git(fleet, "commit", "-aqm", "merged")
    done = fleet.run("check")
    assert done.returncode == 0, done.stdout
    assert_values(fleet, (base, ours, theirs), chosen)
    assert_readers(fleet, (base, ours, theirs))


def settled(found: Parted, chance: random.Random) -> dict[str, dict[str, str]] | None:
    """Resolve, choosing a side wherever it asks; return the choices by path and key."""
    fleet = found.fleet
    before = fleet.snapshot()
    words: list[str] = []
    chosen: dict[str, dict[str, str]] = {}
    for _ in range(3):
        done = resolve(found, *words)
        if done.returncode == 0:
            return chosen
        assert done.returncode == 1, done.stderr
        assert "bug" not in done.stderr
        asked = re.findall(r"resolve (?:--last )?--ours '?([^', \n]+)", done.stderr)
        if not asked:
            assert fleet.snapshot() == before, done.stderr
            assert "map" in done.stderr, done.stderr
            return None
        for one in asked:
            side = chance.choice(("ours", "theirs"))
            path, _, key = one.partition("#")
            chosen.setdefault(path, {})[key] = side
            words += [f"--{side}", one]
    raise AssertionError(done.stderr)


def assert_values(
    fleet: Fleet,
    sides: tuple[Version, Version, Version],
    chosen: Mapping[str, Mapping[str, str]],
) -> None:
    """The values of every file are the three-way merge of both sides'."""
    wanted: dict[str, Values] = {}
    for path in {path for side in sides for path in side.values}:
        tree = three_way(
            tuple(side.values.get(path, _GONE) for side in sides),  # type: ignore[arg-type]
            "",
            # the values of an INI file have one section, which `read` leaves out
            {k.removeprefix("main/"): v for k, v in chosen.get(path, {}).items()},
        )
        if tree is not _GONE:
            wanted[path] = tree
    have = {
        path: read(path, str(decrypted(fleet, path, fleet.keys / "alice")))
        for path in secrets(fleet)
    }
    assert have == wanted


def assert_readers(fleet: Fleet, sides: tuple[Version, Version, Version]) -> None:
    """Whom a side removed opens nothing; whom the map names opens it."""
    base, ours, theirs = sides
    merged = Version(fleet)
    keys = [
        path
        for path in fleet.keys.iterdir()
        if path.is_file() and path.suffix != ".pub"
    ]
    for path in secrets(fleet):
        data = fleet.read(path)
        had, wants = base.readers(path, data), merged.readers(path, data)
        lost = had - (ours.readers(path, data) & theirs.readers(path, data))
        assert not lost & wants, path
        out = [one for one in keys if not key_ids(one) & wants]
        assert decrypted(fleet, path, *out) is None if out else True, path
        for one in keys:
            if key_ids(one) & wants:
                assert decrypted(fleet, path, one) is not None, (path, one.name)

"""A branch that somebody else prepared: names and kinds of files that mislead.

Real git, real age, real sops.
"""

from pathlib import Path

import pytest

from tests.cli.conftest import copied
from tests.fleet import Fleet
from tests.merge.branches import (
    AGE,
    DB,
    DB_TEXT,
    LINES,
    Act,
    in_order,
    key,
    larger_fleet,
    parted,
    put,
    resolve,
    several,
)


@pytest.fixture(scope="session")
def larger(template: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return larger_fleet(template, tmp_path_factory.mktemp("hostile") / "fleet")


@pytest.fixture
def base(larger: Fleet, tmp_path: Path) -> Fleet:
    return copied(larger, tmp_path / "fleet")


NAMES = [
    f":2:{AGE}",
    f"secrets/a\nHEAD:{AGE}",
    f"secrets/b\t{AGE}",
    f"secrets/{AGE.rpartition('/')[2].upper()}",
    f"--{AGE.rpartition('/')[2]}",
    "secrets/${AGE}.age",
]


def brought(name: str, data: bytes) -> Act:
    """Commit a file under any name, whatever our own commands would say to it."""

    def act(fleet: Fleet) -> None:
        place = fleet.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    return act


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_looks_like_a_revision_stands_for_its_own_file_alone(
    base: Fleet, name: str
) -> None:
    """Both sides bring it, with what the other secret had: nothing of ours moves."""
    old = base.read(AGE)
    ours = several(put(AGE, LINES.replace("one", "1")), brought(name, old))
    theirs = several(put(AGE, LINES.replace("four", "4")), brought(name, b"x" + old))
    found = parted(base, ours, theirs)
    assert found.stopped
    done = resolve(found)
    if done.returncode != 0:  # a rule covers it: a conflict of its own
        assert done.stderr.count("nixsecrets: error: ") == 1
        assert "main changed it, side has it in plaintext" in done.stderr
    mine = base.age_decrypt(AGE, "alice").decode()
    assert mine == LINES.replace("one", "1").replace("four", "4")


def linked(path: str, target: str) -> Act:
    def act(fleet: Fleet) -> None:
        (fleet.root / path).unlink()
        (fleet.root / path).symlink_to(target)

    return act


def nested(path: str) -> Act:
    """Put a submodule where a secret was."""

    def act(fleet: Fleet) -> None:
        (fleet.root / path).unlink()
        head = fleet.git("rev-parse", "HEAD").strip()
        fleet.git("update-index", "--remove", path)
        fleet.git("update-index", "--add", "--cacheinfo", f"160000,{head},{path}")

    return act


@pytest.mark.parametrize("target", ["/etc/passwd", "app.yaml", "../nixsecrets.toml"])
def test_a_secret_that_a_branch_made_a_link_is_not_followed(
    base: Fleet, target: str
) -> None:
    found = parted(base, key(DB, "db/password", "two"), linked(DB, target))
    assert (base.root / DB).is_symlink()
    before = base.snapshot()
    for words in ((), ("--ours", DB), ("--theirs", DB), ("--edit", DB)):
        done = resolve(found, *words)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-2:] == [
            f"nixsecrets: error: {DB}: side made it a link",
            f"nixsecrets: hint: git checkout HEAD -- {DB} keeps ours; then nixsecrets"
            " resolve",
        ]
        assert base.snapshot() == before
    base.git("checkout", "-q", "HEAD", "--", DB)
    base.git("rm", "-q", "-f", f"{DB}~HEAD")
    done = resolve(found, "--ours", DB)
    assert done.returncode == 0, done.stderr
    assert base.ok("cat", DB) == DB_TEXT.replace("password: one", "password: two")
    in_order(base)


def test_a_secret_that_a_branch_made_a_submodule_stays_ours(base: Fleet) -> None:
    found = parted(base, key(DB, "db/password", "two"), nested(DB))
    assert found.stopped
    done = resolve(found)
    assert "Traceback" not in done.stderr
    assert "bug" not in done.stderr
    assert "two" in base.git("show", f":2:{DB}") or base.sops_opens(DB, secret(base))


def secret(fleet: Fleet) -> str:
    return (fleet.keys / "alice").read_text()

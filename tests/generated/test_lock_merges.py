"""The lock in git: what two branches did to maps, files and locks, merged for real.

A fleet here is what decides about a lock: who has which key, and which age file has
which readers and which bytes.  Two branches change it at random, as commands do; git
merges; then the lock still has the record of every file that git merged by itself.
"""

import hashlib
import random
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nixsecrets.files.state import Record
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.recipients import Recipient
from tests.fleet import clean_env, program
from tests.generated.test_lock import version_1
from tests.map.maps import recipient

POOL = [(f"host{at}", recipient(f"host{at}")) for at in range(12)]
NAMES = {key: name for name, key in POOL}
ATTRIBUTES = "nixsecrets.lock merge=union\n*.age -text -merge\n"


@dataclass
class Branch:
    """A fleet on one branch; `keys` of the map, `retired` ones, files by path."""

    keys: list[Recipient]
    retired: set[Recipient] = field(default_factory=set)
    files: dict[str, Record] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)

    def copy(self) -> "Branch":
        return Branch([*self.keys], {*self.retired}, {**self.files}, {**self.contents})

    def write(self, path: str, dice: random.Random) -> None:
        """Re-encrypt a file to some of the keys."""
        readers = dice.sample(self.keys, dice.randint(1, min(3, len(self.keys))))
        content = dice.randbytes(24)
        digest = hashlib.sha256(content).hexdigest()
        self.files[path] = Record(tuple(readers), digest, "written")
        self.contents[path] = content

    def step(self, dice: random.Random, mark: str) -> None:
        """Do what one command would."""
        match dice.choice(["new", "new", "set", "set", "rm", "remove", "add"]):
            case "new":
                self.write(f"{dice.randint(0, 30):02}{mark}.age", dice)
            case "set" if self.files:
                self.write(dice.choice(sorted(self.files)), dice)
            case "rm" if self.files:
                path = dice.choice(sorted(self.files))
                del self.files[path], self.contents[path]
            case "remove" if len(self.keys) > 2:
                gone = self.keys.pop(dice.randrange(len(self.keys)))
                self.retired.add(gone)
                for path, record in [*self.files.items()]:
                    if gone in record.recipients:
                        self.write(path, dice)
            case "add":
                left = [k for _, k in POOL if k not in {*self.keys, *self.retired}]
                self.keys += left[:1]
            case _:
                pass


class Tree:
    """A git repository with the files of a branch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = clean_env(folder.parent)
        folder.mkdir()
        self.git("init", "-q", "-b", "main")
        (folder / ".gitattributes").write_text(ATTRIBUTES)

    def git(self, *args: str, check: bool = True) -> str:
        done = subprocess.run(
            [program("git"), *args],
            cwd=self.folder,
            env=self.env,
            check=check,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def commit(self, branch: Branch, *, old: bool = False) -> None:
        """Commit a branch with the lock that nixsecrets (`old`: version 1) writes."""
        for path in self.folder.glob("*.age"):
            path.unlink()
        for name, content in branch.contents.items():
            (self.folder / name).write_bytes(content)
        used = {key for one in branch.files.values() for key in one.recipients}
        names = [(NAMES[key], key) for key in used]
        if old:
            text = version_1(branch.files, names)
        else:
            text = Lock().with_files(branch.files, names).render()
        (self.folder / "nixsecrets.lock").write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", "x")

    def merge(self) -> set[str]:
        """Merge the other branch; return the paths that git could not merge."""
        self.git("merge", "-q", "side", "-m", "merge", check=False)
        return {*self.git("diff", "--name-only", "--diff-filter=U", "-z").split("\0")}


def merged(
    tmp_path: Path, seed: int, *, old: tuple[bool, bool, bool] = (False,) * 3
) -> None:
    """Merge two random branches and look every file up in the lock."""
    dice = random.Random(seed)  # noqa: S311 (a repeatable dice)
    base = Branch([key for _, key in POOL[: dice.randint(2, 6)]])
    for _ in range(dice.randint(0, 12)):
        base.step(dice, "")
    ours, theirs = base.copy(), base.copy()
    tree = Tree(tmp_path / f"fleet{seed}")
    tree.commit(base, old=old[0])
    tree.git("checkout", "-q", "-b", "side")
    for _ in range(dice.randint(1, 5)):
        theirs.step(dice, "t")
    tree.commit(theirs, old=old[1])
    tree.git("checkout", "-q", "main")
    for _ in range(dice.randint(1, 5)):
        ours.step(dice, "o")
    tree.commit(ours, old=old[2])
    conflicts = tree.merge()
    assert "nixsecrets.lock" not in conflicts
    # the map: who left on either side is retired, and a retired key stays known
    known = [*{*ours.keys, *theirs.keys, *ours.retired, *theirs.retired}]
    text = (tree.folder / "nixsecrets.lock").read_text()
    lock = Lock.parse(text, known=lambda: known)
    assert lock.skipped == ()
    for path in tree.folder.glob("*.age"):
        if path.name not in conflicts:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            wanted = {b.files.get(path.name) for b in (ours, theirs)}
            assert lock.record(path.name, digest) in wanted - {None}
    assert Lock.parse(lock.render()).render() == lock.render()


@pytest.mark.parametrize("tens", range(4))
def test_no_merge_of_two_branches_loses_the_record_of_a_file(
    tmp_path: Path, tens: int
) -> None:
    for seed in range(10 * tens, 10 * tens + 10):
        merged(tmp_path, seed)


@pytest.mark.parametrize(
    "old",
    [(True, False, True), (True, True, False), (True, False, False)],
    ids=["theirs is upgraded", "ours is upgraded", "both are upgraded"],
)
def test_a_lock_may_be_upgraded_on_one_branch_only(
    tmp_path: Path, old: tuple[bool, bool, bool]
) -> None:
    for seed in range(100, 108):
        merged(tmp_path, seed, old=old)

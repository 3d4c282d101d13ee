"""Fleets to measure on: built once, copied for each run, thrown away at the end.

The age files are written by nixsecrets, the sops files by the real sops.  Where ten
thousand are needed, the sops files hold the same values, each under a key of its own.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from nixsecrets.files.age import operations
from nixsecrets.files.sops import metadata
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine.rekeying import value_edits
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.spans import Edit
from nixsecrets.files.state import Record
from nixsecrets.keys.identities import parse_identities
from nixsecrets.keys.recipients import Recipient, parse_recipient
from nixsecrets.plan.outputs import lock_text, rendered
from nixsecrets.repo.files import sha256
from nixsecrets.repo.worktree import Repo
from nixsecrets.splice import apply_edits
from nixsecrets.world import survey
from nixsecrets.world.world import mapped_world, with_files
from tests.fleet import Fleet, make_fleet, sops_path, ssh_key

LEAVES = "h001"
MADE = "2026-01-02T03:04:05Z"
NEW_KEY = ssh_key("host new").public
_VALUE = "database:\n    user: app\n    password: {number:032d}\ntoken: {number:064d}\n"
RULES = """
[sops]
config = ".sops.yaml"
[agenix]
rules = "secrets/secrets.nix"

[[secrets]]
path = "secrets/**"
readers = ["servers"]
"""


@dataclass(frozen=True)
class Shape:
    """How many secrets of each backend, read by how many, with how large a payload."""

    age: int = 0
    sops: int = 0
    readers: int = 50
    payload: int = 200
    real_sops: bool = True


@dataclass
class Built:
    """A fleet on the disk; `copy` gives a fresh one of the same content."""

    fleet: Fleet
    shape: Shape

    @property
    def identity(self) -> Path:
        """The operator's private key."""
        return self.fleet.keys / "alice"

    @property
    def paths(self) -> list[str]:
        """The secrets, relative to the repository."""
        age = [f"secrets/age/{n:05d}.age" for n in range(self.shape.age)]
        return age + [f"secrets/sops/{n:05d}.yaml" for n in range(self.shape.sops)]

    def copy(self, to: Path) -> Path:
        """Copy the repository."""
        shutil.copytree(self.fleet.root, to)
        return to

    def recipients(self, *, converted: bool) -> list[str]:
        """Every reader's public key as age files, or as sops files, have it."""
        keys = [parse_recipient(self.fleet.public("alice"))]
        hosts = [parse_recipient(key.public) for key in self.fleet.hosts.values()]
        keys += [host.converted() if converted else host for host in hosts]
        return [" ".join(key.text.split()[:2]) for key in keys]


def build(base: Path, shape: Shape) -> Built:
    """Build a committed repository that `check` finds nothing wrong with."""
    names = [f"h{n:03d}" for n in range(1, shape.readers)]
    fleet = make_fleet(base, hosts=names)
    members = ", ".join(f'"{name}"' for name in names)
    fleet.write_map(f"[groups]\nservers = [{members}]\n" + RULES)
    built = Built(fleet, shape)
    for folder in ("secrets/age", "secrets/sops"):
        (fleet.root / folder).mkdir(parents=True)
    age = [parse_recipient(text) for text in built.recipients(converted=False)]
    sops = [parse_recipient(text) for text in built.recipients(converted=True)]
    hashes = _on_all_cores(
        partial(_write_age, fleet.root / "secrets/age", age, shape.payload), shape.age
    )
    _write_all_sops(built, sops)
    _write_generated(fleet, age, hashes)
    fleet.git("config", "gc.auto", "0")  # which would run beside what is measured
    fleet.commit()
    return built


def _on_all_cores(work: "partial[str]", number: int) -> list[str]:
    context = get_context("fork")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        return list(pool.map(work, range(number), chunksize=16))


def _write_age(
    folder: Path, recipients: Sequence[Recipient], payload: int, number: int
) -> str:
    plaintext = f"{number}\n".encode().ljust(payload, b"x")
    data = operations.seal(plaintext, recipients).data
    (folder / f"{number:05d}.age").write_bytes(data)
    return sha256(data)


def _write_all_sops(built: Built, recipients: Sequence[Recipient]) -> None:
    folder, number = built.fleet.root / "secrets/sops", built.shape.sops
    work = partial(_write_sops, folder, [recipient.text for recipient in recipients])
    if built.shape.real_sops or not number:
        _on_all_cores(work, number)
        return
    work(0)
    first = metadata.parse("x.yaml", (folder / "00000.yaml").read_bytes())
    private = parse_identities(built.identity.read_bytes(), "alice").identities
    _on_all_cores(partial(_write_like, folder, first, data_key(first, private)), number)


def _write_sops(folder: Path, recipients: Sequence[str], number: int) -> str:
    place = folder / f"{number:05d}.yaml"
    place.write_text(_VALUE.format(number=number))
    command = [sops_path(), "--config", os.devnull, "encrypt", "--age"]
    subprocess.run(
        [*command, ",".join(recipients), "--in-place", place], check=True, cwd=folder
    )
    return place.name


def _write_like(folder: Path, first: SopsFile, key: bytes, number: int) -> str:
    """Write a file with the values of the first one under a key of its own."""
    place = folder / f"{number:05d}.yaml"
    fresh = os.urandom(32)
    edits: list[Edit] = [*(value_edits(first, key, fresh, MADE) or ())]
    for position, entry in enumerate(first.entries):
        assert entry.recipient is not None
        enc = operations.seal(fresh, [entry.recipient], armored=True).data.decode()
        edits += first.blocks[0].replace(position, entry.label, enc)
    if number:
        place.write_text(apply_edits(first.text, edits))
    return place.name


def _write_generated(
    fleet: Fleet, readers: Sequence[Recipient], hashes: Sequence[str]
) -> None:
    repo = Repo.at(fleet.root)
    with survey.start(repo) as found:
        world = with_files(mapped_world(repo, found), found)
    for path, text in rendered(world).items():
        fleet.write(path, text)
    records: dict[str, Record | None] = {
        f"secrets/age/{number:05d}.age": Record(tuple(readers), digest, "written")
        for number, digest in enumerate(hashes)
    }
    fleet.write("nixsecrets.lock", lock_text(world, records))

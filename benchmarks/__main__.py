"""`make bench`: measure nixsecrets against `age`, `sops`, `git` and `sha256sum`.

Every figure is a ratio of two things measured in one run on one machine.  Prints a
table, and JSON with `--json FILE`.  The loop over `age` is sequential, as people write
it; `sops updatekeys` is one process that gets all files; where "all cores" is said, as
many processes run as there are cores.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import everyday, flakes, merges
from benchmarks.fleets import LEAVES, NEW_KEY, Built, Shape, build
from benchmarks.measure import Run, best, timed
from tests.fleet import program, sops_path

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Row:
    """One line of the table; a `goal` starting with ≥ is for speed-ups."""

    name: str
    ours: float
    theirs: float
    ratio: float
    goal: str
    note: str = ""


@dataclass
class Bench:
    """Where the fleets lie, and how large they are."""

    base: Path
    secrets: int
    many: int
    sample: int
    everyday: everyday.Choice
    copies: int = 0

    def fleet(self, name: str, shape: Shape) -> Built:
        """Build a fleet, and say so; it is on the disk before anything counts."""
        print(f"building {name} …", file=sys.stderr, flush=True)
        built = build(self.base / name, shape)
        os.sync()
        return built

    def ours(self, built: Built, *words: str, watch: bool = False) -> Run:
        """Run nixsecrets on a fresh copy."""
        copy = self._copy(built)
        command = [sys.executable, "-m", "nixsecrets", *words]
        if words[0] in {"add-host", "remove-host"}:
            command += ["--yes", "--identity", str(built.identity)]
        programs = ("python",) if watch else ()  # git and sops not
        return timed(command, cwd=copy, env=built.fleet.env, watch=programs)

    def _copy(self, built: Built) -> Path:
        """Copy a fleet; nothing is removed before the end.

        For a minute ext4 passes over the places of what was removed: making a file
        takes half a millisecond after a thousand were.
        """
        self.copies += 1
        copy = built.copy(self.base / f"copy-{self.copies}")
        os.sync()
        return copy

    def theirs(self, built: Built, script: str) -> float:
        """Run a shell script on a fresh copy, with the first secrets as arguments."""
        copy = self._copy(built)
        readers = [*built.recipients(converted=bool(built.shape.sops)), NEW_KEY]
        (self.base / "recipients").write_text("\n".join(readers) + "\n")
        few = built.paths[: self.sample]
        env = built.fleet.env | {
            "AGE": program("age"),
            "SOPS": sops_path(),
            "IDENTITY": str(built.identity),
            "SOPS_AGE_KEY_FILE": str(built.identity),
            "RECIPIENTS": str(self.base / "recipients"),
            "CORES": str(CORES),
        }
        if built.shape.sops:
            keys = ",".join([*readers[:-1], _converted(NEW_KEY)])
            text = f"creation_rules:\n  - path_regex: .*\n    age: {keys}\n"
            (copy / ".sops.yaml").write_text(text)
        taken = timed(["sh", "-ec", script, "sh", *few], cwd=copy, env=env)
        return taken.seconds * len(built.paths) / len(few)


def _converted(key: str) -> str:
    from nixsecrets.keys.recipients import parse_recipient

    return parse_recipient(key).converted().text


AGE_LOOP = """
for file; do
  "$AGE" -d -i "$IDENTITY" "$file" | "$AGE" -e -R "$RECIPIENTS" -o "$file.new"
  mv "$file.new" "$file"
done
"""
UPDATEKEYS = '"$SOPS" updatekeys -y "$@"'
ROTATE_ON_ALL_CORES = """
printf '%s\\0' "$@" | xargs -0 -P "$CORES" -n $((($# + CORES - 1) / CORES)) \\
  "$SOPS" updatekeys -y
printf '%s\\0' "$@" | xargs -0 -P "$CORES" -n 1 "$SOPS" rotate -i
"""
HASH_AND_STATUS = "git ls-files -z | xargs -0 sha256sum; git status"
ADD = ("add-host", "new", "--group", "servers", "--key", NEW_KEY)
REMOVE = ("remove-host", LEAVES)


def age_rows(bench: Bench) -> Iterator[Row]:
    """Grant and revoke over age files."""
    built = bench.fleet("age", Shape(age=bench.secrets))
    loop = bench.theirs(built, AGE_LOOP)
    name = f"{bench.secrets} age files of 50"
    grant = bench.ours(built, *ADD).seconds
    yield _faster(f"add-host, {name}", grant, loop, 10, 20, "sequential age loop")
    revoke = bench.ours(built, *REMOVE).seconds
    yield _faster(f"remove-host, {name}", revoke, loop, 3, 4, "sequential age loop")


def sops_rows(bench: Bench) -> Iterator[Row]:
    """Grant and revoke over sops files."""
    built = bench.fleet("sops", Shape(sops=bench.secrets))
    name = f"{bench.secrets} sops files of 50"
    grant = bench.ours(built, *ADD).seconds
    update = bench.theirs(built, UPDATEKEYS)
    yield _faster(
        f"add-host, {name}", grant, update, 15, 30, "one sops updatekeys process"
    )
    revoke = bench.ours(built, *REMOVE).seconds
    rotate = bench.theirs(built, ROTATE_ON_ALL_CORES)
    yield _faster(
        f"remove-host, {name}",
        revoke,
        rotate,
        2.5,
        2.5,
        "updatekeys + rotate, all cores",
    )


def many_rows(bench: Bench) -> Iterator[Row]:
    """What costs nothing to do, in a large repository; memory."""
    half = bench.many // 2
    built = bench.fleet("many", Shape(age=half, sops=half, readers=10, real_sops=False))
    root, env = built.fleet.root, built.fleet.env
    python = [sys.executable, "-m", "nixsecrets"]
    rekey = [*python, "rekey", "--yes", "--identity", str(built.identity)]
    keyless = {n: v for n, v in env.items() if n != "NIXSECRETS_IDENTITY"}
    check, nothing, floor = best(
        5,
        ([*python, "check"], root, keyless),  # as in CI: it opens nothing
        (rekey, root, env),
        (["sh", "-c", HASH_AND_STATUS], root, env),
    )
    name = f"{bench.many} secrets, nothing to do"
    yield _slower(f"check, {name}", check, floor, 2, 1, "sha256sum + git status")
    yield _slower(f"rekey, {name}", nothing, floor, 2, 1, "sha256sum + git status")
    for number in range(5):
        built.fleet.write(f"module-{number}.nix", "{ }\n")
    built.fleet.git("add", "-A")
    hook = [*python, "hook", "run"]
    click = [sys.executable, "-c", "import click"]
    ours, start = best(15, (hook, root, env), (click, root, env))
    name = f"hook run, 5 staged files of {bench.many}"
    yield _slower(name, ours, start, 2.5, 2.5, 'python -c "import click"')
    for words in (("check",), ADD):
        used = bench.ours(built, *words, watch=True)
        yield Row(
            f"peak memory of {words[0]}, {bench.many} secrets",
            used.seconds,
            0,
            used.megabytes,
            "≤ 200 MB",
            "all processes, shared pages once",
        )


def start_rows(bench: Bench) -> Iterator[Row]:
    """How long the program takes to start."""
    python = sys.executable
    commands = (
        [python, "-m", "nixsecrets", "--version"],
        [python, "-c", "import click"],
    )
    ours, floor = best(25, *((c, bench.base, os.environ) for c in commands))
    yield _slower("--version", ours, floor, 2, 2, 'python -c "import click"')


def everyday_rows(bench: Bench) -> Iterator[Row]:
    """Commands that people run all day."""
    for row in everyday.rows(bench.base / "everyday", bench.everyday):
        yield Row(row.name, *row[2:6], f"{row.reference}, before {row.today:g}")


def growth_rows(bench: Bench) -> Iterator[Row]:
    """A grant's cost per file against readers, payload and number of files."""
    number = max(bench.secrets // 4, 20)
    usual = Shape(age=number, readers=10, payload=1 << 10)
    shapes = {
        "10 readers, 1 KB": usual,
        "50 readers, 1 KB": Shape(age=number, readers=50, payload=1 << 10),
        "100 readers, 1 KB": Shape(age=number, readers=100, payload=1 << 10),
        "10 readers, 64 KB": Shape(age=number, readers=10, payload=1 << 16),
        "10 readers, 512 KB": Shape(age=number, readers=10, payload=1 << 19),
        f"{4 * number} files": Shape(age=4 * number, readers=10, payload=1 << 10),
    }
    first = 0.0
    for position, (name, shape) in enumerate(shapes.items()):
        built = bench.fleet(f"growth-{position}", shape)
        # what the start and the files that a command writes anyway cost is left out
        idle, whole = (
            min(bench.ours(built, *words).seconds for _ in range(3))
            for words in ((*ADD, "--no-rekey"), ADD)
        )
        each = max(whole - idle, 1e-6) / shape.age
        first = first or each
        yield Row(f"grant per file, {name}", each, first, each / first, "flat")


def merge_rows(bench: Bench) -> Iterator[Row]:
    """A merge of two grants, and what git alone takes to stop at every file."""
    for one in merges.taken(bench.base / "merge", bench.secrets):
        ratio = one.resolve / one.git
        note = "git merge without a driver, every file left unmerged"
        yield Row(f"resolve, {one.name}", *one[1:], ratio, merges.GOAL, note)


def flake_rows(bench: Bench) -> Iterator[Row]:
    """The evaluation of a flake: time and memory for each host."""
    if shutil.which("nix") is None:
        print("nix is missing: the flake is left out", file=sys.stderr)
        return
    print("building flake …", file=sys.stderr, flush=True)
    built = flakes.build_flake(bench.base / "flake")
    name = f"check --flake, {flakes.HOSTS} hosts"
    floor = flakes.least(flakes.evaluated(built) for _ in range(3))
    for jobs in (1, CORES):
        run = flakes.least(flakes.checked(built, jobs) for _ in range(3))
        ratio = run.seconds / floor.seconds
        each = (run.seconds / flakes.HOSTS, floor.seconds / flakes.HOSTS, ratio)
        other = "one nix eval"
        yield Row(
            f"{name}, --jobs {jobs}", run.seconds, floor.seconds, ratio, "", other
        )
        yield Row(f"{name}, --jobs {jobs}, each host", *each, "", other)
        yield Row(
            f"peak memory of {name}, --jobs {jobs}",
            run.seconds,
            0,
            run.megabytes,
            "≤ 1 GB",
            f"MB, with nix; {floor.megabytes:.0f} in {other}",
        )


def _faster(
    name: str, ours: float, theirs: float, must: float, aim: float, note: str
) -> Row:
    return Row(name, ours, theirs, theirs / ours, f"≥ {must} (aim {aim})", note)


def _slower(
    name: str, ours: float, theirs: float, must: float, aim: float, note: str
) -> Row:
    return Row(name, ours, theirs, ours / theirs, f"≤ {must} (aim {aim})", note)


PARTS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "start": start_rows,
    "everyday": everyday_rows,
    "age": age_rows,
    "sops": sops_rows,
    "many": many_rows,
    "growth": growth_rows,
    "merge": merge_rows,
    "flake": flake_rows,
}


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| benchmark | nixsecrets | compared with | ratio | goal |"]
    lines.append("|---|---|---|---|---|")
    for row in rows:
        other = f"{_span(row.theirs)} {row.note}".strip() if row.theirs else row.note
        cells = (row.name, _span(row.ours), other, f"{row.ratio:.2f}", row.goal)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _span(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.5 else f"{seconds * 1000:.2f} ms"


def main() -> None:
    """Measure what was asked for, print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10_000)
    parser.add_argument(
        "--sample", type=int, default=200, help="files for the slow programs; scaled up"
    )
    parser.add_argument("--runs", type=int, default=15, help="of everyday commands")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 60, 10_000])
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="TEXT", help="everyday rows with TEXT"
    )
    parser.add_argument("--json", type=Path, metavar="FILE")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nixsecrets-bench-") as folder:
        choice = everyday.Choice(chosen.runs, chosen.sizes, chosen.only)
        base = Path(folder)
        bench = Bench(base, chosen.secrets, chosen.many, chosen.sample, choice)
        rows: list[Row] = []
        for part in chosen.parts or PARTS:
            for row in PARTS[part](bench):
                print(shlex.quote(row.name), f"{row.ratio:.2f}", file=sys.stderr)
                rows.append(row)
    print(f"{CORES} cores, Python {sys.version.split()[0]}\n")
    print(table(rows))
    if chosen.json:
        found = {"cores": CORES, "rows": [asdict(row) for row in rows]}
        chosen.json.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

"""The fuzz targets themselves: real files pass, hostile megabytes do not hang."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fleet import PROJECT, run_program
from tests.fuzz.targets import TARGETS, seeds

MEGABYTES = 10_000_000
HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "one byte over and over": lambda _: b"a" * MEGABYTES,
    "blanks": lambda _: b" " * MEGABYTES,
    "line feeds": lambda _: b"\n" * MEGABYTES,
    "brackets": lambda _: b"[" * MEGABYTES,
    "quotes": lambda _: b'"' * MEGABYTES,
    "escapes": lambda _: b'"\\' * (MEGABYTES // 2),
    "a real file and blanks": lambda seed: seed + b" " * MEGABYTES,
    "a real file and lines": lambda seed: seed + b"a: b\n" * (MEGABYTES // 5),
    "lines and a real file": lambda seed: b"# c\n" * (MEGABYTES // 4) + seed,
}
# ruamel reads a foreign `.sops.yaml`, at 1 MB in ten seconds: nobody has such a file
SMALLER = {
    # Enough to show time that grows with the square.
    **dict.fromkeys(("sops-dotenv", "private-keys", "sops-yaml", "guard"), 2_000_000),
    **{"config": 200_000, "map": 1_000_000, "lock": 1_000_000},
    "sops-ini": 500_000,  # 10 MB pass, too, in twenty seconds
}


@pytest.mark.parametrize("name", TARGETS)
def test_real_files_pass(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("name", TARGETS)
def test_hostile_megabytes_are_read_once(name: str, what: str) -> None:
    seed = next(seeds(name), b"")
    data = HOSTILE[what](seed)
    TARGETS[name](data[: SMALLER.get(name, len(data))])


def test_what_the_fuzzer_found_stays_mended() -> None:
    (env,) = seeds("sops-dotenv")
    last = env.rindex(b"\nsops_lastmodified")
    TARGETS["sops-dotenv"](env[:last] + b"\r\nX=y" + env[last:])


def test_the_fuzzer_sees_which_lines_an_input_reaches(tmp_path: Path) -> None:
    pytest.importorskip("atheris")
    arguments = ("-m", "tests.fuzz", "--seconds", "1", "lock")
    env = os.environ | {"PYTHONPATH": str(PROJECT)}
    env["PYTHONUNBUFFERED"] = "1"
    run_program(sys.executable, *arguments, cwd=tmp_path, env=env)
    corpus = list((tmp_path / ".fuzz/lock/corpus").iterdir())
    assert len(corpus) > len(list(seeds("lock"))) + 3

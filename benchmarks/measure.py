"""Running and timing whole processes; memory of a process with all of its children."""

import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Run:
    """What a command took: seconds on the wall, peak memory in MB (0: not watched)."""

    seconds: float
    megabytes: float = 0.0


def timed(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    watch: Sequence[str] = (),
    ok: Sequence[int] = (0,),
) -> Run:
    """Run a command to its end and say what it took.

    `watch` names the programs, of it and those it starts, whose memory counts.
    """
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    peak = _Peak(process.pid, watch) if watch else None
    _, said = process.communicate()
    seconds = time.perf_counter() - began
    if process.returncode not in ok:
        sys.exit(f"{command} ended with {process.returncode}:\n{said.decode()}")
    return Run(seconds, peak.stop() if peak else 0.0)


def best(
    runs: int, *commands: "tuple[Sequence[str], Path, Mapping[str, str]]"
) -> list[float]:
    """Run the commands in turn, several times; return each one's median seconds."""
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(runs):
        for taken, (command, cwd, env) in zip(times, commands, strict=True):
            taken.append(timed(command, cwd=cwd, env=env, ok=(0, 1)).seconds)
    return [median(taken) for taken in times]


class _Peak(threading.Thread):
    """Samples the memory of a process and its descendants: each page counted once."""

    def __init__(self, pid: int, programs: Sequence[str]) -> None:
        super().__init__(daemon=True)
        self.pid, self.programs = pid, programs
        self.kilobytes, self.over = 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.01):
            family = _family(self.pid, self.programs)
            self.kilobytes = max(self.kilobytes, sum(map(_pss, family)))

    def stop(self) -> float:
        self.over.set()
        self.join()
        return self.kilobytes / 1000


def _family(pid: int, programs: Sequence[str]) -> list[int]:
    """Return those of the process and of what is below it that run these programs."""
    try:
        threads = Path(f"/proc/{pid}/task").glob("*/children")  # each has its own
        below = [child for one in threads for child in one.read_text().split()]
        program = Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return []
    mine = [pid] if program.startswith(tuple(programs)) else []
    return mine + [one for child in below for one in _family(int(child), programs)]


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)

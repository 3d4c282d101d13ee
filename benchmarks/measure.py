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
    watch: bool = False,
    ok: Sequence[int] = (0,),
) -> Run:
    """Run a command to its end and say what it took."""
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    peak = _Peak(process.pid) if watch else None
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

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.kilobytes, self.over = pid, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self.over.wait(0.01):
            self.kilobytes = max(self.kilobytes, sum(map(_pss, _family(self.pid))))

    def stop(self) -> float:
        self.over.set()
        self.join()
        return self.kilobytes / 1000


def _family(pid: int) -> list[int]:
    """Return the process and those below it that run Python (git and sops not)."""
    try:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        program = str(Path(f"/proc/{pid}/exe").readlink())
    except OSError:
        return []
    mine = [pid] if "python" in program else []
    return mine + [one for child in below for one in _family(int(child))]


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)

"""The process table: ancestors, process groups and open terminals.

From `/proc` if it exists, else from ps(1).
"""

# ruff: noqa: PTH115, PTH208 (texts to compare, not paths)

import os
from collections.abc import Iterator
from pathlib import Path

from nixsecrets.frozen import frozen

_HAS_PROC = Path("/proc/self/stat").exists()
_MOST_ANCESTORS = 64
_TERMINALS = ("/dev/tty", "/dev/pts/")
_STREAMS = 2  # the last descriptor of stdin, stdout and stderr
_COLUMNS = ("pid", "ppid", "pgid", "lstart", "comm")  # lstart is five words


@frozen
class Process:
    """One process; process ids are reused, so `started` is part of its identity."""

    pid: int
    parent: int
    group: int
    started: str
    name: str


def look_at(pid: int) -> Process | None:
    """Return a process, None if it has exited."""
    return (look_in_proc if _HAS_PROC else look_with_ps)(pid)


def above(pid: int) -> Iterator[Process]:
    """Yield the ancestors of a process, its parent first."""
    found = look_at(pid)
    for _ in range(_MOST_ANCESTORS):
        if found is None or found.parent <= 1:
            return
        found = look_at(found.parent)
        if found is not None:
            yield found


def in_group(group: int) -> list[Process]:
    """Return the processes of a process group."""
    if _HAS_PROC:
        names = os.listdir("/proc")
        found = [look_in_proc(int(name)) for name in names if name.isdigit()]
    else:
        found = [_from_line(line) for line in _ps("-A").splitlines()]
    return [one for one in found if one is not None and one.group == group]


def may_read_keys(process: Process) -> bool:
    """Return whether a process has opened the terminal itself, as a pager does.

    True if unknown.
    """
    if not _HAS_PROC:
        return True
    folder = f"/proc/{process.pid}/fd"
    try:
        opened = [number for number in os.listdir(folder) if int(number) > _STREAMS]
        return any(
            _leads_to(f"{folder}/{one}").startswith(_TERMINALS) for one in opened
        )
    except OSError:
        return True


def _leads_to(link: str) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""  # closed meanwhile


def look_in_proc(pid: int) -> Process | None:
    """Return a process from `/proc` (proc(5), stat: fields 2 to 5 and 22)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    before, _, after = text.rpartition(")")
    fields = after.split()
    if fields[0] == "Z":  # a zombie
        return None
    name = before.partition("(")[2]
    return Process(pid, int(fields[1]), int(fields[2]), fields[19], name)


def look_with_ps(pid: int) -> Process | None:
    """Return a process from ps(1) (macOS, the BSDs)."""
    return _from_line(_ps("-p", str(pid)))


def _ps(*which: str) -> str:
    # not where there is /proc
    import subprocess

    columns = [word for column in _COLUMNS for word in ("-o", f"{column}=")]
    done = subprocess.run(
        ["/bin/ps", *columns, *which],
        capture_output=True,
        check=False,
        text=True,
        env={"LC_ALL": "C"},
    )
    return done.stdout


def _from_line(line: str) -> Process | None:
    words = line.split(None, 8)
    if len(words) < 9:
        return None
    started = "".join(char for char in "".join(words[3:8]) if char.isalnum())
    pid, parent, group = map(int, words[:3])
    return Process(pid, parent, group, started, Path(words[8].strip()).name)

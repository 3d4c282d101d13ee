"""Runs the real `nix` over a flake: which configurations, and what they declare.

Evaluation only: no lock file is written, nothing is built, no binary cache is asked.
The flake is taken from git (tracked files only; a bare `path:` would copy untracked
files to the world-readable store) and evaluated purely, so that the code in it sees no
file, no variable and no key of this machine.  Batches bound the memory: one process
holds every configuration it was asked for.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from nixsecrets.errors import NixsecretsError, ProgramError, quoted
from nixsecrets.repo import gitrun

BATCH = 8
"""Configurations in one process: about 65 MB each, and more with real packages."""

_FLAGS = (
    *("--extra-experimental-features", "nix-command flakes"),
    "--no-write-lock-file",
    *("--option", "allow-import-from-derivation", "false"),
    *("--option", "substitute", "false"),
    *("--option", "warn-dirty", "false"),
)
_LOCKED = ("narHash", "rev", "revCount", "lastModified")
# What Nix and git need; not what unlocks anything (SOPS_AGE_KEY, tokens of a CI).
_KEPT = frozenset({"HOME", "LANG", "LC_ALL", "PATH", "SSH_AUTH_SOCK", "TMPDIR", "USER"})
_KEPT_PREFIXES = ("NIX_", "XDG_", "SSL_CERT_", "GIT_CONFIG_", "http", "no_proxy")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST_MESSAGE = 600
"""Characters of Nix's own message that are passed on."""


class Host(NamedTuple):
    """One configuration of the flake: `nixos`, `darwin`, `home` or `colmena`."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Flake:
    """A flake, ready to be evaluated.

    `reference` is what `builtins.getFlake` takes; `pure` tells whether Nix takes it
    without --impure.  `folder` is where the flake lies below the top of its source.
    """

    reference: str
    pure: bool
    folder: str = ""


def resolve(reference: str, cwd: Path) -> Flake:
    """Find a flake and have Nix copy its tracked files.

    Raises:
        NixsecretsError: there is none, or the reference would copy untracked files.
        ProgramError: nix is missing.
    """
    if reference.startswith("path:"):
        raise _bare_path(reference)
    done = _nix(("flake", "metadata", "--json", reference), cwd)
    if done.returncode != 0:
        raise NixsecretsError(
            f"the flake {quoted(reference)} cannot be read: {message_of(done.stderr)}",
            "name a flake in a git repository, such as `--flake .`",
        )
    told = json.loads(done.stdout)
    resolved = str(told.get("resolvedUrl") or told.get("url"))
    if resolved.startswith("path:"):
        raise _bare_path(reference)
    folder = (parse_qs(urlsplit(resolved).query).get("dir") or [""])[0]
    copy = _locked_copy(told, folder)
    if copy is not None and (not folder or _takes(copy, cwd)):
        return Flake(copy, pure=True, folder=folder)
    return Flake(resolved, pure=False, folder=folder)


def _locked_copy(told: Mapping[str, Any], folder: str) -> str | None:
    """Return a reference to what Nix copied: locked, so it is evaluated purely."""
    copied, locked = str(told.get("path") or ""), told.get("locked") or {}
    if not locked.get("narHash") or not Path(copied).is_dir():
        return None
    named = {name: locked[name] for name in _LOCKED if name in locked}
    query = urlencode(named | ({"dir": folder} if folder else {}), quote_via=quote)
    return f"path:{copied}?{query}"


def _takes(reference: str, cwd: Path) -> bool:
    """Return whether Nix knows `dir` in such a reference: 2.8 does not, 2.26 does."""
    asked = f"builtins.seq (builtins.getFlake {_nix_string(reference)}) true"
    done = _nix(("eval", "--json", "--expr", asked), cwd)
    return b"unsupported parameter" not in done.stderr


def _bare_path(reference: str) -> NixsecretsError:
    return NixsecretsError(
        f"the flake {quoted(reference)} is no git repository: reading it would copy"
        " untracked files to the store",
        "git init, git add its files, and name it without `path:`",
    )


def host_names(reference: str, start: Path) -> list[str]:
    """Return the names of the machines that a flake configures, sorted.

    Raises:
        NixsecretsError: it cannot be evaluated.
    """
    found = configurations(resolve(reference, start), start)
    return sorted({host.name for host in found if host.kind != "home"})


def configurations(flake: Flake, cwd: Path) -> list[Host]:
    """Return the configurations of the flake, sorted.

    Raises:
        NixsecretsError: it does not evaluate.
    """
    done = _evaluate(flake, "inventory.hosts", cwd)
    if done.returncode != 0:
        message = message_of(done.stderr)
        unlocked = "flake input" in message and "in pure mode" in message
        raise NixsecretsError(
            f"the flake does not evaluate: {message}",
            "write its lock file: nix flake lock && git add flake.lock"
            if unlocked
            else "see what `nix flake show` says",
        )
    return sorted(Host(one["kind"], one["name"]) for one in json.loads(done.stdout))


def declare(
    flake: Flake,
    hosts: Sequence[Host],
    cwd: Path,
    *,
    jobs: int,
    tick: Callable[[], None],
) -> list[dict[str, Any]]:
    """Return what each configuration declares, in the order of `hosts`.

    One that does not evaluate has an `error` with Nix's own message.  Batches are
    evaluated `jobs` at a time; a batch that fails is gone through one by one, because
    Nix does not say which of its configurations it stopped at.
    """
    batches = [hosts[n : n + _size(hosts, jobs)] for n in _starts(hosts, jobs)]
    found: dict[Host, dict[str, Any]] = {}
    with ThreadPoolExecutor(max_workers=max(jobs, 1)) as pool:
        asked = [pool.submit(partial(_batch, flake, one, cwd)) for one in batches]
        for done in as_completed(asked):
            for host, told in done.result():
                found[host] = told
                tick()
    return [found[host] for host in hosts]


def _size(hosts: Sequence[Host], jobs: int) -> int:
    """Return how many configurations one process takes: all jobs have work."""
    share = -(-len(hosts) // max(jobs, 1))
    return max(1, min(BATCH, share))


def _starts(hosts: Sequence[Host], jobs: int) -> Iterable[int]:
    return range(0, len(hosts), _size(hosts, jobs))


def _batch(
    flake: Flake, hosts: Sequence[Host], cwd: Path
) -> list[tuple[Host, dict[str, Any]]]:
    text = json.dumps([{"kind": one.kind, "name": one.name} for one in hosts])
    asked = f"map inventory.describe (builtins.fromJSON {_nix_string(text)})"
    done = _evaluate(flake, asked, cwd)
    if done.returncode == 0:  # what a failed run printed is no answer
        return list(zip(hosts, json.loads(done.stdout), strict=True))
    if len(hosts) > 1:
        return [pair for host in hosts for pair in _batch(flake, [host], cwd)]
    (host,) = hosts
    error = message_of(done.stderr)
    return [(host, {"kind": host.kind, "name": host.name, "error": error})]


def _evaluate(
    flake: Flake, expression: str, cwd: Path
) -> "subprocess.CompletedProcess[bytes]":
    source = resources.files("nixsecrets.flake") / "inventory.nix"
    whole = (
        f"let inventory = ({source.read_text(encoding='utf-8')}) "
        f"{{ flake = builtins.getFlake {_nix_string(flake.reference)}; }}; "
        f"in {expression}"
    )
    mode = () if flake.pure else ("--impure",)
    return _nix(("eval", "--json", *mode, "--expr", whole), cwd)


def _nix_string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("${", "\\${")
    return f'"{escaped}"'


def _nix(arguments: Sequence[str], cwd: Path) -> "subprocess.CompletedProcess[bytes]":
    command, *rest = arguments
    sub = [command, rest.pop(0)] if command == "flake" else [command]
    try:
        return subprocess.run(
            ["nix", *sub, *_FLAGS, *rest],
            cwd=cwd,
            env=gitrun.for_other_programs(dict(_environment()), cwd),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise ProgramError(
            "nix cannot be started",
            "install nix, or check what another machine wrote:"
            " nixsecrets check --declared FILE",
        ) from error


def _environment() -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        if name in _KEPT or name.startswith(_KEPT_PREFIXES):
            yield name, value
    yield "NO_COLOR", "1"


def message_of(stderr: bytes) -> str:
    """Return what Nix says is wrong, on one line.

    Old versions put the error first and the trace after it; new ones the trace first
    and the error last.  In both it is the last line that starts with `error:`, or what
    follows one that says nothing else.
    """
    text = _COLOURS.sub("", stderr.decode("utf-8", "replace"))
    lines = [line.strip() for line in text.splitlines()]
    at = [n for n, line in enumerate(lines) if line.startswith("error:")]
    if not at:
        return next((line for line in reversed(lines) if line), "nix said nothing")
    said = [lines[at[-1]].removeprefix("error:").strip()]
    for line in lines[at[-1] + 1 :]:
        if not line or line.startswith(("at ", "…", "(use ")):
            if said[-1]:
                break
            continue
        said.append(line)
    printable = "".join(c if c.isprintable() else " " for c in " ".join(said))
    return " ".join(printable.split())[:_LONGEST_MESSAGE].rstrip(".")

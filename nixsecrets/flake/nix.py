"""Evaluates a flake with `nix`: its configurations, and what they declare.

Nothing is built, no lock file is written and no binary cache is contacted.  The flake
is read from git, tracked files only (a bare `path:` would copy untracked files to the
world-readable store), and evaluated in pure mode, in which its code can read no file,
variable or key of this machine.  Evaluation in batches limits memory.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from nixsecrets.errors import NixsecretsError, ProgramError, quoted
from nixsecrets.frozen import NamedTuple
from nixsecrets.generated.secretsnix import nix_string
from nixsecrets.repo import gitrun

BATCH = 8
"""Configurations that one process evaluates; each takes 65 MB or more."""

_FLAGS = (
    *("--extra-experimental-features", "nix-command flakes"),
    "--no-write-lock-file",
    *("--option", "allow-import-from-derivation", "false"),
    *("--option", "substitute", "false"),
    *("--option", "warn-dirty", "false"),
)
_LOCKED = ("narHash", "rev", "revCount", "lastModified")
# Variables that Nix and git need; none that unlock anything (SOPS_AGE_KEY, CI tokens).
_KEPT = frozenset({"HOME", "LANG", "LC_ALL", "PATH", "SSH_AUTH_SOCK", "TMPDIR", "USER"})
_KEPT_PREFIXES = ("NIX_", "XDG_", "SSL_CERT_", "GIT_CONFIG_", "http", "no_proxy")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_LONGEST_MESSAGE = 600
"""Characters of Nix's message that are reported."""


class Host(NamedTuple):
    """One configuration of the flake: `nixos`, `darwin`, `home` or `colmena`.

    `platform` is set for a home in `legacyPackages.PLATFORM.homeConfigurations`.
    """

    kind: str
    name: str
    platform: str = ""

    def as_argument(self) -> dict[str, str]:
        """Return the argument of `describe`."""
        return {key: value for key, value in self._asdict().items() if value}


@dataclass(frozen=True, slots=True)
class Flake:
    """A flake, ready to be evaluated.

    `reference` is the argument of `builtins.getFlake`; `pure`: Nix accepts it without
    --impure; `folder` is the flake's folder below the top of its source; `top` is the
    top of its git repository, if that is on this machine.
    """

    reference: str
    pure: bool
    folder: str = ""
    top: Path | None = None


def resolve(reference: str, cwd: Path) -> Flake:
    """Find a flake and let Nix copy its tracked files to the store.

    Raises:
        NixsecretsError: there is no flake, or Nix would copy untracked files.
        ProgramError: nix is not installed.
    """
    if reference.startswith("path:"):
        raise _bare_path(reference)
    done = _nix(("flake", "metadata", "--json", reference), cwd)
    if done.returncode != 0:
        raise NixsecretsError(
            f"the flake {quoted(reference)} cannot be read: {message_of(done.stderr)}",
            "name a flake in a git repository, such as `--flake .`",
        )
    metadata = json.loads(done.stdout)
    resolved = str(metadata.get("resolvedUrl") or metadata.get("url"))
    if resolved.startswith("path:"):
        raise _bare_path(reference)
    folder = (parse_qs(urlsplit(resolved).query).get("dir") or [""])[0]
    copy = _locked_copy(metadata, folder)
    if copy is not None and (not folder or _supports_dir(copy, cwd)):
        return Flake(copy, pure=True, folder=folder, top=_top(resolved))
    return Flake(resolved, pure=False, folder=folder, top=_top(resolved))


def _top(resolved: str) -> Path | None:
    url = urlsplit(resolved)
    return Path(unquote(url.path)) if url.scheme == "git+file" else None


def _locked_copy(metadata: Mapping[str, Any], folder: str) -> str | None:
    """Return a locked reference to the copy in the store, for pure evaluation.

    None if Nix reports no copy.
    """
    copied, locked = str(metadata.get("path") or ""), metadata.get("locked") or {}
    if not locked.get("narHash") or not Path(copied).is_dir():
        return None
    named = {name: locked[name] for name in _LOCKED if name in locked}
    query = urlencode(named | ({"dir": folder} if folder else {}), quote_via=quote)
    return f"path:{copied}?{query}"


def _supports_dir(reference: str, cwd: Path) -> bool:
    """Return whether Nix supports `dir` in a `path:` reference (2.26 does, 2.8 not)."""
    asked = f"builtins.seq (builtins.getFlake {nix_string(reference)}) true"
    done = _nix(("eval", "--json", "--expr", asked), cwd)
    return b"unsupported parameter" not in done.stderr


def _bare_path(reference: str) -> NixsecretsError:
    return NixsecretsError(
        f"the flake {quoted(reference)} is not a git repository: reading it would copy"
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
        again = _evaluate(flake, "inventory.hosts", cwd, lean=True)
        done = _first_that_works(done, again)
    if done.returncode != 0:
        message = message_of(done.stderr)
        unlocked = "flake input" in message and "in pure mode" in message
        raise NixsecretsError(
            f"the flake does not evaluate: {message}",
            "write its lock file: nix flake lock && git add flake.lock"
            if unlocked
            else "see what `nix flake show` says",
        )
    return sorted(Host(**one) for one in json.loads(done.stdout))


def declare(
    flake: Flake,
    hosts: Sequence[Host],
    cwd: Path,
    *,
    jobs: int,
    tick: Callable[[], None],
) -> list[dict[str, Any]]:
    """Return what each configuration declares, in the order of `hosts`.

    A configuration that does not evaluate has an `error` with Nix's message.  `jobs`
    batches are evaluated at a time; the configurations of a batch that fails are
    evaluated one by one, because Nix does not say which of them failed.  `tick` is
    called for each.
    """
    size = _batch_size(hosts, jobs)
    batches = [hosts[n : n + size] for n in range(0, len(hosts), size)]
    found: dict[Host, dict[str, Any]] = {}
    with ThreadPoolExecutor(max_workers=max(jobs, 1)) as pool:
        asked = [pool.submit(partial(_batch, flake, one, cwd)) for one in batches]
        for done in as_completed(asked):
            for host, declaration in done.result():
                found[host] = declaration
                tick()
    return [found[host] for host in hosts]


def _batch_size(hosts: Sequence[Host], jobs: int) -> int:
    """Return the number of configurations per process, so that all jobs have work."""
    share = -(-len(hosts) // max(jobs, 1))
    return max(1, min(BATCH, share))


def _batch(
    flake: Flake, hosts: Sequence[Host], cwd: Path
) -> list[tuple[Host, dict[str, Any]]]:
    text = json.dumps([host.as_argument() for host in hosts])
    asked = f"map inventory.describe (builtins.fromJSON {nix_string(text)})"
    done = _evaluate(flake, asked, cwd)
    if done.returncode != 0 and len(hosts) > 1:
        return [pair for host in hosts for pair in _batch(flake, [host], cwd)]
    if done.returncode != 0:
        # an input that the host does not use may be out of reach
        done = _first_that_works(done, _evaluate(flake, asked, cwd, lean=True))
    if done.returncode == 0:  # a failed run may print valid JSON too
        return list(zip(hosts, json.loads(done.stdout), strict=True))
    (host,) = hosts
    error = message_of(done.stderr)
    return [(host, {"kind": host.kind, "name": host.name, "error": error})]


def _first_that_works(
    *runs: "subprocess.CompletedProcess[bytes]",
) -> "subprocess.CompletedProcess[bytes]":
    """Return the first run without an error, or the first one."""
    return next((run for run in runs if run.returncode == 0), runs[0])


def _evaluate(
    flake: Flake, expression: str, cwd: Path, *, lean: bool = False
) -> "subprocess.CompletedProcess[bytes]":
    source = resources.files("nixsecrets.flake") / "inventory.nix"
    whole = (
        f"let inventory = ({source.read_text(encoding='utf-8')}) "
        f"{{ flake = builtins.getFlake {nix_string(flake.reference)}; "
        f"lean = {str(lean).lower()}; }}; "
        f"in {expression}"
    )
    mode = () if flake.pure else ("--impure",)
    return _nix(("eval", "--json", *mode, "--expr", whole), cwd)


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
    """Return Nix's error message on one line.

    Old versions print the error before the trace, new ones after it.  In both it is
    the last line that starts with `error:`, or the lines that follow an empty one.
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

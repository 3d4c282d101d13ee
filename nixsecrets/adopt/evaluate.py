"""Agenix rules, evaluated by `nix-instantiate`, in a sandbox unless a person agrees.

The rules file is a program that somebody else may have written.  It can read its
repository and nothing else (restrict-eval), has no network, store or environment, and
limited time and output.  Only the exit status is trusted: Nix may print valid JSON with
empty lists before it fails.
"""

import contextlib
import json
import os
import re
import resource
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nixsecrets.errors import NixsecretsError, ProgramError, quoted

SECONDS = 30.0
"""Time limit for all evaluations of one rules file."""
LONGEST_OUTPUT = 8 * 1024 * 1024
_MOST_ENTRIES = 2000

_PICK = "(v: { publicKeys = v.publicKeys; armor = v.armor or false; })"
_FILE = '(import (./. + ("/" + file)))'  # names are arguments, so they are never code
_ALL = f"{{ file }}: builtins.mapAttrs (n: {_PICK}) {_FILE}"
_NAMES = f"{{ file }}: builtins.attrNames {_FILE}"
_ONE = f"{{ file, name }}: {_PICK} (builtins.getAttr name {_FILE})"


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One entry of the rules; `problem` says why it has no keys, None if it has."""

    name: str
    public_keys: tuple[Any, ...] = ()
    armor: bool = False
    problem: str | None = None


def evaluate_rules(
    path: Path, root: Path, env: Mapping[str, str], *, impure: bool = False
) -> list[Evaluated]:
    """Return the entries of the rules file `path`, which may import files in `root`.

    With `impure` they are evaluated as agenix does it: with `env`, network, store and
    every file that the person can read.

    Raises:
        ProgramError: nix-instantiate is not installed.
        NixsecretsError: the file does not evaluate to a set, or takes too long.
    """
    program = shutil.which("nix-instantiate", path=env.get("PATH", ""))
    if program is None:
        raise ProgramError(
            "nix-instantiate is not installed, so agenix rules cannot be read",
            "install nix, or adopt the sops side only: --sops-only",
        )
    box = _Box(program, path, env if impure else None, root)
    whole = box.run(_ALL, {})
    if isinstance(whole, dict):
        return [_entry(name, value) for name, value in sorted(whole.items())]
    names = box.run(_NAMES, {})
    if not isinstance(names, list) or len(names) > _MOST_ENTRIES:
        raise NixsecretsError(
            f"{box.name}: not a file of agenix rules ({box.said})",
            f"{outside(impure=impure)}name another with --rules FILE",
        )
    return [box.one(str(name)) for name in names]


def _entry(name: str, value: dict[str, Any]) -> Evaluated:
    keys = value["publicKeys"]
    if not isinstance(keys, list):
        return Evaluated(name, problem="its publicKeys is not a list")
    return Evaluated(name, tuple(keys), value["armor"] is True)


def outside(*, impure: bool) -> str:
    """Return the hint on evaluation without the sandbox, "" where there was none."""
    return "" if impure else "if agenix evaluates it: nixsecrets init --impure; else "


class _Box:
    """Evaluates expressions about one rules file; `said` is Nix's last message.

    `env` is that of the person for an evaluation without a sandbox, else None.
    """

    def __init__(
        self, program: str, path: Path, env: Mapping[str, str] | None, root: Path
    ) -> None:
        self.path = path
        self.name = quoted(os.path.relpath(path, root))
        self.until = time.monotonic() + SECONDS
        self.said = "no message"
        self.command: tuple[str, ...] = (program, "--eval", "--strict", "--json")
        self.env = env
        if env is None:
            self.command += (
                "--store", "dummy://", "--readonly-mode",
                "--option", "restrict-eval", "true",
                "--option", "allow-import-from-derivation", "false",
                "--option", "allowed-uris", "",
                "-I", ".", "-I", f"r={root}",
            )  # fmt: skip
            folder = str(Path(program).parent)
            self.env = {"PATH": folder, "LC_ALL": "C", "HOME": "/"}

    def one(self, name: str) -> Evaluated:
        """Evaluate one entry by itself, as agenix does."""
        value = self.run(_ONE, {"name": name})
        if isinstance(value, dict):
            return _entry(name, value)
        return Evaluated(name, problem=f"it does not evaluate ({self.said})")

    def run(self, expression: str, arguments: Mapping[str, str]) -> Any:
        """Return the value of `expression`, None if it fails."""
        given = {"file": self.path.name, **arguments}
        flags = [part for pair in given.items() for part in ("--argstr", *pair)]
        code, output = self._call([*self.command, *flags, "-E", expression])
        if code != 0:
            return None
        try:
            return json.loads(output)
        except ValueError:
            self.said = "its output is truncated"
            return None

    def _call(self, command: Sequence[str]) -> tuple[int, bytes]:
        left = self.until - time.monotonic()
        if left <= 0:
            raise self._endless()
        with tempfile.TemporaryFile() as errors:
            with subprocess.Popen(
                command,
                cwd=self.path.parent,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                preexec_fn=_limit_memory,
            ) as process:
                output = self._collect(process)
            errors.seek(0)
            self.said = _reason(errors.read(64 * 1024))
        return process.returncode, output

    def _collect(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return the output; kill the process when it exceeds the limits.

        Raises:
            NixsecretsError: it takes too long or prints too much.
        """
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        chunks: list[bytes] = []
        size = 0
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            while waiting.select(max(self.until - time.monotonic(), 0)):
                chunk = os.read(process.stdout.fileno(), 64 * 1024)
                if not chunk:
                    process.wait()
                    return b"".join(chunks)
                chunks.append(chunk)
                size += len(chunk)
                if size > LONGEST_OUTPUT:
                    break
        os.killpg(process.pid, signal.SIGKILL)
        raise self._endless()

    def _endless(self) -> NixsecretsError:
        return NixsecretsError(
            f"{self.name}: its evaluation takes too long or prints too much",
            "name another rules file with --rules FILE, or use --sops-only",
        )


def _limit_memory() -> None:
    """Limit the address space to 4 GiB, if the system supports that."""
    size = 4 * 1024**3
    with contextlib.suppress(ValueError, OSError):  # a lower limit, or none (macOS)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _reason(output: bytes) -> str:
    """Return Nix's error message on one line, without colors.

    It may quote the rules file, so it is cut at the first quotation mark.
    """
    text = re.sub(r"\x1b\[[0-9;]*m", "", output.decode("utf-8", "replace"))
    lines = [one.strip() for one in text.splitlines() if "error:" in one]
    said = lines[-1].rpartition("error:")[2].strip() if lines else "no message"
    return re.split("[\"'\u2018\u00ab]", said)[0].strip(" :,.") or "no message"

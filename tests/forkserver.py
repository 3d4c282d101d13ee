"""Runs nixsecrets in processes forked from an interpreter that has already imported it.

A forked run is the same program in its own process, with its own arguments,
environment, folder, umask and streams.  Only the start of Python and the imports are
not repeated: they take longer than most commands.  What a command imports is shown in
tests/cli/test_imports.py and test_start.py.
"""

import gc
import importlib
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

PROJECT = Path(__file__).resolve().parent.parent
_MOST_BYTES = 1 << 16  # a new pipe holds as much before anybody reads it
# What commands import while they run.
_LAZY = (
    *("ctypes", "difflib", "encodings.unicode_escape", "encodings.utf_8_sig"),
    "cryptography.hazmat.primitives.asymmetric.x25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.serialization",
    *("nacl.bindings", "paramiko", "pyrage", "re2", "ruamel.yaml", "traceback"),
)
# Python reads these at its start; the server has started with the values of `_START`.
_READ_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "COVERAGE_")
_START = {"PYTHONPATH": str(PROJECT), "LC_ALL": "C.UTF-8"}


class Server:
    """A server that this process has started."""

    def __init__(self) -> None:
        """Start the server; it imports while the caller goes on."""
        self._owner = os.getpid()
        self._socket, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.forkserver", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={"PATH": os.environ["PATH"], **_START},
                cwd=PROJECT,
            )

    def close(self) -> None:
        """End the server."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._process.wait()

    def serves(self, argv: Sequence[str], env: Mapping[str, str], stdin: bytes) -> bool:
        """Whether a forked run is the same as one that starts Python."""
        read = {name: env[name] for name in env if name.startswith(_READ_AT_START)}
        small = max(len(stdin), 2 * len(_request(argv, env, ""))) <= _MOST_BYTES
        return read == _START and small and os.getpid() == self._owner

    def run(
        self,
        argv: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        stdin: bytes,
        timeout: float,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run nixsecrets as `subprocess.run` does, with pipes for all three streams."""
        their_in, to = os.pipe()
        out, their_out = os.pipe()
        err, their_err = os.pipe()
        os.write(to, stdin)
        theirs = [their_in, their_out, their_err]
        socket.send_fds(self._socket, [_request(argv, env, str(cwd))], theirs)
        for descriptor in (to, *theirs):
            os.close(descriptor)
        pid = int(self._socket.recv(_MOST_BYTES))
        try:
            stdout, stderr = _read([out, err], time.monotonic() + timeout)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(argv), timeout) from None
        finally:
            code = int(self._socket.recv(_MOST_BYTES))
            os.close(out)
            os.close(err)
        return subprocess.CompletedProcess(list(argv), code, stdout, stderr)


def _request(argv: Sequence[str], env: Mapping[str, str], cwd: str) -> bytes:
    umask = os.umask(0)
    os.umask(umask)
    return json.dumps([list(argv), dict(env), cwd, umask]).encode()


def _read(pipes: Sequence[int], deadline: float) -> list[bytes]:
    """Read every pipe to its end.  Raises `TimeoutError` at the deadline."""
    found = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as waiting:
        for pipe in pipes:
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(deadline - time.monotonic())
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                part = os.read(key.fd, _MOST_BYTES)
                found[key.fd] += part
                if not part:
                    waiting.unregister(key.fd)
    return list(found.values())


# --- the server -------------------------------------------------------------------


def _serve(control: socket.socket) -> None:
    """Run one request after the other until the client closes its end."""
    while True:
        request, streams, _, _ = socket.recv_fds(control, _MOST_BYTES, 3)
        if not request:
            return
        pid = os.fork()
        if not pid:
            control.close()
            _become(request, streams)
        for stream in streams:
            os.close(stream)
        control.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        control.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become(request: bytes, streams: Sequence[int]) -> NoReturn:
    """Run the program in this process, as `python -m nixsecrets` does."""
    from nixsecrets.cli.main import run

    argv, env, cwd, umask = json.loads(request)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(cwd)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = [str(PROJECT / "nixsecrets/__main__.py"), *argv]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code: object = 1
    try:
        run()
    except SystemExit as end:
        sys.stdout.flush()
        sys.stderr.flush()
        code = end.code
    finally:
        # To take the interpreter apart costs more than most commands do.
        os._exit(code if isinstance(code, int) else 1)


def _import_all() -> None:
    import nixsecrets

    found = pkgutil.walk_packages(nixsecrets.__path__, "nixsecrets.")
    for name in (*_LAZY, *(module.name for module in found)):
        importlib.import_module(name)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _import_all()
    gc.collect()
    gc.freeze()  # no collection in a forked run has to look at what is imported
    _serve(socket.socket(fileno=int(sys.argv[1])))

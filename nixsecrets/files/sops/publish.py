"""Verifying many sops files with one run of sops: values, data keys and MACs.

Starting sops takes longer than reading a file.  Its commands read a single file, except
`sops publish --recursive`: it decrypts every file of a folder, verifies its MAC, and
only then sends the values to a Vault server.  We are that server, at a Unix socket in
the private folder, and discard the values (docs/adr/0016).  Sources:
getsops/sops:cmd/sops/main.go, cmd/sops/subcommand/publish/publish.go (order, MAC),
publish/vault.go; hashicorp/vault:api/client.go (`unix://`).
"""

import json
import re
import selectors
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import run
from nixsecrets.files.sops.program import SopsProgram

_SUFFIX = {
    SopsFormat.YAML: "yaml",
    SopsFormat.JSON: "json",
    SopsFormat.DOTENV: "env",
    SopsFormat.INI: "ini",
    SopsFormat.BINARY: "bin",
}
# no retries: if we died, sops would wait before each
_VAULT = {"VAULT_MAX_RETRIES": "0"}
_PUT = re.compile(rb"(?:PUT|POST) /\S*/(\d{1,9})\.[a-z]+ HTTP/")
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d{1,18})\s*$")
_PIECE = 1 << 16
_LONGEST_HEAD = 1 << 16  # bytes of a request, without its body
_NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_TAKEN = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


def read_by_sops(
    program: SopsProgram,
    files: Sequence[tuple[SopsFormat, bytes]],
    *,
    identity: str,
    workdir: Path,
) -> set[int]:
    """Return the indexes in `files` of those that sops decrypted with a correct MAC.

    `identity` (AGE-SECRET-KEY-1…) decrypts all of them.  sops stops at the first file
    that it refuses.  Another version of sops, or a lack of space, may lead to an empty
    result: a missing index does not mean that the file is wrong.

    Raises:
        ProgramError: sops cannot be run.
    """
    with tempfile.TemporaryDirectory(dir=workdir, prefix="sops-") as name:
        room = Path(name)
        door, folder = room / "vault", room / "files"
        with suppress(OSError), socket.socket(socket.AF_UNIX) as vault:
            vault.bind(str(door))  # fails if the path has more than 107 bytes
            vault.listen()
            folder.mkdir()
            for place, (kind, data) in enumerate(files):
                (folder / f"{place:06}.{_SUFFIX[kind]}").write_bytes(data)
            rule = {"vault_address": f"unix://{door}", "vault_path": "files"}
            config = room / "config.yaml"
            config.write_text(json.dumps({"destination_rules": [rule]}))
            args = ["--config", str(config), "publish", "--yes", "--recursive"]
            env = run.base_environment(program.env, str(room)) | _VAULT
            env |= {"TMPDIR": str(room), "SOPS_AGE_KEY": identity}
            command = [str(program.path), *args, str(folder)]
            size = sum(len(data) for _, data in files)
            with _running(command, env, room, size) as output:
                return set(_handed_over(vault, output))
    return set()


@contextmanager
def _running(
    command: Sequence[str], env: Mapping[str, str], cwd: Path, size: int
) -> Iterator[IO[bytes]]:
    """Run a command in the background; yield its output.

    `size` is the number of bytes that it processes, for its memory limit.
    """
    try:
        running = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
    except OSError as error:
        raise run.does_not_start(Path(command[0]), error) from error
    with running:
        run.bound(running.pid, size)
        assert running.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield running.stdout
        finally:
            running.kill()  # only matters if we are interrupted


def _handed_over(vault: socket.socket, output: IO[bytes]) -> Iterator[int]:
    """Yield the index of each file that sops sends, until it exits.

    Waits for all sources at once: sops may print or connect while a connection is open.
    """
    with ExitStack() as lines, selectors.DefaultSelector() as waiting:
        waiting.register(vault, selectors.EVENT_READ)
        waiting.register(output, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is output:
                    if not output.read(_PIECE):
                        return
                elif key.fileobj is vault:
                    line = lines.enter_context(vault.accept()[0])
                    line.settimeout(0)
                    waiting.register(line, selectors.EVENT_READ, _Caller(line))
                else:
                    try:
                        yield from key.data.hear()
                    except OSError:
                        waiting.unregister(key.fileobj)
                        key.data.line.close()


@dataclass
class _Caller:
    """A connection: the head of a request so far, and the missing bytes of its body."""

    line: socket.socket
    head: bytes = field(default=b"", repr=False)
    missing: int = 0

    def hear(self) -> Iterator[int]:
        """Receive data, discard the values, and answer like an empty Vault.

        Yields the index of the file that was sent.

        Raises:
            OSError: the connection has ended, or does not use HTTP.
        """
        body = self.line.recv(_PIECE)
        if not body or len(self.head) > _LONGEST_HEAD:
            raise ConnectionError
        if not self.missing:
            self.head, end, body = (self.head + body).partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(self.head)
            self.missing = int(length[1]) if length else 0
        self.missing -= len(body)
        if self.missing > 0:
            return
        put = _PUT.match(self.head)
        self.head, self.missing = b"", 0
        self.line.sendall(_TAKEN if put else _NOT_THERE)
        if put:
            yield int(put[1])

"""Many sops files read by one run of the real `sops`: values, data keys and MACs.

Starting sops takes longer than reading a file, and its commands that read values take
one, but for `sops publish --recursive`: it opens every file of a folder, checks its
MAC, and only then hands the values to a Vault.  That Vault is us, at a Unix socket in
the private folder, and the values are dropped (ADR 16).  Sources: getsops/sops
cmd/sops/main.go, cmd/sops/subcommand/publish/publish.go (order, MAC), publish/vault.go;
hashicorp/vault api/client.go (`unix://`).
"""

import json
import re
import select
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import BufferedRWPair
from pathlib import Path
from typing import IO

from nixsecrets.secretfiles import sopsrun
from nixsecrets.secretfiles.program import SopsProgram
from nixsecrets.secretfiles.sniff import SopsFormat

_SUFFIX = {
    SopsFormat.YAML: "yaml",
    SopsFormat.JSON: "json",
    SopsFormat.DOTENV: "env",
    SopsFormat.INI: "ini",
    SopsFormat.BINARY: "bin",
}
_LONGEST_SOCKET = 100  # bytes of its path; systems take 103 to 107
# One attempt: were we gone, sops would wait between more of them.
_VAULT = {"VAULT_MAX_RETRIES": "0"}
_PUT = re.compile(rb"(?:PUT|POST) /\S*/(\d+)\.[a-z]+ HTTP/")
_LENGTH = re.compile(rb"(?i)content-length:\s*(\d+)\s*$")
_NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_TAKEN = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


def read_by_sops(
    program: SopsProgram,
    files: Sequence[tuple[SopsFormat, bytes]],
    *,
    identity: str,
    workdir: Path,
) -> set[int]:
    """Return the places of those `files` that sops read, their MACs being right.

    It stops at the first that it cannot read, and may read none where it is a sops that
    does this differently: that a file is not among them says nothing.

    Raises:
        ProgramError: sops does not run.

    """
    with tempfile.TemporaryDirectory(dir=workdir, prefix="sops-") as name:
        room = Path(name)
        door = room / "vault"
        if len(bytes(door)) > _LONGEST_SOCKET:
            return set()
        folder = room / "files"
        folder.mkdir()
        for place, (kind, data) in enumerate(files):
            (folder / f"{place:06}.{_SUFFIX[kind]}").write_bytes(data)
        rule = {"vault_address": f"unix://{door}", "vault_path": "files"}
        config = room / "config.yaml"
        config.write_text(json.dumps({"destination_rules": [rule]}), encoding="utf-8")
        args = ["--config", str(config), "publish", "--yes", "--recursive", str(folder)]
        env = sopsrun.base_environment(program.env, str(room)) | _VAULT
        env |= {"TMPDIR": str(room), "SOPS_AGE_KEY": identity}
        with socket.socket(socket.AF_UNIX) as vault:
            vault.bind(str(door))
            vault.listen()
            with _running([str(program.path), *args], env, room) as output:
                return set(_handed_over(vault, output))


@contextmanager
def _running(
    command: Sequence[str], env: Mapping[str, str], cwd: Path
) -> Iterator[IO[bytes]]:
    """Run a command beside us; what it prints ends when it does."""
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
        raise sopsrun.does_not_start(Path(command[0]), error) from error
    with running:
        assert running.stdout is not None  # noqa: S101 - it is a pipe
        try:
            yield running.stdout
        finally:
            running.kill()  # has ended, unless we are interrupted


def _handed_over(vault: socket.socket, output: IO[bytes]) -> Iterator[int]:
    """Yield the place of each file that sops hands over, until it ends."""
    waiting = select.poll()
    waiting.register(vault, select.POLLIN)
    waiting.register(output, select.POLLIN)
    while True:
        ready = {number for number, _ in waiting.poll()}
        if vault.fileno() in ready:
            connection, _ = vault.accept()
            with suppress(OSError), connection, connection.makefile("rwb") as line:
                yield from _requests(line)
        elif not output.read(1 << 16):
            return


def _requests(line: BufferedRWPair) -> Iterator[int]:
    """Answer as an empty Vault does; yield the place of what was put into it."""
    while request := line.readline():
        size = 0
        while header := line.readline().strip():
            found = _LENGTH.match(header)
            size = int(found[1]) if found else size
        line.read(size)
        put = _PUT.match(request)
        line.write(_TAKEN if put else _NOT_THERE)
        line.flush()
        if put:
            yield int(put[1])
            return

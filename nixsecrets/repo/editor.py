"""Running a person's editor on one private file.

Chooses the program, keeps what it writes besides the file inside the file's folder, and
reports how it ended; what the file means is the caller's.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from nixsecrets.errors import NixsecretsError, ProgramError
from nixsecrets.keys.environment import without_credentials
from nixsecrets.repo import private
from nixsecrets.untrusted import inputs

VARIABLES = ("SOPS_EDITOR", "VISUAL", "EDITOR")
FALLBACKS = ("vi", "nano")

AT_ONCE_SECONDS = 1.0
"""An editor that ends faster, and changed nothing, was hardly used by a person."""
_GRACE_SECONDS = 5.0

# Programs that give the terminal back at once, and what makes them wait.
_WAIT = {
    "atom": "--wait",
    "code": "--wait",
    "code-insiders": "--wait",
    "codium": "--wait",
    "cursor": "--wait",
    "gedit": "--wait",
    "gnome-text-editor": "--standalone",
    "idea": "--wait",
    "kate": "--block",
    "mate": "--wait",
    "open": "-W",
    "subl": "--wait",
    "zed": "--wait",
    "zeditor": "--wait",
}
# Known to write copies, histories or recovery files to places of their own.
_KEEPS_COPIES = frozenset(
    {
        *_WAIT,
        "emacs",
        "emacsclient",
        "micro",
        "nvi",
        "jed",
        "kak",
        "hx",
        "helix",
        "mcedit",
    }
) - {"open", "hx", "helix", "kak"}
_VIM = frozenset({"vim", "nvim", "gvim", "vimx", "rvim"})
_LINE_NUMBERS = frozenset({"emacs", "emacsclient", "micro", "nvi", "joe", "kak"})
_NANO_RC = ("/etc/nanorc", ".nanorc", ".config/nano/nanorc")
_NANO_OFF = "\nunset backup\nunset locking\nunset historylog\nunset positionlog\n"
_VIM_OFF = "silent! set nobackup nowritebackup noundofile"
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")


@dataclass(frozen=True, slots=True)
class Editor:
    """A command line, and which program that is (`vim`, `nano`, or its own name)."""

    command: tuple[str, ...]
    kind: str

    @property
    def warning(self) -> str | None:
        """One sentence on what the program is known to write elsewhere."""
        if self.kind not in _KEEPS_COPIES:
            return None
        return (
            f"{self.kind} may keep copies of what it edits outside of the private "
            "folder (backups, local history); switch that off, or use vim or nano"
        )

    @property
    def needs_wait(self) -> str | None:
        """The command line that waits, where this one is known not to."""
        flag = _WAIT.get(self.kind)
        if flag is None or any(f in self.command for f in (flag, "-w", "-W", "-b")):
            return None
        return shlex.join([*self.command, flag])


def find_editor(env: Mapping[str, str], *, terminal: bool) -> Editor:
    """Return the editor to run: shell words, run without a shell.

    Without a terminal only a configured editor is run, never a fall-back.

    Raises:
        NixsecretsError: there is no editor.
    """
    for name in VARIABLES:
        if env.get(name, "").strip():
            try:
                words = tuple(shlex.split(env[name]))
            except ValueError:
                raise NixsecretsError(
                    f"${name} is no valid command line", "check its quotes"
                ) from None
            return Editor(words, _kind(words[0], env))
    for program in FALLBACKS if terminal else ():
        if shutil.which(program, path=env.get("PATH")):
            return Editor((program,), _kind(program, env))
    hint = "set $EDITOR" if terminal else "set $EDITOR, or use `nixsecrets set`"
    raise NixsecretsError("there is no editor", hint)


def _kind(program: str, env: Mapping[str, str]) -> str:
    """Return what a program is: its name, or that of what its links lead to."""
    name = Path(program).name
    found = shutil.which(program, path=env.get("PATH"))
    real = Path(found).resolve().name if found else name
    for candidate in (name, real, real.split(".")[0]):
        if candidate in _VIM:
            return "vim"
        if candidate in {"nano", "rnano"}:
            return "nano"
    return real.split(".")[0] if name in {"vi", "editor"} else name


def run_editor(
    editor: Editor, path: Path, *, terminal: bool, line: int = 0, keep_end: bool = False
) -> float:
    """Run the editor on `path` until it ends; return the seconds that took.

    `path` lies in a private folder of this process, which is the editor's TMPDIR; its
    environment has no credentials, and without a terminal its stdin is empty.  `line`
    is where to start (0: anywhere); with `keep_end` no line feed is put behind the last
    line.  What ends us ends the editor first, which may still save.

    Raises:
        ProgramError: it cannot be started, or ended with a failure.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    command = [*editor.command, *_options(editor, path, line, keep_end=keep_end)]
    env = without_credentials(os.environ) | {"TMPDIR": str(path.parent)}
    stdin = None if terminal else subprocess.DEVNULL
    name, begin = editor.command[0], time.monotonic()
    with _ctrl_c_is_the_editors():
        try:
            code = _run([*command, str(path)], env, stdin, path.parent)
        except OSError as error:
            why = (error.strerror or "cannot be started").lower()
            raise ProgramError(f"the editor {name}: {why}", "set $EDITOR") from None
        except BaseException:
            _recover(editor, path)
            raise
    if code in {-signal.SIGINT, 128 + signal.SIGINT}:
        raise KeyboardInterrupt
    if code < 0 or code == 1:
        _recover(editor, path)  # there is a swap file only if vim did not end itself
    if code < 0:
        which = signal.Signals(-code).name
        raise ProgramError(f"the editor {name} was ended by {which}")
    if code != 0:
        raise ProgramError(
            f"the editor {name} ended with exit code {code}; nothing was changed"
        )
    return time.monotonic() - begin


def typed(path: Path) -> bytes:
    """Return what was typed: the file, or what lies beside it if the editor was ended.

    Raises:
        ProgramError: the editor left no file, or something that is none.
    """
    for place in (_emergency(path), path):
        try:
            return inputs.read(place)
        except FileNotFoundError:
            continue
        except inputs.NotRegularError as error:
            raise ProgramError(
                f"what the editor left is {error.reason}", "nothing was changed"
            ) from error
    raise ProgramError("the editor removed the file", "nothing was changed")


def _run(
    command: list[str], env: Mapping[str, str], stdin: int | None, folder: Path
) -> int:
    """Run the editor on a file of `folder`; where we are told to end, end it first.

    Raises `OSError` where it cannot be started.
    """
    child: subprocess.Popen[bytes] | None = None
    try:
        with _told_afterwards():
            # It keeps the folder if we are killed: it may have unsaved text to write.
            lock = private.lock_of(folder)
            child = subprocess.Popen(command, env=env, stdin=stdin, pass_fds=[lock])
        return child.wait()
    except BaseException:
        if child is not None:
            _end(child)
        raise


@contextmanager
def _told_afterwards() -> Iterator[None]:
    """Let signals that end us wait until the block has started whom they end, too.

    They are not blocked, since the editor would inherit that.
    """
    came: list[int] = []
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    before = [signal.signal(n, lambda got, _: came.append(got)) for n in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        for one in came:
            os.kill(os.getpid(), one)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextmanager
def _ctrl_c_is_the_editors() -> Iterator[None]:
    """Leave Ctrl-C and Ctrl-\\ to the editor while it has the terminal.

    A handler that does nothing, because an ignored signal would be inherited.
    """

    def nothing(_number: int, _frame: FrameType | None) -> None:
        return

    numbers = (signal.SIGINT, signal.SIGQUIT)
    before = [signal.signal(number, nothing) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _options(editor: Editor, path: Path, line: int, *, keep_end: bool) -> list[str]:
    """Return what keeps swap, undo, backup and history files out of other places."""
    at = [f"+{line}"] if line else []
    match editor.kind:
        case "vim":
            off = _VIM_OFF + (" nofixendofline" if keep_end else "")
            front = ["-f"] if Path(editor.command[0]).name == "gvim" else []
            off += _vim_swap(path.parent)
            return [*front, "-n", "-i", "NONE", "-c", off, *at]
        case "nano":
            rc = _nano_rc(path.parent, keep_end=keep_end)
            return ["--rcfile", str(rc), *at]
        case _:
            return at if editor.kind in _LINE_NUMBERS else []


def _vim_swap(folder: Path) -> str:
    """Return what puts vim's swap file beside the text, in memory.

    It holds what was typed and not saved when vim is ended.  No swap file is made
    (`-n`) until this is set, whatever the person's own settings say.
    """
    if not _PLAIN.fullmatch(str(folder)):
        return " noswapfile"
    return f" directory={folder} updatecount=20 updatetime=1000 swapfile"


def _recover(editor: Editor, path: Path) -> None:
    """Let vim, which was ended, tell what it had not saved, as nano does by itself."""
    swaps = sorted(path.parent.glob("*.sw?"))
    if editor.kind != "vim" or not swaps:
        return
    target = _emergency(path)
    quiet = ["-u", "NONE", "-i", "NONE", "-n", "-e", "-s", "-r", str(swaps[-1])]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [editor.command[0], *quiet, "-c", f"silent! write! {target}", "-c", "qa!"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_GRACE_SECONDS,
            check=False,
        )


def _emergency(path: Path) -> Path:
    """Return where nano saves a text when it is ended."""
    return path.with_name(path.name + ".save")


def _nano_rc(folder: Path, *, keep_end: bool) -> Path:
    """Write the person's own settings, less what leaves traces, for nano to read."""
    home = Path.home()
    texts = []
    for name in _NANO_RC:
        with contextlib.suppress(OSError):
            texts.append(inputs.read(home / name))  # an absolute name stays itself
    end = "set nonewlines\n" if keep_end else ""
    rc = folder / "nanorc"
    rc.write_bytes(b"\n".join(texts) + (_NANO_OFF + end).encode())
    return rc

"""Running the user's editor on one private file.

Chooses the program, keeps its swap and backup files inside the file's folder, and
reports how it ended.
"""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from nixsecrets.errors import NixsecretsError, ProgramError
from nixsecrets.frozen import frozen
from nixsecrets.keys.environment import without_credentials
from nixsecrets.repo import private
from nixsecrets.untrusted import inputs

VARIABLES = ("SOPS_EDITOR", "VISUAL", "EDITOR")
FALLBACKS = ("vi", "nano")

AT_ONCE_SECONDS = 1.0
"""An editor that exits sooner without a change was probably not used by anybody."""
_GRACE_SECONDS = 5.0

# programs that return at once, and the flag that makes them wait
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
# known to write copies, histories or recovery files elsewhere
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
_NEEDS_NO_ESCAPE = re.compile(r"[A-Za-z0-9._/-]+")  # in vim's `:set directory=…`


@frozen
class Editor:
    """A command line; `kind` is `vim`, `nano` or the name of another program."""

    command: tuple[str, ...]
    kind: str

    @property
    def warning(self) -> str | None:
        """A sentence about what the program may write elsewhere; None if nothing."""
        if self.kind not in _KEEPS_COPIES:
            return None
        return (
            f"{self.kind} may keep copies of what it edits outside of the private "
            "folder (backups, local history); switch that off, or use vim or nano"
        )

    @property
    def needs_wait(self) -> str | None:
        """The command line that waits for the edit, if this one is known not to."""
        flag = _WAIT.get(self.kind)
        if flag is None or any(f in self.command for f in (flag, "-w", "-W", "-b")):
            return None
        return shlex.join([*self.command, flag])


def find_editor(env: Mapping[str, str], *, terminal: bool) -> Editor:
    """Return the configured editor, or with a terminal `vi` or `nano`.

    The variables in `VARIABLES` are split like a shell command, but run without a
    shell.

    Raises:
        NixsecretsError: there is no editor, or its command line has unbalanced quotes.
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
    """Return the kind of a program: its name, or that of the file its links lead to."""
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
    editor: Editor,
    path: Path,
    *,
    terminal: bool,
    line: int = 0,
    keep_end: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
) -> float:
    """Run the editor on `path` until it exits; return the elapsed seconds.

    `path` is in a private folder of this process, which becomes the editor's TMPDIR.
    The environment has no credentials; without a terminal stdin is empty.  `line` is
    the line to start at (0: the editor's choice); `keep_end` prevents the editor from
    adding a final line feed.  A signal that ends this process ends the editor first, so
    that it can save.  `meanwhile` is called once the editor has started.

    Raises:
        ProgramError: the editor cannot be started, or failed.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    command = [*editor.command, *_options(editor, path, line, keep_end=keep_end)]
    env = without_credentials(os.environ) | {"TMPDIR": str(path.parent)}
    stdin = None if terminal else subprocess.DEVNULL
    name, begin = editor.command[0], time.monotonic()
    # Ctrl-C and Ctrl-\ are the editor's while it has the terminal; a handler that does
    # nothing, because the editor would inherit that they are ignored
    with _handlers((signal.SIGINT, signal.SIGQUIT), lambda _number, _frame: None):
        try:
            code = _run([*command, str(path)], env, stdin, path.parent, meanwhile)
        except OSError as error:
            why = (error.strerror or "cannot be started").lower()
            raise ProgramError(f"the editor {name}: {why}", "set $EDITOR") from None
        except BaseException:
            _recover(editor, path)
            raise
    if code in {-signal.SIGINT, 128 + signal.SIGINT}:
        raise KeyboardInterrupt
    if code < 0 or code == 1:
        _recover(editor, path)  # vim leaves a swap file only if it was killed
    if code < 0:
        which = signal.Signals(-code).name
        raise ProgramError(f"the editor {name} was ended by {which}")
    if code != 0:
        raise ProgramError(
            f"the editor {name} ended with exit code {code}; nothing was changed"
        )
    return time.monotonic() - begin


def edited_text(path: Path) -> bytes:
    """Return the edited text: from the emergency copy of a killed editor, or the file.

    Raises:
        ProgramError: the editor left no file, or something that is not a regular file.
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
    command: list[str],
    env: Mapping[str, str],
    stdin: int | None,
    folder: Path,
    meanwhile: Callable[[], None],
) -> int:
    """Run the editor on a file of `folder`; if interrupted, terminate it first.

    Raises `OSError` if it cannot be started.
    """
    child: subprocess.Popen[bytes] | None = None
    try:
        with _termination_delayed():
            # The editor inherits the lock of the folder, so that the folder outlives
            # this process if that is killed: the editor may have unsaved text to write.
            lock = private.lock_of(folder)
            child = subprocess.Popen(command, env=env, stdin=stdin, pass_fds=[lock])
        meanwhile()
        return child.wait()
    except BaseException:
        if child is not None:
            _end(child)
        raise


@contextmanager
def _termination_delayed() -> Iterator[None]:
    """Deliver SIGTERM and SIGHUP only after the block has started the editor.

    The signals are not blocked, because the editor would inherit the mask.
    """
    received: list[int] = []
    numbers = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) != signal.SIG_IGN
    ]
    try:
        with _handlers(numbers, lambda number, _frame: received.append(number)):
            yield
    finally:
        for number in received:
            os.kill(os.getpid(), number)


@contextmanager
def _handlers(
    numbers: Sequence[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    """Install a signal handler for the block."""
    before = [signal.signal(number, handler) for number in numbers]
    try:
        yield
    finally:
        for number, old in zip(numbers, before, strict=True):
            signal.signal(number, old)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _options(editor: Editor, path: Path, line: int, *, keep_end: bool) -> list[str]:
    """Return the options that keep swap, undo, backup and history files in the folder.

    And those that start at `line`, if the editor has one.
    """
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
    """Return the settings that put vim's swap file into the private folder.

    The swap file has the unsaved text if vim is killed.  Until this is set, `-n` keeps
    vim from making one elsewhere, whatever the user's own settings say.
    """
    if not _NEEDS_NO_ESCAPE.fullmatch(str(folder)):
        return " noswapfile"
    return f" directory={folder} updatecount=20 updatetime=1000 swapfile"


def _recover(editor: Editor, path: Path) -> None:
    """Write the unsaved text of a killed vim to where nano itself saves it."""
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
    """Return where nano saves the text when it is killed."""
    return path.with_name(path.name + ".save")


def _nano_rc(folder: Path, *, keep_end: bool) -> Path:
    """Write a configuration for nano: the user's own, without backups and histories."""
    home = Path.home()
    texts = []
    for name in _NANO_RC:
        with contextlib.suppress(OSError):
            texts.append(inputs.read(home / name))  # an absolute name stays itself
    end = "set nonewlines\n" if keep_end else ""
    rc = folder / "nanorc"
    rc.write_bytes(b"\n".join(texts) + (_NANO_OFF + end).encode())
    return rc

"""Editing plaintext in the operator's editor, in memory, without losing a draft.

`Desk` is a private folder with an editor; `keep_safe` keeps a draft that could not be
saved.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nixsecrets.cli import ui
from nixsecrets.errors import NixsecretsError, argument
from nixsecrets.keys.identities import Keyring
from nixsecrets.repo import editor, files, private, rescue
from nixsecrets.repo.signals import deferred
from nixsecrets.repo.worktree import Repo
from nixsecrets.values.drafts import Draft, keep, load_keeping


class Desk:
    """A private folder, and the editor that works in it.

    `last` is the last text that the editor left, `path` the file that it has open.
    """

    def __init__(self, folder: Path, program: editor.Editor, *, terminal: bool) -> None:
        """Start with nothing edited."""
        self.folder = folder
        self.program = program
        self.terminal = terminal
        self.last: bytes | None = None
        self.path: Path | None = None

    def edit(self, draft: Draft) -> bytes:
        """Run the editor on a draft; return the edited text.

        Raises:
            ProgramError: the editor failed.
            NixsecretsError: it is known to return at once unless given a wait option.
        """
        self.path = self.folder / buffer_name(draft.name)
        try:
            self.path.touch(mode=0o600)
            self.path.write_bytes(draft.text)
        except OSError as error:
            place = str(self.folder.parent)
            raise files.explained(error, "put the text into", place) from error
        self.last = draft.text
        keep_end = bool(draft.base) and not draft.base.endswith(b"\n")
        seconds = editor.run_editor(
            self.program,
            self.path,
            terminal=self.terminal,
            line=draft.line,
            keep_end=keep_end,
            meanwhile=load_keeping,
        )
        text = editor.edited_text(self.path)
        if keep_end and text == draft.text + b"\n":
            text = draft.text  # the editor itself added the final newline
        if text == draft.text and seconds < editor.AT_ONCE_SECONDS:
            _explain_detaching(self.program)
        self.last = text
        return text

    def typed(self) -> bytes | None:
        """Return the text that the editor last saved, None if none was opened."""
        if self.path is not None:
            with suppress(NixsecretsError, OSError):
                return editor.edited_text(self.path)
        return self.last


def _explain_detaching(program: editor.Editor) -> None:
    """Explain why nothing was edited, after the editor returned at once.

    Raises:
        NixsecretsError: it is known to return at once unless given a wait option.
    """
    waiting = program.needs_wait
    if waiting is not None:
        raise NixsecretsError(
            f"the editor {program.command[0]} did not wait for you to finish",
            f"make it wait: EDITOR='{waiting}'; what its window shows is not saved",
        )
    if ui.has_terminal():
        ui.say(
            f"nixsecrets: {program.command[0]} came back at once; if its window is"
            " still open it did not wait, and what you type there is not saved"
        )


def buffer_name(name: str) -> str:
    """Return an unpredictable file name with the extension of the plaintext.

    An editor takes its syntax from it: `wifi.json.age` gives `wifi-1a2b3c4d.json`.
    """
    path = Path(name)
    if path.suffix == ".age":
        path = path.with_suffix("")
    stem = path.name.removesuffix(path.suffix).lstrip(".-+") or "secret"
    return f"{stem}-{os.urandom(4).hex()}{path.suffix}"


@contextmanager
def desk() -> Iterator[Desk]:
    """Yield a desk; its folder is removed at the end, whatever happens."""
    terminal = ui.has_terminal()
    program = editor.find_editor(os.environ, terminal=terminal)
    if program.warning is not None:
        ui.warn(program.warning)
    with private.private_folder(os.environ) as folder:
        yield Desk(folder, program, terminal=terminal)


@contextmanager
def keep_safe(
    repo: Repo, ring: Keyring, draft: Draft, at: Desk, resume: str = ""
) -> Iterator[None]:
    """Keep the edited text if the block raises before saving it; extend the hint.

    `resume` is the command that continues, else `edit --resume`.
    """
    try:
        yield
    except BaseException as error:
        text = at.typed()
        if text is None or text in {draft.base, b""}:
            raise
        with deferred():
            kept = keep(repo, ring, draft, text)
        hint = kept_hint(kept, resume)
        if isinstance(error, NixsecretsError):
            error.hint = "\n".join(filter(None, [error.hint, hint]))
        else:
            with suppress(OSError):  # the terminal itself may be gone
                ui.say(f"nixsecrets: {hint}")
        raise


def kept_hint(kept: rescue.Kept, resume: str = "") -> str:
    """Return the hint on where a draft is kept and how to `resume` it."""
    on = "in memory" if private.disk_in_use(os.environ) is None else "unencrypted"
    where = "encrypted to you" if kept.sealed else f"{on}, in {kept.place}"
    resume = resume or f"nixsecrets edit --resume {argument(kept.path)}"
    return f"your draft is kept, {where}: {resume}"

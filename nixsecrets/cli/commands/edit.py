"""`nixsecrets edit`: edit a secret in your editor."""

import os
from pathlib import Path

import click

from nixsecrets.cli import save, show, ui
from nixsecrets.cli.desk import Desk, desk, keep_safe
from nixsecrets.cli.options import Reach, RoadOptions, road_options
from nixsecrets.cli.save import ChangedError
from nixsecrets.cli.session import Session, keyring, unlock
from nixsecrets.cli.typed import about_content, asked_after, line_of
from nixsecrets.errors import (
    DeclinedError,
    NixsecretsError,
    SecretFileError,
    UsageError,
    argument,
)
from nixsecrets.files.kind import SopsFormat, format_for
from nixsecrets.files.state import Actual
from nixsecrets.frozen import replace
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring
from nixsecrets.plan.target import Target, difference
from nixsecrets.plan.target import target as look_at
from nixsecrets.repo import private, rescue
from nixsecrets.repo.gitrun import merge_texts
from nixsecrets.splice import conflict_line
from nixsecrets.values import drafts, read
from nixsecrets.values.drafts import Draft
from nixsecrets.world.world import World

MINE, THEIRS = "your draft", "on disk"


@click.command("edit")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--resume", is_flag=True, help="Continue with the saved draft.")
@click.option("--discard", is_flag=True, help="Delete the saved draft.")
@click.option(
    "--both",
    "way",
    flag_value="both",
    help="With --resume: if the file has changed meanwhile, open both versions.",
)
@click.option(
    "--mine",
    "way",
    flag_value="mine",
    help="With --resume: replace the newer version with your draft.",
)
@click.option("--allow-empty", is_flag=True, help="Allow saving an empty file.")
@click.option(
    "--rekey",
    "as_mapped",
    is_flag=True,
    help="Encrypt to the recipients in the map, if the file has others.",
)
@road_options(Reach.CONTENT)
@click.pass_obj
def command(
    start: Path,
    path: Path | None,
    options: RoadOptions,
    *,
    resume: bool,
    discard: bool,
    way: str | None,
    allow_empty: bool,
    as_mapped: bool,
) -> int:
    """Edit a secret, or create one, in your editor.

    The editor is $SOPS_EDITOR, $VISUAL or $EDITOR, else vi or nano.  Plaintext exists
    only in a private folder in memory.  A new secret is encrypted to the readers of
    the rule that matches its path; an existing one keeps its recipients.

    An edit that cannot be saved is kept as a draft, encrypted to your own key;
    --resume continues with it.

    \b
    Examples:
      nixsecrets edit secrets/powerdns.yaml
      EDITOR="code --wait" nixsecrets edit secrets/wifi.age
      nixsecrets edit --resume
    """
    if path is None:
        session, name, tracked = Session.open(start), None, False
    else:
        session, name, tracked = Session.at(start, path)
    private.remove_leftovers(os.environ)
    if discard:
        _discard(session, name, agreed=options.yes)
        return 0
    ring = keyring(options.identity)
    editing = Editing(
        session, ring, options, as_mapped=as_mapped, allow_empty=allow_empty
    )
    if resume:
        return editing.resume(drafts.chosen_kept(session.repo, name), way)
    if way is not None:
        raise UsageError(f"--{way} goes with --resume")
    if name is None:
        raise UsageError("no file to edit was given")
    return editing.begin(name, tracked=tracked)


class Editing:
    """One secret on its way from the disk through the editor and back."""

    def __init__(
        self,
        session: Session,
        ring: Keyring,
        options: RoadOptions,
        *,
        as_mapped: bool,
        allow_empty: bool,
    ) -> None:
        """Keep what the command line says; a person may decide on `as_mapped` later."""
        self.session = session
        self.ring = ring
        self.options = options
        self.as_mapped = as_mapped
        self.allow_empty = allow_empty

    def begin(self, name: str, *, tracked: bool) -> int:
        """Edit the present version of a secret, or a new one; return the exit code.

        `tracked` is as in `Session.world`.
        """
        world = self.session.world(only=name, tracked=tracked)
        target = save.with_rule(world, look_at(world, name))
        self._report(world, target)
        self._ask_keys(world, target)
        if rescue.kept(self.session.repo, os.environ, name):
            ui.warn(
                f"{show.path_text(name)} has an unsaved draft",
                f"nixsecrets edit --resume {argument(name)},"
                f" or --discard {argument(name)}",
            )
        with desk() as at:
            if name in world.conflicts:
                from nixsecrets.values import sides  # for what git could not merge

                text = sides.merged_text(world, name, self.ring, unlock, at.folder)
                return self._work(at, target, Draft(name, target.sha256, b"", text))
            base = self._plaintext(world, target.actual, at.folder)
            return self._work(at, target, Draft(name, target.sha256, base, base))

    def resume(self, kept: rescue.Kept, way: str | None) -> int:
        """Continue with a saved draft; return the exit code.

        `way` is what to do if the file has changed since: "both", "mine", or None to
        ask.
        """
        world = self.session.world(only=kept.path)
        target = save.with_rule(world, look_at(world, kept.path))
        self._report(world, target)
        self._ask_keys(world, target)
        draft = drafts.kept_draft(self.ring, unlock, kept)
        with desk() as at:
            if draft.before != target.sha256:
                target, draft = self._reconciled(at, target, draft, way)
            code = self._work(at, target, draft)
        rescue.drop(kept)
        return code

    def _reconciled(
        self, desk: Desk, target: Target, draft: Draft, way: str | None
    ) -> tuple[Target, Draft]:
        """Return what to edit if the file changed since the draft was saved.

        Raises:
            ChangedError: neither an option nor an answer says what to do.
        """
        changed = ChangedError(
            f"{show.path_text(draft.name)} changed on disk since the draft was kept",
            _ways_out(draft.name),
        )
        if way == "mine":
            return target, replace(draft, before=target.sha256)
        if way == "both" or asked_after(changed, "open both in the editor?"):
            return self._both(desk, draft, draft.text)
        raise changed

    def _report(self, world: World, target: Target) -> None:
        """Report who reads the secret before it is opened; offer the map's readers."""
        save.report(world, target, as_mapped=self.as_mapped)
        if target.actual is None or self.as_mapped or not target.actual.recipients:
            return
        if difference(world, target.actual):
            self.as_mapped = ui.asked(
                "save it for the recipients in the map instead of its current ones?"
            )

    def _ask_keys(self, world: World, target: Target) -> None:
        save.ask_keys(world, target, self.options, as_mapped=self.as_mapped)

    def _plaintext(self, world: World, actual: Actual | None, folder: Path) -> bytes:
        if actual is None:
            return b""
        bench = read.opened(actual, self.ring, unlock, folder)
        return read.plaintext(world, actual, bench)

    def _work(self, desk: Desk, target: Target, draft: Draft) -> int:
        """Run the editor until the text is saved; if it cannot be, keep a draft."""
        while True:
            with keep_safe(self.session.repo, self.ring, draft, desk):
                text = desk.edit(draft)
                if text == draft.base:
                    ui.say(f"{show.path_text(draft.name)}: unchanged")
                    return 0
                from nixsecrets.apply.apply import ApplyError  # see `_save`

                try:
                    return self._save(target, draft, text)
                except ChangedError as changed:
                    if not asked_after(changed, "open both in the editor?"):
                        raise
                    target, draft = self._both(desk, draft, text)
                except (SecretFileError, ApplyError) as error:
                    again = "edit it again?"
                    if not (about_content(error) and asked_after(error, again)):
                        raise
                    line = self._line(target, text, error)
                    draft = replace(draft, text=text, line=line)

    def _save(self, target: Target, draft: Draft, text: bytes) -> int:
        """Save the text, unless it is empty or still has conflict markers.

        What writes (40 ms) is loaded from here on, with the text typed: nobody waits
        for it before the editor starts.
        """
        world = self.session.world(only=target.name)
        kind = self._format(world, target)
        self._look_at_emptied(draft, text, kind)
        if conflict_line(text) and conflict_line(draft.text):
            raise SecretFileError(
                f"{draft.name}: the conflict markers are still in the text",
                "resolve the conflicts and delete the markers",
            )
        return save.save(
            self.session,
            target,
            text,
            before=draft.before,
            ring=self.ring,
            options=self.options,
            seen=world,
            as_mapped=self.as_mapped,
        )

    def _look_at_emptied(
        self, draft: Draft, text: bytes, kind: SopsFormat | None
    ) -> None:
        """Ask whether to save an emptied text; --yes does not agree to that.

        Raises:
            SecretFileError: the sops format has no empty file.
            DeclinedError: the answer was no, or there is no terminal.
        """
        if text.strip() or not draft.base.strip():
            return
        if kind is not None:
            from nixsecrets.files.sops import textfaults  # see `_save`

            textfaults.require_values(kind, text)
        if not self.allow_empty:
            ui.confirm(
                f"{show.path_text(draft.name)} would be empty; save it anyway?",
                hint="to save it: --allow-empty; to remove it: nixsecrets rm",
            )

    def _both(self, desk: Desk, draft: Draft, text: bytes) -> tuple[Target, Draft]:
        """Return a draft with conflict markers where the two versions differ.

        Raises:
            NixsecretsError: the other version is gone, or cannot be opened.
        """
        world = self.session.world()
        target = look_at(world, draft.name)
        theirs = self._plaintext(world, target.actual, desk.folder)
        both = merge_texts(
            desk.folder, (MINE, text), ("before", draft.base), (THEIRS, theirs)
        )
        both_draft = Draft(draft.name, target.sha256, theirs, both, kept=draft.kept)
        return target, both_draft

    def _format(self, world: World, target: Target) -> SopsFormat | None:
        """Return the sops format of the secret, None for an age file."""
        if target.backend(world) is Backend.AGE:
            return None
        if target.actual is None:
            return format_for(target.name)
        from nixsecrets.files.sops import metadata  # see `_save`

        return metadata.parse(target.name, world.repo.read(target.name)).format

    def _line(self, target: Target, text: bytes, error: NixsecretsError) -> int:
        line = line_of(error)
        kind = self._format(self.session.world(only=target.name), target)
        from nixsecrets.files.sops import textfaults  # see `_save`

        return line or (textfaults.line_of_fault(kind, text) if kind else 0)


def _discard(session: Session, name: str | None, *, agreed: bool) -> None:
    """Delete the saved drafts of a secret, or without a name all drafts, after asking.

    Raises:
        DeclinedError: the answer was no, or there is no terminal.
    """
    found = rescue.kept(session.repo, os.environ, name)
    if not found:
        raise NixsecretsError("no draft is saved")
    for one in found:
        ui.say(f"{show.path_text(one.path)}  typed {one.when[:16].replace('T', ' ')}")
    if not agreed and not ui.asked("delete this draft?"):
        raise DeclinedError("nothing was deleted", "agree on a terminal, or with --yes")
    for one in found:
        rescue.drop(one)


def _ways_out(name: str) -> str:
    """Return the hint on what to do with a draft whose file has changed since."""
    resume = f"nixsecrets edit --resume {argument(name)}"
    return "\n".join(
        [
            f"{resume} --both: opens both versions as one text",
            f"{resume} --mine: your draft replaces the newer version",
            f"nixsecrets edit --discard {argument(name)}: deletes your draft",
        ]
    )

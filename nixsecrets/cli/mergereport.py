"""What `resolve` leaves to a person: each conflict, who made it, what settles it."""

from collections.abc import Sequence

from nixsecrets.cli import show, ui
from nixsecrets.errors import NixsecretsError, quoted, shell_word
from nixsecrets.files.kind import format_for
from nixsecrets.files.state import Actual
from nixsecrets.merge import valuemerge
from nixsecrets.merge.decide import Decider
from nixsecrets.merge.secrets import Clash, Version
from nixsecrets.merge.valuemerge import WHOLE
from nixsecrets.repo import sidelog
from nixsecrets.repo.sidelog import Change
from nixsecrets.world.world import examine

_MOST_VERSIONS = 20  # of a file that are opened to find who changed a value


class Reporter:
    """Reports the conflicts of a merge."""

    def __init__(self, decider: Decider, paths: Sequence[str]) -> None:
        """Read who changed `paths` on each side."""
        self.decider = decider
        self.commits = decider.sides.commits
        root, base = decider.world.repo.root, self.commits.base
        self.log = {
            side: sidelog.changes(root, base, commit, paths) if paths else {}
            for side, commit in (
                ("ours", self.commits.ours),
                ("theirs", self.commits.theirs),
            )
        }

    def report(self, path: str, clash: Clash) -> None:
        """Print the conflicts in a file."""
        for key in clash.keys:
            what = show.path_text(path)
            what += "" if key == WHOLE else f": {show.path_text(key)}"
            lines = [f"{what}: {self._reason(clash, key)}", *self._who(path, key)]
            ways = "\n".join(self._ways(path, clash, key))
            ui.report_error(NixsecretsError("\n".join(lines), ways))

    def _reason(self, clash: Clash, key: str) -> str:
        did = clash.did.get(key)
        if did is None:
            return clash.reason
        names = self.commits.names
        text = f"{names.ours} {did.ours}, {names.theirs} {did.theirs}"
        return text if text.isprintable() else quoted(text)

    def _ways(self, path: str, clash: Clash, key: str) -> list[str]:
        last = self.commits.command
        name = shell_word(path)
        name += "" if clash.whole or key == WHOLE else f"#{shell_word(key)}"
        ways = [f"{last} --{side} {name}" for side in clash.sides]
        edit = f"{last} --edit {shell_word(path)}"
        return [*ways, f"{edit}  (both versions in the editor)"]

    def _who(self, path: str, key: str) -> list[str]:
        """Return a line for each side: who changed it last, and when."""
        names = self.commits.names
        found: list[str] = []
        for name, side in ((names.ours, "ours"), (names.theirs, "theirs")):
            changes = self.log[side].get(path, [])
            if changes:
                one = self._change(path, key, changes)
                line = f"  {name}: {one.author}, {one.day}"
                found.append(line if line.isprintable() else f"  {quoted(line[2:])}")
        return found

    def _change(self, path: str, key: str, changes: Sequence[Change]) -> Change:
        """Return the change that made a value what it is, else the last of the file."""
        if key == WHOLE or len(changes) == 1:
            return changes[0]
        try:
            now = self._value(path, changes[0].new, key)
            for one in changes[:_MOST_VERSIONS]:
                if self._value(path, one.old, key) != now:
                    return one
        except (NixsecretsError, UnicodeDecodeError):
            pass  # a version that nobody here opens
        return changes[0]

    def _value(self, path: str, oid: str, key: str) -> object:
        if not oid:
            return None
        lineage = self.decider.lineage
        data = self.decider.sides.read(oid)
        found = examine(path, data, lineage.book, lineage.lock)
        if not isinstance(found, Actual):
            return None
        text = self.decider.opened(Version(data, found))
        return valuemerge.value_at(format_for(path), text, key)

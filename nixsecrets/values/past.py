"""The git history of a repository's files, with what earlier maps and locks say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nixsecrets.errors import MapError, ProgramError
from nixsecrets.generated.lock import Lock
from nixsecrets.map.model import Retired
from nixsecrets.map.pastkeys import read_past
from nixsecrets.repo.history import LONGEST_BLOB, History
from nixsecrets.world.world import LOCK_NAME, MAP_NAME


@dataclass
class Past:
    """The history and its blobs.

    `blob` returns a git blob by its id, cut after LONGEST_BLOB, or raises ProgramError
    if git lacks it; `missing` counts the blobs that could not be read.
    """

    history: History
    blob: Callable[[str], bytes]
    missing: int = 0

    def read(self, oid: str) -> bytes | None:
        """Return a blob; None, and counted, if git lacks it or it is too long."""
        try:
            data = self.blob(oid)
        except ProgramError:  # a partial clone
            data = None
        if data is None or len(data) >= LONGEST_BLOB:
            self.missing += 1
            return None
        return data

    def lock(self) -> Lock:
        """Return all earlier locks combined, line by line, as one lock."""
        lines: dict[str, None] = {}
        for version in self.history.versions.get(LOCK_NAME, ()):
            data = self.read(version.blob) or b""
            lines.update(dict.fromkeys(data.decode(errors="replace").splitlines()))
        try:
            return Lock.parse("".join(f"{line}\n" for line in lines), LOCK_NAME)
        except MapError:  # one of a newer format: anonymous stanzas stay anonymous
            return Lock()

    def never_in_use(self, retired: Sequence[Retired]) -> list[Retired]:
        """Return the keys that no version of the map shows in use."""
        left = list(retired)
        for version in self.history.versions.get(MAP_NAME, ()):
            data = self.read(version.blob) or b""
            present = any(one.key.text.encode() in data for one in left)
            if present and (earlier := read_past(data)) is not None:
                left = [one for one in left if one.key.key_id not in earlier.keys]
            if not left:
                break
        return left

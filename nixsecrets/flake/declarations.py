"""Where declarations come from: a flake, or a file that was saved from one."""

from pathlib import Path
from typing import NamedTuple

from nixsecrets.errors import UsageError


class Source(NamedTuple):
    """Where declarations come from, and which of them are asked for.

    Both `flake` and `file` None: nobody asked.
    """

    flake: str | None
    file: Path | None
    hosts: tuple[str, ...] = ()
    jobs: int = 1
    save: Path | None = None

    @property
    def asked(self) -> bool:
        """Whether there is anything to read."""
        return self.flake is not None or self.file is not None

    def check(self) -> None:
        """Refuse options that contradict each other.

        Raises:
            UsageError: two sources, or none where one is needed.
        """
        if self.flake is not None and self.file is not None:
            raise UsageError(
                "--flake and --declared name two sources", "give one of them"
            )
        if not self.asked and (self.hosts or self.save):
            raise UsageError(
                "--host and --save are about what a flake declares", "add --flake"
            )
        if self.file is not None and self.save is not None:
            raise UsageError("--save copies what --declared reads", "leave it out")

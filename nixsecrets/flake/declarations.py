"""The source of declarations: a flake, or a file saved from one."""

from pathlib import Path

from nixsecrets.errors import UsageError
from nixsecrets.frozen import NamedTuple


class Source(NamedTuple):
    """The source of declarations, as options of the command line.

    `flake` and `file` are both None if declarations are not asked for.  `hosts`
    restricts them to some configurations; `jobs` is the number of parallel
    evaluations; `save` is a file to write them to; `secrets` is the folder of the map
    if that is in another repository.
    """

    flake: str | None
    file: Path | None
    hosts: tuple[str, ...] = ()
    jobs: int = 1
    save: Path | None = None
    secrets: Path | None = None

    @property
    def asked(self) -> bool:
        """Whether declarations are asked for."""
        return self.flake is not None or self.file is not None

    def check(self) -> None:
        """Raise UsageError for options that contradict each other."""
        if self.flake is not None and self.file is not None:
            raise UsageError(
                "--flake and --declared exclude each other", "give one of them"
            )
        if not self.asked and (self.hosts or self.save):
            raise UsageError(
                "--host and --save apply to the declarations of a flake", "add --flake"
            )
        if not self.asked and self.secrets:
            raise UsageError(
                "--secrets applies to the declarations of a flake",
                "add --flake, or name the folder with -C",
            )
        if self.file is not None and self.save is not None:
            raise UsageError(
                "--save writes the file that --declared reads", "omit --save"
            )

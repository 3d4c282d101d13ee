"""The checklist after somebody lost access: the values that they may still know."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nixsecrets.cli import show
from nixsecrets.errors import SecretFileError, printable, shell_word
from nixsecrets.files.pieces import Piece, sealed
from nixsecrets.keys.forms import Backend
from nixsecrets.plan.model import Step
from nixsecrets.repo.tree import Repo
from nixsecrets.world.world import World

KEYS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Item:
    """One file to change: who knows it, and the paths of its values.

    `keys` is empty where the file is one value: age files, binary sops files; each is
    as `--key` takes it, and `unnamed` counts the values that `--key` cannot name.
    """

    path: str
    names: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    unnamed: int = 0


def items(repo: Repo, steps: Sequence[Step]) -> list[Item]:
    """Return the files from which somebody was shut out, as they lie there now."""
    return [_item(repo, step) for step in steps if step.losers]


def _item(repo: Repo, step: Step) -> Item:
    names = tuple(dict.fromkeys(step.losers))
    values: Sequence[Piece] = ()
    if step.backend is Backend.SOPS:
        with contextlib.suppress(SecretFileError):  # sops reads it; we do not
            values = [p for p in sealed(step.path, repo.read(step.path)) if p.path]
    keys = tuple(dict.fromkeys(piece.place for piece in values if piece.place))
    return Item(step.path, names, keys, sum(not piece.place for piece in values))


def key_lines(keys: Sequence[Sequence[str]], unnamed: int) -> Iterator[str]:
    """Yield the paths of values as `--key` takes them, in a shell: `db/password`."""
    for key in keys[:KEYS_SHOWN]:
        yield shell_word("/".join(key))
    if len(keys) > KEYS_SHOWN:
        yield f"… and {len(keys) - KEYS_SHOWN} more (--json has all)"
    if unnamed:
        what = show.counted(unnamed, "value")
        yield f"… and {what} that --key cannot name (nixsecrets edit)"


def lines(found: Sequence[Item]) -> Iterator[str]:
    """Yield the checklist for a terminal."""
    for item in found:
        yield f"  {show.path_text(item.path)}  (known to {', '.join(item.names)})"
        for line in key_lines(item.keys, item.unnamed):
            yield f"      {line}"


def last_line(world: World, steps: Sequence[Step]) -> str:
    """Return whether `nixsecrets exposed` will list the same again.

    It lists what removed keys know: not what somebody does who stays in the map, or
    whom no map can name.
    """
    if world.repo.git is None:
        return "keep this list: without git, nixsecrets exposed cannot repeat it"
    use = world.map.keys_in_use
    names: dict[str, None] = {}
    for step in steps:
        stay = (r.name for r in step.remove if r.recipient.key_id in use)
        names |= dict.fromkeys((*stay, *map(str, step.dropped)))
    if not names:
        return "nixsecrets exposed goes on listing them until they have changed"
    who = ", ".join(map(printable, names))
    return (
        "keep this list: nixsecrets exposed repeats what removed keys know, not what"
        f" {who} knows"
    )


def to_json(found: Sequence[Item]) -> str:
    """Return the checklist for machines."""
    listed = [
        {
            "path": item.path,
            "known_to": list(item.names),
            "keys": [list(keys) for keys in item.keys],
        }
        for item in found
    ]
    return json.dumps({"version": 1, "exposed": listed}, indent=2)

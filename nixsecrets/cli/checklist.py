"""The checklist after somebody lost access: the values that they may still know."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nixsecrets.cli import show
from nixsecrets.errors import SecretFileError
from nixsecrets.keys.forms import Backend
from nixsecrets.plan import Step
from nixsecrets.repo.tree import Repo
from nixsecrets.secretfiles.sopscontent import key_paths

KEYS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Item:
    """One file to change: who knows it, and the paths of its values.

    `keys` is empty where the file is one value: age files, binary sops files.
    """

    path: str
    names: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]


def items(repo: Repo, steps: Sequence[Step]) -> list[Item]:
    """Return the files from which somebody was shut out, as they lie there now."""
    return [
        Item(
            step.path,
            tuple(dict.fromkeys(reader.name for reader in step.remove)),
            tuple(_keys(repo, step)),
        )
        for step in steps
        if step.remove
    ]


def _keys(repo: Repo, step: Step) -> list[tuple[str, ...]]:
    if step.backend is not Backend.SOPS:
        return []
    try:
        return key_paths(step.path, repo.read(step.path))
    except SecretFileError:  # readable to sops, in some way that we do not follow
        return []


def key_text(keys: Sequence[str]) -> str:
    """Return the path of a value as it is shown: `db.password`."""
    return ".".join(show.path_text(key) for key in keys)


def lines(found: Sequence[Item]) -> Iterator[str]:
    """Yield the checklist for a terminal."""
    for item in found:
        yield f"  {show.path_text(item.path)}  (known to {', '.join(item.names)})"
        for keys in item.keys[:KEYS_SHOWN]:
            yield f"      {key_text(keys)}"
        if len(item.keys) > KEYS_SHOWN:
            yield f"      … and {len(item.keys) - KEYS_SHOWN} more (--json has all)"


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

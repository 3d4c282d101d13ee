"""Random files of three versions of sops: re-keying in place loses and leaks nothing.

NIXSECRETS_CAMPAIGN=N makes N files of each format and version (55: the campaign at
length).  For each, the real sops that wrote it prints the same plaintext afterwards,
and neither the old data key nor the removed reader opens anything.
"""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nixsecrets.errors import NixsecretsError
from nixsecrets.files.sops import metadata, operations, token
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.values import leaves
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import ProgramFailed, age_key

FILES = int(os.environ.get("NIXSECRETS_CAMPAIGN", "4"))
VERSIONS = {**sopsfiles.SOPS, "3.9": sopsfiles.oldest_sops}
WORDS = ("a", "über", "two words", "x'y", 'x"y', "# no", "=", "a: b", "0123", " ", "\\")


def text(rng: random.Random) -> str:
    return "".join(rng.choice(WORDS) for _ in range(rng.randrange(1, 6)))


def scalar(rng: random.Random) -> object:
    kinds: tuple[Callable[[], object], ...] = (
        lambda: text(rng),
        lambda: text(rng) + "\n" + text(rng),
        lambda: rng.randrange(-(10**9), 10**9),
        lambda: rng.randrange(10**6) / 64,
        lambda: rng.random() < 0.5,
        lambda: "",
        lambda: None,
    )
    return rng.choice(kinds)()


def tree(rng: random.Random, depth: int = 0) -> object:
    how = rng.random()
    if depth > 2 or how < 0.5:
        return scalar(rng)
    if how < 0.7:
        return [tree(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {f"k{n}": tree(rng, depth + 1) for n in range(rng.randrange(4))}


def mapping(rng: random.Random) -> dict[str, object]:
    found = {f"top{n}": tree(rng) for n in range(rng.randrange(1, 6))}
    return found | {"sure": text(rng)}


def yaml(rng: random.Random) -> bytes:
    """Documents in flow style, which sops writes in block style, with comments."""
    documents = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        lines = []
        for key, value in mapping(rng).items():
            if rng.random() < 0.3:
                lines.append(f"# about {key}")
            lines.append(f"{key}: {json.dumps(value, ensure_ascii=False)}")
        documents.append("\n".join(lines) + "\n")
    return "---\n".join(documents).encode()


def ini(rng: random.Random) -> bytes:
    lines = []
    for number in range(rng.randrange(1, 4)):
        lines.append(f"[section {number}]")
        for key in range(rng.randrange(1, 5)):
            if rng.random() < 0.2:
                lines.append("; a remark")
            lines.append(f"key{key} = {rng.randrange(10**6)}value")
    return "\n".join(lines).encode() + b"\n"


def dotenv(rng: random.Random) -> bytes:
    lines = []
    for number in range(rng.randrange(1, 8)):
        if rng.random() < 0.2:
            lines.append("# a remark")
        lines.append(f"NAME_{number}={text(rng)}")
    return "\n".join(lines).encode() + b"\n"


MAKERS: dict[str, Callable[[random.Random], bytes]] = {
    "c.yaml": yaml,
    "c.json": lambda rng: json.dumps(mapping(rng)).encode(),
    "c.env": dotenv,
    "c.ini": ini,
    "c.bin": lambda rng: rng.randbytes(rng.randrange(200)),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MAKERS)
def test_random_files_are_the_same_under_another_key(
    version: str, name: str, tmp_path: Path
) -> None:
    sops = VERSIONS[version]()
    rng = random.Random(f"{version} {name}")  # noqa: S311 (the same files every time)
    gone, stays = age_key(), age_key()
    readers = [reader(gone).recipient.text, reader(stays).recipient.text]
    done = tried = 0
    while done < FILES:
        tried += 1
        assert tried < 5 * FILES + 20, "hardly anything is a file that sops writes"
        plaintext = MAKERS[name](rng)
        try:
            old = sopsfiles.encrypt(sops, name, plaintext, readers, tmp_path)
            before = sopsfiles.decrypt(sops, name, old, stays.private, tmp_path)
        except ProgramFailed:
            continue  # what this sops does not write, or does not read again
        sealed = operations.reencrypt(
            name,
            old,
            [reader(stays).identity],
            [reader(stays).recipient],
            sops=sopsfiles.old_sops(),
            workdir=tmp_path,
        )
        assert sopsfiles.decrypt(sops, name, sealed.data, stays.private, tmp_path) == (
            before
        ), plaintext
        with pytest.raises(ProgramFailed):
            sopsfiles.decrypt(sops, name, sealed.data, gone.private, tmp_path)
        assert opened_by_the_old_key(name, old, sealed.data, gone) == []
        done += 1


def opened_by_the_old_key(name: str, old: bytes, new: bytes, key: Any) -> list[str]:
    """The tokens of a re-keyed file that the data key of before opens."""
    before, after = metadata.parse(name, old), metadata.parse(name, new)
    known = data_key(before, [reader(key).identity])
    with pytest.raises(NixsecretsError):
        data_key(after, [reader(key).identity])
    return [
        str(leaf.value)
        for leaf in leaves(after.format, new)
        if token.opened(str(leaf.value), known, token.additional_data(leaf.path))
        is not None
    ]

"""Values under another data key: in place, and read by the real sops."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nixsecrets.files.sops import grant, metadata, operations
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import rekeying
from nixsecrets.files.sops.program import SopsProgram
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key

ALICE_KEY = age_key()
ALICE = reader(ALICE_KEY)
BOB_KEY = age_key()
BOB = reader(BOB_KEY)
IN_PLACE = ["s.yaml", "s.json", "s.ini", "s.bin", "plain.env"]
NOW = "2026-01-02T03:04:05Z"
CONTENT = sopsfiles.PLAIN | {
    "plain.env": b"K=v\nWORDS=two words\n",
    "types.yaml": b"i: 1\nf: 1.5\nt: true\nu: false\nn: null\ne: ''\ng: \xc3\xbc\n"
    b"m: |\n    two\n    lines\nl:\n    - x\n    - - y\n",
    "open.yaml": b"k: v\nopen_unencrypted: w\n",
    "comment.yaml": b"# why\nk: v\n",
    "many.yaml": sopsfiles.MANY,
}


def written(version: str, name: str, folder: Path, *options: str) -> bytes:
    """A file of the real sops for alice."""
    program = sopsfiles.SOPS[version]()
    reads = [ALICE.recipient.text]
    return sopsfiles.encrypt(program, name, CONTENT[name], reads, folder, *options)


def in_place(name: str, data: bytes) -> str | None:
    """The text under another key, None where it is declined."""
    file = metadata.parse(name, data)
    key = data_key(file, [ALICE.identity])
    edits = rekeying.value_edits(file, key, bytes(range(32)), NOW)
    return None if edits is None else grant.edited(file, edits).decode()


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("name", [*IN_PLACE, "types.yaml"])
def test_sops_reads_the_same_values_for_other_readers(
    version: str, name: str, tmp_path: Path
) -> None:
    program = sopsfiles.SOPS[version]()
    old = written(version, name, tmp_path)
    nothing = SopsProgram(tmp_path / "no-such-program", {})
    sealed = operations.reencrypt(
        name,
        old,
        [ALICE.identity],
        [BOB.recipient],
        sops=nothing,
        workdir=tmp_path,
    )
    sopsfiles.verify(program, name, sealed.data, sealed, BOB.identity, tmp_path)
    before = sopsfiles.decrypt(program, name, old, ALICE_KEY.private, tmp_path)
    after = sopsfiles.decrypt(program, name, sealed.data, BOB_KEY.private, tmp_path)
    assert after == before
    assert data_key(metadata.parse(name, sealed.data), [BOB.identity]) != data_key(
        metadata.parse(name, old), [ALICE.identity]
    )


@pytest.mark.parametrize("name", IN_PLACE)
def test_every_byte_that_is_no_value_stays(name: str, tmp_path: Path) -> None:
    old = written("3.11", name, tmp_path)
    new = in_place(name, old)
    assert new is not None
    assert blanked(new) == blanked(old.decode())
    tokens = re.findall(r"ENC\[[^]]*\]", old.decode())
    assert not [token for token in tokens if token in new]


def blanked(text: str) -> str:
    """The text without its values and its time."""
    text = re.sub(r"ENC\[AES256_GCM,[^]]*,type:(\w+)\]", r"ENC[\1]", text)
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME", text)


def test_comments_and_spelling_of_a_formatted_file_stay(tmp_path: Path) -> None:
    old = written("3.11", "s.yaml", tmp_path).decode()
    old = "# kept\n\n" + old.replace("    in:", "    in:  ")
    new = in_place("s.yaml", old.encode())
    assert new is not None
    assert blanked(new) == blanked(old)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("open.yaml", []),
        ("comment.yaml", []),
        ("s.env", []),  # has a comment, which sops encrypts
        ("many.yaml", []),
        ("s.yaml", ["--encrypted-regex", "^k$"]),
    ],
)
def test_what_is_not_nothing_but_values_is_left_to_sops(
    name: str, options: list[str], tmp_path: Path
) -> None:
    assert in_place(name, written("3.11", name, tmp_path, *options)) is None


def test_another_kind_of_mac_is_left_to_sops(tmp_path: Path) -> None:
    sealed = operations.create(
        "s.yaml",
        CONTENT["s.yaml"],
        [ALICE.recipient],
        options=[("mac_only_encrypted", True)],
        sops=sopsfiles.old_sops(),
        workdir=tmp_path,
    )
    assert in_place("s.yaml", sealed.data) is None


def test_values_that_do_not_fit_the_mac_are_left_to_sops(tmp_path: Path) -> None:
    old = written("3.11", "s.yaml", tmp_path).decode()
    lines = old.splitlines(keepends=True)
    without = "".join(line for line in lines if not line.startswith('"n": '))
    assert without != old
    assert in_place("s.yaml", without.encode()) is None
    renamed = old.replace('\n"n": ', '\n"m": ')
    assert renamed != old
    assert in_place("s.yaml", renamed.encode()) is None
    again = lines[lines.index("list:\n") + 1]
    doubled = old.replace(again, again * 2)
    assert in_place("s.yaml", doubled.encode()) is None


NAMES = st.text("abcß:. -_/", min_size=1, max_size=6).filter(
    lambda name: name not in ("sops",) and not name.endswith("_unencrypted")
)
SCALARS = st.one_of(
    st.text(max_size=20).filter(lambda text: "\x85" not in text),
    st.integers(-(2**31), 2**31),
    st.booleans(),
    st.none(),
    st.floats(allow_nan=False, allow_infinity=False, width=32),
)
TREES = st.dictionaries(
    NAMES,
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
        max_leaves=8,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=20, deadline=None)
@given(tree=TREES)
def test_any_tree_is_declined_or_read_by_sops(
    tree: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    program = sopsfiles.old_sops()
    plain = json.dumps(tree).encode()
    reads = [ALICE.recipient.text]
    old = sopsfiles.encrypt(program, "t.json", plain, reads, folder)
    if in_place("t.json", old) is None:
        return
    sealed = operations.reencrypt(
        "t.json",
        old,
        [ALICE.identity],
        [BOB.recipient],
        sops=program,
        workdir=folder,
    )
    before = sopsfiles.decrypt(program, "t.json", old, ALICE_KEY.private, folder)
    after = sopsfiles.decrypt(program, "t.json", sealed.data, BOB_KEY.private, folder)
    assert after == before

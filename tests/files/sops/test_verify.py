"""Proof on bytes read back: every deviation from the plan is found."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import NixsecretsError, SecretFileError
from nixsecrets.files.age import operations as age_operations
from nixsecrets.files.sops import grant, metadata, verify
from nixsecrets.files.sops import operations as sops_operations
from nixsecrets.files.sops.grant import SopsSealed, WrittenEntry
from nixsecrets.files.sops.metadata import Entries
from nixsecrets.splice import apply_edits
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key, ssh_key

ALICE = reader(age_key())
BOB = reader(age_key())
EVE = reader(age_key())
WEB = reader(ssh_key("web"))
LABELS = (ALICE.recipient.text, WEB.recipient.text)
NAMES = [*sopsfiles.PLAIN, "many.yaml"]


def granted(name: str) -> tuple[bytes, SopsSealed]:
    old = sopsfiles.sample("3.11", name, *LABELS)
    add = [BOB.recipient, WEB.recipient.converted()]
    return old, grant.grant(name, old, [ALICE.identity], add=add)


def rewritten(folder: Path, name: str = "s.yaml") -> SopsSealed:
    return sops_operations.reencrypt(
        name,
        sopsfiles.sample("3.11", name, *LABELS),
        [ALICE.identity],
        [ALICE.recipient, WEB.recipient],
        sops=sopsfiles.old_sops(),
        workdir=folder,
    )


def check(sealed: SopsSealed, data: bytes, folder: Path, who: object = ALICE) -> None:
    identity = ALICE.identity if who is ALICE else EVE.identity
    program = sopsfiles.old_sops()
    sopsfiles.verify(program, "s.yaml", data, sealed, identity, folder)


def other_proof(entry: WrittenEntry) -> WrittenEntry:
    """The proof of an entry for the same recipient that was wrapped another time."""
    sealed = age_operations.seal(bytes(32), [entry.recipient], armored=True)
    return replace(entry, proof=sealed.proofs[0])


def for_eve(entry: WrittenEntry, key: bytes) -> WrittenEntry:
    """An entry that only Eve opens, under the label of somebody else."""
    sealed = age_operations.seal(key, [EVE.recipient], armored=True)
    assert sealed.proofs
    return WrittenEntry(
        entry.recipient, sealed.data.decode(), sealed.proofs[0], sealed.file_key
    )


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_granted_file_that_differs_in_any_byte_is_refused(
    name: str, data: st.DataObject
) -> None:
    old, sealed = granted(name)
    at = data.draw(st.integers(0, len(sealed.data)))
    length = data.draw(st.integers(0, 3))
    filler = data.draw(st.binary(max_size=3))
    changed = sealed.data[:at] + filler + sealed.data[at + length :]
    if changed == sealed.data:
        verify.verify_grant(name, old, changed, sealed)
        return
    with pytest.raises(NixsecretsError):
        verify.verify_grant(name, old, changed, sealed)


@pytest.mark.parametrize("name", NAMES)
def test_a_grant_for_another_old_file_is_refused(name: str) -> None:
    old, sealed = granted(name)
    changed = old.replace(b"lastmodified", b"lastmodifieD", 1)
    with pytest.raises(SecretFileError, match="another file"):
        verify.verify_grant(name, changed, sealed.data, sealed)


@pytest.mark.parametrize("name", NAMES)
def test_a_grant_whose_own_edits_change_something_else_is_refused(name: str) -> None:
    old, sealed = granted(name)
    text, file = old.decode(), metadata.parse(name, old)
    for there in (file.mac, file.lastmodified, text[: text.index("\n")], text[-2:]):
        at = text.rindex(there)
        edits = (*sealed.inserted, (at, at + 1, "~"))
        written = apply_edits(text, edits).encode()
        with pytest.raises(NixsecretsError):
            verify.verify_grant(name, old, written, replace(sealed, inserted=edits))


def test_a_grant_that_loses_an_entry_on_purpose_is_refused_by_its_plan() -> None:
    old, sealed = granted("s.yaml")
    (block,) = metadata.parse("s.yaml", old).blocks
    edits = tuple(block.only(*sealed.entries[-1]))
    written = apply_edits(old.decode(), edits).encode()
    with pytest.raises(SecretFileError, match="not those that were planned"):
        verify.verify_grant("s.yaml", old, written, replace(sealed, inserted=edits))


def test_a_new_entry_above_the_old_ones_is_refused_by_its_plan() -> None:
    old, sealed = granted("s.yaml")
    ((_, _, text),) = sealed.inserted
    at = old.decode().index("age:\n") + len("age:\n")
    edits = ((at, at, text),)
    written = apply_edits(old.decode(), edits).encode()
    assert len(metadata.parse("s.yaml", written).entries) == len(sealed.entries)
    with pytest.raises(SecretFileError, match="not those that were planned"):
        verify.verify_grant("s.yaml", old, written, replace(sealed, inserted=edits))


def test_a_new_entry_with_something_behind_it_is_refused() -> None:
    old, sealed = granted("s.yaml")
    ((start, end, text),) = sealed.inserted
    for behind in ("        # a word\n", "    pgp: []\n", "        - x\n"):
        edits = ((start, end, text + behind),)
        written = apply_edits(old.decode(), edits).encode()
        with pytest.raises(SecretFileError):
            verify.verify_grant("s.yaml", old, written, replace(sealed, inserted=edits))


def without_last(entries: Entries) -> Entries:
    return replace(entries, labels=entries.labels[:-1], encs=entries.encs[:-1])


WRONG: dict[str, tuple[Callable[[SopsSealed], SopsSealed], str]] = {
    "a proof of another wrapping": (
        lambda s: replace(s, written=(other_proof(s.written[0]), *s.written[1:])),
        "would not be able to open it",
    ),
    "an entry for somebody else": (
        lambda s: replace(s, written=(for_eve(s.written[0], s.data_key),)),
        "wrapped for somebody else",
    ),
    "another data key": (
        lambda s: replace(s, data_key=bytes(32)),
        "another data key",
    ),
    "another plan": (
        lambda s: replace(s, entries=without_last(s.entries)),
        "not those that were planned",
    ),
    "swapped readers": (
        lambda s: replace(
            s,
            written=tuple(
                replace(a, enc=b.enc)
                for a, b in zip(s.written, reversed(s.written), strict=True)
            ),
        ),
        "a reader would not be able",
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_plan_that_does_not_fit_the_file_is_refused(wrong: str) -> None:
    old, sealed = granted("s.yaml")
    change, words = WRONG[wrong]
    with pytest.raises(SecretFileError, match=words):
        verify.verify_grant("s.yaml", old, sealed.data, change(sealed))


def test_a_rewritten_file_is_verified_with_and_without_the_readers_key(
    tmp_path: Path,
) -> None:
    sealed = rewritten(tmp_path)
    check(sealed, sealed.data, tmp_path)
    check(sealed, sealed.data, tmp_path, who=EVE)


def damages(sealed: SopsSealed) -> Iterator[tuple[str, bytes]]:
    text = sealed.data.decode()
    file = metadata.parse("s.yaml", sealed.data)
    foreign = age_operations.seal(
        bytes(32), [ALICE.recipient], armored=True
    ).data.decode()
    (block,) = file.blocks
    yield "a lost value", sealed.data[sealed.data.index(b"\n") + 1 :]
    yield (
        "another enc",
        apply_edits(text, block.replace(0, LABELS[0], foreign)).encode(),
    )
    yield "one entry more", apply_edits(text, block.append([("x", foreign)])).encode()
    yield "one entry less", apply_edits(text, block.only(*sealed.entries[0])).encode()
    yield "another time", re.sub(rb'ed: "\d{4}', b'ed: "2001', sealed.data)
    yield "nothing", b""


def test_a_rewritten_file_that_is_not_the_one_written_is_refused(
    tmp_path: Path,
) -> None:
    sealed = rewritten(tmp_path)
    for what, data in damages(sealed):
        for who in (ALICE, EVE):
            with pytest.raises(SecretFileError):
                check(sealed, data, tmp_path, who=who)
                pytest.fail(f"{what} was believed")
    assert list(tmp_path.iterdir()) == []


def test_another_plaintext_is_refused(tmp_path: Path) -> None:
    sealed = rewritten(tmp_path)
    proofs = ({"values": b"0" * 128}, {"values": None, "digest": bytes(32)})
    for other in proofs:
        with pytest.raises(SecretFileError, match="plaintext is not the one"):
            check(replace(sealed, **other), sealed.data, tmp_path)

"""Entries kept as they stand in a file are those that are spelled out."""

import pytest

from nixsecrets.files.sops import grant, metadata
from nixsecrets.files.sops.entries import Entry, UsualEntries, changed
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key, ssh_key

READERS = [reader(age_key()), reader(ssh_key("web")), reader(age_key())]
LABELS = [one.recipient.text for one in READERS]
BOB = reader(age_key()).recipient


@pytest.fixture(params=sorted(sopsfiles.SOPS))
def kept(request: pytest.FixtureRequest) -> UsualEntries:
    """The entries of a real file."""
    data = sopsfiles.sample(request.param, "s.yaml", *LABELS)
    entries = metadata.parse("s.yaml", data).entries
    assert isinstance(entries, UsualEntries)
    return entries


def test_they_are_equal_to_the_tuple_of_them(kept: UsualEntries) -> None:
    spelled = tuple(kept)
    assert kept == spelled
    assert spelled == kept
    assert hash(kept) == hash(spelled)
    assert kept == kept[:]
    assert kept[1:] == spelled[1:]
    assert kept != kept[1:]
    assert kept != spelled[::-1]
    assert kept != "entries"


def test_one_is_among_them_only_with_its_own_label(kept: UsualEntries) -> None:
    first, second, _ = kept
    assert first in kept
    assert tuple(second) in kept
    assert (first.label, second.enc) not in kept
    nothing: tuple[object, ...] = ()
    assert nothing not in kept
    assert (first.label + "x", first.enc) not in kept


def test_changes_are_those_of_a_tuple(kept: UsualEntries) -> None:
    bob, again = (grant.pair(grant.wrapped(bytes(32), BOB)) for _ in range(2))
    for replaced, added in (([], [bob]), ([(1, bob)], []), ([(0, bob)], [again, bob])):
        ours = changed(kept, replaced, added)
        assert isinstance(ours, UsualEntries)
        assert ours == changed(tuple(kept), replaced, added)
        assert ours != kept


def test_a_changed_letter_makes_other_entries(kept: UsualEntries) -> None:
    first = kept[0]
    other = Entry(first.label, first.enc.replace("A", "B", 1))
    assert changed(kept, [(0, other)], []) != kept
    assert changed(kept, [(0, first)], []) == kept


def test_nothing_of_an_enc_is_shown(kept: UsualEntries) -> None:
    assert repr(kept) == repr(tuple(kept))
    assert kept[0].label in repr(kept)
    assert kept[0].enc not in repr(kept)


UNUSUAL = {
    "a label of another kind": ("ssh-rsa AAAA", ""),
    "a label over two lines": (f"{LABELS[0]}\nrecipient: {LABELS[1]}", ""),
    "a label that is no text": ("age1\udcff", ""),
    "an armor with a short line": (LABELS[0], "AAAA\n"),
    "no armor": (LABELS[0], "-----"),
}


@pytest.mark.parametrize("case", UNUSUAL)
def test_what_sops_would_not_spell_so_is_kept_as_a_tuple(
    kept: UsualEntries, case: str
) -> None:
    label, instead = UNUSUAL[case]
    enc = kept[0].enc
    if instead.startswith("-"):
        enc = "".join(line for line in enc.splitlines(True) if instead not in line)
    elif instead:
        enc = enc.replace("\n", f"\n{instead}", 1)
    for replaced, added in (([(1, (label, enc))], []), ([], [(label, enc)])):
        new = changed(kept, replaced, added)
        assert isinstance(new, tuple)
        assert new == changed(tuple(kept), replaced, added)


def test_a_label_that_holds_a_whole_entry_is_kept_as_a_tuple(
    kept: UsualEntries,
) -> None:
    """As text it would be read as two of them."""
    data = sopsfiles.sample("3.11", "s.yaml", *LABELS)
    other, enc = grant.pair(grant.wrapped(bytes(32), BOB))
    (block,) = metadata.parse("s.yaml", data).blocks
    ((_, _, text),) = block.append([(LABELS[0], enc)])
    first = text.strip().removeprefix("- recipient: ")
    label = f"{first}\n        - recipient: {other}"
    assert isinstance(changed(kept, [], [(label, enc)]), tuple)


def test_nothing_changed_is_the_same(kept: UsualEntries) -> None:
    assert changed(kept, [], []) is kept


@pytest.mark.parametrize(("version", "enc_first"), [("3.11", False), ("3.13", True)])
def test_they_are_spelled_as_sops_spells_them(version: str, *, enc_first: bool) -> None:
    data = sopsfiles.sample(version, "s.yaml", *LABELS)
    entries = metadata.parse("s.yaml", data).entries
    assert isinstance(entries, UsualEntries)
    _, _, behind = data.partition(b"    age:\n")
    assert behind.startswith(entries.spelled(enc_first=enc_first))
    assert not behind.startswith(entries.spelled(enc_first=not enc_first))

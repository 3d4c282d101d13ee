"""Verification catches every fault of a writing step before anything is replaced.

Each case breaks one function of the writing side, in one way; the file is then made,
staged and verified as a command does it, in every format, granted and re-encrypted.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nixsecrets.apply.carry_out import Job
from nixsecrets.apply.workers import Maker
from nixsecrets.errors import NixsecretsError, SecretFileError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import operations, pyrage_port
from nixsecrets.files.age.header import AgeFile
from nixsecrets.files.age.wrap import Wrapped, header_mac, wrap
from nixsecrets.files.decrypt import Bench
from nixsecrets.files.sops import grant, token
from nixsecrets.files.sops.engine import contents
from nixsecrets.files.sops.engine import rekeying as sops_rekeying
from nixsecrets.files.sops.grant import SopsSealed, WrittenEntry
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.spans import Block
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.model import Reader
from nixsecrets.plan.model import Action, Reason, Step
from nixsecrets.repo.files import sha256
from nixsecrets.repo.worktree import Repo
from tests.files.agekeys import encode_header, reader, spelled
from tests.files.sopsfiles import MANY, PLAIN, encrypt, old_sops
from tests.fleet import age_key, ssh_key

ALICE, BOB, MALLORY = (reader(age_key()) for _ in range(3))
WEB = reader(ssh_key("host web"))
AGE = {"s.age": False, "armored.age": True}
SOPS = {**PLAIN, "many.yaml": MANY}
GRANT, REENCRYPT = Action.GRANT, Action.REENCRYPT
ACTIONS = (GRANT, REENCRYPT)
Patch = pytest.MonkeyPatch
Sabotage = Callable[[Patch], None]


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A private folder for sops."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def files(memory: Path) -> dict[str, bytes]:
    """One file of each kind, for alice and web."""
    readers = [ALICE.recipient, WEB.recipient]
    found = {
        name: operations.seal(b"secret\n", readers, armored=armored).data
        for name, armored in AGE.items()
    }
    labels = [ALICE.recipient.text, WEB.recipient.converted().text]
    for name, plaintext in SOPS.items():
        plain = name if name in PLAIN else "s.yaml"
        found[name] = encrypt(old_sops(), plain, plaintext, labels, memory)
    return found


def job(name: str, data: bytes, action: Action) -> Job:
    """Return the grant to bob, or the re-encryption for alice and bob."""
    backend = Backend.AGE if name in AGE else Backend.SOPS
    web = WEB.recipient if backend is Backend.AGE else WEB.recipient.converted()
    have = (ALICE.recipient, web)
    target = (*have, BOB.recipient) if action is GRANT else (have[0], BOB.recipient)
    readers = tuple(Reader(r.text[-6:], r) for r in target)
    reason = Reason.GRANTED if action is GRANT else Reason.REVOKED
    step = Step(name, backend, action, reason, target=readers, before=sha256(data))
    return Job(step, have)


def make_and_verify(
    name: str,
    files: dict[str, bytes],
    action: Action,
    tmp_path: Path,
    memory: Path,
    copies: int = 1,
) -> None:
    """Make a file, stage it, verify it; with `copies`, several at once."""
    root = tmp_path / "repo"
    root.mkdir()
    (root / name).write_bytes(files[name])
    sops = SopsProgram.find(os.environ)
    bench = Bench((ALICE.identity,), memory, sops)
    jobs = [job(name, files[name], action)] * copies
    maker = Maker(Repo(root, None), jobs, bench)
    staged = {number: str(tmp_path / f"staged-{number}") for number in range(copies)}
    for number, place in staged.items():
        made = maker.make(number)
        assert isinstance(made, bytes)
        Path(place).write_bytes(made)
    for error in maker.verify(staged).values():
        raise error


def cases(names: Sequence[str], *actions: Action) -> pytest.MarkDecorator:
    """Run a test for each file name and action."""
    pairs = [(name, action) for name in names for action in actions]
    ids = [f"{action}-{name}" for name, action in pairs]
    return pytest.mark.parametrize(("name", "action"), pairs, ids=ids)


@cases([*AGE, *SOPS], *ACTIONS)
@pytest.mark.parametrize("copies", [1, 3])
def test_without_sabotage_the_proof_succeeds(
    name: str,
    action: Action,
    copies: int,
    files: dict[str, bytes],
    tmp_path: Path,
    memory: Path,
) -> None:
    make_and_verify(name, files, action, tmp_path, memory, copies)


# --- what is done wrong ---------------------------------------------------------------


def both(patch: Patch, change: Callable[[bytes, Recipient], Wrapped]) -> None:
    """Break `wrap` where age files and where sops entries are written."""
    patch.setattr(operations, "wrap", change)
    patch.setattr(grant, "wrap", change)


def stanza_for_somebody_else(patch: Patch) -> None:
    """Wrap for mallory and say, in the proof too, that it was for bob."""

    def wrong(key: bytes, recipient: Recipient) -> Wrapped:
        if recipient != BOB.recipient:
            return wrap(key, recipient)
        made = wrap(key, MALLORY.recipient)
        return replace(made, proof=replace(made.proof, recipient=recipient))

    both(patch, wrong)


def proof_for_somebody_else(patch: Patch) -> None:
    """Wrap for mallory, with an honest proof."""

    def wrong(key: bytes, recipient: Recipient) -> Wrapped:
        return wrap(key, MALLORY.recipient if recipient == BOB.recipient else recipient)

    both(patch, wrong)


def other_file_key(patch: Patch) -> None:
    """Wrap another key than the file's."""

    def wrong(key: bytes, recipient: Recipient) -> Wrapped:
        return wrap(bytes(16) if recipient == BOB.recipient else key, recipient)

    both(patch, wrong)


def flipped_body(patch: Patch) -> None:
    """Write a stanza with one bit turned over."""

    def wrong(key: bytes, recipient: Recipient) -> Wrapped:
        made = wrap(key, recipient)
        if recipient != BOB.recipient:
            return made
        stanza = age_header.decode(made.encoded)
        body = bytes([stanza.body[0] ^ 1]) + stanza.body[1:]
        return replace(made, encoded=spelled(replace(stanza, body=body)))

    both(patch, wrong)


def header_mac_of_another_header(patch: Patch) -> None:
    """Leave the MAC that the header had before its last stanza."""
    right = operations._assemble

    def wrong(header: bytes, key: bytes, file: AgeFile, *, armored: bool) -> bytes:
        mac = header_mac(key, header + b"\n")
        if header.count(b"\n-> ") < 2:  # the throw-away header is not what is tested
            return right(header, key, file, armored=armored)
        return age_header.encode(header, mac, file.payload, armored=armored)

    patch.setattr(operations, "_assemble", wrong)


def header_of(patch: Patch, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the stanzas of every header but those of one stanza (throw-away ones)."""
    right = age_header.join_header

    def wrong(spelled: Iterable[bytes]) -> bytes:
        stanzas = list(spelled)
        return right(change(stanzas) if len(stanzas) > 1 else stanzas)

    patch.setattr(age_header, "join_header", wrong)


def the_first_stanza_lost(patch: Patch) -> None:
    """Drop a stanza that was to stay."""
    header_of(patch, lambda stanzas: stanzas[1:])


def the_last_stanza_lost(patch: Patch) -> None:
    """Drop a stanza that was to come."""
    header_of(patch, lambda stanzas: stanzas[:-1])


def stanzas_in_another_order(patch: Patch) -> None:
    """Write the stanzas in the order of another set."""
    header_of(patch, lambda stanzas: stanzas[::-1])


def other_plaintext(patch: Patch) -> None:
    """Encrypt something else."""
    right = pyrage_port.encrypt
    patch.setattr(pyrage_port, "encrypt", lambda _, readers: right(b"other\n", readers))


def other_payload(patch: Patch) -> None:
    """Turn over the last byte of the payload."""
    right = age_header.encode

    def wrong(header: bytes, mac: bytes, payload: Any, *, armored: bool) -> bytes:
        data = bytes(payload)
        return right(header, mac, data[:-1] + bytes([data[-1] ^ 1]), armored=armored)

    patch.setattr(age_header, "encode", wrong)


def armor_lost(patch: Patch) -> None:
    """Write binary where there was armor, and the other way round."""
    right = age_header.encode

    def wrong(header: bytes, mac: bytes, payload: Any, *, armored: bool) -> bytes:
        return right(header, mac, payload, armored=not armored)

    patch.setattr(age_header, "encode", wrong)


AGE_BOTH = {
    f.__name__: f
    for f in (
        stanza_for_somebody_else,
        proof_for_somebody_else,
        other_file_key,
        flipped_body,
        header_mac_of_another_header,
        the_first_stanza_lost,
        the_last_stanza_lost,
        stanzas_in_another_order,
        other_payload,
    )
}
AGE_GRANT = {"armor_lost": armor_lost}
AGE_REENCRYPT = {"other_plaintext": other_plaintext}


def assert_caught(
    sabotage: Sabotage,
    name: str,
    action: Action,
    files: dict[str, bytes],
    tmp_path: Path,
    memory: Path,
    copies: int = 1,
) -> None:
    """The sabotaged step does not pass."""
    with pytest.MonkeyPatch.context() as patch:
        sabotage(patch)
        with pytest.raises(SecretFileError):
            make_and_verify(name, files, action, tmp_path, memory, copies)


@pytest.mark.parametrize("what", AGE_BOTH)
@cases([*AGE], *ACTIONS)
def test_wrong_age_files_are_caught(
    what: str,
    name: str,
    action: Action,
    files: dict[str, bytes],
    tmp_path: Path,
    memory: Path,
) -> None:
    assert_caught(AGE_BOTH[what], name, action, files, tmp_path, memory)


@cases([*AGE], GRANT)
def test_armor_that_a_grant_loses_is_caught(
    name: str, action: Action, files: dict[str, bytes], tmp_path: Path, memory: Path
) -> None:
    assert_caught(armor_lost, name, action, files, tmp_path, memory)


@cases([*AGE], REENCRYPT)
def test_another_plaintext_is_caught(
    name: str, action: Action, files: dict[str, bytes], tmp_path: Path, memory: Path
) -> None:
    assert_caught(other_plaintext, name, action, files, tmp_path, memory)


@pytest.mark.parametrize("armored", [False, True])
def test_a_header_that_was_tampered_with_is_not_made_good_by_a_grant(
    files: dict[str, bytes], tmp_path: Path, memory: Path, *, armored: bool
) -> None:
    name = "armored.age" if armored else "s.age"
    file = age_header.parse(files[name])
    mallory = age_header.decode(wrap(os.urandom(16), MALLORY.recipient).encoded)
    header = encode_header([*file.stanzas, mallory])
    bad = age_header.encode(header, file.mac, file.payload, armored=armored)
    with pytest.raises(SecretFileError, match="changed after it was written"):
        make_and_verify(name, {name: bad}, GRANT, tmp_path, memory)


# --- sops -----------------------------------------------------------------------------


def other_data_key(patch: Patch) -> None:
    """Give the new reader another data key."""
    right = grant.wrapped

    def wrong(key: bytes, recipient: Recipient) -> WrittenEntry:
        return right(bytes(32) if recipient == BOB.recipient else key, recipient)

    patch.setattr(grant, "wrapped", wrong)


def stale_label(patch: Patch) -> None:
    """Write bob's entry under mallory's name."""

    def wrong(entry: WrittenEntry) -> tuple[str, str]:
        bob = entry.recipient == BOB.recipient
        return (MALLORY if bob else entry).recipient.text, entry.enc

    patch.setattr(grant, "pair", wrong)


def another_byte(patch: Patch) -> None:
    """Change the file outside of its entries."""
    right = grant.edited

    def wrong(*args: Any) -> bytes:
        return right(*args).replace(b"AES256_GCM,data:", b"AES256_GCM,data:A", 1)

    patch.setattr(grant, "edited", wrong)


SOPS_BOTH = {
    f.__name__: f
    for f in (
        stanza_for_somebody_else,
        proof_for_somebody_else,
        other_file_key,
        flipped_body,
        other_data_key,
        stale_label,
        another_byte,
    )
}


@pytest.mark.parametrize("what", SOPS_BOTH)
@cases([*SOPS], GRANT)
def test_wrong_grants_in_sops_files_are_caught(
    what: str,
    name: str,
    action: Action,
    files: dict[str, bytes],
    tmp_path: Path,
    memory: Path,
) -> None:
    assert_caught(SOPS_BOTH[what], name, action, files, tmp_path, memory)


@pytest.mark.parametrize("what", SOPS_BOTH)
@cases([*SOPS], REENCRYPT)
def test_wrong_entries_of_reencrypted_sops_files_are_caught(
    what: str,
    name: str,
    action: Action,
    files: dict[str, bytes],
    tmp_path: Path,
    memory: Path,
) -> None:
    assert_caught(SOPS_BOTH[what], name, action, files, tmp_path, memory)


@pytest.mark.parametrize(
    ("method", "action"),
    [
        (method, action)
        for method in ("append", "replace")
        for action in ACTIONS
        if (method, action) != ("replace", GRANT)  # a grant replaces nothing
    ],
)
def test_a_missing_document_is_caught(
    method: str, action: Action, files: dict[str, bytes], tmp_path: Path, memory: Path
) -> None:
    def first_only(patch: Patch) -> None:
        from nixsecrets.files.sops.yaml import YamlBlock

        kind: type[Block] = YamlBlock
        right, seen = getattr(kind, method), []

        def once(self: Block, *args: Any) -> Any:
            seen.append(self)
            return right(self, *args) if self is seen[0] else []

        patch.setattr(kind, method, once)

    assert_caught(first_only, "many.yaml", action, files, tmp_path, memory)


def sops_rotates(patch: Patch) -> None:
    """Let no file be one whose values we understand."""
    patch.setattr(sops_rekeying, "value_edits", lambda *_, **__: None)


def rotating(
    patch: Patch, change: Callable[[bytes, Callable[[bytes], bytes]], bytes]
) -> None:
    """Let sops' rotation give something else; `change` gets its input and itself."""
    sops_rotates(patch)
    right = SopsProgram.rotate

    def wrong(self: SopsProgram, data: bytes, **options: Any) -> bytes:
        return change(data, lambda given: right(self, given, **options))

    patch.setattr(SopsProgram, "rotate", wrong)


def _line_with(data: bytes, word: bytes) -> bytes:
    return next(line for line in data.split(b"\n") if word in line)


def old_mac(patch: Patch) -> None:
    """Put the MAC of the old file into the new one."""

    def change(data: bytes, rotate: Callable[[bytes], bytes]) -> bytes:
        new = rotate(data)
        return new.replace(_line_with(new, b"mac"), _line_with(data, b"mac"))

    rotating(patch, change)


def key_kept(patch: Patch) -> None:
    """Rotate nothing."""
    rotating(patch, lambda data, _: data)


def other_values(patch: Patch) -> None:
    """Give back a whole file with other values."""
    sops_rotates(patch)
    right = SopsProgram.rotate

    def wrong(self: SopsProgram, data: bytes, **options: Any) -> bytes:
        place = {n: options[n] for n in ("kind", "identity", "layout", "workdir")}
        plain = SopsProgram.decrypt(self, data, **place)
        changed = plain.replace(b"v", b"w") if b"v" in plain else plain[:-1] + b"!"
        edited = SopsProgram.edit(self, data, changed, **place)
        assert edited is not None
        return right(self, edited, **options)

    patch.setattr(SopsProgram, "rotate", wrong)


@pytest.mark.parametrize("sabotage", [old_mac, key_kept, other_values])
@cases([*SOPS], REENCRYPT)
def test_wrong_rotations_are_caught(
    sabotage: Sabotage,
    name: str,
    action: Action,
    files: dict[str, bytes],
    tmp_path: Path,
    memory: Path,
) -> None:
    assert_caught(sabotage, name, action, files, tmp_path, memory)


def rekeying(patch: Patch, change: Callable[[bytes], bytes], *, mac: bool) -> None:
    """Encrypt other values, or another MAC, than those that were opened."""
    right = token.sealed

    def wrong(key: bytes, plaintext: bytes, about: bytes, kind: str) -> str:
        is_mac = re.fullmatch(rb"[0-9A-F]{128}", plaintext) is not None
        return right(
            key, change(plaintext) if is_mac is mac else plaintext, about, kind
        )

    patch.setattr(token, "sealed", wrong)


def values_turned(patch: Patch) -> None:
    """Write values that were not those of the file."""
    rekeying(patch, lambda plaintext: plaintext[::-1] + b"x", mac=False)


def mac_turned(patch: Patch) -> None:
    """Write a MAC that is not that of the values."""
    rekeying(patch, lambda plaintext: plaintext[::-1], mac=True)


def values_misread(patch: Patch) -> None:
    """Misread the values, and write the MAC of what was misread."""
    opened = contents.opened

    def wrong(file: SopsFile, key: bytes) -> contents.Values:
        values = opened(file, key) or ()
        return tuple(v._replace(plaintext=v.plaintext + b"x") for v in values)

    patch.setattr(contents, "opened", wrong)


IN_PLACE = ["s.yaml", "s.json", "s.ini", "s.bin"]


@pytest.mark.parametrize("copies", [1, 3])  # three of them take one run of sops
@pytest.mark.parametrize("sabotage", [values_turned, mac_turned, values_misread])
@cases(IN_PLACE, REENCRYPT)
def test_wrong_values_under_a_new_key_are_caught(
    sabotage: Sabotage,
    name: str,
    action: Action,
    copies: int,
    files: dict[str, bytes],
    tmp_path: Path,
    memory: Path,
) -> None:
    assert_caught(sabotage, name, action, files, tmp_path, memory, copies)


@cases([*SOPS], *ACTIONS)
def test_a_value_that_was_tampered_with_is_not_made_good(
    name: str, action: Action, files: dict[str, bytes], tmp_path: Path, memory: Path
) -> None:
    """A grant looks at the key and the MAC, a re-encryption at every value."""
    bad = files[name].replace(b"mac", b"mac", 1)
    at = bad.index(b"type:str]", bad.index(b"ENC[AES256_GCM")) - 8
    if action is GRANT:
        at = bad.index(b"ENC[AES256_GCM,data:", bad.index(b"mac")) + 24
    bad = bad[:at] + (b"A" if bad[at : at + 1] != b"A" else b"B") + bad[at + 1 :]
    with pytest.raises(NixsecretsError):
        make_and_verify(name, {name: bad}, action, tmp_path, memory)


def test_every_sealed_sops_file_says_what_was_written(
    files: dict[str, bytes], memory: Path
) -> None:
    """The tests above break what verification checks."""
    sealed: SopsSealed | None = None
    with suppress(NixsecretsError):
        sealed = grant.grant(
            "s.yaml", files["s.yaml"], [ALICE.identity], add=[BOB.recipient]
        )
    assert sealed is not None
    assert sealed.recipients == (BOB.recipient,)

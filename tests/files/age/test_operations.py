"""Sealing, granting, re-encrypting: who opens the result, and what is unchanged."""

import os
import pickle
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from itertools import permutations
from pathlib import Path

import pyrage
import pytest

from nixsecrets.errors import IdentityError, KeyFormatError, SecretFileError
from nixsecrets.files.age import header as age_header
from nixsecrets.files.age import operations, pyrage_port
from nixsecrets.files.age.header import Stanza
from nixsecrets.files.age.wrap import header_mac, wrap
from nixsecrets.keys.bech32 import encode
from nixsecrets.keys.identities import parse_identities
from nixsecrets.keys.recipients import Kind, Recipient, parse_recipient
from tests import gate
from tests.files.age.test_header import KIT, read_vector
from tests.files.agekeys import (
    Reader,
    age_encrypts,
    converted,
    encode_header,
    install_toy_plugin,
    passphrase_file,
    reader,
    toy_reader,
)
from tests.fleet import SHARED, age_key, await_end, rsa_key, ssh_key
from tests.keys.vectors import TAG_RECIPIENT

ALICE = reader(age_key())
BOB = reader(age_key())
WEB = reader(ssh_key("web"))
DB = reader(ssh_key("db"))
RSA = reader(rsa_key())
WEB_CONVERTED = converted(WEB)
EVERY_KIND = [ALICE, WEB, RSA, WEB_CONVERTED]
SECRET = b"correct horse battery staple\n"


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader whose plugin is on PATH."""
    folder = install_toy_plugin(tmp_path / "plugins")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return toy_reader()


def types(data: bytes) -> list[str]:
    return [stanza.type for stanza in age_header.parse(data).stanzas]


def recipients(*readers: Reader) -> list[Recipient]:
    return [one.recipient for one in readers]


# --- sealing ----------------------------------------------------------------------


@pytest.mark.parametrize("armored", [False, True], ids=["binary", "armored"])
@pytest.mark.parametrize("size", [0, 1, 65_536, 200_000])
def test_age_opens_what_is_sealed(size: int, armored: bool, tmp_path: Path) -> None:
    secret = os.urandom(size)
    sealed = operations.seal(secret, recipients(ALICE, WEB), armored=armored)
    assert sealed.data.startswith(b"-----BEGIN") is armored
    assert ALICE.opens_with_age(sealed.data, tmp_path) == secret
    assert WEB.opens_with_age(sealed.data, tmp_path) == secret
    assert operations.decrypt(sealed.data, [WEB.identity]) == secret


def test_each_kind_of_reader_opens_in_whatever_order_they_stand(tmp_path: Path) -> None:
    for order in permutations(EVERY_KIND):
        sealed = operations.seal(SECRET, recipients(*order))
        assert types(sealed.data) == [str(one.recipient.kind) for one in order]
        assert sealed.recipients == tuple(recipients(*order))
        for one in order:
            assert operations.decrypt(sealed.data, [one.identity]) == SECRET
    for one in EVERY_KIND:
        assert one.opens_with_age(sealed.data, tmp_path) == SECRET


def test_nobody_but_the_readers_has_a_stanza() -> None:
    sealed = operations.seal(SECRET, recipients(ALICE))
    assert types(sealed.data) == ["X25519"]
    with pytest.raises(IdentityError) as caught:
        operations.decrypt(sealed.data, [BOB.identity, DB.identity, RSA.identity])
    assert caught.value.hint


def test_two_files_of_one_secret_share_nothing() -> None:
    one = operations.seal(SECRET, recipients(ALICE))
    other = operations.seal(SECRET, recipients(ALICE))
    assert one.file_key != other.file_key
    assert age_header.parse(one.data).payload != age_header.parse(other.data).payload


def test_a_recipient_given_twice_gets_two_stanzas_as_age_does() -> None:
    sealed = operations.seal(SECRET, recipients(ALICE, RSA, RSA, ALICE))
    assert types(sealed.data) == ["X25519", "ssh-rsa", "ssh-rsa", "X25519"]
    assert types(sealed.data) == types(
        age_encrypts(SECRET, *recipients(ALICE, RSA, RSA, ALICE))
    )


def test_a_secret_without_readers_is_refused() -> None:
    with pytest.raises(SecretFileError, match="without readers"):
        operations.seal(SECRET, [])


def test_a_sealed_file_hides_its_secrets_and_stays_in_its_process() -> None:
    sealed = operations.seal(SECRET, recipients(ALICE, WEB))
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(sealed)
    assert "b'" not in repr(replace(sealed, recipients=()))


def test_a_plugin_writes_and_opens_among_the_others(toy: Reader) -> None:
    sealed = operations.seal(SECRET, recipients(toy, ALICE, RSA))
    assert types(sealed.data) == ["toy", "X25519", "ssh-rsa"]
    for one in (toy, ALICE, RSA):
        assert operations.decrypt(sealed.data, [one.identity]) == SECRET


def test_a_plugin_that_writes_two_entries_is_refused(
    toy: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_ENTRIES", "2")
    with pytest.raises(KeyFormatError, match="plugin"):
        operations.seal(SECRET, recipients(ALICE, toy))


def test_a_missing_plugin_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFormatError, match="age-plugin-toy"):
        operations.seal(SECRET, recipients(ALICE, toy_reader()))


def test_a_missing_plugin_does_not_keep_another_key_from_opening(
    toy: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = operations.seal(SECRET, recipients(RSA, toy))
    monkeypatch.setenv("PATH", "/nowhere")
    assert operations.decrypt(sealed.data, [toy.identity, RSA.identity]) == SECRET
    with pytest.raises(IdentityError, match="toy"):
        operations.decrypt(sealed.data, [toy.identity, ALICE.identity])


def test_a_plugin_key_is_tried_after_one_that_does_not_fit(toy: Reader) -> None:
    sealed = operations.seal(SECRET, recipients(toy))
    other = toy_reader()
    keys = [RSA.identity, ALICE.identity, toy.identity]
    assert operations.decrypt(sealed.data, keys) == SECRET
    with pytest.raises(SecretFileError):
        operations.decrypt(sealed.data, [other.identity])


@pytest.mark.parametrize("trouble", ["dies", "complains"])
def test_a_plugin_in_trouble_is_an_error_of_its_own(
    toy: Reader, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    sealed = operations.seal(SECRET, recipients(toy))
    monkeypatch.setenv("TOY_TROUBLE", trouble)
    with pytest.raises(KeyFormatError) as caught:
        operations.seal(SECRET, recipients(toy, ALICE))
    assert caught.value.message.isprintable()
    with pytest.raises(IdentityError) as opening:
        operations.decrypt(sealed.data, [toy.identity])
    assert opening.value.message.isprintable()


def test_a_plugin_that_hangs_is_given_up_and_ended(
    toy: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sealed = operations.seal(SECRET, recipients(toy))
    monkeypatch.setenv("TOY_TROUBLE", f"hangs {tmp_path / 'pid'}")
    monkeypatch.setenv("NIXSECRETS_PLUGIN_TIMEOUT", "0.5")
    late = r"^age-plugin-toy did not answer within 0\.5 seconds$"
    with pytest.raises(IdentityError, match=late):
        operations.decrypt(sealed.data, [toy.identity])
    plugin = int((tmp_path / "pid").read_text())
    with pytest.raises(IdentityError, match=late):
        operations.seal(SECRET, recipients(toy, ALICE))
    await_end(plugin)


def test_a_plugin_sees_no_credentials(
    toy: Reader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secrets = ("VAULT_TOKEN", "AWS_ACCESS_KEY_ID", "SOPS_AGE_KEY", "GITHUB_TOKEN")
    for name in (*secrets, "TOY_TOKEN", "DISPLAY"):
        monkeypatch.setenv(name, "canary")
    monkeypatch.setenv("TOY_TROUBLE", f"notes {tmp_path / 'notes'}")
    sealed = operations.seal(SECRET, recipients(toy))
    sealing = (tmp_path / "notes").read_text().split()
    assert operations.decrypt(sealed.data, [toy.identity]) == SECRET
    opening = (tmp_path / "notes").read_text().split()
    for seen in (sealing, opening):
        assert {"PATH", "HOME", "TOY_TOKEN", "DISPLAY"} <= set(seen)
        assert not set(secrets) & set(seen)
    assert os.environ["VAULT_TOKEN"] == "canary", "our own environment stays"


def test_a_tagged_recipient_stands_in_its_place() -> None:
    tagged = parse_recipient(TAG_RECIPIENT)
    sealed = operations.seal(SECRET, [tagged, ALICE.recipient])
    assert types(sealed.data) == ["p256tag", "X25519"]
    assert operations.decrypt(sealed.data, [ALICE.identity]) == SECRET


def test_a_panic_of_the_age_library_is_an_error_like_any_other(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # No parser lets such a key through; pyrage's way of refusing it is a panic.
    zero = Recipient(Kind.PLUGIN, b"", encode("age", bytes(32)))
    degenerate = replace(zero, kind=Kind.X25519)
    with pytest.raises(SecretFileError, match="unexpected key"):
        pyrage_port.encrypt(SECRET, [degenerate])
    with pytest.raises(KeyFormatError):
        pyrage_port.encrypt(SECRET, [zero])
    capfd.readouterr()


# --- opening ----------------------------------------------------------------------


@pytest.mark.parametrize("one", EVERY_KIND, ids=lambda one: str(one.recipient.kind))
@pytest.mark.parametrize("armored", [False, True], ids=["binary", "armored"])
def test_files_of_the_real_age_open(one: Reader, armored: bool) -> None:
    data = age_encrypts(SECRET, *recipients(BOB, DB, one), armored=armored)
    assert operations.decrypt(data, [one.identity]) == SECRET


def test_armor_with_blanks_around_it_opens() -> None:
    data = age_encrypts(SECRET, ALICE.recipient, armored=True)
    assert operations.decrypt(b"\n\n" + data.replace(b"\n", b"\r\n"), [ALICE.identity])


def test_an_age_secret_opens_a_file_for_the_ssh_key_it_came_from() -> None:
    # Neither age nor rage can do that.
    data = age_encrypts(SECRET, WEB.recipient)
    assert operations.decrypt(data, [WEB_CONVERTED.identity]) == SECRET


def test_a_passphrase_file_says_so() -> None:
    data = passphrase_file(SECRET, "hunter2")
    with pytest.raises(IdentityError, match="passphrase"):
        operations.decrypt(data, [ALICE.identity, RSA.identity])


def test_without_any_identity_nothing_opens() -> None:
    with pytest.raises(IdentityError):
        operations.decrypt(age_encrypts(SECRET, ALICE.recipient), [])


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("one", [ALICE, RSA], ids=["ours", "pyrage's"])
def test_a_changed_payload_is_damage_and_gives_no_text(one: Reader) -> None:
    data = age_encrypts(os.urandom(70_000), one.recipient)
    for bad in (flip(data, len(data) - 1), data[:-1], data[: len(data) - 5_000]):
        with pytest.raises(SecretFileError):
            operations.decrypt(bad, [one.identity])


@pytest.mark.parametrize("one", [ALICE, WEB, RSA], ids=["X25519", "ssh", "rsa"])
def test_an_entry_put_in_by_hand_is_noticed(one: Reader) -> None:
    file = age_header.parse(age_encrypts(SECRET, one.recipient))
    for stanzas in (
        (*file.stanzas, Stanza("evil", (), b"")),
        (Stanza("evil", (), b""), *file.stanzas),
    ):
        header = encode_header(stanzas)
        bad = age_header.encode(header, file.mac, file.payload, armored=False)
        with pytest.raises(SecretFileError, match="header"):
            operations.decrypt(bad, [one.identity])


OPENABLE = [path for path in KIT if path.name.startswith(("x25519", "stream", "hmac"))]


@pytest.mark.skipif(not KIT, reason=gate.reason("shared", "age's test suite"))
@pytest.mark.parametrize("vector", OPENABLE, ids=lambda path: path.name)
def test_the_public_test_suite_opens_where_it_should(vector: Path) -> None:
    keys, data = read_vector(vector)
    (identity,) = parse_identities(keys["identity"].encode(), "test").identities
    if keys["expect"] == "success":
        plaintext = operations.decrypt(data, [identity])
        assert sha256(plaintext).hexdigest() == keys["payload"]
        assert (
            operations.file_key(age_header.parse(data), [identity]).hex()
            == keys["file key"]
        )
    else:
        unfit = keys["expect"] == "no match"
        with pytest.raises(IdentityError if unfit else SecretFileError):
            operations.decrypt(data, [identity])


def test_the_folder_of_shared_vectors_has_not_moved() -> None:
    assert not SHARED.is_dir() or KIT


# --- granting ---------------------------------------------------------------------


def sources() -> dict[str, bytes]:
    to = recipients(BOB, WEB, ALICE, RSA)
    theirs = [pyrage.x25519.Recipient.from_str(ALICE.recipient.text)]
    return {
        "of ours": operations.seal(SECRET, to).data,
        "of ours, armored": operations.seal(SECRET, to, armored=True).data,
        "of age": age_encrypts(SECRET, *to),
        "of age, armored": age_encrypts(SECRET, *to, armored=True),
        "of pyrage, with grease": pyrage.encrypt(SECRET, theirs),
        "of pyrage, armored": pyrage.encrypt(SECRET, theirs, armored=True),
    }


SOURCES = sources()


@pytest.mark.parametrize("data", SOURCES.values(), ids=SOURCES.keys())
def test_a_grant_adds_entries_and_keeps_every_other_byte_but_noise(
    data: bytes, tmp_path: Path
) -> None:
    granted = operations.grant(
        data, [ALICE.identity], add=recipients(DB, WEB_CONVERTED)
    ).data
    old, new = age_header.parse(data), age_header.parse(granted)
    assert new.armored is old.armored
    assert new.payload == old.payload
    kept = encode_header(old.entries).removesuffix(b"---")
    assert new.header.startswith(kept)
    assert [one.type for one in new.stanzas[-2:]] == ["ssh-ed25519", "X25519"]
    assert len(new.stanzas) == len(old.entries) + 2
    for one in (ALICE, DB, WEB_CONVERTED):
        assert one.opens_with_age(granted, tmp_path) == SECRET


@pytest.mark.parametrize("data", SOURCES.values(), ids=SOURCES.keys())
def test_a_form_change_replaces_the_entry_where_it_stands(
    data: bytes, tmp_path: Path
) -> None:
    old = age_header.parse(data)
    at = len(old.entries) - 1
    sealed = operations.grant(
        data, [ALICE.identity], add=recipients(BOB), replace=[(at, DB.recipient)]
    )
    new = age_header.parse(sealed.data)
    assert new.entries[at].type == "ssh-ed25519"
    assert new.entries[:at] == old.entries[:at]
    assert not any(stanza.grease for stanza in new.stanzas)
    assert sealed.recipients == (DB.recipient, BOB.recipient)
    assert [new.stanzas[place].type for place in sealed.places] == [
        "ssh-ed25519",
        "X25519",
    ]
    for one in (DB, BOB):
        assert one.opens_with_age(sealed.data, tmp_path) == SECRET


def test_granting_nothing_changes_no_byte() -> None:
    for data in SOURCES.values():
        assert operations.grant(data, [ALICE.identity]).data == data


@pytest.mark.parametrize("first", [None, 0, 1, 2, 3, 99])
def test_our_own_entry_is_found_wherever_it_is_expected(first: int | None) -> None:
    data = SOURCES["of age"]
    for one in (BOB, WEB, ALICE, WEB_CONVERTED):
        assert len(
            operations.file_key(
                age_header.parse(data), [RSA.identity, one.identity], first=first
            )
        )


def test_a_tampered_header_is_not_granted_which_would_launder_it() -> None:
    file = age_header.parse(age_encrypts(SECRET, ALICE.recipient))
    for stanzas in (
        [*file.stanzas, age_header.decode(wrap(bytes(16), BOB.recipient).encoded)],
        [*file.stanzas, Stanza("grey-grease", (), b"")],
    ):
        header = encode_header(stanzas)
        bad = age_header.encode(header, file.mac, file.payload, armored=False)
        with pytest.raises(SecretFileError, match="changed after it was written"):
            operations.grant(bad, [ALICE.identity], add=recipients(DB))


def test_a_second_entry_with_another_file_key_cannot_mislead() -> None:
    file = age_header.parse(age_encrypts(SECRET, ALICE.recipient))
    other = bytes(16)
    header = encode_header(
        [age_header.decode(wrap(other, ALICE.recipient).encoded), *file.stanzas]
    )
    mac = header_mac(other, header)
    mixed = age_header.encode(header, mac, file.payload, armored=False)
    with pytest.raises(SecretFileError):
        operations.decrypt(mixed, [ALICE.identity])


def test_a_reader_who_needs_pyrage_cannot_grant_but_can_reencrypt(toy: Reader) -> None:
    for one in (RSA, toy):
        data = operations.seal(SECRET, recipients(one)).data
        with pytest.raises(IdentityError):
            operations.grant(data, [one.identity], add=recipients(ALICE))
        again = operations.reencrypt(data, [one.identity], recipients(one, ALICE))
        assert operations.decrypt(again.data, [ALICE.identity]) == SECRET


def test_a_recipient_only_pyrage_can_write_is_not_granted() -> None:
    data = age_encrypts(SECRET, ALICE.recipient)
    with pytest.raises(KeyFormatError):
        operations.grant(data, [ALICE.identity], add=recipients(RSA))


# --- re-encrypting ----------------------------------------------------------------


@pytest.mark.parametrize("data", SOURCES.values(), ids=SOURCES.keys())
def test_reencrypting_excludes_everyone_who_is_not_named(data: bytes) -> None:
    old_key = operations.file_key(age_header.parse(data), [ALICE.identity])
    sealed = operations.reencrypt(data, [ALICE.identity], recipients(BOB, DB))
    assert age_header.parse(sealed.data).armored is age_header.parse(data).armored
    assert sealed.file_key != old_key
    assert operations.decrypt(sealed.data, [DB.identity]) == SECRET
    with pytest.raises(IdentityError):
        operations.decrypt(sealed.data, [ALICE.identity, WEB.identity, RSA.identity])
    with pytest.raises(SecretFileError):
        file = age_header.parse(sealed.data)
        operations.decrypt_with_key(BytesIO(file.binary), file, old_key, BytesIO())


# --- post-quantum -----------------------------------------------------------------


def post_quantum_recipient() -> Recipient:
    """Make a recipient whose ML-KEM half is trivial; nobody needs to open its files."""
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    data = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return parse_recipient(encode("age1tagpq", bytes(1184) + data))


@pytest.mark.parametrize("armored", [False, True], ids=["binary", "armored"])
def test_a_file_for_post_quantum_readers_only_is_left_to_pyrage(armored: bool) -> None:
    to = [post_quantum_recipient(), post_quantum_recipient()]
    sealed = operations.seal(SECRET, to, armored=armored)
    file = age_header.parse(sealed.data)
    assert [one.type for one in file.entries] == ["mlkem768p256tag"] * 2
    assert file.armored is armored
    assert (sealed.file_key, sealed.proofs, sealed.places) == (None, (), (0, 1))


def test_post_quantum_and_classic_readers_do_not_share_a_file() -> None:
    strong = post_quantum_recipient()
    for to in permutations([strong, ALICE.recipient]):
        with pytest.raises(KeyFormatError, match="post-quantum"):
            operations.seal(SECRET, to)


def test_a_post_quantum_file_gets_no_classic_reader() -> None:
    sealed = operations.seal(SECRET, [ALICE.recipient])
    file = age_header.parse(sealed.data)
    assert sealed.file_key
    strong = Stanza("mlkem768x25519", ("e",), b"")
    header = encode_header([strong, *file.stanzas])
    mac = header_mac(sealed.file_key, header)
    data = age_header.encode(header, mac, file.payload, armored=False)
    with pytest.raises(KeyFormatError, match="post-quantum"):
        operations.grant(data, [ALICE.identity], add=recipients(BOB))

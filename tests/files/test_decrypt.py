"""Any version of a secret is decrypted by whichever identity fits."""

from pathlib import Path

import pyrage
import pytest

from nixsecrets.errors import IdentityError
from nixsecrets.files.decrypt import plaintext_of
from nixsecrets.keys.identities import Identity, Keyring, Locked, parse_identities
from nixsecrets.keys.unlock import once
from tests import fleet as kit
from tests.files.agekeys import passphrase_file


def locked(key: kit.AgeKey, name: str) -> Locked:
    """Return an identity file of `key` under a passphrase."""
    data = passphrase_file(key.private.encode(), "correct horse")
    (one,) = parse_identities(data, name).locked
    return one


def test_a_version_is_opened_by_the_second_of_two_locked_identities(
    tmp_path: Path,
) -> None:
    keys = [kit.age_key(), kit.age_key()]
    ring = Keyring(locked=tuple(locked(key, f"{n}.txt") for n, key in enumerate(keys)))
    recipient = pyrage.x25519.Recipient.from_str(keys[1].public)
    data = pyrage.encrypt(b"canary", [recipient])
    asked: list[str] = []

    def unlock(one: Locked) -> tuple[Identity, ...]:
        asked.append(one.source)
        return one.unlock("correct horse")

    assert plaintext_of("a.age", data, ring, unlock, tmp_path) == b"canary"
    assert asked == ["0.txt", "1.txt"]


def test_an_identity_is_asked_for_once_however_many_files_it_opens(
    tmp_path: Path,
) -> None:
    key = kit.age_key()
    ring = Keyring(locked=(locked(key, "mine.txt"),))
    recipient = pyrage.x25519.Recipient.from_str(key.public)
    asked: list[str] = []

    def unlock(one: Locked) -> tuple[Identity, ...]:
        asked.append(one.source)
        return one.unlock("correct horse")

    remembering = once(unlock)
    for value in (b"base", b"ours", b"theirs"):
        data = pyrage.encrypt(value, [recipient])
        assert plaintext_of("a.age", data, ring, remembering, tmp_path) == value
    assert asked == ["mine.txt"]


def test_nobody_is_asked_for_a_file_that_is_no_secret(tmp_path: Path) -> None:
    def unlock(one: Locked) -> tuple[Identity, ...]:
        raise AssertionError(one.source)

    ring = Keyring(locked=(locked(kit.age_key(), "mine.txt"),))
    assert plaintext_of("a.txt", b"plain", ring, unlock, tmp_path) == b"plain"


def test_a_file_of_others_is_refused(tmp_path: Path) -> None:
    recipient = pyrage.x25519.Recipient.from_str(kit.age_key().public)
    data = pyrage.encrypt(b"canary", [recipient])
    with pytest.raises(IdentityError):
        plaintext_of("a.age", data, Keyring(), lambda _: (), tmp_path)

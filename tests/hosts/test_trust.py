"""The rungs of the ladder, in order, and what ends the climb."""

import pytest

from nixsecrets.errors import UsageError
from nixsecrets.hosts.knownhosts import Standing
from nixsecrets.hosts.trust import KeyAlarmError, Rung, climb, parse_fingerprint
from nixsecrets.keys.recipients import parse_recipient
from tests.fleet import ssh_key

KEY, OLD, THIRD = (parse_recipient(ssh_key(n).public) for n in ("new", "old", "third"))
KNOWN = Standing(same="kh:1")
HAS_OLD = Standing(others=(("kh:1", OLD),))
REVOKED = Standing(revoked="kh:1")


@pytest.mark.parametrize(
    ("known", "fingerprint", "rung"),
    [
        (Standing(), KEY.fingerprint, Rung.FINGERPRINT),
        (KNOWN, KEY.fingerprint, Rung.FINGERPRINT),
        (HAS_OLD, KEY.fingerprint, Rung.FINGERPRINT),
        (KNOWN, None, Rung.KNOWN_HOSTS),
        (Standing(), None, None),
    ],
)
def test_the_first_rung_that_holds_counts(
    known: Standing, fingerprint: str | None, rung: Rung | None
) -> None:
    assert climb("brunnen", KEY, known, fingerprint=fingerprint) is rung


@pytest.mark.parametrize(
    ("known", "fingerprint", "words"),
    [
        (Standing(), OLD.fingerprint, f"another key: {KEY.fingerprint}, not"),
        (KNOWN, OLD.fingerprint, "another key"),
        (HAS_OLD, None, f"but kh:1 has {OLD.fingerprint}"),
        (REVOKED, None, "which kh:1 revokes"),
        (REVOKED, KEY.fingerprint, "which kh:1 revokes"),
    ],
)
def test_a_contradiction_is_an_alarm(
    known: Standing, fingerprint: str | None, words: str
) -> None:
    with pytest.raises(KeyAlarmError) as raised:
        climb("brunnen", KEY, known, fingerprint=fingerprint)
    assert words in raised.value.message
    assert "nothing was changed" in str(raised.value.hint)


def test_the_key_that_is_being_replaced_is_no_alarm_and_no_proof() -> None:
    assert climb("brunnen", KEY, HAS_OLD, replaces=OLD) is None
    with pytest.raises(KeyAlarmError):
        climb("brunnen", KEY, Standing(others=(("kh:1", THIRD),)), replaces=OLD)


def test_a_fingerprint_is_taken_with_and_without_its_padding() -> None:
    assert parse_fingerprint(KEY.fingerprint + "=") == KEY.fingerprint
    assert parse_fingerprint(f" {KEY.fingerprint}\n") == KEY.fingerprint


@pytest.mark.parametrize(
    "text", ["", "SHA256:", "MD5:aa:bb", "SHA256:" + "A" * 42, "SHA256:" + "!" * 43]
)
def test_other_texts_are_no_fingerprints(text: str) -> None:
    with pytest.raises(UsageError, match="not a SHA256 fingerprint"):
        parse_fingerprint(text)

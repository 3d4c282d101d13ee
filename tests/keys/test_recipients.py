"""Public keys: which are accepted, which are refused, and the messages."""

import base64
import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import KeyFormatError
from nixsecrets.keys import bech32
from nixsecrets.keys.mistakes import UnsupportedKeyError
from nixsecrets.keys.recipients import (
    Kind,
    Recipient,
    ed25519_blob,
    from_ssh_blob,
    from_x25519,
    parse_recipient,
)
from tests.fleet import program, rsa_key, run_program, ssh_key
from tests.keys.vectors import (
    PQ_IDENTITY,
    TAG_PQ_RECIPIENT,
    TAG_RECIPIENT,
    VECTORS,
    Vector,
)

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.tag)
SSH = VECTORS[0].ssh
AGE = VECTORS[0].age
P256_POINT = bech32.decode(TAG_RECIPIENT)[1]


def mpint(number: int) -> bytes:
    data = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return len(data).to_bytes(4, "big") + data


def ssh_line(name: str, *fields: bytes, tail: bytes = b"") -> str:
    blob = len(name).to_bytes(4, "big") + name.encode() + b"".join(fields) + tail
    return f"{name} {base64.b64encode(blob).decode()}"


def ed25519_line(public: bytes) -> str:
    return ssh_line("ssh-ed25519", len(public).to_bytes(4, "big"), public)


@each_vector
def test_both_forms_of_a_key_are_read_and_know_each_other(vector: Vector) -> None:
    ssh, age = parse_recipient(vector.ssh), parse_recipient(vector.age)
    assert (ssh.kind, age.kind) == (Kind.SSH_ED25519, Kind.X25519)
    assert (ssh.text, age.text) == (vector.ssh, vector.age)
    assert ssh.converted() == age == age.converted()
    assert ssh.key_id == age.key_id
    assert ssh.point == age.point == age.key
    assert ssh != age
    assert (ssh.tag, age.tag) == (vector.tag, None)
    assert ssh.ours
    assert age.ours


def test_keys_of_two_people_have_two_key_ids() -> None:
    keys = [vector.ssh for vector in VECTORS] + [vector.age for vector in VECTORS]
    keys += [rsa_key().public, TAG_RECIPIENT]
    ids = {parse_recipient(key).key_id for key in keys}
    assert len(ids) == len(VECTORS) + 2


def test_a_comment_is_kept_aside_and_does_not_make_another_key() -> None:
    plain, named = parse_recipient(SSH), parse_recipient(f"{SSH} alice @ laptop, 2nd")
    assert named == plain
    assert hash(named) == hash(plain)
    assert (plain.comment, named.comment) == ("", "alice @ laptop, 2nd")
    assert named.text == SSH
    assert named.id == plain.id


@pytest.mark.parametrize(
    "text",
    [f"  {SSH}\n", SSH.replace(" ", "   "), SSH.replace(" ", "\t"), f"{SSH}\r\n"],
)
def test_blanks_around_and_inside_do_not_matter(text: str) -> None:
    assert parse_recipient(text) == parse_recipient(SSH)


def test_upper_case_is_read_and_written_in_lower_case() -> None:
    assert parse_recipient(f" {AGE.upper()}\n").text == AGE


def test_the_lock_calls_a_recipient_by_the_hash_of_its_text() -> None:
    assert parse_recipient(SSH).id == "bc17cf35088f9209"
    assert parse_recipient(AGE).id == hashlib.sha256(AGE.encode()).hexdigest()[:16]


def test_fingerprints_are_those_of_ssh_keygen(tmp_path: Path) -> None:
    for key in (ssh_key("fingerprint"), rsa_key()):
        path = key.write(tmp_path / "key")
        printed = run_program(program("ssh-keygen"), "-lf", str(path), env={})
        assert printed.decode().split()[1] == parse_recipient(key.public).fingerprint


def test_real_public_keys_of_ssh_keygen_are_read(tmp_path: Path) -> None:
    for index, options in enumerate((["-t", "ed25519"], ["-t", "rsa", "-b", "2048"])):
        path = tmp_path / f"key{index}"
        keygen = [program("ssh-keygen"), "-q", "-N", "", "-C", "a b", "-f", str(path)]
        run_program(*keygen, *options, env={})
        line = path.with_name(path.name + ".pub").read_text()
        recipient = parse_recipient(line)
        assert f"{recipient.text} a b\n" == line
        assert recipient.comment == "a b"


def test_every_kind_is_distinguished() -> None:
    yubikey = bech32.encode("age1yubikey", P256_POINT)
    post_quantum = bech32.encode("age1pq", bytes(1216))
    kinds = {
        AGE: (Kind.X25519, False),
        SSH: (Kind.SSH_ED25519, False),
        rsa_key().public: (Kind.SSH_RSA, False),
        TAG_RECIPIENT: (Kind.TAG, False),
        yubikey: (Kind.PLUGIN, False),
        post_quantum: (Kind.PQ, True),
        TAG_PQ_RECIPIENT: (Kind.TAG_PQ, True),
    }
    for text, (kind, hard) in kinds.items():
        recipient = parse_recipient(text)
        assert (recipient.kind, recipient.post_quantum) == (kind, hard)
        assert recipient.text == text
        copy = pickle.loads(pickle.dumps(recipient))  # noqa: S301 (our own bytes)
        assert copy == recipient
    assert parse_recipient(yubikey).key == b"age1yubikey\0" + P256_POINT
    assert parse_recipient(yubikey).fingerprint == yubikey


def test_a_plugin_key_with_the_bytes_of_another_plugin_is_another_key() -> None:
    one = parse_recipient(bech32.encode("age1se", P256_POINT))
    other = parse_recipient(bech32.encode("age1tpm", P256_POINT))
    assert one != other
    assert one.key_id != other.key_id


def test_only_keys_on_curve25519_have_a_point() -> None:
    with pytest.raises(ValueError, match="no X25519 point"):
        _ = parse_recipient(TAG_RECIPIENT).point


def test_long_keys_are_shown_in_short() -> None:
    key = parse_recipient(bech32.encode("age1pq", bytes(1216)))
    assert len(key.shown) < 60
    assert key.shown.startswith("age1pq1qqq")
    assert parse_recipient(AGE).shown == AGE


def test_no_repr_shows_raw_key_bytes() -> None:
    assert "key=" not in repr(parse_recipient(SSH))


PRIVATE = {
    VECTORS[0].secret: "an age identity",
    VECTORS[0].secret.lower(): "an age identity",
    f"# {VECTORS[0].secret}": "an age identity",
    PQ_IDENTITY: "post-quantum age identity",
    "AGE-PLUGIN-YUBIKEY-1QQPQSXN9": "identity of an age plugin",
    ssh_key("private").private: "a private key file",
    "-----BEGIN RSA PRIVATE KEY-----": "a private key file",
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49": "a private key file",
    "PuTTY-User-Key-File-3: ssh-ed25519": "a private key file",
}


@pytest.mark.parametrize(("text", "name"), PRIVATE.items(), ids=PRIVATE.values())
def test_a_private_key_is_named_refused_and_never_quoted(text: str, name: str) -> None:
    with pytest.raises(KeyFormatError, match=name) as caught:
        parse_recipient(text)
    assert "-y" in str(caught.value.hint)
    secret = max(text.split(), key=len)
    assert secret not in caught.value.message + str(caught.value.hint)


@pytest.mark.parametrize(
    "comment",
    ["age-plugin-yubikey serial 1", "not an AGE-SECRET-KEY-1…", "age-secret-key-pq-1"],
)
def test_words_about_private_keys_in_a_comment_do_no_harm(
    comment: str,
) -> None:
    assert parse_recipient(f"{SSH} {comment}").comment == comment


MODULUS = (1 << 2047) + 1
UNSUPPORTED = [
    ("ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY= a@b", "an ecdsa ssh key"),
    ("sk-ssh-ed25519@openssh.com AAAAGnNr a@b", "FIDO"),
    ("sk-ecdsa-sha2-nistp256@openssh.com AAAAInNr", "FIDO"),
    ("ssh-dss AAAAB3NzaC1kc3M=", "a dsa ssh key"),
    ("ssh-ed25519-cert-v01@openssh.com AAAAIHNz", "certificate"),
    ("ssh-rsa-cert-v01@openssh.com AAAAHHNz", "certificate"),
    ("ecdsa-sha2-nistp256-cert-v01@openssh.com AAAA", "certificate"),
    (ssh_line("ssh-rsa", mpint(65537), mpint((1 << 2046) + 1)), "2047 bits"),
    (ssh_line("ssh-rsa", mpint(65537), mpint((1 << 1023) + 1)), "1024 bits"),
]


@pytest.mark.parametrize(("text", "message"), UNSUPPORTED)
def test_valid_keys_that_age_cannot_use_are_distinguished_from_corrupt_ones(
    text: str, message: str
) -> None:
    with pytest.raises(UnsupportedKeyError, match=message) as caught:
        parse_recipient(text)
    assert caught.value.hint


REFUSED = [
    ("", "empty"),
    (" \n", "empty"),
    ("alice", "not a public key"),
    ("age", "not a public key"),
    ("age1", "corrupt: it is too short"),
    (AGE[:-1], "corrupt: its checksum"),
    (AGE[:-1] + "q", "corrupt: its checksum"),
    (AGE[:20], "corrupt: its checksum"),
    (AGE[:5].upper() + AGE[5:], "mixes upper and lower case"),
    (f"{AGE} alice", "only ssh keys have a comment"),
    (f"{AGE},{AGE}", "several keys"),
    (f"{AGE}\n{AGE}", "line break"),
    (f"{SSH} a\x1b[31m", "control character"),
    (f"{SSH} a\u202eb", "control character"),
    (bech32.encode("age", bytes(31)), "31 bytes"),
    (bech32.encode("age", bytes(32)), "low order"),
    (bech32.encode("age", b"\xff" * 32), "not reduced"),
    (bech32.encode("age1tag", bytes(33)), "age1tag key is invalid"),
    (bech32.encode("age1tag", P256_POINT[:-1] + b"\0"), "age1tag key is invalid"),
    (bech32.encode("age1tag", P256_POINT[:-1]), "32 bytes long, not 33"),
    (bech32.encode("age1tagpq", bytes(1249)), "age1tagpq key is invalid"),
    (bech32.encode("age1pq", bytes(32)), "32 bytes long, not 1216"),
    (bech32.encode("age1../../bin/x", bytes(32)), "prefix that no key has"),
    (bech32.encode("age1", bytes(32)), "prefix that no key has"),
    (bech32.encode("age2", bytes(32)), "not a public key"),
    ("ssh-ed25519", "nothing after its kind"),
    (SSH[:-1], "not complete base64"),
    (SSH[:-4], "truncated"),
    (f"{SSH}garbage!", "not complete base64"),
    (f"{SSH}AAAA", "trailing data"),
    (f"{SSH}=", "stray characters"),
    (SSH.replace("ssh-ed25519", "ssh-rsa"), "says ssh-rsa and holds ssh-ed25519"),
    (SSH.replace("ssh-ed25519", "ssh-foo"), "not a public key"),
    (ssh_line("ssh-ed25519"), "truncated"),
    (ed25519_line(bytes(31)), "wrong length"),
    (ed25519_line(bytes(33)), "wrong length"),
    (ed25519_line(bytes(32)), "low order"),
    (ed25519_line(b"\1" + bytes(31)), "low order"),
    (ed25519_line(b"\2" + bytes(31)), "not a point"),
    (ed25519_line(b"\xff" * 32), "not reduced"),
    (ssh_line("ssh-rsa", mpint(65537)), "truncated"),
    (ssh_line("ssh-rsa", mpint(65537), mpint(MODULUS), tail=b"x"), "trailing data"),
    (ssh_line("ssh-rsa", mpint(65537), mpint(MODULUS - 1)), "numbers no key has"),
    (ssh_line("ssh-rsa", mpint(1), mpint(MODULUS)), "numbers no key has"),
    (ssh_line("ssh-rsa", mpint(65536), mpint(MODULUS)), "numbers no key has"),
    (ssh_line("ssh-rsa", mpint(65537), b"\0\0\0\2\0\1"), "numbers no key has"),
    (ssh_line("ssh-rsa", mpint(65537), b"\0\0\0\1\x80"), "numbers no key has"),
    (f"ssh-rsa {base64.b64encode(bytes(2)).decode()}", "truncated"),
    (f"ssh-rsa {base64.b64encode(bytes(9)).decode()}", "kind that does not exist"),
    (f'no-pty,command="x" {SSH}', "something before the ssh key"),
    (f"brunnen.lan {SSH}", "something before the ssh key"),
    (SSH.split()[1], "lacks its kind"),
    ("85D77543B3D624B63CEA9E6DBC17301B491B3F21", "PGP fingerprint"),
    ("85D7 7543 B3D6 24B6 3CEA  9E6D BC17 301B 491B 3F21", "PGP fingerprint"),
    ("a" * 20_000, "longer than any public key"),
    ("age1" + "q" * 20_000, "longer than any public key"),
    ("age1...", "placeholder"),
    ("age1…", "placeholder"),
    ("age1xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "placeholder"),
    ("ssh-ed25519 AAAA...", "placeholder"),
    ("ssh-ed25519 AAAA… alice@laptop", "placeholder"),
    ("<public key of alice>", "placeholder"),
    ("ssh-ed25519 <key>", "placeholder"),
    ("your age key", "placeholder"),
    ("REPLACE_ME", "placeholder"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_key_is_refused_in_its_own_words(text: str, message: str) -> None:
    with pytest.raises(KeyFormatError, match=message) as caught:
        parse_recipient(text)
    error = caught.value
    assert error.hint
    assert error.message == error.message.strip().rstrip(".")
    assert len(text) < 12 or text not in error.message


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        recipient = parse_recipient(text)
    except KeyFormatError:
        return
    assert parse_recipient(recipient.text) == recipient


@given(st.binary(max_size=200), st.integers(0, 50), st.integers(0, 255))
def test_any_ssh_blob_is_read_or_refused(data: bytes, place: int, byte: int) -> None:
    spoilt = bytearray(ed25519_blob(bytes(range(32))))
    spoilt[place] = byte
    for blob in (data, bytes(spoilt), parse_recipient(rsa_key().public).key + data):
        try:
            recipient = from_ssh_blob(blob)
        except KeyFormatError:
            continue
        assert recipient.key == blob
        assert parse_recipient(recipient.text) == recipient


@given(st.binary(min_size=32, max_size=32))
def test_every_point_that_is_accepted_can_be_encrypted_to(point: bytes) -> None:
    import pyrage

    try:
        recipient = from_x25519(point)
    except KeyFormatError:
        return
    assert pyrage.encrypt(b"", [pyrage.x25519.Recipient.from_str(recipient.text)])


def test_pyrage_and_age_open_what_is_sealed_to_what_was_parsed(tmp_path: Path) -> None:
    import pyrage

    vector = VECTORS[3]
    secret = tmp_path / "identity"
    secret.write_text(vector.secret)
    converted = parse_recipient(vector.ssh).converted()
    sealed = pyrage.encrypt(b"hi", [pyrage.x25519.Recipient.from_str(converted.text)])
    opened = run_program(
        program("age"), "-d", "-i", str(secret), env={"HOME": "/"}, stdin=sealed
    )
    assert opened == b"hi"


def test_parsing_loads_no_cryptographic_library() -> None:
    code = (
        "import sys\n"
        "from nixsecrets.keys import book, forms, publickeys, tags\n"
        "from nixsecrets.keys.recipients import parse_recipient\n"
        f"parse_recipient({SSH!r}).converted(), parse_recipient({TAG_RECIPIENT!r})\n"
        "heavy = {'cryptography', 'pyrage', 'nacl', 'paramiko', 'subprocess'}\n"
        "sys.exit(str(heavy & sys.modules.keys()) if heavy & sys.modules.keys() else 0)"
    )
    project = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(project)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_equal_keys_are_one_in_sets_whatever_their_spelling() -> None:
    spellings = [SSH, f"{SSH} alice", f" {SSH} bob "]
    found: set[Recipient] = {parse_recipient(text) for text in spellings}
    assert len(found) == 1

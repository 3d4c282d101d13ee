"""Forms of keys per backend, tags, and the book of known keys."""

import base64
from typing import Literal

import pytest

from nixsecrets.keys import bech32, p256
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.forms import Backend, form_for, usable
from nixsecrets.keys.recipients import Recipient, parse_recipient
from nixsecrets.keys.tags import share_tag, stanza_tag
from tests.fleet import rsa_key, ssh_key
from tests.keys.vectors import TAG_PQ_RECIPIENT, TAG_RECIPIENT, VECTORS

SSH = parse_recipient(VECTORS[0].ssh)
AGE = parse_recipient(VECTORS[0].age)
RSA = parse_recipient(rsa_key().public)
TAG = parse_recipient(TAG_RECIPIENT)
TAG_PQ = parse_recipient(TAG_PQ_RECIPIENT)
POINT = bech32.decode(TAG_RECIPIENT)[1]
YUBIKEY = parse_recipient(bech32.encode("age1yubikey", POINT))
TPM = parse_recipient(bech32.encode("age1tpm", POINT))


@pytest.mark.parametrize(
    ("backend", "owner", "sops_form", "form"),
    [
        (Backend.AGE, "host", "age", SSH),
        (Backend.SOPS, "host", "age", AGE),
        (Backend.SOPS, "host", "ssh", AGE),
        (Backend.AGE, "user", "age", SSH),
        (Backend.AGE, "user", "ssh", SSH),
        (Backend.SOPS, "user", "age", AGE),
        (Backend.SOPS, "user", "ssh", SSH),
    ],
)
def test_an_ssh_key_gets_the_form_that_its_owners_tools_open(
    backend: Backend,
    owner: Literal["host", "user"],
    sops_form: Literal["age", "ssh"],
    form: Recipient,
) -> None:
    assert form_for(SSH, backend, owner=owner, sops_form=sops_form) == form


@pytest.mark.parametrize("key", [AGE, RSA, TAG, YUBIKEY])
@pytest.mark.parametrize("backend", Backend)
def test_every_other_key_has_one_form_only(key: Recipient, backend: Backend) -> None:
    assert form_for(key, backend, owner="host") == key
    assert form_for(key, backend, owner="user", sops_form="ssh") == key


def test_only_a_hosts_rsa_key_is_of_no_use_and_only_in_sops_files() -> None:
    assert "ssh-rsa" in str(usable(RSA, Backend.SOPS, "host"))
    assert usable(RSA, Backend.AGE, "host") is None
    assert usable(RSA, Backend.SOPS, "user") is None
    assert usable(SSH, Backend.SOPS, "host") is None


def test_names_are_found_by_either_form() -> None:
    book = KeyBook([("brunnen", SSH), ("alice", RSA), ("later", AGE)])
    assert book.name(SSH) == book.name(AGE) == book.name(SSH.converted()) == "brunnen"
    assert book.name(TAG) is None
    assert book.recipients == (SSH, RSA, AGE)


def test_labels_are_names_else_tags_else_the_text() -> None:
    other = parse_recipient(ssh_key("other").public)
    book = KeyBook([("brunnen", SSH)])
    assert book.label(AGE) == "brunnen"
    assert book.label(other) == f"ssh-ed25519:{other.tag}"
    assert book.label(RSA) == f"ssh-rsa:{RSA.tag}"
    assert book.label(other.converted()) == other.converted().text


def test_keys_are_found_by_tag_and_stanza_type() -> None:
    book = KeyBook([("a", SSH), ("b", RSA), ("c", YUBIKEY), ("d", AGE), ("a", SSH)])
    assert book.by_tag("ssh-ed25519", VECTORS[0].tag) == (SSH,)
    assert book.by_tag("ssh-rsa", VECTORS[0].tag) == ()
    assert book.by_tag("ssh-rsa", str(RSA.tag)) == (RSA,)
    assert book.by_tag("ssh-ed25519", "AAAAAA") == ()
    stanza, tag = stanza_tag(YUBIKEY) or ("", "")
    assert stanza == "piv-p256"
    assert book.by_tag(stanza, tag) == (YUBIKEY,)


def test_a_tpm_key_is_tagged_by_its_uncompressed_point() -> None:
    kind, tag = stanza_tag(TPM) or ("", "")
    assert kind == "tpm-ecc"
    assert tag != (stanza_tag(YUBIKEY) or ("", ""))[1]
    damaged = parse_recipient(bech32.encode("age1tpm", b"\x02" + bytes(31) + b"\x01"))
    assert stanza_tag(damaged) is None
    assert stanza_tag(parse_recipient(bech32.encode("age1se", POINT))) is None
    assert stanza_tag(AGE) is None


@pytest.mark.parametrize(
    ("key", "module", "stanza"),
    [(TAG, "tag", "p256tag"), (TAG_PQ, "tagpq", "mlkem768p256tag")],
)
def test_a_tagged_stanza_of_pyrage_leads_to_its_key_through_its_share(
    key: Recipient, module: str, stanza: str
) -> None:
    import pyrage

    sealed = pyrage.encrypt(b"", [getattr(pyrage, module).Recipient.from_str(key.text)])
    name, tag, encoded = sealed.split(b"\n")[1].decode().split()[1:]
    share = base64.b64decode(encoded + "==")
    book = KeyBook([("key", SSH), ("token", TAG), ("new token", TAG_PQ)])
    assert name == stanza
    assert share_tag(key, stanza, share) == tag
    assert book.by_tag(stanza, tag, share) == (key,)
    assert book.by_tag(stanza, tag, share[:-1]) == ()
    assert share_tag(SSH, stanza, share) is None
    assert share_tag(key, "ssh-ed25519", share) is None


def test_points_of_p256_agree_with_cryptography() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    for _ in range(8):
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        small = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
        large = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        assert p256.uncompress(small) == large
        p256.check_uncompressed(large)


@pytest.mark.parametrize("point", [b"", b"\x04" + bytes(64), bytes(65), b"\xff" * 65])
def test_what_is_no_point_of_p256_is_refused(point: bytes) -> None:
    with pytest.raises(ValueError, match="point"):
        p256.check_uncompressed(point)
    with pytest.raises(ValueError, match="point"):
        p256.uncompress(point[:33])

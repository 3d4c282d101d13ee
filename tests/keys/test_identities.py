"""Private keys: reading, unlocking, and what each of them opens."""

import base64
import io
import os
import pickle
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import IdentityError
from nixsecrets.keys import bech32
from nixsecrets.keys.identities import (
    Identity,
    Keyring,
    Locked,
    PluginIdentity,
    SshEd25519Identity,
    SshRsaIdentity,
    X25519Identity,
    parse_identities,
)
from nixsecrets.keys.plugins import Silence
from nixsecrets.keys.recipients import Kind, Recipient, parse_recipient
from tests.files.agekeys import passphrase_file
from tests.fleet import age_key, program, rsa_key, run_program, ssh_key
from tests.keys.vectors import PQ_IDENTITY, VECTORS, Vector

each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.tag)
OPENABLE = ("aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com")
PLUGIN = "AGE-PLUGIN-YUBIKEY-1QQQQQQQQRQKGM9J"


def seal(recipient: Recipient) -> bytes:
    import pyrage

    kinds = {Kind.X25519: pyrage.x25519, Kind.SSH_ED25519: pyrage.ssh}
    module = kinds.get(recipient.kind, pyrage.ssh)
    sealed: bytes = pyrage.encrypt(b"hi", [module.Recipient.from_str(recipient.text)])
    return sealed


def opens(identity: Identity, sealed: bytes) -> bool:
    import pyrage

    opened = io.BytesIO()
    try:
        pyrage.decrypt_io(io.BytesIO(sealed), opened, identity.to_pyrage())
    except pyrage.DecryptError:
        return False
    return opened.getvalue() == b"hi"


def keygen(path: Path, *options: str, passphrase: str = "") -> bytes:
    """Make a key with the real ssh-keygen; return the private file."""
    run_program(
        program("ssh-keygen"), "-q", "-N", passphrase, "-f", str(path), *options, env={}
    )
    return path.read_bytes()


def only(keyring: Keyring) -> Identity:
    assert (keyring.locked, keyring.broken) == ((), ())
    (identity,) = keyring.identities
    return identity


@each_vector
def test_an_age_identity_is_read_and_knows_its_public_key(vector: Vector) -> None:
    identity = only(parse_identities(vector.secret.encode(), "keys.txt"))
    assert isinstance(identity, X25519Identity)
    assert [recipient.text for recipient in identity.recipients] == [vector.age]
    assert identity.secret_text() == vector.secret
    assert opens(identity, seal(parse_recipient(vector.age)))
    assert parse_recipient(vector.ssh).key in identity.ssh_blobs


@each_vector
def test_an_ssh_identity_opens_both_of_its_forms(vector: Vector) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(vector.seed).public_key()
    identity = SshEd25519Identity.from_seed(
        vector.seed, public.public_bytes_raw(), "id_ed25519"
    )
    texts = [recipient.text for recipient in identity.recipients]
    assert texts == [vector.ssh, vector.age]
    assert identity.secret_text() == vector.secret
    assert identity.ssh_blobs == (parse_recipient(vector.ssh).key,)
    for recipient in identity.recipients:
        assert opens(identity, seal(recipient))
    assert not opens(identity, seal(parse_recipient(ssh_key("other").public)))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["-t", "ed25519"], SshEd25519Identity),
        (["-t", "rsa", "-b", "2048"], SshRsaIdentity),
        (["-t", "rsa", "-b", "2048", "-m", "PEM"], SshRsaIdentity),
        (["-t", "rsa", "-b", "2048", "-m", "PKCS8"], SshRsaIdentity),
    ],
)
def test_keys_of_the_real_ssh_keygen_are_read(
    options: list[str], kind: type[Identity], tmp_path: Path
) -> None:
    data = keygen(tmp_path / "key", *options)
    identity = only(parse_identities(data, "key"))
    public = parse_recipient((tmp_path / "key.pub").read_text())
    assert isinstance(identity, kind)
    assert identity.recipients[0] == public
    assert opens(identity, seal(public))


@pytest.mark.parametrize(
    "cipher", ["aes256-ctr", "aes256-cbc", "aes256-gcm@openssh.com"]
)
def test_a_locked_ssh_key_shows_its_public_key_and_opens_with_the_passphrase(
    cipher: str, tmp_path: Path
) -> None:
    options = ["-t", "ed25519", "-a", "4", "-Z", cipher]
    data = keygen(tmp_path / "key", *options, passphrase="päss word")
    keyring = parse_identities(data, "~/.ssh/id_ed25519")
    (locked,) = keyring.locked
    public = parse_recipient((tmp_path / "key.pub").read_text())
    assert locked.recipients == (public, public.converted())
    assert (keyring.identities, keyring.broken) == ((), ())
    assert public.key_id not in keyring.key_ids
    assert public.key_id in keyring.locked_key_ids
    (identity,) = locked.unlock("päss word")
    assert identity.recipients == locked.recipients
    assert opens(identity, seal(public))
    with pytest.raises(IdentityError, match=r"~/\.ssh/id_ed25519: the passphrase"):
        locked.unlock("wrong")


@pytest.mark.parametrize("form", ["PEM", "PKCS8", "RFC4716"])
def test_a_locked_rsa_key_opens_with_the_passphrase(form: str, tmp_path: Path) -> None:
    options = ["-t", "rsa", "-b", "2048", "-m", form]
    data = keygen(tmp_path / "key", *options, passphrase="secret")
    (locked,) = parse_identities(data, "key").locked
    (identity,) = locked.unlock("secret")
    public = parse_recipient((tmp_path / "key.pub").read_text())
    assert identity.recipients == (public,)
    assert opens(identity, seal(public))
    for wrong in ("", "Secret"):
        with pytest.raises(IdentityError, match="passphrase"):
            locked.unlock(wrong)


@pytest.mark.parametrize("cipher", ["aes128-ctr", "chacha20-poly1305@openssh.com"])
def test_an_unsupported_cipher_is_reported_before_a_prompt(
    cipher: str, tmp_path: Path
) -> None:
    data = keygen(tmp_path / "key", "-Z", cipher, "-t", "ed25519", passphrase="secret")
    keyring = parse_identities(data, "key")
    assert (keyring.identities, keyring.locked) == ((), ())
    (broken,) = keyring.broken
    assert cipher in broken.reason
    assert "ssh-keygen -p" in str(broken.hint)


def test_an_identity_file_under_a_passphrase_is_unlocked() -> None:
    inside = f"# mine\n{VECTORS[0].secret}\n\n{VECTORS[1].secret}\n{PQ_IDENTITY}\n"
    data = passphrase_file(inside.encode(), "päss")
    keyring = parse_identities(data, "keys.txt.age")
    (locked,) = keyring.locked
    assert (locked.kind, locked.recipients) == ("age identity file", ())
    identities = locked.unlock("päss")
    assert [one.recipients[0].text for one in identities] == [
        VECTORS[0].age,
        VECTORS[1].age,
    ]
    with pytest.raises(IdentityError, match="passphrase is wrong"):
        locked.unlock("wrong")


def test_an_armored_identity_file_of_pyrage_is_unlocked() -> None:
    import pyrage

    data = pyrage.passphrase.encrypt(VECTORS[0].secret.encode(), "secret", armored=True)
    spaced = b"\n" + data.replace(b"\n", b"\r\n") + b"\n "
    (locked,) = parse_identities(spaced, "keys.age").locked
    assert locked.unlock("secret")[0].recipients[0].text == VECTORS[0].age


@pytest.mark.parametrize(
    ("inside", "reason"), [("\n", "no identity"), (PQ_IDENTITY, "post-quantum")]
)
def test_an_unlocked_file_without_identities_says_so(inside: str, reason: str) -> None:
    data = passphrase_file(inside.encode(), "secret")
    (locked,) = parse_identities(data, "keys.age").locked
    with pytest.raises(IdentityError, match=rf"keys\.age: .*{reason}"):
        locked.unlock("secret")


def test_one_broken_line_hides_no_good_one() -> None:
    ssh = ssh_key("beside").private
    rest = ssh_key("cut").private.rpartition("-----END")[0]
    lines = [
        "\ufeff# created: 2026-01-01",
        VECTORS[0].secret,
        PQ_IDENTITY,
        f"  {VECTORS[1].secret.lower()} {VECTORS[2].secret} # two on a line",
        VECTORS[3].secret[:-1] + "Q",
        "age1" + "q" * 58,
        ssh,
        "what is this",
        "and this",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "b3BlbnNzaC1rZXktdjE=",
        "-----BEGIN EC PRIVATE KEY-----",
        "MHcCAQEEIA==",
        "-----END EC PRIVATE KEY-----",
        rest,
    ]
    keyring = parse_identities("\r\n".join(lines).encode(), "keys.txt")
    found = [one.recipients[0].text for one in keyring.identities]
    ages = [vector.age for vector in VECTORS[:3]]
    assert found == [*ages, ssh_key("beside").public]
    reasons = [broken.reason for broken in keyring.broken]
    expected = [
        "line 3: post-quantum",
        "line 5: the identity is corrupt: its checksum is wrong",
        "line 6: this is a public key",
        "line 15: this is not an identity",
        "line 17: the private key has no end",
        "line 19: a file of type EC PRIVATE KEY",
    ]
    assert len(reasons) == len(expected)
    for reason, start in zip(reasons, expected, strict=True):
        assert reason.startswith(start), reasons


BROKEN = [
    (b"", "no identity"),
    (b"\n# nothing\n", "no identity"),
    (b"\xff\xfe\0", "not an identity file"),
    (b"PuTTY-User-Key-File-3: ssh-ed25519\nx", "PuTTY"),
    (VECTORS[0].ssh.encode(), "public key"),
    (VECTORS[0].age.encode(), "public key"),
    (b"AGE-SECRET-KEY-1", "corrupt"),
    (VECTORS[0].secret[:40].encode(), "corrupt"),
    (b"AGE-PLUGIN-YUBIKEY-1QQ", "corrupt"),
    (bech32.encode("age-secret-key-", bytes(31)).encode(), "corrupt"),
    (bech32.encode("age-plugin-../x-", bytes(31)).encode(), "corrupt"),
    (b"age-encryption.org/v1\n-> X25519 abc\ndef\n--- x\n", "not with a passphrase"),
    (b"age-encryption.org/v1\n", "not with a passphrase"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n", "corrupt"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "corrupt"),
    (
        b"-----BEGIN AGE ENCRYPTED FILE-----\n!!\n-----END AGE ENCRYPTED FILE-----",
        "corrupt",
    ),
    (b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", "CERTIFICATE"),
    (
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAA==\n-----END OPENSSH PRIVATE KEY-----",
        "corrupt",
    ),
    (b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----", "corrupt"),
]


@pytest.mark.parametrize(("data", "reason"), BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_identity_is_broken_with_the_reason(
    data: bytes, reason: str
) -> None:
    keyring = parse_identities(data, "some file")
    assert (keyring.identities, keyring.locked) == ((), ())
    (broken,) = keyring.broken
    assert broken.source == "some file"
    assert reason in broken.reason


def test_keys_of_other_kinds_are_broken(tmp_path: Path) -> None:
    data = keygen(tmp_path / "ecdsa", "-t", "ecdsa")
    assert "this kind of private key" in parse_identities(data, "k").broken[0].reason
    locked = keygen(tmp_path / "locked", "-t", "ecdsa", passphrase="secret")
    assert "an ecdsa ssh key" in parse_identities(locked, "k").broken[0].reason
    weak = keygen(tmp_path / "weak", "-t", "rsa", "-b", "1024")
    assert "1024 bits" in parse_identities(weak, "k").broken[0].reason


@given(st.binary(max_size=300), st.integers(0, 400), st.integers(0, 255))
def test_any_bytes_give_a_keyring(data: bytes, place: int, byte: int) -> None:
    spoilt = bytearray(ssh_key("spoilt").private.encode())
    spoilt[place % len(spoilt)] = byte
    for text in (data, bytes(spoilt)):
        keyring = parse_identities(text, "x")
        assert keyring.identities or keyring.locked or keyring.broken


SECRETS = {
    "age": VECTORS[3].secret,
    "ssh": ssh_key("secret").private,
    "rsa": rsa_key().private,
    "locked": ssh_key("secret", passphrase="secret").private,
    "plugin": PLUGIN,
    "damaged": VECTORS[3].secret[:-1] + "Q",
}


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS.keys())
def test_no_repr_and_no_reason_holds_a_secret(text: str) -> None:
    keyring = parse_identities(text.encode(), "source")
    shown = repr(keyring) + str(keyring)
    assert "AGE-SECRET-KEY-1" not in shown.replace("AGE-SECRET-KEY-1…", "")
    # The modulus, which is public, stands in private rsa keys too.
    public = base64.b64encode(parse_recipient(rsa_key().public).key).decode()
    shown = shown.replace(public, "")
    words = [word for word in text.split() if len(word) > 30]
    assert not any(word in shown for word in words)
    for identity in keyring.identities:
        for name in ("x25519_secret", "seed", "pem"):
            secret = getattr(identity, name, None)
            assert secret is None or repr(secret) not in shown


@pytest.mark.parametrize("text", SECRETS.values(), ids=SECRETS.keys())
def test_keyrings_go_to_other_processes(text: str) -> None:
    keyring = parse_identities(text.encode(), "source")
    copy = pickle.loads(pickle.dumps(keyring))  # noqa: S301 (our own bytes)
    assert copy == keyring
    assert [one.recipients for one in copy.identities] == [
        one.recipients for one in keyring.identities
    ]


def test_a_plugin_identity_is_kept_for_its_plugin() -> None:
    class Talk(Silence):
        """Somebody."""

    text = bech32.encode("age-plugin-nobody-has-this-", b"token").upper()
    keyring = parse_identities(text.encode(), "token.txt")
    (identity,) = keyring.identities
    assert isinstance(identity, PluginIdentity)
    assert (identity.name, identity.recipients) == ("nobody-has-this", ())
    talk = Talk()
    (asking,) = keyring.with_talk(talk).identities
    assert isinstance(asking, PluginIdentity)
    assert asking.talk is talk
    with pytest.raises(IdentityError, match="nobody-has-this") as caught:
        asking.to_pyrage()
    assert "age-plugin-nobody-has-this on PATH" in str(caught.value.hint)


PLUGIN_PROGRAM = '''#!{python}
"""An age plugin (C2SP age-plugin.md) whose stanzas hold the file key as it is."""
import sys

lines = iter(sys.stdin.readline, "")
wrapping = sys.argv[1] == "--age-plugin=recipient-v1"
stanzas, keys = [], []


def body():
    """Read up to the line that is shorter than 64 columns; rage sends noise too."""
    text = next(lines)
    return text + body() if len(text) > 64 else text


def send(command, data):
    print("->", command, end="\\n" + data, flush=True)
    return [next(lines), body()]


for line in lines:
    words, data = line.split(), body()
    if words[1] == "done":
        break
    if words[1] == "recipient-stanza":
        stanzas.append((words[2], words[3], data))
    elif words[1] == "wrap-file-key":
        keys.append(data)


if wrapping:
    for key in keys:
        send("recipient-stanza 0 test-plugin", key)
else:
    send("msg", "dG91Y2ggaXQ\\n")
    answer = send("request-secret", "UElO\\n")
    for index, kind, data in stanzas:
        if kind == "test-plugin" and answer[1] == "MTIzNA\\n":
            send(f"file-key {{index}}", data)
print("-> done\\n", flush=True)
'''


class Clerk(Silence):
    """A user who reads messages and knows the PIN."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def display_message(self, message: str) -> None:
        self.said.append(message)

    def request_passphrase(self, description: str) -> str | None:
        self.said.append(description)
        return "1234"


def test_a_plugin_opens_a_file_and_asks_through_the_talk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyrage

    script = tmp_path / "age-plugin-test"
    script.write_text(PLUGIN_PROGRAM.format(python=sys.executable))
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    recipient = parse_recipient(bech32.encode("age1test", b"token"))
    theirs = pyrage.plugin.Recipient.from_str(recipient.text)
    sealer = pyrage.plugin.RecipientPluginV1("test", [theirs], [], Silence())
    sealed = pyrage.encrypt(b"hi", [sealer])
    identity = bech32.encode("age-plugin-test-", b"token").upper().encode()
    clerk = Clerk()
    keyring = parse_identities(identity, "token.txt")
    assert opens(keyring.with_talk(clerk).identities[0], sealed)
    assert clerk.said == ["touch it", "PIN"]


def test_silence_answers_nothing() -> None:
    silence = Silence()
    silence.display_message("touch it")
    assert silence.confirm("sure?", "yes", None) is None
    assert silence.request_public_string("name") is None
    assert silence.request_passphrase("pin") is None


def test_the_same_key_found_twice_counts_once_and_keeps_its_first_source() -> None:
    one = parse_identities(VECTORS[0].secret.encode(), "first")
    other = parse_identities(
        f"{VECTORS[0].secret}\n{VECTORS[1].secret}".encode(), "second"
    )
    merged = one.merge(other)
    assert [item.source for item in merged.identities] == ["first", "second"]
    locked = ssh_key("locked", passphrase="secret").private.encode()
    twice = parse_identities(locked, "a").merge(parse_identities(locked, "b"))
    assert [item.source for item in twice.locked] == ["a"]
    assert merged.merge(Keyring()) == merged


def test_new_identities_differ_and_age_keygen_agrees() -> None:
    one, other = (X25519Identity.generate("throw-away") for _ in range(2))
    assert one != other
    printed = run_program(
        program("age-keygen"), "-y", env={"HOME": "/"}, stdin=one.secret_text().encode()
    )
    assert printed.decode().strip() == one.recipients[0].text


def test_a_key_of_age_keygen_is_read() -> None:
    printed = run_program(program("age-keygen"), env={"HOME": "/"})
    identity = only(parse_identities(printed, "keys.txt"))
    assert identity.recipients[0].text.encode() in printed


def test_identities_of_pyrage_are_read() -> None:
    key = age_key()
    identity = only(parse_identities(key.private.encode(), "key"))
    assert identity.recipients[0].text == key.public


def test_a_converted_identity_knows_the_ssh_stanzas_it_opens() -> None:
    """Opened by hand: the exchange of C2SP age-ssh with nothing but the age secret."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.asymmetric.x25519 import (
        X25519PrivateKey,
        X25519PublicKey,
    )
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    def hkdf(key: bytes, salt: bytes) -> bytes:
        label = b"age-encryption.org/v1/ssh-ed25519\x01"
        return hmac.digest(hmac.digest(salt, key, "sha256"), label, "sha256")

    def exchange(secret: bytes, public: bytes) -> bytes:
        key = X25519PrivateKey.from_private_bytes(secret)
        return key.exchange(X25519PublicKey.from_public_bytes(public))

    identity = only(parse_identities(VECTORS[4].secret.encode(), "keys.txt"))
    assert isinstance(identity, X25519Identity)
    header = seal(parse_recipient(VECTORS[4].ssh)).split(b"\n")
    tag, share = header[1].split()[2:]
    tags = {
        base64.b64encode(hashlib.sha256(blob).digest()[:4])[:6]: blob
        for blob in identity.ssh_blobs
    }
    point = identity.recipients[0].key
    public = base64.b64decode(share + b"=")
    secret = exchange(identity.x25519_secret, public)
    shared = exchange(hkdf(b"", tags[tag]), secret)
    body = base64.b64decode(header[2] + b"=")
    wrap_key = hkdf(shared, public + point)
    assert len(ChaCha20Poly1305(wrap_key).decrypt(bytes(12), body, None)) == 16


def test_the_type_of_a_locked_item_is_part_of_its_identity() -> None:
    one = Locked("a", "ssh key", b"data")
    assert one == Locked("b", "ssh key", b"data")
    assert one != Locked("a", "age identity file", b"data")
    assert "data" not in repr(one)

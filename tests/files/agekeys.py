"""Readers of age files for tests: real private keys, and real `age` to use them.

Also a small age plugin, which is a program of its own and speaks the real protocol.
"""

import hmac
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from nixsecrets.files.age.header import Stanza, encode_base64, join_header
from nixsecrets.keys.bech32 import encode
from nixsecrets.keys.identities import Identity, parse_identities
from nixsecrets.keys.recipients import Recipient, parse_recipient
from tests.fleet import AgeKey, SshKey, age_secret, program, run_program


@dataclass(frozen=True)
class Reader:
    """One key pair: what encrypts to it, what opens it, and the file for `age -i`."""

    recipient: Recipient
    identity: Identity
    private: str = field(repr=False)

    def opens_with_age(self, data: bytes, folder: Path) -> bytes:
        """Decrypt with the real age program, or fail the test."""
        key = folder / "identity"
        key.touch(mode=0o600)
        key.write_text(self.private + "\n")
        return run_program(
            program("age"), "-d", "-i", str(key), env=os.environ, stdin=data
        )


def reader(key: AgeKey | SshKey) -> Reader:
    """Make a reader of a key pair of the fleet."""
    (identity,) = parse_identities(key.private.encode(), "test").identities
    return Reader(parse_recipient(key.public), identity, key.private)


def converted(ssh: Reader) -> Reader:
    """Return the reader that ssh-to-age makes of an ssh-ed25519 key."""
    secret = age_secret(ssh.private.encode())
    (identity,) = parse_identities(secret.encode(), "test").identities
    return Reader(ssh.recipient.converted(), identity, secret)


def age_encrypts(data: bytes, *recipients: Recipient, armored: bool = False) -> bytes:
    """Encrypt with the real age program."""
    to = [word for one in recipients for word in ("-r", one.text)]
    armor = ["-a"] if armored else []
    return run_program(program("age"), *armor, *to, env=os.environ, stdin=data)


def passphrase_file(inside: bytes, passphrase: str) -> bytes:
    """Encrypt with a scrypt stanza (C2SP age.md) that is quick to open.

    pyrage and age choose a work factor that takes a second each time.
    """
    file_key, salt, nonce = bytes(range(16)), bytes(range(16, 32)), bytes(16)
    label = b"age-encryption.org/v1/scrypt"
    wrap_key = Scrypt(label + salt, 32, 2**4, 8, 1).derive(passphrase.encode())
    body = ChaCha20Poly1305(wrap_key).encrypt(bytes(12), file_key, None)
    stanza = Stanza("scrypt", (encode_base64(salt).decode(), "4"), body)
    header = b"age-encryption.org/v1\n" + spelled(stanza) + b"---"
    mac = hmac.digest(_hkdf(file_key, b"", b"header"), header, "sha256")
    payload_key = _hkdf(file_key, nonce, b"payload")
    sealed = ChaCha20Poly1305(payload_key).encrypt(bytes(11) + b"\1", inside, None)
    return header + b" " + encode_base64(mac) + b"\n" + nonce + sealed


def _hkdf(key: bytes, salt: bytes, info: bytes) -> bytes:
    extracted = hmac.digest(salt, key, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def spelled(stanza: Stanza) -> bytes:
    """Return the only spelling of a stanza, its final line feed included."""
    text = encode_base64(stanza.body)
    # A body that fills its last line is ended by an empty one, hence `+ 1`.
    lines = [text[at : at + 64] for at in range(0, len(text) + 1, 64)]
    line = " ".join(("->", stanza.type, *stanza.args)).encode("ascii")
    return b"\n".join((line, *lines, b""))


def encode_header(stanzas: Iterable[Stanza]) -> bytes:
    """Return a header from its first byte through `---`."""
    return join_header(map(spelled, stanzas))


_PLUGIN = '''\
"""age-plugin-toy: wraps a file key by xor with the recipient's 16 bytes."""

import base64, os, signal, sys

entries = int(os.environ.get("TOY_ENTRIES", "1"))
trouble = os.environ.get("TOY_TROUBLE")
pipe_in, pipe_out = sys.stdin.buffer, sys.stdout.buffer


def decode(text):
    return base64.b64decode(text + b"=" * (-len(text) % 4))


def receive():
    words = pipe_in.readline().rstrip(b"\\n").decode().split(" ")[1:]
    body = b""
    while True:
        line = pipe_in.readline().rstrip(b"\\n")
        body += line
        if len(line) < 64:
            return words, decode(body)


def send(*words, body=b""):
    text = base64.b64encode(body).rstrip(b"=")
    pipe_out.write(" ".join(("->", *words)).encode() + b"\\n" + text + b"\\n")
    pipe_out.flush()


def secret(text):
    alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    number = 0
    digits = text.lower().rpartition("1")[2][:-6]
    for char in digits:
        number = number << 5 | alphabet.index(char)
    return (number >> (len(digits) * 5 % 8)).to_bytes(16, "big")


def xor(one, other):
    return bytes(a ^ b for a, b in zip(one, other))


received = []
while True:
    words, body = receive()
    if words[0] == "done":
        break
    received.append((words, body))
if trouble == "dies":
    sys.exit(1)
if trouble and trouble.startswith("notes "):
    with open(trouble.partition(" ")[2], "w") as notes:
        notes.write("\\n".join(os.environ))
if trouble and trouble.startswith("hangs "):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with open(trouble.partition(" ")[2], "w") as notes:
        notes.write(str(os.getpid()))
    signal.pause()
if trouble == "complains":
    send("error", "internal", body=b"the token is \\x1b[1mnot\\n plugged in.")
    receive()
    send("done")
    sys.exit()
if sys.argv[1] == "--age-plugin=recipient-v1":
    keys = [secret(w[1]) for w, _ in received if w[0] == "add-recipient"]
    files = [body for w, body in received if w[0] == "wrap-file-key"]
    for number, file_key in enumerate(files):
        for key in keys:
            for _ in range(entries):
                body = xor(key, file_key)
                send("recipient-stanza", str(number), "toy", body=body)
                receive()
else:
    keys = [secret(w[1]) for w, _ in received if w[0] == "add-identity"]
    for words, body in received:
        if words[0] == "recipient-stanza" and words[2] == "toy":
            send("file-key", words[1], body=xor(keys[0], body))
            receive()
            break
send("done")
'''


def install_toy_plugin(folder: Path) -> Path:
    """Write the program age-plugin-toy to a new folder, which belongs on PATH."""
    folder.mkdir()
    plugin = folder / "age-plugin-toy"
    plugin.write_text(f"#!{sys.executable}\n{_PLUGIN}")
    plugin.chmod(0o755)
    return folder


def toy_reader() -> Reader:
    """Make a reader whose key only age-plugin-toy understands."""
    key = os.urandom(16)
    private = encode("age-plugin-toy-", key).upper()
    (identity,) = parse_identities(private.encode(), "test").identities
    return Reader(parse_recipient(encode("age1toy", key)), identity, private)

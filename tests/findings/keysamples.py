"""Real private keys of every kind, made once per process by the real programs."""

import base64
import os
import subprocess
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from nixsecrets.keys.bech32 import encode
from tests.fleet import age_key, program, rsa_key, run_program, ssh_key

NOBODY = "Nobody <nobody@example.org>"


def run(*argv: str, folder: str, stdin: bytes = b"") -> bytes:
    env = dict(os.environ) | {"HOME": folder, "GNUPGHOME": folder}
    return run_program(program(argv[0]), *argv[1:], env=env, stdin=stdin)


def bech32(prefix: str, size: int = 32) -> str:
    return encode(prefix, os.urandom(size)).upper()


def base64_lines(size: int) -> str:
    text = base64.b64encode(os.urandom(size)).decode()
    return "\n".join(text[n : n + 64] for n in range(0, len(text), 64))


def wireguard(*, clamped: bool = True) -> str:
    """A key as `wg genkey` prints it; it fixes five bits of a private one."""
    key = bytearray(os.urandom(32))
    if clamped:
        key[0] &= 0xF8
        key[31] = key[31] & 0x7F | 0x40
    return base64.b64encode(key).decode()


def putty(version: int, encryption: str = "none") -> str:
    """A PPK file as PuTTY writes it (its manual, appendix C), of random bytes."""
    derivation = (
        "Key-Derivation: Argon2id\nArgon2-Memory: 8192\nArgon2-Passes: 21\n"
        f"Argon2-Parallelism: 1\nArgon2-Salt: {os.urandom(16).hex()}\n"
    )
    return (
        f"PuTTY-User-Key-File-{version}: ssh-rsa\nEncryption: {encryption}\n"
        f"Comment: rsa-key-20260101\nPublic-Lines: 6\n{base64_lines(279)}\n"
        f"{derivation if version == 3 and encryption != 'none' else ''}"
        f"Private-Lines: 14\n{base64_lines(640)}\n"
        f"Private-MAC: {os.urandom(20 if version == 2 else 32).hex()}\n"
    )


@cache
def age_identities() -> Mapping[str, str]:
    """age identities, by the words in which they are reported."""
    return {
        "an age identity": age_key().private,
        "a post-quantum age identity": bech32("age-secret-key-pq-"),
        "an age plugin identity": bech32("age-plugin-yubikey-", 60),
    }


@cache
def pem_files() -> Mapping[str, str]:
    """PEM and its relatives, by how they are reported; `#…` distinguishes them."""
    made = {
        "OPENSSH private key": ssh_key("sample").private,
        "OPENSSH private key#rsa": rsa_key().private,
        "OPENSSH private key#encrypted": ssh_key("x", passphrase="secret").private,
    }
    with tempfile.TemporaryDirectory() as folder:

        def openssl(*argv: str, stdin: str = "") -> str:
            done = run("openssl", *argv, folder=folder, stdin=stdin.encode())
            return done.decode()

        rsa = openssl("genrsa", "-traditional", "2048")
        locked = ("-passout", "pass:secret")
        made |= {
            "RSA private key": rsa,
            "RSA private key#encrypted": openssl(
                "rsa", "-traditional", "-aes128", *locked, stdin=rsa
            ),
            "a private key#rsa": openssl("pkcs8", "-topk8", "-nocrypt", stdin=rsa),
            "ENCRYPTED private key": openssl("pkcs8", "-topk8", *locked, stdin=rsa),
            "a private key": openssl("genpkey", "-algorithm", "ed25519"),
            "EC private key": openssl(
                "ecparam", "-name", "prime256v1", "-genkey", "-noout"
            ),
        }
        made["EC private key#encrypted"] = openssl(
            "ec", "-aes256", *locked, stdin=made["EC private key"]
        )
    ssh2 = f'Comment: "rsa-key"\n{base64_lines(600)}'
    made["SSH2 ENCRYPTED private key"] = (
        f"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\n{ssh2}\n"
        "---- END SSH2 ENCRYPTED PRIVATE KEY ----\n"
    )
    made |= {f"a PGP private key#{n}": t for n, t in pgp_keys()[0].items()}
    return made


@cache
def pgp_keys() -> tuple[Mapping[str, str], Mapping[str, bytes], list[bytes]]:
    """Secret keys as gpg exports them, armored and binary, and as it keeps them."""
    armored: dict[str, str] = {}
    binary: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="gpg") as folder:
        batch = ("gpg", "--batch", "--pinentry-mode", "loopback", "--passphrase")
        try:
            for kind, passphrase in (
                ("ed25519", ""),
                ("rsa1024", "x"),
                ("nistp256", ""),
            ):
                name = f"{kind} {NOBODY}"
                make = ("--quick-generate-key", name, kind, "sign", "never")
                run(*batch, passphrase, *make, folder=folder)
                export = (*batch, passphrase, "--export-secret-keys")
                binary[kind] = run(*export, name, folder=folder)
                armored[kind] = run(*export, "--armor", name, folder=folder).decode()
            kept = Path(folder, "private-keys-v1.d").glob("*.key")
            return armored, binary, [file.read_bytes() for file in kept]
        finally:
            subprocess.run(
                [program("gpgconf"), "--homedir", folder, "--kill", "all"], check=False
            )


def pgp_public() -> tuple[bytes, bytes]:
    """A public key, binary and armored, as gpg exports it."""
    with tempfile.TemporaryDirectory(prefix="gpg") as folder:
        make = ("--passphrase", "", "--quick-generate-key", NOBODY, "ed25519")
        batch = ("gpg", "--batch", "--pinentry-mode", "loopback")
        try:
            run(*batch, *make, folder=folder)
            armored = run("gpg", "--export", "--armor", folder=folder)
            return run("gpg", "--export", folder=folder), armored
        finally:
            subprocess.run(
                [program("gpgconf"), "--homedir", folder, "--kill", "all"], check=False
            )

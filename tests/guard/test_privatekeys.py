"""Private keys are found wherever they are pasted, and mentions of them are none."""

import base64
import json
import os
import textwrap
from collections.abc import Callable, Mapping

import pytest

from nixsecrets.guard.privatekeys import private_keys
from tests.fleet import newest_age, run_program, ssh_key
from tests.guard.keysamples import (
    age_identities,
    base64_lines,
    bech32,
    pem_files,
    pgp_keys,
    pgp_public,
    putty,
    wireguard,
)

Place = Callable[[str], tuple[bytes, int]]


def told(data: bytes | str, path: str = "notes.txt") -> list[tuple[str, int]]:
    raw = data.encode() if isinstance(data, str) else data
    return [(one.what, one.line) for one in private_keys(path, raw)]


def at(line: int, text: str) -> tuple[bytes, int]:
    return text.encode(), line


def indented(text: str, by: str) -> str:
    return textwrap.indent(text.rstrip("\n"), by) + "\n"


def wrapped(text: str, before: bytes, width: int = 10**6, indent: str = "") -> str:
    whole = base64.b64encode(before + text.encode()).decode()
    return ("\n" + indent).join(textwrap.wrap(whole, width))


# Ways in which a text comes into a file: the file, and the line that it begins in.
PLACES: dict[str, Place] = {
    "alone": lambda key: at(1, key),
    "without a line end": lambda key: at(1, key.rstrip("\n")),
    "after other lines": lambda key: at(4, f"# a\n\nb: c\n{key}\nd: e\n"),
    "with carriage returns": lambda key: at(2, f"# a\n{key}".replace("\n", "\r\n")),
    "in a YAML block": lambda key: at(
        3, f"a:\n  b: |\n{indented(key, '      ')}c: d\n"
    ),
    "in a Nix string": lambda key: at(
        2, f"{{ a = ''\n{indented(key, '    ')}  ''; }}\n"
    ),
    "behind tabs": lambda key: at(2, "a:\n" + indented(key, "\t\t\t")),
    "quoted as JSON does": lambda key: at(1, json.dumps({"key": key})),
    "quoted twice": lambda key: at(1, json.dumps(json.dumps({"key": key}))),
    "with escaped carriage returns": lambda key: at(
        1, json.dumps(key.replace("\n", "\r\n"))
    ),
    "in the middle of a line": lambda key: at(1, f"x=1 KEY='{key}'; export KEY # y\n"),
    "glued to words": lambda key: at(1, f"key:{key}end"),
    "in a patch": lambda key: at(2, "@@ -1 +1 @@\n" + indented(key, "+")),
    "commented out": lambda key: at(2, "a\n" + indented(key, "  # ")),
    "as a mail quotes it": lambda key: at(2, "a\n" + indented(key, "> ")),
    "as lines of C": lambda key: at(
        2, "key =\n" + "".join(f'    "{line}\\n"\n' for line in key.splitlines())
    ),
    "as lines of JavaScript": lambda key: at(
        2, "key =\n" + " +\n".join(f"    '{line}\\n'" for line in key.splitlines())
    ),
    "in UTF-16": lambda key: (f"a\n{key}".encode("utf-16"), 2),
    "in UTF-16 LE, unmarked": lambda key: (f"ü\n{key}".encode("utf-16-le"), 2),
    "in UTF-16 BE, unmarked": lambda key: (f"a\n{key}".encode("utf-16-be"), 2),
    "in UTF-32": lambda key: (f"a\n{key}".encode("utf-32"), 2),
    "appended in UTF-16": lambda key: (b"a\r\nb\r\n" + key.encode("utf-16-le"), 3),
    "among bytes": lambda key: (b"\x00\xff\x80" + key.encode() + b"\x00\x01", 1),
    "behind a megabyte": lambda key: (b"a: b\n" * 200_000 + key.encode(), 200_001),
}
ENCODED: dict[str, Place] = {
    "in base64": lambda key: at(2, f"data:\n  k: {wrapped(key, b'')}\n"),
    "in base64, from the second byte": lambda key: at(1, wrapped(key, b"x")),
    "in base64, from the third byte": lambda key: at(1, wrapped(key, b"# a\n\n")),
    "in lines of base64": lambda key: at(1, wrapped(key, b"#\n", 76) + "\n"),
    "in short lines of base64": lambda key: at(
        2, "x:\n" + wrapped(key, b"", 9, "    ")
    ),
    "in base64 in UTF-16": lambda key: (wrapped(key, b"").encode("utf-16"), 1),
    "as a Kubernetes secret": lambda key: at(
        3, f"kind: Secret\ndata:\n  age.agekey: {wrapped(key, b'# made')}\n  b: Yg==\n"
    ),
}


@pytest.mark.parametrize("place", [*PLACES, *ENCODED])
def test_an_age_identity_is_found_in_every_place(place: str) -> None:
    for what, key in age_identities().items():
        data, line = (PLACES | ENCODED)[place](key)
        name = f"{what} in base64" if place in ENCODED else what
        assert told(data) == [(name, line)]


@pytest.mark.parametrize("place", [*PLACES, *ENCODED])
def test_a_pem_block_is_found_in_every_place(place: str) -> None:
    for name, key in pem_files().items():
        data, line = (PLACES | ENCODED)[place](key)
        what = name.partition("#")[0] + (" in base64" if place in ENCODED else "")
        assert told(data) == [(what, line)], name


@pytest.mark.parametrize(
    "key",
    [putty(2), putty(2, "aes256-cbc"), putty(3), putty(3, "aes256-cbc")],
    ids=["2", "2 encrypted", "3", "3 encrypted"],
)
def test_a_putty_key_is_found_in_every_place(key: str) -> None:
    for place, put in (PLACES | ENCODED).items():
        data, _ = put(key)
        name = "a PuTTY private key" + (" in base64" if place in ENCODED else "")
        assert [what for what, _ in told(data)] == [name], place


def test_what_age_and_its_plugins_generate_is_found() -> None:
    """The reference program's own post-quantum identity."""
    generate = newest_age("age-keygen")
    assert told(run_program(generate, "-pq", env={})) == [
        ("a post-quantum age identity", 3)
    ]


WIREGUARD: Mapping[str, str] = {
    "wg0.conf": "[Interface]\nPrivateKey = {key}\nListenPort = 51820\n",
    "tight.conf": "[Interface]\nPrivateKey={key}\n",
    "peer.conf": "[Peer]\nPublicKey = {public}\nPresharedKey = {key}\n",
    "wg.nix": '{{ networking.wireguard.interfaces.wg0.privateKey = "{key}"; }}\n',
    "forced.nix": '{{ privateKey = lib.mkForce "{key}"; }}\n',
    "prior.nix": '{{ privateKey = lib.mkOverride 10 "{key}"; }}\n',
    "long.nix": '{{\n  privateKey =\n              "{key}";\n}}\n',
    "quotes.nix": "{{ peers = [ {{ presharedKey = ''{key}''; }} ]; }}\n",
    "netdev.nix": '{{ wireguardConfig = {{ PrivateKey = "{key}"; }}; }}\n',
    "25-wg0.netdev": "[WireGuard]\nPrivateKey={key}\n",
    "wg.nmconnection": "[wireguard]\nprivate-key={key}\n",
    "peer.nmconnection": "[wireguard-peer.{public}]\npreshared-key={key}\n",
    "sing-box.json": '{{"type": "wireguard", "private_key": "{key}"}}\n',
    "twice.json": '"{{\\"private_key\\": \\"{key}\\"}}"\n',
    "peers.yaml": "wireguard:\n  privateKey: {key}\n",
    "vpn.env": "WIREGUARD_PRIVATE_KEY={key}\n",
    "setup.sh": "export WG_PRIVATE_KEY='{key}'\n",
}


@pytest.mark.parametrize("name", WIREGUARD)
def test_a_wireguard_key_is_found_under_its_name(name: str) -> None:
    for clamped in (True, False):
        key, public = wireguard(clamped=clamped), wireguard()
        text = WIREGUARD[name].format(key=key, public=public)
        for form in (text, text.replace("\n", "\r\n")):
            (found,) = told(form, name)
            assert found[0] == "a WireGuard private key"
            assert told(form.encode("utf-16"), name) == [found]
    assert told(wrapped(text, b"x: y\n")) in (
        [("a WireGuard private key in base64", 1)],
        [],  # only the spelling of wg and systemd is looked for in base64
    )


def test_a_wireguard_configuration_in_base64_is_found() -> None:
    for name in ("wg0.conf", "tight.conf", "25-wg0.netdev"):
        text = WIREGUARD[name].format(key=wireguard(), public="")
        for before in (b"", b"#", b"# "):
            assert told(wrapped(text, before)) == [
                ("a WireGuard private key in base64", 1)
            ]


@pytest.mark.parametrize(
    ("path", "clamped"),
    [
        ("privatekey", False),
        ("keys/server_priv", False),
        ("wg/laptop.psk", False),
        ("wireguard/server.key", True),
        ("hosts/web/wg0", True),
    ],
)
def test_a_file_that_is_a_wireguard_key_is_told_by_its_name(
    path: str, *, clamped: bool
) -> None:
    key = wireguard(clamped=clamped)
    for end in ("", "\n", "\r\n"):
        assert told(key + end, path) == [("a WireGuard private key", 1)]


def test_pgp_keys_are_found_as_gpg_exports_and_keeps_them() -> None:
    _, binary, kept = pgp_keys()
    for data in binary.values():
        assert told(data) == [("a PGP private key", 1)]
    assert len(kept) == len(binary)
    for data in kept:
        assert [what for what, _ in told(data)] == ["a GnuPG private key"]


def test_several_keys_in_one_file_are_all_told() -> None:
    age = age_identities()["an age identity"]
    pem = pem_files()["RSA private key"]
    text = f"{age}\n\n{pem}{age}\n"
    lines = pem.count("\n")
    assert told(text) == [
        ("an age identity", 1),
        ("an age identity", 3 + lines),
        ("RSA private key", 3),
    ]


# --- what is none

MENTIONS: Mapping[str, str | bytes] = {
    "a placeholder": "AGE-SECRET-KEY-1...\nAGE-SECRET-KEY-1…\nAGE-SECRET-KEY-PQ-1…\n",
    "a placeholder of x": "AGE-SECRET-KEY-1" + "X" * 58,
    "a placeholder of q": "AGE-SECRET-KEY-1" + "Q" * 58,
    "a shortened identity": bech32("age-secret-key-")[:50] + "...",
    "an identity with a typing error": "AGE-SECRET-KEY-1QQ"
    + bech32("age-secret-key-")[18:],
    "a plugin's placeholder": "AGE-PLUGIN-YUBIKEY-1Q...\nage-plugin-yubikey-1.2.3\n",
    "recipients": "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p\n"
    + ssh_key("p").public,
    "the names of PEM": "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    "-----BEGIN RSA PRIVATE KEY-----\n-----END RSA PRIVATE KEY-----\n",
    "a test's own words": 'def test():\n    key = "-----BEGIN RSA PRIVATE KEY-----"\n'
    "    assert not is_private(key, Path('some/long/path/of/a/repository/file'))\n",
    "a list of files after the name": 'if "-----BEGIN PRIVATE KEY-----" in text: pass\n'
    + "".join(f"  ./modules/services/networking/part{n}.nix\n" for n in range(40)),
    "a shortened OpenSSH key": ssh_key("p").private[:110] + "...\n"
    "-----END OPENSSH PRIVATE KEY-----\n",
    "a shortened RSA key": "-----BEGIN RSA PRIVATE KEY-----\n"
    "MIIEpAIBAAKCAQEA04up8hoqzS1+APIB0RhjXyObwHQnOzhAk5Bd7mhkSbPkyhP1\n...\n"
    "-----END RSA PRIVATE KEY-----\n",
    "a shortened key in a test": 'KEY = """-----BEGIN RSA PRIVATE KEY-----\n'
    "MIIEpAIBAAKCAQEA04up8hoqzS1+APIB0RhjXyObwHQnOz\n"
    '-----END RSA PRIVATE KEY-----"""\n',
    "a shortened PKCS8 key": "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIA\n...\n-----END PRIVATE KEY-----\n",
    "a key of dots": "-----BEGIN PRIVATE KEY-----\n" + "." * 500,
    "a certificate": "-----BEGIN CERTIFICATE-----\n" + base64_lines(900),
    "a public key": "-----BEGIN PUBLIC KEY-----\n" + base64_lines(300),
    "an age file": "-----BEGIN AGE ENCRYPTED FILE-----\n" + base64_lines(300),
    "a PuTTY public key": "PuTTY-User-Key-File-2: ssh-rsa\nPublic-Lines: 6\n"
    + base64_lines(279),
    "the first line of a PPK": 'if line.startswith("PuTTY-User-Key-File-3: "): pass\n',
    "a WireGuard example": "PrivateKey = " + "A" * 43 + "=\nPrivateKey = <your key>\n",
    "WireGuard public keys": f"PublicKey = {wireguard()}\n"
    f'publicKey = "{wireguard()}";\n',
    "a file's name": "privateKeyFile = config.sops.secrets.wg.path;\n"
    "PrivateKeyFile = /run/secrets/wg\n",
    "a hash": f"private_key_hash: sha256-{wireguard()}\n",
    "GnuPG's words": "(private-key is kept in private-keys-v1.d)\n",
}


@pytest.mark.parametrize("name", MENTIONS)
def test_a_mention_of_a_private_key_is_none(name: str) -> None:
    text = MENTIONS[name]
    data = text.encode() if isinstance(text, str) else text
    for form in (data, data.replace(b"\n", b"\r\n"), base64.b64encode(data)):
        assert told(form) == []
    assert told(json.dumps(data.decode())) == []


def test_a_file_of_one_random_key_needs_a_name_that_says_more() -> None:
    for path in ("publickey", "wg/server.pub", "random", "wg/publickey.old"):
        assert told(wireguard() + "\n", path) == []
    for text in ("A" * 43 + "=", wireguard() * 2, wireguard() + "x"):
        assert told(text, "privatekey") == []


def test_public_keys_of_gpg_and_random_bytes_are_none() -> None:
    binary, armored = pgp_public()
    assert (told(binary), told(armored)) == ([], [])
    assert not any(told(bytes([0x95]) + os.urandom(500)) for _ in range(2000))
    assert not any(told(bytes([0xC5]) + os.urandom(60)) for _ in range(2000))


def test_megabytes_of_beginnings_take_time_by_their_length() -> None:
    """Hostile input: none of it may cost more than its length."""
    import time

    beginnings = (
        b"-----BEGIN PRIVATE KEY-----",
        b"-----BEGIN RSA PRIVATE KEY-----\n" + b"A: b\n" * 100,
        b"AGE-PLUGIN-",
        b"AGE-PLUGIN-A-1" + b"Q" * 4000,
        b"AGE-SECRET-KEY-1" + b"Q" * 58,
        b"PuTTY-User-Key-File-2: ssh-rsa\n",
        b"(private-key ",
        b"privateKey = ",
        b"private_key" + b" " * 60,
        base64.b64encode(b"-----BEGIN PRIVATE KEY-----"),
        base64.b64encode(b"PrivateKeyx") + b"\n",
        b"\0P\0R\0I",
    )
    for beginning in beginnings:
        seconds = []
        for size in (250_000, 1_000_000):
            data = (beginning * (size // len(beginning) + 1))[:size]
            start = time.process_time()
            told(data)
            seconds.append(time.process_time() - start)
        assert seconds[1] < 8 * seconds[0] + 0.5, beginning[:40]

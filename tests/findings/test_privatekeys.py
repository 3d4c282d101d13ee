"""Private keys are found wherever they are pasted, and mentions of them are none."""

import base64
import json
import os
import random
import re
import textwrap
from collections.abc import Callable, Mapping
from urllib.parse import quote, quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from nixsecrets.findings.guard.privatekeys import private_keys
from tests.findings.keysamples import (
    age_identities,
    base64_lines,
    bech32,
    pem_files,
    pgp_keys,
    pgp_public,
    putty,
    wireguard,
)
from tests.fleet import newest_age, run_program, ssh_key

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
def test_a_file_that_is_a_wireguard_key_is_recognized_by_its_name(
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


def test_the_file_of_a_tor_onion_service_is_found() -> None:
    data = b"== ed25519v1-secret: type0 ==\0\0\0" + os.urandom(64)
    assert told(data, "hs_ed25519_secret_key") == [
        ("the key of a Tor onion service", 1)
    ]
    wrapped_in_yaml = b"key: " + base64.b64encode(data)
    assert told(wrapped_in_yaml) == [("the key of a Tor onion service in base64", 1)]
    public = b"== ed25519v1-public: type0 ==\0\0\0" + os.urandom(32)
    assert told(public) == []


def test_several_keys_in_one_file_are_all_reported() -> None:
    age = age_identities()["an age identity"]
    pem = pem_files()["RSA private key"]
    text = f"{age}\n\n{pem}{age}\n"
    lines = pem.count("\n")
    assert told(text) == [
        ("an age identity", 1),
        ("an age identity", 3 + lines),
        ("RSA private key", 3),
    ]


# --- keys of single tools, in their own formats


def tool_keys() -> dict[str, str]:
    """What tools write, with fresh keys; by what it is called."""

    def b64(size: int, begin: bytes = b"") -> str:
        return base64.b64encode(begin + os.urandom(size)).decode()

    seed = Ed25519PrivateKey.generate()
    both = seed.private_bytes_raw() + seed.public_key().public_bytes_raw()
    nix = base64.b64encode(both).decode()
    hexes = "".join(f"{os.urandom(16).hex()}\n" for _ in range(16))
    onion = base64.b32encode(os.urandom(35)).decode().lower()
    return {
        "a Nix signing key": f"cache.example.org-1:{nix}\n",
        "an OpenVPN static key": f"-----BEGIN OpenVPN Static key V1-----\n{hexes}"
        "-----END OpenVPN Static key V1-----\n",
        "an OpenVPN key": "-----BEGIN OpenVPN tls-crypt-v2 server key-----\n"
        f"{b64(128)}\n-----END OpenVPN tls-crypt-v2 server key-----\n",
        "NEBULA X25519 private key": "-----BEGIN NEBULA X25519 PRIVATE KEY-----\n"
        f"{b64(32)}\n-----END NEBULA X25519 PRIVATE KEY-----\n",
        "MATRIX private key": "-----BEGIN MATRIX PRIVATE KEY-----\n"
        f"Key-ID: ed25519:a_b\n\n{b64(32)}\n-----END MATRIX PRIVATE KEY-----\n",
        "a minisign secret key": "untrusted comment: minisign encrypted secret key\n"
        f"{b64(152, b'EdScB2')}\n",
        "a minisign secret key|2": "untrusted comment: minisign secret key\n"
        f"{b64(152, b'Ed' + bytes(2) + b'B2')}\n",
        "a signify secret key": "untrusted comment: signify secret key\n"
        f"{b64(96, b'EdBK' + bytes(3) + b'*')}\n",
        "the key of a Tor onion service": f"ADD_ONION ED25519-V3:{b64(64)} Port=80\n",
        "a Tor client's key": f"{onion}:descriptor:x25519:"
        f"{base64.b32encode(os.urandom(32)).decode()[:52]}\n",
        "a DNSSEC private key": "Private-key-format: v1.3\n"
        f"Algorithm: 13 (ECDSAP256SHA256)\nPrivateKey: {b64(32)}\n",
        "a TSIG key": 'key "x" {\n\talgorithm hmac-sha256;\n'
        f'\tsecret "{b64(32)}";\n}};\n',
        "a TSIG key|2": "key:\n  - id: x\n    algorithm: hmac-sha512\n"
        f"    secret: {b64(64)}\n",
        "a Matrix signing key": f"ed25519 a_Kbtn {b64(32).rstrip('=')}\n",
        "a private key in hexadecimal digits": f"private_key={os.urandom(32).hex()}\n",
        "a JSON web key with its private part": '{"kty":"OKP","crv":"Ed25519",'
        f'"x":"{b64(32)[:43]}","d":"{os.urandom(30).hex()[:43]}"}}\n',
    }


TOOLS = list(tool_keys())


@pytest.mark.parametrize("name", TOOLS)
def test_the_key_of_a_tool_is_found_by_what_stands_around_it(name: str) -> None:
    key, what = tool_keys()[name], name.partition("|")[0]
    for text in (key, f"# a\n{key}\n", key.replace("\n", "\r\n"), indented(key, "  ")):
        assert what in [one for one, _ in told(text)], text
    if "JSON" not in name:
        assert what in [one for one, _ in told(json.dumps({"key": key}))]


@pytest.mark.parametrize("name", TOOLS)
def test_the_public_half_or_an_example_of_it_is_none(name: str) -> None:
    key = tool_keys()[name]
    example = re.sub(r"[A-Za-z0-9+/]{20,}", lambda m: "A" * len(m[0]), key)
    assert told(example) == []


PUBLIC: Mapping[str, str] = {
    "nix": "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=\n",
    "sri": "hash = sha512:" + base64.b64encode(b"\x01" * 30 + os.urandom(34)).decode(),
    "minisign": "untrusted comment: minisign public key\n"
    + base64.b64encode(b"Ed" + os.urandom(40)).decode(),
    "jwk": '{"kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}',
    "matrix": "ed25519:a_Kbtn 11qYAYKxCrfVS7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    "known hosts": f"brunnen {ssh_key('p').public}",
    "hash": f"private_key_hash = {os.urandom(32).hex()}\nrev: {os.urandom(32).hex()}\n",
    "tor": "descriptor:x25519:N2NU7BSRL6YODZCYPN4CREB54TYLKGIE2KYOQWLFYC23ZJVCE5DQ",
    "code": 'b"== ed25519v1-secret: type0 ==\\0\\0\\0" + key[:64] # how Tor writes it',
    "cert": "MIIC+zCCAeOgAwIBAgIUJ0c1oVZ0rT4k9mSgk3nq2fK0cCkwDQYJKoZIhvcNAQELBQAw",
}


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_of_these_tools_is_none(name: str) -> None:
    assert told(PUBLIC[name]) == []


def der_keys() -> dict[str, bytes]:
    """Private keys in DER, by what they are called."""
    plain = NoEncryption()
    curve = ec.generate_private_key(ec.SECP256R1())
    ed25519 = Ed25519PrivateKey.generate()
    traditional, pkcs8 = PrivateFormat.TraditionalOpenSSL, PrivateFormat.PKCS8
    locked = BestAvailableEncryption(b"word")
    return {
        "a PKCS#8 private key": ed25519.private_bytes(Encoding.DER, pkcs8, plain),
        "a PKCS#8 private key|ec": curve.private_bytes(Encoding.DER, pkcs8, plain),
        "an EC private key": curve.private_bytes(Encoding.DER, traditional, plain),
        "an encrypted PKCS#8 private key": curve.private_bytes(
            Encoding.DER, pkcs8, locked
        ),
    }


@pytest.mark.parametrize("name", der_keys())
def test_der_is_a_private_key_as_a_file_and_in_base64_without_pem(name: str) -> None:
    data, what = der_keys()[name], name.partition("|")[0]
    assert told(data) == [(what, 1)]
    text = base64.b64encode(data).decode()
    folded = "\n".join(textwrap.wrap(text, 64))
    for form in (text, folded, f"key: {text}\n", f"key: |\n{indented(folded, '  ')}"):
        assert [one for one, _ in told(form)] == [f"{what} in base64"], form
    assert told(data[: len(data) // 2]) == []
    assert told(text[: len(text) // 3]) == []


NOISE: Mapping[str, Callable[[int, str], str]] = {
    "line numbers": lambda number, line: f"{number:4}  {line}\n",
    "grep's numbers": lambda number, line: f"key.pem:{number}:{line}\n",
    "timestamps": lambda number, line: f"2026-11-30T12:00:{number:02}.123Z {line}\n",
    "journal": lambda _, line: f"Nov 30 12:00:01 brunnen app[77]: {line}\n",
    "HTML": lambda _, line: f"{line}<br/>\n",
    "HTML on one line": lambda _, line: f"{line}<br>",
}


@pytest.mark.parametrize("noise", NOISE)
def test_a_pem_block_is_found_with_something_at_each_line(noise: str) -> None:
    for name, key in pem_files().items():
        if name.startswith("PGP"):
            continue
        lines = enumerate(key.strip().splitlines(), 1)
        text = "".join(NOISE[noise](number, line) for number, line in lines)
        assert [what for what, _ in told(f"a\n{text}")] == [name.partition("#")[0]]


def test_a_key_is_found_in_an_address() -> None:
    age = age_identities()["an age identity"]
    assert told(f"a\nkey={quote(age)}\n") == [("an age identity", 2)]
    for name, key in pem_files().items():
        for form in (quote(key), quote_plus(key)):
            what = name.partition("#")[0]
            assert [one for one, _ in told(f"key={form}&x=1\n")] == [what], name


BROKEN: Mapping[str, Callable[[str], str]] = {
    "over two lines": lambda key: f"{key[:40]}\n{key[40:]}\n",
    "over two indented lines": lambda key: (
        f"  {key[:30]}\n  {key[30:50]}\n  {key[50:]}"
    ),
    "joined in a shell": lambda key: f"K='{key[:40]}'\\\n  '{key[40:]}'\n",
    "joined in Nix": lambda key: f'"{key[:40]}" + "{key[40:]}"\n',
    "in a comment": lambda key: f"# {key[:40]}\n# {key[40:]}\n",
    "escaped": lambda key: key.replace("-", "\\-"),
    "escaped as JSON may": lambda key: key.replace("-", "\\u002d"),
    "as HTML": lambda key: key.replace("-", "&#45;"),
    "in front of its 1": lambda key: f'"{key[:15]}" + "{key[15:]}"\n',
    "in its name": lambda key: (
        f'"{key[:3]}" + "{key[3:4]}" "{key[4:11]}" + "{key[11:]}"'
    ),
    "over three lines": lambda key: f"{key[:25]}\n{key[25:50]}\n{key[50:]}\n",
    "over lines of six": lambda key: "\n  ".join(textwrap.wrap(key, 6)),
    "in strings of four": lambda key: " +\n".join(
        f'  "{key[at : at + 4]}"' for at in range(0, len(key), 4)
    ),
    "in a quoted line end": lambda key: f'"{key[:40]}\\n{key[40:]}"',
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_age_identity_is_found_though_it_is_broken_or_escaped(how: str) -> None:
    for what, identity in age_identities().items():
        if "plugin" not in what:
            assert told(BROKEN[how](identity.strip())) == [(what, 1)]


def openssh_bodies() -> list[str]:
    """The base64 of OpenSSH's PEM blocks, without the lines around it."""
    found = [key for name, key in pem_files().items() if name.startswith("OPENSSH")]
    return ["".join(key.strip().splitlines()[1:-1]) for key in found]


def test_an_openssh_key_is_found_without_the_lines_around_it() -> None:
    what = "an OpenSSH private key"
    assert len(openssh_bodies()) > 1
    for text in openssh_bodies():
        raw = base64.b64decode(text)
        assert told(raw, "id_ed25519") == [(what, 1)]
        assert told(b"a\nb" + raw, "blob") == [(what, 2)]
        for width in (30, 64, 70, 76, 10**6):
            folded = "\n".join(textwrap.wrap(text, width))
            for form in (folded, f"key: {folded}\n", indented(folded, "  ")):
                assert told(form) == [(f"{what} in base64", 1)], width
            quoted = json.dumps({"key": f"x\n{folded}\n"})
            assert told(quoted) == [(f"{what} in base64", 1)], width
        public = (
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----"
        )
        assert told(f"{public}\n{text}\n") == [(f"{what} in base64", 4)]


def test_a_shortened_openssh_key_and_the_name_of_the_format_are_none() -> None:
    text = openssh_bodies()[0]
    for form in (text[:60], f"{text[:70]}...", text[:20] + "A" * 400):
        assert told(form) == []
    magic = b"openssh-key-v1\0"
    for data in (magic, magic + b"ssh-rsa\0none\0bcrypt\0" * 20, magic * 40):
        assert told(data) == []


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
    # The same bytes each time: of 10,000 texts with such a beginning one is taken.
    dice = random.Random(21)  # noqa: S311 - repeatable, not secret
    assert not any(told(bytes([0x95]) + dice.randbytes(500)) for _ in range(2000))
    assert not any(told(bytes([0xC5]) + dice.randbytes(60)) for _ in range(2000))


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
        b"AGE-SECRET-KEY-1Q\nQ",
        b"AGE\\-SECRET\\-KEY\\-1" + b"Q \n" * 30,
        b"MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC\n",
        b"MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQC!!",
        b'"kty":"RSA",',
        b'{"kty":"RSA"}',
        b"Private-key-format: v1.3\n",
        b"algorithm hmac-sha256 ",
        b"-----BEGIN OpenVPN Static key V1-----\n" + b"0" * 32 + b"\n",
        b"private_key=",
        b"%2b%0a",
        b"RWRTY0Iy",
        b"a:" + b"A" * 86 + b"== ",
        b"b3BlbnNzaC1rZXktdjEA",
        b"b3BlbnNzaC1rZXktdjEA\n",
        b"b3BlbnNzaC1rZXktdjEA" + b"AAAAB3NzaC1yc2E\n" * 9,
        b"openssh-key-v1\0",
        b"openssh-key-v1\0\0\0\0\4none\0\0\0\4none\0\0",
        b"age-secret-key" + b"-" * 80,
        b"age-secret-key-1" + b"\\nq\\n" * 30,
        b'"AGE-" + "SECRET-KEY-" + ',
        b"AGE" + b"- " * 40,
    )
    for beginning in beginnings:
        seconds = []
        for size in (100_000, 400_000):
            data = (beginning * (size // len(beginning) + 1))[:size]
            start = time.process_time()
            told(data)
            seconds.append(time.process_time() - start)
        assert seconds[1] < 8 * seconds[0] + 0.2, beginning[:40]

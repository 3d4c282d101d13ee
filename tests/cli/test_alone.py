"""`cat` of one secret: without a look at the others, and as if it had looked."""

import pytest

from tests.cli.import_table import loaded
from tests.fleet import Fleet, ssh_key

WIFI, DNS = "secrets/wifi.age", "secrets/dns.yaml"


@pytest.mark.parametrize("path", [WIFI, DNS])
def test_other_secrets_and_the_lock_are_not_read(ready: Fleet, path: str) -> None:
    ready.write("secrets/dns.age", b"age-encryption.org/v1\ncorrupt")
    ready.write("nixsecrets.lock", '{"nixsecrets":99}\n')
    done = ready.run("cat", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in ("wifi-canary", "dns: dns-canary\n")


def test_a_map_that_cannot_be_read_is_an_error_all_the_same(ready: Fleet) -> None:
    ready.write("nixsecrets.toml", "version = 1\nnonsense = 1\n")
    done = ready.run("cat", WIFI)
    assert done.returncode == 1
    assert done.stderr.startswith("nixsecrets: error: nixsecrets.toml:2: ")


def test_an_ssh_key_opens_a_secret_without_a_cryptographic_library(
    ready: Fleet,
) -> None:
    ready.operate_as("brunnen")
    assert ready.ok("cat", WIFI) == "wifi-canary"
    modules = loaded(ready, ["cat", WIFI])
    assert modules.isdisjoint({"cryptography", "nacl", "ruamel"})


def test_an_x25519_key_opens_the_stanza_of_the_ssh_key_it_was_converted_from(
    ready: Fleet,
) -> None:
    from nixsecrets.keys.identities import SshEd25519Identity, parse_identities

    private = ready.hosts["brunnen"].private.encode()
    (found,) = parse_identities(private, "brunnen").identities
    assert isinstance(found, SshEd25519Identity)
    (ready.keys / "converted").write_text(found.secret_text() + "\n")
    ready.operate_as("converted")
    assert ready.ok("cat", WIFI) == "wifi-canary"


def test_a_secret_that_git_does_not_track_is_printed(ready: Fleet) -> None:
    ready.age_encrypt("secrets/new.age", "new-canary", "alice")
    assert ready.ok("cat", "secrets/new.age") == "new-canary"


def test_a_key_file_of_ours_is_what_openssh_and_cryptography_read() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    from nixsecrets.keys import sshprivate

    read = sshprivate.load(ssh_key("someone", comment="a comment").private.encode())
    assert isinstance(read, sshprivate.Ed25519Key)
    pem = sshprivate.openssh_pem(read.seed, read.public)
    other = load_ssh_private_key(pem, None)
    assert isinstance(other, Ed25519PrivateKey)
    assert other.private_bytes_raw() == read.seed
    assert other.public_key().public_bytes_raw() == read.public
    assert sshprivate.load(pem) == read

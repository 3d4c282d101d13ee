"""Files of public keys: which are accepted, skipped and refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixsecrets.errors import KeyFormatError
from nixsecrets.keys.publickeys import PublicKeys, Skipped, read_public_keys
from tests.fleet import program, reference_program, rsa_key, run_program, ssh_key
from tests.keys.vectors import PQ_IDENTITY, TAG_RECIPIENT, VECTORS

SSH, OTHER, RSA = VECTORS[0].ssh, VECTORS[1].ssh, rsa_key().public
AGE = VECTORS[2].age
ECDSA = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY="


def texts(keys: PublicKeys) -> list[str]:
    return [recipient.text for recipient in keys.recipients]


ONE_KEY = {
    "pub file": f"{SSH} alice@laptop\n",
    "no newline": SSH,
    "crlf": f"\r\n{SSH}\r\n",
    "byte order mark": f"\ufeff{SSH}\n",
    "indented": f"  \t{SSH}\n",
    "known_hosts": f"brunnen.lan,192.0.2.1 {SSH}\n",
    "known_hosts with a port": f"[brunnen.lan]:2222 {SSH}\n",
    "hashed known_hosts": f"|1|JfKTdBh7rNbXkVAQCRp4OQoPfmI=|USECr3SWf1JUPsms5= {SSH}\n",
    "ssh-keyscan": f"# brunnen:22 SSH-2.0-OpenSSH_9.2\nbrunnen {SSH}\n",
    "options": f"no-pty,no-X11-forwarding {SSH} alice\n",
    "quoted options": f'command="echo \\"ssh-rsa AAAA\\" x",no-pty {SSH} a "b" c\n',
    "environment": f'environment="A=ssh-ed25519 AAAA" {SSH}\n',
    "twice": f"{SSH} one\n{SSH} two\n",
    "comments": f"# made by age-plugin-yubikey\n\n  # b\n{SSH}\n",
}


@pytest.mark.parametrize("text", ONE_KEY.values(), ids=ONE_KEY.keys())
def test_one_key_is_found_in_every_kind_of_file(text: str) -> None:
    keys = read_public_keys(text, "file")
    assert texts(keys) == [SSH]
    assert keys.skipped == ()


def test_a_comment_is_kept_and_options_are_not() -> None:
    keys = read_public_keys(f'from="10.0.0.0/8" {SSH} alice at home\n', "file")
    assert keys.recipients[0].comment == "alice at home"


def test_recipients_files_and_lists_of_several_kinds_keep_their_order() -> None:
    text = "\n".join(["# team", AGE.upper(), RSA, TAG_RECIPIENT, f"{OTHER} bob", SSH])
    keys = read_public_keys(text, "recipients.txt")
    assert texts(keys) == [AGE, RSA, TAG_RECIPIENT, OTHER, SSH]


SKIPPED = [
    (f"{ECDSA} alice", "ecdsa"),
    (f"brunnen {ECDSA}", "ecdsa"),
    (f"no-pty {ECDSA}", "ecdsa"),
    ("sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaA== token", "FIDO"),
    ("ssh-dss AAAAB3NzaC1kc3MAAACB old", "dsa"),
    ("ssh-ed25519-cert-v01@openssh.com AAAAIHNz", "certificate"),
    (f"@cert-authority *.lan {SSH}", "signs certificates"),
    (f"cert-authority {SSH}", "signs certificates"),
    (f'cert-authority,principals="alice,bob" {SSH}', "signs certificates"),
    (f'principals="a b",cert-authority {SSH}', "signs certificates"),
    (f"@revoked brunnen {SSH}", "revoked"),
]


@pytest.mark.parametrize(("line", "reason"), SKIPPED, ids=range(len(SKIPPED)))
def test_sound_keys_of_no_use_are_skipped_with_line_and_reason(
    line: str, reason: str
) -> None:
    keys = read_public_keys(f"# list\n{line}\n{OTHER}\n", "file")
    assert texts(keys) == [OTHER]
    (skipped,) = keys.skipped
    assert isinstance(skipped, Skipped)
    assert skipped.line == 2
    assert reason in skipped.reason


def test_option_words_inside_of_quotes_mean_nothing() -> None:
    keys = read_public_keys(f'command="x,cert-authority" {SSH}', "file")
    assert texts(keys) == [SSH]


REFUSED = [
    (VECTORS[0].secret, "age identity"),
    (f"# {VECTORS[0].secret}", "age identity"),
    (f"  {PQ_IDENTITY}", "post-quantum age identity"),
    ("AGE-PLUGIN-TPM-1QQPQSXN9", "identity of an age plugin"),
    (ssh_key("private").private, "private key file"),
    (SSH[:-1], "not complete base64"),
    (f"brunnen {SSH}AAAA", "trailing data"),
    (AGE[:-1], "checksum"),
    ("bob", "not a public key"),
    (f"{SSH},{OTHER}", "not complete base64"),
    ("-----BEGIN PUBLIC KEY-----", "not read here"),
    ("---- BEGIN SSH2 PUBLIC KEY ----", "not read here"),
    ("<!DOCTYPE html>", "placeholder"),
    ("Not Found", "not a public key"),
    (f'command="unclosed {SSH}', "something before the ssh key"),
    (f"one two three four {SSH}", "something before the ssh key"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_public_key_is_refused_with_file_and_line(
    line: str, message: str
) -> None:
    with pytest.raises(KeyFormatError) as caught:
        read_public_keys(f"{SSH}\n\n{line}\n", "keys/alice.pub")
    assert caught.value.message.startswith("keys/alice.pub:3: ")
    assert message in caught.value.message
    assert max(line.split(), key=len) not in caught.value.message
    assert caught.value.hint


def test_an_empty_file_has_no_keys() -> None:
    assert read_public_keys("\n# nothing\n", "file") == PublicKeys(())


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        keys = read_public_keys(text, "file")
    except KeyFormatError as error:
        assert error.message.startswith("file:")
    else:
        assert len(set(keys.recipients)) == len(keys.recipients)


@given(st.lists(st.sampled_from([SSH, OTHER, AGE, "", "# x", f"host {SSH}"])))
def test_keys_come_once_and_in_order(lines: list[str]) -> None:
    expected = dict.fromkeys(
        line.removeprefix("host ")
        for line in lines
        if line and not line.startswith("#")
    )
    assert texts(read_public_keys("\n".join(lines), "file")) == list(expected)


def test_known_hosts_of_the_real_ssh_keygen_are_read(tmp_path: Path) -> None:
    known = tmp_path / "known_hosts"
    known.write_text(f"brunnen.lan {SSH}\n[wald]:2222 {OTHER}\n")
    run_program(program("ssh-keygen"), "-q", "-H", "-f", str(known), env={})
    assert "brunnen" not in known.read_text()
    assert texts(read_public_keys(known.read_text(), "known_hosts")) == [SSH, OTHER]


def test_ssh_to_age_finds_the_same_keys(tmp_path: Path) -> None:
    text = f"brunnen {SSH}\n# comment\n\nwald {OTHER}\n"
    printed = run_program(
        reference_program("ssh-to-age"), env={"PATH": ""}, stdin=text.encode()
    )
    keys = read_public_keys(text, "known_hosts").recipients
    assert printed.decode().split() == [key.converted().text for key in keys]

from pathlib import Path

import pytest

from nixsecrets.errors import KeyFormatError, NixsecretsError
from nixsecrets.hosts.local import local_key
from nixsecrets.keys.recipients import parse_recipient
from tests.fleet import age_key, rsa_key, ssh_key

NAME = "ssh_host_ed25519_key.pub"


def test_the_key_sshd_keeps_is_returned(tmp_path: Path) -> None:
    key = ssh_key("laptop", comment="root@laptop")
    key.write(tmp_path / "ssh_host_ed25519_key")
    assert local_key(tmp_path) == parse_recipient(key.public)
    assert local_key(tmp_path).comment == "root@laptop"


def test_a_machine_without_host_key_gets_a_hint_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NixsecretsError) as raised:
        local_key(tmp_path)
    assert "has no ed25519 host key" in raised.value.message
    assert "ssh-keygen -A" in str(raised.value.hint)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b"\xff\xfe",
        b"garbage\n",
        rsa_key().public.encode() + b"\n",
        age_key().public.encode() + b"\n",
        f"{ssh_key('a').public}\n{ssh_key('b').public}\n".encode(),
        ssh_key("a").public.encode()[:60],
    ],
    ids=["empty", "blank", "bytes", "garbage", "rsa", "age", "two keys", "cut off"],
)
def test_anything_but_one_ed25519_key_is_refused_naming_the_file(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(KeyFormatError) as raised:
        local_key(tmp_path)
    assert NAME in raised.value.message
    assert raised.value.hint


def test_a_private_key_in_the_public_file_is_never_quoted(tmp_path: Path) -> None:
    key = ssh_key("laptop")
    (tmp_path / NAME).write_text(key.private)
    with pytest.raises(KeyFormatError) as raised:
        local_key(tmp_path)
    said = f"{raised.value.message} {raised.value.hint}"
    assert not any(line in said for line in key.private.splitlines())


def test_an_unreadable_path_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(NixsecretsError) as raised:
        local_key(tmp_path)
    assert "cannot read" in raised.value.message
    assert "--key-file" in str(raised.value.hint)

"""Granting, re-encrypting, writing sops files: who opens the result with real sops."""

import json
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import pytest

from nixsecrets.errors import (
    IdentityError,
    KeyFormatError,
    NixsecretsError,
    SecretFileError,
)
from nixsecrets.files.age import operations as age_operations
from nixsecrets.files.sops import datakey, grant, metadata, opening
from nixsecrets.files.sops import operations as sops_operations
from nixsecrets.files.sops import verify as sops_verify
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.keys.recipients import Recipient, parse_recipient
from nixsecrets.splice import apply_edits
from tests.files import sopsfiles
from tests.files.agekeys import (
    Reader,
    converted,
    install_toy_plugin,
    reader,
    toy_reader,
)
from tests.fleet import ProgramFailed, age_key, program, rsa_key, run_program, ssh_key
from tests.keys.vectors import TAG_RECIPIENT

ALICE = reader(age_key())
BOB = reader(age_key())
EVE = reader(age_key())
WEB = reader(ssh_key("web", comment="root@web"))
RSA = reader(rsa_key())
WEB_CONVERTED = converted(WEB)
LABELS = (ALICE.recipient.text, WEB.recipient.text)
NAMES = [*sopsfiles.PLAIN, "many.yaml"]
CONTENT = {**sopsfiles.PLAIN, "many.yaml": sopsfiles.MANY}


def sample(version: str, name: str) -> bytes:
    return sopsfiles.sample(version, name, *LABELS)


class At(TypedDict):
    """Where the work is done, and how."""

    sops: SopsProgram
    workdir: Path


@pytest.fixture(params=sopsfiles.SOPS)
def version(request: pytest.FixtureRequest) -> str:
    sopsfiles.SOPS[request.param]()  # skips where the reference is not there
    return str(request.param)


@pytest.fixture
def sops(version: str) -> SopsProgram:
    return sopsfiles.SOPS[version]()


@pytest.fixture
def workdir(tmp_path: Path) -> Iterator[Path]:
    """A folder that must be empty again at the end of every test."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder for what the test itself does with real sops."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    return folder


def opens(sops: SopsProgram, name: str, data: bytes, who: Reader, at: Path) -> bool:
    try:
        sopsfiles.decrypt(sops, name, data, who.private, at)
    except ProgramFailed:
        return False
    return True


def values(data: bytes) -> list[bytes]:
    """The encrypted values of a file in its order, without its MAC."""
    found = re.findall(rb"ENC\[AES256_GCM,data:\S+?\]", data)
    macs = re.findall(rb"mac\"?\s*[:=] ?\"?(ENC\[AES256_GCM,data:\S+?\])", data)
    return [value for value in found if value not in macs]


# --- grant --------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_grant_lets_the_new_readers_in_and_changes_nothing_else(
    name: str, version: str, sops: SopsProgram, elsewhere: Path
) -> None:
    old = sample(version, name)
    new_readers = [BOB, WEB_CONVERTED, RSA]
    sealed = grant.grant(
        name, old, [ALICE.identity], add=[one.recipient for one in new_readers]
    )
    sops_verify.verify_grant(name, old, sealed.data, sealed)
    expected = sopsfiles.decrypt(sops, name, old, ALICE.private, elsewhere)
    for one in (ALICE, WEB, *new_readers):
        plain = sopsfiles.decrypt(sops, name, sealed.data, one.private, elsewhere)
        assert plain == expected
    assert not opens(sops, name, sealed.data, EVE, elsewhere)
    assert values(sealed.data) == values(old)
    kept = iter(sealed.data)
    assert all(byte in kept for byte in old), "every old byte is there, in its order"


@pytest.mark.parametrize("name", NAMES)
def test_a_form_change_replaces_one_entry_in_its_place(
    name: str, version: str, sops: SopsProgram, elsewhere: Path
) -> None:
    old = sample(version, name)
    sealed = grant.grant(
        name, old, [ALICE.identity], replace=[(1, WEB_CONVERTED.recipient)]
    )
    sops_verify.verify_grant(name, old, sealed.data, sealed)
    labels = [entry.label for entry in metadata.parse(name, sealed.data).entries]
    assert labels == [LABELS[0], WEB_CONVERTED.recipient.text]
    assert opens(sops, name, sealed.data, WEB_CONVERTED, elsewhere)


@pytest.mark.parametrize("operator", [ALICE, WEB, WEB_CONVERTED, RSA])
def test_every_kind_of_identity_grants(operator: Reader, elsewhere: Path) -> None:
    labels = [BOB.recipient.text, operator.recipient.text]
    old = sopsfiles.sample("3.11", "s.yaml", *labels)
    sealed = grant.grant(
        "s.yaml", old, [EVE.identity, operator.identity], add=[EVE.recipient]
    )
    assert opens(sopsfiles.old_sops(), "s.yaml", sealed.data, EVE, elsewhere)


def test_the_x25519_secret_of_an_ssh_key_opens_its_ssh_entry() -> None:
    """For a user with the ssh form in the map and only keys.txt."""
    old = sopsfiles.sample("3.11", "s.yaml", WEB.recipient.text)
    sealed = grant.grant("s.yaml", old, [WEB_CONVERTED.identity], add=[BOB.recipient])
    sops_verify.verify_grant("s.yaml", old, sealed.data, sealed)


def test_a_plugin_opens_and_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workdir: Path
) -> None:
    plugins = install_toy_plugin(tmp_path / "plugins")
    monkeypatch.setenv("PATH", f"{plugins}:{os.environ['PATH']}")
    toy = toy_reader()
    old = sample("3.11", "s.yaml")
    sealed = grant.grant("s.yaml", old, [ALICE.identity], add=[toy.recipient])
    sops_verify.verify_grant("s.yaml", old, sealed.data, sealed)
    again = grant.grant("s.yaml", sealed.data, [toy.identity], add=[BOB.recipient])
    assert [e.label for e in metadata.parse("s.yaml", again.data).entries] == [
        *LABELS,
        toy.recipient.text,
        BOB.recipient.text,
    ]


def test_a_tag_recipient_is_granted() -> None:
    tag = parse_recipient(TAG_RECIPIENT)
    old = sample("3.11", "s.json")
    sealed = grant.grant("s.json", old, [ALICE.identity], add=[tag])
    sops_verify.verify_grant("s.json", old, sealed.data, sealed)


def test_a_swapped_label_does_not_keep_the_operator_out() -> None:
    """X25519 labels can be wrong, and sops does not mind either."""
    data = sopsfiles.sample("3.11", "s.json", BOB.recipient.text, ALICE.recipient.text)
    swapped = data.replace(BOB.recipient.text.encode(), b"?").replace(
        ALICE.recipient.text.encode(), BOB.recipient.text.encode()
    )
    swapped = swapped.replace(b"?", ALICE.recipient.text.encode())
    sealed = grant.grant("s.json", swapped, [ALICE.identity], add=[EVE.recipient])
    sops_verify.verify_grant("s.json", swapped, sealed.data, sealed)


def test_a_file_of_others_is_not_opened(workdir: Path) -> None:
    with pytest.raises(IdentityError, match="no identity opens"):
        grant.grant("s.yaml", sample("3.11", "s.yaml"), [EVE.identity], add=[])
    with pytest.raises(IdentityError):
        grant.grant("s.yaml", sample("3.11", "s.yaml"), [], add=[])


def test_a_data_key_that_does_not_open_the_mac_is_refused() -> None:
    data = sample("3.11", "s.yaml")
    older = re.sub(rb'lastmodified: "\d{4}', b'lastmodified: "2001', data)
    foreign = age_operations.seal(
        bytes(32), [ALICE.recipient], armored=True
    ).data.decode()
    file = metadata.parse("s.yaml", data)
    copied = apply_edits(file.text, file.blocks[0].replace(0, LABELS[0], foreign))
    for bad in (older, copied.encode()):
        with pytest.raises(SecretFileError, match="does not open its MAC"):
            grant.grant("s.yaml", bad, [ALICE.identity], add=[BOB.recipient])


def test_documents_with_different_readers_are_not_granted() -> None:
    data = sample("3.11", "many.yaml")
    file = metadata.parse("many.yaml", data)
    entry = file.entries[0]
    edits = file.blocks[2].append([(entry.label, entry.enc)])
    changed = apply_edits(file.text, edits).encode()
    with pytest.raises(SecretFileError, match="different recipients"):
        grant.grant("many.yaml", changed, [ALICE.identity], add=[BOB.recipient])


def test_a_grant_shows_no_secret_and_stays_in_its_process() -> None:
    old = sample("3.11", "s.yaml")
    sealed = grant.grant("s.yaml", old, [ALICE.identity], add=[BOB.recipient])
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(sealed)
    assert sealed.data_key.hex() not in repr(sealed)
    assert repr(sealed.data_key) not in repr(sealed)


# --- re-encrypt ---------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_reencrypted_file_has_a_new_data_key_for_exactly_its_readers(
    name: str, version: str, sops: SopsProgram, workdir: Path, elsewhere: Path
) -> None:
    old = sample(version, name)
    readers = [BOB, WEB_CONVERTED, RSA, ALICE]
    sealed = sops_operations.reencrypt(
        name,
        old,
        [WEB.identity],
        [one.recipient for one in readers],
        sops=sops,
        workdir=workdir,
    )
    verify(name, sealed, ALICE, sops, workdir)
    expected = sopsfiles.decrypt(sops, name, old, ALICE.private, elsewhere)
    for one in readers:
        plain = sopsfiles.decrypt(sops, name, sealed.data, one.private, elsewhere)
        assert plain == expected
    if name != "s.yaml":  # (the converted reader's key is the removed one's)
        labels = [e.label for e in metadata.parse(name, sealed.data).entries]
        assert labels == [one.recipient.text for one in readers]
    before = datakey.data_key(metadata.parse(name, old), [ALICE.identity])
    assert sealed.data_key != before
    assert not set(values(sealed.data)) & set(values(old))


@pytest.mark.parametrize("name", NAMES)
def test_a_removed_reader_cannot_decrypt_the_file(
    name: str, version: str, sops: SopsProgram, workdir: Path, elsewhere: Path
) -> None:
    """In every document: sops reads the first, an attacker any."""
    old = sample(version, name)
    assert opens(sops, name, old, WEB, elsewhere)
    sealed = sops_operations.reencrypt(
        name, old, [ALICE.identity], [ALICE.recipient], sops=sops, workdir=workdir
    )
    assert opens(sops, name, sealed.data, ALICE, elsewhere)
    assert not opens(sops, name, sealed.data, WEB, elsewhere)
    labels = metadata.parse(name, sealed.data).blocks
    assert all(len(block.slots) == 1 for block in labels)
    assert LABELS[1].encode() not in sealed.data


@pytest.mark.parametrize("indent", [2, 4, 7])
def test_the_indentation_of_a_file_stays(
    indent: int, version: str, sops: SopsProgram, workdir: Path, elsewhere: Path
) -> None:
    (elsewhere / ".sops.yaml").write_text(
        f"stores:\n  yaml: {{indent: {indent}}}\n  json: {{indent: {indent}}}\n"
        f"creation_rules:\n  - age: {LABELS[0]}\n"
    )
    for name in ("s.yaml", "s.json"):
        plain = sopsfiles.PLAIN[name]
        old = sopsfiles.encrypt(sops, name, plain, [], elsewhere)
        sealed = sops_operations.reencrypt(
            name, old, [ALICE.identity], [BOB.recipient], sops=sops, workdir=workdir
        )
        lead = re.compile(rb"(?m)^[ \t]*")
        assert lead.findall(sealed.data) == lead.findall(old)
        printed = opening.decrypt(
            name, old, [ALICE.identity], sops=sops, workdir=workdir
        )
        assert b"\n" + b" " * indent in printed


def test_a_file_with_a_wrong_mac_is_not_laundered(workdir: Path) -> None:
    data = sample("3.11", "s.yaml")
    lines = data.splitlines(keepends=True)
    assert lines[0].startswith(b"k: ENC")
    with pytest.raises(SecretFileError, match=r"MAC .* does not match"):
        sops_operations.reencrypt(
            "s.yaml",
            b"".join(lines[1:]),
            [ALICE.identity],
            [ALICE.recipient],
            sops=sopsfiles.old_sops(),
            workdir=workdir,
        )


def test_comments_in_lists_are_no_riddle_with_sops_3_13_2(workdir: Path) -> None:
    """It cannot read its own output (getsops/sops#2243); other versions can."""
    at = At(sops=sopsfiles.old_sops(), workdir=workdir)
    data = sops_operations.create(
        "s.yaml", b"k:\n    # c\n    - v\n", [ALICE.recipient], **at
    )
    new = sopsfiles.new_sops()
    try:
        plain = opening.decrypt(
            "s.yaml", data.data, [ALICE.identity], sops=new, workdir=workdir
        )
    except SecretFileError as error:
        assert new.version() == "3.13.2"
        assert "3.13.2" in str(error.hint)
    else:
        assert plain == b"k:\n    # c\n    - v\n"


def test_comments_that_sops_moves_do_not_stop_a_reencryption(
    version: str, sops: SopsProgram, workdir: Path, elsewhere: Path
) -> None:
    text = b"# top\na: b # inline\n\n# c\nd:\n    # e\n    f: g\n    # h\n# end\n"
    old = sopsfiles.encrypt(sops, "s.yaml", text, [LABELS[0]], elsewhere)
    commented = old.replace(b"type:str]\n", b"type:str] # by hand\n", 1)
    sealed = sops_operations.reencrypt(
        "s.yaml",
        commented,
        [ALICE.identity],
        [ALICE.recipient],
        sops=sops,
        workdir=workdir,
    )
    verify("s.yaml", sealed, ALICE, sops, workdir)
    plain = sopsfiles.decrypt(sops, "s.yaml", sealed.data, ALICE.private, elsewhere)
    for comment in (b"# top", b"# inline", b"# by hand", b"# c", b"# e", b"# end"):
        assert comment in plain


def test_a_file_needs_a_reader(workdir: Path) -> None:
    with pytest.raises(SecretFileError, match="without readers"):
        sops_operations.reencrypt(
            "s.yaml",
            sample("3.11", "s.yaml"),
            [ALICE.identity],
            [],
            sops=sopsfiles.old_sops(),
            workdir=workdir,
        )


def test_several_key_groups_are_refused_by_every_action(
    workdir: Path, elsewhere: Path
) -> None:
    (elsewhere / ".sops.yaml").write_text(
        "creation_rules:\n- key_groups:\n"
        f"    - age: [{LABELS[0]}]\n    - age: [{BOB.recipient.text}]\n"
    )
    sops = sopsfiles.old_sops()
    data = sopsfiles.encrypt(sops, "s.yaml", b"k: v\n", [], elsewhere)
    both, readers = [ALICE.identity, BOB.identity], [ALICE.recipient]
    at = At(sops=sops, workdir=workdir)
    for action in (
        lambda: grant.grant("s.yaml", data, both, add=readers),
        lambda: sops_operations.reencrypt("s.yaml", data, both, readers, **at),
        lambda: sops_operations.replace_content("s.yaml", data, both, b"k: w\n", **at),
        lambda: opening.decrypt("s.yaml", data, both, **at),
    ):
        with pytest.raises(SecretFileError, match="over 2 key groups"):
            action()


# --- PGP ----------------------------------------------------------------------------


@pytest.fixture
def gnupg(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A home with a PGP key of its own, and its fingerprint as PGP_FP."""
    home = tmp_path / "h"
    folder = home / ".gnupg"
    folder.mkdir(parents=True, mode=0o700)
    env = {**sopsfiles.old_sops().env, "HOME": str(home), "GNUPGHOME": str(folder)}
    gpg = program("gpg")
    quiet = ["--batch", "--passphrase", "", "--pinentry-mode", "loopback"]
    run_program(
        gpg, *quiet, "--quick-gen-key", "x@example.org", "future-default", env=env
    )
    listing = run_program(gpg, "--list-keys", "--with-colons", env=env).decode()
    yield env | {"PGP_FP": listing.split("fpr:::::::::")[1].split(":")[0]}
    run_program(program("gpgconf"), "--kill", "all", env=env)


def with_pgp(env: dict[str, str], folder: Path) -> bytes:
    file = folder / "s.yaml"
    file.write_bytes(sopsfiles.PLAIN["s.yaml"])
    argv = [str(sopsfiles.old_sops().path), "encrypt", "--age", LABELS[0]]
    return run_program(*argv, "--pgp", env["PGP_FP"], str(file), env=env, cwd=folder)


def test_a_pgp_reader_reads_after_a_grant_and_not_after_a_reencryption(
    gnupg: dict[str, str], workdir: Path, elsewhere: Path
) -> None:
    old = with_pgp(gnupg, elsewhere)
    sops = SopsProgram(sopsfiles.old_sops().path, gnupg)

    def pgp_opens(data: bytes) -> bool:
        (elsewhere / "s.yaml").write_bytes(data)
        program = str(sops.path)
        try:
            run_program(program, "decrypt", "s.yaml", env=gnupg, cwd=elsewhere)
        except ProgramFailed:
            return False
        return True

    granted = grant.grant("s.yaml", old, [ALICE.identity], add=[BOB.recipient])
    sops_verify.verify_grant("s.yaml", old, granted.data, granted)
    assert pgp_opens(granted.data)
    at = At(sops=sops, workdir=workdir)
    edited = sops_operations.replace_content(
        "s.yaml", granted.data, [ALICE.identity], b"k: new\n", **at
    )
    verify("s.yaml", edited, ALICE, sops, workdir)
    assert pgp_opens(edited.data)
    for options in (None, [("encrypted_regex", "^k$")]):
        sealed = sops_operations.reencrypt(
            "s.yaml",
            edited.data,
            [ALICE.identity],
            [BOB.recipient],
            options=options,
            **at,
        )
        verify("s.yaml", sealed, BOB, sops, workdir)
        file = metadata.parse("s.yaml", sealed.data)
        assert file.others == ()
        assert [entry.label for entry in file.entries] == [BOB.recipient.text]
        assert not pgp_opens(sealed.data)


# --- create -------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_new_file_is_opened_by_stock_sops(
    name: str, version: str, sops: SopsProgram, workdir: Path, elsewhere: Path
) -> None:
    readers = [ALICE, WEB, RSA]
    sealed = sops_operations.create(
        f"secrets/{name}",
        CONTENT[name],
        [one.recipient for one in readers],
        sops=sops,
        workdir=workdir,
    )
    verify(name, sealed, ALICE, sops, workdir)
    for one in readers:
        plain = sopsfiles.decrypt(sops, name, sealed.data, one.private, elsewhere)
        if name in ("s.bin", "s.env"):
            assert plain == CONTENT[name]
        if name == "s.json":
            assert json.loads(plain) == json.loads(CONTENT[name])


@pytest.mark.parametrize(
    "options",
    [
        [("encrypted_regex", "^(data|stringData)$")],
        [("encrypted_suffix", "_secret"), ("mac_only_encrypted", True)],
        [("unencrypted_regex", "^kind$")],
        [("encrypted_regex", 'a"\\.b\u00e4\U0001f511|^data$')],
    ],
)
def test_selection_options_are_followed(
    options: list[tuple[str, str | bool]],
    version: str,
    sops: SopsProgram,
    workdir: Path,
) -> None:
    plaintext = b"kind: Secret\ndata:\n    k: v\npw_secret: x\n"
    sealed = sops_operations.create(
        "k.yaml",
        plaintext,
        [ALICE.recipient],
        options=options,
        sops=sops,
        workdir=workdir,
    )
    verify("k.yaml", sealed, ALICE, sops, workdir)
    assert b"kind: Secret\n" in sealed.data
    assert b"k: v\n" not in sealed.data or options[0][1] == "_secret"
    assert metadata.parse("k.yaml", sealed.data).options == tuple(options)


LOSES_A_COMMENT = b"a:\n    b:\n      - c # secret\n    # secret end\n"
"""sops 3.11 moves the last comment below another key, where it cannot decrypt it."""


@pytest.mark.parametrize(
    ("name", "plaintext", "options", "words"),
    [
        ("a.yaml", b"k: [v\n", [], "cannot store the content as yaml (line 1)"),
        ("a.yaml", b"- topsecret\n", [], "cannot store the content as yaml"),
        ("a.yaml", b"sops: topsecret\n", [], "name sops reserves"),
        ("a.json", b'{"sops": "topsecret"}', [], "name sops reserves"),
        ("a.env", b"sops_mac=topsecret\n", [], "name sops reserves"),
        ("a.ini", b"[sops]\nk = topsecret\n", [], "name sops reserves"),
        ("a.json", b"{topsecret", [], "cannot store the content as json"),
        ("a.env", b"topsecret\n", [], "cannot store the content as dotenv"),
        ("a.ini", b"topsecret\n", [], "cannot store the content as ini"),
        ("a.json", b'{"k": 9007199254740993.5}', [], "more digits than sops keeps"),
        ("a.ini", b"[a]\nk = top#secret\n", [], "is cut short"),
        ("a.yaml", b"k: v\n", [("encrypted_regex", "^x$")], "select no value"),
        ("a.yaml", LOSES_A_COMMENT, [], "would lose a comment"),
    ],
)
def test_content_that_sops_would_not_keep_is_refused_without_showing_it(
    name: str,
    plaintext: bytes,
    options: list[tuple[str, str | bool]],
    words: str,
    workdir: Path,
) -> None:
    with pytest.raises(NixsecretsError) as caught:
        sops_operations.create(
            name,
            plaintext,
            [ALICE.recipient],
            options=options,
            sops=sopsfiles.old_sops(),
            workdir=workdir,
        )
    assert words in caught.value.message
    assert caught.value.hint
    told = f"{caught.value.message} {caught.value.hint}"
    assert "secret" not in told.replace("nixsecrets", "")


# --- other content --------------------------------------------------------------------

CHANGED = {
    "s.yaml": (b"k: v\n", b"k: other\n"),
    "s.json": (b'"k": "v"', b'"k": "other"'),
    "s.env": (b"K=v\n", b"K=other\n"),
    "s.ini": (b"k = v\n", b"k = other\n"),
    "s.bin": (b"bin", b"other"),
    "many.yaml": (b"k: v\n", b"k: other\n"),
}


@pytest.mark.parametrize("name", NAMES)
def test_values_that_stay_keep_their_ciphertext_and_readers_their_entries(
    name: str, version: str, sops: SopsProgram, workdir: Path, elsewhere: Path
) -> None:
    old = sample(version, name)
    at = At(sops=sops, workdir=workdir)
    before = opening.decrypt(name, old, [WEB.identity], **at)
    after = before.replace(*CHANGED[name])
    assert after != before
    sealed = sops_operations.replace_content(name, old, [ALICE.identity], after, **at)
    verify(name, sealed, WEB, sops, workdir)
    assert sopsfiles.decrypt(sops, name, sealed.data, WEB.private, elsewhere) == after
    assert (
        metadata.parse(name, sealed.data).entries == metadata.parse(name, old).entries
    )
    assert len(set(values(old)) - set(values(sealed.data))) == 1
    assert sealed.written == ()


@pytest.mark.parametrize("name", NAMES)
def test_content_that_is_there_already_changes_no_byte(
    name: str, version: str, sops: SopsProgram, workdir: Path
) -> None:
    old = sample(version, name)
    at = At(sops=sops, workdir=workdir)
    same = opening.decrypt(name, old, [ALICE.identity], **at)
    readers = [WEB.recipient, ALICE.recipient]
    for recipients in (None, readers):
        sealed = sops_operations.replace_content(
            name, old, [ALICE.identity], same, recipients=recipients, **at
        )
        assert sealed.data == old
        verify(name, sealed, ALICE, sops, workdir)


@pytest.mark.parametrize("name", ["s.yaml", "s.env"])
def test_other_readers_of_other_content_get_a_new_data_key(
    name: str, version: str, sops: SopsProgram, workdir: Path, elsewhere: Path
) -> None:
    old = sample(version, name)
    at = At(sops=sops, workdir=workdir)
    after = opening.decrypt(name, old, [ALICE.identity], **at).replace(*CHANGED[name])
    sealed = sops_operations.replace_content(
        name, old, [ALICE.identity], after, recipients=[BOB.recipient], **at
    )
    verify(name, sealed, BOB, sops, workdir)
    assert sopsfiles.decrypt(sops, name, sealed.data, BOB.private, elsewhere) == after
    assert not opens(sops, name, sealed.data, ALICE, elsewhere)
    assert not set(values(sealed.data)) & set(values(old))


@pytest.mark.parametrize("way", ["reencrypt", "replace_content"])
def test_other_options_encrypt_the_file_from_scratch(
    way: str, version: str, sops: SopsProgram, workdir: Path
) -> None:
    old = sample(version, "s.yaml")
    at = At(sops=sops, workdir=workdir)
    options = [("encrypted_regex", "^k$")]
    if way == "reencrypt":
        readers: list[Recipient] = [ALICE.recipient, WEB.recipient]
        sealed = sops_operations.reencrypt(
            "s.yaml", old, [ALICE.identity], readers, options=options, **at
        )
    else:
        plain = sopsfiles.PLAIN["s.yaml"]
        sealed = sops_operations.replace_content(
            "s.yaml", old, [ALICE.identity], plain, options=options, **at
        )
    verify("s.yaml", sealed, WEB, sops, workdir)
    assert re.search(rb"k: ENC", sealed.data)
    assert b"in: deep" in sealed.data
    labels = tuple(e.label for e in metadata.parse("s.yaml", sealed.data).entries)
    assert labels == LABELS


@pytest.mark.parametrize(
    ("plaintext", "words"),
    [
        (b"k: [topsecret\n", "cannot store the content as yaml (line 1)"),
        (b"- topsecret\n", "cannot store the content as yaml"),
        (b"sops: topsecret\n", "name sops reserves"),
    ],
)
def test_content_that_sops_cannot_read_ends_the_edit(
    plaintext: bytes, words: str, sops: SopsProgram, workdir: Path
) -> None:
    """Without a terminal, sops would wait for a key press forever."""
    with pytest.raises(SecretFileError) as caught:
        sops_operations.replace_content(
            "s.yaml",
            sample("3.11", "s.yaml"),
            [ALICE.identity],
            plaintext,
            sops=sops,
            workdir=workdir,
        )
    assert words in caught.value.message
    told = f"{caught.value.message} {caught.value.hint}"
    assert "secret" not in told.replace("nixsecrets", "")


def test_a_post_quantum_recipient_that_nobody_can_write_is_a_key_error() -> None:
    from nixsecrets.keys.bech32 import encode

    quantum = parse_recipient(encode("age1pq", bytes(1216)))
    with pytest.raises(KeyFormatError):
        grant.grant("s.yaml", sample("3.11", "s.yaml"), [ALICE.identity], add=[quantum])


def verify(
    name: str, sealed: SopsSealed, who: Reader, sops: SopsProgram, workdir: Path
) -> None:
    sopsfiles.verify(sops, name, sealed.data, sealed, who.identity, workdir)

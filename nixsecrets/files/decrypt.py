"""Decrypting a secret file of either backend, with the identities at hand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypedDict

from nixsecrets.files.age import operations
from nixsecrets.files.sops import opening
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Identity
from nixsecrets.keys.recipients import KeyId


class SopsRun(TypedDict):
    """What each function that runs sops takes: the program and a private folder."""

    sops: SopsProgram
    workdir: Path


@dataclass(frozen=True)
class Bench:
    """What the work needs besides the file: identities, sops, a private folder.

    `private` is the folder for sops, None where no job runs it.
    """

    identities: Sequence[Identity] = field(repr=False)
    private: Path | None = None
    sops_program: SopsProgram | None = None

    @cached_property
    def sops(self) -> SopsProgram:
        """The sops program, looked for when a file first needs it."""
        import os

        return self.sops_program or SopsProgram.find(os.environ)

    @property
    def run(self) -> SopsRun:
        """What a job passes on that runs sops."""
        if self.private is None:
            raise RuntimeError("sops is run without a private folder")
        return {"sops": self.sops, "workdir": self.private}

    @cached_property
    def key_ids(self) -> frozenset[KeyId]:
        """The keys of the identities."""
        return frozenset(r.key_id for one in self.identities for r in one.recipients)


def decrypt(path: str, backend: Backend, data: bytes, bench: Bench) -> bytes:
    """Return the plaintext of a secret file (sops: the MAC was good)."""
    if backend is Backend.AGE:
        return operations.decrypt(data, bench.identities)
    return opening.decrypt(path, data, bench.identities, **bench.run)

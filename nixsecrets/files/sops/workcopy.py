"""The copy of a sops file that sops works on, with a throw-away identity.

So sops never sees the user's identity, and contacts no key service.
"""

from pathlib import Path
from typing import TypedDict

from nixsecrets.files.kind import SopsFormat
from nixsecrets.files.sops import grant
from nixsecrets.files.sops.json import JsonBlock
from nixsecrets.files.sops.metadata import Options, SopsFile
from nixsecrets.files.sops.program import Layout, SopsProgram
from nixsecrets.files.sops.yaml import YamlBlock
from nixsecrets.frozen import field, frozen, replace
from nixsecrets.keys.identities import X25519Identity


class _Options(TypedDict):
    """The keyword arguments of most methods of `SopsProgram`."""

    kind: SopsFormat
    identity: str
    layout: Layout
    workdir: Path


@frozen
class WorkCopy:
    """A file whose only recipient is `identity`, and the sops program to use.

    Every method runs sops once.  It raises `SecretFileError` if sops refuses the file
    or the operation, `ProgramError` if sops cannot be run.
    """

    format: SopsFormat
    data: bytes = field(repr=False)
    identity: X25519Identity = field(repr=False)
    layout: Layout
    sops: SopsProgram
    workdir: Path

    @property
    def _options(self) -> "_Options":
        return {
            "kind": self.format,
            "identity": self.identity.secret_text(),
            "layout": self.layout,
            "workdir": self.workdir,
        }

    def decrypt(self) -> bytes:
        """Return the plaintext as sops prints it; the MAC is verified."""
        return self.sops.decrypt(self.data, **self._options)

    def extract(self, expression: str) -> bytes:
        """Return the value at an expression of sops (`["a"][0]`)."""
        return self.sops.extract(
            self.data,
            expression,
            kind=self.format,
            identity=self.identity.secret_text(),
            workdir=self.workdir,
        )

    def rotated(self) -> "WorkCopy":
        """Return the copy under a new data key."""
        new = self.sops.rotate(self.data, **self._options)
        return replace(self, data=new)

    def edited(self, plaintext: bytes) -> "WorkCopy":
        """Return the copy with other content, or itself if the content is the same."""
        new = self.sops.edit(self.data, plaintext, **self._options)
        return self if new is None else replace(self, data=new)

    def with_value(self, expression: str, value: str) -> "WorkCopy":
        """Return the copy with the value at an expression of sops set."""
        new = self.sops.set_value(self.data, expression, value, **self._options)
        return replace(self, data=new)


def copied(file: SopsFile, key: bytes, *, sops: SopsProgram, workdir: Path) -> WorkCopy:
    """Return a copy of a file whose data key is `key`."""
    identity = X25519Identity.generate("throw-away identity")
    data = grant.only_for(file, key, identity.recipients[0])
    return WorkCopy(file.format, data, identity, layout_of(file), sops, workdir)


def encrypted(
    kind: SopsFormat,
    plaintext: bytes,
    options: Options,
    *,
    layout: Layout,
    sops: SopsProgram,
    workdir: Path,
) -> WorkCopy:
    """Return a newly encrypted file.

    Raises:
        SecretFileError: sops cannot parse the content.
        ProgramError: sops cannot be run.
    """
    identity = X25519Identity.generate("throw-away identity")
    data = sops.encrypt(
        plaintext,
        kind=kind,
        recipient=identity.recipients[0].text,
        options=options,
        layout=layout,
        workdir=workdir,
    )
    return WorkCopy(kind, data, identity, layout, sops, workdir)


def layout_of(file: SopsFile) -> Layout:
    """Return the indentation of a file, so that sops preserves it."""
    match file.blocks[0]:
        case YamlBlock() as block:
            return Layout(yaml=block.indent)
        case JsonBlock() as block if block.indent and not block.indent.strip(" "):
            return Layout(json=len(block.indent))
        case _:
            return Layout()

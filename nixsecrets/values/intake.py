"""A new value from stdin, a file or the terminal.

A large value for an age file is never in memory as a whole: it is encrypted while it is
read, under a key of this process, into an unlinked temporary file.
"""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from nixsecrets.apply.carry_out import Content
from nixsecrets.files.age.header import LARGE
from nixsecrets.files.age.payload import CHUNK, spooled
from nixsecrets.repo import files
from nixsecrets.repo.locking import prepare_staging
from nixsecrets.repo.worktree import Repo
from nixsecrets.untrusted import inputs


@contextmanager
def value(
    repo: Repo, source: BinaryIO | bytes, name: str, *, strip: bool, in_memory: bool
) -> Iterator[Content]:
    """Yield the value of `source`, which messages call `name`.

    `strip` removes one newline (LF or CRLF) at the end; `in_memory` reads a large value
    as a whole too.

    Raises:
        NixsecretsError: it cannot be read, or not be stored in the meantime.
    """
    blocks = iter([source]) if isinstance(source, bytes) else _blocks(source, name)
    blocks = _stripped(blocks) if strip else blocks
    first = _first(blocks, LARGE)
    if in_memory or len(first) <= LARGE:
        yield first + b"".join(blocks)
        return
    prepare_staging(repo)
    with _unnamed(repo) as waiting:
        whole = itertools.chain([first], blocks)
        del first  # free it while the rest is read
        try:
            large = spooled(whole, waiting)
        except OSError as error:
            place = str(repo.staging)
            raise files.explained(error, "keep the value in", place) from error
        yield large


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """Yield a file that the operator named, opened for reading.

    Raises:
        NixsecretsError: it cannot be opened.
    """
    with contextlib.ExitStack() as stack:
        try:
            stream = stack.enter_context(inputs.open_regular(file, pipes=True))
        except OSError as error:
            raise files.explained(error, "read", os.fspath(file)) from error
        yield stream


@contextmanager
def _unnamed(repo: Repo) -> Iterator[BinaryIO]:
    """Yield an unlinked temporary file, which disappears with this process."""
    import tempfile  # 4 ms, for a large value

    try:
        file = tempfile.TemporaryFile(dir=repo.staging)  # noqa: SIM115 (closed below)
    except OSError as error:
        raise files.explained(error, "write to", str(repo.staging)) from error
    try:
        yield file
    finally:
        with contextlib.suppress(OSError):  # a full disk was reported by the write
            file.close()


def _blocks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        while block := stream.read(CHUNK):
            yield block
    except OSError as error:
        raise files.explained(error, "read", name) from error


def _first(blocks: Iterator[bytes], size: int) -> bytes:
    """Return the first blocks joined: up to the one that exceeds `size` bytes."""
    first = bytearray()
    for block in blocks:
        first += block
        if len(first) > size:
            break
    return bytes(first)


def _stripped(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the blocks without one newline, LF or CRLF, at their very end."""
    end = b""  # the last two bytes read, which may be the newline
    for block in blocks:
        whole = end + block
        yield whole[:-2]
        end = whole[-2:]
    yield end.removesuffix(b"\r\n").removesuffix(b"\n")

"""Single values of a sops file, read and set.

By the value engine (`sopsengine`) where it understands the file, else by the real sops;
as everywhere, that gets a staged copy for a throw-away identity.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.sops import grant, keypath, metadata, printed, selection
from nixsecrets.files.sops.datakey import data_key
from nixsecrets.files.sops.engine import contents, place
from nixsecrets.files.sops.engine.place import At, Found
from nixsecrets.files.sops.keypath import Given, KeyPath
from nixsecrets.files.sops.metadata import SopsFile
from nixsecrets.files.sops.opening import decrypt_with_key, layout_of
from nixsecrets.files.sops.program import SopsProgram
from nixsecrets.files.sops.token import type_of
from nixsecrets.files.sops.values import Place
from nixsecrets.keys.identities import Identity, X25519Identity


def value_at(
    path: str,
    data: bytes,
    identities: Sequence[Identity],
    key: str,
    *,
    sops: SopsProgram,
    workdir: Path,
) -> bytes:
    """Return one value of a file; `key` is its path (`powerdns/api-key`).

    Raises:
        UsageError: that is no path.
        SecretFileError: the file has no such value, or as `decrypt`.
        IdentityError: no identity opens an age entry.

    """
    file = metadata.parse(path, data)
    wanted = keypath.key_path(file.format, key)
    found = place.find(file.format, file.text, wanted)
    if found.at in (At.NEW, At.BELOW):
        raise _no_such_value()
    key_of_file = data_key(file, identities)
    if found.at is At.VALUE:
        for value in contents.opened(file, key_of_file) or ():
            if value.leaf.place == found.place and value.type != "null":
                return _shown(value)
    staged, throw_away = grant.with_throw_away(file, key_of_file)
    by_sops = _extracted(file, staged, throw_away, wanted, sops, workdir)
    if by_sops is None:
        # not there, or the file is damaged: then this says so
        decrypt_with_key(file, key_of_file, sops=sops, workdir=workdir)
        raise _no_such_value()
    return by_sops[1]


def _no_such_value() -> SecretFileError:
    return SecretFileError(
        "has no such value",
        "see what it has: nixsecrets edit FILE",
        subject="the file",
    )


def _shown(value: contents.Value) -> bytes:
    return value.plaintext.lower() if value.type == "bool" else value.plaintext


def _extracted(
    file: SopsFile,
    staged: bytes,
    throw_away: X25519Identity,
    wanted: KeyPath,
    sops: SopsProgram,
    workdir: Path,
) -> tuple[str, bytes] | None:
    """Return how sops writes the path of a value, and the value; None: not there."""
    identity = throw_away.secret_text()
    for expression in keypath.expressions(wanted):
        with contextlib.suppress(SecretFileError):
            return expression, sops.extract(
                staged,
                expression,
                kind=file.format,
                identity=identity,
                workdir=workdir,
            )
    return None


def found_at(path: str, data: bytes, key: str) -> Found:
    """Return what stands at a typed path, which needs no identity.

    Raises:
        UsageError: that is no path, or it names values in several documents.
        SecretFileError: the file cannot be read.
    """
    file = metadata.parse(path, data)
    wanted = keypath.key_path(file.format, key)
    return place.find(file.format, file.text, wanted)


def holds(path: str, data: bytes, identities: Sequence[Identity], given: Given) -> bool:
    """Tell whether a file has these values already; False where that is uncertain.

    Raises:
        IdentityError: no identity opens an age entry.
        SecretFileError: a path names no single value.
    """
    file = metadata.parse(path, data)
    places = placed(file, given)
    found = contents.opened(file, data_key(file, identities)) if places else None
    return found is not None and contents.unchanged(found, places)


def placed(file: SopsFile, given: Given) -> dict[Place, str]:
    """Return the values by their places, none where the file cannot be read for that.

    Raises:
        UsageError: a path does not say which document.
        SecretFileError: something else stands at a place.
    """
    found = {
        place.find(file.format, file.text, path): value
        for path, value in given.values.items()
    }
    for one in found:
        comment = type_of(one.value) == "comment"  # an item of a list
        if comment or one.at in (At.BRANCH, At.BELOW):
            _refuse_dropping()
    if any(one.at is At.UNKNOWN for one in found):
        return {}
    return {one.place: value for one, value in found.items()}


def _refuse_dropping() -> None:
    raise SecretFileError(
        "other values would be dropped: the file has something else at that place",
        "name a value, not a branch; or change its form with `nixsecrets edit`",
    )


def set_by_sops(
    file: SopsFile, key: bytes, given: Given, *, sops: SopsProgram, workdir: Path
) -> tuple[bytes, bytes]:
    """Let the real sops set values, one by one; return the file and its plaintext.

    Compared value by value afterwards: where another one changed, nothing is returned.
    The data key and the entries stay.

    Raises:
        SecretFileError: sops cannot do it, or does more than that.
    """
    staged, throw_away = grant.with_throw_away(file, key)
    identity, layout = throw_away.secret_text(), layout_of(file)
    current = staged
    for wanted, value in given.values.items():
        known = place.find(file.format, file.text, wanted)
        if known.at in (At.NEW, At.UNKNOWN):
            there = _extracted(file, staged, throw_away, wanted, sops, workdir)
            if there is None:
                contents.require_selected(file, "", (0, wanted.names))
        expression = _expression(known, wanted, file, staged, throw_away, sops, workdir)
        current = sops.set_value(
            current,
            expression,
            value,
            kind=file.format,
            identity=identity,
            layout=layout,
            workdir=workdir,
        )
    selection.require_encrypted(file.format, current, file.options)
    before, after = (
        sops.decrypt(
            one, kind=file.format, identity=identity, layout=layout, workdir=workdir
        )
        for one in (staged, current)
    )
    printed.require_comments(before, after)
    if printed.changed_elsewhere(file.format, before, after, given.values):
        _refuse_dropping()
    again = metadata.parse_as(file.format, current)
    pairs: list[tuple[str, str]] = list(file.entries)
    sealed = grant.with_entries(again, pairs, (), key, before=file)
    return sealed.data, after


def _expression(
    known: Found,
    wanted: KeyPath,
    file: SopsFile,
    staged: bytes,
    throw_away: X25519Identity,
    sops: SopsProgram,
    workdir: Path,
) -> str:
    """Return how sops writes a path.

    Raises:
        SecretFileError: it cannot.
    """
    ways = list(keypath.expressions(wanted))
    if not ways:
        raise SecretFileError(
            "the value cannot be set at that place with certainty",
            "change it in an editor: nixsecrets edit FILE",
        )
    if known.at is At.UNKNOWN:
        there = _extracted(file, staged, throw_away, wanted, sops, workdir)
        return there[0] if there else ways[0]
    steps = known.place[1]
    return "".join(f"[{s}]" if isinstance(s, int) else f'["{s}"]' for s in steps)

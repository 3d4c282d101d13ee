"""Plaintext that no rule covers: files named .age, or added to a folder of secrets."""

import posixpath
from collections.abc import Iterator, Sequence

from nixsecrets.files import kind
from nixsecrets.files.kind import looks_secret
from nixsecrets.findings.catalogue import Code, Finding, fix_for
from nixsecrets.findings.guard.commit import Blob, Change
from nixsecrets.findings.guard.maps import Maps


def called_age(blob: Blob, data: bytes) -> bool:
    """Return whether a file is named like an age file and is not encrypted."""
    named = blob.regular and kind.called_age(blob.path)
    return named and not looks_secret(blob.path, data)


def strays(maps: Maps, changed: Sequence[Change]) -> Iterator[Finding]:
    """Yield the ordinary files that are added to a folder with nothing but secrets."""
    folders: dict[str, list[Blob]] = {}
    for one in changed:
        came = one.old is None or one.old.path != one.new.path
        folder = posixpath.dirname(one.new.path)
        if came and folder and one.new.regular and maps.nobodys(one.new.path):
            folders.setdefault(folder, []).append(one.new)
    there = maps.tree.below(sorted(folders)) if folders else ()
    before: dict[str, list[Blob]] = {}
    arriving = {one.path for added in folders.values() for one in added}
    for blob in there:
        if blob.path not in arriving:
            before.setdefault(posixpath.dirname(blob.path), []).append(blob)
    for folder, added in folders.items():
        if _only_secrets(maps, folder, before.get(folder, [])):
            yield from _strays_of(maps, added)


def _strays_of(maps: Maps, added: Sequence[Blob]) -> Iterator[Finding]:
    message = (
        "is an ordinary file in a folder of secrets: encrypt it (a rule, then"
        " nixsecrets set FILE --from-file FILE), allow it (a rule with"
        ' plaintext = "allowed"), or put it into another folder'
    )
    for blob, data in zip(added, maps.tree.read(added), strict=True):
        if not (looks_secret(blob.path, data) or called_age(blob, data)):
            fix = fix_for(Code.STRAY_FILE, blob.path)
            yield Finding(blob.path, Code.STRAY_FILE, message, fix=fix)


def _only_secrets(maps: Maps, folder: str, there: Sequence[Blob]) -> bool:
    """Return whether a folder has nothing but secrets; for an empty one, ask the map.

    Files whose names rule out that they are secrets do not count.
    """
    maps.learn([posixpath.join(folder, "_")])
    nearest = maps.nearest(posixpath.join(folder, "_"))
    if nearest is not None and nearest[0] == folder:
        return False  # the folder has the map itself
    unclaimed: list[Blob] = []
    claimed = False
    for blob in there:
        claim = maps.claim(blob.path)
        if claim is not None and claim.rule.plaintext_allowed:
            return False
        if claim is not None:
            claimed = True
        elif blob.regular and maps.nobodys(blob.path):
            unclaimed.append(blob)
    if not (claimed or unclaimed):
        inside = posixpath.relpath(folder, nearest[0] or ".") if nearest else ""
        return nearest is not None and nearest[2].folder_of_secrets(inside)
    pairs = zip(unclaimed, maps.tree.read(unclaimed), strict=True)
    return all(looks_secret(blob.path, data) for blob, data in pairs)

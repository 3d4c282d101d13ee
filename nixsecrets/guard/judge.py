"""Judge what is about to be committed: the map says what must be encrypted.

Looks at blobs, never at the work tree, and needs no private key.  Each path is judged
by the nearest map at or above it, as that commit has it.  Nothing heavy is imported,
and what reads secrets only where one is staged.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from nixsecrets.errors import MapError
from nixsecrets.findings import RESTORED, Code, Finding, fix_for, unmerged_fix
from nixsecrets.guard import leftovers
from nixsecrets.guard.privatekeys import private_keys
from nixsecrets.guard.tree import Blob, Change, Tree
from nixsecrets.policy.load import decode, load
from nixsecrets.policy.model import Rule
from nixsecrets.policy.resolve import Policy
from nixsecrets.secretfiles.sniff import looks_secret
from nixsecrets.splice import conflict_line

MAP_NAME = "nixsecrets.toml"
Scanner = Callable[[str, bytes], Iterator[Finding]]


class Claim(NamedTuple):
    """A rule that wins a path; `map` is the path of the map it stands in."""

    rule: Rule
    map: str
    merging: bool = False

    def fix(self, code: Code, path: str, *, committed: bool | None = True) -> str:
        """Return the command that mends a finding in a path that it claims."""
        folder = posixpath.dirname(self.map)
        inside = posixpath.relpath(path, folder) if folder else path
        if code is Code.UNMERGED:
            return unmerged_fix(inside, folder, added=True)
        if code in RESTORED and self.merging:
            return ""  # the last commit's version would throw one side away
        return fix_for(code, inside, folder, committed=committed)

    def __str__(self) -> str:
        """Return the rule as a person finds it."""
        return f"the rule {self.rule.pattern} ({self.map}:{self.rule.line})"


class Judge:
    """Judges the changes of one commit."""

    def __init__(
        self, tree: Tree, scan: Scanner | None = None, *, merging: bool = False
    ) -> None:
        """Take what the commit leaves behind.

        `scan` looks for other kinds of secrets in ordinary files, if it is there;
        `merging` says that the commit finishes a merge.
        """
        self.tree, self.scan, self.merging = tree, scan, merging
        # of each folder that was looked at; None where there is no map
        self._policies: dict[str, Policy | None] = {}
        self._links: dict[str, str] = {}  # of maps that are links: where each leads

    @property
    def has_map(self) -> bool:
        """Whether a map decided about anything."""
        return any(self._policies.values())

    def findings(
        self, changed: Sequence[Change], deleted: Sequence[Blob] = ()
    ) -> list[Finding]:
        """Return what is wrong with the changes, in the order of their paths.

        Raises:
            MapError: a map that decides about one of them cannot be read.
        """
        self._learn_maps(change.new.path for change in changed)
        blobs = [change.new for change in changed]
        blobs += self._newly_claimed(blobs, deleted)
        blobs = [blob for blob in blobs if blob.regular or blob.link]
        before = _before(changed, deleted)
        found = self._leftovers(blobs)
        for blob, data in zip(blobs, self.tree.read(blobs), strict=True):
            found += self._judge(blob, data, before)
        return sorted(set(found))

    # --- the maps

    def _learn_maps(self, paths: Iterable[str]) -> None:
        folders = {folder for path in paths for folder in _above(path)}
        wanted = [posixpath.join(f, MAP_NAME) for f in folders - set(self._policies)]
        there = self.tree.lookup(sorted(wanted))
        maps = {p: self._followed(e) if e.link else e for p, e in there.items()}
        maps = {path: blob for path, blob in maps.items() if blob.regular}
        contents = self.tree.read(list(maps.values()))
        for path, data in zip(maps, contents, strict=True):
            folder = posixpath.dirname(path)
            self._policies[folder] = _policy(folder, data)
        for folder in folders:
            self._policies.setdefault(folder, None)

    def _followed(self, link: Blob) -> Blob:
        """Return the map that a link leads to.

        Raises:
            MapError: it leads to no file of the commit; what nobody can read must not
                count as no map.
        """
        for data in self.tree.read([link]):
            target = _leads_to(link.path, data)
            found = self.tree.lookup([target]).get(target) if target else None
            if target is not None and found is not None and found.regular:
                self._links[link.path] = target
                return found
        raise MapError(
            f"{link.path} is a link to no file of this commit",
            "commit the map itself, or what it leads to",
        )

    def _nearest(self, path: str) -> tuple[str, str, Policy] | None:
        """Return the nearest map's folder, the path from there, and its policy."""
        for folder in _above(path):
            policy = self._policies.get(folder)
            if policy is not None:
                return folder, path[len(folder) + 1 :] if folder else path, policy
        return None

    def claim(self, path: str) -> Claim | None:
        """Return the rule that makes `path` a secret, None where it is no secret."""
        nearest = self._nearest(path)
        if nearest is None:
            return None
        folder, inside, policy = nearest
        won = None if policy.never_secret(inside) else policy.winning(inside)
        place = posixpath.join(folder, MAP_NAME)
        return won and Claim(won[0], place, self.merging)

    def _newly_claimed(
        self, changed: Sequence[Blob], deleted: Sequence[Blob]
    ) -> list[Blob]:
        """Return the unchanged files that a changed map claims, or one above a gone."""
        paths = {blob.path for blob in changed}
        maps = {p for p in paths if posixpath.basename(p) == MAP_NAME}
        maps |= {link for link, target in self._links.items() if target in paths}
        gone = [b.path for b in deleted if posixpath.basename(b.path) == MAP_NAME]
        if not (maps or gone):
            return []
        below = tuple(posixpath.join(posixpath.dirname(p), "") for p in gone)
        others = [blob for blob in self.tree.everything() if blob.path not in paths]
        self._learn_maps(blob.path for blob in others)
        claims = ((blob, self.claim(blob.path)) for blob in others)
        return [
            blob
            for blob, claim in claims
            if claim and (claim.map in maps or blob.path.startswith(below))
        ]

    # --- one file

    def _judge(self, blob: Blob, data: bytes, before: "_Before") -> Iterator[Finding]:
        claim = self.claim(blob.path)
        if claim is not None and blob.link:
            yield from self._link(blob, data, claim)
        elif claim is not None and looks_secret(blob.path, data):
            last = next(self.tree.read([*before.get(blob.path, ())][:1]), None)
            yield from _faults(blob.path, data, claim, last)
            yield from self._retyped(blob, data, before)
        elif claim is not None and (line := _marked(claim, data)):
            message = f"holds git's conflict markers ({claim})"
            fix = claim.fix(Code.UNMERGED, blob.path)
            yield Finding(blob.path, Code.UNMERGED, message, line, fix)
        elif claim is not None and not claim.rule.plaintext_allowed:
            message = f"is not encrypted; {claim} says it must be"
            yield _in_the_open(blob.path, message, claim)
        elif claim is not None and self._was_secret(blob, before):
            message = f"was a secret and is none any more; {claim} keeps it one"
            yield _in_the_open(blob.path, message, claim)
        for sighting in private_keys(blob.path, data):
            message = f"holds {sighting.what}"
            yield Finding(blob.path, Code.PRIVATE_KEY, message, sighting.line)
        if self.scan and blob.regular and not looks_secret(blob.path, data):
            yield from () if self._generated(blob.path) else self.scan(blob.path, data)

    def _retyped(self, blob: Blob, data: bytes, before: "_Before") -> Iterator[Finding]:
        """Yield the values whose type was changed and whose ciphertext was not."""
        from nixsecrets.secretfiles.whole import retyped

        for old in self.tree.read([*before.get(blob.path, ())]):
            yield from retyped(blob.path, old, data)

    def _generated(self, path: str) -> bool:
        """Tell whether a file is one of ours, which hold public keys by the dozen."""
        nearest = self._nearest(path)
        return nearest is not None and nearest[2].generated(nearest[1])

    def _was_secret(self, blob: Blob, before: "_Before") -> bool:
        """Tell whether the last commit has this file, or one moved here, as a secret.

        A file that is gone counts as moved here if its name is the same: what was
        decrypted has too little in common for git to see it.
        """
        name = posixpath.basename(blob.path)
        old = [*before.get(blob.path, ()), *before.get(name, ())]
        return any(
            looks_secret(one.path, data)
            for one, data in zip(old, self.tree.read(old), strict=True)
        )

    def _link(self, blob: Blob, data: bytes, claim: Claim) -> Iterator[Finding]:
        """Judge a link that stands where a secret belongs."""
        target = _leads_to(blob.path, data)
        if target is not None:
            self._learn_maps([target])
            there = self.tree.lookup([target]).get(target)
            if there is not None and there.regular and self.claim(target):
                return
        message = f"is a link that leads to no secret, where {claim} wants one"
        yield Finding(
            blob.path, Code.NOT_A_FILE, message, fix=fix_for(Code.NOT_A_FILE, blob.path)
        )

    # --- names

    def _leftovers(self, blobs: Sequence[Blob]) -> list[Finding]:
        suspects = {b.path: leftovers.originals(b.path) for b in blobs}
        names = sorted({name for found in suspects.values() for name in found})
        self._learn_maps(names)
        there = self.tree.lookup(names)
        found: list[Finding] = []
        for blob in blobs:
            path = blob.path
            if self._leftover(path, suspects[path], there) and not self._whole(blob):
                message = "is a decrypted or an editor's copy of a secret"
            elif leftovers.is_identity_file(path) and not self._whole(blob):
                message = "is where sops and age keep private keys"
            else:
                continue
            fix = fix_for(Code.LEFTOVER, path)
            found.append(Finding(path, Code.LEFTOVER, message, fix=fix))
        return found

    def _leftover(
        self, path: str, originals: Sequence[str], there: Mapping[str, Blob]
    ) -> bool:
        if leftovers.says_decrypted(path):
            return True
        for name in originals:
            claim = self.claim(name)
            if claim is not None and not claim.rule.plaintext_allowed:
                return True
            original = [there[name]] if name in there and there[name].regular else []
            if any(looks_secret(name, data) for data in self.tree.read(original)):
                return True
        return False

    def _whole(self, blob: Blob) -> bool:
        """Tell whether a file is a whole secret, whatever its name, or public keys."""
        from nixsecrets.secretfiles.whole import faults

        for data in self.tree.read([blob]):
            if looks_secret(blob.path, data):
                return not any(faults(blob.path, data))
            return leftovers.is_identity_file(blob.path) and _public_keys(data)
        return False


_Before = Mapping[str, Sequence[Blob]]
"""What was there: by path the old content, by name what is gone."""


def _marked(claim: Claim, data: bytes) -> int:
    """Return the line of conflict markers in what had to be a secret, 0 for none."""
    return 0 if claim.rule.plaintext_allowed else conflict_line(data)


def _leads_to(path: str, link: bytes) -> str | None:
    """Return where a link leads, None where that is outside of the work tree."""
    target = link.decode("utf-8", "surrogateescape")
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
    return None if target.startswith("/") or found.startswith("../") else found


def _before(changed: Iterable[Change], deleted: Iterable[Blob]) -> _Before:
    found: dict[str, list[Blob]] = {}
    for change in changed:
        if change.old is not None and change.old.regular:
            found.setdefault(change.old.path, []).append(change.old)
    for blob in deleted:
        if blob.regular:
            found.setdefault(posixpath.basename(blob.path), []).append(blob)
    return found


def _policy(folder: str, data: bytes) -> Policy:
    """Read the map of a folder.

    Raises:
        MapError: it cannot be read.
    """
    try:
        return Policy(load(decode(data, MAP_NAME), MAP_NAME))
    except MapError as error:
        message = posixpath.join(folder, error.message)
        raise MapError(f"{message} (as it is to be committed)", error.hint) from error


def _in_the_open(path: str, message: str, claim: Claim) -> Finding:
    fix = claim.fix(Code.PLAINTEXT, path)
    return Finding(path, Code.PLAINTEXT, message, fix=fix)


def _faults(
    path: str, data: bytes, claim: Claim, last: bytes | None
) -> Iterator[Finding]:
    from nixsecrets.secretfiles.whole import faults, restores, strangers

    found = [*faults(path, data, wanted=claim.rule.sops)]
    for fault in (*found, *strangers(path, data)):
        fix = claim.fix(fault.code, path, committed=restores(path, last))
        message = f"{fault.message} ({claim})"
        yield Finding(path, fault.code, message, fault.line, fix)


def _public_keys(data: bytes) -> bool:
    """Tell whether a text holds public keys and comments, and nothing else."""
    lines = (line.strip() for line in data.splitlines())
    return all(line.startswith((b"#", b"age1", b"ssh-")) for line in lines if line)


def _above(path: str) -> Iterator[str]:
    """Yield the folders above a path, the nearest first; the top is empty."""
    while path:
        path = posixpath.dirname(path)
        yield path

"""Checks what is about to be committed: the map determines what must be encrypted.

Reads blobs, never the work tree, and needs no private key.  Each path is subject to the
nearest map at or above it, in the version of that commit.  The hook runs on every
commit: the readers of secret files are imported only if a secret is staged.
"""

import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from nixsecrets.files.kind import looks_like_age, looks_secret
from nixsecrets.findings.catalogue import Code, Finding, fix_for, refined
from nixsecrets.findings.guard import leftovers
from nixsecrets.findings.guard.commit import Blob, Change, Tree
from nixsecrets.findings.guard.maps import Claim, Maps, leads_to
from nixsecrets.findings.guard.privatekeys import private_keys
from nixsecrets.findings.guard.strays import called_age, strays
from nixsecrets.splice import conflict_line

Scanner = Callable[[str, bytes], Iterator[Finding]]
Opening = Callable[[str, bytes], tuple[str, Mapping[Finding, Finding]]]
_NO_WHOLE = frozenset({Code.DAMAGED, Code.UNMERGED, Code.OPEN_VALUE})


class Judge:
    """Judges the changes of one commit."""

    def __init__(
        self,
        tree: Tree,
        scan: Scanner | None = None,
        opening: Opening | None = None,
        *,
        merging: bool = False,
    ) -> None:
        """Judge the commit with the given tree.

        `scan` searches ordinary files for tokens.  `opening`, called with path and
        bytes of a sops file, verifies it with a key at hand: it returns the message on
        a wrong MAC, and findings that replace less specific ones.  `merging`: the
        commit concludes a merge.
        """
        self.tree, self.scan, self.opening = tree, scan, opening
        self.maps = Maps(tree, merging=merging)

    def findings(
        self, changed: Sequence[Change], deleted: Sequence[Blob] = ()
    ) -> list[Finding]:
        """Return the findings on the changes, sorted.

        Raises:
            MapError: a map that applies to one of the files cannot be read.
        """
        self.maps.learn(change.new.path for change in changed)
        blobs = [change.new for change in changed]
        blobs += self.maps.newly_claimed(blobs, deleted)
        blobs = [blob for blob in blobs if blob.regular or blob.link]
        before = _before(changed, deleted)
        found = self._leftovers(blobs)
        for blob, data in zip(blobs, self.tree.read(blobs), strict=True):
            found += self._judge(blob, data, before)
        found += strays(self.maps, changed)
        return sorted(set(found))

    # --- one file

    def _judge(self, blob: Blob, data: bytes, before: "_Before") -> Iterator[Finding]:
        claim = self.maps.claim(blob.path)
        if claim is not None and blob.link:
            yield from self._link(blob, data, claim)
        elif claim is not None and looks_secret(blob.path, data):
            last = next(self.tree.read([*before.get(blob.path, ())][:1]), None)
            faults = [*_faults(blob.path, data, claim, last)]
            whole = not any(one.code in _NO_WHOLE for one in faults)
            mac, types = self._opened(blob, data, before) if whole else ("", {})
            types = {**types, **self._retyped(blob, data, before)}
            yield from refined(faults, {_by(claim, k): v for k, v in types.items()})
            yield from self._appended(blob, data, claim, before)
            if mac:
                yield Finding(blob.path, Code.WRONG_MAC, f"{mac} ({claim})")
        elif claim is not None and (line := _marked(claim, data)):
            message = f"holds git's conflict markers ({claim})"
            fix = claim.fix(Code.UNMERGED, blob.path)
            yield Finding(blob.path, Code.UNMERGED, message, line, fix)
        elif claim is not None and not claim.rule.plaintext_allowed:
            message = f"is not encrypted, but {claim} requires it"
            yield _in_plaintext(blob.path, message, claim)
        elif called_age(blob, data):
            message = "is named .age but is not encrypted"
            fix = fix_for(Code.NOT_AGE, blob.path)
            yield Finding(blob.path, Code.NOT_AGE, message, fix=fix)
        elif claim is not None and self._was_secret(blob, before):
            message = f"was a secret and no longer is, but {claim} requires it"
            yield _in_plaintext(blob.path, message, claim)
        for sighting in private_keys(blob.path, data):
            message = f"holds {sighting.what}"
            yield Finding(blob.path, Code.PRIVATE_KEY, message, sighting.line)
        if self.scan and blob.regular and not looks_secret(blob.path, data):
            yield from (
                () if self.maps.generated(blob.path) else self.scan(blob.path, data)
            )

    def _opened(
        self, blob: Blob, data: bytes, before: "_Before"
    ) -> tuple[str, Mapping[Finding, Finding]]:
        """Return what `opening` finds in a sops file that this commit changes."""
        same = any(one.oid == blob.oid for one in before.get(blob.path, ()))
        if self.opening is None or same or looks_like_age(data):
            return "", {}
        return self.opening(blob.path, data)

    def _retyped(
        self, blob: Blob, data: bytes, before: "_Before"
    ) -> dict[Finding, Finding]:
        """Return findings on values with a new type but the old ciphertext."""
        # 30 ms, also below: the hook runs on every commit
        from nixsecrets.files.faults import retyped

        old = self.tree.read([*before.get(blob.path, ())])
        return retyped(blob.path, b"\n".join(old), data)

    def _appended(
        self, blob: Blob, data: bytes, claim: Claim, before: "_Before"
    ) -> Iterator[Finding]:
        """Yield a finding if only the payload of an age file changed, not its header.

        No program does that: a grant keeps the payload, everything else writes a new
        header.
        """
        if not looks_like_age(data):
            return
        from nixsecrets.files.age import header
        from nixsecrets.files.faults import restores

        old = [one for one in before.get(blob.path, ()) if one.path == blob.path]
        for was in self.tree.read(old):
            head = header.before_payload(was)
            if head and was != data and data.startswith(head):
                message = f"its payload was changed under its old header ({claim})"
                last = restores(blob.path, was)
                fix = claim.fix(Code.DAMAGED, blob.path, committed=last)
                yield Finding(blob.path, Code.DAMAGED, message, fix=fix)

    def _was_secret(self, blob: Blob, before: "_Before") -> bool:
        """Return whether the file was a secret in the last commit, perhaps elsewhere.

        A deleted file of the same name counts as moved here: a decrypted file has too
        little in common with the encrypted one for git to detect the move.
        """
        name = posixpath.basename(blob.path)
        old = [*before.get(blob.path, ()), *before.get(name, ())]
        if any(
            looks_secret(one.path, data)
            for one, data in zip(old, self.tree.read(old), strict=True)
        ):
            return True
        moved = [] if blob.path in before else [*before.get("", ())]
        if not moved:
            return False
        from nixsecrets.files.faults import decrypted_from  # for deleted files alone

        now = [*self.tree.read([blob])]
        return any(
            looks_secret(one.path, data)
            and decrypted_from(one.path, data, blob.path, now[0])
            for one, data in zip(moved, self.tree.read(moved), strict=True)
        )

    def _link(self, blob: Blob, data: bytes, claim: Claim) -> Iterator[Finding]:
        """Yield a finding on a link at a secret's path, unless it leads to a secret."""
        target = leads_to(blob.path, data)
        if target is not None:
            self.maps.learn([target])
            there = self.tree.lookup([target]).get(target)
            if there is not None and there.regular and self.maps.claim(target):
                return
        message = f"is a link that does not lead to a secret, but {claim} requires one"
        yield Finding(
            blob.path, Code.NOT_A_FILE, message, fix=fix_for(Code.NOT_A_FILE, blob.path)
        )

    # --- names

    def _leftovers(self, blobs: Sequence[Blob]) -> list[Finding]:
        suspects = {b.path: leftovers.originals(b.path) for b in blobs}
        names = sorted({name for found in suspects.values() for name in found})
        self.maps.learn(names)
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
            claim = self.maps.claim(name)
            if claim is not None and not claim.rule.plaintext_allowed:
                return True
            original = [there[name]] if name in there and there[name].regular else []
            if any(looks_secret(name, data) for data in self.tree.read(original)):
                return True
        return False

    def _whole(self, blob: Blob) -> bool:
        """Return whether a file of any name is an intact secret, or public keys."""
        from nixsecrets.files.faults import faults

        for data in self.tree.read([blob]):
            if looks_secret(blob.path, data):
                return not any(faults(blob.path, data))
            return leftovers.is_identity_file(blob.path) and _public_keys(data)
        return False


_Before = Mapping[str, Sequence[Blob]]
"""Earlier blobs: of changed files by their old path, of deleted ones by their name.

All deleted ones are at "", too.
"""


def _by(claim: Claim, one: Finding) -> Finding:
    """Return a finding with the rule in its message and the rule's fix."""
    fix = claim.fix(one.code, one.path)
    return one._replace(message=f"{one.message} ({claim})", fix=fix)


def _marked(claim: Claim, data: bytes) -> int:
    """Return the line of conflict markers in a file that must be a secret, or 0."""
    return 0 if claim.rule.plaintext_allowed else conflict_line(data)


def _before(changed: Iterable[Change], deleted: Iterable[Blob]) -> _Before:
    found: dict[str, list[Blob]] = {}
    for change in changed:
        if change.old is not None and change.old.regular:
            found.setdefault(change.old.path, []).append(change.old)
    for blob in deleted:
        if blob.regular:
            found.setdefault(posixpath.basename(blob.path), []).append(blob)
            found.setdefault("", []).append(blob)
    return found


def _in_plaintext(path: str, message: str, claim: Claim) -> Finding:
    fix = claim.fix(Code.PLAINTEXT, path)
    return Finding(path, Code.PLAINTEXT, message, fix=fix)


def _faults(
    path: str, data: bytes, claim: Claim, last: bytes | None
) -> Iterator[Finding]:
    from nixsecrets.files.faults import faults, restores, strangers

    found = [*faults(path, data, wanted=claim.rule.sops)]
    for fault in (*found, *strangers(path, data)):
        fix = claim.fix(fault.code, path, committed=restores(path, last))
        message = f"{fault.message} ({claim})"
        yield Finding(path, fault.code, message, fault.line, fix)


def _public_keys(data: bytes) -> bool:
    """Return whether a text consists of public keys and comments."""
    lines = (line.strip() for line in data.splitlines())
    return all(line.startswith((b"#", b"age1", b"ssh-")) for line in lines if line)

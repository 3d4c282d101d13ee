"""Both sides of a secret that git could not merge, decrypted."""

from pathlib import Path

from nixsecrets.errors import SecretFileError
from nixsecrets.files.decrypt import plaintext_of
from nixsecrets.keys.identities import Keyring
from nixsecrets.keys.unlock import Unlock, once
from nixsecrets.repo.gitrun import merge_texts
from nixsecrets.repo.unmerged import sides
from nixsecrets.world.world import World

STAGES = {"base": 1, "ours": 2, "theirs": 3}
_LIMIT = 64 << 20


def side_text(
    world: World, name: str, side: str, ring: Keyring, unlock: Unlock, folder: Path
) -> bytes:
    """Return the plaintext of one side ("base", "ours", "theirs") of a conflict.

    Raises:
        SecretFileError: the file has no conflict, or the side has no version of it.
        IdentityError: no identity opens it.
    """
    conflict = world.conflicts.get(name)
    if conflict is None or not conflict.stages or world.repo.git is None:
        raise SecretFileError(
            f"{name}: git has no conflict in it",
            f"nixsecrets cat {name}"
            if conflict is None
            else "nixsecrets explain NS018",
        )
    oid = conflict.stages.get(STAGES[side])
    if oid is None:
        raise SecretFileError(f"{name}: {side} has no version of it", conflict.message)
    with world.repo.git.reader(limit=_LIMIT) as read:
        data = read(oid)
    return plaintext_of(name, data, ring, unlock, folder)


def merged_text(
    world: World, name: str, ring: Keyring, unlock: Unlock, folder: Path
) -> bytes:
    """Return both sides merged into one plaintext, with conflict markers.

    A side that deleted the file, or a missing merge base, counts as empty.

    Raises:
        SecretFileError: git has no versions of the file.
        IdentityError: no identity opens one of them.
    """
    conflict = world.conflicts[name]
    unlock = once(unlock)
    if not conflict.stages or world.repo.git is None:
        side_text(world, name, "ours", ring, unlock, folder)  # raises, with the reason
    texts = {
        side: side_text(world, name, side, ring, unlock, folder)
        if stage in conflict.stages
        else b""
        for side, stage in STAGES.items()
    }
    if texts["ours"] == texts["theirs"]:
        return texts["ours"]
    names = sides(world.repo.git) if world.repo.git else None
    return merge_texts(
        folder,
        (names.ours if names else "ours", texts["ours"]),
        ("base", texts["base"]),
        (names.theirs if names else "theirs", texts["theirs"]),
    )

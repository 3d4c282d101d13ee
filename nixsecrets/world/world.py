"""Load: everything a plan is made of, read from the disk once.

A `World` is a value: the map, the lock, the generated files as they are, and what
every secret file tells without a private key.  Nothing here judges or writes.
"""

import contextlib
import gc
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple, assert_never

from nixsecrets import splice
from nixsecrets.errors import SecretFileError, shell_word
from nixsecrets.files.age import header, shape
from nixsecrets.files.age import state as age_state
from nixsecrets.files.age.header import LARGE
from nixsecrets.files.kind import (
    called_age,
    format_for,
    looks_secret,
)
from nixsecrets.files.looks import Look, Plain, look
from nixsecrets.files.sops import state as sops_state
from nixsecrets.files.state import Actual, Damaged, NotSecret
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.load import decode, load
from nixsecrets.map.model import Desired, RecipientMap
from nixsecrets.map.names import LOCK_NAME as LOCK_NAME
from nixsecrets.map.resolve import Policy
from nixsecrets.repo import pool
from nixsecrets.repo.unmerged import Conflict
from nixsecrets.repo.worktree import MAP_NAME as MAP_NAME
from nixsecrets.repo.worktree import Repo
from nixsecrets.untrusted import limits
from nixsecrets.world import conflicts as merge
from nixsecrets.world import survey
from nixsecrets.world.reach import Reach, unreached
from nixsecrets.world.survey import Survey

ATTRIBUTES = ".gitattributes"

Found = Actual | Damaged | NotSecret


class _Parts(NamedTuple):
    repo: Repo
    map_text: str
    policy: Policy
    lock: Lock
    files: Mapping[str, Found]
    texts: Mapping[str, str | None]
    conflicts: Mapping[str, Conflict] = MappingProxyType({})
    reach: Reach = Reach()


class World(_Parts):
    """One repository at one moment.

    `files` holds every file that a rule of the map claims and every other file that is
    encrypted, by path relative to the map's folder.  `texts` are the generated files
    as they lie there, None where there is none.  `reach` says which secrets of the map
    are not in `files`.
    """

    def __repr__(self) -> str:
        """Return where it is; the rest is thousands of lines."""
        return f"World({self.repo.root})"

    @property
    def map(self) -> RecipientMap:
        """The recipient map."""
        return self.policy.map

    @cached_property
    def book(self) -> KeyBook:
        """Every key that has a name: the map's first, then retired, recorded ones."""
        return key_book(self.map, self.lock)

    @cached_property
    def secrets(self) -> dict[str, Actual]:
        """The files that are encrypted and whole."""
        return {p: f for p, f in self.files.items() if isinstance(f, Actual)}

    @cached_property
    def shared_prints(self) -> frozenset[bytes]:
        """The key prints that more than one secret carries."""
        every = [file.key_prints for file in self.secrets.values()]
        flat = list(chain.from_iterable(every))
        if len(set(flat)) == len(flat):  # as nearly always, and cheap to find out
            return frozenset()
        count = Counter(chain.from_iterable(map(set, every)))
        return frozenset(p for p, times in count.items() if times > 1)

    @cached_property
    def alike(self) -> list[tuple[Desired | None, list[Actual]]]:
        """Them with what the map wants of them, None where no rule names them.

        Together are those that show the same and of which it wants the same.
        """
        found: dict[object, tuple[Desired | None, list[Actual]]] = {}
        for file in self.secrets.values():
            want = self.policy.desired(file.path, file.backend)
            form = format_for(file.path)  # which options make sense depends on it
            same = id(want), id(file.backend), id(file.state), id(form), file.options
            key = (*same, file.refusal, file.others, file.left_open, file.armored)
            found.setdefault(key, (want, []))[1].append(file)
        return list(found.values())

    def desired(self, path: str) -> Desired | None:
        """Return what the map specifies for a path, whether or not the file exists."""
        found = self.files.get(path)
        backend = found.backend if isinstance(found, Actual) else None
        return self.policy.desired(path, backend or self.policy.backend_for_new(path))

    @property
    def config_readable(self) -> bool:
        """Whether `.sops.yaml` can be read: not with conflict markers in it."""
        text = self.texts.get(self.map.sops_config or "")
        return text is None or not splice.conflict_line(text.encode(errors="replace"))

    def key_in_map(self, recipient: Recipient) -> Recipient:
        """Return a reader's key as the map spells it (the ssh form of a host's)."""
        keys = (key for _, key in named_keys(self.map))
        fits = (key for key in keys if key.key_id == recipient.key_id)
        return next(fits, recipient)

    @cached_property
    def users(self) -> frozenset[str]:
        """The names of the map's users."""
        return frozenset(user.name for user in self.map.users)

    def with_map(self, text: str) -> "World":
        """Return the same files under another map.

        Files that only the new map claims are read now.
        """
        after = self._replace(map_text=text, policy=Policy(load(text)))
        with self.repo.naming() as listed:
            listing = self.repo.on_disk(listed().names)
        more = _interpret_all(after, [p for p in listing.paths if p not in self.files])
        after = after._replace(files={**self.files, **more}, texts=_texts(after))
        return after._replace(reach=unreached(self.repo, after.policy, listing))


def key_book(recipient_map: RecipientMap, lock: Lock) -> KeyBook:
    """Return the names of all keys that the map and the lock know."""
    return KeyBook([*named_keys(recipient_map), *lock.named_recipients()])


def named_keys(recipient_map: RecipientMap) -> Iterator[tuple[str, Recipient]]:
    """Yield every key of the map with its owner's name, retired ones last."""
    for owner in recipient_map.owners:
        for key in owner.keys:
            yield owner.name, key
    for retired in recipient_map.retired:
        yield retired.name, retired.key


def _known_keys(recipient_map: RecipientMap) -> Iterator[Recipient]:
    """Yield every key of the map in each of its forms."""
    for _, key in named_keys(recipient_map):
        yield key
        yield key.converted()


def fresh_world(repo: Repo, map_text: str) -> World:
    """Return a repository that has a map, `map_text`, and nothing else of ours yet."""
    policy = Policy(load(map_text))
    world = World(repo, map_text, policy, Lock(), files={}, texts={})
    attributes = text_if_there(repo, ATTRIBUTES)
    return world._replace(texts={**_texts(world), ATTRIBUTES: attributes})


def adopting_world(
    repo: Repo, map_text: str, lock: Lock, *, without: Collection[str] = ()
) -> World:
    """Return a repository as it is, under a map and a lock that it has not yet.

    `without` are folders that will have a map of their own.
    """
    world = fresh_world(repo, map_text)._replace(lock=lock)
    folders = tuple(f"{folder}/" for folder in without)
    paths = [p for p in repo.list_files() if not p.startswith(folders)]
    return world._replace(files=_interpret_all(world, paths))


def encrypted_files(repo: Repo) -> list[str]:
    """Return the files that are age or sops files, whether or not a map names them."""
    found = ((path, repo.read(path)) for path in repo.list_files())
    return [path for path, data in found if looks_secret(path, data)]


def mapped_world(repo: Repo, begun: Survey) -> World:
    """Return a repository with its map and what is generated, and no files yet.

    Raises:
        MapError: the map cannot be read, or the lock is of a newer version.
    """
    map_text = decode(begun.map)
    recipient_map = load(map_text)
    limits.check(LOCK_NAME, len(begun.lock or b""), limits.LOCK)
    # bytes that are no UTF-8 make one line unreadable, not the whole lock
    lock_text = (begun.lock or b"").decode(errors="surrogateescape")
    lock = Lock.parse(lock_text, LOCK_NAME, lambda: _known_keys(recipient_map))
    texts = {LOCK_NAME: None if begun.lock is None else lock_text}
    policy = Policy(recipient_map)
    world = World(repo, map_text, policy, lock, files={}, texts=texts)
    return world._replace(texts=_texts(world))


def with_files(world: World, begun: Survey) -> World:
    """Return it with what a survey comes to.

    Raises:
        NixsecretsError: a file vanished while it was read.
    """
    with _no_collecting():
        files = _interpret_all(world, begun.paths, begun.looks())
    conflicts = merge.conflicts(world.repo, world.policy, world.texts, files, begun)
    files |= {
        path: Damaged(path, file.backend, file.sha256, conflicts[path].message)
        for path, file in files.items()
        if path in conflicts and not isinstance(file, NotSecret)
    }
    reach = unreached(world.repo, world.policy, begun.listing)
    return world._replace(files=files, conflicts=conflicts, reach=reach)


def text_if_there(repo: Repo, path: str) -> str | None:
    """Return a public text file of the repository, None where there is none.

    Raises:
        MapError: it is not UTF-8.
        NixsecretsError: it cannot be read.
    """
    data = repo.read_if_there(path)
    return None if data is None else decode(data, path)


def _texts(world: World) -> dict[str, str | None]:
    """Return the generated files of its map.

    What it has of them stays: a change is compared with what a plan is made of.
    """
    names = [LOCK_NAME, world.map.sops_config, world.map.agenix_rules]
    had = world.texts
    return {
        name: had[name] if name in had else text_if_there(world.repo, name)
        for name in names
        if name is not None
    }


def _interpret_all(
    world: World, paths: Sequence[str], looks: Iterable[tuple[str, Look | None]] = ()
) -> dict[str, Found]:
    """Return what looks tell of files; those without one are read with care."""
    policy, book, lock = world.policy, world.book, world.lock
    found: dict[str, Found | None] = dict.fromkeys(
        path for path in paths if not policy.never_secret(path)
    )
    for path, looked in looks:
        if looked is not None and path in found:
            found[path] = interpret(path, looked, book, lock)
    others = [path for path, one in found.items() if one is None]
    found |= _read_all(world.repo, book, lock, others)
    return {p: one for p, one in found.items() if one and _counts(policy, one)}


def _read_all(
    repo: Repo, book: KeyBook, lock: Lock, paths: Sequence[str]
) -> dict[str, Found]:
    def read(share: Sequence[str]) -> list[Found]:
        return [read_file(repo, path, book, lock) for path in share]

    with _no_collecting():
        found = pool.spread(read, paths, each=survey.WORTH_A_PROCESS)
    return {one.path: one for one in found}


def _counts(policy: Policy, file: Found) -> bool:
    """Return whether a file is encrypted or called so, or is one that a rule names."""
    return (
        not isinstance(file, NotSecret)
        or called_age(file.path)
        or policy.winning(file.path) is not None
    )


@contextlib.contextmanager
def _no_collecting() -> Iterator[None]:
    """Let Python look for no cycles: a third of the time, and there are none.

    Nor later, among what was read: it stays to the end of the run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


def read_file(repo: Repo, path: str, book: KeyBook, lock: Lock) -> Found:
    """Read one file and return what it shows of its readers."""
    data = repo.read_or_start(path, LARGE, header.starts_binary)
    if isinstance(data, bytes):
        return examine(path, data, book, lock)
    looked = shape.look(data.data, rest=data.size - len(data.data))
    found = interpret(path, (data.sha256, *looked), book, lock)
    if isinstance(found, Damaged):  # a header that is larger than the start
        return examine(path, repo.read(path), book, lock)
    return found


def examine(path: str, data: bytes, book: KeyBook, lock: Lock) -> Found:
    """Return what the bytes of a whole file show of its readers."""
    return interpret(path, look(path, data), book, lock)


def interpret(path: str, looked: Look, book: KeyBook, lock: Lock) -> Found:
    """Return what a look at a file says of its readers, by the lock's record of it."""
    sha256, shown, prints = looked
    match shown:
        case shape.Shown():
            record = lock.record(path, sha256)
            return age_state.interpret(path, sha256, (shown, prints), book, record)
        case sops_state.Shown() | sops_state.Broken():
            return sops_state.interpret(path, sha256, (shown, prints), book)
        case Plain(empty):
            return NotSecret(path, sha256, empty)
        case _ as never:
            assert_never(never)


def find_file(world: World, path: str) -> Found | None:
    """Return the file at `path`, also one that git ignores or that a link leads to.

    Raises:
        SecretFileError: a link leads out of the tree.
    """
    if path in world.files:
        return world.files[path]
    data = world.repo.read_if_there(path)
    return None if data is None else examine(path, data, world.book, world.lock)


def require_actual(world: World, path: str) -> Actual:
    """Return a secret file of the world.

    Raises:
        SecretFileError: there is no such file, or it is no whole secret.
    """
    found, word = find_file(world, path), shell_word(path)
    match found:
        case Damaged() if path in world.conflicts:
            raise SecretFileError(
                f"{path}: {found.reason}",
                f"nixsecrets edit {word} opens both sides as one text; nixsecrets cat"
                f" --side ours {word} and --side theirs print each",
            )
        case Actual():
            return found
        case Damaged():
            raise SecretFileError(
                f"{path}: {found.reason}", "nixsecrets check says how to restore it"
            )
        case NotSecret():
            never = world.policy.never_secret(path)
            way = f"encrypt it: nixsecrets set {word} --from-file {word}"
            raise SecretFileError(
                f"{path} is not encrypted", "it cannot be a secret" if never else way
            )
        case None:
            raise SecretFileError(f"{path}: no such secret", "nixsecrets ls lists them")

"""Loading the current state: everything a plan is computed from.

A `World` is a value: the map, the lock, the generated files, and the state of every
secret file, as far as known without a private key.
"""

import contextlib
import gc
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import chain
from types import MappingProxyType

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
from nixsecrets.files.state import Actual, Damaged, NotSecret
from nixsecrets.frozen import NamedTuple
from nixsecrets.generated.lock import Lock
from nixsecrets.keys.book import KeyBook
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.load import decode, load
from nixsecrets.map.model import Desired, RecipientMap
from nixsecrets.map.names import LOCK_NAME as LOCK_NAME
from nixsecrets.map.resolve import Policy
from nixsecrets.repo import pool
from nixsecrets.repo.files import sha256
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
    """A repository at one moment.

    `files` has every file that a rule of the map covers, and every other encrypted
    file, by path relative to the map's folder.  `texts` are the generated files, None
    if one does not exist.  `reach` has the secrets of the map that are not in `files`.
    """

    def __repr__(self) -> str:
        """Show only the folder: the rest is thousands of lines."""
        return f"World({self.repo.root})"

    @property
    def map(self) -> RecipientMap:
        """The recipient map."""
        return self.policy.map

    @cached_property
    def book(self) -> KeyBook:
        """All keys with names: those of the map, then retired, then recorded ones."""
        return key_book(self.map, self.lock)

    @cached_property
    def secrets(self) -> dict[str, Actual]:
        """The encrypted files that are complete."""
        return {p: f for p, f in self.files.items() if isinstance(f, Actual)}

    @cached_property
    def shared_prints(self) -> frozenset[bytes]:
        """The key prints that more than one secret has."""
        every = [file.key_prints for file in self.secrets.values()]
        flat = list(chain.from_iterable(every))
        if len(set(flat)) == len(flat):  # the usual case, which is cheap to detect
            return frozenset()
        # a print may occur twice within one file
        count = Counter(chain.from_iterable(map(set, every)))
        return frozenset(p for p, times in count.items() if times > 1)

    @cached_property
    def file_groups(self) -> list[tuple[Desired | None, list[Actual]]]:
        """The secrets with their desired state, None if no rule covers them.

        Secrets with the same actual and desired state are in one group.
        """
        found: dict[object, tuple[Desired | None, list[Actual]]] = {}
        for file in self.secrets.values():
            want = self.policy.desired(file.path, file.backend)
            form = format_for(file.path)  # which options are valid depends on it
            # equal states are shared objects, so their ids are enough
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
        """Whether `.sops.yaml` can be parsed: it has no conflict markers."""
        text = self.texts.get(self.map.sops_config or "")
        return text is None or not splice.conflict_line(text.encode(errors="replace"))

    def key_in_map(self, recipient: Recipient) -> Recipient:
        """Return a key in its form in the map, such as the ssh form of a host's key."""
        keys = (key for _, key in named_keys(self.map))
        fits = (key for key in keys if key.key_id == recipient.key_id)
        return next(fits, recipient)

    @cached_property
    def users(self) -> frozenset[str]:
        """The names of the map's users."""
        return frozenset(user.name for user in self.map.users)

    def with_map(self, text: str) -> "World":
        """Return the same repository under another map.

        Files that only the new map covers are read now.
        """
        after = self._replace(map_text=text, policy=Policy(load(text)))
        with self.repo.naming() as listed:
            listing = self.repo.on_disk(listed().names)
        more = _interpret_all(after, [p for p in listing.paths if p not in self.files])
        after = after._replace(files={**self.files, **more}, texts=_texts(after))
        return after._replace(reach=unreached(self.repo, after.policy, listing))


def key_book(recipient_map: RecipientMap, lock: Lock) -> KeyBook:
    """Return a book of all keys in the map and the lock."""
    return KeyBook([*named_keys(recipient_map), *lock.named_recipients()])


def named_keys(recipient_map: RecipientMap) -> Iterator[tuple[str, Recipient]]:
    """Yield every key of the map with its owner's name, retired ones last."""
    for owner in recipient_map.owners:
        for key in owner.keys:
            yield owner.name, key
    for retired in recipient_map.retired:
        yield retired.name, retired.key


def known_keys(recipient_map: RecipientMap) -> Iterator[Recipient]:
    """Yield every key of the map in each of its forms."""
    for _, key in named_keys(recipient_map):
        yield key
        yield key.converted()


def fresh_world(repo: Repo, map_text: str) -> World:
    """Return a repository with a new map and nothing else of nixsecrets yet."""
    policy = Policy(load(map_text))
    world = World(repo, map_text, policy, Lock(), files={}, texts={})
    attributes = text_if_there(repo, ATTRIBUTES)
    return world._replace(texts={**_texts(world), ATTRIBUTES: attributes})


def adopting_world(
    repo: Repo, map_text: str, lock: Lock, *, without: Collection[str] = ()
) -> World:
    """Return a repository with its files, under a new map and lock.

    `without` are folders that will have their own map.
    """
    world = fresh_world(repo, map_text)._replace(lock=lock)
    folders = tuple(f"{folder}/" for folder in without)
    paths = [p for p in repo.list_files() if not p.startswith(folders)]
    return world._replace(files=_interpret_all(world, paths))


def encrypted_files(repo: Repo) -> list[str]:
    """Return the paths of all age and sops files, whether or not a rule covers them."""
    found = ((path, repo.read(path)) for path in repo.list_files())
    return [path for path, data in found if looks_secret(path, data)]


def mapped_world(repo: Repo, begun: Survey) -> World:
    """Return a repository with its map, lock and generated files, without secrets.

    Raises:
        MapError: the map cannot be read, or the lock is of a newer version.
    """
    map_text = decode(begun.map)
    recipient_map = load(map_text)
    limits.check(LOCK_NAME, len(begun.lock or b""), limits.LOCK)
    # bytes that are not UTF-8 make only their line unreadable
    lock_text = (begun.lock or b"").decode(errors="surrogateescape")
    lock = Lock.parse(lock_text, LOCK_NAME, lambda: known_keys(recipient_map))
    texts = {LOCK_NAME: None if begun.lock is None else lock_text}
    policy = Policy(recipient_map)
    world = World(repo, map_text, policy, lock, files={}, texts=texts)
    return world._replace(texts=_texts(world))


def with_files(world: World, begun: Survey) -> World:
    """Return `world` with the files of a survey, and their conflicts.

    Raises:
        NixsecretsError: a file was removed meanwhile, or cannot be read.
    """
    with _gc_paused():
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
    """Return a text file of the repository, None if it does not exist.

    Raises:
        MapError: it is not UTF-8.
        NixsecretsError: it cannot be read.
    """
    data = repo.read_if_there(path)
    return None if data is None else decode(data, path)


def _texts(world: World) -> dict[str, str | None]:
    """Return the generated files of the map; those already loaded are not read again.

    So a plan is compared with the content that it was computed from.
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
    """Return the files at `paths`: interpret their `looks`, read those without one."""
    policy, book, lock = world.policy, world.book, world.lock
    found: dict[str, Found | None] = dict.fromkeys(
        path for path in paths if not policy.never_secret(path)
    )
    for path, looked in looks:
        if looked is not None and path in found:
            one = found[path] = interpret(path, looked, book, lock)
            if isinstance(one, Actual):
                # found now, while others look, and not again for `file_groups`
                policy.desired(path, one.backend)
    others = [path for path, one in found.items() if one is None]
    found |= _read_all(world.repo, book, lock, others)
    return {p: one for p, one in found.items() if one and _belongs(policy, one)}


def _read_all(
    repo: Repo, book: KeyBook, lock: Lock, paths: Sequence[str]
) -> dict[str, Found]:
    def read(share: Sequence[str]) -> list[Found]:
        return [read_file(repo, path, book, lock) for path in share]

    with _gc_paused():
        found = pool.spread(read, paths, each=survey.WORTH_A_PROCESS)
    return {one.path: one for one in found}


def _belongs(policy: Policy, file: Found) -> bool:
    """Return whether a file is encrypted, is called `.age`, or has a rule."""
    return (
        not isinstance(file, NotSecret)
        or called_age(file.path)
        or policy.winning(file.path) is not None
    )


@contextlib.contextmanager
def _gc_paused() -> Iterator[None]:
    """Disable the cyclic garbage collector, which takes a third of the time.

    What was read has no cycles and lives until the end, so it is frozen, too.
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
    """Read one file and return its state."""
    data = repo.read_or_start(path, LARGE, header.starts_binary)
    if isinstance(data, bytes):
        return examine(path, data, book, lock)
    looked = shape.look(data.data, rest=data.size - len(data.data))
    found = interpret(path, (data.sha256, *looked), book, lock)
    if isinstance(found, Damaged):  # perhaps a header that is longer than the start
        return examine(path, repo.read(path), book, lock)
    return found


def examine(path: str, data: bytes, book: KeyBook, lock: Lock) -> Found:
    """Return the state of a file with this content."""
    return interpret(path, look(path, data), book, lock)


def interpret(path: str, looked: Look, book: KeyBook, lock: Lock) -> Found:
    """Return the state of a file from a look at it and the lock's record."""
    sha256, shown, prints = looked
    if isinstance(shown, shape.Shown):
        record = lock.record(path, sha256)
        return age_state.interpret(path, sha256, (shown, prints), book, record)
    if isinstance(shown, Plain):
        return NotSecret(path, sha256, shown.empty)
    from nixsecrets.files.sops import state  # 5 ms, which one age file does not need

    return state.interpret(path, sha256, (shown, prints), book)


def find_file(world: World, path: str) -> Found | None:
    """Return the file at `path`, even if git ignores it or it is behind a link.

    Raises:
        SecretFileError: a link leads out of the tree.
        NixsecretsError: it cannot be read.
    """
    if path in world.files:
        return world.files[path]
    data = world.repo.read_if_there(path)
    return None if data is None else examine(path, data, world.book, world.lock)


def still(world: World, path: str) -> bool:
    """Return whether map, lock and one file are as `world` was made from them."""
    repo, lock = world.repo, world.texts[LOCK_NAME]
    texts = {MAP_NAME: world.map_text, LOCK_NAME: lock}
    now, had = repo.read_if_there(path), world.files.get(path)
    return (now and sha256(now)) == (had and had.sha256) and all(
        repo.read_if_there(name)
        == (None if text is None else text.encode(errors="surrogateescape"))
        for name, text in texts.items()
    )


def require_actual(world: World, path: str) -> Actual:
    """Return the secret file at `path`.

    Raises:
        SecretFileError: there is no such file, it has a conflict, or it is not a
            complete secret.
        NixsecretsError: it cannot be read.
    """
    found, word = find_file(world, path), shell_word(path)
    match found:
        case Damaged() if path in world.conflicts:
            raise SecretFileError(
                f"{path}: {found.reason}",
                f"nixsecrets resolve, or in an editor: nixsecrets resolve --edit {word}"
                f"\nnixsecrets cat --side ours {word} and --side theirs print each",
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

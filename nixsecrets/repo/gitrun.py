"""Running git: the only module that does, and such that git runs no other program.

A repository is not trusted: its `.git/config`, attributes and hooks name programs.
`_start` is the only function that builds a command line and an environment.  It accepts
the subcommands in `_READS` and `_WRITES`, none of which except `add` compares the work
tree with the index (that would run filters, and git in submodules).  It disables
whatever a subcommand may start, and all access to the network.
docs/adr/0018-git-starts-nothing.md has the reasons and the list of settings.
"""

import contextlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nixsecrets.errors import ProgramError, quoted
from nixsecrets.repo.child import Child, Result

BlobReader = Callable[[str], bytes]
Finished = Callable[[], Result]
Setting = tuple[str, str]  # a key and its value
_MOST_CONFLICTS = 127  # exit code of `git merge-file`: the conflicts, above it an error
_ANSWER_SECONDS = 60.0
_IN_GIT = (".git/info/exclude", ".git/info/attributes", ".git/config")

# git exports GIT_DIR, GIT_INDEX_FILE, GIT_PREFIX and more to its hooks, where they
# would point our calls at another repository.  These few are set by the user or by CI.
_KEPT = frozenset(
    {
        "GIT_CEILING_DIRECTORIES",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_CONFIG_SYSTEM",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "GIT_EXEC_PATH",
    }
)
_KEPT_PREFIXES = ("GIT_CONFIG_KEY_", "GIT_CONFIG_VALUE_")
_ALWAYS = {
    "GIT_ALLOW_PROTOCOL": "",  # no transport: git before 2.45 fetches what is missing
    "GIT_LITERAL_PATHSPECS": "1",  # a file may be called `:(top)*`
    "GIT_NO_LAZY_FETCH": "1",  # a partial clone must not go to the network
    "GIT_NO_REPLACE_OBJECTS": "1",  # refs/replace exists in this clone only
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}

# subcommands that do not write the index and never read a file of the work tree, so
# that the attributes of the repository do not matter
_READS = frozenset(
    {
        *("blame", "cat-file", "check-attr", "check-ignore", "config", "diff-index"),
        *("diff-tree", "for-each-ref", "hash-object", "log", "ls-files", "ls-tree"),
        *("merge-base", "merge-file", "rev-list", "rev-parse", "var", "version"),
    }
)
_WRITES = frozenset({"add"})
# options that would make one of them run a filter, a textconv or an editor after all
_REFUSED = {
    "cat-file": {"--textconv", "--filters"},
    "hash-object": {"--path", "--stdin-paths"},
    "ls-files": {"-m", "--modified"},
    "config": {"-e", "--edit"},
}
_REQUIRED = {"blame": "HEAD", "diff-index": "--cached"}
_NO_PROGRAMS = ("--no-ext-diff", "--no-textconv")
_NO_TEXTCONV = ("--no-textconv",)
_DIFFS = frozenset({"diff-index", "diff-tree", "log"})

# what any subcommand might start
_OFF = (
    "core.alternateRefsCommand=false",
    "core.askPass=false",
    "core.editor=false",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.sshCommand=false",
    "credential.helper=",
    "diff.orderFile=/dev/null",  # not a program, but a file that could block
    "gpg.program=false",
    "log.showSignature=false",
    "protocol.allow=never",
    "safe.bareRepository=explicit",  # a tracked folder may look like a repository
    "sequence.editor=false",
    "submodule.recurse=false",
)
_NO_HOOKS = "core.hooksPath=/dev/null"
# they report `core.hooksPath` and paths of hooks, and start nothing
_REPORTS_HOOKS = frozenset({"config", "rev-parse"})
# scopes of `git config` that belong to the user, not to the repository
_OWN_SCOPES = frozenset({"system", "global", "command"})
_NO_FILTER = (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` without the variables that git exports, and with `_ALWAYS`."""
    kept = {
        name: value
        for name, value in env.items()
        if not name.startswith("GIT_")
        or name in _KEPT
        or name.startswith(_KEPT_PREFIXES)
    }
    return kept | _ALWAYS


def with_settings(
    env: Mapping[str, str], settings: Sequence[Setting]
) -> dict[str, str]:
    """Return `env` with configuration that overrides every file (git 2.31).

    Unlike `-c`, this works for keys that contain `=`.
    """
    given = env.get("GIT_CONFIG_COUNT", "")
    count = int(given) if given.isdecimal() else 0
    more = {"GIT_CONFIG_COUNT": str(count + len(settings))}
    for number, (key, value) in enumerate(settings, start=count):
        more |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {**env, **more}


def command_line(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the command line for options of git, a subcommand and its arguments.

    Raises:
        ValueError: the subcommand could start a program that the repository names.
    """
    at = next(n for n, word in enumerate(arguments) if not word.startswith("-"))
    front, name, rest = arguments[:at], arguments[at], arguments[at + 1 :]
    flags = {word.partition("=")[0] for word in rest}
    if (
        name not in _READS | _WRITES
        or flags & _REFUSED.get(name, set())
        or _REQUIRED.get(name, "") not in {"", *flags}
    ):
        raise ValueError(f"git {name} may start a program: see docs/adr/0018")
    off = _OFF if name in _REPORTS_HOOKS else (*_OFF, _NO_HOOKS)
    settings = [word for setting in off for word in ("-c", setting)]
    quiet = _NO_PROGRAMS if name in _DIFFS else _NO_TEXTCONV if name == "blame" else ()
    return ("git", *settings, *front, name, *quiet, *rest)


def _start(
    arguments: Sequence[str],
    folder: Path,
    *,
    stdin: bool = True,
    stderr: bool = True,
    index_file: Path | None = None,
    settings: Sequence[Setting] = (),
) -> Child:
    env = clean_environment(os.environ)
    if index_file is not None:
        env["GIT_INDEX_FILE"] = str(index_file)
    if settings:
        env = with_settings(env, settings)
    git, *words = command_line(arguments)
    command = (git, "-C", os.fspath(folder), *words)
    try:
        return Child(command, env, stdin=stdin, stderr=stderr)
    except OSError as error:
        raise ProgramError(
            "git cannot be started", "install git, or put it on PATH"
        ) from error


def run(
    arguments: Sequence[str],
    folder: Path,
    stdin: bytes = b"",
    index_file: Path | None = None,
    *,
    settings: Sequence[Setting] = (),
    at_once: bool = False,
    seconds: float | None = None,
) -> Result:
    """Run git and return its exit code and output.

    `seconds` limits the run time; `at_once`, for commands that need no time, limits it
    to a minute (git may block on a file that is not a regular one).

    Raises:
        ProgramError: git cannot be started, blocks on a file that is not regular, or
            exceeds its limit.
    """
    seconds = _ANSWER_SECONDS if at_once else seconds
    child = _start(arguments, folder, index_file=index_file, settings=settings)
    with child:
        return _finish(child, folder, stdin, seconds=seconds)


def _finish(
    child: Child, folder: Path, stdin: bytes = b"", *, seconds: float | None = None
) -> Result:
    """Wait for git; after a minute, or its limit, look for a file that it blocks on."""
    try:
        result = child.finish(stdin, seconds or _ANSWER_SECONDS)
        while result is None:
            blocker = next(_blocking_files(folder), None)
            if blocker is not None or seconds is not None:
                raise _blocked(folder, blocker)
            result = child.finish()
    except BaseException:
        child.kill()
        raise
    return result


def _blocked(folder: Path, blocker: str | None) -> ProgramError:
    if blocker is None:
        return ProgramError(
            f"git does not answer in {quoted(str(folder))}",
            "check .git/config and the files that it includes",
        )
    return ProgramError(
        f"git waits for {quoted(blocker)}, which is not a regular file", "remove it"
    )


def _blocking_files(folder: Path) -> Iterator[str]:
    """Yield the paths of git's own files around `folder` that are not regular files."""
    above = [str(one) for one in folder.parents]
    below = (place for place, _, _ in os.walk(folder))
    for place in (*above, *below):
        for name in (".gitignore", ".gitattributes", *_IN_GIT):
            path = f"{place}/{name}"
            with contextlib.suppress(OSError):
                mode = os.lstat(path).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                    yield path


def foreign_filters(
    folder: Path,
) -> tuple[tuple[str, ...], tuple[Setting, ...]]:
    """Return the filters that the repository defines, and settings to disable them.

    A filter of the user's own configuration counts only if the repository's
    configuration has a setting for it, too.

    Raises:
        ProgramError: git cannot list its configuration.
    """
    listing = ("config", "--list", "--includes", "-z", "--show-scope", "--name-only")
    result = run(listing, folder)
    if result.returncode != 0:
        raise failure("config", result)
    words = os.fsdecode(result.stdout).split("\0")
    names: dict[str, None] = {}
    # pairs of scope and key, such as "local" and "filter.NAME.clean"
    for scope, key in zip(words[::2], words[1::2], strict=False):
        section, _, rest = key.partition(".")
        if section == "filter" and scope not in _OWN_SCOPES:
            names[rest.rpartition(".")[0]] = None
    off = [
        (f"filter.{name}.{variable}", value)
        for name in names
        for variable, value in _NO_FILTER
    ]
    return tuple(names), tuple(off)


def for_other_programs(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return `env` for a program that runs git itself (nix): git then starts nothing.

    The network stays available: nix fetches the inputs of a flake.
    """
    off = [tuple(setting.split("=", 1)) for setting in (*_OFF, _NO_HOOKS)]
    network = {"protocol.allow", "core.sshCommand", "credential.helper", "core.askPass"}
    fixed = [(key, value) for key, value in off if key not in network]
    try:
        _, filters = foreign_filters(folder)
    except ProgramError:
        filters = ()  # no git, or no repository
    return with_settings(env, (*fixed, *filters))


@contextlib.contextmanager
def started(
    arguments: Sequence[str],
    folder: Path,
    index_file: Path | None = None,
    *,
    at_once: bool = False,
) -> Iterator[Finished]:
    """Start git and yield a function that waits for its end and returns the result.

    `at_once` is as in `run`.

    Raises:
        ProgramError: git cannot be started; from the function: as from `run`.
    """
    seconds = _ANSWER_SECONDS if at_once else None
    with _start(arguments, folder, stdin=False, index_file=index_file) as child:
        yield lambda: _finish(child, folder, seconds=seconds)


def failure(command: str, result: Result) -> ProgramError:
    """Return the error for a failed command, from the first line of its stderr.

    git's messages name files and settings, never content.
    """
    lines = result.stderr.decode(errors="replace").splitlines() or ["no message"]
    said = lines[0].removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
    if "dubious ownership" in said:
        hint = "run as the owner, or: git config --global --add safe.directory DIR"
    else:
        hint = f"see what `git {command}` says in this folder"
    return ProgramError(f"git {command} failed: {said}", hint)


@contextlib.contextmanager
def blob_reader(top: Path, limit: int) -> Iterator[BlobReader]:
    """Yield a function from a blob's id to its first `limit` bytes.

    One process serves all calls.

    Raises:
        ProgramError: git cannot be started, or (from the function) a blob is missing.
    """
    arguments = ("cat-file", "--batch")
    with _start(arguments, top, stderr=False) as child:
        try:
            yield lambda oid: _read_blob(child, oid, limit)
        finally:
            child.kill()


def _read_blob(child: Child, oid: str, limit: int) -> bytes:
    """Read one blob from `cat-file --batch`, which answers `oid type size` and data."""
    assert child.stdin is not None  # noqa: S101 - it is a pipe
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(oid.encode() + b"\n")
    head = child.stdout.readline().split()
    if len(head) != 3:
        raise ProgramError(
            f"git cannot read the object {oid[:12]}",
            "fetch it: git fetch --refetch (or leave out --filter when you clone)",
        )
    size = int(head[2])
    data = child.stdout.read(min(size, limit))
    rest = size - len(data) + 1  # to skip, with the line feed after the content
    while rest > 0 and (more := child.stdout.read(min(rest, 1 << 20))):
        rest -= len(more)
    return data


def merge_texts(
    folder: Path,
    mine: tuple[str, bytes],
    base: tuple[str, bytes],
    theirs: tuple[str, bytes],
    *,
    base_too: bool = False,
) -> bytes:
    """Merge two versions of a text, with conflict markers where both changed it.

    Each version is a label and its content; `folder` is a private folder in memory, in
    which they are stored meanwhile; with `base_too` the markers show the base.

    Raises:
        ProgramError: git cannot merge them (they are not text).
    """
    sides = (mine, base, theirs)
    places = [folder / f"merge-{number}" for number in range(len(sides))]
    flags = ["--diff3"] if base_too else []
    flags += [word for label, _ in sides for word in ("-L", label)]
    try:
        for place, (_, text) in zip(places, sides, strict=True):
            place.touch(mode=0o600)
            place.write_bytes(text)
        result = run(("merge-file", "-p", *flags, *map(str, places)), folder)
    finally:
        for place in places:
            place.unlink(missing_ok=True)
    if result.returncode > _MOST_CONFLICTS:
        what = "both versions cannot be shown together"
        raise ProgramError(what, "they are not text")
    return result.stdout

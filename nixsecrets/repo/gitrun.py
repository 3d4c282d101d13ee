"""Running git: the only module that starts it, so that it starts nothing in turn.

A repository is not trusted: its `.git/config`, its attributes and its hooks name
programs.  `_started` is the one place that builds a command line and an environment.
It takes the subcommands in `_READS` and `_WRITES` alone, none of which compares the
work tree with the index (that runs filters, and git inside submodules) except `add`;
switches off what every subcommand may start; and lets nothing go to the network.
docs/adr/0018-git-starts-nothing.md has the reasons and the list of keys.
"""

import contextlib
import os
import stat
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nixsecrets.errors import ProgramError, quoted

BlobReader = Callable[[str], bytes]
Setting = tuple[str, str]  # a key and its value
_MOST_CONFLICTS = 127  # `git merge-file` ends with their number, above it failed
_ANSWER_SECONDS = 60.0
_IN_GIT = (".git/info/exclude", ".git/info/attributes", ".git/config")

# git exports GIT_DIR, GIT_INDEX_FILE, GIT_PREFIX and more to its hooks, where they
# would point our calls at another repository.  These few are a person's or a CI's.
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
    "GIT_NO_REPLACE_OBJECTS": "1",  # others get what was committed, not refs/replace
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}

# Subcommands that write nothing to the index and never look at a file's content in the
# work tree, so that no attribute of the repository matters.
_READS = frozenset(
    {
        *("blame", "cat-file", "check-attr", "check-ignore", "config", "diff-index"),
        *("diff-tree", "for-each-ref", "hash-object", "log", "ls-files", "ls-tree"),
        *("merge-base", "merge-file", "rev-list", "rev-parse", "var", "version"),
    }
)
_WRITES = frozenset({"add"})
# What would make one of them run a filter, a textconv or an external diff after all.
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

# What any subcommand might start, whatever it is asked for.
_OFF = (
    "core.alternateRefsCommand=false",
    "core.askPass=false",
    "core.editor=false",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.sshCommand=false",
    "credential.helper=",
    "diff.orderFile=/dev/null",  # no program, but a file to wait for
    "gpg.program=false",
    "log.showSignature=false",
    "protocol.allow=never",
    "safe.bareRepository=explicit",  # a folder of the tree may be a repository
    "sequence.editor=false",
    "submodule.recurse=false",
)
_NO_HOOKS = "core.hooksPath=/dev/null"
_ASKED_FOR_HOOKS = frozenset({"config", "rev-parse"})  # they start nothing
# Scopes of `git config` that are the person's, not the repository's.
_OWN_SCOPES = frozenset({"system", "global", "command"})
_NO_FILTER = (("clean", ""), ("smudge", ""), ("process", ""), ("required", "false"))


def clean_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` without what git exports to hooks, and with our own settings."""
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
    """Return `env` with configuration that wins over every file (git 2.31).

    Unlike `-c`, it can name a section that has a `=` in it.
    """
    given = env.get("GIT_CONFIG_COUNT", "")
    count = int(given) if given.isdecimal() else 0
    more = {"GIT_CONFIG_COUNT": str(count + len(settings))}
    for number, (key, value) in enumerate(settings, start=count):
        more |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return {**env, **more}


def command_line(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the command line for a subcommand and its arguments.

    Raises:
        ValueError: git could start a program for it that the repository names.
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
    off = _OFF if name in _ASKED_FOR_HOOKS else (*_OFF, _NO_HOOKS)
    settings = [word for setting in off for word in ("-c", setting)]
    quiet = _NO_PROGRAMS if name in _DIFFS else _NO_TEXTCONV if name == "blame" else ()
    return ("git", *settings, *front, name, *quiet, *rest)


def _started(
    arguments: Sequence[str],
    folder: Path,
    *,
    stdin: int = subprocess.PIPE,
    stderr: int = subprocess.PIPE,
    index_file: Path | None = None,
    settings: Sequence[Setting] = (),
) -> "subprocess.Popen[bytes]":
    env = clean_environment(os.environ)
    if index_file is not None:
        env["GIT_INDEX_FILE"] = str(index_file)
    if settings:
        env = with_settings(env, settings)
    try:
        return subprocess.Popen(
            command_line(arguments),
            cwd=folder,
            env=env,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
        )
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
) -> subprocess.CompletedProcess[bytes]:
    """Run git to its end.

    `at_once` is for what takes no time, unless the configuration is a file that never
    ends: it has a minute; `seconds` is another limit.

    Raises:
        ProgramError: git cannot be started, waits for a file that is no regular one, or
            does not end within its limit.
    """
    seconds = _ANSWER_SECONDS if at_once else seconds
    started_one = _started(arguments, folder, index_file=index_file, settings=settings)
    with started_one as process:
        return _ended(process, folder, stdin, seconds=seconds)


def _ended(
    process: "subprocess.Popen[bytes]",
    folder: Path,
    stdin: bytes | None = None,
    *,
    seconds: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Wait for git; after a minute, or its limit, look for what it waits for."""
    try:
        try:
            said, complained = process.communicate(
                stdin, timeout=seconds or _ANSWER_SECONDS
            )
        except subprocess.TimeoutExpired:
            odd = next(_endless_files(folder), None)
            if odd is not None or seconds is not None:
                raise _waiting(folder, odd) from None
            said, complained = process.communicate()
    except BaseException:
        process.kill()
        raise
    return subprocess.CompletedProcess(
        process.args, process.returncode, said, complained
    )


def _waiting(folder: Path, odd: str | None) -> ProgramError:
    if odd is None:
        return ProgramError(
            f"git does not answer in {quoted(str(folder))}",
            "check .git/config and the files that it includes",
        )
    return ProgramError(
        f"git waits for {quoted(odd)}, which is not a regular file", "remove it"
    )


def _endless_files(folder: Path) -> Iterator[str]:
    """Yield what git reads wherever it finds it, and what is no regular file there."""
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
    """Return the names of the filters that the repository itself defines.

    And the settings that make git leave them out.  A filter of the person's own
    configuration is none of them, unless the repository says something about it, too.

    Raises:
        ProgramError: git cannot list its configuration.
    """
    listing = ("config", "--list", "--includes", "-z", "--show-scope", "--name-only")
    result = run(listing, folder)
    if result.returncode != 0:
        raise failure("config", result)
    words = os.fsdecode(result.stdout).split("\0")
    names: dict[str, None] = {}
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
    """Return `env` so that the git which another program (nix) starts starts nothing.

    Nix fetches what a flake names, so the network stays open to it.
    """
    off = [tuple(setting.split("=", 1)) for setting in (*_OFF, _NO_HOOKS)]
    open_ = {"protocol.allow", "core.sshCommand", "credential.helper", "core.askPass"}
    fixed = [(key, value) for key, value in off if key not in open_]
    try:
        _, filters = foreign_filters(folder)
    except ProgramError:
        filters = ()  # no git, or no repository
    return with_settings(env, (*fixed, *filters))


@contextlib.contextmanager
def started(
    arguments: Sequence[str], folder: Path, index_file: Path | None = None
) -> Iterator[Callable[[], subprocess.CompletedProcess[bytes]]]:
    """Start git, and give the function that waits for its end.

    Raises:
        ProgramError: git cannot be started.
    """
    process = _started(
        arguments, folder, stdin=subprocess.DEVNULL, index_file=index_file
    )

    def finished() -> subprocess.CompletedProcess[bytes]:
        return _ended(process, folder)

    with process:
        yield finished


def failure(command: str, result: subprocess.CompletedProcess[bytes]) -> ProgramError:
    """Translate git's own words; they name files and settings, never content."""
    lines = result.stderr.decode(errors="replace").splitlines() or ["no message"]
    said = lines[0].removeprefix("fatal: ").removeprefix("error: ").rstrip(".")
    if "dubious ownership" in said:
        hint = "run as the owner, or: git config --global --add safe.directory DIR"
    else:
        hint = f"see what `git {command}` says in this folder"
    return ProgramError(f"git {command} failed: {said}", hint)


@contextlib.contextmanager
def blob_reader(top: Path, limit: int) -> Iterator[BlobReader]:
    """Give a function that reads a blob by its id, at most `limit` bytes of it.

    One process answers for all of them.

    Raises:
        ProgramError: git cannot be started, or (from the function) a blob is missing.
    """
    arguments = ("cat-file", "--batch")
    process = _started(arguments, top, stderr=subprocess.DEVNULL)
    with process:
        try:
            yield lambda oid: _ask(process, oid, limit)
        finally:
            process.kill()


def _ask(process: "subprocess.Popen[bytes]", oid: str, limit: int) -> bytes:
    """Ask a running `cat-file --batch` for one blob (`oid type size`, its content)."""
    assert process.stdin is not None  # noqa: S101 - both are pipes
    assert process.stdout is not None  # noqa: S101 - both are pipes
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(oid.encode() + b"\n")
        process.stdin.flush()
    head = process.stdout.readline().split()
    if len(head) != 3:
        raise ProgramError(
            f"git cannot read the object {oid[:12]}",
            "fetch it: git fetch --refetch (or leave out --filter when you clone)",
        )
    size = int(head[2])
    data = process.stdout.read(min(size, limit))
    rest = size - len(data) + 1
    while rest > 0 and (more := process.stdout.read(min(rest, 1 << 20))):
        rest -= len(more)
    return data


def merge_texts(
    folder: Path,
    mine: tuple[str, bytes],
    base: tuple[str, bytes],
    theirs: tuple[str, bytes],
) -> bytes:
    """Return two versions of a text as one, marks around what both changed.

    Each is a label and its bytes; they lie in `folder`, which is private, for a moment.

    Raises:
        ProgramError: git cannot merge them (they are not text).
    """
    sides = (mine, base, theirs)
    places = [folder / f"merge-{number}" for number in range(len(sides))]
    labels = [word for label, _ in sides for word in ("-L", label)]
    try:
        for place, (_, text) in zip(places, sides, strict=True):
            place.touch(mode=0o600)
            place.write_bytes(text)
        result = run(("merge-file", "-p", *labels, *map(str, places)), folder)
    finally:
        for place in places:
            place.unlink(missing_ok=True)
    if result.returncode > _MOST_CONFLICTS:
        raise ProgramError(
            "both versions cannot be shown together", "they are not text"
        )
    return result.stdout

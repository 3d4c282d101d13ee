"""The fast path of `textconv`: gets the text of a file from the keeper.

git starts it 200 times for a history of 50 commits with two files each, so it imports
only modules that the interpreter has already loaded or built in.  If the keeper has no
answer, `cli.commands.textconv` takes over.
"""

# pathlib takes longer to load than all of this
# ruff: noqa: PTH104, PTH116, PTH119, PTH120, PTH208

import _socket
import os
import resource
import stat
import sys

PREFIX = "keeper-"
"""Prefix of the sockets of keepers, which are in private folders (`FOLDERS`)."""
FOLDERS = "nixsecrets-private-"
SHARED_MEMORY = "/dev/shm"  # noqa: S108 (what lies there is used if it is ours alone)
# The first byte of requests and answers.  A request ends when the client shuts down its
# side of the connection; an empty answer means that there is none.
SHOW, SHOW_LOCKED, LEARN = b"T", b"L", b"U"
TEXT, WANTED, PLUGINS, FAILED = b"=", b"?", b"!", b"-"

_PEER = getattr(_socket, "SO_PEERCRED", None)  # Linux
_READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_SECONDS = 120.0  # the keeper may be running sops on a large file
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 1 << 18
# every file that `files.kind` detects begins with the first or contains another one
_AGE = b"age-encryption.org/"
_SIGNS = (b"BEGIN AGE ENC", b"ENC[", b"lastmodified")


def shown(words: list[str]) -> bool:
    """Print the text of the file in `words` and exit; return False if that failed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump holds plaintext
    if len(words) != 1 or words[0].startswith("-") or os.isatty(1):
        return False
    data = _content(words[0])
    if data is None:
        return False
    if may_be_secret(data):
        answer = asked(request(SHOW, words[0], data))
        if answer is None or answer[:1] != TEXT:
            return False
        data = answer[1:]
    end_with(data)
    return False


def may_be_secret(data: bytes) -> bool:
    """Return False only if `files.kind` detects no secret, whatever the file's name."""
    return data.startswith(_AGE) or any(sign in data for sign in _SIGNS)


def request(kind: bytes, path: str, data: bytes) -> bytes:
    """Return the request of a `kind` for the text of a file with this content."""
    return kind + os.path.basename(os.fsencode(path)) + b"\0" + data


def _content(path: str) -> bytes | None:
    """Return the content of a regular file, None for anything else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        file = os.open(path, _READ)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            return None
        parts = []
        while part := os.read(file, _BLOCK):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(file)


def end_with(data: bytes) -> None:
    """Write to stdout and exit; return only if it cannot be written."""
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(1, left) :]
    except BrokenPipeError:
        os._exit(1)
    except OSError:
        return
    os._exit(0)


def asked(said: bytes, mark: str = "") -> bytes | None:
    """Return the answer of the keeper of our git process, None if there is none.

    Asks every keeper of this user; each answers only processes below its own git.
    `mark` is that of `keeper.leave`.
    """
    here = os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    try:
        for folder in sorted(_folders()):
            for name in _doors(folder, mark):
                answer = _asked_at(name, said)
                if answer:
                    return answer
        return None
    finally:
        os.fchdir(here)
        os.close(here)


def _folders() -> list[str]:
    """Return the possible private folders of keepers."""
    env = os.environ
    parents = {env.get("XDG_RUNTIME_DIR", ""), SHARED_MEMORY}
    if env.get("NIXSECRETS_ALLOW_DISK"):
        parents.add(env.get("TMPDIR", "/tmp"))  # noqa: S108 (as SHARED_MEMORY)
    found = []
    for parent in parents:
        try:
            names = os.listdir(parent) if parent.startswith("/") else []
        except OSError:
            continue
        found += [f"{parent}/{name}" for name in names if name.startswith(FOLDERS)]
    return found


def _doors(folder: str, mark: str) -> list[str]:
    """Change into a folder that only we can access; return the keepers' sockets."""
    try:
        place = os.open(folder, _FOLDER)
    except OSError:
        return []  # another user's, or removed meanwhile
    try:
        found = os.fstat(place)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            return []
        os.fchdir(place)  # the path of a socket is limited to about 100 bytes
        names = os.listdir(place)
    except OSError:
        return []
    finally:
        os.close(place)
    # without SO_PEERCRED, a keeper cannot check us: only that of our parent is asked
    mine = PREFIX if _PEER else f"{PREFIX}{os.getppid()}-"
    marks = 2 + bool(mark)
    return [
        name
        for name in names
        if name.startswith(mine) and name.endswith(mark) and name.count("-") == marks
    ]


def _asked_at(name: str, said: bytes) -> bytes | None:
    """Return the answer of the keeper at a socket, None if there is none."""
    door = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        door.settimeout(_SECONDS)
        door.connect(name)
        if _PEER and peer(door)[1] != os.geteuid():
            return None
        door.sendall(said)
        door.shutdown(_socket.SHUT_WR)
        parts = []
        while part := door.recv(_BLOCK):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None  # it is exiting, or belongs to another git process
    finally:
        door.close()


def peer(door: "_socket.socket") -> tuple[int, int]:
    """Return process id and user id of the other end of a connection (Linux)."""
    # struct ucred of unix(7): pid, uid and gid, 4 bytes each
    said = door.getsockopt(_socket.SOL_SOCKET, _PEER or 0, 12)
    pid, uid = (int.from_bytes(said[at : at + 4], sys.byteorder) for at in (0, 4))
    return pid, uid


# --- the merge driver ---------------------------------------------------------------

MERGED, OURS, BOTH = b"=", b"-", b"+"
"""An answer about a merge begins with one of these: there is a result; there is none;
there is one, and git has to stop nevertheless.  A line for the user, a NUL and the
result follow."""
_GITHEAD = "GITHEAD_"  # git-merge exports it for the commit it merges
_REBASED = ".git/rebase-merge/done"  # its last line names the commit that is picked


def merged(words: list[str]) -> bool:
    """Merge the file in `words` (%O %A %B %P) and exit; return False if that failed."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    mark = merge_mark(_other_side())
    if len(words) != 4 or not mark:
        return False
    versions = [_content(word) for word in words[:3]]
    if None in versions:
        return False
    said = merge_request(words[3], [one for one in versions if one is not None])
    answer = asked(said, mark)
    if answer is None:
        return False
    os._exit(finished(words[1], answer))


def merge_mark(theirs: str) -> str:
    """Return the mark of the keeper that knows a merge with the commit `theirs`."""
    return f"-m{theirs}" if theirs else ""


def merge_request(path: str, versions: list[bytes]) -> bytes:
    """Return the request for what a path becomes, of which git has these versions."""
    lengths = b"".join(b"%d\0" % len(one) for one in versions)
    return os.fsencode(path) + b"\0" + lengths + b"".join(versions)


def finished(place: str, answer: bytes) -> int:
    """Put the result of a merge where git takes it; return the exit code for git."""
    kind, (line, _, data) = answer[:1], answer[1:].partition(b"\0")
    if kind in (MERGED, BOTH):
        # git would take half a file from a process that was killed
        beside = f"{os.path.dirname(place) or '.'}/.nixsecrets-{os.urandom(16).hex()}"
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.close(file)
        os.rename(beside, place)
    if line:
        os.write(2, line + b"\n")
    return 0 if kind == MERGED else 1


def _other_side() -> str:
    """Return the commit that git merges or picks, "" if it does not name it."""
    named = [name[len(_GITHEAD) :] for name in os.environ if name.startswith(_GITHEAD)]
    if named:
        return named[0] if len(named) == 1 else ""
    done = _content(_REBASED) or b""
    words = done.rstrip().rpartition(b"\n")[2].split()
    return next((w.decode() for w in words[1:] if len(w) >= 40 and w.isalnum()), "")

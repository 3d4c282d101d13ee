"""The tree for `nixos-anywhere --extra-files`: a host's key pair with correct modes.

nixos-anywhere unpacks the folder on the target with all its modes; an `etc` with mode
0700 would lock out the new system's users.  Modes are set explicitly and read back.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from nixsecrets.errors import NixsecretsError, UsageError, quoted

KEY_NAME = "ssh_host_ed25519_key"
_FOLDERS = ("etc", "ssh")
_FOLDER_MODE, _PRIVATE_MODE, _PUBLIC_MODE = 0o755, 0o600, 0o644


def key_file(folder: Path, persist: str) -> Path:
    """Return the path of the private key below `folder`.

    Raises:
        UsageError: `persist` is neither empty nor an absolute path without `..`.
    """
    return folder.joinpath(*_inner(persist), KEY_NAME)


def _inner(persist: str) -> tuple[str, ...]:
    if not persist:
        return _FOLDERS
    path = PurePosixPath(persist)
    if not path.is_absolute() or ".." in path.parts:
        raise UsageError(
            f"{quoted(persist)} is not where a file system is mounted",
            "for impermanence, --persist is a path such as /persist",
        )
    return (*path.parts[1:], *_FOLDERS)


def write_tree(folder: Path, private: bytes, public: str, *, persist: str = "") -> None:
    """Write the key pair below `folder`, which must be new or empty.

    `public` is the public key as one line without newline; `persist` is a mount point
    on the target, for impermanence.  On an error nothing is left behind.

    Raises:
        NixsecretsError: the folder is not empty, its file system keeps no modes, or a
            file cannot be written.
        UsageError: `persist` is not an absolute path without `..`.
    """
    private_path = key_file(folder, persist)
    _require_empty(folder)
    made: list[Path] = []
    try:
        for place in _places(folder, persist):
            if not place.is_dir():
                place.mkdir(0o700)
                made.append(place)
            if place != folder:
                _set_mode(place, _FOLDER_MODE)
        public_path = private_path.with_name(KEY_NAME + ".pub")
        for path, data, mode in (
            (public_path, public.encode() + b"\n", _PUBLIC_MODE),
            (private_path, private, _PRIVATE_MODE),
        ):
            made.append(path)
            _write(path, data, mode)
    except BaseException as error:
        _undo(made)
        if isinstance(error, OSError):
            raise _failed("write", folder, error) from error
        raise


def _places(folder: Path, persist: str) -> Iterator[Path]:
    yield folder
    for name in _inner(persist):
        folder = folder / name
        yield folder


def _require_empty(folder: Path) -> None:
    try:
        there = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise _failed("look into", folder, error) from error
    if there:
        raise NixsecretsError(
            f"{quoted(str(folder))} is not empty ({quoted(there[0])})",
            "name a new folder, or remove what an earlier run wrote with --clean",
        )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file; its mode is set before the first byte is written."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123 - by number
        _set_mode(path, mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _set_mode(path: Path, mode: int) -> None:
    path.chmod(mode)
    if stat.S_IMODE(path.stat().st_mode) != mode:
        raise NixsecretsError(
            f"the file system of {quoted(str(path))} does not keep file modes",
            "choose a folder on another one, for example below /dev/shm",
        )


def _undo(made: list[Path]) -> None:
    for path in reversed(made):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Overwrite and remove a tree that `write_tree` wrote, with its folder.

    Flash memory and copy-on-write file systems may keep a copy of what is overwritten.

    Raises:
        NixsecretsError: the folder contains something else; nothing is removed.
    """
    try:
        files, folders = _found(folder)
        for file in files:
            _overwrite(file)
            file.unlink()
        for place in reversed(folders):
            place.rmdir()
    except OSError as error:
        raise _failed("remove", folder, error) from error


def _found(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the files and folders of a tree, parents first; raise for other files."""
    files: list[Path] = []
    folders = [folder]
    for place in folders:
        for entry in sorted(place.iterdir()):
            if entry.is_dir() and not entry.is_symlink():
                folders.append(entry)
            elif _is_ours(entry):
                files.append(entry)
            else:
                raise NixsecretsError(
                    f"{quoted(str(entry))} was not written by provision",
                    "nothing was removed; look at the folder and remove it yourself",
                )
    return files, folders


def _is_ours(path: Path) -> bool:
    named = path.name in (KEY_NAME, KEY_NAME + ".pub")
    return named and path.parent.parts[-2:] == _FOLDERS and not path.is_symlink()


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
        file.flush()
        os.fsync(file.fileno())


def _failed(doing: str, folder: Path, error: OSError) -> NixsecretsError:
    reason = os.strerror(error.errno or errno.EIO).lower()
    return NixsecretsError(f"cannot {doing} {quoted(str(folder))}: {reason}")

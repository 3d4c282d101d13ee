"""The git hooks: a small script that runs nixsecrets and an existing hook before it.

An existing hook of somebody else is renamed, runs first, and is restored when ours is
removed.  Ours is recognized by a comment line.
"""

import os
import shlex
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.untrusted import inputs

COMMIT_HOOKS = ("pre-commit", "pre-merge-commit")
PUSH_HOOK = "pre-push"
ASIDE = ".before-nixsecrets"
_MARK = b"# nixsecrets-hook 1: written by `nixsecrets hook install`"
_SCRIPT = """\
#!/bin/sh
# nixsecrets-hook 1: written by `nixsecrets hook install`
# Take it out with `nixsecrets hook uninstall`.

# Another program may have set this hook aside and run it: judge once is enough.
case ":$NIXSECRETS_HOOKS:" in *":{name}:"*) exit 0 ;; esac
NIXSECRETS_HOOKS="$NIXSECRETS_HOOKS:{name}"
export NIXSECRETS_HOOKS

pushed=
if [ {name} = pre-push ]; then pushed=$(cat); fi

before=$(dirname -- "$0")/{name}{aside}
if [ -x "$before" ]; then
  printf '%s\\n' "$pushed" | sed '/^$/d' | "$before" "$@" || exit
fi

case ",$SKIP," in
  *,nixsecrets-guard,*) echo "nixsecrets: skipped, as SKIP says" >&2; exit 0 ;;
esac

if command -v nixsecrets >/dev/null 2>&1; then
  set -- nixsecrets {arguments}
elif [ -x {program} ]; then
  set -- {command} {arguments}
else
  echo "nixsecrets: error: this repository's hook cannot find nixsecrets" >&2
  echo "nixsecrets: hint: install it, or put it on PATH; nothing was done" >&2
  exit 1
fi
printf '%s\\n' "$pushed" | "$@"
"""


class Standing(Enum):
    """Whose hook is installed."""

    NONE = "not installed"
    OURS = "installed"
    FOREIGN = "another program's"


@dataclass(frozen=True, slots=True)
class HookFile:
    """One hook of a repository; `name` is git's (`pre-commit`)."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """The path at which git runs it."""
        return self.folder / self.name

    @property
    def aside(self) -> Path:
        """The path to which somebody else's hook is renamed."""
        return self.folder / (self.name + ASIDE)

    def standing(self) -> Standing:
        """Return whose hook is installed; FOREIGN for one that cannot be read."""
        try:
            text = inputs.read(self.path)
        except FileNotFoundError:
            dangling = self.path.is_symlink()
            return Standing.FOREIGN if dangling else Standing.NONE
        except OSError:
            return Standing.FOREIGN
        return Standing.OURS if _MARK in text else Standing.FOREIGN

    def install(self, command: tuple[str, ...], arguments: str) -> bool:
        """Write our script; return whether somebody else's hook was renamed.

        `command` runs the program if it is not on PATH; `arguments` are text of the
        script.

        Raises:
            NixsecretsError: a hook must be renamed and the other name is taken, or the
                script cannot be written.
        """
        foreign = self.standing() is Standing.FOREIGN
        if foreign and os.path.lexists(self.aside):
            raise NixsecretsError(
                f"both {self.path} and {self.aside.name} exist",
                "merge the two, or delete the one that is not wanted",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if foreign:
                self.path.rename(self.aside)
            new = self.folder / f".{self.name}.nixsecrets-new"
            new.write_text(_script(self.name, command, arguments), encoding="utf-8")
            new.chmod(0o755)
            new.replace(self.path)
        except OSError as error:
            raise _cannot("write", self.path, error) from error
        return foreign

    def uninstall(self) -> bool:
        """Remove our script and restore a renamed hook; return False if it is not ours.

        Raises:
            NixsecretsError: it cannot be removed.
        """
        if self.standing() is not Standing.OURS:
            return False
        try:
            if os.path.lexists(self.aside):
                self.aside.replace(self.path)
            else:
                self.path.unlink()
        except OSError as error:
            raise _cannot("remove", self.path, error) from error
        return True


def _script(name: str, command: tuple[str, ...], arguments: str) -> str:
    return _SCRIPT.format(
        name=name,
        aside=ASIDE,
        program=shlex.quote(command[0]),
        command=shlex.join(command),
        arguments=arguments,
    )


def _cannot(what: str, path: Path, error: OSError) -> NixsecretsError:
    return NixsecretsError(
        f"cannot {what} {quoted(str(path))}: {error.strerror}",
        "check the permissions of that folder",
    )

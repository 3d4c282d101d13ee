"""The program: the table of commands, the global options, and the exit codes.

A command's module is imported when the command runs, so that `--version` and the hook
start fast.  Only `run` turns an error into an exit code.
"""

import atexit
import importlib
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import click

from nixsecrets import __version__
from nixsecrets.cli import ui
from nixsecrets.errors import NixsecretsError, UsageError

BUG, INTERRUPTED = 3, 130

COMMANDS = {
    "init": "create a map, or adopt existing agenix and sops secrets",
    "add-user": "add a person to the map and grant them access",
    "add-host": "add a machine to the map and grant it access",
    "remove-user": "remove a person and re-encrypt everything they could read",
    "remove-host": "remove a machine and re-encrypt everything it could read",
    "hosts": "list machines with key, groups, verification and file count",
    "rename-host": "rename a machine and move its files",
    "rotate-user": "replace the keys of a person",
    "rotate-host": "replace the key of a machine that was reinstalled",
    "provision": "write the files of a generated host key for nixos-anywhere",
    "known-hosts": "print host keys as known_hosts lines or as a Nix value",
    "exposed": "list unchanged values that a removed key could read",
    "scan": "compare the host keys of all machines with the map",
    "edit": "edit a secret in your editor",
    "cat": "print a secret, or one value of it",
    "set": "store a value in a secret, from stdin or a file",
    "generate": "generate and store a value: a password, a key pair",
    "mv": "rename a secret and apply the rule of its new path",
    "rm": "remove secrets",
    "ls": "list secrets: backend, readers, last change",
    "textconv": "print a secret as text, for git",
    "merge-driver": "merge one secret, for git",
    "git-setup": "show secrets decrypted in git diff, and let git merge them",
    "status": "show what differs from the map, and why",
    "rekey": "re-encrypt secrets whose recipients differ from the map",
    "check": "report drift between map and repository (exit 1)",
    "lint": "find likely mistakes in the map, .sops.yaml and secrets.nix",
    "hook": "block commits that contain plaintext secrets",
    "explain": "explain a finding of check, lint or the hook",
    "sync": "write .sops.yaml, secrets.nix and the lock from the map",
    "approve": "approve the map's keys for use in this clone",
    "accept": "vouch for files whose recipients are unknown",
    "why": "explain one file: rule, desired and actual recipients",
    "resolve": "finish a merge of secrets, map and generated files",
    "recover": "complete or discard an interrupted run",
    "completion": "print the completion script of a shell",
}


ENVIRONMENT = {
    "NIXSECRETS_IDENTITY": "private key files to use first, separated by ':'; an"
    " unusable one is an error",
    "SOPS_AGE_KEY, …_FILE, …_CMD": "private keys as for sops, including its keys.txt;"
    " then ~/.ssh/id_ed25519 and id_rsa",
    "SOPS_EDITOR, VISUAL, EDITOR": "editor for edit",
    "XDG_RUNTIME_DIR": "memory file system for plaintext; default /dev/shm",
    "NIXSECRETS_PLUGIN_TIMEOUT": "seconds an age plugin may take without"
    " prompting; default 120",
    "NO_COLOR": "disable colors",
}


class LazyGroup(click.Group):
    """A group whose commands are modules of `cli.commands`, imported on use."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a usage error without a hint gets `COMMAND --help`."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            if error.hint is None:
                error.hint = f"{ctx.command_path} {ctx.invoked_subcommand} --help"
            raise

    def list_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click hands it over
    ) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click hands it over
        cmd_name: str,
    ) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in COMMANDS:
            return None
        module = "nixsecrets.cli.commands." + cmd_name.replace("-", "_")
        command: click.Command = importlib.import_module(module).command
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click hands it over
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the table of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of environment variables before the epilog."""
        with formatter.section("Environment"):
            formatter.write_dl(list(ENVIRONMENT.items()))
        super().format_epilog(ctx, formatter)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raise a usage error for an unknown command, with the nearest name."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.UsageError(_unknown(args[0]), ctx)
        return super().resolve_command(ctx, args)


def _unknown(name: str) -> str:
    import difflib  # for an unknown command only

    near = difflib.get_close_matches(name, COMMANDS, 1)
    tail = f"; did you mean {near[0]}?" if near else ""
    return f"no such command: {name!r}{tail}"


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 88},
    epilog="See `nixsecrets COMMAND --help` for examples.",
)
@click.version_option(__version__, "--version", message="nixsecrets %(version)s")
@click.option(
    "-C",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Run as if started in DIR.",
)
@click.option(
    "--allow-disk",
    is_flag=True,
    help="Allow plaintext on disk if there is no memory file system.",
)
@click.pass_context
def cli(ctx: click.Context, directory: Path, *, allow_disk: bool) -> None:
    """Manage the secrets of a NixOS fleet.

    One recipient map (nixsecrets.toml) declares who may read what.  nixsecrets brings
    agenix and sops files, .sops.yaml and secrets.nix in line with it.
    """
    ctx.obj = directory
    if allow_disk:
        _allow_disk()


def _allow_disk() -> None:
    """Allow plaintext on disk for this run; warn if that is needed."""
    from nixsecrets.repo import private  # 14 ms, for --allow-disk alone

    os.environ[private.ALLOW_DISK] = "1"
    place = private.disk_in_use(os.environ)
    if place is not None:
        ui.warn(
            f"there is no memory file system: plaintext is stored in {place}",
            "it is overwritten and removed; snapshots, backups and SSDs may keep it",
        )


def run(args: list[str] | None = None) -> None:
    """Run the program and exit: 0, 1 expected failure, 2 usage, 3 bug, 130."""
    code = _guarded(args)
    if args is None:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> NoReturn:
    """End the process without clearing its modules first, which takes 5 to 10 ms."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # it failed before, or is closed
            stream.flush()
    os._exit(code)


def _guarded(args: list[str] | None) -> int:
    _replace_closed_streams()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump holds plaintext
    try:
        result = cli.main(args, prog_name="nixsecrets", standalone_mode=False)
        sys.stdout.flush()
    except NixsecretsError as error:
        ui.report_error(error)
        return error.exit_code
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        return _usage(error)
    except (KeyboardInterrupt, click.Abort):
        ui.say("nixsecrets: interrupted; nothing more was changed")
        return INTERRUPTED
    except BrokenPipeError:
        return _drop_answer()
    except OSError as error:
        if not _stdout_fails():
            _report_bug(error)
            return BUG
        ui.report_error(ui.stdout_error(error))
        return _drop_answer()
    except (MemoryError, RecursionError):
        message = "not enough memory for a large or deeply nested file"
        hint = "find it: git ls-files -z | xargs -0 ls -lS | head"
        ui.report_error(NixsecretsError(message, hint))
        return 1
    except Exception as error:  # noqa: BLE001 - the boundary: whatever is left is a bug
        _report_bug(error)
        return BUG
    return result if isinstance(result, int) else 0


def _usage(error: click.UsageError) -> int:
    ui.say(f"nixsecrets: error: {_sentence(error.format_message())}")
    if error.ctx is not None:
        ui.say(f"nixsecrets: hint: {error.ctx.command_path} --help")
    return 2


def _sentence(text: str) -> str:
    return (text[:1].lower() + text[1:]).rstrip(".")


def _replace_closed_streams() -> None:
    """Occupy the descriptors of closed streams (`<&-`), so that no file gets them.

    Reading such a stdin or writing such a stdout still fails, as it does in other
    programs: a closed input is not an empty one.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            useless = os.O_RDONLY if name == "stdout" else os.O_WRONLY
            os.dup2(os.open(os.devnull, useless), number)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _stdout_fails() -> bool:
    """Return whether the output so far cannot be written to stdout."""
    try:
        sys.stdout.flush()
    except OSError:
        return True
    return False


def _drop_answer() -> int:
    """Discard output that stdout did not take: its reader may be gone (`| head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _report_bug(error: Exception) -> None:
    """Report a bug with its stack, without the error's text, which may be secret."""
    import traceback  # for a bug only

    ui.say(f"nixsecrets: error: this is a bug in nixsecrets ({type(error).__name__})")
    frames = traceback.extract_tb(error.__traceback__)
    where = [(frame.filename, frame.lineno, frame.name) for frame in frames]
    for file, line, function in (*where, *getattr(error, "frames", ())):
        ui.say(f"  {Path(file).name}:{line} in {function}")
    ui.say("nixsecrets: hint: please report it with the lines above")

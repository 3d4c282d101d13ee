"""`nixsecrets completion`: print a shell completion script."""

import click
from click.shell_completion import get_completion_class

from nixsecrets.cli import ui


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    Examples:
      nixsecrets completion bash > ~/.local/share/bash-completion/completions/nixsecrets
      nixsecrets completion fish | source
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"no completion for {shell}")
    script = found(ctx.find_root().command, {}, "nixsecrets", "_NIXSECRETS_COMPLETE")
    ui.answer_text(script.source())

"""Man pages from the help texts: `python -m nixsecrets.cli.manpages FOLDER`.

Packages run this when they are built.  The text is that of `--help`, in roff
(groff_man(7)).
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from nixsecrets import __version__
from nixsecrets.cli.main import ENVIRONMENT, cli

_PARAGRAPHS = re.compile(r"\n\s*\n")


def write_pages(folder: Path) -> list[Path]:
    """Write a page for the program and one for each command; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, context in _commands():
        path = folder / f"{name}.1"
        path.write_text("\n".join(page(name, context)) + "\n", encoding="utf-8")
        written.append(path)
    return written


def _commands() -> Iterator[tuple[str, click.Context]]:
    top = click.Context(cli, info_name="nixsecrets")
    yield "nixsecrets", top
    for name in cli.list_commands(top):
        command = cli.get_command(top, name)
        if command is not None:
            context = click.Context(command, info_name=name, parent=top)
            yield f"nixsecrets-{name}", context


def page(name: str, context: click.Context) -> Iterator[str]:
    """Yield the lines of one page."""
    command = context.command
    first, *rest = _PARAGRAPHS.split((command.help or "").strip())
    usage = " ".join(command.collect_usage_pieces(context))
    yield f'.TH "{name.upper()}" "1" "" "nixsecrets {__version__}" ""'
    yield ".SH NAME"
    yield f"{_roff(name)} \\- {_roff(' '.join(first.split()).rstrip('.'))}"
    yield ".SH SYNOPSIS"
    yield f".B {_roff(context.command_path)}"
    yield _roff(usage)
    if rest:
        yield ".SH DESCRIPTION"
        for paragraph in rest:
            yield from _paragraph(paragraph)
    yield ".SH OPTIONS"
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield from _item(*record)
    if isinstance(command, click.Group):
        yield ".SH COMMANDS"
        for one in command.list_commands(context):
            yield from _item(f"nixsecrets-{one}(1)", _summary(command, context, one))
        if command is cli:
            yield ".SH ENVIRONMENT"
            for variables, text in ENVIRONMENT.items():
                yield from _item(variables, text)


def _summary(group: click.Group, context: click.Context, name: str) -> str:
    command = group.get_command(context, name)
    return command.get_short_help_str(200) if command is not None else ""


def _paragraph(text: str) -> Iterator[str]:
    """Yield one paragraph; after click's marker, a lone \\b, lines are not wrapped."""
    lines = text.strip("\n").splitlines()
    yield ".PP"
    if lines[0].strip() == "\b":
        yield ".nf"
        yield from (_roff(line.rstrip()) for line in lines[1:])
        yield ".fi"
    else:
        yield _roff(" ".join(text.split()))


def _item(head: str, text: str) -> Iterator[str]:
    yield ".TP"
    yield f".B {_roff(head)}"
    yield _roff(" ".join(text.split()))


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped[:1] in {".", "'"} else escaped


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))

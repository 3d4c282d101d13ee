"""README.md against the program: the help block, and every command line it shows.

`python -m tests.readme_help` complains, with `--write` it brings the block up to date.
The block is a fenced one between the two markers and holds what `nixsecrets --help`
prints.  Does not judge prose.
"""

import functools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
BEGIN, END = "<!-- nixsecrets --help: begin -->", "<!-- nixsecrets --help: end -->"
BLOCK = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)
FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND_ROW = re.compile(r"^  ([a-z][a-z-]*)(?: {2,}|$)", re.MULTILINE)


@functools.cache
def help_text(*command: str) -> str:
    """What `nixsecrets COMMAND --help` prints on a terminal of 88 columns."""
    done = subprocess.run(
        [sys.executable, "-m", "nixsecrets", *command, "--help"],
        env={**os.environ, "COLUMNS": "88", "NO_COLOR": "1"},
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LookupError(f"nixsecrets {' '.join(command)} --help: {done.stderr}")
    return done.stdout.rstrip()


def commands() -> list[str]:
    """The names in the table of commands that `nixsecrets --help` prints."""
    return COMMAND_ROW.findall(help_text().partition("\nCommands:\n")[2])


def with_block(readme: str) -> str:
    """Return the README with the block as it must be.

    Raises:
        LookupError: the markers are not there, once and in order.
    """
    if len(BLOCK.findall(readme)) != 1:
        raise LookupError(f"README.md must hold once: {BEGIN} … {END}")
    block = f"{BEGIN}\n```text\n{help_text()}\n```\n{END}"
    return BLOCK.sub(lambda _: block, readme)


def shown_calls(readme: str) -> Iterator[list[str]]:
    """The words after `nixsecrets` of every call in a fenced block but the help's."""
    for fenced in FENCED.findall(BLOCK.sub("", readme)):
        for line in fenced.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|\|\||[|;]", line.partition(" #")[0]):
                yield from _call(part)


def _call(part: str) -> Iterator[list[str]]:
    """The words of one simple command after `nixsecrets`, if that is what it runs."""
    try:
        words = shlex.split(part)
    except ValueError:  # text that is no shell command
        words = part.split()
    while words and (words[0] in {"$", "sudo", "time"} or re.match(r"\w+=", words[0])):
        del words[0]
    if words and words[0] == "nixsecrets":
        yield words[1:]


def wrong_call(words: list[str]) -> str | None:
    """Say what the program would not know of a call, if anything."""
    rest = list(words)
    while rest[:1] == ["-C"]:
        del rest[:2]
    if not rest or rest[0].startswith("-"):
        return None if not rest or rest[0] in help_text() else f"no option {rest[0]}"
    if rest[0] not in commands():
        return f"no command {rest[0]}"
    known = set(re.findall(r"--[a-z][a-z-]*", help_text(rest[0])))
    options = {
        option for word in rest for option in re.findall(r"^\[?(--[a-z][a-z-]*)", word)
    }
    unknown = sorted(options - known - {"--help"})
    return f"{rest[0]} has no option {', '.join(unknown)}" if unknown else None


def complaints(readme: str) -> list[str]:
    """Everything in which the README and the program disagree."""
    found = [] if with_block(readme) == readme else ["the help block is out of date"]
    for words in shown_calls(readme):
        wrong = wrong_call(words)
        if wrong is not None:
            found.append(f"`nixsecrets {' '.join(words)}`: {wrong}")
    return found


def main() -> None:
    """Check the README, or write its block where `--write` is given."""
    readme = README.read_text(encoding="utf-8")
    try:
        if "--write" in sys.argv[1:]:
            readme = with_block(readme)
            README.write_text(readme, encoding="utf-8")
        wrong = complaints(readme)
    except LookupError as error:
        sys.exit(str(error))
    if wrong:
        sys.exit("\n".join(["README.md: `make format` mends the block", *wrong]))


if __name__ == "__main__":
    main()

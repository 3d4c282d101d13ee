"""docs/ci.md: each snippet parses, and each command in it is one that we have."""

import os
import re
import shlex
from typing import Any

import pytest
from ruamel.yaml import YAML

from nixsecrets.cli.main import cli
from tests.fleet import PROJECT, program, run_program

TEXT = (PROJECT / "docs/ci.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)
CALL = re.compile(
    r"nixsecrets ((?:hook|check|lint|set|approve)[^<>#`;]*?)\"?;?\s*(?:[<>#].*)?$"
)


def calls() -> list[str]:
    """Every nixsecrets call in a snippet; what a service fills in is an x."""
    lines = "\n".join(text for _, text in SNIPPETS).splitlines()
    plain = (re.sub(r"\$\{\{.*?\}\}|\$\w+", "x", line) for line in lines)
    return sorted({found[1] for line in plain if (found := CALL.search(line))})


@pytest.mark.parametrize("text", [s for kind, s in SNIPPETS if kind == "yaml"])
def test_yaml_snippets_are_yaml(text: str) -> None:
    value: Any = YAML(typ="safe").load(text)
    assert isinstance(value, dict)


@pytest.mark.parametrize("text", [s for kind, s in SNIPPETS if kind == "nix"])
def test_nix_snippets_are_nix(text: str) -> None:
    module = f"nixsecrets: {text}".encode()
    instantiate = program("nix-instantiate")
    run_program(instantiate, "--parse", "-", env=os.environ, stdin=module)


@pytest.mark.parametrize("call", calls())
def test_every_call_is_one_the_program_takes(call: str) -> None:
    words = shlex.split(call)
    with cli.make_context("nixsecrets", [*words]) as context:
        name, command, rest = cli.resolve_command(context, words)
        assert command is not None
        command.make_context(str(name), rest, parent=context).close()


def test_the_calls_are_found_at_all() -> None:
    assert {"hook run --all", "check", "lint", "hook install --pre-push"} <= {*calls()}

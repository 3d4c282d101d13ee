"""The README says what the program does."""

import functools

import pytest

from tests import readme_help
from tests.readme_help import BEGIN, END, README, commands, help_text


@functools.cache
def good() -> str:
    """A README that agrees with the program."""
    return f"""# x

{BEGIN}
```text
{help_text()}
```
{END}

```sh
$ nixsecrets check && echo done
nixsecrets -C /etc/nixos add-host itw --key "ssh-ed25519 AAAA…" # a comment --odd
EDITOR=vi nixsecrets edit secrets/wifi.age
nixsecrets rekey [--dry-run] \\
  secrets
nixsecrets --version
```

Prose may say `nixsecrets conquer`.
"""


def test_the_readme_agrees_with_the_program() -> None:
    assert readme_help.complaints(README.read_text(encoding="utf-8")) == []


def test_the_program_lists_its_commands() -> None:
    assert {"init", "add-host", "rekey", "check"} <= set(commands())


def test_a_readme_that_agrees_has_no_complaints() -> None:
    assert readme_help.complaints(good()) == []
    calls = list(readme_help.shown_calls(good()))
    assert ["edit", "secrets/wifi.age"] in calls
    assert ["rekey", "[--dry-run]", "secrets"] in calls
    assert len(calls) == 5


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ("nixsecrets conquer", "no command conquer"),
        ("true; nixsecrets conquer", "no command conquer"),
        ("nixsecrets -C x conquer", "no command conquer"),
        ("nixsecrets check --fast", "check has no option --fast"),
        ("nixsecrets check [--fast=yes]", "check has no option --fast"),
        ("nixsecrets --fast", "no option --fast"),
    ],
)
def test_a_call_the_program_would_refuse_is_found(call: str, complaint: str) -> None:
    readme = good() + f"\n```\n{call}\n```\n"
    (found,) = readme_help.complaints(readme)
    assert found.endswith(complaint)


def test_an_outdated_block_is_found_and_mended() -> None:
    outdated = good().replace("rekey ", "renew ")
    assert "the help block is out of date" in readme_help.complaints(outdated)
    written = readme_help.with_block(good().replace(help_text(), "old"))
    assert written == good()


def test_a_readme_without_the_block_is_an_error() -> None:
    with pytest.raises(LookupError):
        readme_help.complaints("# x\n")

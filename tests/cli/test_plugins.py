"""A person whose key is on a token, and the plugin that hangs."""

from pathlib import Path

import pytest

from tests.cli.test_terminal import ended, spawn
from tests.files.agekeys import Reader, install_toy_plugin, toy_reader
from tests.fleet import Fleet, await_end


@pytest.fixture
def token(ready: Fleet, tmp_path: Path) -> Reader:
    """carol's key, which only a plugin knows; she reads every secret."""
    reader = toy_reader()
    folder = install_toy_plugin(tmp_path / "plugins")
    ready.env["PATH"] = f"{folder}:{ready.env['PATH']}"
    key = reader.recipient.text
    ready.ok("add-user", "carol", "--key", key, "--group", "dns", "--yes")
    (ready.home / "carol").write_text(reader.private + "\n")
    ready.env["NIXSECRETS_IDENTITY"] = str(ready.home / "carol")
    return reader


def test_a_token_opens_a_secret(ready: Fleet, token: Reader) -> None:
    assert ready.ok("cat", "secrets/dns.age") == "dns-canary"
    assert ready.ok("cat", "secrets/dns.yaml", "--key", "dns") == "dns-canary"


@pytest.mark.parametrize("path", ["secrets/dns.age", "secrets/dns.yaml"])
def test_a_token_that_hangs_is_said_and_ctrl_c_ends_it(
    ready: Fleet, token: Reader, tmp_path: Path, path: str
) -> None:
    child = spawn(ready, "cat", path, TOY_TROUBLE=f"hangs {tmp_path / 'pid'}")
    child.expect_exact("nixsecrets: waiting for age-plugin-toy; Ctrl-C to cancel")
    child.sendintr()
    said, code = ended(child)
    assert code == 130, said
    await_end(int((tmp_path / "pid").read_text()))


def test_a_token_that_hangs_is_given_up_after_a_while(
    ready: Fleet, token: Reader, tmp_path: Path
) -> None:
    ready.env["TOY_TROUBLE"] = f"hangs {tmp_path / 'pid'}"
    ready.env["NIXSECRETS_PLUGIN_TIMEOUT"] = "0.5"
    done = ready.run("cat", "secrets/dns.age")
    assert done.returncode == 1
    assert done.stderr == (
        "nixsecrets: error: age-plugin-toy did not answer within 0.5 seconds\n"
        "nixsecrets: hint: connect its token,"
        " or set NIXSECRETS_PLUGIN_TIMEOUT to more seconds\n"
    )

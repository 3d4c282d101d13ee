"""Public keys and small maps for the tests of the recipient map."""

import re

from nixsecrets.keys.recipients import Recipient, parse_recipient
from tests.fleet import ssh_key


def public(name: str) -> str:
    """Return the ssh public line of `name`: the same one in every run."""
    return ssh_key(name, comment=f"root@{name}").public


def recipient(name: str) -> Recipient:
    """Return the public key of `name`."""
    return parse_recipient(public(name))


def converted(name: str) -> str:
    """Return the age1 text of the key of `name`."""
    return recipient(name).converted().text


SMALL = f"""\
version = 1
always = ["alice"]

[users.alice]
keys = ["{public("alice")}"]

[hosts.web]
keys = ["{public("web")}"]

[[secrets]]
path = "secrets/**"
readers = ["web"]
"""
"""A valid map of one user, one host and one rule."""


def with_keys(text: str) -> str:
    """Return `text` with each `<name>` replaced by the public line of that name."""
    return re.sub(r"<(\w+)>", lambda found: public(found[1]), text)

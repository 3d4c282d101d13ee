"""A `.sops.yaml` that holds our blocks and nothing else.

`sopsconfig` writes it as it writes into any other, and reads again what it wrote.  Here
it is only put together: to tell, without a YAML parser, that there is nothing to do.
"""

import posixpath
import re
from collections.abc import Sequence

from nixsecrets.errors import MapError, NixsecretsError
from nixsecrets.generated import blocks
from nixsecrets.generated.creations import anchors_for, creations, named_keys, with_note
from nixsecrets.map.model import RecipientMap
from nixsecrets.map.resolve import Policy

_KEYS, _RULES = "keys:\n", "creation_rules:\n"
_INDENT = "  "
_HAS_RULES = re.compile(r"""^\ufeff?["']?creation_rules["']?[ \t]*:""", re.MULTILINE)
EMPTY = _KEYS + _RULES
"""What our blocks are put into where there is no file yet."""


def is_own(recipient_map: RecipientMap, text: str) -> bool:
    """Tell whether a configuration is just what the map gives for a new file.

    Then no rule in it is foreign, and it has to be neither read nor written.
    """
    try:
        return text == own_config(recipient_map)
    except MapError:  # for whoever has to write it
        return False


def for_sops(filename: str, text: str) -> bool:
    """Return whether a file is a configuration of sops, into which blocks may be put.

    It is called `.sops.yaml`, has creation rules, or has nothing in it.
    """
    named = posixpath.basename(filename) == ".sops.yaml"
    return named or not text.strip() or _HAS_RULES.search(text) is not None


def only_ours(text: str) -> bool:
    """Tell whether a configuration has our blocks and nothing else: no foreign rule."""
    try:
        return blocks.take_out(text, "")[0] == EMPTY
    except NixsecretsError:  # for whoever has to read it
        return False


def own_config(recipient_map: RecipientMap) -> str:
    """Return the configuration for a new file; raises as `creations`."""
    policy = Policy(recipient_map)
    folder = (recipient_map.sops_config or "").rpartition("/")[0]
    rules = tuple(creations(policy, folder))
    anchors = anchors_for(named_keys(policy, rules))
    keys = [f"- &{name} {recipient.text}" for recipient, name in anchors.items()]
    lines = [line for one in rules for line in one.lines(anchors)]
    return f"{_KEYS}{_block(policy, keys)}{_RULES}{_block(policy, lines)}"


def _block(policy: Policy, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    return blocks.written(with_note(policy, lines), _INDENT, "\n") + "\n"

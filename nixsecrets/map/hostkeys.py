"""Private host keys as secrets: their paths, and the rule that guards them.

Only `always` reads them.  A host gains nothing from reading its own private key, and
with another host's key it could impersonate that host.
"""

from collections.abc import Iterable

from nixsecrets.errors import MapError
from nixsecrets.map import edit
from nixsecrets.map.load import load
from nixsecrets.map.model import Rule
from nixsecrets.map.names import MAP_NAME
from nixsecrets.map.resolve import Policy

PATTERN = "secrets/host-keys/*.age"


def key_path(name: str) -> str:
    """Return the path of a host's private key, relative to the map."""
    return PATTERN.replace("*", name)


def with_rule(text: str, name: str, files: Iterable[str]) -> str:
    """Return the map with the rule that restricts private host keys to `always`.

    The rule becomes the first one, so that no other wins.  `files` are the paths of the
    existing secrets; none of them may fall under the new rule.

    Raises:
        MapError: another rule already decides about these paths, or `always` is empty.

    """
    recipient_map = load(text)
    policy = Policy(recipient_map)
    if not recipient_map.always:
        raise MapError(
            MAP_NAME,
            0,
            "`always` is empty, so nobody could read the private key",
            "name the people who may read every secret in `always`",
        )
    if any(_is_ours(rule) for rule in recipient_map.rules):
        winning = policy.winning(key_path(name))
        if winning is not None and not _is_ours(winning[0]):
            raise _taken(winning[0])
        return text
    for path in sorted(files):
        winning = policy.winning(path)
        if winning is not None and _covers(path):
            raise _taken(winning[0])
    return edit.add_rule(text, Rule(0, PATTERN, None, ()), first=True)


def _is_ours(rule: Rule) -> bool:
    return rule.path == PATTERN and not rule.readers and not rule.plaintext_allowed


def _covers(path: str) -> bool:
    """Return whether the new rule would cover an existing file."""
    before, _, after = PATTERN.partition("*")
    inner = path.removeprefix(before).removesuffix(after)
    return path == before + inner + after and "/" not in inner


def _taken(rule: Rule) -> MapError:
    return MapError(
        MAP_NAME,
        rule.line,
        f"the rule for {rule.pattern} decides who reads {PATTERN}, where private host"
        " keys go",
        f"put a rule with that path and readers = [] before line {rule.line}",
    )

"""The first map of a fleet, with comments that say what to write next."""

from collections.abc import Mapping, Sequence

from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.load import VERSION
from nixsecrets.map.tomledit import toml_key, toml_string, toml_strings

_ADMINS = "admins"

_HEAD = f"""\
# Who may read which secret of this fleet.  nixsecrets makes the repository equal to
# this map: `nixsecrets status` shows what differs, `nixsecrets rekey` carries it out.
version = {VERSION}

# These read every secret, so that nobody is locked out.
"""

_RULES = """\
# Which files are secrets, and who reads them besides `always`.  The first rule that
# matches a path wins.
#
# [[secrets]]
# path = "secrets/hosts/{host}/**"   # {host} is the name of one host
# readers = ["{host}"]
#
# [[secrets]]
# path = "secrets/*.yaml"
# readers = ["server"]               # hosts, users and groups; [] means only `always`
"""


def fresh_map(
    *,
    users: Mapping[str, Sequence[Recipient]],
    sops_config: str | None = ".sops.yaml",
    agenix_rules: str | None = "secrets/secrets.nix",
) -> str:
    """Return the text of a commented map with these users and no rules yet.

    `always` is a group of all the users.  `sops_config` and `agenix_rules` are the
    paths of generated files, None for no such file.
    """
    group = _ADMINS if _ADMINS not in users else "all-admins"
    parts = [f"{_HEAD}always = {toml_strings([group] if users else [])}\n"]
    parts += [_user(name, keys) for name, keys in users.items()]
    if users:
        parts.append(f"[groups]\n{toml_key(group)} = {toml_strings(list(users))}\n")
    if sops_config is not None:
        parts.append(f"[sops]\nconfig = {toml_string(sops_config)}\n")
    if agenix_rules is not None:
        parts.append(f"[agenix]\nrules = {toml_string(agenix_rules)}\n")
    return "\n".join([*parts, _RULES])


def _user(name: str, keys: Sequence[Recipient]) -> str:
    listed = toml_strings([key.line for key in keys], one_per_line=True)
    return f"[users.{toml_key(name)}]\nkeys = {listed}\n"

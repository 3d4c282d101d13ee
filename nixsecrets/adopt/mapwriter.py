"""The text of the map that adoption proposes."""

from collections.abc import Iterable, Iterator, Sequence

from nixsecrets.adopt.grouping import Naming
from nixsecrets.adopt.naming import Owner
from nixsecrets.adopt.oldrules import Old
from nixsecrets.adopt.planned import Planned
from nixsecrets.keys.recipients import private_key_in
from nixsecrets.map.edit import rule_block
from nixsecrets.map.load import VERSION
from nixsecrets.map.tomledit import toml_key, toml_string, toml_strings

_WIDTH = 88
_HEAD = f"""\
# Who may read which secret.  Adopted from what was here; `nixsecrets status` shows what
# differs from it, `nixsecrets rekey` carries that out.
version = {VERSION}
"""
_ALWAYS = """
# These read every secret, so that nobody is locked out.
"""


def map_text(
    old: Old,
    owners: Sequence[Owner],
    rules: Sequence[Planned],
    naming: Naming,
    loose: Sequence[str] = (),
) -> str:
    """Return the map; `loose` are comments of the old files that belong to no rule."""
    parts = [_HEAD]
    if naming.always:
        parts[0] += _ALWAYS + _listed("always", naming.always)
    for kind in ("user", "host"):
        parts += [_owner(one) for one in owners if one.kind == kind]
    if naming.groups:
        lines = (_listed(toml_key(n), names) for n, names in naming.groups.items())
        parts.append("[groups]\n" + "".join(lines))
    if old.config is not None:
        parts.append(f"[sops]\nconfig = {toml_string(old.config)}\n")
    if old.rules is not None:
        parts.append(f"[agenix]\nrules = {toml_string(old.rules)}\n")
    if loose:
        heading = f"Other comments in {old.rules}:" if old.rules else "Other comments:"
        parts.append("".join(_comment([heading, *loose])))
    for at, (rule, readers) in enumerate(zip(rules, naming.readers, strict=True)):
        block = "[[secrets]]\n" + rule_block(rule.rule(at, readers))
        parts.append("".join(_comment(rule.comments)) + block)
    return "\n".join(parts)


def _owner(owner: Owner) -> str:
    listed = toml_strings([key.line for key in owner.keys], one_per_line=True)
    lines = [*_comment([owner.comment] if owner.comment else [])]
    lines.append(f"[{owner.kind}s.{toml_key(owner.name)}]\nkeys = {listed}\n")
    if owner.ssh_in_sops and owner.kind == "user":
        lines.append('sops_form = "ssh"\n')
    return "".join(lines)


def _listed(key: str, names: Sequence[str]) -> str:
    """Return a list of names, one per line if they do not fit on one."""
    line = f"{key} = {toml_strings(names)}\n"
    if len(line) <= _WIDTH:
        return line
    return f"{key} = {toml_strings(names, one_per_line=True)}\n"


def _comment(lines: Iterable[str]) -> Iterator[str]:
    """Yield comment lines, without those that could contain a private key."""
    for line in lines:
        clean = "".join(char if char.isprintable() else " " for char in line)
        if not private_key_in(clean):
            yield f"# {clean}".rstrip() + "\n"

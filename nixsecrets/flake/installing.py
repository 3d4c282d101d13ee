"""Whether agenix and sops-nix can install what they decrypted.

After sops-install-secrets (`validateMode`, `validateOwner`), which refuses the whole
manifest of a machine for one bad mode or unknown owner, and chmod(1) and chown(1), that
agenix calls.
"""

import re
from collections.abc import Iterator

from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.flake.declared import Framework, Installed, Part, Secret, Template
from nixsecrets.flake.identitypaths import FLAKE

Problem = tuple[Code, str]
_OCTAL = re.compile(r"[0-7]+")
_LARGEST = {"age": 0o7777, "sops": 0xFFFF}
_CLAUSE = r"(?:[ugoa]*(?:[-+=](?:[rwxXst]*|[ugo]))+|[-+=][0-7]{1,4})"
_SYMBOLIC = re.compile(rf"{_CLAUSE}(?:,{_CLAUSE})*")


def accepts_mode(framework: Framework, mode: str) -> bool:
    """Return whether chmod (for agenix) or sops-install-secrets accepts a mode."""
    if _OCTAL.fullmatch(mode):
        return int(mode, 8) <= _LARGEST[framework]
    return framework == "age" and bool(_SYMBOLIC.fullmatch(mode))


def install_problem(
    one: Secret | Template, framework: Framework, part: Part
) -> Problem | None:
    """Return code and message of why it cannot be installed, None if it can."""
    how = one.installed
    program = "chmod" if framework == "age" else "sops-install-secrets"
    if how.mode is not None and not accepts_mode(framework, how.mode):
        message = f'{program} refuses its mode "{how.mode}"'
        return Code.DECLARED_PERMISSIONS, message
    early = isinstance(one, Secret) and one.needed_for_users
    for kind, name in (("user", how.unknown_owner), ("group", how.unknown_group)):
        # sops-nix installs what is needed for users as root, without looking; chown
        # takes numbers
        number = framework == "age" and name is not None and name.isdecimal()
        if name is not None and not early and not number:
            message = f"the configuration has no {kind} {name}"
            return Code.DECLARED_PERMISSIONS, message
    late = part.users_by_unit if framework == "age" else not early
    if how.password_of and late:
        users = ", ".join(how.password_of)
        message = (
            f"it is the password of {users}, and is installed after users are made"
        )
        return Code.LATE_FOR_USERS, message
    return None


def install_findings(who: str, part: Part) -> Iterator[Finding]:
    """Yield findings on the templates of a part, units to restart, and open secrets.

    `who` names the part in messages.
    """
    for option, instead in sorted(set(part.in_store)):
        message = (
            f"{who}: the text of {option} is in the store, readable by everyone; set"
            f" {instead}"
        )
        yield Finding(FLAKE, Code.STORED_OPENLY, message)
    for secret in part.secrets:
        for code, message in _unknown_units(secret.installed):
            yield Finding(FLAKE, code, f"{who} declares {secret.option}: {message}")
    for template in part.sops.templates if part.sops else ():
        for code, message in _template_problems(template, part):
            option = f"sops.templates.{template.name}"
            yield Finding(FLAKE, code, f"{who} declares {option}: {message}")


def _template_problems(template: Template, part: Part) -> Iterator[Problem]:
    early = {one.name for one in part.secrets if one.needed_for_users}
    for name in sorted(early & set(template.uses or ())):
        yield Code.TEMPLATE_TOO_EARLY, f"it uses {name}, which is needed for users"
    if refused := install_problem(template, "sops", part):
        yield refused
    yield from _unknown_units(template.installed)


def _unknown_units(how: Installed) -> Iterator[Problem]:
    for unit in how.unknown_units:
        hint = "" if "." in unit else f" (is it {unit}.service?)"
        yield Code.UNIT_UNKNOWN, f"the configuration has no unit {unit}{hint}"

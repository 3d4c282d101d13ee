"""`secrets.nix`: the map as agenix and ragenix read it.

One plain attribute set, name -> { publicKeys; armor?; }, after a `let` that names the
keys.  NixOS modules import this file and take every attribute for a secret, so it has
no other attributes.
"""

import posixpath
import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from nixsecrets.errors import NixsecretsError, quoted
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Desired, Host, Reader, User
from nixsecrets.map.names import MAP_NAME
from nixsecrets.map.resolve import Policy

_KEYWORDS = frozenset(
    ("assert", "else", "if", "in", "inherit", "let", "or", "rec", "then", "with")
)
_IDENTIFIER = r"[A-Za-z_][A-Za-z0-9_'-]*"
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}  # before all others: a backslash
_ESCAPED = r"[\\\"\n\r\t]|\$\{"
_LINE_LENGTH = 100
_WRITTEN = "# written by nixsecrets from "
_HEADER = (
    f"{_WRITTEN}{MAP_NAME}: change that file, then run\n"
    "# `nixsecrets rekey`; an edit made here is lost\n"
)


def render(policy: Policy, age_paths: Iterable[str]) -> str:
    """Return the text of the rules file.

    Args:
        policy: the map; its `agenix_rules` says where the file will lie.
        age_paths: the existing age files, relative to the map's folder.  Age paths that
            rules name without wildcards are added; paths without a rule are skipped.

    Raises:
        NixsecretsError: a file name is not UTF-8, and Nix has no way to write it.
    """
    paths = sorted({*age_paths, *policy.named_paths(Backend.AGE)})
    writer = _Writer(policy)
    entries = "".join(f"  {line}\n" for line in writer.entries(paths))
    bindings = "".join(f"  {line}\n" for line in writer.bindings())
    return f"{_HEADER}let\n{bindings}in\n{{\n{entries}}}\n"


def is_ours(text: str) -> bool:
    """Return whether a rules file was written by `render`, or is empty."""
    return not text.strip() or text.removeprefix("\ufeff").startswith(_WRITTEN)


def nix_string(text: str) -> str:
    """Return `text` as a Nix string literal on one line, without interpolation."""
    return '"' + re.sub(_ESCAPED, _escape, text) + '"'


def _escape(found: re.Match[str]) -> str:
    return _ESCAPES.get(found[0], "\\" + found[0])


def _attribute(name: str) -> str:
    if re.fullmatch(_IDENTIFIER, name, re.ASCII) and name not in _KEYWORDS:
        return name
    return nix_string(name)


class _Writer:
    """Writes the parts of the rules file of one map."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.map = policy.map
        self.folder = posixpath.dirname(self.map.agenix_rules or "")
        users = {user.name: f"users.{_attribute(user.name)}" for user in self.map.users}
        hosts = {host.name: f"hosts.{_attribute(host.name)}" for host in self.map.hosts}
        self.keys = {**users, **hosts}
        self.always = self.ordered(self.map.always)
        self.groups = {
            members: f"groups.{_attribute(name)}"
            for name, _ in reversed(self.map.groups)
            if len(members := self.ordered([name])) > 1
        }

    def ordered(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return the hosts and users behind `names`, in the order of the map."""
        members = self.policy.members(names)
        return tuple(name for name in self.keys if name in members)

    def bindings(self) -> Iterator[str]:
        yield from _bound("users", self.owners(self.map.users))
        yield from _bound("hosts", self.owners(self.map.hosts))
        groups = (
            _assigned(_attribute(name), self.joined(self.ordered([name])))
            for name, _ in self.map.groups
        )
        yield from _bound("groups", groups)
        yield from _assigned("always", self.joined(self.always))

    def owners(self, owners: Iterable[User | Host]) -> Iterator[list[str]]:
        for owner in owners:
            name = _attribute(owner.name)
            if len(owner.keys) == 1:
                yield [f"{name} = [ {nix_string(owner.keys[0].text)} ];"]
            else:
                keys = (f"  {nix_string(key.text)}" for key in owner.keys)
                yield [f"{name} = [", *keys, "];"]

    def joined(self, names: Iterable[str]) -> list[str]:
        return [self.keys[name] for name in names] or ["[ ]"]

    def entries(self, paths: Iterable[str]) -> Iterator[str]:
        """Yield the lines for files; neighbours with equal readers share the work."""
        for want, alike in groupby(paths, self.desired):
            if want is None:
                continue
            keys = self.expression(want.readers)
            for path in alike:
                yield from self.entry(path, keys, armor=want.rule.armor)

    def desired(self, path: str) -> Desired | None:
        return self.policy.desired(path, Backend.AGE)

    def entry(self, path: str, keys: list[str], *, armor: bool) -> list[str]:
        try:
            path.encode()
        except UnicodeEncodeError:
            raise NixsecretsError(
                f"{quoted(path)}: the name is not UTF-8, so secrets.nix cannot name it",
                "rename the file",
            ) from None
        name = nix_string(self.relative(path))
        if not armor:
            return _assigned(f"{name}.publicKeys", keys)
        inner = [*_assigned("publicKeys", keys), "armor = true;"]
        return [f"{name} = {{", *(f"  {line}" for line in inner), "};"]

    def relative(self, path: str) -> str:
        """Return a path relative to the folder of the rules file."""
        if not self.folder:
            return path
        below = path.removeprefix(f"{self.folder}/")
        return below if below != path else posixpath.relpath(path, self.folder)

    def expression(self, readers: Iterable[Reader]) -> list[str]:
        """Return the Nix lists whose concatenation has the readers in set order."""
        names = dict.fromkeys(reader.name for reader in readers)
        rest = tuple(name for name in names if name not in self.always)
        always = ["always"] if self.always else []
        if rest in self.groups:
            return [*always, self.groups[rest]]
        return [*always, *(self.keys[name] for name in rest)] or ["[ ]"]


def _bound(name: str, members: Iterable[list[str]]) -> list[str]:
    lines = [f"  {line}" for member in members for line in member]
    return [f"{name} = {{", *lines, "};"] if lines else [f"{name} = {{ }};"]


def _assigned(name: str, operands: list[str]) -> list[str]:
    line = f"{name} = {' ++ '.join(operands)};"
    if len(line) <= _LINE_LENGTH or len(operands) == 1:
        return [line]
    first, *others = operands
    return [
        f"{name} =",
        f"  {first}",
        *(f"  ++ {operand}" for operand in others[:-1]),
        f"  ++ {others[-1]};",
    ]

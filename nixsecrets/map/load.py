"""Read the text of `nixsecrets.toml` into a RecipientMap.

Every mistake is an error with its line.  The format is described in docs/files.md.
"""

import re
from functools import lru_cache

from nixsecrets.errors import KeyFormatError, MapError
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient, parse_recipient
from nixsecrets.keys.sopsoptions import SELECTION
from nixsecrets.map.consistency import check_consistency
from nixsecrets.map.match import check_rule
from nixsecrets.map.model import Host, RecipientMap, Retired, Rule, User
from nixsecrets.map.names import LOCK_NAME, MAP_NAME
from nixsecrets.map.source import Source, Table, quotable
from nixsecrets.splice import conflict_line
from nixsecrets.untrusted import limits, regex

VERSION = 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", re.ASCII)
"""What hosts, users, groups may be called: safe in YAML anchors, Nix, shells, paths."""
NAME_HINT = "names have up to 63 letters, digits or . _ @ -, a letter or digit first"

_TOP_LEVEL = (
    "version",
    "always",
    "users",
    "hosts",
    "groups",
    "sops",
    "agenix",
    "secrets",
    "retired",
)
_RULE_KEYS = (
    "path",
    "path_regex",
    "readers",
    "except",
    "plaintext",
    "backend",
    "armor",
    "sops",
)
_PATTERN_HINTS = {
    "path": "a path has * and ? within a folder, ** for any folders, {host} for a name",
    "path_regex": "write it as sops reads it: github.com/google/re2/wiki/Syntax",
}
_KEYS_HINT = 'write keys = ["ssh-ed25519 AAAA…"]'


@lru_cache(maxsize=4)  # a command that edits the map loads the same two texts again
def load(text: str) -> RecipientMap:
    """Return the recipient map that `text` describes.

    Raises:
        MapError: the first mistake in it, with its line.

    """
    line = "<<<<<<< " in text and conflict_line(text.encode(errors="replace"))
    if line:
        raise MapError(
            MAP_NAME,
            line,
            "git's conflict markers are in it (NS018)",
            "nixsecrets resolve\n"
            "if that merge is committed already: nixsecrets resolve --last",
        )
    source = Source(text)
    root = source.root()
    _check_version(root)
    root.only(_TOP_LEVEL)
    users = tuple(_user(name, table) for name, table in _owners(root, "users"))
    hosts = tuple(_host(name, table) for name, table in _owners(root, "hosts"))
    result = RecipientMap(
        version=VERSION,
        always=_distinct(root.strings("always")),
        users=users,
        hosts=hosts,
        groups=_groups(root.table("groups"), (*users, *hosts)),
        rules=tuple(_rule(i, table) for i, table in enumerate(root.tables("secrets"))),
        retired=tuple(_retired(table) for table in root.tables("retired")),
        sops_config=_sops_config(root),
        agenix_rules=_agenix_rules(root),
    )
    check_consistency(result, source)
    return result


def decode(data: bytes, filename: str = MAP_NAME) -> str:
    """Return the text of a map file, or of another file called `filename`.

    Raises:
        MapError: it is not UTF-8, or exceeds the size limit.

    """
    limits.check(filename, len(data), limits.TEXT)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MapError(
            filename, line, "not UTF-8 text", "save the file as UTF-8"
        ) from None


def _check_version(root: Table) -> None:
    hint = f'the first line of a map is "version = {VERSION}"'
    if "version" not in root:
        raise root.source.error((), "the map has no version", hint)
    version = root.data["version"]
    if type(version) is not int:
        raise root.error("version", "the version must be a number", hint)
    if version != VERSION:
        raise root.error(
            "version",
            f"this map has version {version}; nixsecrets reads version {VERSION}",
            "a newer nixsecrets wrote it: upgrade this one"
            if version > VERSION
            else hint,
        )


def _owners(root: Table, kind: str) -> list[tuple[str, Table]]:
    """Return the named tables of `[users]` or `[hosts]`."""
    tables = root.table(kind)
    return [(_name(tables, name), tables.table(name)) for name in tables.data]


def _user(name: str, table: Table) -> User:
    table.only(("keys", "groups", "sops_form"))
    form = table.choice("sops_form", "age", "ssh")
    return User(
        name=name,
        keys=_keys(table),
        groups=_joined(table),
        sops_form="ssh" if form == "ssh" else "age",
        line=table.line,
    )


def _host(name: str, table: Table) -> Host:
    table.only(("keys", "groups", "address", "verified"))
    return Host(
        name=name,
        keys=_keys(table),
        groups=_joined(table),
        address=table.string("address"),
        verified=table.string("verified"),
        line=table.line,
    )


def _name(table: Table, name: str) -> str:
    """Return `name`, a key of `table`; MapError unless it can be a name in the map."""
    if not NAME.fullmatch(name):
        raise table.error(
            name,
            f"{quotable(name)} cannot be a name",
            NAME_HINT,
        )
    return name


def _keys(table: Table) -> tuple[Recipient, ...]:
    table.require("keys", _KEYS_HINT)
    texts = table.strings("keys")
    if not texts:
        raise table.error("keys", f"{table.title} has no key", _KEYS_HINT)
    return tuple(
        _recipient(table, (*table.at("keys"), index), text)
        for index, text in enumerate(texts)
    )


def _recipient(table: Table, path: tuple[str | int, ...], text: str) -> Recipient:
    try:
        return parse_recipient(text)
    except KeyFormatError as error:
        message = f"{table.title}: {error.message}"
        raise table.source.error(path, message, error.hint) from None


def _joined(table: Table) -> tuple[str, ...]:
    """Return the groups that a host or user joins."""
    groups = table.strings("groups")
    for index, group in enumerate(groups):
        if not NAME.fullmatch(group):
            raise table.source.error(
                (*table.at("groups"), index),
                f"{quotable(group)} cannot be the name of a group",
                NAME_HINT,
            )
    return _distinct(groups)


def _groups(
    table: Table, owners: tuple[Host | User, ...]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the members of each group, from `[groups]` and from owners' `groups`."""
    members = {_name(table, name): list(table.strings(name)) for name in table.data}
    for owner in owners:
        for group in owner.groups:
            members.setdefault(group, []).append(owner.name)
    return tuple((name, _distinct(tuple(names))) for name, names in members.items())


def _rule(index: int, table: Table) -> Rule:
    table.only(_RULE_KEYS)
    path, path_regex = table.string("path"), table.string("path_regex")
    if path is not None and path_regex is not None:
        raise table.error(
            "path_regex", "a rule has path or path_regex, not both", "remove one"
        )
    if path is None and path_regex is None:
        table.require("path", 'say which files, path = "secrets/*.yaml"')
    table.require("readers", "say who may read it; readers = [] means only always")
    backend = table.choice("backend", *Backend)
    rule = Rule(
        index=index,
        path=path,
        path_regex=path_regex,
        readers=_distinct(table.strings("readers")),
        except_=_distinct(table.strings("except")),
        plaintext_allowed=table.choice("plaintext", "allowed") is not None,
        backend=None if backend is None else Backend(backend),
        armor=bool(table.boolean("armor")),
        sops=_sops_options(table.table("sops")),
        line=table.line,
    )
    _check_backend(rule, table)
    _check_pattern(rule, table)
    return rule


def _check_pattern(rule: Rule, table: Table) -> None:
    key = "path" if rule.path_regex is None else "path_regex"
    try:
        check_rule(rule)
    except ValueError as error:
        raise _pattern_error(table, key, error) from None


def _pattern_error(table: Table, key: str, error: ValueError) -> MapError:
    hint = _PATTERN_HINTS["path" if key == "path" else "path_regex"]
    return table.error(key, f"{key}: {error}", hint)


def _check_backend(rule: Rule, table: Table) -> None:
    """Raise MapError for an option that the rule's own backend does not have."""
    if rule.backend is Backend.AGE and rule.sops:
        raise table.error(
            "sops", "an age file has no sops options", "remove sops or backend"
        )
    if rule.backend is Backend.SOPS and rule.armor:
        raise table.error(
            "armor", "armor is for age files only", "remove armor or backend"
        )


def _sops_options(table: Table) -> tuple[tuple[str, str | bool], ...]:
    """Return a rule's sops options, sorted; at most one of them selects values.

    sops (getsops/sops:config/config.go) rejects a creation rule with several.
    """
    table.only((*SELECTION, "mac_only_encrypted"))
    options: dict[str, str | bool] = {}
    for name in SELECTION:
        if (text := table.string(name)) is None:
            continue
        if options:
            raise table.error(
                name,
                f'"{name}" and "{next(iter(options))}": sops accepts only one of them',
                "keep one; every other value is then treated the other way",
            )
        if name.endswith("_regex"):
            _check_regex(table, name, text)
        options[name] = text
    if (mac_only := table.boolean("mac_only_encrypted")) is not None:
        options["mac_only_encrypted"] = mac_only
    return tuple(sorted(options.items()))


def _check_regex(table: Table, key: str, text: str) -> None:
    try:
        regex.parse(text)
    except ValueError as error:
        raise _pattern_error(table, key, error) from None


def _retired(table: Table) -> Retired:
    table.only(("name", "key", "date", "reason"))
    table.require("name", "say whose key it was")
    table.require("key", "a retired entry is about one public key")
    name, key = str(table.string("name")), str(table.string("key"))
    if not NAME.fullmatch(name):
        raise table.error("name", f"{quotable(name)} cannot be a name", NAME_HINT)
    return Retired(
        name=name,
        key=_recipient(table, table.at("key"), key),
        date=table.string("date"),
        reason=table.string("reason"),
    )


def _sops_config(root: Table) -> str | None:
    if "sops" not in root:
        return None
    table = root.table("sops")
    table.only(("config",))
    return _generated(table, "config") or ".sops.yaml"


def _agenix_rules(root: Table) -> str | None:
    if "agenix" not in root:
        return None
    table = root.table("agenix")
    table.only(("rules",))
    table.require("rules", 'say where, rules = "secrets/secrets.nix"')
    rules = _generated(table, "rules")
    if rules == _sops_config(root):
        raise table.error(
            "rules", "this is the file of [sops] config", "choose another name"
        )
    return rules


def _generated(table: Table, key: str) -> str | None:
    """Return the path of a file that we write: relative, below the map's folder."""
    path = table.string(key)
    if path is not None and {"", ".", ".."} & set(path.split("/")):
        raise table.error(
            key,
            f"{quotable(path)} is not a plain path below the map's folder",
            'write it like "secrets/secrets.nix", without "./" or ".."',
        )
    if path is not None and _has_another_use(path):
        raise table.error(
            key, "this path is reserved for another file", "choose another name"
        )
    return path


def _has_another_use(path: str) -> bool:
    """Return whether a path cannot be a generated file: map, lock, flake, secrets."""
    *folders, name = path.lower().split("/")
    taken = {MAP_NAME, LOCK_NAME, "flake.nix", "flake.lock"}
    return (
        ".git" in folders
        or name in taken
        or name.startswith(".git")
        or name.endswith((".age", ".pub"))
    )


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))

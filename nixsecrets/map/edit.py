"""Edit the recipient map as text: hosts, users, names, rules.

Every function takes the text of a valid map and returns the new text.  Every byte that
is not part of the change is kept, and comments stay with what they describe.  The new
text is a valid map with exactly the requested change; otherwise MapError is raised.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from nixsecrets.errors import MapError, quoted
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map import tomledit
from nixsecrets.map.draft import Draft, DraftText, name_lists
from nixsecrets.map.model import Host, Retired, Rule, SopsForm
from nixsecrets.map.names import MAP_NAME
from nixsecrets.map.source import did_you_mean, quotable
from nixsecrets.map.tomledit import Edit, toml_key, toml_string, toml_strings
from nixsecrets.map.tomlspans import Entry, Header, Path

_WIDTH = 88
_NAMING_TABLES = ("users", "hosts", "groups")
Fields = Mapping[str, Any]
"""The keys of one table: strings, booleans, lists of strings, tables of these."""


def add_host(
    text: str,
    name: str,
    keys: Sequence[Recipient],
    *,
    groups: Sequence[str] = (),
    address: str | None = None,
    verified: str | None = None,
) -> str:
    """Return the map with a new host; groups that do not exist yet are created.

    Raises:
        MapError: the name is taken or invalid, or a key already has an owner.

    """
    extra = {"address": address, "verified": verified}
    return _add_owner(Draft(text), "hosts", name, keys, groups, extra)


def add_user(
    text: str,
    name: str,
    keys: Sequence[Recipient],
    *,
    groups: Sequence[str] = (),
    sops_form: SopsForm | None = None,
) -> str:
    """Return the map with a new user; groups that do not exist yet are created.

    Raises:
        MapError: the name is taken or invalid, or a key already has an owner.

    """
    extra = {"sops_form": sops_form}
    return _add_owner(Draft(text), "users", name, keys, groups, extra)


def remove_host(text: str, name: str, *, retired: Sequence[Retired] = ()) -> str:
    """Return the map without a host and every mention of it, with `retired` entries.

    A group that loses its only member stays, empty, if a rule mentions it.

    Raises:
        MapError: there is no such host, or nobody could read some rule's files.

    """
    return _remove_owner(Draft(text), "hosts", name, retired)


def remove_user(text: str, name: str, *, retired: Sequence[Retired] = ()) -> str:
    """Return the map without a user and every mention of it, with `retired` entries.

    A group that loses its only member stays, empty, if a rule mentions it.

    Raises:
        MapError: there is no such user, or nobody could read some rule's files.

    """
    return _remove_owner(Draft(text), "users", name, retired)


def replace_keys(
    text: str,
    name: str,
    keys: Sequence[Recipient],
    *,
    verified: str | None = None,
    retired: Sequence[Retired] = (),
) -> str:
    """Return the map with `keys` as the only keys of a host or user.

    Keys that it already has stay as written; new ones follow.  With a new key, a host's
    `verified` is replaced, or removed if it is None: it describes the old keys.

    Raises:
        MapError: there is no such name, or a key has another owner.

    """
    draft = Draft(text)
    owner = draft.owner(name)
    kind = "hosts" if isinstance(owner, Host) else "users"
    fields = draft.intended[kind][name]
    pairs = list(zip(fields["keys"], owner.keys, strict=True))
    kept = [written for written, key in pairs if key in keys]
    fresh = [key.line for key in keys if key not in owner.keys]
    fields["keys"] = kept + fresh
    draft.set_strings((kind, name, "keys"), fields["keys"])
    if isinstance(owner, Host) and (fresh or verified is not None):
        fields.pop("verified", None)
        fields.update({} if verified is None else {"verified": verified})
        draft.set_string((kind, name), "verified", verified)
    _retire(draft, retired)
    return draft.finished(f"cannot replace the keys of {quoted(name)}")


def retire(text: str, retired: Sequence[Retired]) -> str:
    """Return the map with `[[retired]]` entries added, also for keys in use.

    Raises:
        MapError: the map cannot be edited.

    """
    draft = Draft(text)
    _retire(draft, retired)
    return draft.finished("cannot add [[retired]] entries")


def rename(text: str, old: str, new: str) -> str:
    """Return the map with the host, user or group `old` renamed to `new` everywhere.

    Paths of rules stay; the caller moves the files that `{host}` or `{user}` claims by
    the old name.

    Raises:
        MapError: nothing is called `old`, or `new` is taken or invalid.

    """
    draft = Draft(text)
    if old not in draft.names():
        raise MapError(
            MAP_NAME,
            0,
            f"no host, user or group is called {quotable(old)}",
            did_you_mean(old, draft.names()) or "see the names in the map",
        )
    draft.require_free(new)
    draft.apply(_renames(draft, old, new))
    for table in set(_NAMING_TABLES) & set(draft.intended):
        named = draft.intended[table].items()
        draft.intended[table] = {new if n == old else n: value for n, value in named}
    for _, names in name_lists(draft.intended):
        names[:] = [new if name == old else name for name in names]
    for entry in draft.intended.get("retired", []):
        entry["name"] = new if entry["name"] == old else entry["name"]
    return draft.finished(f"cannot rename {quoted(old)}")


def add_rule(text: str, rule: Rule, *, first: bool = False) -> str:
    """Return the map with one more rule, as the last one or as the `first`.

    `rule.index` and `rule.line` are ignored.

    Raises:
        MapError: the rule is invalid, or names an unknown reader.

    """
    draft = Draft(text)
    fields = _rule_fields(rule)
    block = "[[secrets]]\n" + rule_block(rule)
    rules = draft.intended.setdefault("secrets", [])
    top = next((s for s in draft.document.statements if s.path == ("secrets", 0)), None)
    if first and isinstance(top, Header):
        draft.apply(tomledit.insert_table_before(draft.document, top, block))
    else:
        draft.add_table("secrets", block)
    rules.insert(0 if first else len(rules), fields)
    return draft.finished("cannot add the rule")


def _add_owner(
    draft: Draft,
    kind: str,
    name: str,
    keys: Sequence[Recipient],
    groups: Sequence[str],
    extra: Mapping[str, str | None],
) -> str:
    draft.require_free(name)
    fields: dict[str, Any] = {"keys": [key.line for key in keys]}
    if groups:
        fields["groups"] = list(groups)
    fields |= {key: value for key, value in extra.items() if value is not None}
    draft.add_table(kind, f"[{kind}.{toml_key(name)}]\n" + _lines(fields))
    draft.intended.setdefault(kind, {})[name] = fields
    return draft.finished(f"cannot add {quoted(name)}")


def _remove_owner(
    draft: Draft, kind: str, name: str, retired: Sequence[Retired]
) -> str:
    if isinstance(draft.owner(name), Host) != (kind == "hosts"):
        other = "user" if kind == "hosts" else "host"
        reason = f"{quoted(name)} is a {other}"
        raise MapError(MAP_NAME, 0, reason, f"nixsecrets remove-{other} {name}")
    del draft.intended[kind][name]
    for _, names in name_lists(draft.intended):
        names[:] = [mentioned for mentioned in names if mentioned != name]
    draft.drop_name(name)
    draft.remove((kind, name))
    for group in _vanished_groups(draft):
        draft.intended.setdefault("groups", {})[group] = []
        add_group(draft, group)
    _retire(draft, retired)
    return draft.finished(f"cannot remove {quoted(name)}")


def _vanished_groups(draft: Draft) -> list[str]:
    """Return the groups that are mentioned but no longer defined."""
    defined = set(draft.intended.get("groups", {}))
    mentioned: set[str] = set()
    for path, names in name_lists(draft.intended):
        (defined if path[0] in ("users", "hosts") else mentioned).update(names)
    groups = [name for name, _ in draft.map.groups]
    return [name for name in groups if name in mentioned - defined]


def add_group(draft: DraftText, group: str) -> None:
    """Add a group that has no members."""
    before = draft.text
    draft.set_value(("groups",), group, "[]")
    if draft.text == before:
        draft.add_table("groups", f"[groups]\n{toml_key(group)} = []\n")


def _retire(draft: Draft, retired: Sequence[Retired]) -> None:
    for entry in retired:
        fields = {
            "name": entry.name,
            "key": entry.key.line,
            "date": entry.date,
            "reason": entry.reason,
        }
        fields = {key: value for key, value in fields.items() if value is not None}
        draft.add_table("retired", "[[retired]]\n" + _lines(fields))
        draft.intended.setdefault("retired", []).append(fields)


def _renames(draft: Draft, old: str, new: str) -> list[Edit]:
    """Return the edits that replace the name `old` by `new` everywhere."""
    edits: list[Edit] = []
    for node in draft.document.nodes():
        if not isinstance(node, Header | Entry) or node.path[0] not in _NAMING_TABLES:
            continue
        # `path` is absolute, `keys` are only those written here: [hosts.web] has both
        # parts (depth 0), `web.keys = …` below [hosts] has the second (depth 1)
        depth = len(node.path) - len(node.keys)
        if node.path[1:2] == (old,) and depth <= 1:
            key = node.keys[1 - depth]
            edits.append((key.start, key.end, toml_key(new)))
    mentions: list[Path] = []
    for index, entry in enumerate(draft.intended.get("retired", [])):
        mentions += [("retired", index, "name")] if entry["name"] == old else []
    for path, names in name_lists(draft.intended):
        mentions += [(*path, i) for i, name in enumerate(names) if name == old]
    values = draft.document.values()
    return edits + [
        (values[path].start, values[path].end, toml_string(new)) for path in mentions
    ]


def rule_block(rule: Rule) -> str:
    """Return the TOML lines of a rule's table, without its header."""
    return _lines(_rule_fields(rule))


def _rule_fields(rule: Rule) -> dict[str, Any]:
    """Return the keys of a rule's table, without those that have the default."""
    fields = {
        "path": rule.path,
        "path_regex": rule.path_regex,
        "readers": list(rule.readers),
        "except": list(rule.except_) or None,
        "plaintext": "allowed" if rule.plaintext_allowed else None,
        "backend": None if rule.backend is None else rule.backend.value,
        "armor": rule.armor or None,
        "sops": dict(rule.sops) or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _lines(fields: Fields) -> str:
    return "".join(_line(key, value) for key, value in fields.items())


def _line(key: str, value: Any) -> str:
    line = f"{key} = {_toml(value)}\n"
    if key in ("readers", "except") and len(line) > _WIDTH:
        line = f"{key} = {toml_strings(value, one_per_line=True)}\n"
    return line


def _toml(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return toml_string(value)
        case list():
            return toml_strings(value)
        case _:
            entries = (f"{toml_key(k)} = {_toml(v)}" for k, v in value.items())
            return "{ " + ", ".join(entries) + " }"

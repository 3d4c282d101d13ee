"""`.sops.yaml`: the map as stock sops and sops-nix read it, in marked blocks.

The file belongs to its owner: the map's anchors and creation rules go into marked
blocks in `keys` and `creation_rules`, and every byte outside of them stays.  Blocks are
removed and inserted again where they were; new ones go to the end of their list.  A
file with nothing else in it is written as a whole, and `check` compares it without a
YAML parser.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from nixsecrets.errors import MapError, PlaceError
from nixsecrets.frozen import NamedTuple
from nixsecrets.generated import blocks, yamltree
from nixsecrets.generated.creations import (
    ANCHOR_UNSAFE,
    INDENT,
    KEYS,
    RULES,
    Creation,
    anchors_for,
    creations,
    key_lines,
    named_keys,
    rule_lines,
    whole_file,
    with_note,
)
from nixsecrets.generated.rules import ConfigRule, rules_of
from nixsecrets.keys.recipients import Recipient
from nixsecrets.map.resolve import Policy
from nixsecrets.splice import (
    after_line,
    apply_edits,
    line_start,
    newline_of,
    require_value,
)

SectionName = Literal["keys", "creation_rules"]
Edit = tuple[int, int, str]

_DASH = re.compile(r"^( *)-(?=[ \t\r\n])", re.MULTILINE)


def render(
    policy: Policy,
    existing: str | None,
    *,
    adopted: Mapping[int, int] | None = None,
) -> str:
    """Return the configuration with the map's rules in it.

    Args:
        policy: the map; its `sops_config` says where the file is.
        existing: the present text of the file, None if there is none.
        adopted: foreign creation rules that rules of the map replace in place, as
            index among the file's rules -> index of the map's rule.

    Raises:
        MapError: a rule cannot be expressed in a configuration in that folder.
        PlaceError: the file cannot be read, or has no place for a block.
    """
    if existing is not None and not adopted and is_own(policy, existing):
        return existing
    if existing is None or not existing.strip():
        existing = whole_file(policy)
    mark = "\ufeff" if existing.startswith("\ufeff") else ""
    filename = policy.map.sops_config or ".sops.yaml"
    editor = _Editor(policy, existing.removeprefix(mark), filename)
    return mark + editor.rendered(adopted or {})


def is_own(policy: Policy, text: str) -> bool:
    """Return whether a configuration equals the map's new file.

    It then has no foreign rule, and needs to be neither parsed nor written.
    """
    try:
        return text == whole_file(policy)
    except MapError:  # `render` raises it
        return False


def without_blocks(text: str, filename: str = ".sops.yaml") -> str:
    """Return the configuration without our blocks."""
    return blocks.take_out(text, filename)[0]


class _Section(NamedTuple):
    """A top-level list of the file, without our blocks.

    Offsets: `start` of its name, `body` of the line after that, `end` of the line after
    its last item, `limit` of the next field.  If it is `open`, items indented by
    `indent` can be added.
    """

    start: int
    line: int
    body: int
    end: int
    limit: int
    indent: str
    open: bool


class _Slot(NamedTuple):
    """A place for a block: the characters `[start, end)` to replace, may be none.

    `rules` are the indices of the map's rules that belong there.
    """

    start: int
    end: int
    rules: frozenset[int]


class _Editor:
    """Brings the text of one configuration in line with one map."""

    def __init__(self, policy: Policy, text: str, filename: str) -> None:
        self.filename = filename
        self.policy = policy
        self.newline = newline_of(text)
        self.base, self.gaps = blocks.take_out(text, filename)
        # lenient: a foreign rule may use an anchor of ours, which `base` has not
        self.document = yamltree.parse(self.base, filename, lenient=True)
        self.foreign = rules_of(self.document, self.base, filename)
        self.creations = tuple(creations(policy, filename.rpartition("/")[0]))
        self.root = self.root_mapping()

    def rendered(self, adopted: Mapping[int, int]) -> str:
        """Return the text with our blocks, after checking that it reads as intended."""
        result = apply_edits(self.base, self.edits(adopted))
        kept = [one for one in self.foreign if one.number not in adopted]
        ours: list[object] = [one.meaning for one in self.creations]
        intended = [_meaning(one) for one in kept], ours
        require_value(result, reread=self.meanings, intended=intended)
        if not adopted:
            require_value(result, reread=without_blocks, intended=self.base)
        return result

    def meanings(self, text: str) -> tuple[list[object], list[object]]:
        """Return what a configuration means: its foreign rules, and ours."""
        rules = rules_of(yamltree.parse(text, self.filename), text, self.filename)
        ours = [one for one in rules if one.ours]
        return (
            [_meaning(one) for one in rules if not one.ours],
            [(one.path_regex, one.age, frozenset(one.options)) for one in ours],
        )

    def edits(self, adopted: Mapping[int, int]) -> list[Edit]:
        if not self.creations and not adopted:
            return []
        keys, rules = self.section("keys"), self.section("creation_rules")
        if rules is not None and not rules.open:
            raise self.fail(rules.line, "no rule can be added to this creation_rules")
        anchors, own = self.anchors(keys, rules)
        return [
            *self.key_edits(own, keys, rules),
            *self.rule_edits(anchors, rules, adopted),
        ]

    def fail(self, line: int, problem: str) -> PlaceError:
        return PlaceError(
            self.filename,
            line,
            problem,
            "write it as an indented list, one item a line, and run this again",
        )

    # The present text

    def root_mapping(self) -> yamltree.Mapping | None:
        root = self.document.root
        if root is None or (isinstance(root, yamltree.Scalar) and root.null):
            return None
        if not isinstance(root, yamltree.Mapping) or root.flow:
            raise self.fail(root.line, "expected a block mapping")
        return root

    def section(self, name: SectionName) -> _Section | None:
        pairs = self.root.pairs if self.root else ()
        limit = len(self.base)
        for key, value in reversed(pairs):
            if isinstance(key, yamltree.Scalar) and key.text == name:
                return self.section_at(key, value, limit)
            limit = key.start
        return None

    def section_at(
        self, key: yamltree.Node, value: yamltree.Node, limit: int
    ) -> _Section:
        body = after_line(self.base, key.end)
        dash = _DASH.search(self.base, body)
        match value:
            case yamltree.Sequence(flow=False) if dash:
                opened, indent = True, dash[1]
            case yamltree.Scalar(text="", plain=True):
                opened, indent = True, self.indent_of_gap(body, limit)
            case _:
                opened, indent = False, ""
        end = max(body, self.line_after(value))
        return _Section(key.start, key.line, body, end, limit, indent, opened)

    def indent_of_gap(self, body: int, limit: int) -> str:
        """Return the indent of an empty list: that of a removed block, if any."""
        for gap in self.gaps:
            if body <= gap.offset <= limit:
                lines = gap.content.lstrip("\r\n")
                return lines[: len(lines) - len(lines.lstrip(" "))]
        return self.root_indent() + "  "

    def root_indent(self) -> str:
        start = self.root.start if self.root else 0
        return " " * (start - line_start(self.base, start))

    def root_end(self) -> int:
        """Return the offset for a new field: after the last one, or the end."""
        if self.root is None:
            return len(self.base)
        key, value = self.root.pairs[-1]
        return max(self.line_after(key), self.line_after(value))

    def line_after(self, node: yamltree.Node) -> int:
        """Return the start of the line after a node's last line."""
        text = self.base[node.start : node.end].rstrip()
        return after_line(self.base, node.start + len(text))

    def gaps_in(self, section: _Section, *, rules: bool) -> list[blocks.Gap]:
        return [
            gap
            for gap in self.gaps
            if section.body <= gap.offset <= section.limit
            and ("- path_regex:" in gap.content) is rules
        ]

    # Anchors

    def anchors(
        self, keys: _Section | None, rules: _Section | None
    ) -> tuple[dict[Recipient, str], dict[Recipient, str]]:
        """Return the anchor of each key in use, and those of them to define.

        Both are empty if `keys` takes no more items or follows the rules: an anchor
        must precede its aliases.  A key with a foreign anchor keeps that one; names of
        foreign anchors are not used for other keys.
        """
        if keys is not None and not keys.open:
            return {}, {}
        if keys is not None and rules is not None and keys.start > rules.start:
            return {}, {}
        before = rules.start if rules is not None else len(self.base)
        foreign: dict[Recipient, str] = {}
        new: list[tuple[str, Recipient]] = []
        for name, recipient in named_keys(self.policy, self.creations):
            if there := self.foreign_anchor(name, recipient, before):
                foreign[recipient] = there
            else:
                new.append((name, recipient))
        own = anchors_for(new, {one.name for one in self.document.anchors})
        return foreign | own, own

    def foreign_anchor(
        self, preferred: str, recipient: Recipient, before: int
    ) -> str | None:
        """Return a foreign anchor of the key, defined once and before `before`."""
        names = [anchor.name for anchor in self.document.anchors]
        found = [
            one.name
            for one in self.document.anchors
            if isinstance(one.node, yamltree.Scalar)
            and one.node.text == recipient.text
            and one.node.start < before
            and names.count(one.name) == 1
            and not ANCHOR_UNSAFE.search(one.name)
        ]
        return preferred if preferred in found else next(iter(found), None)

    def key_edits(
        self,
        own: Mapping[Recipient, str],
        keys: _Section | None,
        rules: _Section | None,
    ) -> Iterator[Edit]:
        if not own:
            return
        items = key_lines(own)
        if keys is not None:
            gaps = self.gaps_in(keys, rules=False)
            offset = gaps[0].offset if gaps else keys.end
            yield self.insertion(offset, items, keys.indent)
        else:
            offset = self.root_end() if rules is None else self.above(rules.start)
            items = [KEYS, *(INDENT + item for item in items)]
            yield self.insertion(offset, items, self.root_indent())

    def above(self, start: int) -> int:
        """Return the start of the comment above a field.

        A comment that begins the file belongs to the file: then the field's own start.
        """
        field = offset = line_start(self.base, start)
        while offset > 0:
            line = line_start(self.base, offset - 1)
            if not self.base[line:offset].lstrip().startswith("#"):
                return offset
            offset = line
        return field

    # Rules

    def rule_edits(
        self,
        anchors: Mapping[Recipient, str],
        rules: _Section | None,
        adopted: Mapping[int, int],
    ) -> Iterator[Edit]:
        if rules is None:
            items = rule_lines(self.creations, anchors)
            items = [RULES, *(INDENT + item for item in items)]
            yield self.insertion(self.root_end(), items, self.root_indent())
            return
        slots = sorted(
            [*self.gap_slots(rules), *self.adopted_slots(rules, adopted)],
            key=lambda slot: slot.start,
        ) or [_Slot(rules.end, rules.end, frozenset())]
        for slot, members in zip(slots, self.shared_out(slots), strict=True):
            if members:
                lines = rule_lines(members, anchors)
                _, _, text = self.insertion(slot.start, lines, rules.indent)
                yield slot.start, slot.end, text
            else:
                yield slot.start, slot.end, ""

    def gap_slots(self, rules: _Section) -> Iterator[_Slot]:
        for gap in self.gaps_in(rules, rules=True):
            lines = {line.strip() for line in gap.content.split("\n")}
            found = (one.rule for one in self.creations if one.first_line in lines)
            yield _Slot(gap.offset, gap.offset, frozenset(found))

    def adopted_slots(
        self, rules: _Section, adopted: Mapping[int, int]
    ) -> Iterator[_Slot]:
        """Yield the lines of adopted rules as slots, one for neighbours."""
        last: _Slot | None = None
        floor = rules.body
        for rule in self.foreign:
            dash = _DASH.search(self.base, floor)
            floor = after_line(self.base, self.trimmed(rule.span))
            if rule.number not in adopted:
                continue
            if dash is None or dash.start() > rule.span[0]:
                raise self.fail(rule.line, "cannot determine where this rule begins")
            slot = _Slot(dash.start(), floor, frozenset({adopted[rule.number]}))
            if last is not None and not self.base[last.end : slot.start].strip():
                slot = _Slot(last.start, slot.end, last.rules | slot.rules)
            elif last is not None:
                yield last
            last = slot
        if last is not None:
            yield last

    def trimmed(self, span: tuple[int, int]) -> int:
        return span[0] + len(self.base[slice(*span)].rstrip())

    def shared_out(self, slots: list[_Slot]) -> list[list[Creation]]:
        """Return the creation rules for each slot, in the map's order.

        A rule goes into its own slot unless a rule before it is below; one without a
        slot follows the rule before it, or precedes the first one with a slot.
        """
        own = {
            rule: at
            for at, slot in reversed([*enumerate(slots)])
            for rule in slot.rules
        }
        known = [own[one.rule] for one in self.creations if one.rule in own]
        current = known[0] if known else len(slots) - 1
        shares: list[list[Creation]] = [[] for _ in slots]
        for one in self.creations:
            current = max(current, own.get(one.rule, current))
            shares[current].append(one)
        return shares

    def insertion(self, offset: int, lines: Iterable[str], indent: str) -> Edit:
        lines = with_note(lines)
        block = blocks.written(lines, indent, self.newline)
        return offset, offset, blocks.put_in(self.base, offset, block, self.newline)


def _meaning(rule: ConfigRule) -> object:
    """Return what a foreign rule means, without age keys: these may be anchors of ours.

    Such a key changes when the map does.
    """
    return rule.path_regex, rule.others, rule.groups, rule.options

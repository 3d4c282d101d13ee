"""The generated files as steps: `.sops.yaml`, `secrets.nix`, lock, `.gitattributes`.

`generated/` makes their text; this module decides whether they must be written.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from nixsecrets.files.state import Actual, Damaged, NotSecret, Record
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Reader
from nixsecrets.plan.model import Action, Plan, Reason, Step
from nixsecrets.splice import newline_of
from nixsecrets.world.world import LOCK_NAME, MAP_NAME, Found, World, named_keys

# the part of a rule's pattern language that means the same in .gitattributes
_SAME_IN_GIT = r"(?:[A-Za-z0-9._/*?-]|\{host\}|\{user\})+"
# A change of line ends corrupts age files and sops' dotenv files; a merge by lines, or
# conflict markers, corrupt an age file.
ATTRIBUTE_LINES = (
    "nixsecrets.lock merge=union",
    "*.age -text -merge",
    "*.env -text",
)
ATTRIBUTE_OF_DIFF = "diff=nixsecrets"
"""Names the diff driver, which `git-setup` configures in a clone."""


def with_attributes(text: str) -> str:
    """Return the text of `.gitattributes` with the lines that secrets and lock need."""
    return _with_lines(text, ATTRIBUTE_LINES)


def diff_attributes(world: World, text: str) -> str:
    """Return `.gitattributes` with lines that make git show secrets decrypted.

    One line covers all age files; sops files
    get one line for each rule whose pattern git understands, else one for each path.
    The lines that `init` writes are added if they are missing.
    """
    wanted = [*ATTRIBUTE_LINES, f"*.age {ATTRIBUTE_OF_DIFF}"]
    for path, actual in world.secrets.items():
        winning = world.policy.winning(path)
        if actual.backend is Backend.SOPS and winning is not None:
            pattern = git_pattern(winning[0].path) or attribute_path(path)
            wanted.append(f"{pattern} {ATTRIBUTE_OF_DIFF}")
    return _with_lines(text, wanted)


def _with_lines(text: str, wanted: Iterable[str]) -> str:
    """Return `text` with each wanted line that it lacks appended once."""
    have = {line.strip() for line in text.splitlines()}
    missing = [line for line in dict.fromkeys(wanted) if line not in have]
    newline = newline_of(text)
    if text and not text.endswith("\n") and missing:
        text += newline
    return text + "".join(line + newline for line in missing)


def git_pattern(pattern: str | None) -> str | None:
    """Return a rule's pattern for git, None where git would read it differently.

    It starts with a slash, because git matches a pattern without one in every folder.
    """
    if pattern is None or not re.fullmatch(_SAME_IN_GIT, pattern):
        return None
    plain = pattern.replace("{host}", "*").replace("{user}", "*")
    return "/" + plain


def attribute_path(path: str) -> str:
    """Return a path as a literal pattern, C-quoted if needed (gitattributes(5))."""
    escaped = re.sub(r"([*?\[\\])", r"\\\1", "/" + path)
    if escaped.isascii() and escaped.isprintable() and not set(escaped) & set(' "'):
        return escaped
    return json.dumps(escaped, ensure_ascii=False)


def with_texts(plan: Plan, texts: Mapping[str, tuple[str | None, str]]) -> Plan:
    """Return `plan` with steps that write public files.

    `texts` maps paths to the present text (None: no file) and the new one.
    """
    written = [write_step(path, now, then) for path, (now, then) in texts.items()]
    return Plan.of([*plan.steps, *written], plan.problems)


def generated_steps_for(world: World, *steps: Step) -> Iterator[Step]:
    """Yield the steps for the generated files that follow from `steps`.

    Other drift of generated files stays.
    """
    steps = tuple(step for step in steps if step.backend is Backend.AGE)
    if not steps:
        return
    yield lock_write(world, None)
    rules = world.map.agenix_rules
    if rules is not None and any(s.action is not Action.REENCRYPT for s in steps):
        present = world.texts.get(rules)
        text = _rules_text(world, steps, present)
        if text != present:
            yield _write_generated(world, rules, text)


def map_step(before: World, after: World) -> Iterator[Step]:
    """Yield the step that writes the map if it changed."""
    if before.map_text != after.map_text:
        yield write_step(MAP_NAME, before.map_text, after.map_text)


def generated_steps(
    world: World, steps: Collection[Step] = (), *, tidy: bool = False
) -> Iterator[Step]:
    """Yield the steps that write `.sops.yaml`, `secrets.nix` and the lock.

    `steps` are the planned changes of secret files: they decide which age files exist
    and whether the lock changes.  `tidy` also writes a lock that differs only by
    leftovers of a merge or an older format.
    """
    for path, text in rendered(world, steps).items():
        if world.texts.get(path) != text:
            yield _write_generated(world, path, text)
    if any(step.backend is Backend.AGE for step in steps):
        yield lock_write(world, None)
    else:
        yield from lock_step(world, {}, tidy=tidy)


def rendered(world: World, steps: Collection[Step] = ()) -> dict[str, str]:
    """Return the text of `.sops.yaml` and `secrets.nix` for the map, by path.

    A `.sops.yaml` with conflict markers is skipped: a person has to merge it first.
    """
    from nixsecrets.generated import sopsyaml  # 3 ms, which a content does not need

    texts: dict[str, str] = {}
    if (config := world.map.sops_config) is not None and world.config_readable:
        texts[config] = sopsyaml.render(world.policy, world.texts.get(config))
    if (rules := world.map.agenix_rules) is not None:
        texts[rules] = _rules_text(world, steps, world.texts.get(rules))
    return texts


def _rules_text(world: World, steps: Collection[Step], present: str | None) -> str:
    from nixsecrets.generated import secretsnix  # as in `rendered`
    from nixsecrets.generated.blocks import with_newlines_of

    text = secretsnix.render(world.policy, age_paths(world, steps))
    return with_newlines_of(present, text)


def keys_written(world: World, steps: Iterable[Step]) -> Iterator[Reader]:
    """Yield the keys of the map that `steps` add to configurations.

    A key that a configuration already has under the same name is not added.
    """
    for step in steps:
        if step.text is None or step.path not in _configurations(world):
            continue
        before = set(_labelled(world.texts.get(step.path) or ""))
        fresh = "\n".join(line for line in _labelled(step.text) if line not in before)
        for owner in world.map.owners:
            for key in owner.keys:
                forms = (key.text, key.converted().text)
                if any(form in fresh for form in forms):
                    yield Reader(owner.name, key)


def drifted(before: World, plan: Plan) -> list[str]:
    """Return the configurations in `plan` that already differed from the map `before`.

    They are written as a whole, so the plan also resolves their earlier drift.
    """
    planned = {step.path for step in plan.steps} & _configurations(before)
    if not planned:
        return []
    texts = rendered(before).items()
    return [p for p, text in texts if p in planned and text != before.texts.get(p)]


def _configurations(world: World) -> set[str | None]:
    return {world.map.sops_config, world.map.agenix_rules}


def _labelled(text: str) -> Iterator[str]:
    """Yield the lines of `text`, each item of a list prefixed with the list's name.

    secrets.nix writes several keys of one name as a list that opens below the name.
    """
    label = ""
    for line in text.splitlines():
        if line.endswith("["):
            label = line
        elif line.strip().startswith("]"):
            label = ""
        yield f"{label}{line}"


def age_paths(world: World, steps: Collection[Step] = ()) -> list[str]:
    """Return the paths of the managed age files after `steps`, sorted.

    Files that are corrupt, unencrypted or missing from the disk count: they are to be
    restored, and keep their line in secrets.nix.
    """
    paths = {p for p, found in world.files.items() if _is_age(world, p, found)}
    backend = world.policy.backend_for_new
    paths |= {p for p in world.reach.missed if backend(p) is Backend.AGE}
    gone = {s.path for s in steps if s.action is Action.DELETE}
    gone |= {s.origin for s in steps if s.origin is not None}
    new = {s.path for s in steps if s.backend is Backend.AGE} - gone
    return sorted(p for p in (paths - gone) | new if world.policy.winning(p))


def _is_age(world: World, path: str, found: Found) -> bool:
    match found:
        case Actual() | Damaged():
            return found.backend is Backend.AGE
        case NotSecret():
            policy = world.policy
            age = policy.backend_for_new(path) is Backend.AGE
            return age and policy.requires_encryption(path)


def lock_step(
    world: World, changes: Mapping[str, Record | None], *, tidy: bool = False
) -> Iterator[Step]:
    """Yield the step that writes the lock with `changes`, if that changes its meaning.

    `changes` maps paths to new records, None to remove one.  Leftovers of a merge and
    an older format are no reason to write the lock, except with `tidy`; any write
    removes them.
    """
    present = world.texts.get(LOCK_NAME)
    as_it_is = present is not None and not (changes or tidy)
    if as_it_is and world.lock.names_as(named_keys(world.map)):
        return  # a new text could only have fewer lines
    text = lock_text(world, changes)
    if text == present:
        return
    if tidy or present is None or not _says(world, present, text):
        yield lock_write(world, text)


def _says(world: World, present: str, text: str) -> bool:
    """Return whether the lock, as it is or written in the current format, has `text`.

    More lines than those of `text` are allowed.
    """
    there = {*present.splitlines(), *world.lock.render().splitlines()}
    return there.issuperset(text.splitlines())


def lock_write(world: World, text: str | None) -> Step:
    """Return the step that writes the lock; None: `apply` makes it from new hashes."""
    return write_step(LOCK_NAME, world.texts.get(LOCK_NAME), text)


def lock_text(world: World, changes: Mapping[str, Record | None]) -> str:
    """Return the lock's text after `changes`, without records of files that are gone.

    `changes` maps paths to new records, None to remove one.
    """
    kept = world.files.keys() | world.reach.missed
    gone = dict.fromkeys(p for p in world.lock.paths() if p not in kept)
    present = {path: found.sha256 for path, found in world.files.items()}
    lock = world.lock.with_files(
        {**gone, **changes}, named_keys(world.map), present=present
    )
    from nixsecrets.generated.blocks import with_newlines_of  # as in `rendered`

    return with_newlines_of(world.texts.get(LOCK_NAME), lock.render())


def write_step(path: str, present: str | None, text: str | None) -> Step:
    """Return the step that replaces the text `present` (None: no file) at `path`."""
    return Step(
        path, None, Action.WRITE, Reason.CONTENT, before=_sha(present), text=text
    )


def _write_generated(world: World, path: str, text: str) -> Step:
    """Return the step that writes a configuration; `foreign` if someone else wrote it.

    A `.sops.yaml` belongs to its owner; only text that is no sops configuration at all
    is foreign there.
    """
    from nixsecrets.generated import secretsnix  # as in `rendered`
    from nixsecrets.generated.rules import for_sops

    present = world.texts.get(path) or ""
    if path == world.map.agenix_rules:
        ours = secretsnix.is_ours(present)
    else:
        ours = for_sops(path, present)
    return write_step(path, world.texts.get(path), text)._replace(foreign=not ours)


def _sha(text: str | None) -> str | None:
    if text is None:
        return None
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()

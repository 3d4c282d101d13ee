"""Diff of whole worlds: the plan for a command, and the problems no step repairs.

Pure composition of `policy`, `plan` and `render`; reads nothing and asks nobody.
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from nixsecrets.errors import SecretFileError
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import KeyId
from nixsecrets.plan import (
    Action,
    Context,
    Plan,
    Reason,
    Step,
    change,
    converge,
    shared_prints,
    wanted_options,
)
from nixsecrets.policy.model import Desired, Reader
from nixsecrets.problems import problems
from nixsecrets.render import secretsnix, sopsconfig
from nixsecrets.secretfiles.sopsmeta import format_for
from nixsecrets.secretfiles.state import Actual, Damaged, NotSecret, Record
from nixsecrets.world import (
    ATTRIBUTES,
    LOCK_NAME,
    MAP_NAME,
    Found,
    World,
    named_keys,
)

_SAME_IN_GIT = re.compile(r"(?:[A-Za-z0-9._/*?-]|\{host\}|\{user\})+")
ATTRIBUTE_LINES = ("nixsecrets.lock merge=union", "*.age -text")


def context(
    world: World,
    *,
    native: frozenset[KeyId] | None = None,
    keep_data_key: bool = False,
    gone: Collection[KeyId] = (),
) -> Context:
    """Return what `plan` has to know of a world besides its files."""
    return Context(
        book=world.book,
        users=world.users,
        keep_data_key=keep_data_key,
        native=native,
        shared=shared_prints(world.secrets.values()),
        gone=frozenset(gone),
    )


def desired(world: World, actual: Actual) -> Desired | None:
    """Return what the map wants for a file that exists, None where no rule wins."""
    return world.policy.desired(actual.path, actual.backend)


def desired_for_path(world: World, path: str) -> Desired | None:
    """Return what the map wants for a path, whether or not the file exists."""
    found = world.files.get(path)
    backend = found.backend if isinstance(found, Actual) else None
    return world.policy.desired(path, backend or world.policy.backend_for_new(path))


def converge_plan(world: World, ctx: Context | None = None) -> Plan:
    """Return what differs from the map: `status`, `check` and `rekey`."""
    ctx = ctx or context(world)
    steps = [
        step
        for actual in world.secrets.values()
        if (want := desired(world, actual)) is not None
        and (step := converge(actual, want, ctx)) is not None
    ]
    return Plan.of([*steps, *generated_steps(world, steps)], problems(world))


def change_plan(
    before: World,
    after: World,
    ctx: Context | None = None,
    *,
    instead: Collection[Step] = (),
) -> Plan:
    """Return what a change of the map asks for, and nothing else.

    `instead` are steps that the command itself asks for (a private key to write, files
    to move): they replace what the change of the map means for their files.
    """
    ctx = ctx or context(after)
    decided = {s.path for s in instead} | {s.origin for s in instead}
    steps = [
        step
        for actual in after.secrets.values()
        if actual.path not in decided
        and (
            step := change(actual, desired(before, actual), desired(after, actual), ctx)
        )
        is not None
    ]
    steps += instead
    written = [*generated_steps(after, steps), *map_step(before, after)]
    return Plan.of([*steps, *written], problems(after))


def damaged(world: World, before: World | None = None) -> list[Damaged]:
    """Return the damaged secrets of the map: nobody can make them equal to it.

    With `before`, only those whose readers the change of the map alters.
    """
    found = [file for file in world.files.values() if isinstance(file, Damaged)]
    return [
        file
        for file in found
        if (want := world.policy.desired(file.path, file.backend)) is not None
        and (before is None or _other_readers(before, file, want))
    ]


def _other_readers(before: World, file: Damaged, want: Desired) -> bool:
    had = before.policy.desired(file.path, file.backend)
    return had is None or set(had.readers) != set(want.readers)


def generated_plan(world: World) -> Plan:
    """Return what `sync` writes: the generated files, and no secret."""
    return Plan.of(generated_steps(world), problems(world))


def fresh_plan(world: World) -> Plan:
    """Return what `init` writes: the map, the generated files, `.gitattributes`."""
    steps = [_write(MAP_NAME, None, world.map_text), *generated_steps(world)]
    present = world.texts.get(ATTRIBUTES)
    text = with_attributes(present or "")
    if text != present:
        steps.append(_write(ATTRIBUTES, present, text))
    return Plan.of(steps)


def switch_plan(
    before: Mapping[str, str | None], after: Mapping[str, str | None]
) -> Plan:
    """Return what writes the texts of `after` where `before` has others."""
    changed = {p: text for p, text in after.items() if text != before.get(p)}
    return Plan.of(
        _write(path, before.get(path), text)
        for path, text in changed.items()
        if text is not None
    )


def with_attributes(text: str) -> str:
    """Return `.gitattributes` with the two lines that our files need."""
    have = {line.strip() for line in text.splitlines()}
    missing = [line for line in ATTRIBUTE_LINES if line not in have]
    if text and not text.endswith("\n") and missing:
        text += "\n"
    return text + "".join(line + "\n" for line in missing)


def diff_attributes(world: World, text: str, driver: str) -> str:
    """Return `.gitattributes` with the lines that let git show secrets decrypted.

    One line for all age files, and one for each rule's sops files where a line can
    name them; others by their path.
    """
    wanted = [f"*.age diff={driver}"]
    for path, actual in world.secrets.items():
        winning = world.policy.winning(path)
        if actual.backend is Backend.SOPS and winning is not None:
            pattern = _attribute_pattern(winning[0].path) or _attribute_path(path)
            wanted.append(f"{pattern} diff={driver}")
    have = {line.strip() for line in text.splitlines()}
    missing = [line for line in dict.fromkeys(wanted) if line not in have]
    if text and not text.endswith("\n") and missing:
        text += "\n"
    return text + "".join(line + "\n" for line in missing)


def _attribute_pattern(pattern: str | None) -> str | None:
    """Return a rule's pattern as git reads it, None where the two read it differently.

    A pattern without a slash would be looked for in every folder, hence the first one.
    """
    if pattern is None or not _SAME_IN_GIT.fullmatch(pattern):
        return None
    plain = pattern.replace("{host}", "*").replace("{user}", "*")
    return "/" + plain


def _attribute_path(path: str) -> str:
    """Return a path as a pattern of `.gitattributes`, quoted as C does where needed."""
    escaped = re.sub(r"([*?\[\\])", r"\\\1", "/" + path)
    if escaped.isascii() and escaped.isprintable() and not set(escaped) & set(' "'):
        return escaped
    return json.dumps(escaped, ensure_ascii=False)


def content_plan(
    world: World, path: str, actual: Actual | None, *, as_mapped: bool = False
) -> Plan:
    """Return the plan that gives a secret new content, to the readers it has.

    A new secret, one whose readers cannot be told, and with `as_mapped` any other,
    goes to whom its rule says.  `actual` is the file as it is, None for a new one.

    Raises:
        SecretFileError: no rule names a path whose readers are not known.
    """
    step = content_step(world, path, actual, as_mapped=as_mapped)
    return Plan.of([step, *generated_steps_for(world, step)])


def with_texts(plan: Plan, texts: Mapping[str, tuple[str | None, str]]) -> Plan:
    """Return the plan that also writes public files: path to text now and then."""
    written = [_write(path, now, then) for path, (now, then) in texts.items()]
    return Plan.of([*plan.steps, *written], plan.problems)


def content_step(
    world: World, path: str, actual: Actual | None, *, as_mapped: bool = False
) -> Step:
    """Return the step of `content_plan`."""
    backend = actual.backend if actual else world.policy.backend_for_new(path)
    want = world.policy.desired(path, backend)
    have = actual.recipients if actual else ()
    if have and not (as_mapped and want):
        readers = tuple(Reader(world.book.label(r), r) for r in have)
    elif want is not None:
        readers = want.readers
    else:
        raise SecretFileError(
            f"{path}: no rule of the map names it", "add a [[secrets]] rule for it"
        )
    wanted = {reader.recipient.key_id for reader in readers}
    had = {recipient.key_id for recipient in have}
    return Step(
        path,
        backend,
        Action.CREATE if actual is None else Action.REENCRYPT,
        Reason.NEW if actual is None else Reason.CONTENT,
        add=tuple(r for r in readers if have and r.recipient.key_id not in had),
        remove=tuple(
            Reader(world.book.label(r), r) for r in have if r.key_id not in wanted
        ),
        target=readers,
        before=actual.sha256 if actual else None,
        options=_content_options(actual, want),
        armored=actual.armored if actual else bool(want and want.rule.armor),
    )


def _content_options(
    actual: Actual | None, want: Desired | None
) -> tuple[tuple[str, str | bool], ...]:
    """Return the selection options to write with.

    Those of the rule where they changed since: new values must not be written open
    that the rule wants encrypted.
    """
    if actual is None:
        return want.rule.sops if want else ()
    changed = wanted_options(actual, want) if want else None
    return actual.options if changed is None else changed


def delete_step(actual: Actual | Damaged) -> Step:
    """Return the step that removes a secret file."""
    return Step(
        actual.path,
        actual.backend,
        Action.DELETE,
        Reason.REVOKED,
        before=actual.sha256,
    )


def rename_step(world: World, actual: Actual, path: str) -> Step:
    """Return the step that moves a secret file as it is, whoever reads it."""
    readers = tuple(Reader(world.book.label(r), r) for r in actual.recipients)
    return Step(
        path,
        actual.backend,
        Action.MOVE,
        Reason.RENAMED,
        target=readers,
        before=actual.sha256,
        options=actual.options,
        armored=actual.armored,
        origin=actual.path,
    )


def move_step(world: World, actual: Actual, path: str, ctx: Context) -> Step:
    """Return the step that moves a secret file to the readers of another path.

    Raises:
        SecretFileError: no rule names the path, or sops would take the file for one of
            another format there.
    """
    want = world.policy.desired(path, actual.backend)
    if want is None:
        raise SecretFileError(
            f"{path}: no rule of the map names it", "choose another folder"
        )
    sops = actual.backend is Backend.SOPS
    if sops and format_for(path) is not format_for(actual.path):
        raise SecretFileError(f"{path}: its name stands for another sops format")
    step = converge(actual, want, ctx)
    if step is None:
        return rename_step(world, actual, path)
    return replace(step, path=path, action=Action.MOVE, origin=actual.path)


def generated_steps_for(world: World, *steps: Step) -> Iterator[Step]:
    """Yield the generated files that these steps change: drift of others is left."""
    steps = tuple(step for step in steps if step.backend is Backend.AGE)
    if not steps:
        return
    yield lock_write(world, None)
    rules = world.map.agenix_rules
    if rules is not None and any(s.action is not Action.REENCRYPT for s in steps):
        present = world.texts.get(rules)
        text = secretsnix.render(world.map, age_paths(world, steps))
        if text != present:
            yield _write(rules, present, text)


def map_step(before: World, after: World) -> Iterator[Step]:
    """Yield the step that writes the map, where it changed."""
    if before.map_text != after.map_text:
        yield _write(MAP_NAME, before.map_text, after.map_text)


def generated_steps(world: World, steps: Collection[Step] = ()) -> Iterator[Step]:
    """Yield the steps that write `.sops.yaml`, `secrets.nix` and the lock.

    `steps` are the planned changes of secret files: they decide which age files exist
    and whether the lock changes.
    """
    for path, text in rendered(world, steps).items():
        if world.texts.get(path) != text:
            yield _write(path, world.texts.get(path), text)
    if any(step.backend is Backend.AGE for step in steps):
        yield lock_write(world, None)
    else:
        yield from lock_step(world, {})


def rendered(world: World, steps: Collection[Step] = ()) -> dict[str, str]:
    """Return the generated configurations as the map gives them, by path."""
    texts: dict[str, str] = {}
    if (config := world.map.sops_config) is not None:
        texts[config] = sopsconfig.render(world.map, world.texts.get(config))
    if (rules := world.map.agenix_rules) is not None:
        texts[rules] = secretsnix.render(world.map, age_paths(world, steps))
    return texts


def age_paths(world: World, steps: Collection[Step] = ()) -> list[str]:
    """Return the age files that are there once `steps` are done, and are managed.

    One that is damaged or in the clear keeps its line: it is to be restored.
    """
    paths = {p for p, found in world.files.items() if _is_age(world, p, found)}
    gone = {s.path for s in steps if s.action is Action.DELETE}
    gone |= {s.origin for s in steps if s.origin is not None}
    new = {s.path for s in steps if s.backend is Backend.AGE} - gone
    return sorted(p for p in (paths - gone) | new if world.policy.winning(p))


def _is_age(world: World, path: str, found: Found) -> bool:
    match found:
        case Actual() | Damaged():
            return found.backend is Backend.AGE
        case NotSecret():
            winning = world.policy.winning(path)
            if winning is None or winning[0].plaintext_allowed:
                return False
            return world.policy.backend_for_new(path) is Backend.AGE


def lock_step(world: World, changes: Mapping[str, Record | None]) -> Iterator[Step]:
    """Yield the step that writes the lock with `changes`, where that differs."""
    text = lock_text(world, changes)
    if text != world.texts.get(LOCK_NAME):
        yield lock_write(world, text)


def lock_write(world: World, text: str | None) -> Step:
    """Return the step that writes the lock; None: the text follows from the rest."""
    return _write(LOCK_NAME, world.texts.get(LOCK_NAME), text)


def lock_text(world: World, changes: Mapping[str, Record | None]) -> str:
    """Return the lock after `changes`, without files that are gone."""
    gone = dict.fromkeys(p for p in world.lock.paths() if p not in world.files)
    present = {path: found.sha256 for path, found in world.files.items()}
    lock = world.lock.with_files(
        {**gone, **changes}, named_keys(world.map), present=present
    )
    return lock.render()


def _write(path: str, present: str | None, text: str | None) -> Step:
    return Step(
        path, None, Action.WRITE, Reason.CONTENT, before=_sha(present), text=text
    )


def _sha(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()

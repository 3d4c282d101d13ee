"""Diff of whole worlds: the plan for each command.

Combines the steps for secret files (`steps`), for generated files (`outputs`) and the
findings that no step resolves (`problems`).
"""

from collections.abc import Collection, Container, Iterable, Mapping
from functools import partial

from nixsecrets.errors import SecretFileError, UsageError
from nixsecrets.files.kind import format_for
from nixsecrets.files.sops.selectors import (
    canonical_options,
)
from nixsecrets.files.state import Actual, Damaged
from nixsecrets.keys.forms import Backend
from nixsecrets.map.model import Desired, Reader
from nixsecrets.plan.model import Action, Plan, Reason, Step
from nixsecrets.plan.outputs import (
    generated_steps,
    generated_steps_for,
    map_step,
    with_attributes,
    write_step,
)
from nixsecrets.plan.problems import problems
from nixsecrets.plan.steps import (
    Context,
    change_step,
    content_options,
    context_of,
    converge_step,
    steps_for_each,
)
from nixsecrets.world.world import ATTRIBUTES, LOCK_NAME, MAP_NAME, World


def converge_plan(world: World, ctx: Context | None = None) -> Plan:
    """Return the plan that brings everything in line with the map (rekey, status)."""
    steps = differing(world, ctx)
    return Plan.of([*steps, *generated_steps(world, steps)], problems(world))


def differing(
    world: World, ctx: Context | None = None, *, besides: Container[str | None] = ()
) -> list[Step]:
    """Return the steps for the secrets that differ from the map.

    Paths in `besides` are skipped.
    """
    ctx = ctx or context_of(world)
    return [
        step
        for want, files in world.file_groups
        if want is not None
        for step in steps_for_each(
            files, partial(converge_step, desired=want, context=ctx), ctx
        )
        if step.path not in besides
    ]


def differs_after(world: World, step: Step) -> bool:
    """Return whether a file's readers after its step still differ from the map."""
    if step.backend is None or not step.target:
        return False
    want = world.policy.desired(step.path, step.backend)
    return want is not None and {r.recipient for r in step.target} != {
        r.recipient for r in want.readers
    }


def change_plan(
    before: World,
    after: World,
    ctx: Context | None = None,
    *,
    instead: Collection[Step] = (),
) -> Plan:
    """Return the plan for a change of the map: what it asks for, and nothing else.

    `instead` are steps that the command itself asks for (a private key to write, files
    to move); they replace the steps that the change of the map means for their files.
    """
    ctx = ctx or context_of(after)
    decided = {s.path for s in instead} | {s.origin for s in instead}
    steps = [
        step
        for new, files in after.file_groups
        for old, alike in _by_desired(before, files)
        for step in steps_for_each(
            alike, partial(change_step, before=old, after=new, context=ctx), ctx
        )
        if step.path not in decided
    ]
    steps += instead
    written = [*generated_steps(after, steps), *map_step(before, after)]
    return Plan.of([*steps, *written], problems(after))


def _by_desired(
    world: World, files: Iterable[Actual]
) -> Iterable[tuple[Desired | None, list[Actual]]]:
    """Group files by what the map specifies for them."""
    # by identity: the policy returns one `Desired` for all paths with the same answer
    found: dict[int, tuple[Desired | None, list[Actual]]] = {}
    for file in files:
        want = world.policy.desired(file.path, file.backend)
        found.setdefault(id(want), (want, []))[1].append(file)
    return found.values()


def only(plan: Plan, paths: Collection[str]) -> Plan:
    """Return the plan for `paths` only, with the lock if any of them has a step."""
    kept = plan.restricted(paths)
    return plan.restricted({*paths, LOCK_NAME}) if kept.steps else kept


def files_of(name: str, world: World, plan: Plan) -> set[str]:
    """Return the planned files that host or user `name` will read or lose.

    Raises:
        UsageError: neither the map nor the plan has that name.
    """
    known = {h.name for h in world.map.hosts} | world.users
    lost = {name for step in plan.steps for name in step.losers}
    if name not in known | lost:
        raise UsageError(f"the map has no host or user {name!r}", "nixsecrets status")
    return {
        step.path
        for step in plan.secret_steps
        if any(reader.name == name for reader in (*step.target, *step.remove))
    }


def may_read(name: str, world: World, path: str) -> bool:
    """Return whether the map lets `name` read a path."""
    want = world.desired(path)
    return want is not None and any(reader.name == name for reader in want.readers)


def hidden_losses(before: World, after: World) -> dict[str, list[str]]:
    """Return the files hidden by inner maps that a change of the map revokes.

    The keys are the paths of the inner maps.  No step can re-encrypt such a file.
    """
    found = {
        inner: [path for path in paths if _loses(before, after, path)]
        for inner, paths in before.reach.hidden.items()
    }
    return {inner: paths for inner, paths in found.items() if paths}


def absent_losses(before: World, after: World) -> list[str]:
    """Return the files missing from the disk that a change of the map revokes."""
    return [path for path in before.reach.absent if _loses(before, after, path)]


def _loses(before: World, after: World, path: str) -> bool:
    """Return whether a change of the map revokes a reader's access to `path`."""
    had, want = before.desired(path), after.desired(path)
    left = {r.recipient.key_id for r in want.readers} if want else set()
    return had is not None and any(r.recipient.key_id not in left for r in had.readers)


def damaged(world: World, before: World | None = None) -> list[Damaged]:
    """Return the corrupt secrets that rules of the map match; no step can repair them.

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
    """Return the plan of `sync`: the generated files, and no secret."""
    return Plan.of(generated_steps(world, tidy=True), problems(world))


def fresh_plan(world: World) -> Plan:
    """Return the plan of `init`: the map, the generated files, `.gitattributes`."""
    steps = [write_step(MAP_NAME, None, world.map_text), *generated_steps(world)]
    present = world.texts.get(ATTRIBUTES)
    text = with_attributes(present or "")
    if text != present:
        steps.append(write_step(ATTRIBUTES, present, text))
    return Plan.of(steps)


def switch_plan(
    before: Mapping[str, str | None], after: Mapping[str, str | None]
) -> Plan:
    """Return the plan that writes public files: each text of `after` that is new.

    Both map paths to texts; None stands for a file that does not exist.
    """
    changed = {p: text for p, text in after.items() if text != before.get(p)}
    return Plan.of(
        write_step(path, before.get(path), text)
        for path, text in changed.items()
        if text is not None
    )


def content_plan(
    world: World, path: str, actual: Actual | None, *, as_mapped: bool = False
) -> Plan:
    """Return the plan that stores new content in the secret at `path`.

    It keeps the file's readers.  A new secret, one whose readers are unknown and, with
    `as_mapped`, any other gets those of its rule.  `actual` is the present file, None
    for a new one.

    Raises:
        SecretFileError: the readers are unknown and no rule matches the path.
    """
    step = content_step(world, path, actual, as_mapped=as_mapped)
    return Plan.of([step, *generated_steps_for(world, step)])


def content_step(
    world: World, path: str, actual: Actual | None, *, as_mapped: bool = False
) -> Step:
    """Return the step that stores new content in the secret at `path`.

    It keeps the file's readers, and then also a sops file's data key and the entries
    that are not age keys.  A new secret, one whose readers are unknown and, with
    `as_mapped`, any other gets the readers of its rule.

    Raises:
        SecretFileError: the readers are unknown and no rule matches the path.
    """
    backend = actual.backend if actual else world.policy.backend_for_new(path)
    want = world.policy.desired(path, backend)
    have = actual.recipients if actual else ()
    if have and not (as_mapped and want):
        readers = tuple(Reader(world.book.label(r), r) for r in have)
    elif want is not None:
        readers = want.readers
    else:
        raise SecretFileError(
            f"{path}: no rule of the map matches it", "add a [[secrets]] rule for it"
        )
    wanted = {reader.recipient.key_id for reader in readers}
    had = {recipient.key_id for recipient in have}
    options = content_options(actual, want)
    kept = actual and {r.recipient for r in readers} == set(have)
    if as_mapped or (actual and canonical_options(options) != actual.options):
        kept = False
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
        options=options,
        armored=actual.armored if actual else bool(want and want.rule.armor),
        dropped=actual.others if actual and not kept else (),
    )


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
    """Return the step that moves a secret file to `path` without changing its bytes."""
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
    """Return the step that moves a secret file to `path` and to that path's readers.

    Raises:
        SecretFileError: no rule matches the path, or its extension means another sops
            format.
    """
    want = world.policy.desired(path, actual.backend)
    if want is None:
        raise SecretFileError(
            f"{path}: no rule of the map matches it", "choose another folder"
        )
    sops = actual.backend is Backend.SOPS
    if sops and format_for(path) is not format_for(actual.path):
        raise SecretFileError(f"{path}: its name stands for another sops format")
    step = converge_step(actual, want, ctx)
    if step is None:
        return rename_step(world, actual, path)
    return step._replace(path=path, action=Action.MOVE, origin=actual.path)

"""Storing new content in one secret: its readers, and the walk down the road."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from nixsecrets.cli import show, ui
from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.session import Session, unlock
from nixsecrets.errors import IdentityError, NixsecretsError, argument
from nixsecrets.files.kind import format_for, name_warning
from nixsecrets.files.state import Actual
from nixsecrets.frozen import replace
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring
from nixsecrets.map.model import Rule
from nixsecrets.plan.model import Plan
from nixsecrets.plan.target import (
    Target,
    difference,
    options_change,
    plan_for,
    value_content,
)
from nixsecrets.world.world import World, find_file, still, text_if_there

if TYPE_CHECKING:
    from nixsecrets.apply.carry_out import Content
    from nixsecrets.plan.disclosure import Values
    from nixsecrets.plan.removals import Removals


class ChangedError(NixsecretsError):
    """The file changed on disk since it was opened."""


def with_rule(world: World, wanted: Target) -> Target:
    """Return `wanted`, with a new rule from the terminal if none matches its path.

    Raises:
        NixsecretsError: no rule matches it and there is no terminal, or a name in the
            answer is unknown.
    """
    if wanted.actual is not None or world.desired(wanted.name) is not None:
        return wanted
    missing = f"no rule of the map matches {show.path_text(wanted.name)}"
    if not ui.has_terminal():
        from nixsecrets.map.tomledit import toml_string  # 2 ms, for this hint

        raise NixsecretsError(
            missing,
            "add to nixsecrets.toml:\n[[secrets]]\n"
            f"path = {toml_string(wanted.name)}\nreaders = []",
        )
    ui.say(f"{missing}; nixsecrets can add one")
    always = ", ".join(world.map.always) or "nobody"
    answer = ui.ask_text(
        f"who may read it in addition to `always` ({always})? names, or Ctrl-C"
    )
    readers = tuple(answer.replace(",", " ").split())
    rule = Rule(index=0, path=wanted.name, path_regex=None, readers=readers)
    found = wanted._replace(rule=rule)
    found.world(world)  # raises for an unknown name now, not after editing
    return found


def report(world: World, wanted: Target, *, as_mapped: bool = False) -> None:
    """Report who will read a new secret, or how a file's readers differ from its rule.

    `as_mapped`: the secret will get the readers of its rule.
    """
    name = show.path_text(wanted.name)
    if wanted.actual is None:
        want = wanted.world(world).desired(wanted.name)
        readers = want.readers if want else ()
        names = ", ".join(dict.fromkeys(r.name for r in readers))
        what = "is new" if wanted.plain is None else "will be encrypted"
        if wanted.name in world.conflicts:
            what = "is not merged yet"
        ui.say(f"{name} {what}; its readers will be: {names}")
        warning = name_warning(wanted.name)
        if warning is not None and wanted.backend(world) is Backend.SOPS:
            ui.warn(f"{name}: {warning}")
        return
    if options_change(world, wanted.actual):
        ui.say(f"{name} will be re-encrypted: its rule now selects other values")
    found = difference(world, wanted.actual)
    if found is not None:
        known = bool(wanted.actual.recipients)  # else `content_step` uses the rule's
        keeps = known and not as_mapped
        kept = "it keeps those it has" if keeps else "the map's will be"
        ui.say(f"{name} differs from its rule: {found}; {kept}")


def ask_keys(
    world: World, wanted: Target, options: RoadOptions, *, as_mapped: bool = False
) -> None:
    """Ask about unapproved keys before a person types a secret for them.

    Raises:
        DeclinedError: the answer was no.
    """
    if options.yes or options.dry_run or not ui.has_terminal():
        return  # `walk` asks, or fails without a terminal
    from nixsecrets.cli import consent  # 15 ms, for a person at a terminal
    from nixsecrets.plan import approvals

    after, plan = plan_for(world, wanted, wanted.actual, as_mapped=as_mapped)
    found = consent.recalled(after.repo)
    unseen = approvals.unapproved_keys(plan, after, found)
    asked = consent.about_keys(after, unseen, (), first=not found.approved)
    consent.ask(asked, ())
    consent.remember(after.repo, *consent.approval(unseen, after.map))


def report_value(world: World, wanted: Target, key: str) -> None:
    """Report that a value is new, or that its type will change to string."""
    if wanted.actual is None:
        return
    from nixsecrets.files.sops import extract
    from nixsecrets.files.sops.engine.place import At
    from nixsecrets.files.sops.token import type_of

    found = extract.found_at(wanted.name, world.repo.read(wanted.name), key)
    what = f"{show.path_text(wanted.name)}: {show.path_text(key)}"
    kind = type_of(found.value)
    if found.at is At.NEW:
        ui.say(f"{what} is a new key")
    elif kind not in ("", "str"):
        ui.say(f"{what} was of type {kind}; it will be a string (str)")


def save(
    session: Session,
    wanted: Target,
    content: "Content",
    *,
    before: str | None,
    ring: Keyring,
    options: RoadOptions,
    seen: World | None = None,
    as_mapped: bool = False,
    public: Mapping[str, str] | None = None,
) -> int:
    """Write `content` to the readers that the secret has, or to those of its rule.

    `before` is the SHA-256 of the version that the content was made from; `as_mapped`
    takes the rule's readers for an existing file too; `public` are unencrypted files
    to write with it, path -> text; `seen` is what was read of this file just before.
    Returns the exit code.

    Raises:
        ChangedError: the file is no longer that version.
    """
    # what writes takes 40 ms, which `edit` needs once the text is typed
    from nixsecrets.cli.road import walk
    from nixsecrets.plan import disclosure
    from nixsecrets.plan.outputs import with_texts

    name = wanted.name
    with session.writing(dry_run=options.dry_run):
        world, known = _world_to_write(session, wanted, seen)
        now = find_file(world, name)
        if (now and now.sha256) != before:
            raise ChangedError(
                f"{show.path_text(name)} changed on disk while it was edited",
                "nothing was written; run the command again",
            )
        actual = now if isinstance(now, Actual) else None
        after, plan = plan_for(world, wanted, actual, as_mapped=as_mapped)
        if wanted.plain is not None:  # the step replaces the plaintext file
            steps = (s._replace(before=before) for s in plan.steps if s.path == name)
            plan = Plan.of([*steps, *(s for s in plan.steps if s.path != name)])
        texts = {
            p: (text_if_there(world.repo, p), t) for p, t in (public or {}).items()
        }
        plan = with_texts(plan, texts)
        sops = wanted.backend(world) is Backend.SOPS
        held = disclosure.by_default(world, name) if sops else frozenset()
        code = walk(
            session,
            after,
            plan,
            ring,
            options,
            contents={name: content},
            agreed=True,
            known=known,
        )
        if sops and not options.dry_run:
            _warn_of_default(after, name, held)
        return code


def _world_to_write(
    session: Session, wanted: Target, seen: World | None
) -> "tuple[World, Removals]":
    """Return what to plan from, as it is under the lock, and the removed keys.

    No other file changes with a sops file under the rules of the map as it is, so the
    others are read only to warn of removed keys that can read them.  With an age file
    changes the lock, which is written as a whole.
    """
    from nixsecrets.plan.recall import recall  # as in `save`

    name, alone = wanted.name, False
    if seen is not None and wanted.rule is None:
        alone = wanted.backend(seen) is Backend.SOPS
    if not alone or seen is None:
        world = session.world()
    else:
        world = seen if still(seen, name) else session.world(only=name)
    with ui.waiting("searching the git history"):
        known = recall(world)
    return (session.world() if alone and known.by_key else world), known


def _warn_of_default(world: World, path: str, before: "Values") -> None:
    """Warn of values newly saved in plaintext; `before` were in plaintext already."""
    from nixsecrets.plan import disclosure  # as in `save`

    saved = disclosure.by_default(world, path) - before
    names = [show.path_text("/".join(keys)) for keys in sorted({k for k, _ in saved})]
    if names:
        stay = "stays" if len(names) == 1 else "stay"
        ui.warn(
            f"{show.path_text(path)}: {', '.join(names)} {stay} in plaintext: sops by"
            f" default encrypts nothing below a key that ends in {disclosure.SUFFIX}",
            f"if it is a secret, rename the key: nixsecrets edit {argument(path)}\n"
            f"if it is meant, write {disclosure.RULE} into the rule",
        )


def store(
    session: Session,
    world: World,
    target: Target,
    key: str | None,
    value: "Content",
    ring: Keyring,
    options: RoadOptions,
    *,
    public: dict[str, str] | None = None,
) -> int:
    """Save a value as the content of a secret, or as its value at `key`.

    Returns the exit code.

    Raises:
        ApplyError: a sops file that cannot be opened cannot be changed.
        SecretFileError: the file's format cannot hold the value.
    """
    from nixsecrets.apply.apply import ApplyError  # as in `save`

    actual = target.actual
    content: Content = value
    if key is not None and isinstance(value, bytes):  # for a sops file it always is
        content = value_content(world, target, key, value)
    if actual is not None and _holds(world, target, content, ring):
        ui.say(f"{show.path_text(target.name)}: unchanged")
        return 0
    if key is not None:
        report_value(world, target, key)
    if isinstance(content, bytes) and target.backend(world) is Backend.SOPS:
        from nixsecrets.files.sops import textfaults  # 2 ms, for a text as a whole

        kind = format_for(target.name)
        textfaults.require_values(kind, content)
    try:
        return save(
            session,
            target,
            content,
            before=target.sha256,
            ring=ring,
            options=options,
            seen=world,
            public=public,
        )
    except ApplyError as error:
        unread = all(isinstance(one.error, IdentityError) for one in error.failed)
        if unread and actual is not None and actual.backend is Backend.SOPS:
            _explain_unread(error)
        raise


def _explain_unread(error: NixsecretsError) -> None:
    """Put into the hint why a sops file has to be opened to be changed."""
    error.hint = "\n".join(
        filter(
            None,
            [
                "a sops file has to be opened to be changed: its values share one key;"
                " put the new value into an age file, or into a sops file of its own",
                error.hint,
            ],
        )
    )


def _holds(world: World, target: Target, content: "Content", ring: Keyring) -> bool:
    """Return whether the secret already has this content; False if it cannot be read.

    Only identities that need no passphrase are used.

    Raises:
        SecretFileError: a key path names no single value.
    """
    assert target.actual is not None  # noqa: S101 - the caller looked
    from nixsecrets.files.age.payload import Spooled  # as in `save`
    from nixsecrets.files.sops import assign
    from nixsecrets.files.sops.keypath import NewValues
    from nixsecrets.repo import private
    from nixsecrets.values import read

    unasked = replace(ring, locked=())
    if isinstance(content, NewValues):
        data = world.repo.read(target.name)
        try:
            return assign.holds(target.name, data, unasked.identities, content)
        except IdentityError:
            return False
    with private.private_folder(os.environ) as folder:
        bench = read.opened(target.actual, unasked, unlock, folder)
        try:
            if isinstance(content, Spooled):
                return read.holds(world, target.actual, content, bench)
            return read.plaintext(world, target.actual, bench) == content
        except NixsecretsError:
            return False

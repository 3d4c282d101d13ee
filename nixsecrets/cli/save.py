"""New content for one secret: who will read it, and the walk down the road."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from nixsecrets.apply.apply import unlocked
from nixsecrets.apply.carry_out import Bench, Content, decrypt
from nixsecrets.cli import consent, show, ui
from nixsecrets.cli.options import RoadOptions
from nixsecrets.cli.road import walk
from nixsecrets.cli.session import Session, unlock
from nixsecrets.errors import NixsecretsError, UsageError
from nixsecrets.files.age import operations, pyrage_port, verify
from nixsecrets.files.age.header import LARGE
from nixsecrets.files.age.payload import Spooled
from nixsecrets.files.kind import name_warning
from nixsecrets.files.sops import extract, keypath, metadata
from nixsecrets.files.sops.engine.place import At
from nixsecrets.files.sops.keypath import Given
from nixsecrets.files.sops.options import canonical_options
from nixsecrets.files.sops.token import type_of
from nixsecrets.files.state import Actual, Damaged, NotSecret
from nixsecrets.findings.catalogue import argument
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.identities import Keyring
from nixsecrets.map import edit as policy_edit
from nixsecrets.map.model import Rule
from nixsecrets.map.tomledit import toml_string
from nixsecrets.plan import approvals, disclosure
from nixsecrets.plan.diff import (
    change_plan,
    content_options,
    content_plan,
    content_step,
    context,
    desired,
    desired_for_path,
)
from nixsecrets.plan.files import with_texts
from nixsecrets.plan.model import Plan, describe
from nixsecrets.plan.steps import converge
from nixsecrets.repo import files
from nixsecrets.untrusted import inputs
from nixsecrets.world.world import World, find_file, require_actual, text_if_there


class ChangedError(NixsecretsError):
    """The file is not what it was when it was opened."""


@dataclass(frozen=True, slots=True)
class Target:
    """The secret to write: as it is (None: new), and a rule to add for it, if any.

    `plain` is a file in the open that the secret is to replace.
    """

    name: str
    actual: Actual | None
    rule: Rule | None = None
    plain: NotSecret | None = None

    def world(self, world: World) -> World:
        """Return the world with the rule added."""
        if self.rule is None:
            return world
        return world.with_map(policy_edit.add_rule(world.map_text, self.rule))

    @property
    def sha256(self) -> str | None:
        """The hash of the file as it is, None where it is new."""
        found = self.actual or self.plain
        return None if found is None else found.sha256

    def backend(self, world: World) -> Backend:
        """Return how the file is, or will be, encrypted."""
        if self.actual is not None:
            return self.actual.backend
        return world.policy.backend_for_new(self.name)


def target(world: World, name: str, *, in_place: bool = False) -> Target:
    """Look at the secret that is to be written; `in_place` over one in the open.

    Raises:
        NixsecretsError: it is no secret and no place for one.
    """
    found = find_file(world, name)
    if world.policy.never_secret(name) and not isinstance(found, Actual):
        raise NixsecretsError(
            f"{show.path_text(name)} cannot be a secret: of that name are the map, "
            "generated files, Nix code, documentation and public keys",
            "choose another name, or name the file in a rule without wildcards",
        )
    plain = found if isinstance(found, NotSecret) else None
    if plain is not None and not in_place:
        text = argument(name)
        raise NixsecretsError(
            f"{show.path_text(name)} is not encrypted",
            f"encrypt what is in it: nixsecrets set {text} --from-file {text}",
        )
    if isinstance(found, Damaged) and name in world.conflicts:
        # written anew, to the readers of its rule: both sides' may differ
        plain = NotSecret(name, found.sha256)
    new = found is None or plain is not None
    return Target(name, None if new else require_actual(world, name), plain=plain)


def with_rule(world: World, wanted: Target) -> Target:
    """Offer a rule for a new secret that none names.

    Raises:
        NixsecretsError: no rule names it, and nobody said who shall read it.
    """
    if wanted.actual is not None or desired_for_path(world, wanted.name) is not None:
        return wanted
    missing = f"no rule of the map names {show.path_text(wanted.name)}"
    if not ui.has_terminal():
        raise NixsecretsError(
            missing,
            "add to nixsecrets.toml:\n[[secrets]]\n"
            f"path = {toml_string(wanted.name)}\nreaders = []",
        )
    ui.say(f"{missing}; nixsecrets can add one")
    always = ", ".join(world.map.always) or "nobody"
    answer = ui.ask_text(f"who reads it besides `always` ({always})? names, or Ctrl-C")
    readers = tuple(answer.replace(",", " ").split())
    rule = Rule(index=0, path=wanted.name, path_regex=None, readers=readers)
    found = replace(wanted, rule=rule)
    found.world(world)  # a name that is unknown is an error now, not after the editing
    return found


def differs(world: World, actual: Actual) -> str | None:
    """Say how a file's readers differ from its rule, None where they do not."""
    want = desired(world, actual)
    if want is None:
        return None
    step = converge(actual, want, context(world))
    return None if step is None else describe(step)


def options_change(world: World, actual: Actual) -> bool:
    """Tell whether the rule selects other values of a sops file than the file does."""
    want = desired(world, actual)
    return canonical_options(content_options(actual, want)) != actual.options


def report(world: World, wanted: Target, *, as_mapped: bool = False) -> None:
    """Say who will read the secret, or how its readers differ from its rule."""
    name = show.path_text(wanted.name)
    if wanted.actual is None:
        want = desired_for_path(wanted.world(world), wanted.name)
        readers = want.readers if want else ()
        names = ", ".join(dict.fromkeys(r.name for r in readers))
        what = "is new" if wanted.plain is None else "will be encrypted"
        if wanted.name in world.conflicts:
            what = "is not merged yet"
        ui.say(f"{name} {what}; its readers will be: {names}")
        odd = name_warning(wanted.name)
        if odd is not None and wanted.backend(world) is Backend.SOPS:
            ui.warn(f"{name}: {odd}")
        return
    if options_change(world, wanted.actual):
        ui.say(f"{name} will be encrypted anew: its rule selects other values now")
    difference = differs(world, wanted.actual)
    if difference is not None:
        known = bool(wanted.actual.recipients)  # else `content_step` takes the map's
        keeps = known and not as_mapped
        kept = "it keeps those it has" if keeps else "the map's will be"
        ui.say(f"{name} differs from its rule: {difference}; {kept}")


def ask_keys(
    world: World, wanted: Target, options: RoadOptions, *, as_mapped: bool = False
) -> None:
    """Have unapproved keys agreed to before a person types what they are to read.

    Raises:
        DeclinedError: they said no.
    """
    if options.yes or options.dry_run or not ui.has_terminal():
        return  # the road asks, or answers, when it is walked
    after, plan = _plan(world, wanted, wanted.actual, as_mapped=as_mapped)
    found = consent.recalled(after.repo)
    unseen = approvals.missing(plan, after, found)
    asked = consent.about_keys(after, unseen, (), first=not found.approved)
    consent.ask(asked, ())
    consent.remember(after.repo, *consent.approval(unseen, after.map))


def _plan(
    world: World, wanted: Target, actual: Actual | None, *, as_mapped: bool
) -> tuple[World, Plan]:
    """Return the plan that writes a secret, and the world that it leads to."""
    if wanted.rule is None:
        return world, content_plan(world, wanted.name, actual, as_mapped=as_mapped)
    after = wanted.world(world)
    step = content_step(after, wanted.name, after.secrets.get(wanted.name))
    return after, change_plan(world, after, instead=[step])


def require_merged(world: World, name: str) -> None:
    """Raise `SecretFileError` where one value would replace two whole versions."""
    if name in world.conflicts:
        require_actual(world, name)


def require_keys(name: str, backend: Backend) -> None:
    """Raise `UsageError` unless the file can have values with names."""
    if backend is Backend.AGE:
        raise UsageError(
            f"{show.path_text(name)} is an age file: one value as a whole",
            "leave --key out",
        )


def given(world: World, wanted: Target, key: str, value: bytes) -> Given:
    """Return one value of a sops file, as the content of a step.

    Raises:
        UsageError: `key` is no path to a value.
        SecretFileError: the value is not text.
    """
    kind = metadata.format_for(wanted.name)
    if wanted.actual is not None:
        kind = metadata.parse(wanted.name, world.repo.read(wanted.name)).format
    path = keypath.key_path(kind, key)
    return Given({path: keypath.require_text(value)})


def is_there(world: World, wanted: Target, key: str) -> bool:
    """Tell whether a secret has a value at `key`; where we cannot know: yes.

    Raises:
        UsageError: `key` is no path to a value.
    """
    if wanted.actual is None:
        return False
    found = extract.found_at(wanted.name, world.repo.read(wanted.name), key)
    return found.at in (At.VALUE, At.BRANCH, At.UNKNOWN)


def report_value(world: World, wanted: Target, key: str) -> None:
    """Say where a value is new, or changes its type: a value that is set is text."""
    if wanted.actual is None:
        return
    found = extract.found_at(wanted.name, world.repo.read(wanted.name), key)
    what = f"{show.path_text(wanted.name)}: {show.path_text(key)}"
    kind = type_of(found.value)
    if found.at is At.NEW:
        ui.say(f"{what} is a new key")
    elif kind not in ("", "str"):
        ui.say(f"{what} was of type {kind}; it will be text (str)")


def opened(actual: Actual, ring: Keyring, folder: Path) -> Bench:
    """Return a bench with what opens a secret."""
    return Bench(unlocked([actual.recipients], ring, unlock), folder)


def plaintext(world: World, actual: Actual, bench: Bench) -> bytes:
    """Return what a secret holds.

    Raises:
        IdentityError: no identity opens it.
    """
    data = world.repo.read(actual.path)
    return decrypt(actual.path, actual.backend, data, bench)


def holds(world: World, actual: Actual, value: Spooled, bench: Bench) -> bool:
    """Tell whether an age file holds a large value already.

    Raises:
        IdentityError: no identity opens it.
    """
    digest = verify.Digest()
    plaintext_to(world, actual, bench, digest)
    return digest.value() == value.digest


def plaintext_to(
    world: World, actual: Actual, bench: Bench, target: pyrage_port.Writable
) -> None:
    """Write what an age file holds, a large one piece by piece.

    Raises:
        IdentityError: no identity opens it.
        SecretFileError: it is damaged; what was written of a large one is not all.
        OSError: the target's.
    """
    with contextlib.ExitStack() as stack:
        try:
            place = Path(world.repo.locate(actual.path))
            file = stack.enter_context(inputs.opened(place))
            large = not actual.armored and place.stat().st_size > LARGE
        except OSError as error:
            raise files.explained(error, "read", actual.path) from error
        if large:
            operations.decrypt_to(file, target, bench.identities)
        else:
            target.write(plaintext(world, actual, bench))


def save(
    session: Session,
    wanted: Target,
    content: Content,
    *,
    before: str | None,
    ring: Keyring,
    options: RoadOptions,
    as_mapped: bool = False,
    public: Mapping[str, str] | None = None,
) -> int:
    """Write `content`, to the readers the secret has (new: its rule's).

    `before` is the SHA-256 of the version that the content was made from; `public` are
    files that are written with it, for all to read.

    Raises:
        ChangedError: the file is not that version any more.
    """
    name = wanted.name
    with session.writing(dry_run=options.dry_run):
        world = session.world()
        now = find_file(world, name)
        if (now and now.sha256) != before:
            raise ChangedError(
                f"{show.path_text(name)} changed on the disk while it was edited",
                "nothing was written; run the command again",
            )
        actual = now if isinstance(now, Actual) else None
        after, plan = _plan(world, wanted, actual, as_mapped=as_mapped)
        if wanted.plain is not None:  # it is there, and goes
            steps = (replace(s, before=before) for s in plan.steps if s.path == name)
            plan = Plan.of([*steps, *(s for s in plan.steps if s.path != name)])
        texts = {
            p: (text_if_there(world.repo, p), t) for p, t in (public or {}).items()
        }
        plan = with_texts(plan, texts)
        sops = wanted.backend(world) is Backend.SOPS
        held = disclosure.by_default(world, name) if sops else frozenset()
        code = walk(
            session, after, plan, ring, options, contents={name: content}, agreed=True
        )
        if sops and not options.dry_run:
            _warn_of_default(after, name, held)
        return code


def _warn_of_default(world: World, path: str, before: disclosure.Values) -> None:
    """Warn of the values that were just saved in plaintext; `before` were already."""
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

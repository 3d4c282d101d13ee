"""Determines whether each configuration can decrypt the secrets it declares.

Uses map, lock and encrypted files; no private key.  agenix opens files for the ssh form
of a key, sops-nix for the converted form (or for the ssh form, if
SOPS_AGE_SSH_PRIVATE_KEY_FILE is set).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nixsecrets.errors import argument
from nixsecrets.files.state import Actual, Damaged, NotSecret, Unknown
from nixsecrets.findings.catalogue import Code, Finding
from nixsecrets.flake.declared import Configuration, Opened, Part, Secret
from nixsecrets.flake.gather import Place, Seen
from nixsecrets.flake.identitypaths import FLAKE, Keys, identity_findings
from nixsecrets.flake.installing import install_findings, install_problem
from nixsecrets.flake.owners import Owner, owner_of
from nixsecrets.flake.privilege import unused
from nixsecrets.flake.sopsuse import use_problem
from nixsecrets.flake.stored import Stored, stored_findings, stored_problem
from nixsecrets.keys.forms import Backend
from nixsecrets.keys.recipients import Recipient
from nixsecrets.world.world import MAP_NAME, World

OK, ELSEWHERE = "ok", "not checked"
Problem = tuple[Code, str]


@dataclass(frozen=True, slots=True)
class Row:
    """The verdict on one declared secret; `code` is None if nothing is wrong."""

    host: str
    at: str
    option: str
    path: str
    verdict: str
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on every declared secret, and findings."""

    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]


def judge(
    world: World,
    configurations: Sequence[Configuration],
    seen: Mapping[str, Seen],
    place: Place,
    *,
    whole: bool = True,
) -> Report:
    """Return the verdicts on what configurations declare.

    `whole`: they are all configurations of the flake, which is needed to report
    secrets that nobody declares.
    """
    judge = _Judge(world, seen, place)
    for configuration in configurations:
        judge.configuration(configuration)
    for path, file in seen.items():
        judge.findings += stored_findings(path, file.stored)
    if whole:
        judge.findings += unused(world, configurations, place)
    return Report(tuple(judge.rows), tuple(sorted(set(judge.findings))))


def readable(
    world: World,
    configurations: Iterable[Configuration],
    seen: Mapping[str, Seen],
    place: Place,
) -> Iterator[tuple[Secret, str | None, bool | None]]:
    """Yield each declared secret, its path, and whether the declaring part can read it.

    The path is None outside of the map's folder; whether is None if not checked.
    """
    judge = _Judge(world, seen, place)
    for configuration in configurations:
        for part in configuration.parts:
            owner = owner_of(world, configuration, part)
            for side in part.sides:
                keys = owner.keys_of(side, part)
                for secret in side.secrets:
                    path = place.path_of(secret)
                    problem = judge.opening(secret, owner, keys, path)
                    known = problem == OK or not isinstance(problem, str)
                    yield secret, path, (problem == OK) if known else None


class _Judge:
    """Collects rows and findings for configurations."""

    def __init__(self, world: World, seen: Mapping[str, Seen], place: Place) -> None:
        self.world = world
        self.seen = seen
        self.place = place
        self.rows: list[Row] = []
        self.findings: list[Finding] = []

    def configuration(self, configuration: Configuration) -> None:
        if configuration.error is not None:
            message = f"{configuration.name} does not evaluate: {configuration.error}"
            self.findings.append(Finding(FLAKE, Code.DOES_NOT_EVALUATE, message))
        # a specialisation is a variant of the system: only what it adds gets a line
        variants = any(one.is_variant for one in configuration.parts)
        base: set[Opened] = set()
        for part in configuration.parts if variants else ():
            if not part.is_variant:
                base.update(part.opened())
        for part in configuration.parts:
            if part.is_variant:
                part = part.without(base)
            if part.secrets or not part.at:
                self.part(configuration, part)

    def part(self, configuration: Configuration, part: Part) -> None:
        owner = owner_of(self.world, configuration, part)
        who = " ".join(filter(None, [configuration.name, part.at]))
        if owner.found is None and part.secrets:
            message = f"{who} declares secrets, and the map has no {owner.kind}"
            fix = f"nixsecrets add-{owner.kind} {argument(owner.name)}"
            text = f"{message} {owner.name}"
            self.findings.append(Finding(MAP_NAME, Code.NOT_IN_MAP, text, fix=fix))
        formats: dict[str, str] = {}
        for side in part.sides:
            keys = owner.keys_of(side, part)
            problems = []
            for secret in side.secrets:
                path = self.place.path_of(secret)
                problem = self.problem(secret, part, owner, keys, path, formats)
                self.row(configuration, part, secret, path, problem, keys.problem)
                self.version(who, secret, path)
                problems.append(problem)
            if owner.found is not None:
                needed = not keys.gnupg or keys.problem in problems
                self.findings += identity_findings(
                    who, keys, part.persistent, needed=needed
                )
        self.findings += install_findings(who, part)

    def look(self, secret: Secret, path: str) -> Seen:
        return self.seen[self.place.other_version(secret) or path]

    def version(self, who: str, secret: Secret, path: str | None) -> None:
        """Add a finding if the flake has another version of the file."""
        if path is not None and secret.of_input and self.place.other_version(secret):
            message = (
                f"{who} declares {secret.option} from another version of it; in the"
                f" flake: nix flake update {argument(secret.of_input[0])}"
            )
            self.findings.append(Finding(path, Code.INPUT_VERSION, message))

    def row(
        self,
        configuration: Configuration,
        part: Part,
        secret: Secret,
        path: str | None,
        problem: Problem | str,
        said: Problem | None,
    ) -> None:
        """Add a row, and a finding unless `part` reports `said` for all secrets."""
        host, shown = configuration.name, path or secret.file or ""
        if isinstance(problem, str):
            self.rows.append(Row(host, part.at, secret.option, shown, problem))
            return
        code, message = problem
        self.rows.append(Row(host, part.at, secret.option, shown, message, code))
        if code is not Code.NOT_IN_MAP and problem != said:
            who = " ".join(filter(None, [host, part.at]))
            text = f"{who} declares {secret.option}: {message}"
            self.findings.append(Finding(shown or FLAKE, code, text))

    def problem(
        self,
        secret: Secret,
        part: Part,
        owner: Owner,
        keys: Keys,
        path: str | None,
        formats: dict[str, str],
    ) -> Problem | str:
        """Return code and message of a problem, or a text if there is none.

        `formats` maps each path to the format in which the part first declared it.
        """
        opening = self.opening(secret, owner, keys, path)
        if not isinstance(opening, str):
            return opening
        misuse = None
        if secret.framework == "sops" and path is not None:
            before = formats.setdefault(path, secret.format or "yaml")
            misuse = use_problem(secret, self.look(secret, path), before)
        return misuse or install_problem(secret, secret.framework, part) or opening

    def opening(
        self, secret: Secret, owner: Owner, keys: Keys, path: str | None
    ) -> Problem | str:
        """Return the problem if the owner cannot decrypt the file, else a text.

        The text is OK, or says why it was not checked.
        """
        if secret.error is not None:
            return Code.DOES_NOT_EVALUATE, secret.error
        if path is None:
            if secret.link:
                return stored_problem(secret, Stored(), None) or OK
            if secret.copy and secret.exists is False:
                return Code.DECLARED_LEFT_OUT, _left_out(secret.copy)
            if secret.elsewhere and secret.exists is False:
                message = f"{secret.elsewhere} has no such file: add it there"
                if secret.elsewhere.startswith("the input "):
                    message = f"{message}, then nix flake update"
                return Code.DECLARED_LEFT_OUT, message
            return f"{ELSEWHERE}: {secret.elsewhere or 'no file of the map'}"
        seen = self.look(secret, path)
        if wrong := _file_problem(secret, seen):
            return wrong
        found = seen.found
        if not isinstance(found, Actual):  # `_file_problem` has returned already
            return OK
        return self.reader_problem(found, owner, keys)

    def reader_problem(self, found: Actual, owner: Owner, keys: Keys) -> Problem | str:
        """Return the problem if no private key of the owner opens the file, else OK."""
        name = f"{owner.kind} {owner.name}"
        if owner.found is None:
            return Code.NOT_IN_MAP, f"the map has no {name}"
        if isinstance(found.state, Unknown):
            if _surely_closed(found.state, found.backend, owner.keys):
                message = f"none of its recipients is an ssh key, as that of {name} is"
                return Code.DECLARED_UNREADABLE, message
            message = f"its recipients are unknown: {found.state.reason}"
            return Code.UNKNOWN, message
        recipients = set(found.recipients)
        if keys.opened & recipients:
            return OK
        if means := keys.other_means(found):
            return f"{ELSEWHERE}: it can be opened by {means}"
        if keys.forms & recipients:
            return keys.problem or keys.unopened(recipients)
        if {key.key_id for key in owner.keys} & {one.key_id for one in recipients}:
            tool = "agenix" if found.backend is Backend.AGE else "sops-nix"
            message = f"it is encrypted to a form of the key that {tool} does not open"
            return Code.DECLARED_FORM, message
        message = f"{name} is not a recipient"
        want = self.world.policy.desired(found.path, found.backend)
        allowed = want is not None and any(r.name == owner.name for r in want.readers)
        if not allowed:
            message = f"{message}; no rule lets it read"
        return Code.DECLARED_UNREADABLE, message


def _surely_closed(state: Unknown, backend: Backend, keys: Iterable[Recipient]) -> bool:
    """Return whether no stanza of an age file can be for one of these keys.

    An ssh key opens a stanza with its tag; whom the others are for does not matter.
    """
    tags = [key.tag and f"{key.kind}:{key.tag}" for key in keys]
    return backend is Backend.AGE and all(tags) and not set(tags) & set(state.seen)


def _file_problem(secret: Secret, seen: Seen) -> Problem | None:
    """Return the problem of the file itself, None if there is none."""
    found = seen.found
    here = None if found is None else found.sha256
    if problem := stored_problem(secret, seen.stored, here):
        return problem
    match found:
        case NotSecret():
            return Code.PLAINTEXT, "it is not encrypted"
        case Damaged():
            return Code.DAMAGED, found.reason
        case Actual(backend=backend) if backend != secret.framework:
            message = f"it is {'an' if backend == 'age' else 'a'} {backend} file"
            return Code.DECLARED_FORMAT, message
        case _:
            return None


def _left_out(inside: str) -> str:
    return (
        f"the copy of its folder in the store has no {inside}: name the file itself, or"
        " let the source filter include it"
    )

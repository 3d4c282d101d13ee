"""The lines that show a plan, its grants and its problems on a terminal."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nixsecrets.errors import counted as counted
from nixsecrets.errors import path_text as path_text
from nixsecrets.errors import quoted
from nixsecrets.map.model import Retired
from nixsecrets.plan.model import LINES as LINES
from nixsecrets.plan.model import Action, Plan, Reason, Step, describe

if TYPE_CHECKING:  # the hook prints paths and must start without these
    from nixsecrets.findings.catalogue import Finding
    from nixsecrets.flake.verdict import Row
    from nixsecrets.world.world import World


def plan_lines(plan: Plan, *, limit: int | None = None) -> Iterator[str]:
    """Yield a line for each step, for the first `limit` ones if it is given."""
    shown = plan.steps if limit is None else plan.steps[:limit]
    width = max((len(path_text(step.path)) for step in shown), default=0)
    for step in shown:
        line = f"  {step.action:<12}{path_text(step.path):<{width}}  {_why(step)}"
        yield line.rstrip()
    if len(shown) < len(plan.steps):
        yield f"  … and {len(plan.steps) - len(shown)} more"


def _why(step: Step) -> str:
    readers = [f"+{r.name}" for r in step.add] + [f"-{name}" for name in step.losers]
    if step.opens:
        return " ".join([*readers, f"(options; {_opened(step)})"])
    if step.reason in {Reason.GRANTED, Reason.REVOKED, Reason.CONTENT} and (
        readers or step.action is Action.WRITE
    ):
        words = [*readers, *["(plaintext)"] * step.seals]
        return "(nixsecrets did not write it)" if step.foreign else " ".join(words)
    return " ".join([*readers, f"({step.reason.value})"])


def _opened(step: Step) -> str:
    names = ", ".join(map(path_text, step.opens[:3]))
    more = " …" if len(step.opens) > 3 else ""
    count = counted(len(step.opens), "value")
    return f"{count} in plaintext from now on: {names}{more}"


def problem_lines(problems: "Sequence[Finding]") -> Iterator[str]:
    """Yield a line for each problem."""
    from nixsecrets.findings.reports import text_line  # 3 ms; few commands find any

    for problem in problems:
        yield f"  {text_line(problem)}"


def verdict_lines(rows: "Sequence[Row]") -> Iterator[str]:
    """Yield for each configuration its name and a line for each declared secret."""
    width = max((len(row.option) for row in rows), default=0)
    path_width = max((len(path_text(row.path)) for row in rows), default=0)
    before: tuple[str, str] | None = None
    for row in rows:
        if (row.host, row.at) != before:
            before = row.host, row.at
            yield f"{row.host}, {row.at}" if row.at else row.host
        path = path_text(row.path) if row.path else "-"
        code = f"{row.code.value} " if row.code else ""
        yield f"  {row.option:<{width}}  {path:<{path_width}}  {code}{row.verdict}"


def gain_lines(plan: Plan, world: "World") -> Iterator[str]:
    """Yield a line for each key that gains access: owner, fingerprint, file count."""
    gains: dict[str, set[str]] = {}
    for reader, steps in plan.grants().items():
        key = world.key_in_map(reader.recipient)
        old = world.map.retired_as(key.key_id)
        past = f"; {_retirement(old)}" if old is not None else ""
        who = f"{reader.name} ({key.kind} {key.fingerprint}{past})"
        gains.setdefault(who, set()).update(step.path for step in steps)
    for who, paths in gains.items():
        yield f"{who} will be able to read {counted(len(paths), 'more file')}"


def _retirement(entry: Retired) -> str:
    since = f" since {entry.date}" if entry.date else ""
    reason = f" ({entry.reason})" if entry.reason else ""
    text = f"retired{since}{reason}"
    return text if text.isprintable() else quoted(text)


def drift_lines(plan: Plan) -> Iterator[str]:
    """Yield a line for each step, for `status`; none for a lock that only follows."""
    for step in plan.steps:
        if step.action is Action.WRITE and step.text is None:
            continue  # the lock follows from the age files, which have lines
        text = describe(step)
        yield f"  {step.action:<12}{path_text(step.path)}  {text}".rstrip()

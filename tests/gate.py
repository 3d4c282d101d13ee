"""What may be missing where the tests run, and what a skipped test costs.

On a person's machine a test is skipped where a program is missing.  In CI a skip is a
failure, unless the gate (`.ci/run`) has found that this kind of machine cannot have
what the test needs: it names that in NIXSECRETS_REFERENCE_ABSENT.  Every run lists its
skipped tests; a whole run in CI fails where they are not as many as are counted here.
"""

import os
from collections import Counter
from collections.abc import Iterable
from typing import NoReturn

import pytest

# What a machine may lack -> how many tests are then skipped; None where that depends
# on how many inputs there would be.
MAY_LACK: dict[str, int | None] = {
    "age-new": 2,
    "go": 1,
    "ipv6": 1,
    "namespaces": None,  # some of them measure first what the disk holds
    "nix-new": None,
    "nix-stable": None,
    "root": None,
    "shared": None,
    "sops-new": None,
    "sops-old": 5,
    "ssh-to-age": 2,
}
_SKIPPED = "this machine has no "


def absent(what: str, hint: str) -> NoReturn:
    """Skip the test that is running: `what` (a key of `MAY_LACK`) is not here."""
    pytest.skip(reason(what, hint))


def reason(what: str, hint: str) -> str:
    """Return the reason of a skip as `excused` reads it."""
    assert what in MAY_LACK, f"{what}: unknown to tests/gate.py"
    return f"{_SKIPPED}{what}: {hint}"


def lacking(text: str) -> str:
    """Return what the reason of a skip says is missing, "" where it says nothing."""
    _, found, rest = text.partition(_SKIPPED)
    return rest.partition(":")[0] if found else ""


def excused() -> frozenset[str]:
    """Return what the gate found that this kind of machine cannot have."""
    return frozenset(os.environ.get("NIXSECRETS_REFERENCE_ABSENT", "").split())


def in_ci() -> bool:
    """Whether a skip that nothing excuses is a failure."""
    return bool(os.environ.get("CI"))


def judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turn a skip in CI into a failure, unless the gate excuses it."""
    if report.skipped and not hasattr(report, "wasxfail") and in_ci():
        text = reason_of(report)
        if lacking(text) not in excused():
            report.outcome = "failed"
            report.longrepr = f"a skipped test is a failure in CI ({text})"


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test was skipped."""
    match report.longrepr:
        case (_, _, str(text)):
            return text
        case other:
            return str(other)


def miscounted(reasons: Iterable[str]) -> list[str]:
    """Return, for the skips of a whole run, what is not as it is counted here."""
    found = Counter(map(lacking, reasons))
    return [
        f"without {what} {count} tests are skipped, {MAY_LACK[what]} are counted"
        for what, count in sorted(found.items())
        if MAY_LACK[what] not in (None, count)
    ]

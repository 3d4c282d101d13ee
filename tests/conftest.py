"""What every test gets: a clean environment, and Hypothesis settings by profile."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import gate
from tests.fleet import Fleet, clean_env, make_fleet

settings.register_profile(
    "default",
    deadline=None,  # two busy cores make single examples slow now and then
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.register_profile("fuzz", settings.get_profile("default"), max_examples=5000)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default")
)


@pytest.fixture(scope="session", autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run all tests with an empty home and without the caller's variables."""
    home = tmp_path_factory.mktemp("home")
    kept = ("CI", "HYPOTHESIS_", "NIXSECRETS_REFERENCE_", "PYTEST_", "VIRTUAL_ENV")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if not name.startswith(kept)]:
            patch.delenv(name)
        for name, value in clean_env(home).items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """An empty repository, operated by alice, who has an age key."""
    return make_fleet(tmp_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """In CI a skipped test fails, unless the machine cannot have what it needs."""
    report = yield
    gate.judge(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what was skipped, by name: nobody asks for `-rs`."""
    skipped = terminalreporter.stats.get("skipped", [])
    for report in skipped:
        terminalreporter.write_line(
            f"skipped {report.nodeid}: {gate.reason_of(report)}"
        )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a whole run in CI that skipped more or fewer tests than are counted."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    whole = session.config.args == session.config.getini("testpaths")
    if not (reporter and whole and gate.in_ci()) or hasattr(
        session.config, "workerinput"
    ):
        return
    skipped = reporter.stats.get("skipped", [])
    for line in gate.miscounted(map(gate.reason_of, skipped)):
        reporter.write_line(f"gate: {line}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

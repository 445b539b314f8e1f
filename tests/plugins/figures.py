"""Collects the figures of ../shared/RELIABILITY.md's rows and prints them as one table when the run ends.

They travel with the tests' reports, so that a run on several cores has one table too.
"""

from collections.abc import Callable

import pytest

Figure = Callable[[int, str], None]

_lines: list[tuple[int, str, str]] = []


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """`figure(14, "0 silent loads in 55 faults")`: a line of the table, under the row's number and its file's name."""
    name = request.node.path.stem.removeprefix("test_").partition("_")[2].replace("_", " ")

    def add(row: int, text: str) -> None:
        request.node.user_properties.append(("figure", (row, name, text)))

    return add


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the figures of a test that has ended."""
    if report.when == "teardown":
        _lines.extend(tuple(value) for name, value in report.user_properties if name == "figure")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    if not _lines:
        return
    width = max(len(name) for _, name, _ in _lines)
    terminalreporter.section("Reliability figures")
    for row, name, text in sorted(_lines):
        terminalreporter.write_line(f"{row:>3}  {name:<{width}}  {text}")

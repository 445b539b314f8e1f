"""Collects the figures of ../shared/RELIABILITY.md's rows and prints them as one table when the run ends."""

from collections.abc import Callable

import pytest

FIGURES = pytest.StashKey[list[tuple[int, str, str]]]()

Figure = Callable[[int, str], None]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """`figure(14, "0 silent loads in 55 faults")`: a line of the table, under the row's number and its file's name."""
    lines = request.config.stash.setdefault(FIGURES, [])
    name = request.node.path.stem.removeprefix("test_").partition("_")[2].replace("_", " ")

    def add(row: int, text: str) -> None:
        lines.append((row, name, text))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    lines = sorted(config.stash.get(FIGURES, []))
    if not lines:
        return
    width = max(len(name) for _, name, _ in lines)
    terminalreporter.section("Reliability figures")
    for row, name, text in lines:
        terminalreporter.write_line(f"{row:>3}  {name:<{width}}  {text}")

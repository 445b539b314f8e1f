"""Row 2: LangChain's integration suite for chat models, unmodified, each test in a process of its own.

The suite itself runs in every `make test` (tests/models/test_langchain_standard.py); here a crash is a counted failure.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

SUITE = "tests/models/test_langchain_standard.py"
OUTCOMES = {0: "passed", 1: "failed", 5: "skipped"}  # pytest's exit codes; below zero it died of a signal


def pytest_run(root: Path, *args: str) -> tuple[int, str]:
    run = subprocess.run(
        [Path(sys.executable).with_name("pytest"), "-q", "-p", "no:cacheprovider", *args],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return run.returncode, run.stdout


@pytest.mark.slow
@pytest.mark.real
@pytest.mark.timeout(1800)
def test_no_test_of_the_outside_suite_fails_or_crashes(
    root: Path, starter_path: Path, figure: Callable[[int, str], None]
) -> None:
    _, listed = pytest_run(root, "--collect-only", f"{SUITE}::TestIntegration")
    tests = [line for line in listed.splitlines() if "::" in line]
    assert len(tests) > 40
    outcomes: Counter[str] = Counter()
    for test in tests:
        code, output = pytest_run(root, test)
        skipped = code == 0 and "1 skipped" in output
        outcomes["skipped" if skipped else OUTCOMES.get(code, "crashed")] += 1
    counts = ", ".join(f"{outcomes[kind]} {kind}" for kind in ("passed", "failed", "skipped", "crashed"))
    figure(2, f"{counts} of {len(tests)}")
    assert outcomes["passed"] > 40
    assert not outcomes["failed"]
    assert not outcomes["crashed"]

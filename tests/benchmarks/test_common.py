"""The benchmarks start, take turns fairly, and their medians and counts are right."""

import dataclasses
import json
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weights import BENCHMARKS, load_benchmark

SCRIPTS = sorted(path for path in BENCHMARKS.glob("*.py") if '__name__ == "__main__"' in path.read_text())


@pytest.fixture
def common() -> ModuleType:
    return load_benchmark("common")


@pytest.fixture
def chat_turns(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)  # it imports `common`, its neighbour
    return load_benchmark("chat_turns")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_explains_the_benchmark_without_loading_a_model(script: Path, tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert f"python benchmarks/{script.name}" in run.stdout
    assert not run.stderr


def test_every_benchmark_has_its_command_in_the_readme() -> None:
    readme = (BENCHMARKS / "README.md").read_text()
    assert [script.name for script in SCRIPTS if f"benchmarks/{script.name}" not in readme] == []


def test_everyone_goes_first_in_turn(common: ModuleType) -> None:
    order: list[str] = []
    arms = {name: lambda pair, name=name: order.append(f"{name}{pair}") for name in "abc"}
    common.take_turns(arms, 3)
    assert order == ["a0", "b0", "c0", "b1", "c1", "a1", "c2", "a2", "b2"]


def test_results_keep_their_pair_and_name(common: ModuleType) -> None:
    arms = {"ours": lambda pair: pair, "peer": lambda pair: 10 * pair}
    assert common.take_turns(arms, 2) == [{"ours": 0, "peer": 0}, {"ours": 1, "peer": 10}]


def test_ratios_are_taken_within_pairs(common: ModuleType) -> None:
    results = [{"ours": 2.0, "peer": 1.0}, {"ours": 30.0, "peer": 10.0}, {"ours": 1.0, "peer": 2.0}]
    assert common.ratios(results, "ours", "peer", float) == common.Spread(median=2.0, low=0.5, high=3.0)


@given(st.lists(st.floats(-1e9, 1e9), min_size=1))
def test_the_median_splits_the_figures_in_halves(values: list[float]) -> None:
    spread = load_benchmark("common").Spread.of(values)
    assert spread.low == min(values)
    assert spread.high == max(values)
    assert sum(value < spread.median for value in values) <= len(values) / 2
    assert sum(value > spread.median for value in values) <= len(values) / 2


def test_a_spread_prints_its_median_first(common: ModuleType) -> None:
    assert common.Spread.of([3.0, 1.0, 1200.0]).text(2) == "3.00 (1.00-1,200.00)"


def test_a_busy_neighbour_is_named(common: ModuleType) -> None:
    neighbour = subprocess.Popen([sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE)
    try:
        assert neighbour.stdout
        neighbour.stdout.readline()  # it is past its start
        busy = common._busy_processes(percent=1.0)  # a loaded machine may leave it little
    finally:
        neighbour.communicate(neighbour.kill())
    assert [line for line in busy if f"pid {neighbour.pid}," in line]


def test_a_busy_machine_is_warned_about(common: ModuleType) -> None:
    machine = common.Machine("cpu", 2, 4.0, "system", {}, 0.0, [])
    assert "WARNING" not in str(machine)
    assert "WARNING" in str(dataclasses.replace(machine, busy=["other (pid 1, 90 %)"]))


def test_the_machine_tells_what_was_measured(common: ModuleType) -> None:
    machine = common.Machine.now()
    assert machine.cores >= 1
    assert {"phireside", "llama-cpp-python"} <= set(machine.versions)


def test_the_json_report_holds_machine_options_and_figures(common: ModuleType, tmp_path: Path) -> None:
    machine = common.Machine("cpu", 2, 4.0, "system", {}, 0.0, [])
    options = Namespace(json=tmp_path / "figures.json", pairs=1)
    common.report(options, machine, {"ratio": common.Spread(1.0, 0.5, 2.0)})
    content = json.loads(options.json.read_text())
    assert content["machine"]["cores"] == 2
    assert content["options"]["pairs"] == 1
    assert content["figures"] == {"ratio": {"median": 1.0, "low": 0.5, "high": 2.0}}


class FakeLlama:
    """Evaluates a prompt of five tokens at once, then writes three, as `llama_cpp.Llama` does."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def eval(self, tokens: Sequence[int]) -> None:
        self.seen += tokens

    def generate(self, tokens: Sequence[int]) -> Iterator[int]:
        for token in (7, 8, 9):
            self.eval(tokens)
            yield token
            tokens = [token]


def test_the_counter_tells_prompt_tokens_from_written_ones(chat_turns: ModuleType) -> None:
    llama = FakeLlama()
    counter = chat_turns.Counter(llama)
    for _ in range(2):
        turn = counter.turn(lambda: list(llama.generate([1, 2, 3, 4, 5])))
        assert (turn.evaluated, turn.written) == (5, 3)
    assert llama.seen == [1, 2, 3, 4, 5, 7, 8] * 2


@pytest.mark.parametrize(("evaluated", "status"), [(18, 0), (19, 1)])
def test_more_than_eight_tokens_evaluated_again_fail_the_run(
    chat_turns: ModuleType, evaluated: int, status: int
) -> None:
    fine, edge = SimpleNamespace(evaluated=10, new=10), SimpleNamespace(evaluated=evaluated, new=10)
    assert chat_turns._check([{"ours": [fine, edge]}]) == status

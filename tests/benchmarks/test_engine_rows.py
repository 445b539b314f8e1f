"""The engine's benchmarks start, count in the right direction, and their table and plot show what was measured."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weights import BENCHMARKS, load_benchmark

SCRIPTS = sorted(path for path in (BENCHMARKS / "engine").glob("*.py") if '__name__ == "__main__"' in path.read_text())
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """A module of benchmarks/engine, which finds its neighbours by `sys.path`."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS / "engine"), str(BENCHMARKS), *sys.path])
    return lambda name: load_benchmark(f"engine/{name}")


def result(**changes: Any) -> dict[str, Any]:
    spread = {"median": 2.0, "low": 1.5, "high": 2.5}
    sides = {"ours": spread | {"name": "engine"}, "peer": spread | {"name": "peer <1>"}}
    facts = {"row": "8 chats & more", "model": "m", "unit": "tokens/s", "target": 1.0, "optional": False}
    return sides | facts | {"ratio": spread, "met": True, "quiet": True} | changes


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_explains_the_row_without_loading_a_model(script: Path, tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert f"python benchmarks/engine/{script.name}" in run.stdout
    assert not run.stderr


def test_every_row_has_its_command_in_the_readme(load: Load) -> None:
    readme = (BENCHMARKS / "README.md").read_text()
    assert [script.name for script in SCRIPTS if f"benchmarks/engine/{script.name}" not in readme] == []
    assert {*load("run_all").ROWS, "run_all"} == {script.stem for script in SCRIPTS}


@pytest.mark.parametrize(
    ("unit", "ratio"), [("tokens/s", 2.0), ("s", 2.0), ("tokens", 0.5)], ids=["rate", "seconds", "tokens"]
)
def test_a_ratio_says_how_many_times_better_ours_is(
    load: Load, capsys: pytest.CaptureFixture[str], unit: str, ratio: float
) -> None:
    rows = load("rows")
    pair = {
        "ours": rows.Run(seconds=1.0, tokens=10),
        "peer": rows.Run(seconds=2.0, tokens=5 if unit == "tokens" else 10),
    }
    options = Namespace(path=Path("m.gguf"), threads=1, machine=Namespace(busy=[]), json=None)
    status = rows.conclude(options, [pair], [rows.Comparison("row", "ours", "peer", unit, 1.0)])
    [found] = load("run_all").found(capsys.readouterr().out.splitlines())
    assert found["ratio"]["median"] == ratio
    assert found["met"] is (ratio >= 1)
    assert status == int(ratio < 1)


@pytest.mark.parametrize(
    ("optional", "problems", "status"), [(True, [], 0), (False, [], 1), (True, ["texts differ"], 1)]
)
def test_only_an_optional_feature_may_miss_its_target_and_only_without_problems(
    load: Load, optional: bool, problems: list[str], status: int
) -> None:
    rows = load("rows")
    options = Namespace(path=Path("m.gguf"), threads=1, machine=Namespace(busy=[]), json=None)
    comparison = rows.Comparison("row", "a", "b", "s", 1.3, optional=optional)
    assert rows.conclude(options, [{"a": rows.Run(1, 1), "b": rows.Run(1, 1)}], [comparison], problems) == status


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_two_texts_never_begin_alike(one: int, other: int) -> None:
    prose = _rows().prose
    assert prose(one, 3) == prose(one, 3)
    assert (prose(one, 3).split()[0] == prose(other, 3).split()[0]) == (one == other)


def _rows() -> ModuleType:
    sys.path.append(str(BENCHMARKS))
    try:
        return load_benchmark("engine/rows")
    finally:
        sys.path.remove(str(BENCHMARKS))


def test_missing_library_links_lead_to_the_file_at_the_end_of_their_chain(load: Load, tmp_path: Path) -> None:
    (tmp_path / "libllama.so.0.6.0").write_text("")
    (tmp_path / "libthere.so").write_text("")
    listed = {"libllama.so": "libllama.so.0", "libllama.so.0": "libllama.so.0.6.0", "libthere.so": "libthere.so.1"}
    (tmp_path / "_symlinks.json").write_text(json.dumps(listed))
    peers = load("peers")
    assert peers.links(tmp_path) == dict.fromkeys(["libllama.so", "libllama.so.0"], tmp_path / "libllama.so.0.6.0")
    with peers.environment(tmp_path) as env:
        first = Path(env["LD_LIBRARY_PATH"].split(":")[0])
        assert (first / "libllama.so.0").resolve() == tmp_path / "libllama.so.0.6.0"
    assert not first.exists()


def test_the_table_has_a_line_for_every_result(load: Load) -> None:
    missed = result(met=False, quiet=False)
    lines = load("plot").table([result(), missed, result(met=False, optional=True)]).splitlines()
    assert len(lines) == 2 + 3
    assert "**2.00 (1.50-2.50)**" in lines[2]
    assert lines[3].endswith("missed (beside other programs) |")
    assert lines[4].endswith("stays off |")


@given(st.lists(st.tuples(st.floats(1e-3, 1e3), st.sampled_from(["a", "b"])), max_size=6))
def test_the_plot_is_well_formed_and_keeps_inside_its_picture(ratios: list[tuple[float, str]]) -> None:
    spreads = [({"median": r, "low": 0.9 * r, "high": 1.1 * r}, model) for r, model in ratios]
    root = ET.fromstring(load_benchmark("engine/plot").svg([result(ratio=s, model=m) for s, m in spreads]))  # noqa: S314
    width, height = (float(number) for number in root.attrib["viewBox"].split()[2:])
    for element in root.iter():
        for name in ("x", "x1", "x2"):
            assert 0 <= float(element.get(name, 0)) <= width
        for name in ("y", "y1", "y2"):
            assert 0 <= float(element.get(name, 0)) <= height


def test_a_broken_run_goes_on_where_it_stopped(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run_all, asked = load("run_all"), []

    def run(row: str, model: str, _pairs: int) -> list[dict[str, Any]]:
        asked.append((row, model))
        return [] if row == "lookup" else [result()]

    monkeypatch.setattr(run_all, "run", run)
    options = Namespace(models=["m"], rows=["chats", "lookup"], pairs=1, results=tmp_path / "rows.jsonl")
    assert run_all.run_missing(options) == ["lookup on m"]
    assert run_all.run_missing(options) == ["lookup on m"]
    assert asked == [("chats", "m"), ("lookup", "m"), ("lookup", "m")]


def test_a_grammar_answer_must_be_what_was_asked_for(load: Load) -> None:
    fits = load("grammars").fits
    good = 'Thought: I look.\nAction: search\nAction Input: {"query": "tables"}'
    assert fits("ReAct step", good)
    assert not fits("ReAct step", good.replace("search", "dig"))
    assert not fits("ReAct step", good.replace("query", "name"))
    assert fits("JSON", '{"title": "a", "places": []}')
    assert not fits("JSON, LlamaGrammar", '{"title": "a"')

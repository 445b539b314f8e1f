"""`phireside bench`: figures of both, and their ratio."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from phireside.cli import app, bench

SHORT = ("--pairs", "2", "--prompt-tokens", "64", "--tokens", "16")


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def run(*args: str) -> Result:
    return CliRunner().invoke(app, ["bench", *args])


@pytest.mark.real
def test_json_has_every_pair_and_the_medians(tiny_chatml: Path) -> None:
    result = run(str(tiny_chatml), *SHORT, "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert [set(pair) for pair in data["pairs"]] == [{"phireside", "llama.cpp"}] * 2
    done = {(figures["read"], figures["written"]) for pair in data["pairs"] for figures in pair.values()}
    assert done == {(64, 16)}
    assert all(value > 0 for pair in data["pairs"] for figures in pair.values() for value in figures.values())
    both = [pair["phireside"]["reading"] / pair["llama.cpp"]["reading"] for pair in data["pairs"]]
    assert data["ratio"]["reading"] == pytest.approx(sum(both) / 2)


@pytest.mark.real
def test_alone_it_prints_its_own_figures_only(tiny_chatml: Path) -> None:
    result = run(str(tiny_chatml), *SHORT, "--no-compare")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[0] for row in rows] == list(bench.MEASURES.values())
    assert {len(row) for row in rows} == {2}
    assert rows[2][1].endswith("tokens/s")


def test_under_a_pipe_two_columns_of_figures_have_names(monkeypatch: pytest.MonkeyPatch, tiny_chatml: Path) -> None:
    pair = {name: bench.Figures(1.0, 2.0, 3.0, 4, 5) for name in (bench.OURS, bench.BARE)}
    monkeypatch.setattr(bench, "_measured", lambda *_: [pair])
    assert run(str(tiny_chatml)).stdout.splitlines()[0] == f"\tPhireside\tbare {bench.BARE}\tratio"


def test_everyone_goes_first_in_turn_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    for name in ("ours", "bare"):
        figures = bench.Figures(1.0, 2.0, 3.0, 4, 5)
        monkeypatch.setattr(bench, f"_{name}", lambda *_, name=name, figures=figures: order.append(name) or figures)
    bench._measured(Path("x"), bench.EngineSettings(), (8, 8), 3, compare=True)
    assert order == ["ours", "ours", "bare", "bare", "ours", "ours", "bare"]


@pytest.mark.parametrize(
    ("args", "words"), [(("openai:x",), "on a server"), (("startre",), "starter"), (("phi-3",), "models pull phi-3")]
)
def test_a_model_that_cannot_be_measured_is_told(args: tuple[str, ...], words: str) -> None:
    result = run(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr

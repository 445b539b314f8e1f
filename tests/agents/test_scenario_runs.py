"""Scenarios that are watched, stopped and kept; runs that are compared; and folders with files that are none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from one_sum import ONE_SUM

from phireside.agents.scenarios import (
    SHIPPED,
    Case,
    Check,
    LiveRun,
    Options,
    Outcome,
    Run,
    ScenarioRun,
    StoppedError,
    add_file,
    compare,
    known_models,
    listed,
    load,
    scenario_runs,
)
from phireside.errors import ModelNotFoundError, SettingsError
from phireside.models import Catalog
from phireside.settings import Settings

WRONG = "turns: [{user: 'Who?', expect: [{contains: me}], script: [{answer: You.}]}]"


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    (tmp_path / "one.yaml").write_text(ONE_SUM)
    (tmp_path / "wrong.yaml").write_text(WRONG)
    return load([tmp_path])


def no_model(name: str, **_: Any) -> BaseChatModel:
    raise AssertionError(name)


def scripted(**options: Any) -> Options:
    return Options(no_model, model="scripted", **options)


# ---- watched and kept ----


def test_a_run_is_watched_and_kept_with_all_that_happened(cases: list[Case], tmp_path: Path) -> None:
    live = LiveRun(cases, scripted(seeds=2))
    assert [each.state for each in live.watched()] == ["waiting"] * 4
    done = live.run()
    assert {(each.name, each.seed): each.state for each in live.watched()} == {
        ("one", 1): "passed", ("one", 2): "passed", ("wrong", 1): "failed", ("wrong", 2): "failed",
    }  # fmt: skip
    assert [line.kind for line in live.watched()[0].lines] == ["thought", "action", "observation", "answer"]
    assert (done.passed, [each.name for each in done.failing], done.left) == (1, ["wrong"], ())
    kept = scenario_runs(tmp_path / "runs").save("Two", done)
    scenario_runs.cache_clear()
    read = scenario_runs(tmp_path / "runs").get(kept.id).run
    assert (read.model, read.seeds, read.seconds) == ("scripted", 2, done.seconds)
    for was, now in zip(done.outcomes, read.outcomes, strict=True):
        assert (was.name, was.path, was.passed, was.score, was.steps) == (
            now.name, now.path, now.passed, now.score, now.steps,
        )  # fmt: skip
        assert [turn.lines for run in was.runs for turn in run.turns] == [
            turn.lines for run in now.runs for turn in run.turns
        ]
        assert [run.checks for run in was.runs] == [run.checks for run in now.runs]


def test_an_outcome_without_runs_is_no_run(tmp_path: Path) -> None:
    runs = scenario_runs(tmp_path)
    runs.save("Empty", ScenarioRun("", None, (Outcome("a", Path("a"), "m", True, 1.0, ()),), 1.0))
    assert runs.all()[0] == []
    assert "has no runs" in runs.all()[1][0].reason


def test_what_has_ended_when_it_is_stopped_is_kept(cases: list[Case]) -> None:
    live = LiveRun(cases, scripted(at_once=1))
    watch = live.options.watch

    def stopping(case: Case, seed: int, news: Any) -> None:
        watch(case, seed, news)
        if isinstance(news, Run):
            live.stop()

    live.options = replace(live.options, watch=stopping)
    done = live.run()
    assert live.stopping
    assert [each.name for each in done.outcomes] == ["one"]
    assert done.left == ("wrong",)


def test_a_run_that_is_stopped_at_once_keeps_nothing(cases: list[Case]) -> None:
    live = LiveRun(cases, scripted())
    live.stop()
    with pytest.raises(StoppedError):
        live.run()


def test_a_model_that_is_not_here_is_told_before_anything_runs(cases: list[Case], settings: Settings) -> None:
    catalog = Catalog(settings)
    assert known_models(cases, scripted(), catalog).model == "scripted"
    assert known_models(cases, Options(no_model, model="openai:x"), catalog).model == "openai:x"
    with pytest.raises(ModelNotFoundError):
        known_models(cases, Options(no_model, model="nosuch"), catalog)


# ---- compared ----


def outcome(name: str, *passed: bool, score: float = 0.0) -> Outcome:
    runs = [
        Run(
            seed,
            [],
            [Check("turn 1", "x", good, 1.0, ""), Check("turn 1", "y", score > 0, 1.0, "")],
            0.5 if good else 1,
        )
        for seed, good in enumerate(passed, 1)
    ]
    return Outcome(name, Path(name), "m", True, 1.0, runs)


def run_of(*outcomes: Outcome) -> ScenarioRun:
    return ScenarioRun("", None, outcomes, 1.0)


def test_two_runs_are_compared_scenario_by_scenario_and_pair_by_pair() -> None:
    before = run_of(outcome("a", True, True), outcome("b", False), outcome("c", True), outcome("gone", True))
    after = run_of(outcome("new", True), outcome("a", True, False), outcome("b", True), outcome("c", True))
    found = compare(before, after)
    assert [(change.name, change.verdict) for change in found.changes] == [
        ("a", "worse"), ("b", "better"), ("new", "new"), ("gone", "gone"), ("c", "same"),
    ]  # fmt: skip
    assert (found.pairs, found.gained, found.lost, found.p) == (4, 1, 1, 1.0)


def test_where_as_many_pass_the_score_decides() -> None:
    found = compare(run_of(outcome("a", False)), run_of(outcome("a", False, score=1.0)))
    assert found.changes[0].verdict == "better"
    assert (found.gained, found.lost) == (0, 0)


@pytest.mark.parametrize(("gained", "lost", "p"), [(0, 0, 1.0), (5, 0, 0.0625), (6, 0, 0.03125), (3, 1, 0.625)])
def test_the_p_is_that_of_a_two_sided_sign_test(gained: int, lost: int, p: float) -> None:
    before = [outcome(f"g{at}", False) for at in range(gained)] + [outcome(f"l{at}", True) for at in range(lost)]
    after = [outcome(f"g{at}", True) for at in range(gained)] + [outcome(f"l{at}", False) for at in range(lost)]
    assert compare(run_of(*before), run_of(*after)).p == pytest.approx(p)


def test_runs_without_a_common_seed_have_no_pairs() -> None:
    assert compare(run_of(outcome("a", True)), run_of(outcome("b", True))).pairs == 0


# ---- folders ----


def test_folders_are_listed_with_what_is_wrong_in_them(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "one.yaml").write_text(f"name: Arithmetic\n{ONE_SUM}")
    (own / "bad.yaml").write_text("turns: 3")
    (own / "gone.yaml").symlink_to("nowhere")
    found, problems = listed([SHIPPED, own, tmp_path / "missing"])
    assert "Arithmetic" in {case.name for case in found}
    assert own not in {case.path.parent for case in found}, "Of two with one name the first stays."
    told = "\n".join(str(problem) for problem in problems)
    assert len(problems) == 3
    assert all(text in told for text in ("bad.yaml:1", "gone.yaml", "is named 'Arithmetic'"))


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WRONG)
    assert listed([tmp_path])[0][0].name == "a"
    (tmp_path / "a.yaml").write_text(f"name: Longer\n{WRONG}")
    assert listed([tmp_path])[0][0].name == "Longer"


def test_a_file_that_was_sent_is_kept_if_it_is_a_scenario(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    assert add_file(folder, "C:\\mine\\one.yaml", ONE_SUM.encode()).path == folder / "one.yaml"
    assert [case.name for case in listed([folder])[0]] == ["one"]
    with pytest.raises(SettingsError, match=r"^one\.yaml:1: "):
        add_file(folder, "one.yaml", b"turns: 3")
    assert [case.name for case in listed([folder])[0]] == ["one"], "The one that was there stays."
    assert [each.name for each in folder.iterdir()] == ["one.yaml"]


@pytest.mark.parametrize("name", ["", ".yaml", "one.txt", "..", "a.cassette.yaml", ".hidden.yaml", "a\n.yaml", "/"])
def test_a_name_that_is_none_of_a_scenario_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="is no name of a scenario"):
        add_file(tmp_path, name, ONE_SUM.encode())
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_too_long_for_the_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot be written in .*: File name too long"):
        add_file(tmp_path, f"{'a' * 300}.yaml", ONE_SUM.encode())


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    add_file(tmp_path / "own", "../../one.yaml", ONE_SUM.encode())
    assert (tmp_path / "own" / "one.yaml").is_file()

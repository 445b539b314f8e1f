"""A run of scenarios that was kept: what passed, step by step why not, and what has changed since another run."""

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from phireside.agents.scenarios import Case, Change, Comparison, Outcome, ScenarioRun, compare, listed, report
from phireside.chains import Cost
from phireside.runs import Kept, Runs
from phireside.ui import run_parts, scenario_work
from phireside.ui.bars import share
from phireside.ui.charts import show_chart
from phireside.ui.plots import Dot, intervals
from phireside.ui.safe_text import literal
from phireside.ui.services import Services
from phireside.ui.transcript import show_run

Again = Callable[[Services, list[Case], str, int | None], None]

SIGNIFICANT = 0.05
AS_EXPECTED = "the models that the file names under `passes-on` are others."
COLUMNS = {
    "Runs passed": st.column_config.Column("Passed", help="Runs that passed"),
    "Tokens read": st.column_config.Column("Read", help="Tokens of prompts that were read"),
    "Tokens written": st.column_config.Column("Written", help="Tokens that were written"),
}
VERDICTS = {"better": "↑ better", "worse": "↓ worse", "same": "= same", "new": "only here", "gone": "only there"}


def show(parts: Services, runs: Runs[ScenarioRun], run_id: str, again: Again) -> None:
    """Draw a run.

    Args:
        parts: the services.
        runs: that are kept.
        run_id: of the one.
        again: runs scenarios with a model and a number of seeds.

    Raises:
        StoreError: it cannot be shown.
    """
    kept = run_parts.opened(runs, run_id, "All scenarios")
    run = kept.run
    st.title(f"{run.passed} of {len(run.outcomes)} passed", anchor=False)
    st.caption(f"{run_parts.moment(kept.when)} · {literal(kept.title)} · {run.seconds:.1f} s")
    if run.left:
        st.caption(f":material/stop_circle: **Stopped.** Not run to the end: {literal(', '.join(run.left))}")
    if expected := sum(not (each.passed or each.expected) for each in run.outcomes):
        st.caption(f":material/info: {expected} failed as expected: {AS_EXPECTED}")
    _buttons(parts, runs, kept, again)
    other = run_parts.pick_other(runs, run_id)
    if other is None:
        _table(run.outcomes)
    else:
        _comparison(other, kept)
    _transcripts(kept)


def _buttons(parts: Services, runs: Runs[ScenarioRun], kept: Kept[ScenarioRun], again: Again) -> None:
    run, there = kept.run, {case.path: case for case in listed(scenario_work.folders(parts.settings))[0]}
    failing = [there[each.path] for each in run.failing if each.path in there]
    busy = (work := scenario_work.work(parts.settings)) is not None and not work.ended
    name = f"scenarios-{run_parts.file_stamp(kept.when)}"
    with st.container(horizontal=True, gap="small"):
        begun = bool(run.failing) and st.button(
            f"Run the {len(failing)} that failed again", key="run-failed", icon=":material/replay:", type="primary",
            disabled=busy or not failing,
        )  # fmt: skip
        for suffix, mime, write in (
            ("json", "application/json", report.as_json),
            ("html", "text/html", report.as_html),
        ):
            st.download_button(
                suffix.upper(), _text(write, run.outcomes), f"{name}.{suffix}", mime,
                key=f"download-{suffix}", icon=":material/download:", on_click="ignore",
            )  # fmt: skip
        run_parts.delete_button(runs, kept.id)
    if begun:  # no callback: it would be given the files as they were when the page was drawn
        again(parts, failing, run.model, run.seeds)
        st.rerun()
    if gone := [each.name for each in run.failing if each.path not in there]:
        st.caption(f"No file of these is there any more: {literal(', '.join(gone))}")


def _text(write: Callable[[Sequence[Outcome]], str], outcomes: Sequence[Outcome]) -> Callable[[], str]:
    """A file that is made when it is downloaded."""
    return lambda: write(outcomes)


def _table(outcomes: Sequence[Outcome]) -> None:
    if any(len(each.runs) > 1 for each in outcomes):
        show_chart(intervals([_dot(each) for each in outcomes]), "Share of passed runs")
        st.caption("The share of runs that passed, and where it lies with 95 % confidence (Wilson).")
    one_model = len({each.model for each in outcomes}) == 1  # which is named above the table
    st.dataframe(
        [_row(each) for each in outcomes], column_config=COLUMNS | ({"Model": None} if one_model else {}),
        hide_index=True, placeholder="-", alt="What came of each scenario",
    )  # fmt: skip


def _row(outcome: Outcome) -> dict[str, Any]:
    cost = sum((turn.cost for run in outcome.runs for turn in run.turns), Cost())
    told = cost.prompt_tokens > 0  # not every model gives figures
    return {
        "": _verdict(outcome, outcome.passed),
        "Scenario": outcome.name,
        "Model": outcome.model,
        "Runs passed": f"{outcome.passed_runs} of {len(outcome.runs)}",
        "Score": round(outcome.score, 2),
        "Steps": outcome.steps,
        "Seconds": round(sum(run.seconds for run in outcome.runs), 1),
        "Tokens read": cost.evaluated_tokens if told else None,
        "Tokens written": cost.generated_tokens if told else None,
    }


def _verdict(outcome: Outcome, passed: bool) -> str:
    """As pytest has it: one that is not known to pass on this model is an expected failure (xfail)."""
    return "passed" if passed else "FAILED" if outcome.expected else "failed, as expected"


def _dot(outcome: Outcome, series: str = "") -> Dot:
    low, high = outcome.interval
    passed = outcome.passed_runs / len(outcome.runs)
    return Dot(outcome.name, passed, low, high, share(passed), series)


# ---- two runs ----------------------------------------------------------------------------------------------------


def _comparison(before: Kept[ScenarioRun], after: Kept[ScenarioRun]) -> None:
    found = compare(before.run, after.run)
    st.markdown(_sentence(found))
    names = [f"{run_parts.moment(each.when)} · {each.title}" for each in (before, after)]
    if names[0] == names[1]:
        names = [f"{name} ({number})" for number, name in enumerate(names, 1)]
    dots = [
        _dot(outcome, name)
        for change in found.changes
        for outcome, name in ((change.before, names[0]), (change.after, names[1]))
        if outcome is not None
    ]
    show_chart(intervals(dots, names), "Share of passed runs, in both")
    st.dataframe([_changed(each) for each in found.changes], hide_index=True, placeholder="-", alt="What has changed")


def _sentence(found: Comparison) -> str:
    if not found.pairs:
        return "They have no scenario with the same seed, so nothing can be compared run by run."
    text = f"Of {found.pairs} runs with the same seed, **{found.gained} pass only now** and **{found.lost} only then**"
    if not found.gained and not found.lost:
        return f"{text}: no difference."
    chance = "more than chance" if found.p < SIGNIFICANT else "it may be chance"
    return f"{text} (McNemar's exact test: p = {found.p:.2g}, {chance})."


def _changed(change: Change) -> dict[str, Any]:
    def passed(outcome: Outcome | None) -> str:
        return f"{outcome.passed_runs} of {len(outcome.runs)}" if outcome else ""

    before, after = change.before, change.after
    return {
        "": VERDICTS[change.verdict],
        "Scenario": change.name,
        "Then": passed(before),
        "Now": passed(after),
        "Score then": None if before is None else round(before.score, 2),
        "Score now": None if after is None else round(after.score, 2),
        "Steps then": None if before is None else before.steps,
        "Steps now": None if after is None else after.steps,
    }


# ---- transcripts -------------------------------------------------------------------------------------------------


def _transcripts(kept: Kept[ScenarioRun]) -> None:
    """One run at a time; those that failed first."""
    all_runs = [(outcome, run) for outcome in kept.run.outcomes for run in outcome.runs]
    all_runs.sort(key=lambda each: each[1].passed)
    names = [
        f"{_verdict(outcome, run.passed)} · {outcome.name}" + (f" · seed {run.seed}" if len(outcome.runs) > 1 else "")
        for outcome, run in all_runs
    ]
    st.header("Step by step", anchor=False)
    at = st.selectbox(
        "Run", range(len(names)), format_func=names.__getitem__, key=f"transcript-{kept.id}",
        label_visibility="collapsed",
    )  # fmt: skip
    with st.container(border=True, gap="small", key="transcript"):
        show_run(all_runs[at][1])

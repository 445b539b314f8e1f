"""An evaluation of search that was kept: each stage in a plot and a table, its questions, and what has changed."""

import json
from typing import Any

import numpy as np
import streamlit as st

from phireside.retrieval.evaluation import (
    MEASURES,
    Evaluation,
    RetrievalRun,
    StageChange,
    advice,
    as_data,
    same_questions,
    stage_changes,
    worst_questions,
)
from phireside.retrieval.evaluation.measures import mean_interval
from phireside.retrieval.evaluation.report import CAPTION, headings, title, worth
from phireside.runs import Kept, Runs
from phireside.ui import run_parts
from phireside.ui.charts import show_chart
from phireside.ui.plots import Dot, amounts, intervals
from phireside.ui.safe_text import literal

QUESTIONS = 200  # that are listed, the worst first


def show(runs: Runs[RetrievalRun], run_id: str) -> None:
    """Draw an evaluation.

    Raises:
        StoreError: it cannot be shown.
    """
    kept = run_parts.opened(runs, run_id, "Evaluate")
    run = kept.run
    st.title(literal(f"Search in {run.base}"), anchor=False)
    by = f"questions by {run.written_by}" if run.written_by else "judged by people"
    reranker = f" · reranker {run.reranker}" if run.reranker else ""
    st.caption(literal(f"{run_parts.moment(kept.when)} · {title(run.found)} · {by} · {run.embeddings}{reranker}"))
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "JSON", lambda: json.dumps(as_data(run.found), indent=2),
            f"search-{run_parts.file_stamp(kept.when)}.json", "application/json",
            key="download-json", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        run_parts.delete_button(runs, run_id)
    measure = _measure(run.found)
    other = run_parts.pick_other(runs, run_id, lambda each: each.base == run.base)
    if other is None:
        _stages(run.found, measure)
    else:
        _comparison(other, kept, measure)
    _questions(run, measure)


def _measure(found: Evaluation) -> str:
    names = dict(zip(MEASURES, headings(found.k), strict=True))
    chosen = st.segmented_control(
        "Measure", list(MEASURES), default=MEASURES[0], format_func=names.__getitem__, key="search-measure",
        label_visibility="collapsed", required=True,
    )  # fmt: skip
    return chosen or MEASURES[0]


def _stages(found: Evaluation, measure: str) -> None:
    dots = [
        Dot(stage.name, *mean_interval(stage.values[measure]), f"{stage.mean(measure):.3f}") for stage in found.stages
    ]
    show_chart(intervals(dots), f"{measure} of each stage")
    st.caption("Means over the questions, with 95 % intervals.")
    st.dataframe(_rows(found), hide_index=True, placeholder="-", alt="The measures of each stage")
    st.caption(literal(CAPTION))
    if said := advice(found):
        st.markdown(literal(said))
    times = amounts([stage.name for stage in found.stages], [_ms(stage.seconds) for stage in found.stages], "ms")
    show_chart(times, "Median milliseconds of each stage")
    st.caption("Time of each stage alone, the median of a question.")


def _rows(found: Evaluation) -> list[dict[str, Any]]:
    rows = []
    for stage in found.stages:
        change, p = worth(stage.against)
        means = {name: round(stage.mean(m), 4) for m, name in zip(MEASURES, headings(found.k), strict=True)}
        rows.append({"Stage": stage.name, **means, "Δ": change, "p": p, "ms": round(_ms(stage.seconds), 1)})
    return rows


def _ms(seconds: Any) -> float:
    return 1000 * float(np.median(seconds))


def _comparison(before: Kept[RetrievalRun], after: Kept[RetrievalRun], measure: str) -> None:
    changes = stage_changes(before.run, after.run, measure)
    same = same_questions(before.run, after.run)
    st.markdown(
        f"{len(after.run.queries)} questions, the same in both: each is compared with itself."
        if same
        else ":material/warning: **Not the same questions**, so a difference may come from them. Evaluate with the "
        "questions of the earlier run to compare the search."
    )
    names = [f"{run_parts.moment(each.when)} ({when})" for each, when in ((before, "then"), (after, "now"))]
    dots = []
    for kept, name in zip((before, after), names, strict=True):
        stages = {stage.name: stage for stage in kept.run.found.stages}
        for change in changes:
            if stage := stages.get(change.stage):
                mean = stage.mean(measure)
                dots.append(Dot(stage.name, *mean_interval(stage.values[measure]), f"{mean:.3f}", name))
    show_chart(intervals(dots, names), f"{measure} of each stage, in both")
    st.dataframe([_changed(each) for each in changes], hide_index=True, placeholder="-", alt="What has changed")
    st.caption(
        "Δ: now less then. p: the larger one of a paired t-test and of Fisher's randomization test. ~: may be chance."
    )


def _changed(change: StageChange) -> dict[str, Any]:
    apart, p = worth(change.difference)
    return {
        "Stage": change.stage,
        "Then": change.before and round(change.before, 4),
        "Now": change.after and round(change.after, 4),
        "Δ": apart,
        "p": p,
        "ms then": change.before_ms and round(change.before_ms, 1),
        "ms now": change.after_ms and round(change.after_ms, 1),
    }


def _questions(run: RetrievalRun, measure: str) -> None:
    """Where it went wrong."""
    last = run.found.stages[-1].name
    with st.expander(f"The questions, the worst first ({last})", icon=":material/list:"):
        found = worst_questions(run, last, measure)
        rows = [{measure: round(value, 3), "Question": text} for text, value in found[:QUESTIONS]]
        st.dataframe(rows, hide_index=True, placeholder="-", alt="The questions with their values")
        if len(found) > QUESTIONS:
            st.caption(f"… and {len(found) - QUESTIONS:,} more.")

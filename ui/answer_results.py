"""Judged answers that were kept: each metric in a plot and a table, every answer, and what has changed."""

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import streamlit as st

from phireside.chains.rag import Report
from phireside.chains.rag.judging import METRICS
from phireside.chains.rag.runs import AnswersRun, AxisChange, as_data, axis_changes
from phireside.retrieval.evaluation.measures import mean_interval
from phireside.retrieval.evaluation.report import worth
from phireside.runs import Kept, Runs
from phireside.ui import run_parts
from phireside.ui.chain_results import cost_line
from phireside.ui.charts import show_chart
from phireside.ui.plots import Dot, intervals
from phireside.ui.safe_text import literal

NAMES = {name: name.replace("_", " ").replace("f1", "F1").capitalize() for name in METRICS}
MEANINGS = (
    "Fluency and utility are grades. Citation recall: sentences that the passages they cite support; precision: "
    "citations whose passage supports its sentence; faithfulness: sentences that some passage supports. Relevance: "
    "whether it answers what was asked."
)


def show(runs: Runs[AnswersRun], run_id: str) -> None:
    """Draw judged answers.

    Raises:
        StoreError: they cannot be shown.
    """
    kept = run_parts.opened(runs, run_id, "Evaluate")
    run = kept.run
    st.title(literal(f"Answers of {run.source}"), anchor=False)
    answered = f" · answered by {run.answered_by}" if run.answered_by else ""
    st.caption(literal(f"{run_parts.moment(kept.when)}{answered} · judged by {run.judge}"))
    if (done := len(run.report.judged)) < run.total:
        st.caption(f":material/stop_circle: **Stopped** after {done} of {run.total} answers.")
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "JSON", lambda: json.dumps(as_data(run), indent=1), f"answers-{run_parts.file_stamp(kept.when)}.json",
            "application/json", key="download-json", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        run_parts.delete_button(runs, run_id)
    other = run_parts.pick_other(runs, run_id)
    if other is None:
        show_means(run.report)
    else:
        _comparison(other, kept)
    st.caption(MEANINGS)
    _unscored(run)
    _answers(run)
    st.caption(cost_line(run.report.cost, run.seconds))


def show_means(report: Report) -> None:
    """The metrics that some answer has, in a plot and a table."""
    means = {name: (mean, count) for name, (mean, count) in report.means().items() if mean is not None}
    dots = [_dot(report, name) for name in means]
    show_chart(intervals(dots), "The mean of each metric")
    rows = [
        {"Metric": NAMES[name], "Mean": round(mean, 3), "Answers that have it": f"{count} of {len(report.judged)}"}
        for name, (mean, count) in means.items()
        if mean is not None
    ]
    st.dataframe(rows, hide_index=True, placeholder="-", alt="The mean of each metric")


def _dot(report: Report, metric: str, series: str = "") -> Dot:
    values = [getattr(each.scores, metric) for each in report.judged]
    mean, low, high = mean_interval(np.array([value for value in values if value is not None]))
    return Dot(NAMES[metric], mean, low, high, f"{mean:.2f}", series)


def _comparison(before: Kept[AnswersRun], after: Kept[AnswersRun]) -> None:
    changes = [each for each in axis_changes(before.run, after.run) if each.questions]
    if not changes:
        st.markdown(":material/warning: They have no question in common, so nothing can be compared.")
        return
    if before.run.judge != after.run.judge:
        judges = f"{before.run.judge} then, {after.run.judge} now"
        st.markdown(f":material/warning: **Not the same judge** ({literal(judges)}): a difference may come from that.")
    names = [f"{run_parts.moment(each.when)} ({when})" for each, when in ((before, "then"), (after, "now"))]
    dots = [
        Dot(NAMES[change.metric], value, value, value, f"{value:.2f}", name)
        for change in changes
        for value, name in zip((change.before, change.after), names, strict=True)
        if value is not None
    ]
    show_chart(intervals(dots, names), "The mean of each metric, in both")
    st.dataframe([_changed(each) for each in changes], hide_index=True, placeholder="-", alt="What has changed")
    st.caption(
        "On the questions that both have. p: the larger one of a paired t-test and of Fisher's randomization test. "
        "~: may be chance."
    )


def _changed(change: AxisChange) -> dict[str, Any]:
    apart, p = worth(change.difference)
    return {
        "Metric": NAMES[change.metric],
        "Then": change.before and round(change.before, 3),
        "Now": change.after and round(change.after, 3),
        "Δ": apart,
        "p": p,
        "Questions": change.questions,
    }


def _unscored(run: AnswersRun) -> None:
    if not run.unscored:
        return
    st.markdown(f"**{len(run.unscored)} unscored**")
    for line, problem in run.unscored[:20]:
        st.caption(f"Line {line}: {literal(problem[:300])}")
    if len(run.unscored) > 20:
        st.caption(f"… and {len(run.unscored) - 20:,} more.")


def _answers(run: AnswersRun) -> None:
    """Every answer with its scores."""
    st.header("The answers", anchor=False)
    rows = [
        {
            "Line": line,
            "Question": each.sample.question,
            "Answer": each.sample.answer,
            **{NAMES[name]: None if value is None else round(value, 2) for name, value in asdict(each.scores).items()},
        }
        for line, each in zip(run.lines, run.report.judged, strict=True)
    ]
    st.dataframe(rows, hide_index=True, placeholder="-", alt="The answers with their scores")

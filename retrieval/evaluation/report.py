"""An evaluation as a table, as data, and as a plot. Measures nothing."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phireside.errors import RequestError
from phireside.retrieval.evaluation.evaluate import Evaluation
from phireside.retrieval.evaluation.measures import MEASURES, Difference, mean_interval

if TYPE_CHECKING:
    from altair import FacetChart
    from rich.table import Table

_SIGNIFICANT = 0.05
_FEW = 30  # queries: below, the threshold is one or two passages' cosine
_FORMS = (".html", ".json", ".svg", ".png")
_PICTURES = "For .svg and .png: pip install vl-convert-python. A .html is written without it."
CAPTION = (
    "ms: median of the stage alone. Δ: nDCG less that of the row above. p: the larger one of a paired t-test and of "
    f"Fisher's randomization test. ~: may be chance (p is {_SIGNIFICANT} or more)."
)


def title(found: Evaluation) -> str:
    """What was measured, in a line."""
    kind = " written by a model, judged by nobody" if found.generated else ""
    return f"{len(found.queries)} queries{kind}, at {found.k}"


def table(found: Evaluation) -> "Table":
    """For a terminal of 80 columns: means, milliseconds of each stage alone, and what it adds to the row above."""
    from rich import box
    from rich.table import Table

    rows = Table(title=title(found), box=box.SIMPLE, padding=(0, 1, 0, 0), caption=CAPTION, caption_justify="left")
    rows.add_column("Stage")
    for name in (*headings(found.k), "ms", "Δ", "p"):
        rows.add_column(name, justify="right", no_wrap=True)
    for stage in found.stages:
        means = [f"{stage.mean(measure):.4f}" for measure in MEASURES]
        rows.add_row(stage.name, *means, f"{1000 * np.median(stage.seconds):.1f}", *worth(stage.against))
    return rows


def advice(found: Evaluation) -> str:
    """The threshold that the queries speak for, and whether they are too few to say so; empty if there is none."""
    if found.threshold is None:
        return ""
    text = f"A threshold of {found.threshold:.2f} keeps 95 % of the relevant passages that the dense stage finds."
    count = len(found.queries)
    return text if count >= _FEW else f"{text} {count} queries are few: on others it may keep far fewer."


def as_data(found: Evaluation) -> dict[str, Any]:
    """For `json.dumps`: means, and the values of every query."""
    return {
        "k": found.k,
        "generated": found.generated,
        "queries": list(found.queries),
        "threshold": found.threshold,
        "stages": [
            {
                "stage": stage.name,
                "means": {measure: stage.mean(measure) for measure in MEASURES},
                "ms": {"median": 1000 * float(np.median(stage.seconds)),
                       "p95": 1000 * float(np.quantile(stage.seconds, 0.95))},
                "against_row_above": stage.against and vars(stage.against),
                "values": {measure: stage.values[measure].tolist() for measure in MEASURES},
            }
            for stage in found.stages
        ],
    }  # fmt: skip


def chart(found: Evaluation) -> "FacetChart":
    """The mean of each measure by stage, with 95 % intervals over the queries."""
    import altair

    rows = []
    for stage in found.stages:
        for measure, heading in zip(MEASURES, headings(found.k), strict=True):
            mean, low, high = mean_interval(stage.values[measure])
            rows.append({"stage": stage.name, "measure": heading, "mean": mean, "low": low, "high": high})
    order = [stage.name for stage in found.stages]
    shared = altair.Chart(altair.InlineData(values=rows)).encode(
        x=altair.X("stage:N", sort=order, title=None), color=altair.Color("stage:N", sort=order, legend=None)
    )
    bars = shared.mark_bar().encode(y=altair.Y("mean:Q", title="mean, 95 % interval"))
    lines = shared.mark_rule(color="black").encode(y=altair.Y("low:Q"), y2="high:Q", color=altair.value("black"))
    made: FacetChart = altair.layer(bars, lines).properties(width=120, height=220).facet(
        column=altair.Column("measure:N", sort=list(headings(found.k)), title=title(found))
    )  # fmt: skip
    return made


def save_chart(found: Evaluation, path: Path) -> None:
    """Write the chart to a .html, .json (Vega-Lite), .svg or .png file.

    With the package vl-convert-python a .html is complete in itself; else its page loads Vega's scripts from the web.

    Raises:
        RequestError: the file cannot be written, or not in that form.
    """
    check_form(path)
    complete = path.suffix == ".html" and find_spec("vl_convert") is not None
    try:
        chart(found).save(str(path), inline=complete)
    except (OSError, ValueError, ImportError) as error:
        raise RequestError(f"{path} cannot be written: {error!s:.200}", hint=_PICTURES) from error


def check_form(path: Path) -> None:
    """Whether a chart can be written to a file of this name, asked before there is one.

    Raises:
        RequestError: the suffix is no form, its form needs a package that is not installed, or there is no such folder.
    """
    if path.suffix not in _FORMS:
        raise RequestError(f"{path} has no suffix of a plot.", hint=f"Use {', '.join(_FORMS)}.")
    if path.suffix in (".svg", ".png") and find_spec("vl_convert") is None:
        raise RequestError(f"{path} cannot be written: vl-convert-python is not installed.", hint=_PICTURES)
    if not path.parent.is_dir():
        raise RequestError(f"{path} cannot be written: there is no folder {path.parent}.", hint="Make the folder.")


def headings(k: int) -> tuple[str, ...]:
    """The measures as tables name them, in the order of `MEASURES`."""
    return (f"nDCG@{k}", "MAP", f"MRR@{k}", f"P@{k}", f"R@{k}")


def worth(found: Difference | None) -> tuple[str, str]:
    """A difference and its p, as tables have them; empty if there is none."""
    if found is None:
        return "", ""
    p = max(found.p_t, found.p_randomization)
    return f"{found.mean:+.4f}", f"{'' if p < _SIGNIFICANT else '~ '}{p:.2g}"

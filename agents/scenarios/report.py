"""What came of scenarios, as text, JSON, JUnit XML and a page of HTML.

Texts of models and files are data: control characters are shown as �, and XML and HTML are escaped.
"""

import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree as Xml

from phireside.agents.scenarios.outcome import Check, Line, Outcome, Run, TurnRecord

_NOT_SHOWN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_FAILED, _RED = re.compile(r"^(?:NOT met|broke): .*$", re.MULTILINE), r'<span class="failed">\g<0></span>'
_MARKS = {True: "met", False: "NOT met", None: "not measured"}


def as_data(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """For JSON: `passed` and `failed` are counts of scenarios."""
    passed = sum(each.passed for each in outcomes)
    return {"passed": passed, "failed": len(outcomes) - passed, "scenarios": [_scenario(each) for each in outcomes]}


def as_json(outcomes: Sequence[Outcome]) -> str:
    """See `as_data`."""
    return json.dumps(_finite(as_data(outcomes)), ensure_ascii=False, indent=2, default=str, allow_nan=False)


def _finite(value: Any) -> Any:
    """A value without NaN and infinity, which are no JSON: they become texts."""
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _scenario(outcome: Outcome) -> dict[str, Any]:
    low, high = outcome.interval
    return {
        "name": outcome.name,
        "passed": outcome.passed,
        "score": round(outcome.score, 4),
        "steps": outcome.steps,
        "file": str(outcome.path),
        "model": outcome.model,
        "expected_to_pass": outcome.expected,
        "passed_runs": outcome.passed_runs,
        "pass_rate": {"measured": outcome.passed_runs / len(outcome.runs), "low": low, "high": high},
        "runs": [_run(run) for run in outcome.runs],
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "passed": run.passed,
        "score": round(run.score, 4),
        "steps": run.steps,
        "seconds": round(run.seconds, 3),
        "error": run.error,
        "checks": [asdict(each) for each in run.checks],
        "turns": [_turn(turn) for turn in run.turns],
    }


def _turn(turn: TurnRecord) -> dict[str, Any]:
    cost = {**asdict(turn.cost), "evaluated_tokens": turn.cost.evaluated_tokens}
    return {
        "user": turn.user,
        "answer": turn.answer,
        "steps": [asdict(line) for line in turn.lines],
        "cost": cost,
        "seconds": round(turn.seconds, 3),
    }


# ---- text --------------------------------------------------------------------------------------------------------


def as_text(outcomes: Sequence[Outcome]) -> str:
    """A line for each scenario, the whole transcripts of those that failed, and the sum."""
    lines = []
    for outcome in outcomes:
        lines.append(headline(outcome))
        lines += [f"\n{transcript(run)}\n" for run in outcome.runs if not outcome.passed and not run.passed]
    passed = sum(each.passed for each in outcomes)
    return "\n".join([*lines, f"{passed} passed, {len(outcomes) - passed} failed"])


def headline(outcome: Outcome) -> str:
    """A scenario in a line."""
    facts = [f"score {outcome.score:.2f}", _steps(outcome.steps)]
    if len(outcome.runs) > 1:
        low, high = outcome.interval
        facts.append(f"{outcome.passed_runs} of {len(outcome.runs)} runs passed (95 %: {low:.0%} to {high:.0%})")
    if any(run.checks for run in outcome.runs) and all(each.met is None for run in outcome.runs for each in run.checks):
        facts.append("nothing was measured")
    note = "" if outcome.expected or outcome.passed else f"; it does not say that it passes on {outcome.model}"
    return shown(
        f"{'passed' if outcome.passed else 'FAILED'}  {outcome.name} ({outcome.model}): {', '.join(facts)}{note}"
    )


def transcript(run: Run) -> str:
    """All that was said and found in a run."""
    return shown("\n".join(_transcript(run)))


def _transcript(run: Run) -> Iterator[str]:
    yield f"seed {run.seed}, score {run.score:.2f}"
    if run.error:
        yield f"broke: {_indented(run.error)}"
    yield from (_check(each) for each in run.checks if each.met is False)
    for at, turn in enumerate(run.turns, 1):
        yield f"turn {at}"
        yield f"  User: {_indented(turn.user)}"
        yield from (f"  {line_text(line)}" for line in turn.lines)
        yield f"  [{_figures(turn)}]"
    yield from (_check(each) for each in run.checks if each.met is not False)


def line_text(line: Line) -> str:
    """A step in words."""
    names = {"thought": "Thought", "observation": "Observation", "answer": "Answer"}
    if line.kind in names:
        return f"{names[line.kind]}: {_indented(line.text)}"
    arguments = json.dumps(line.arguments or {}, ensure_ascii=False, default=str)
    return f"{'Action' if line.kind == 'action' else 'Approval wanted'}: {line.tool} {arguments}"


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"


def _figures(turn: TurnRecord) -> str:
    cost = turn.cost
    facts = [_steps(turn.steps), f"{turn.seconds:.2f} s"]
    if cost.prompt_tokens:
        facts.append(f"{cost.evaluated_tokens} tokens read, {cost.cached_tokens} cached")
        facts.append(f"{cost.generated_tokens} written")
    return " · ".join(facts)


def _check(check: Check) -> str:
    weight = "" if check.weight == 1 else f", weight {check.weight:g}"
    return f"{_MARKS[check.met]}: {check.where}, {_indented(check.label)}{weight} - {_indented(check.reason)}"


def _indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def shown(text: str) -> str:
    """A text without what steers a terminal or is no character of XML."""
    return _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", text)


# ---- files -------------------------------------------------------------------------------------------------------


def as_junit(outcomes: Sequence[Outcome]) -> str:
    """A test case for each scenario, as CI servers read it."""
    failed = sum(not each.passed for each in outcomes)
    seconds = sum(run.seconds for each in outcomes for run in each.runs)
    facts = {"tests": str(len(outcomes)), "failures": str(failed), "errors": "0", "time": f"{seconds:.3f}"}
    root = Xml.Element("testsuites", facts)
    suite = Xml.SubElement(root, "testsuite", {"name": "scenarios", **facts})
    for each in outcomes:
        took = f"{sum(run.seconds for run in each.runs):.3f}"
        about = {"classname": shown(str(each.path)), "name": shown(each.name), "time": took}
        case = Xml.SubElement(suite, "testcase", about)
        text = "\n\n".join(transcript(run) for run in each.runs)
        if not each.passed:
            Xml.SubElement(case, "failure", {"message": headline(each)}).text = text
        else:
            Xml.SubElement(case, "system-out").text = text
    Xml.indent(root)
    return Xml.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Scenarios: {title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }}
summary {{ cursor: pointer; padding: .3rem 0; }} pre {{ white-space: pre-wrap; overflow-wrap: anywhere;
background: #f5f3ef; padding: .8rem; border-radius: .4rem; }} .failed {{ color: #a02020; font-weight: 600; }}
</style></head><body><h1>Scenarios</h1><p>{title}</p>
{scenarios}</body></html>
"""


def as_html(outcomes: Sequence[Outcome]) -> str:
    """A page that needs nothing else: a line for each scenario, its transcripts below it."""
    data = as_data(outcomes)
    parts = []
    for each in outcomes:
        kind, runs = ("passed" if each.passed else "failed"), "\n\n".join(transcript(run) for run in each.runs)
        parts.append(
            f'<details{"" if each.passed else " open"}><summary class="{kind}">{html.escape(headline(each))}</summary>'
            f"<pre>{_FAILED.sub(_RED, html.escape(runs))}</pre></details>"
        )
    title = f"{data['passed']} passed, {data['failed']} failed"
    return _PAGE.format(title=title, scenarios="\n".join(parts))

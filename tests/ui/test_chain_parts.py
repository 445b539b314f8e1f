"""What the chains page is made of: the graph's source, a run in the background, prompts as YAML, results as data."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from answers import answers
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableLambda
from langchain_core.runnables.utils import AddableDict
from streamlit.testing.v1 import AppTest

from phireside.chains import Cost, Growing, Link, classify, parallel_merge, validated, yes_no
from phireside.chains.paths import Path, Reasoned
from phireside.errors import RequestError, SettingsError
from phireside.ui.bars import bars, share, stage_bars, visible
from phireside.ui.chain_form import read_changed
from phireside.ui.chain_results import cost_line, cost_of, named_parts, probabilities
from phireside.ui.graph import dot
from phireside.ui.running import Running

MODEL = answers("Yes.")


def prompt(name: str) -> ChatPromptTemplate:
    return ChatPromptTemplate.from_template("{text}").model_copy(update={"name": name})


def edges(source: str) -> list[tuple[str, str]]:
    """Arrows of a graph by the boxes' labels."""
    lines = source.splitlines()
    labels = {
        line.split('"')[1]: line.split('label="')[1].split('" fillcolor')[0] for line in lines if "label=" in line
    }
    return [(labels[line.split('"')[1]], labels[line.split('"')[3]]) for line in lines if "->" in line]


# ---- the graph ----


def test_a_prompt_and_its_model_are_one_box() -> None:
    found = edges(
        dot(parallel_merge([Link("a", "{x}"), Link("b", "{x}")], Link("c", "{a}{b}"), model=MODEL), dark=True)
    )
    one, two, three = (f"{name}\\n→ Answers" for name in "abc")
    assert sorted(found) == sorted([("x", one), ("x", two), (one, three), (two, three), (three, "a\\nb\\nc")])


def test_a_loop_is_drawn_both_ways() -> None:
    found = edges(dot(validated(MODEL, ["It is polite."]), dark=False))
    judge, revise = "judge\\n→ Answers", "revise\\n→ Answers"
    assert {(judge, revise), (revise, judge)} < set(found)


def test_names_are_data_in_the_graphs_source() -> None:
    source = dot(prompt('a"];evil[label="\\') | MODEL, dark=False)
    assert 'label="a\\"];evil[label=\\"\\\\\\n→ Answers"' in source


def test_chains_in_a_row_are_drawn_in_a_row() -> None:
    """Their parts have the same names, and were one box."""
    chain = yes_no("Is it?", model=MODEL) | RunnableLambda(str) | classify(["a", "b"], model=MODEL)
    boxes = ["text", "prompt\\n→ Answers", "str", "prompt\\n→ Answers", "label\\nprobabilities"]
    assert edges(dot(chain, dark=False)) == list(itertools.pairwise(boxes))
    assert chain.get_graph().draw_mermaid()


# ---- a run ----


def pieces(*values: Any) -> Runnable[Any, Any]:
    async def give(_: AsyncIterator[Any]) -> AsyncIterator[Any]:
        for value in values:
            if isinstance(value, Exception):
                raise value
            yield value

    return RunnableGenerator(give)


@dataclass(frozen=True)
class Count(Growing):
    number: int


@pytest.mark.parametrize(
    ("values", "whole"),
    [
        (["a", "b"], "ab"),
        ([AddableDict(a="x"), AddableDict(b="y"), AddableDict(a="z")], {"a": "xz", "b": "y"}),
        ([Count(1), Count(2)], Count(2)),
        ([Decimal(3)], Decimal(3)),
        ([object, int], int),  # cannot be added
    ],
)
def test_what_comes_is_added_up(values: list[Any], whole: Any) -> None:
    running = Running(pieces(*values), {})
    assert running.wait(60)
    assert (running.result, running.error, running.ended) == (whole, None, True)
    assert running.seconds > 0


@pytest.mark.parametrize("error", [RequestError("Too long.", hint="Shorten it."), ValueError("odd"), KeyError()])
def test_an_error_ends_it_and_what_came_stays(error: Exception) -> None:
    running = Running(pieces("a", error), {})
    assert running.wait(60)
    assert running.result == "a"
    assert running.error
    assert str(error.args[0] if error.args else "KeyError") in str(running.error)


@pytest.mark.parametrize("first", ["", "a"])
def test_a_stop_ends_it_between_pieces_and_before_the_first(first: str) -> None:
    begun, closed = threading.Event(), threading.Event()

    async def give(_: AsyncIterator[Any]) -> AsyncIterator[str]:
        try:
            if first:
                yield first
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    running = Running(RunnableGenerator(give), {})
    assert begun.wait(60)
    assert not running.wait(0)
    running.stop()
    assert running.wait(60)
    assert closed.wait(60)
    assert (running.result or "", running.error, running.stopped) == (first, None, True)
    assert running.seconds > 0


def test_a_stop_before_it_has_begun_ends_it_too_and_one_after_its_end_changes_nothing() -> None:
    for _ in range(20):
        running = Running(pieces("a"), {})
        running.stop()
        assert running.wait(60)
    running = Running(pieces("a"), {})
    assert running.wait(60)
    seconds = running.seconds
    running.stop()
    assert (running.stopped, running.result, running.seconds) == (False, "a", seconds)


# ---- results ----


def test_probabilities_are_known_by_what_they_are() -> None:
    assert probabilities({"a": 0.25, "b": 0.75}) == {"a": 0.25, "b": 0.75}
    assert probabilities({"a": 2.0, "b": 0.5}) is None
    assert probabilities({"a": "b"}) is None
    assert probabilities([]) is None


def test_the_cost_line_says_what_is_known() -> None:
    cost = Cost(calls=1, prompt_tokens=1500, cached_tokens=300, generated_tokens=7)
    assert (
        cost_line(cost, 1.26) == "1 call of the model · 1,200 tokens read, 300 found in the cache · 7 written · 1.3 s"
    )
    assert cost_line(None, 0.3) == "0.3 s"
    assert cost_of(Reasoned(cost=cost)) == cost_of({"cost": cost}) == cost
    assert named_parts("text") is None


def drawn(result: Any, given: Any = None) -> AppTest:
    def draw() -> None:
        import streamlit as st

        from phireside.ui.chain_results import show_result

        show_result(st.session_state["result"], st.session_state["given"])

    app = AppTest.from_function(draw)
    app.session_state["result"], app.session_state["given"] = result, given
    app.run()
    assert not app.exception
    return app


def texts(app: AppTest) -> str:
    return "\n".join(element.value for element in [*app.markdown, *app.caption])


def test_a_dict_has_its_parts_named_without_what_was_given() -> None:
    result = {"summary": "S", "title": "The end", "story": "Long.\n\nVery.", "cost": Cost(), "shortened": ["story"]}
    shown = texts(drawn(result, {"summary": "S"}))
    assert "**Title:** The end" in shown
    assert "**Story**\nLong.\n\nVery." in shown
    assert "Cut off" in shown
    assert not any(word in shown for word in ("Summary", "Cost", "Shortened"))


def test_paths_are_drawn_with_their_state_and_answer() -> None:
    paths = (
        Path("I add.", 7, "answered"),
        Path("I thin", rating=0.5, parent=0),
        Path(state="failed", problem="No [x]."),
    )
    shown = texts(drawn(Reasoned(7, paths, 1.0)))
    assert shown.index("**Answer:** 7") < shown.index("**Paths**")
    assert "**Agreement:** 100.0 %" in shown
    assert "Path 1 · :material/check: answered" in shown
    assert "Path 2 · :material/edit: thinking … · from path 1 · rated 50.0 %" in shown
    assert r"No \[x\]\." in shown


@pytest.mark.parametrize(
    "result",
    [
        "![x](http://evil.example/?q)",
        {"a": "x\n![x](http://evil.example)"},
        ["![x](y)" * 40, "b" * 200],
        Path("![a](b)\n"),
    ],
)
def test_what_a_model_wrote_is_never_an_image(result: Any) -> None:
    shown = texts(drawn(result))
    assert "x" in shown or "a" in shown
    assert "![" not in shown


def test_anything_can_be_drawn() -> None:
    values = [None, True, 3, 2.5, Decimal("1.10"), "", [], {}, [1, "a"], {"a": {"b": ["c" * 100]}}, [["x" * 99]] * 70]
    drawn(values)
    drawn({str(number): value for number, value in enumerate(values)})
    drawn(None)
    assert "and 10 more" in texts(drawn([["x" * 99]] * 70))


def test_probabilities_are_drawn_as_bars() -> None:
    app = drawn({"label": "good", "probabilities": {"good": 0.9, "bad": 0.1}})
    assert len(app.get("vega_lite_chart")) == 1


# ---- bars ----


def test_labels_and_shares_are_for_people() -> None:
    assert (visible(" car\n"), visible("")) == ("␣car⏎", "∅")
    assert [share(p) for p in (0, 0.0001, 0.365, 1)] == ["0.0 %", "< 0.1 %", "36.5 %", "100.0 %"]
    chart = stage_bars(["a", "a", "b"], [0.5, 0.3, 0.2], [0.7, 0.3, 0])
    (rows,) = chart.to_dict()["datasets"].values()
    assert [row["label"] for row in rows] == ["a", "a (2)", "b"], "Two tokens may look alike."
    assert [row["text"] for row in rows] == ["70.0 %", "30.0 %", "removed"]
    assert bars({"a": 0.0, "b": 0.0}).to_dict()


# ---- prompts ----


def test_changed_prompts_are_read_as_yaml_and_nothing_else() -> None:
    assert read_changed("example: {a: b}\nprompts:\n  title: 'A {x}'\n  two: [{human: b}]") == {
        "title": "A {x}",
        "two": [{"human": "b"}],
    }


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "prompts:", "prompts: text", "- a", "prompts:\n  a: 2026-13-45", "!!python/object:os.system {}"],
)
def test_prompts_that_cannot_be_used_say_so(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_changed(text)
    assert "Reset" in refused.value.hint

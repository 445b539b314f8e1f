"""What all chains have in common: every way to run one, its callbacks, its place in other programs, and who leaves."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from answers import Answers, answers
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.prompt_values import StringPromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableGenerator, RunnableLambda
from langchain_core.tracers.context import collect_runs

from phireside.chains.chain import Chain, Growing
from phireside.chains.cost import Cost, CostHandler
from phireside.chains.given import check_variables
from phireside.chains.loop import iterate, merged, together
from phireside.errors import EngineError, RequestError

PATIENCE = 60  # seconds, for what would hang
PROMPT = ChatPromptTemplate([("human", "Repeat: {text}")])


@dataclass(frozen=True)
class Said(Growing):
    text: str = ""


class Repeat(Chain[Said]):
    """What a model says, as it grows."""

    optional = ("tone",)

    def __init__(self, model: Answers) -> None:
        super().__init__({"prompt": PROMPT, "model": model})

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Said, None]:
        said = ""
        async for piece in (PROMPT | self.parts["model"]).astream({"text": given["text"]}):
            said += piece.text
            yield Said(said)


class Pair(Chain[Said]):
    variables = ("one", "two")

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Said, None]:
        yield Said(f"{given['one']} {given['two']}")


class Seen(BaseCallbackHandler):
    """Which runs began inside of which."""

    def __init__(self) -> None:
        self.names: dict[Any, str] = {}
        self.inside: list[tuple[str, str]] = []
        self.ended = 0

    def _began(self, kind: str, name: str, run_id: Any, parent: Any) -> None:
        self.names[run_id] = name or kind
        self.inside.append((self.names[run_id], self.names.get(parent, "")))

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: Any, parent_run_id: Any = None, **kw: Any
    ) -> None:
        self._began("chain", kw.get("name", ""), run_id, parent_run_id)

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: Any, parent_run_id: Any = None, **kw: Any
    ) -> None:
        self._began("model", serialized["id"][-1], run_id, parent_run_id)

    def on_chain_end(self, outputs: Any, **kw: Any) -> None:
        self.ended += 1


@pytest.fixture
def model() -> Answers:
    return answers(lambda messages: messages[-1].text.removeprefix("Repeat: "))


async def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        await asyncio.sleep(0.01)


# ---- every way to run it ----


async def test_all_ways_to_run_it_give_the_same_also_inside_a_running_loop(model: Answers) -> None:
    chain, whole = Repeat(model), Said("a b c")
    assert chain.invoke("a b c") == whole
    assert await chain.ainvoke({"text": "a b c"}) == whole
    assert chain.batch(["a b c"] * 3) == [whole] * 3
    assert await chain.abatch(["a b c"] * 3) == [whole] * 3
    texts = ["a", "a b", "a b c", "a b c"]
    assert [each.text for each in chain.stream("a b c")][:4] == texts
    assert [each.text async for each in chain.astream("a b c")][:4] == texts


def test_many_threads_at_once_get_their_own_answers(model: Answers) -> None:
    chain = Repeat(model)
    with ThreadPoolExecutor(8) as pool:
        assert [each.text for each in pool.map(chain.invoke, map(str, range(24)))] == [str(n) for n in range(24)]


def test_the_schemas_and_the_graph_say_what_it_is(model: Answers) -> None:
    chain = Repeat(model)
    assert chain.get_input_schema().model_json_schema()["required"] == ["text"]
    assert set(chain.get_input_schema().model_fields) == {"text", "tone"}
    assert (chain.InputType, chain.OutputType) == (str | dict[str, Any], Said)
    assert Pair().InputType == dict[str, Any]
    graph = chain.get_graph()
    assert [node.name for node in graph.nodes.values()][1:-1] == ["prompt", "model"]
    assert len(graph.edges) == 3
    assert "model" in graph.draw_mermaid()


@pytest.mark.parametrize(
    ("chain", "given", "said"),
    [
        (Pair(), "x", "Pair was given str. Pass a dict with one, two"),
        (Pair(), {"one": "x"}, "missing: two"),
        (Pair(), {"one": "x", "two": "y", "three": "z"}, "unknown: three"),
        (Pair(), {"one": "x", "two": " \n"}, "empty two"),
        (Repeat(answers("x")), "", "empty text"),
        (Repeat(answers("x")), {}, "missing: text"),
        (Repeat(answers("x")), {"text": "x", "tune": "y"}, "unknown: tune"),
    ],
)
async def test_variables_are_strict(chain: Chain[Said], given: Any, said: str) -> None:
    for call in (chain.invoke, lambda value: list(chain.stream(value)), lambda value: chain.batch([value])):
        with pytest.raises(RequestError, match=said) as caught:
            call(given)
        assert caught.value.hint
    with pytest.raises(RequestError, match=said):
        await chain.ainvoke(given)


@pytest.mark.parametrize(
    "given",
    [
        AIMessage("I love it"),
        {"text": AIMessage([{"type": "text", "text": "I love it"}])},
        StringPromptValue(text="I love it"),
        ChatPromptTemplate([("human", "I {verb} it")]).invoke({"verb": "love"}),
    ],
)
def test_of_a_message_or_a_prompt_the_text_is_taken(given: Any, model: Answers) -> None:
    assert Repeat(model).invoke(given).text == "I love it"


def test_a_model_may_stand_before_a_chain(model: Answers) -> None:
    before = answers("I love it")
    assert (before | Repeat(model)).invoke("x").text == "I love it"
    assert [each.text for each in (before | Repeat(model)).stream("x")][-1] == "I love it"


@pytest.mark.parametrize("value", [None, float("nan"), 3, ["a"], Said("x"), b"x"])
def test_what_is_no_text_is_refused_and_not_written_out(value: Any, model: Answers) -> None:
    for given in (value, {"text": value}):
        with pytest.raises(RequestError, match=f"given {type(value).__name__}") as caught:
            Repeat(model).invoke(given)
        assert "text" in caught.value.hint
    assert model.asked == []


def test_free_variables_may_be_of_other_kinds_but_not_missing() -> None:
    class Loose(Pair):
        free = ("two",)

    assert Loose().given({"one": "x", "two": 3}) == {"one": "x", "two": 3}
    for given in ({"one": 3, "two": "x"}, {"one": "x", "two": None}, {"one": "x", "two": float("nan")}):
        with pytest.raises(RequestError, match="was given"):
            Loose().given(given)


def test_optional_variables_may_be_there_and_values_need_not_be_texts() -> None:
    assert Repeat(answers("x")).given({"text": "a", "tone": ""}) == {"text": "a", "tone": ""}
    check_variables("it", {"number": 0}, ["number"])


@pytest.mark.parametrize("error", [RequestError("Too hot."), ValueError("no such key")])
async def test_an_error_goes_through_as_it_is(error: Exception) -> None:
    chain = Repeat(answers(lambda messages: error))
    for call in (chain.invoke, lambda value: list(chain.stream(value))):
        with pytest.raises(type(error)) as caught:
            call("x")
        assert caught.value is error
    with pytest.raises(type(error)):
        await chain.ainvoke("x")
    assert chain.batch(["x"], return_exceptions=True) == [error]


# ---- in other programs ----


def test_it_is_a_step_of_a_sequence_also_behind_one_that_streams(model: Answers) -> None:
    def words(inputs: Any) -> Any:
        yield from ("a ", "b ", "c")

    async def awords(inputs: Any) -> AsyncIterator[str]:
        for word in ("a ", "b ", "c"):
            yield word

    chain = RunnableGenerator(words, awords) | Repeat(model) | RunnableLambda(lambda said: said.text.upper())
    assert chain.invoke("x") == "A B C"
    assert list(chain.stream("x")) == ["A B C"]


async def test_it_is_a_node_of_langgraph(model: Answers) -> None:
    from langgraph.graph import END, START, StateGraph

    class State(TypedDict):
        text: str
        answer: str

    def asked(state: State) -> str:
        return state["text"]

    def answered(said: Said) -> dict[str, str]:
        return {"answer": said.text}

    builder = StateGraph(State)
    builder.add_node("repeat", RunnableLambda(asked) | Repeat(model) | RunnableLambda(answered))
    builder.add_edge(START, "repeat")
    builder.add_edge("repeat", END)
    graph = builder.compile()
    assert graph.invoke({"text": "a b"})["answer"] == "a b"
    assert (await graph.ainvoke({"text": "a b"}))["answer"] == "a b"


async def test_callbacks_see_the_chain_and_what_runs_in_it(model: Answers) -> None:
    chain = Repeat(model)
    ways: list[Seen] = [Seen() for _ in range(4)]
    chain.invoke("a", {"callbacks": [ways[0]]})
    await chain.ainvoke("a", {"callbacks": [ways[1]]})
    list(chain.stream("a", {"callbacks": [ways[2]]}))
    chain.batch(["a"], {"callbacks": [ways[3]]})
    for seen in ways:
        assert seen.inside == [
            ("Repeat", ""), ("RunnableSequence", "Repeat"),
            ("ChatPromptTemplate", "RunnableSequence"), ("Answers", "RunnableSequence"),
        ]  # fmt: skip
        assert seen.ended >= 2


async def test_tracers_and_events_see_it(model: Answers) -> None:
    with collect_runs() as runs:
        Repeat(model).invoke("a", {"tags": ["mine"], "metadata": {"user": "me"}})
    (run,) = runs.traced_runs
    assert run.name == "Repeat"
    assert run.child_runs[0].child_runs[-1].run_type == "llm"
    assert "mine" in run.child_runs[0].child_runs[-1].tags
    events = [event["event"] async for event in Repeat(model).astream_events("a b", version="v2")]
    assert events.count("on_chat_model_end") == 1
    assert "on_chat_model_stream" in events


def test_the_callers_context_is_seen_inside() -> None:
    place: ContextVar[str] = ContextVar("place", default="nowhere")
    place.set("here")
    assert Repeat(answers(lambda messages: place.get())).invoke("x").text == "here"


# ---- who leaves ----


async def test_who_leaves_a_stream_stops_the_model() -> None:
    model = answers("word " * 500, pause=0.005)
    chain = Repeat(model)
    reading: Any = chain.stream("x")
    assert next(reading).text == "word"
    reading.close()
    await until(lambda: len(model.left) == 1)
    stream: Any = chain.astream("x")
    await anext(stream)
    await stream.aclose()
    await until(lambda: len(model.left) == 2)
    task = asyncio.create_task(chain.ainvoke("x"))
    await until(lambda: len(model.asked) == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: len(model.left) == 3)


def test_a_stream_that_is_forgotten_stops_the_model_too() -> None:
    model = answers("word " * 500, pause=0.005)
    next(iter(Repeat(model).stream("x")))
    asyncio.run(until(lambda: model.left == [1]))


# ---- the loop ----


def test_a_chain_that_waits_for_itself_is_told_so_and_does_not_hang(model: Answers) -> None:
    class Inside(Chain[Said]):
        async def run(self, given: dict[str, Any]) -> AsyncGenerator[Said, None]:
            yield Repeat(model).invoke(given["text"])

    with pytest.raises(EngineError, match="ainvoke"):
        Inside().invoke("x")


def test_values_come_as_they_are_made_and_nothing_runs_before_the_first_is_asked_for() -> None:
    made: list[int] = []
    go = threading.Event()

    async def numbers() -> AsyncGenerator[int, None]:
        for number in range(3):
            made.append(number)
            yield number
            while number == 0 and not go.is_set():
                await asyncio.sleep(0.002)

    values = iterate(numbers())
    assert made == []
    assert next(values) == 0
    assert made == [0]
    go.set()
    assert list(values) == [1, 2]


def test_errors_among_the_values_are_values() -> None:
    async def odd() -> AsyncGenerator[Exception, None]:
        yield ValueError("a value")

    assert [str(each) for each in iterate(odd())] == ["a value"]


async def test_together_gives_results_in_order_or_one_error_and_stops_the_rest() -> None:
    stopped: list[int] = []

    async def work(number: int) -> int:
        try:
            await asyncio.sleep(0.02 * (3 - number) if number < 9 else PATIENCE)
        except asyncio.CancelledError:
            stopped.append(number)
            raise
        if number == 2:
            raise RequestError("Two.")
        return number

    assert await together([work(0), work(1)]) == [0, 1]
    with pytest.raises(RequestError, match="Two"):
        await together([work(9), work(2)])
    assert stopped == [9]


async def test_merged_gives_values_as_they_come_and_stops_all_when_left() -> None:
    stopped: list[str] = []

    async def ticks(name: str, count: int) -> AsyncGenerator[int, None]:
        try:
            for number in range(count):
                yield number
                await asyncio.sleep(0.005)
        finally:
            stopped.append(name)

    got = [each async for each in merged({"a": ticks("a", 3), "b": ticks("b", 3)})]
    assert [value for name, value in got if name == "a"] == [0, 1, 2]
    assert {name for name, _ in got[:2]} == {"a", "b"}
    stopped.clear()
    stream = merged({"a": ticks("a", 999), "b": ticks("b", 999)})
    await anext(stream)
    await stream.aclose()
    assert sorted(stopped) == ["a", "b"]
    assert [each async for each in merged({})] == []


# ---- cost ----


def message(asked: int, said: int, cached: int | None = None) -> AIMessage:
    usage: Any = {"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said}
    if cached is not None:
        usage["input_token_details"] = {"cache_read": cached}
    return AIMessage("x", usage_metadata=usage)


def test_costs_add_up_and_a_model_without_figures_costs_calls() -> None:
    cost = Cost.of([message(10, 2), message(20, 3, cached=15), AIMessage("x")])
    assert cost == Cost(calls=3, prompt_tokens=30, cached_tokens=15, generated_tokens=5)
    assert cost.evaluated_tokens == 15
    assert cost + Cost() == cost
    assert Cost.of([]) == Cost()


async def test_a_handler_counts_whatever_runs_below_it(model: Answers) -> None:
    handler = CostHandler()
    Repeat(model).batch(["a b", "c"], {"callbacks": [handler]})
    await model.ainvoke("a b c", {"callbacks": [handler]})
    assert handler.cost == Cost(calls=3, prompt_tokens=8, generated_tokens=6)

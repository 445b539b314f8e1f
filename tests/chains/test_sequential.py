"""Chains of prompts: what each link is asked, what comes out, how it streams, and wiring that cannot work."""

import asyncio
import time
from typing import Any

import pytest
from answers import Answers, answers
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableLambda

from phireside.chains.cost import Cost
from phireside.chains.prompt import Prompt
from phireside.chains.sequential import Link, parallel_merge, sequential
from phireside.errors import RequestError
from phireside.models import PRESETS, ChatGGUF
from phireside.settings import Settings

TITLE, STORY = Link("title", "Title: {summary}"), Link("story", "{title} of {summary}")


def echo(messages: list[BaseMessage]) -> str:
    return f"<{messages[-1].text}>"


@pytest.fixture
def model() -> Answers:
    return answers(echo)


# ---- results ----


def test_each_link_sees_the_answers_before_it_and_all_results_are_kept(model: Answers) -> None:
    result = sequential([TITLE, STORY], model=model).invoke({"summary": "a girl"})
    assert result["summary"] == "a girl"
    assert result["title"] == "<Title: a girl>"
    assert result["story"] == "<<Title: a girl> of a girl>"
    assert result["cost"] == Cost(calls=2, prompt_tokens=9, generated_tokens=9)
    assert result["shortened"] == []


async def test_all_ways_to_run_it_give_the_same(model: Answers) -> None:
    chain = sequential([TITLE, STORY], model=model)
    expected = chain.invoke("a girl")
    assert await chain.ainvoke("a girl") == expected
    assert chain.batch(["a girl"] * 3) == [expected] * 3
    assert await chain.abatch(["a girl"] * 2) == [expected] * 2
    assert _sum(chain.stream("a girl")) == expected
    assert _sum(iter([piece async for piece in chain.astream("a girl")])) == expected
    assert {type(value) for value in expected.values()} == {str, Cost, list}


def test_a_stream_has_the_pieces_under_their_keys_in_order(model: Answers) -> None:
    pieces = list(sequential([TITLE, STORY], model=model).stream("a girl"))
    assert pieces[0] == {"summary": "a girl"}
    assert {"title": "<Title:"} in pieces
    assert [key for piece in pieces for key in piece if key in ("title", "story")] == sorted(
        [key for piece in pieces for key in piece if key in ("title", "story")], reverse=True
    )
    assert list(pieces[-1]) == ["cost", "shortened"]


def test_the_first_piece_comes_before_the_answer_is_whole() -> None:
    model = answers(echo, pause=0.01)
    stream = sequential([TITLE, STORY], model=model).stream("a girl")
    while "title" not in next(stream):
        pass
    assert len(model.asked) == 1
    assert "story" in {key for piece in stream for key in piece}


def test_braces_in_the_input_and_in_answers_are_data() -> None:
    result = sequential([TITLE, STORY], model=answers("{title} {summary} {0}")).invoke("{title} {}")
    assert result["story"] == "{title} {summary} {0}"


def test_white_space_around_answers_is_taken_away_and_a_line_is_one_line() -> None:
    chain = sequential(
        [Link("text", "{x}"), Link("line", "{x} {text}", one_line=True)], model=answers('\n "A  b"\nc d ')
    )
    for result in (chain.invoke("x"), _sum(chain.stream("x"))):
        assert result["text"] == '"A  b"\nc d'
        assert result["line"] == "A  b"


def test_the_engine_gets_a_grammar_for_a_line_and_another_model_none(settings: Settings) -> None:
    links = [Link("a", "{x}", one_line=True), Link("b", "{x}"), Link("c", "{x}", model=answers("x"), one_line=True)]
    graph = sequential(links, model=ChatGGUF(model="starter", settings=settings)).get_graph()
    bound = [getattr(node.data, "kwargs", {}) for node in graph.nodes.values() if node.name in ("ChatGGUF", "Answers")]
    assert [list(arguments) for arguments in bound] == [["grammar"], [], []]


def test_an_answer_that_says_nothing_is_an_empty_text() -> None:
    assert sequential([Link("a", "{x}"), Link("b", "{x}", one_line=True)], model=answers(" ")).invoke("x")["b"] == ""


def test_answers_that_were_cut_off_are_named() -> None:
    chain = sequential(
        [TITLE, Link("story", "{title}", model=answers("long", finish_reason="length"))], model=answers("T")
    )
    assert chain.invoke("x")["shortened"] == ["story"]


def test_links_have_their_own_models_and_sampling() -> None:
    default, other = answers("a"), answers("b")
    links = [
        Link("one", "{x}", sampling=PRESETS["creative"]),
        Link("two", "{one}", model=other, sampling={"temperature": 0, "max_tokens": 9}),
        Link(
            "three", Prompt.of(instruction="Sum up.", data="{two}"), model=default.bind(seed=1), sampling={"top_k": 2}
        ),
    ]
    result = sequential(links, model=default).invoke("x")
    assert (result["one"], result["two"], result["three"]) == ("a", "b", "a")
    preset = PRESETS["creative"]
    assert default.arguments == [
        {"temperature": preset.temperature, "top_p": preset.top_p}, {"seed": 1, "top_k": 2},
    ]  # fmt: skip
    assert other.arguments == [{"temperature": 0, "max_tokens": 9}]


def test_the_schemas_name_inputs_and_results(model: Answers) -> None:
    chain = sequential([TITLE, STORY], model=model)
    assert list(chain.get_input_schema().model_fields) == ["summary"]
    assert list(chain.get_output_schema().model_fields) == ["summary", "title", "story", "cost", "shortened"]


def test_a_variable_may_be_a_number_a_list_or_a_message_but_not_nothing() -> None:
    model = answers("x")
    chain = sequential([Link("ideas", "{count} ideas: {notes} {said}")], model=model)
    chain.invoke({"count": 3, "notes": ["a"], "said": AIMessage("Hello.")})
    assert model.asked == [[("human", "3 ideas: ['a'] Hello.")]]
    for nothing in (None, float("nan")):
        with pytest.raises(RequestError, match="as count"):
            chain.invoke({"count": nothing, "notes": "b", "said": "c"})


def test_it_is_a_step_of_a_longer_chain(model: Answers) -> None:
    chain = RunnableLambda(lambda text: {"summary": text}) | sequential([TITLE, STORY], model=model)
    assert chain.pick("title").invoke("a girl") == "<Title: a girl>"


# ---- side by side ----


def test_prompts_side_by_side_run_at_once_and_one_merges_them() -> None:
    links = [Link(key, f"{key} of {{dish}}") for key in ("one", "two", "three")]
    model = answers(lambda messages: f"[{messages[0].text}]", pause=0.02)
    chain = parallel_merge(links, Link("merged", "list {one} {two} {three}"), model=model)
    pieces = list(chain.stream("soup"))
    keys = [key for piece in pieces for key in piece if key in ("one", "two", "three")]
    assert keys != sorted(keys, key=["one", "two", "three"].index)  # their pieces come in turn
    result = _sum(iter(pieces))
    assert result["merged"] == "[list [one of soup] [two of soup] [three of soup]]"
    assert result["cost"].calls == 4


async def test_if_one_of_them_fails_its_error_is_raised_and_the_others_are_stopped() -> None:
    def rule(messages: list[BaseMessage]) -> Any:
        return RequestError("Too hot.") if messages[0].text.startswith("two") else "word " * 500

    model = answers(rule, pause=0.01)
    links = [Link(key, f"{key} of {{dish}}") for key in ("one", "two", "three")]
    with pytest.raises(RequestError, match="Too hot"):
        await parallel_merge(links, Link("all", "{one}{two}{three}"), model=model).ainvoke("x")
    assert len(model.left) == 2
    assert len(model.asked) == 3


# ---- what cannot work ----


@pytest.mark.parametrize(
    ("links", "inputs", "said"),
    [
        ([], None, "no links"),
        ([[]], None, "no links"),
        ([STORY, TITLE], None, r"'story' uses \{title\}, which comes no earlier"),
        ([[TITLE, STORY]], None, r"'story' uses \{title\}, which comes no earlier"),
        ([Link("a", "{a}")], None, r"'a' uses \{a\}, which comes no earlier"),
        ([Link("title", "{sumary}")], ["summary"], "No link uses the input summary"),
        ([TITLE, Link("story", "{tilte}")], ["summary"], r"'story' uses \{tilte\}, which nobody gives.*summary, title"),
        ([TITLE, Link("title", "{summary}")], None, "title is given more than once"),
        ([Link("summary", "{x}"), TITLE], ["x", "summary"], "summary is given more than once"),
        ([Link("cost", "{x}")], None, "'cost' cannot be the name"),
        ([Link("_a", "{x}")], None, "'_a' cannot be the name"),
        ([Link("a", "{_x}")], None, "'_x' cannot be the name"),
        ([Link("a b", "{x}")], None, "'a b' cannot be the name"),
        ([Link("a", "{shortened}")], None, "'shortened' cannot be the name"),
        ([Link("a", "{x.y}")], None, "prompt of the link 'a' cannot be used"),
        ([Link("a", "{x")], None, "prompt of the link 'a' cannot be used"),
        ([Link("a", 7)], None, "prompt of the link 'a' cannot be used"),
        ([Link("a", [("robot", "x")])], None, "'robot' is no role"),
    ],
)
def test_wiring_that_cannot_work_is_found_when_the_chain_is_built(links: Any, inputs: Any, said: str) -> None:
    with pytest.raises(RequestError, match=said) as caught:
        sequential(links, model=answers("x"), inputs=inputs)
    assert caught.value.hint


@pytest.mark.parametrize("given", [{}, {"summary": "x", "title": "y"}, {"summary": " "}, ["x"], ""])
async def test_inputs_are_strict(given: Any, model: Answers) -> None:
    chain = sequential([TITLE, STORY], model=model)
    for call in (chain.invoke, lambda value: list(chain.stream(value))):
        with pytest.raises(RequestError, match="sequential"):
            call(given)
    with pytest.raises(RequestError):
        await chain.ainvoke(given)
    assert model.asked == []


def test_something_else_than_a_model_is_refused() -> None:
    with pytest.raises(RequestError, match="no chat model"):
        sequential([Link("a", "{x}", one_line=True)], model=RunnableLambda(str))  # type: ignore[arg-type]


async def test_a_models_error_goes_through(model: Answers) -> None:
    chain = sequential([TITLE, STORY], model=answers(lambda messages: RequestError("Too hot.", hint="Cool down.")))
    with pytest.raises(RequestError, match="Too hot"):
        chain.invoke("x")
    with pytest.raises(RequestError, match="Too hot"):
        _sum(chain.stream("x"))
    with pytest.raises(RequestError, match="Too hot"):
        await chain.ainvoke("x")


async def test_who_leaves_a_stream_stops_the_model() -> None:
    model = answers("word " * 500, pause=0.005)
    chain = sequential([TITLE, STORY], model=model)
    stream: Any = chain.astream("x")
    async for piece in stream:
        if "title" in piece:
            break
    await stream.aclose()
    assert len(model.left) == 1
    pieces: Any = chain.stream("x")
    while "title" not in next(pieces):
        pass
    pieces.close()
    limit = time.monotonic() + 60
    while len(model.left) < 2:
        assert time.monotonic() < limit, "the model was not stopped"
        await asyncio.sleep(0.01)
    assert len(model.asked) == 2


# ---- real weights ----


@pytest.mark.real
def test_the_engine_decodes_a_line_under_a_grammar_and_runs_links_in_one_batch(
    settings: Settings, starter_path: Any
) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=24)
    links = [Link(key, f"Name one {key} {{kind}}.", one_line=True) for key in ("red", "green")]
    result = parallel_merge(links, Link("both", "{red} and {green}"), model=model).invoke("fruit")
    for key in ("red", "green"):
        assert result[key] == result[key].strip(' "\n')
        assert "\n" not in result[key]
    assert result["cost"].calls == 3
    assert result["cost"].cached_tokens > 0


def _sum(pieces: Any) -> Any:
    whole = next(pieces)
    for piece in pieces:
        whole = whole + piece
    return whole

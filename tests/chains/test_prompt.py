"""Prompts of pieces: what they become, what they refuse, what they cost; and the choice of examples."""

from typing import Any

import pytest
from answers import answers
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.embeddings import Embeddings
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.prompts import BaseChatPromptTemplate

from phireside.chains.prompt import PIECES, Examples, Prompt
from phireside.errors import PhiresideError, RequestError
from phireside.models import ChatGGUF
from phireside.settings import Settings

BOOK = Prompt.of(
    persona="You are an expert in language models.",
    instruction="Summarize the key findings of the paper.",
    context="The summary should extract the most crucial points.",
    format="Create a bullet-point summary.",
    audience="The summary is for busy researchers.",
    tone="The tone should be professional and clear.",
    data="Text to summarize: {text}",
)
PAIRS = [("I love it", "positive"), ("It is a dog", "neutral"), ("I hate it", "negative"), ("A cat", "neutral")]


class Letters(Embeddings):
    """How often each letter occurs; counts what it was asked to embed."""

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.embedded += texts
        return [[1.0 + text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def names(prompt: Prompt) -> list[str]:
    return [name for name, _ in prompt.pieces]


# ---- pieces ----


def test_pieces_are_lines_of_one_human_message_in_their_order() -> None:
    (message,) = BOOK.format_messages(text="T")
    assert isinstance(message, HumanMessage)
    assert message.text.splitlines()[0] == "You are an expert in language models."
    assert message.text.splitlines()[-1] == "Text to summarize: T"
    assert len(message.text.splitlines()) == 7


def test_removing_and_adding_and_reordering_give_new_prompts() -> None:
    assert names(BOOK.remove("tone", "audience")) == ["persona", "instruction", "context", "format", "data"]
    assert len(BOOK.pieces) == 7
    short = Prompt.of(instruction="Sum up.", data="{text}")
    assert names(short.add(tone="Kindly.")) == ["instruction", "data", "tone"]
    assert names(short.add(tone="Kindly.", format="As a list.", before="data")) == [
        "instruction", "tone", "format", "data",
    ]  # fmt: skip
    assert names(short.reorder("data")) == ["data", "instruction"]
    assert short.add(instruction="Shorten.").format_messages(text="x")[0].text == "Shorten.\nx"
    moved = short.add(tone="Kindly.").add(tone="Gently.", before="instruction")
    assert moved.format_messages(text="x")[0].text == "Gently.\nSum up.\nx"


def test_a_prompt_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        BOOK.pieces = ()


@pytest.mark.parametrize(
    "pieces",
    [
        {},
        {"instruction": ""},
        {"instruction": " \n"},
        {"colour": "red"},
        {"instruction": Examples()},
        {"examples": "a → b"},
        {"instruction": 3},
        {"examples": Examples()},
        {"instruction": "Do.", "examples": Examples((("a", "b"),))},
        {"data": "{text"},
        {"data": "{}"},
        {"data": "{text.__class__}"},
        {"data": "{text[0]}"},
        {"data": "{text!r}"},
        {"data": "{text:>1000000000}"},
        {"data": "{text:{width}}"},
    ],
)
def test_pieces_that_cannot_be_used_are_refused_with_a_hint(pieces: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        Prompt.of(**pieces)
    assert caught.value.hint


@pytest.mark.parametrize("change", [lambda: BOOK.remove("examples"), lambda: BOOK.reorder("examples")])
def test_a_piece_that_is_not_there_is_named(change: Any) -> None:
    with pytest.raises(RequestError, match=r"no examples.*It has persona"):
        change()
    with pytest.raises(RequestError, match="no examples"):
        BOOK.add(tone="x", before="examples")


def test_the_last_piece_cannot_be_removed() -> None:
    with pytest.raises(RequestError, match="needs a text"):
        Prompt.of(data="{text}").remove("data")


# ---- variables ----


def test_it_is_a_prompt_of_langchain_and_a_part_of_a_chain() -> None:
    assert isinstance(BOOK, BaseChatPromptTemplate)
    model = answers("- good")
    assert (BOOK | model).invoke({"text": "A paper."}).text == "- good"
    assert (BOOK | model).invoke("A paper.").text == "- good"
    assert model.asked[0] == model.asked[1]
    assert list(BOOK.input_schema.model_json_schema()["properties"]) == ["text"]
    assert "Prompt" in [node.name for node in (BOOK | model).get_graph().nodes.values()]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "missing: text"),
        ({"text": "x", "topic": "y"}, "unknown: topic"),
        ({"txt": "x"}, "missing: text; unknown: txt"),
        ({"text": " "}, "empty text"),
    ],
)
async def test_variables_are_strict(given: dict[str, str], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        BOOK.invoke(given)
    with pytest.raises(RequestError, match=said):
        await BOOK.ainvoke(given)
    with pytest.raises(RequestError, match=said):
        BOOK.cost(answers("x"), **given)


def test_a_text_for_several_variables_is_refused() -> None:
    with pytest.raises(RequestError, match="Pass a dict with a, b"):
        Prompt.of(data="{a} {b}").invoke("x")


@given(st.text().filter(str.strip))
def test_what_is_filled_in_is_never_read_as_a_template(text: str) -> None:
    assert Prompt.of(data="{text}").format_messages(text=text)[0].text == text


def test_braces_in_data_and_escaped_braces_stay() -> None:
    prompt = Prompt.of(instruction="Answer as {{json}}.", data="{text}")
    assert prompt.input_variables == ["text"]
    assert prompt.format_messages(text="{instruction} {0} {{}}")[0].text == "Answer as {json}.\n{instruction} {0} {{}}"


def test_partial_variables_work_as_in_langchain() -> None:
    prompt = Prompt.of(instruction="Answer in {language}.", data="{text}").partial(language="French")
    assert prompt.input_variables == ["text"]
    assert prompt.invoke("Hi").to_messages()[0].text == "Answer in French.\nHi"
    for changed in (prompt.add(tone="Be brief."), prompt.add(before="data", tone="Be brief.")):
        assert "Answer in French." in changed.invoke("Hi").to_messages()[0].text
    assert prompt.remove("instruction").reorder("data").invoke("Hi").to_messages()[0].text == "Hi"


# ---- examples ----


def test_examples_are_messages_between_what_stands_before_and_behind_them() -> None:
    prompt = Prompt.of(instruction="Rate.", examples=Examples(tuple(PAIRS[:1])), data="{text}")
    assert prompt.format_messages(text="x") == [
        SystemMessage("Rate."), HumanMessage("I love it"), AIMessage("positive"), HumanMessage("x"),
    ]  # fmt: skip
    bare = Prompt.of(examples=Examples(tuple(PAIRS[:1])), data="{text}")
    assert [message.type for message in bare.format_messages(text="x")] == ["human", "ai", "human"]
    none = Prompt.of(instruction="Rate.", examples=Examples(), data="{text}")
    assert [message.type for message in none.format_messages(text="x")] == ["system", "human"]


async def test_the_most_similar_examples_are_chosen_and_their_vectors_computed_once() -> None:
    embeddings = Letters()
    prompt = Prompt.of(examples=Examples.similar(PAIRS, embeddings, 2), data="{text}")
    assert embeddings.embedded == [question for question, _ in PAIRS]
    said = [message.text for message in prompt.format_messages(text="I hate this; I loathe it")]
    assert said == ["I love it", "positive", "I hate it", "negative", "I hate this; I loathe it"]
    assert [message.text for message in await prompt.aformat_messages(text="I hate this; I loathe it")] == said
    assert len(embeddings.embedded) == len(PAIRS) + 2


def test_more_examples_than_there_are_gives_all_and_braces_in_them_stay() -> None:
    prompt = Prompt.of(examples=Examples.similar([("{a}", "{b}")], Letters(), 9), data="{text}")
    assert [message.text for message in prompt.format_messages(text="x")] == ["{a}", "{b}", "x"]


@pytest.mark.parametrize("pairs", [[("a", "")], [("a",)], [("a", "b", "c")], [("a", 3)]])
def test_odd_examples_are_refused(pairs: Any) -> None:
    with pytest.raises(RequestError, match="question and an answer"):
        Examples(tuple(pairs))


@pytest.mark.parametrize(("pairs", "count"), [([], 3), (PAIRS, 0)])
def test_a_choice_among_none_or_of_none_is_refused(pairs: Any, count: int) -> None:
    with pytest.raises(RequestError, match=r"no examples|at least 1"):
        Examples.similar(pairs, Letters(), count)


# ---- cost ----


def test_another_models_cost_is_an_estimate_that_adds_up() -> None:
    cost = BOOK.cost(answers("x"), text="word " * 40)
    assert list(cost.pieces) == ["template", *(name for name in PIECES if name != "examples")]
    assert not cost.exact
    assert cost.pieces["data"] > cost.pieces["persona"] > 0
    none = BOOK.add(examples=Examples(), before="data").cost(answers("x"), text="word")
    assert none.pieces["examples"] == 0


@pytest.mark.real
@pytest.mark.parametrize("examples", [None, Examples(), Examples(tuple(PAIRS)), Examples.similar(PAIRS, Letters(), 1)])
def test_the_engines_cost_adds_up_to_exactly_what_the_prompt_costs(
    examples: Examples | None, settings: Settings, starter_path: Any
) -> None:
    model = ChatGGUF(model="starter", settings=settings)
    prompt = BOOK.add(examples=examples, before="data") if examples else BOOK
    cost = prompt.cost(model.bind(max_tokens=9), text="A {paper} about cats.")
    assert cost.exact
    assert cost.total == model.get_num_tokens_from_messages(prompt.format_messages(text="A {paper} about cats."))
    assert list(cost.pieces) == ["template", *names(prompt)]
    assert all(tokens > 0 for name, tokens in cost.pieces.items() if name != "examples")
    without = prompt.remove("tone").cost(model, text="A {paper} about cats.")
    assert without.total < cost.total


@pytest.mark.real
def test_a_text_ten_times_the_context_is_refused_with_the_numbers(settings: Settings, tiny_chatml: Any) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, n_ctx=160, max_tokens=8)
    with pytest.raises(PhiresideError, match=r"160|152"):
        (BOOK | model).invoke("word " * 1600)

"""Long texts: pieces that fit exactly, all at once, merged in rounds; summaries of any length."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from answers import Answers, answers
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.messages.utils import count_tokens_approximately

from phireside.chains import Reduced, extract, map_reduce, summarize
from phireside.chains.long_text import AT_ONCE, Window, as_done
from phireside.errors import ContextOverflowError, EngineError, RequestError
from phireside.models import ChatGGUF
from phireside.settings import Settings

SIZE, ANSWER = 400, 40  # tokens, as LangChain estimates them: a quarter of the characters
SENTENCE = "The keeper of the lamp counted the ships. "


def reader(rule: Any = "short", **fields: Any) -> Answers:
    """A model that says how much it can read, and refuses more."""

    def strict(messages: list[BaseMessage]) -> Any:
        used = count_tokens_approximately(messages)
        if used + ANSWER > SIZE:
            return ContextOverflowError(f"{used} tokens")
        return rule(messages) if callable(rule) else rule

    return answers(strict, profile={"max_input_tokens": SIZE}, **fields)


def told(text: str) -> list[BaseMessage]:
    return [HumanMessage(f"Read this: {text}")]


@limits(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(["word ", "Sentence. ", "\n\n", "\n", "é, ", "x" * 300, "很长。"]), max_size=300))
def test_pieces_fit_and_lose_nothing_but_white_space(parts: list[str]) -> None:
    text = "".join(parts)
    window = Window(reader(), ANSWER)
    pieces = window.pieces(text, told)
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(window.fits(told(piece)) for piece in pieces)


def test_pieces_end_where_sentences_do() -> None:
    pieces = Window(reader(), ANSWER).pieces(SENTENCE * 200, told)
    assert len(pieces) > 5
    assert all(piece.endswith("ships.") for piece in pieces)


def test_a_text_that_fits_stays_whole_and_so_does_any_text_of_a_model_of_unknown_size() -> None:
    assert Window(reader(), ANSWER).pieces("  one\n", told) == ["  one\n"]
    assert Window(answers("a"), ANSWER).pieces(SENTENCE * 5000, told) == [SENTENCE * 5000]


def test_no_room_for_any_text_is_an_error_with_the_numbers() -> None:
    with pytest.raises(ContextOverflowError, match=r"context of 400 tokens .* the answer 390, which leaves 3"):
        Window(reader(), 390).pieces(SENTENCE * 100, told)


def test_a_text_that_fits_is_one_call_of_the_first_prompt() -> None:
    model = reader("two words")
    found = map_reduce("Map {text}", "Reduce {text}", model=model, max_tokens=ANSWER).invoke("a {b} text")
    assert found == Reduced("two words", cost=found.cost)
    assert model.asked == [[("human", "Map a {b} text")]]
    assert found.cost.calls == 1
    assert model.arguments[0]["max_tokens"] == ANSWER


def test_a_text_ten_times_the_context_is_read_in_pieces_and_merged_in_rounds() -> None:
    model = reader(lambda messages: f"{messages[0].text.split()[0]} said " + "much " * 28)
    text = SENTENCE * (SIZE * 4 * 10 // len(SENTENCE))
    found = map_reduce("Map {text}", "Reduce {text}", model=model, max_tokens=ANSWER).invoke(text)
    assert found.text.startswith("Reduce said")
    assert found.rounds >= 2
    assert len(found.parts) >= 10
    assert set(found.parts) == {"Map said " + "much " * 28}
    assert found.cost.calls == len(model.asked)
    read = "".join(asked[0][1].removeprefix("Map ") for asked in model.asked[: len(found.parts)])
    assert "".join(sorted(read)).split() == "".join(sorted(text)).split()  # all of it, in whatever order


def test_the_parts_come_first_in_the_texts_order_and_then_the_answer_grows() -> None:
    model = reader(lambda messages: "one two three" if "Reduce" in messages[0].text else messages[0].text[-20:])
    stream = list(map_reduce("Map {text}", "Reduce {text}", model=model, max_tokens=ANSWER).stream(SENTENCE * 80))
    whole = stream[-1]
    assert [len(each.parts) for each in stream[: len(whole.parts)]] == list(range(1, len(whole.parts) + 1))
    assert [each.text for each in stream[len(whole.parts) :]][:3] == ["one", "one two", "one two three"]
    assert whole.rounds == 1


def test_further_variables_of_the_prompts_become_inputs() -> None:
    model = reader()
    chain = map_reduce("{question}\n{text}", "{question} Merge {text}", model=model, max_tokens=ANSWER)
    chain.invoke({"text": SENTENCE * 80, "question": "Who?"})
    assert all(asked[0][1].startswith("Who?") for asked in model.asked)
    with pytest.raises(RequestError, match="missing: question"):
        chain.invoke({"text": "a"})


def test_prompts_without_a_place_for_the_text_are_refused() -> None:
    for bad in ("no place", "{text!r} {0}", 3):
        with pytest.raises(RequestError, match="map_reduce"):
            map_reduce(bad, "{text}", model=reader())


def test_answers_of_which_not_two_fit_are_an_error_that_names_the_limit() -> None:
    model = reader("much " * 300)
    with pytest.raises(ContextOverflowError, match="Two answers of up to 40 tokens"):
        map_reduce("{text}", "{text}", model=model, max_tokens=ANSWER).invoke(SENTENCE * 80)


async def test_an_error_of_one_piece_is_raised_and_ends_the_others() -> None:
    begun: list[int] = []

    async def call(number: int) -> int:
        begun.append(number)
        await asyncio.sleep(0 if number == 3 else 60)
        raise EngineError("three")

    with pytest.raises(EngineError, match="three"):
        async for _ in as_done([lambda number=number: call(number) for number in range(50)]):  # type: ignore[misc]
            pass
    assert len(begun) <= AT_ONCE + 1


def test_summarize_asks_for_so_many_words_and_says_when_it_was_cut() -> None:
    model = reader("a summary", finish_reason="length")
    found = summarize(model=model, words=7, max_tokens=ANSWER).invoke("text {x}")
    assert found.shortened
    assert "at most 7 words" in model.asked[0][-1][1]
    assert "{x}" in model.asked[0][-1][1]
    with pytest.raises(RequestError, match="words is 0"):
        summarize(model=model, words=0)
    with pytest.raises(RequestError, match="empty text"):
        summarize(model=model).invoke("\n")


@pytest.mark.parametrize("make", [summarize, lambda **options: map_reduce("{text}", "{text}", **options)])
def test_a_limit_below_one_is_refused(make: Any) -> None:
    for limit in (0, -5):
        with pytest.raises(RequestError, match=f"max_tokens is {limit}"):
            make(model=reader(), max_tokens=limit)


async def test_counting_tokens_does_not_hold_up_the_loop() -> None:
    """`Window` loads a model, which takes seconds."""
    loops: list[Any] = []

    class Noted(dict[str, Any]):
        def get(self, *_: Any) -> None:  # type: ignore[override]
            loops.append(asyncio._get_running_loop())

    model = answers("{}")
    object.__setattr__(model, "profile", Noted(a=1))
    await summarize(model=model).ainvoke("a")
    await extract({"type": "object"}, model=model).ainvoke("a")
    assert loops
    assert set(loops) == {None}


def test_it_works_in_batches() -> None:
    chain = summarize(model=reader(), max_tokens=ANSWER)
    assert [found.text for found in chain.batch(["one", "two"])] == ["short", "short"]


@pytest.mark.real
def test_the_starter_summarizes_a_text_longer_than_its_context(settings: Settings, starter_path: Path) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=0, n_ctx=256)
    text = " ".join(f"On day {number} the keeper counted {number * 3} ships." for number in range(40))
    window = Window(model, 24)
    pieces = window.pieces(text, told)
    assert len(pieces) > 1
    assert max(model.get_num_tokens_from_messages(told(piece)) for piece in pieces) + 24 <= 256
    found = summarize(model=model, words=10, max_tokens=24).invoke(text)
    assert found.text
    assert found.rounds >= 1

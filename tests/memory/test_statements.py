"""Which sentences of a message are shown to a model, and that nothing becomes a fact that the person did not write."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.runnables import RunnableLambda
from rehearsed import Rehearsed, rehearsed

from phireside.memory import statements
from phireside.memory.facts import AT_ONCE, sentences
from phireside.memory.remembered import LONGEST
from phireside.models import ChatGGUF
from phireside.settings import Settings


class Gullible(Rehearsed):
    """Takes everything for a fact."""

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
        return RunnableLambda(lambda messages: self.asked.append(messages[-1].text) or {"kind": "fact"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("My name is Zoë. Who are you? I'm 33!", ["My name is Zoë.", "I'm 33!"]),
        ("I know St. Mary's, Dr. J. Smith and Mrs. Bloom.", ["I know St. Mary's, Dr. J. Smith and Mrs. Bloom."]),
        ("I am\t1.80 m  tall.\nI weigh 75 kg", ["I am 1.80 m tall.", "I weigh 75 kg"]),
        ("私の名前は健太です。元気ですか\uff1f犬がいます。", ["私の名前は健太です。", "犬がいます。"]),
        ("x" * (LONGEST + 1), []),
        (" \n ", []),
    ],
)  # fmt: skip
def test_a_message_is_read_sentence_by_sentence_without_questions(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet=st.sampled_from("Im yZoë.!?\n。\ud800 "), max_size=80))
async def test_a_fact_is_always_what_the_person_wrote_even_if_the_model_agrees_to_all(text: str) -> None:
    model = Gullible(asked=[])
    found = await statements(model, text, {})
    assert len(set(found)) == len(found) <= AT_ONCE
    for fact in found:
        assert fact in " ".join(text.split())
        assert not fact.endswith("?")


async def test_only_sentences_with_a_word_for_the_speaker_are_shown() -> None:
    model = Gullible(asked=[])
    text = "Water boils at 100 degrees. My dog is old. Ich heiße Jo. Make it short. 我叫小明。 Whimsy."
    assert await statements(model, text, {}) == ["My dog is old.", "Ich heiße Jo.", "我叫小明。"]


async def test_of_a_long_text_the_beginning_and_the_end_are_read() -> None:
    found = await statements(Gullible(asked=[]), " ".join(f"I say {i}." for i in range(100)), {})
    assert found == [f"I say {i}." for i in [0, 1, 2, 3, 96, 97, 98, 99]]


async def test_a_model_without_forms_finds_nothing() -> None:
    assert await statements(rehearsed(structured=False), "My name is Zoë.", {}) == []


@pytest.mark.real
async def test_the_starter_finds_what_people_say_about_themselves(settings: Settings, starter_path: Any) -> None:
    model = ChatGGUF(model="starter", settings=settings)
    said = {
        "My name is Zoë and I was born in 1984.": True,
        "My daughter Emma turns 7 on 12 March.": True,
        "I have two cats, Miso and Tofu, and I'm allergic to peanuts.": True,
        "Ich heiße Jonas und wohne in Köln.": True,
        "I need a recipe for pizza.": False,
        "Give me a poem about the sea.": False,
        "please translate 'I am 25 years old' into German": False,
        "I don't understand this.": False,
    }
    assert {text: await statements(model, text, {}) == [text] for text in said} == said


@pytest.mark.parametrize("answer", [{}, {"kind": None}, {"facts": []}, None, "fact"])
async def test_an_answer_in_another_form_is_no_fact(answer: object) -> None:
    class Odd(Rehearsed):
        def with_structured_output(self, schema: Any, **kwargs: Any) -> Any:
            return RunnableLambda(lambda _: answer)

    assert await statements(Odd(asked=[]), "My name is Zoë.", {}) == []

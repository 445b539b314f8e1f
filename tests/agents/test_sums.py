"""A question that is a sum: the calculator is called with its numbers, and its result is the answer."""

from pathlib import Path

import pytest
from langchain_core.messages import AIMessage
from one_chat import ended

from phireside.agents import Uses, answerer
from phireside.agents.policies.sums import is_sum
from phireside.chains import Chat
from phireside.memory import ConversationStore
from phireside.models import ChatGGUF
from phireside.settings import Settings


@pytest.mark.parametrize(
    "text",
    [
        "What is 17 * 23?", "Add 12, 30 and 58.", "What is 15% of 80?", "Subtract 48 from 1024.", "12-5",
        "What is (14 + 6) * 5?", "How much is 2,249.50 times 0.85, please?", "17 x 23 =", "what's 6 \u00f7 3",
    ],
)  # fmt: skip
def test_a_question_that_is_nothing_but_a_sum_is_one(text: str) -> None:
    assert is_sum(text)


@pytest.mark.parametrize(
    "text",
    [
        "Between 1914 and 1918, which war was fought?", "What happened on 9/11?", "I have 3 cats + 2 dogs. Name them.",
        "What is 2026-03-01 - 2026-01-01?", "What is 2 ** 10?", "What is 2 to the power of 10?", "((1 + 2) * 3) / 4",
        "What is 5 km plus 3 miles?", "What is 3 and 4?", "What is seven times 8?", "1 + 2 + 3 + 4 + 5 + 6",
        "What is 17 * 23, and who wrote Faust?", "", "1" + "," * 60 + " + 2" + "," * 60 + " + 3" + "," * 60 + "a",
    ],
)  # fmt: skip
def test_and_all_else_is_none(text: str) -> None:
    assert not is_sum(text)


@pytest.mark.real
@pytest.mark.parametrize(
    ("question", "result"),
    [("What is 17 * 23?", "391"), ("Subtract 48 from 1024.", "976"), ("What is 1000 minus 387?", "613")],
)
def test_the_starter_answers_a_sum_in_a_chat(
    settings: Settings, starter_path: Path, question: str, result: str
) -> None:
    """The way of the page and of `phireside ask --tools`; by itself it has none of these right."""
    model = ChatGGUF(model="starter", settings=settings, temperature=0, max_tokens=120)
    store = ConversationStore("sqlite://")
    chat = Chat(store)
    try:
        who = answerer(model, settings, Uses(tools=("calculator",)))
        turn = ended(chat.send(store.create().id, question, model=model, system="Be kind.", answerer=who))
    finally:
        chat.close()
        store.close()
    assert isinstance(turn.answer, AIMessage), turn.error
    assert turn.answer.text.rstrip(".").endswith(result)
    assert [each["kind"] for each in turn.steps].count("action") == 1

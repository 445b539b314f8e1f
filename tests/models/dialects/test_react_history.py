"""What a model wrote reads the same when it comes back as history, so that it need not be read again."""

import pytest
from langchain_core.messages import AIMessage

from phireside.models.dialects import ReAct


def written(message: AIMessage) -> str:
    return str(ReAct().turns([message])[0]["content"])


def broken(arguments: str | None) -> AIMessage:
    call = {"name": "look", "args": arguments, "id": "1", "error": None, "type": "invalid_tool_call"}
    return AIMessage("", additional_kwargs={"reasoning_content": "I look."}, invalid_tool_calls=[call])


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ('{"words": "a b"}]', '{"words": "a b"}'),  # shortened: complete but for what `CallWriter` added
        ('{"words": "a b"]', '{"words": "a b"]'),  # cut off
        ('{"words": ["a"}', '{"words": ["a"}'),
        ("no JSON", "no JSON"),
        ("[" * 100_000, "[" * 100_000),
        (None, ""),
    ],
)
def test_a_call_that_did_not_become_one_is_shown_as_it_was_written(arguments: str | None, shown: str) -> None:
    assert written(broken(arguments)) == f"Thought: I look.\nAction: look\nAction Input: {shown}"


def test_blanks_at_the_end_of_a_thought_are_kept() -> None:
    message = AIMessage("Yes.", additional_kwargs={"reasoning_content": "I know. "})
    assert written(message) == "Thought: I know. \nFinal Answer: Yes."

"""A chat model that thinks and answers by a script: what tests of reasoning share."""

from collections.abc import Sequence
from itertools import count
from typing import Any

from answers import Answers, answers
from langchain_core.messages import BaseMessage


def answering(messages: Sequence[BaseMessage]) -> bool:
    """Whether the answer in its form is asked for, behind the reasoning."""
    return any(message.text == "Therefore, the answer is" for message in messages)


def reasoning(messages: Sequence[BaseMessage]) -> str:
    """The last thing that the model itself said."""
    return [message.text for message in messages if message.type == "ai"][-1]


def thinker(*thoughts: str, **fields: Any) -> Answers:
    """Thinks these, one after another, again and again; asked for the answer it gives the last word of the thought."""
    number = count()

    def rule(messages: Sequence[BaseMessage]) -> str:
        if answering(messages):
            return reasoning(messages).split()[-1]
        return thoughts[next(number) % len(thoughts)]

    return answers(rule, **fields)

"""What answers have cost, in calls and tokens: from the figures that chat models put into their messages."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import LLMResult


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one or more calls of a model; costs can be added.

    Attributes:
        calls: how many.
        prompt_tokens: of all prompts.
        cached_tokens: those of them that were found in a cache.
        generated_tokens: of all answers.
    """

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0

    @property
    def evaluated_tokens(self) -> int:
        """Tokens of prompts that the model had to read."""
        return self.prompt_tokens - self.cached_tokens

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    @classmethod
    def of(cls, messages: Iterable[AIMessage]) -> "Cost":
        """What these answers have cost; a model that gives no figures costs calls only."""
        return sum((_one(message) for message in messages), cls())


def _one(message: AIMessage) -> Cost:
    usage = message.usage_metadata
    if usage is None:
        return Cost(calls=1)
    cached = usage.get("input_token_details", {}).get("cache_read", 0)
    return Cost(1, usage["input_tokens"], cached or 0, usage["output_tokens"])


class CostHandler(BaseCallbackHandler):
    """Adds up what models cost, in any runnable: `chain.invoke(…, {"callbacks": [handler]})`, then `handler.cost`."""

    def __init__(self) -> None:
        self._messages: list[AIMessage] = []

    @property
    def cost(self) -> Cost:
        """Of all answers that have ended so far."""
        return Cost.of(self._messages)

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:  # noqa: ARG002
        """LangChain's call when an answer has ended."""
        messages = [getattr(each, "message", None) for answers in response.generations for each in answers]
        self._messages += [message for message in messages if isinstance(message, AIMessage)]

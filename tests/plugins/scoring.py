"""A `ChatGGUF` whose scores a test gives by a rule; it loads nothing."""

from collections.abc import Callable, Sequence
from typing import Any

from phireside.models import ChatGGUF, Score


class Scoring(ChatGGUF):
    """Gives a text the log-probability that `rule` says, by prompt and text; loads nothing."""

    rule: Callable[[str, str], float]
    asked: list[Any] = []  # noqa: RUF012 (pydantic copies it)

    async def ascore(self, messages: Any, continuations: Sequence[str], *, whole: bool = False) -> list[Score]:
        assert whole
        self.asked.append((messages, list(continuations)))
        return [Score(self.rule(messages[-1].text, text), len(text.split())) for text in continuations]

    def get_num_tokens_from_messages(self, messages: Any, tools: Any = None) -> int:
        return sum(len(message.text.split()) for message in messages)


def scoring(rule: Callable[[str, str], float], **fields: Any) -> Scoring:
    return Scoring(rule=rule, asked=[], **fields)

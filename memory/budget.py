"""Tokens of a context, and what they are used for. Exact where the model counts exactly, as `ChatGGUF` does."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, SystemMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.tools import BaseTool

from phireside.errors import ContextOverflowError
from phireside.memory.state import CountTokens, Selection
from phireside.memory.turns import is_system
from phireside.models import ChatGGUF

UNLIMITED = sys.maxsize
"""The budget for a model of which nobody knows how much it can read."""


@dataclass(frozen=True)
class Budget:
    """A context of `size` tokens and its parts; all in tokens.

    Attributes:
        size: of the context, prompt and answer together.
        system: the system prompt.
        tools: descriptions of tools.
        memory: summary and facts.
        passages: retrieved documents.
        history: turns as they are, the question among them.
        answer: kept free for the answer.
    """

    size: int
    system: int = 0
    tools: int = 0
    memory: int = 0
    passages: int = 0
    history: int = 0
    answer: int = 0

    @property
    def left(self) -> int:
        """Tokens that no part has."""
        return self.size - sum(int(getattr(self, part.name)) for part in fields(self)[1:])

    def take(self, **parts: int) -> "Budget":
        """The same with these parts added to.

        Raises:
            ContextOverflowError: there are not so many left.
        """
        taken = replace(self, **{name: getattr(self, name) + tokens for name, tokens in parts.items()})
        if taken.left < 0:
            wanted = ", ".join(f"{tokens} for {name}" for name, tokens in parts.items())
            raise ContextOverflowError(
                f"Of a context of {self.size} tokens {self.left} are left, not {wanted}.",
                hint="Let the answer be shorter, or load the model with a larger n_ctx.",
            )
        return taken

    def use(self, selection: Selection, count_tokens: CountTokens) -> "Budget":
        """The same with the parts of a prompt, which add up to its tokens.

        Args:
            selection: the prompt.
            count_tokens: as it was counted with; called at most four times with a few messages.
        """
        *others, question = selection.messages
        system = [m for m in others if is_system(m) and m is not selection.note]
        note = [selection.note] if selection.note else []
        alone = count_tokens([question])
        if system:  # without one some templates put in their own, which may be longer
            alone = min(alone, count_tokens([SystemMessage(""), question]))
        with_system = count_tokens([*system, question]) if system else alone
        with_note = count_tokens([*system, *note, question]) if note else with_system
        rest = selection.tokens - with_note + alone
        return self.take(system=with_system - alone, memory=with_note - with_system, history=rest)

    def report(self) -> dict[str, int]:
        """All parts and what is left, by name."""
        return {**asdict(self), "left": self.left}


def budget_of(model: BaseChatModel | None) -> Budget | None:
    """A model's context with the answer taken from it; None if it does not say how much it can read.

    Raises:
        ContextOverflowError: the answer alone is longer than the context.
    """
    if isinstance(model, ChatGGUF):
        size = model.context_size
        return Budget(size).take(answer=model.max_tokens or size // 4)
    profile = (model and model.profile) or {}
    known = profile.get("max_input_tokens")
    return Budget(known) if known else None


def counter_of(model: BaseChatModel | None, tools: Sequence[dict[str, Any] | BaseTool] | None = None) -> CountTokens:
    """How a model counts messages and tools: `ChatGGUF` exactly, any other by LangChain's estimate from lengths."""
    if not isinstance(model, ChatGGUF):
        return partial(count_tokens_approximately, tools=list(tools) if tools else None)

    def count(messages: Sequence[BaseMessage]) -> int:
        return model.get_num_tokens_from_messages(messages, tools=tools or None)

    return count

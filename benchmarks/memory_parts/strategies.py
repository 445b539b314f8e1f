"""The memories that are compared, each as it is used: ours as `Chat` does, LangChain's as its chains and agents do.

All get the same model, system prompt, room for a prompt and length of a summary. The peers' summaries are asked for
with the prompt of the book's chapter 7, which is ours too, but the middleware has its own. As all of them ask
`ChatGGUF`, the peers count exactly and have our engine's cache of prompts, which a `LlamaCpp` would not give them.
"""

import asyncio
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain.agents.middleware import SummarizationMiddleware
from langchain_classic import memory as classic
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompts import PromptTemplate
from langgraph.graph.message import add_messages

from phireside.memory import (
    BufferMemory,
    Memory,
    MemoryState,
    SummaryBufferMemory,
    SummaryMemory,
    WindowMemory,
    counter_of,
)
from phireside.memory.summary_buffer import FULL, LEFT

warnings.simplefilter("ignore")  # importing LangChain switches its warnings on: its memories are deprecated

SYSTEM = "You are a helpful assistant."
QUESTION_TOKENS = 128  # more than the system prompt and any message of the data have
BOOK_PROMPT = PromptTemplate.from_template(
    "Summarize the conversations and update with the new lines.\n\nCurrent summary:\n{summary}\n\n"
    "new lines of conversation:\n{new_lines}\n\nNew summary:"
)


class Meter(BaseCallbackHandler):
    """Adds up what a model read and wrote, whoever asked it."""

    def __init__(self) -> None:
        self.evaluated = self.written = 0

    def on_llm_end(self, response: LLMResult, **_: Any) -> None:
        """LangChain's hook: an answer is there, with its figures."""
        message = response.generations[0][0].message  # type: ignore[union-attr]
        self.evaluated += message.response_metadata["evaluated_tokens"]
        self.written += message.usage_metadata["output_tokens"]


@dataclass(frozen=True)
class Setting:
    """What is the same for everyone.

    Attributes:
        model: who is asked; it writes at most `summary_tokens`, greedily.
        budget: tokens that a prompt may have.
        summary_tokens: that a summary may have.
        window: turns that a window has.
        readable: tokens that the model can read at once, a summary's prompt among them; at least `budget`.
    """

    model: BaseChatModel
    budget: int
    summary_tokens: int
    window: int
    readable: int


class Strategy(ABC):
    """A conversation with one memory."""

    @abstractmethod
    def prompt(self, question: str) -> list[BaseMessage]:
        """What is sent with the next question."""

    @abstractmethod
    def finish(self, question: str, answer: str) -> None:
        """All that is done once the answer is there."""


class Ours(Strategy):
    """What `Chat` does without its store and threads: after an answer all that is due, and, if the next prompt then
    begins otherwise, its reading up to the question."""

    def __init__(self, setting: Setting, memory: Memory) -> None:
        self._model, self._budget, self._memory = setting.model, setting.budget, memory
        self._count, self._state = counter_of(setting.model), MemoryState()
        self._messages: list[BaseMessage] = [SystemMessage(SYSTEM)]

    def prompt(self, question: str) -> list[BaseMessage]:
        """See `Strategy.prompt`."""
        messages = [*self._messages, HumanMessage(question)]
        return self._memory.select(messages, self._budget, self._count, self._state).messages

    def finish(self, question: str, answer: str) -> None:
        """See `Strategy.finish`."""
        self._messages += [HumanMessage(question), AIMessage(answer)]
        before = self._state
        asyncio.run(self._update())
        if self._state is not before:
            self._model.invoke(self.prompt("…"), max_tokens=1)

    async def _update(self) -> None:
        due = self._memory.updates(self._messages, self._budget, self._count, self._state, self._model)
        async for state in due:
            self._state = state


class Classic(Strategy):
    """A memory of langchain-classic, in a prompt of messages. Its chain returns an answer only after `finish`."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def prompt(self, question: str) -> list[BaseMessage]:
        """See `Strategy.prompt`."""
        return [SystemMessage(SYSTEM), *self._memory.load_memory_variables({})["history"], HumanMessage(question)]

    def finish(self, question: str, answer: str) -> None:
        """See `Strategy.finish`."""
        self._memory.save_context({"input": question}, {"output": answer})


class Middleware(Strategy):
    """`SummarizationMiddleware`, called as `create_agent` calls it: before the model, so that the person waits."""

    def __init__(self, middleware: SummarizationMiddleware) -> None:
        self._middleware, self._messages = middleware, list[Any]()

    def prompt(self, question: str) -> list[BaseMessage]:
        """See `Strategy.prompt`."""
        self._messages = add_messages(self._messages, [HumanMessage(question)])
        if update := self._middleware.before_model({"messages": self._messages}, None):  # type: ignore[arg-type]
            self._messages = add_messages(self._messages, update["messages"])
        return [SystemMessage(SYSTEM), *self._messages]

    def finish(self, question: str, answer: str) -> None:  # noqa: ARG002 (the agent's state has the question)
        """See `Strategy.finish`."""
        self._messages = add_messages(self._messages, [AIMessage(answer)])


def _summary(setting: Setting) -> Strategy:
    return Ours(setting, SummaryMemory(max_tokens=setting.summary_tokens, budget=setting.budget))


def _summary_buffer(setting: Setting) -> Strategy:
    return Ours(setting, SummaryBufferMemory(max_tokens=setting.summary_tokens, budget=setting.budget))


def _classic_summary(setting: Setting) -> Strategy:
    return Classic(classic.ConversationSummaryMemory(llm=setting.model, prompt=BOOK_PROMPT, return_messages=True))


def _classic_summary_buffer(setting: Setting) -> Strategy:
    limit = setting.budget - setting.summary_tokens - min(QUESTION_TOKENS, setting.budget // 4)
    return Classic(
        classic.ConversationSummaryBufferMemory(
            llm=setting.model, prompt=BOOK_PROMPT, max_token_limit=limit, return_messages=True
        )
    )


def _middleware(setting: Setting) -> Strategy:
    """With our `SummaryBufferMemory`'s limits. But its prompt is long: half of what the model can read is left for what
    is summarised. So it keeps what it could not read at once, and nothing is trimmed."""
    full, most = setting.budget * FULL // 100, setting.readable // 2
    return Middleware(
        SummarizationMiddleware(
            setting.model,
            trigger=("tokens", full),
            keep=("tokens", max(full * LEFT // 100, full + QUESTION_TOKENS - most)),
            token_counter=setting.model.get_num_tokens_from_messages,
            trim_tokens_to_summarize=most,
        )
    )


STRATEGIES: dict[str, Callable[[Setting], Strategy]] = {
    "BufferMemory": lambda setting: Ours(setting, BufferMemory()),
    "WindowMemory": lambda setting: Ours(setting, WindowMemory(setting.window)),
    "SummaryMemory": _summary,
    "SummaryBufferMemory": _summary_buffer,
    "ConversationBufferMemory": lambda _: Classic(classic.ConversationBufferMemory(return_messages=True)),
    "ConversationBufferWindowMemory": lambda setting: Classic(
        classic.ConversationBufferWindowMemory(k=setting.window, return_messages=True)
    ),
    "ConversationSummaryMemory": _classic_summary,
    "ConversationSummaryBufferMemory": _classic_summary_buffer,
    "SummarizationMiddleware": _middleware,
}
OURS = tuple(STRATEGIES)[:4]

"""A chat model that answers by a rule that a test gives it, word by word, in threads and in event loops."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult


class Answers(BaseChatModel):
    """Answers with `rule(messages)`, a text, or raises it.

    `asked` has the messages of each call, as (type, text), `arguments` what came with them, and `left` is the number of
    calls that were left before their end. A usage is reported: words of the prompt, words of the answer.
    """

    rule: Callable[[list[BaseMessage]], Any]
    pause: float = 0
    finish_reason: str = "stop"
    max_tokens: int | None = None  # these only so that it has them; what came is in `arguments`
    temperature: float | None = None
    top_p: float | None = None
    asked: Any  # lists; pydantic would copy what is declared as one
    arguments: Any
    left: Any

    @property
    def _llm_type(self) -> str:
        return "answers"

    def _chunks(self, messages: list[BaseMessage], arguments: dict[str, Any]) -> list[ChatGenerationChunk]:
        self.asked.append([(message.type, message.text) for message in messages])
        self.arguments.append(arguments)
        answer = self.rule(messages)
        if isinstance(answer, Exception):
            raise answer
        pieces = answer.split(" ")
        words = [piece if number == 0 else f" {piece}" for number, piece in enumerate(pieces)]
        asked, said = sum(len(message.text.split()) for message in messages), len(words)
        usage = {"input_tokens": asked, "output_tokens": said, "total_tokens": asked + said}
        end = {"finish_reason": self.finish_reason, "model_name": "answers"}
        return [
            *(ChatGenerationChunk(message=AIMessageChunk(word)) for word in words),
            ChatGenerationChunk(message=AIMessageChunk("", response_metadata=end, usage_metadata=usage)),  # type: ignore[arg-type]
        ]

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kw: Any
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, **kw))

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kw: Any
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, **kw))

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kw: Any
    ) -> Iterator[ChatGenerationChunk]:
        try:
            for chunk in self._chunks(messages, kw):
                yield chunk
                time.sleep(self.pause)
        except GeneratorExit:
            self.left.append(1)
            raise

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kw: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        try:
            for chunk in self._chunks(messages, kw):
                yield chunk
                await asyncio.sleep(self.pause)
        except (GeneratorExit, asyncio.CancelledError):
            self.left.append(1)
            raise


def answers(rule: Callable[[list[BaseMessage]], Any] | str, **fields: Any) -> Answers:
    """A model that answers by a function of the messages, or always with the same text."""
    return Answers(
        rule=(lambda messages: rule) if isinstance(rule, str) else rule, asked=[], arguments=[], left=[], **fields
    )


class Plain(BaseChatModel):
    """Says one thing, neither streams nor takes arguments of a call, and has no structured output."""

    says: str

    @property
    def _llm_type(self) -> str:
        return "plain"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None) -> ChatResult:  # type: ignore[override]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.says))])

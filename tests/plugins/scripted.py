"""A chat model that says what a test wrote for it, word by word, and can be held before one of them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult


class Scripted(BaseChatModel):
    """Says its words one by one, and stops before word `hold_at` until `go` is set; an error among them is raised."""

    words: list[Any]
    hold_at: int | None = None
    go: Any = None
    asked: Any = None

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self.words)))])

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        self.asked.append([(message.type, message.text) for message in messages])
        for number, word in enumerate(self.words):
            while number == self.hold_at and not self.go.is_set():
                await asyncio.sleep(0.002)
            if isinstance(word, BaseException):
                raise word
            yield ChatGenerationChunk(message=AIMessageChunk(word))
        end = {"finish_reason": "stop", "model_name": "scripted"}
        yield ChatGenerationChunk(message=AIMessageChunk("", response_metadata=end))


def scripted(*words: Any, hold_at: int | None = None) -> Scripted:
    return Scripted(words=list(words), hold_at=hold_at, go=threading.Event(), asked=[])

"""Dialects: how a model writes a tool call, and how it reads tools, calls and results.

`react.py` is plain text for models that were never trained on tools; `native.py` is what a GGUF's own chat template
writes. A dialect gives the text of the prompt, the grammar of the answer, and a parser of its stream. It knows nothing
of engines, and never runs a tool.
"""

import logging
import weakref
from collections.abc import Sequence
from typing import Any, Protocol

from langchain_core.messages import AIMessageChunk, BaseMessage

from phireside.models.dialects.native import Native
from phireside.models.dialects.react import ReAct
from phireside.models.encoding import PromptEncoder
from phireside.models.grammar import Grammar
from phireside.models.templates import Message
from phireside.models.tools import JSON, ToolSpec

__all__ = ["Dialect", "StreamParser", "ReAct", "Native", "dialect_for"]

log = logging.getLogger(__name__)


class StreamParser(Protocol):
    """Turns the text of one answer, however it is cut into pieces, into LangChain's chunks."""

    def feed(self, text: str) -> list[AIMessageChunk]:
        """What became certain with this piece."""

    def finish(self, *, shortened: bool = False) -> list[AIMessageChunk]:
        """The rest. A call that was cut off becomes an invalid one, so that nobody runs it.

        Args:
            shortened: there was no room for what the model wanted to write. All calls are invalid then: which of them
                says less than it should, nobody knows.
        """


class Dialect(Protocol):
    """One way of writing calls."""

    name: str
    parallel: bool  # whether it can write several calls at once

    def system(self, tools: Sequence[ToolSpec]) -> str:
        """Text that goes with the system prompt; empty if the template itself takes the tools."""

    def template_tools(self, tools: Sequence[ToolSpec]) -> list[dict[str, Any]] | None:
        """The tools as the template takes them; None if it does not."""

    def turns(self, messages: Sequence[BaseMessage]) -> list[Message]:
        """Messages, calls and results as turns of the template."""

    def grammar(
        self, tools: Sequence[ToolSpec], *, may_answer: bool, parallel: bool = True, answer: JSON | None = None
    ) -> Grammar:
        """What the model may write.

        Args:
            tools: those that it may call; with none it can only answer.
            may_answer: whether it may answer instead.
            parallel: whether it may write several calls.
            answer: JSON schema of a final answer; None = any text.

        Raises:
            GrammarError: a tool's own grammar cannot be used.
        """

    def parser(self, tools: Sequence[ToolSpec]) -> StreamParser:
        """A parser for one answer."""


_known: "weakref.WeakKeyDictionary[PromptEncoder, Dialect]" = weakref.WeakKeyDictionary()


def dialect_for(encoder: PromptEncoder) -> Dialect:
    """The dialect of a model: native where its template has tool markup that can be worked out, else ReAct."""
    if encoder not in _known:
        native = Native.of(encoder)
        if native is None and encoder.template.takes_tools:
            log.warning("The chat template takes tools, but how it writes a call is not clear: ReAct text is used.")
        _known[encoder] = native or ReAct()
    return _known[encoder]

"""ReAct text: Thought, Action, Action Input, Observation, Final Answer (Yao et al. 2022, arXiv:2210.03629).

For models that were never trained on tools. The model may ramble in its thought, which is one short line; the rest is
enforced. One call at a time. An answer is over where a line begins with a label, such as the next "Thought:".
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from phireside.models.dialects.inputs import input_rules, json_rule, literal
from phireside.models.dialects.stream import CallWriter, Reader
from phireside.models.grammar import Grammar
from phireside.models.messages import call_lines, text_of, thought_of, to_turns
from phireside.models.templates import Message
from phireside.models.tools import JSON, ToolSpec, signature

THOUGHT_LENGTH = 200  # characters

_THOUGHT, _ACTION, _INPUT, _ANSWER = "Thought:", "Action: ", "\nAction Input: ", "Final Answer:"
_LABELS = (_THOUGHT, "Action:", "Action Input:", "Observation:", _ANSWER)
_LABEL = f"(?:{'|'.join(_LABELS)})"
# Nothing may follow a label, so that the model can only end there.
_ANSWER_RULE = rf"ANSWER: /[ \n]?[^\s](?s:.*)/ & ~/\s*{_LABEL}(?s:.*)/ & ~/(?s:.*)\n{_LABEL}(?s:.+)/"
_BEGUN = "|".join(label[:length] for label in _LABELS for length in range(len(label)))
_END = re.compile(rf"\s*\n{_LABEL}")
_HELD = re.compile(rf"\s*\n(?:{_BEGUN})\Z|\s+\Z")  # what may become an end


class ReAct:
    """The dialect of plain text."""

    name = "react"
    parallel = False

    def system(self, tools: Sequence[ToolSpec]) -> str:
        """What the tools are, and the form of an answer."""
        if not tools:
            return ""
        listed = "\n".join(
            f"{tool.name}: {' '.join(tool.description.split())} Input: {signature(tool.parameters)}" for tool in tools
        )
        return _FORMAT.format(tools=listed, names=", ".join(tool.name for tool in tools))

    def template_tools(self, tools: Sequence[ToolSpec]) -> list[dict[str, Any]] | None:  # noqa: ARG002
        """None: the tools are in the system text."""
        return None

    def turns(self, messages: Sequence[BaseMessage]) -> list[Message]:
        """Messages as turns; the model's own read as it wrote them."""
        plain = to_turns(messages)
        for message, turn in zip(messages, plain, strict=True):
            if isinstance(message, AIMessage):
                turn["content"] = _written(message)
        return plain

    def grammar(
        self, tools: Sequence[ToolSpec], *, may_answer: bool, parallel: bool = True, answer: JSON | None = None
    ) -> Grammar:
        """A thought, then a call or a final answer."""
        return Grammar.lark(self.lark(tools, may_answer=may_answer, parallel=parallel, answer=answer))

    def lark(
        self,
        tools: Sequence[ToolSpec],
        *,
        may_answer: bool,
        parallel: bool = True,  # noqa: ARG002
        answer: JSON | None = None,
    ) -> str:
        """The grammar's text."""
        steps = [f"call{at}" for at in range(len(tools))] + (["final"] if may_answer else [])
        rules = [
            f'start: "{_THOUGHT}" THOUGHT "\\n" step',
            f"step: {' | '.join(steps)}",
            rf"THOUGHT: / [^\s][^\n]{{0,{THOUGHT_LENGTH - 1}}}/",
        ]
        for at, tool in enumerate(tools):
            rules.append(f"call{at}: {literal(_ACTION + tool.name + _INPUT)} input{at}")
            rules += input_rules(f"input{at}", tool)
        if may_answer and answer is None:
            rules += [f'final: "{_ANSWER}" ANSWER', _ANSWER_RULE]
        elif may_answer:
            rules += [f'final: "{_ANSWER} " answer', f"answer: {json_rule(answer or {})}"]
        return "\n".join(rules) + "\n"

    def parser(self, tools: Sequence[ToolSpec]) -> "ReActParser":  # noqa: ARG002
        """A parser for one answer."""
        return ReActParser()


# The best of two dozen wordings on SmolLM2-135M: 9 of 12 questions to the right tool; 7 answered right after one call.
_FORMAT = """Answer with the help of tools:
{tools}

Use a tool like this:
Thought: I use one of {names}.
Action: one of {names}
Action Input: the input as JSON

With the result, answer like this:
Thought: I know the answer.
Final Answer: the answer"""


def _written(message: AIMessage) -> str:
    """An answer as it was, or would have been, generated."""
    text, thought = text_of(message), thought_of(message)
    broken = [f"{_ACTION}{call['name']}{_INPUT}{_unspoiled(call['args'] or '')}" for call in message.invalid_tool_calls]
    if calls := call_lines(message) or broken:
        thought, text = thought or text, ""
    thought = thought.lstrip().replace("\n", " ")[:THOUGHT_LENGTH]
    lines = [f"{_THOUGHT} {thought}"] if thought else []
    return "\n".join([*lines, *(calls or [f"{_ANSWER} {text}"])])


def _unspoiled(arguments: str) -> str:
    """An invalid call's arguments without what makes them invalid, if they were only shortened: see `CallWriter`."""
    try:
        return arguments[: json.JSONDecoder().raw_decode(arguments)[1]]
    except (ValueError, RecursionError):
        return arguments


class ReActParser(Reader):
    """Reads ReAct text: the thought becomes reasoning, the final answer the content, an action a tool call."""

    def __init__(self) -> None:
        super().__init__(self._read_head)
        self._call: CallWriter | None = None

    def finish(self, *, shortened: bool = False) -> list[AIMessageChunk]:
        """See `StreamParser`."""
        if self._read == self._read_answer:
            return self._content(len(self._text))
        return self._call.finish(shortened=shortened) if self._call else []

    def _read_head(self) -> list[AIMessageChunk]:
        if self._text.startswith(_THOUGHT):
            self._text, self._read = self._text.removeprefix(_THOUGHT), self._read_thought_start
        return []

    def _read_thought_start(self) -> list[AIMessageChunk]:
        self._text = self._text.lstrip(" ")
        if self._text:
            self._read = self._read_thought
        return []

    def _read_thought(self) -> list[AIMessageChunk]:
        thought, end, rest = self._text.partition("\n")
        self._text = rest
        if end:
            self._read = self._read_step
        return [_reasoning(thought)] if thought else []

    def _read_step(self) -> list[AIMessageChunk]:
        if self._text.startswith(_ANSWER):
            self._text, self._read = self._text.removeprefix(_ANSWER), self._read_answer_start
        elif _INPUT in self._text:
            head, _, self._text = self._text.partition(_INPUT)
            self._call, self._read = CallWriter(head.removeprefix(_ACTION), 0), self._read_input
            return [self._call.begin()]
        return []

    def _read_input(self) -> list[AIMessageChunk]:
        if not self._call or not self._text:
            return []
        chunks, _ = self._call.take(self._text)
        self._text = ""
        return chunks

    def _read_answer_start(self) -> list[AIMessageChunk]:
        self._text = self._text.lstrip()
        if self._text:
            self._read = self._read_answer
        return []

    def _read_answer(self) -> list[AIMessageChunk]:
        if end := _END.search(self._text):
            self._read = self._read_nothing
        else:
            end = _HELD.search(self._text)
        return self._content(end.start() if end else len(self._text))

    def _read_nothing(self) -> list[AIMessageChunk]:
        self._text = ""
        return []


def _reasoning(thought: str) -> AIMessageChunk:
    # Where LangChain looks for the reasoning of models that have no format of their own for it.
    return AIMessageChunk(content="", additional_kwargs={"reasoning_content": thought})

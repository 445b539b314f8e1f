"""The tool markup of a chat template, worked out from what the template itself writes.

A probe conversation with one tool call is rendered, and what stands around the name and the arguments is how this model
writes a call. No list of model names: Hermes and Qwen, Llama 3, Mistral and others come out of their own templates.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage

from phireside.errors import TemplateError
from phireside.models.dialects.inputs import input_rules, json_rule, literal
from phireside.models.dialects.stream import CallWriter, Reader
from phireside.models.encoding import PromptEncoder
from phireside.models.engine.text import overlap
from phireside.models.grammar import Grammar
from phireside.models.messages import text_of, to_turns
from phireside.models.templates import ChatTemplate, Message
from phireside.models.tools import JSON, ToolSpec

_MOST_CALLS = 8  # in one answer
_ID_LENGTH = 9  # what Mistral's templates demand
_ANSWER = "Zebra-answer"
_ARGUMENTS = re.compile(r'\{\s*"zebra_key"\s*:\s*"zebra_value"\s*\}')
_ID_PAIR = re.compile(r',?\s*"id"\s*:\s*"zebraid[12]x"')  # a model does not write the id of its own call


@dataclass(frozen=True, slots=True)
class CallFormat:
    """What a template writes around calls: opening NAME middle ARGUMENTS (separator NAME middle ARGUMENTS) closing."""

    opening: str
    middle: str
    closing: str
    separator: str  # empty: only one call at a time


def call_format(template: ChatTemplate) -> CallFormat | None:
    """How a template writes calls; None if that cannot be worked out."""
    tools = [_probe_tool(1), _probe_tool(2)]
    question = {"role": "user", "content": "Why?"}

    def answer(turn: Message) -> str:
        """What the template writes where the model would."""
        before = template.render([question], tools)
        whole = template.render([question, {"role": "assistant", "content": "", **turn}], tools, answering=False)
        return whole.removeprefix(before) if whole.startswith(before) else ""

    try:
        ending = answer({"content": _ANSWER}).partition(_ANSWER)[2]
        one = _split(answer({"tool_calls": [_probe_call(1)]}), ending, 1)
    except TemplateError:
        return None
    if not one or not one[0].strip():
        return None
    try:
        two = _split(answer({"tool_calls": [_probe_call(1), _probe_call(2)]}), ending, 2)
    except TemplateError:
        two = []
    fits = len(two) == 5 and (two[0], two[1], two[3], two[4]) == (one[0], one[1], one[1], one[2])
    return CallFormat(one[0], one[1], one[2], two[2] if fits else "")


def _split(text: str, ending: str, calls: int) -> list[str]:
    """What stands around names and arguments; empty if they are not there as they should be."""
    text = _ID_PAIR.sub("", text)
    if not ending or not text.endswith(ending):
        return []
    parts, rest = [], text.removesuffix(ending)
    for number in range(1, calls + 1):
        before, name, rest = rest.partition(f"zebra_tool_{number}")
        found = _ARGUMENTS.search(rest)
        if not name or not found:
            return []
        parts += [before, rest[: found.start()]]
        rest = rest[found.end() :]
    return [] if "zebra" in rest else [*parts, rest]


def _probe_tool(number: int) -> Message:
    parameters = {"type": "object", "properties": {"zebra_key": {"type": "string"}}, "required": ["zebra_key"]}
    return {
        "type": "function",
        "function": {"name": f"zebra_tool_{number}", "description": "A probe.", "parameters": parameters},
    }


def _probe_call(number: int) -> Message:
    function = {"name": f"zebra_tool_{number}", "arguments": {"zebra_key": "zebra_value"}}
    return {"id": f"zebraid{number}x", "type": "function", "function": function}


class Native:
    """The dialect of one chat template.

    Args:
        encoder: of the model, for its template and its control tokens.
        form: what the template writes around calls.
    """

    name = "native"

    def __init__(self, encoder: PromptEncoder, form: CallFormat) -> None:
        self._form, self.parallel = form, bool(form.separator)
        self._opening = self._elements(encoder, form.opening)
        self._separator = self._elements(encoder, form.separator)
        self._closing = self._elements(encoder, form.closing)
        seen = [_visible(encoder, text) for text in (form.opening, form.separator, form.closing)]
        self._seen = CallFormat(seen[0].lstrip(), form.middle, seen[2], seen[1])

    @classmethod
    def of(cls, encoder: PromptEncoder) -> "Native | None":
        """The native dialect of a model, if it has one."""
        form = call_format(encoder.template) if encoder.template.takes_tools else None
        return cls(encoder, form) if form and _visible(encoder, form.opening).strip() else None

    def system(self, tools: Sequence[ToolSpec]) -> str:  # noqa: ARG002
        """Nothing: the template writes it."""
        return ""

    def template_tools(self, tools: Sequence[ToolSpec]) -> list[dict[str, Any]] | None:
        """In OpenAI's form."""
        return [
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
            }
            for tool in tools
        ]

    def turns(self, messages: Sequence[BaseMessage]) -> list[Message]:
        """Messages as turns; calls and results in OpenAI's form."""
        names: dict[str, str] = {}
        turns = []
        for message, plain in zip(messages, to_turns(messages), strict=True):
            if isinstance(message, AIMessage) and message.tool_calls:
                names |= {str(call["id"]): call["name"] for call in message.tool_calls}
                turns.extend(self._call_turns(message))
            elif isinstance(message, ToolMessage):
                text = plain["content"].removeprefix("Observation: ")
                name = message.name or names.get(message.tool_call_id, "")
                turns.append({"role": "tool", "content": text, "name": name, "tool_call_id": _id(message.tool_call_id)})
            else:
                turns.append(plain)
        return turns

    def _call_turns(self, message: AIMessage) -> list[Message]:
        """One turn, or one for each call where the template takes a single one."""
        calls = [
            {
                "id": _id(str(call["id"])),
                "type": "function",
                "function": {"name": call["name"], "arguments": call["args"]},
            }
            for call in message.tool_calls
        ]
        groups = [calls] if self.parallel else [[call] for call in calls]
        texts = [text_of(message), *[""] * len(groups)]
        return [
            {"role": "assistant", "content": text, "tool_calls": group}
            for text, group in zip(texts, groups, strict=False)
        ]

    def grammar(
        self, tools: Sequence[ToolSpec], *, may_answer: bool, parallel: bool = True, answer: JSON | None = None
    ) -> Grammar:
        """An answer, or calls with any text before them."""
        return Grammar.lark(self.lark(tools, may_answer=may_answer, parallel=parallel, answer=answer))

    def lark(
        self, tools: Sequence[ToolSpec], *, may_answer: bool, parallel: bool = True, answer: JSON | None = None
    ) -> str:
        """The grammar's text."""
        opening = " ".join(self._opening)
        said = r"/(?s:\s*[^\s].*)/"
        no_call = f"~( /(?s:.*)/ {literal(self._seen.opening)} /(?s:.*)/ )"
        text = f"/(?s:.*)/ & {no_call}"
        rules = []
        if not may_answer:
            rules.append(f"start: {opening} calls")
        elif answer is not None:
            rules += [f"start: answer | {opening} calls" if tools else "start: answer", f"answer: {json_rule(answer)}"]
        elif not tools:
            rules += ["start: ANSWER", f"ANSWER: {said}"]
        elif self._opening[0].startswith("<["):  # a control token: no text can be taken for it
            rules += [f"start: ANSWER | TEXT? {opening} calls", f"ANSWER: {said} & {no_call}", f"TEXT: {text}"]
        else:
            first, *others = self._opening
            rules += [f"start: ANSWER | PRE {' '.join(others)} calls", f"ANSWER: {said} & {no_call}"]
            rules += [f"PRE: ( {text} ) {first}"]
        if tools:
            rules += self._calls(tools, parallel=parallel)
        return "\n".join(rules) + "\n"

    def _calls(self, tools: Sequence[ToolSpec], *, parallel: bool) -> list[str]:
        """The rules of calls, after the opening."""
        more = f" more{{0,{_MOST_CALLS - 1}}}" if parallel and self.parallel else ""
        rules = [f"calls: call{more} {' '.join(self._closing)}"]
        rules += [f"more: {' '.join(self._separator)} call"] if more else []
        rules.append("call: " + " | ".join(f"call{at}" for at in range(len(tools))))
        for at, tool in enumerate(tools):
            rules.append(f"call{at}: {literal(tool.name + self._form.middle)} input{at}")
            rules += input_rules(f"input{at}", tool)
        return rules

    def parser(self, tools: Sequence[ToolSpec]) -> "NativeParser":
        """A parser for one answer."""
        return NativeParser(self._seen, bool(tools))

    @staticmethod
    def _elements(encoder: PromptEncoder, text: str) -> list[str]:
        """A template's text as Lark: strings, and `<[id]>` where llguidance knows a token only by its number."""
        guide = encoder.vocabulary.guide
        elements: list[str] = []
        for piece in encoder.pieces(text):
            if isinstance(piece, int) and guide.is_special_token(piece):
                elements.append(f"<[{piece}]>")
            else:
                elements.append(literal(piece if isinstance(piece, str) else encoder.vocabulary.text(piece)))
        return elements


def _visible(encoder: PromptEncoder, text: str) -> str:
    """What the engine's stream shows of a text: control tokens are not in it."""
    vocabulary = encoder.vocabulary
    return "".join(
        piece if isinstance(piece, str) else vocabulary.piece(piece).decode("utf-8", "replace")
        for piece in encoder.pieces(text)
    )


def _id(call_id: str) -> str:
    """An id in the only form that every template accepts."""
    if len(call_id) == _ID_LENGTH and call_id.isalnum():
        return call_id
    return hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:_ID_LENGTH]


class NativeParser(Reader):
    """Reads text and calls in one template's markup.

    Args:
        form: what stands around calls, as the stream shows it.
        calls: whether there can be any.
    """

    def __init__(self, form: CallFormat, calls: bool) -> None:
        super().__init__(self._read_text if calls else self._read_plain)
        self._form = form
        self._calls: list[CallWriter] = []

    def finish(self, *, shortened: bool = False) -> list[AIMessageChunk]:
        """See `StreamParser`."""
        if self._calls:
            return [chunk for call in self._calls for chunk in call.finish(shortened=shortened)]
        return self._content(len(self._text)) if self._read in (self._read_text, self._read_plain) else []

    def _read_plain(self) -> list[AIMessageChunk]:
        return self._content(len(self._text))

    def _read_text(self) -> list[AIMessageChunk]:
        at = self._text.find(self._form.opening)
        if at < 0:
            certain = len(self._text) - overlap(self._text, self._form.opening)
            return self._content(len(self._text[:certain].rstrip()))  # blanks before a call are not its text
        chunks = self._content(len(self._text[:at].rstrip()))
        self._text, self._read = self._text.lstrip().removeprefix(self._form.opening), self._read_name
        return chunks

    def _read_name(self) -> list[AIMessageChunk]:
        name, middle, rest = self._text.partition(self._form.middle)
        if not middle:
            return []
        self._calls.append(CallWriter(name, len(self._calls)))
        self._text, self._read = rest, self._read_input
        return [self._calls[-1].begin()]

    def _read_input(self) -> list[AIMessageChunk]:
        call = self._calls[-1]
        chunks, self._text = call.take(self._text) if self._text else ([], "")
        if call.done:
            self._read = self._read_between
        return chunks

    def _read_between(self) -> list[AIMessageChunk]:
        separator = self._form.separator
        if separator and self._text.startswith(separator):
            self._text, self._read = self._text.removeprefix(separator), self._read_name
        return []

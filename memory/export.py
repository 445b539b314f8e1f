"""A conversation as a Markdown text for people. Knows messages, not the store; JSON, the exact form, is the store's."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from phireside.memory.schema import JSON, OURS

_ROLES = {"human": "You", "ai": "Assistant", "system": "System"}
_ENDINGS = {"cancelled": "*(stopped)*", "length": "*(cut off at the length limit)*"}
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def to_markdown(title: str, created_at: datetime, options: Mapping[str, JSON], messages: Sequence[BaseMessage]) -> str:
    """Title, date, model, then a section for each message.

    Args:
        title: the conversation's title; it is shown as plain text.
        created_at: when the conversation began.
        options: `model` and `system` are shown, if they are texts.
        messages: the conversation. Their text is Markdown already and stays as it is, but a code fence that a stopped
            answer left open is closed, so that it does not swallow what follows.
    """
    facts = [created_at.strftime("%Y-%m-%d %H:%M UTC"), f"{len(messages)} messages"]
    if model := _option(options, "model"):
        facts.insert(1, f"model {_escaped(model)}")
    parts = [f"# {_escaped(title) or 'Untitled conversation'}", f"*{' · '.join(facts)}*"]
    if system := _option(options, "system"):
        parts += ["## System", _closed(system)]
    for message in messages:
        parts += _section(message)
    return "\n\n".join(parts) + "\n"


def _option(options: Mapping[str, JSON], name: str) -> str:
    value = options.get(name)
    return value.strip() if isinstance(value, str) else ""


def _section(message: BaseMessage) -> list[str]:
    parts = [f"## {_heading(message)}", *_content(message)]
    if isinstance(message, AIMessage):
        for call in message.tool_calls:
            arguments = json.dumps(call["args"], ensure_ascii=False, indent=2)
            parts += [f"Calls the tool {_escaped(call['name'])}:", _fenced(arguments, "json")]
        parts += _sources(message)
        ending = _ENDINGS.get(str(message.response_metadata.get("finish_reason")))
        parts += [ending] if ending else []
    return parts


def _sources(answer: AIMessage) -> list[str]:
    """The passages that an answer cites as `[n]`, by title and place; as JSON of a database, they may be anything."""
    ours = answer.additional_kwargs.get(OURS)
    rows = ours.get("passages") if isinstance(ours, dict) else None
    lines = []
    for row in rows if isinstance(rows, list) else []:
        number = row.get("number") if isinstance(row, dict) else None
        if number is not None and f"[{number}]" in answer.text:
            named = row.get("title") or row.get("source") or "a passage"
            where = f", {row['place']}" if row.get("place") else ""
            lines.append(f"- [{number}] {_escaped(' '.join(f'{named}{where}'.split()))}")
    return ["Sources:", "\n".join(lines)] if lines else []


def _heading(message: BaseMessage) -> str:
    if isinstance(message, ToolMessage):
        return f"Tool {_escaped(message.name or '')}".rstrip()
    return _ROLES[message.type]


def _content(message: BaseMessage) -> list[str]:
    if isinstance(message, ToolMessage):
        return [_fenced(message.text)] if message.text else []
    parts = [_closed(message.text)] if message.text.strip() else []
    blocks = [block for block in message.content if isinstance(block, dict) and block.get("type") != "text"]
    return parts + [f"*({_escaped(str(block.get('type')))}: only in the JSON export)*" for block in blocks]


def _fenced(text: str, language: str = "") -> str:
    """A code block whose fence is longer than any run of backticks in the text."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _closed(text: str) -> str:
    """`text`, with the closing fence that it lacks (CommonMark 0.31, section 4.5)."""
    opened = ""
    for line in re.split(r"\r\n?|\n", text):
        match = _FENCE.fullmatch(line)
        if not match:
            continue
        fence, info = match.groups()
        if not opened:
            opened = "" if fence[0] == "`" and "`" in info else fence
        elif fence.startswith(opened) and not info.strip():
            opened = ""
    return f"{text}\n{opened}" if opened else text


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|!&~])", r"\\\1", text)

"""LangChain's kinds of messages become plain turns, and nothing that is not text is dropped unseen."""

from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from phireside.errors import NotSupportedError
from phireside.models.messages import to_turns

CALL = {"name": "add", "args": {"a": 1, "wörter": "日本"}, "id": "1", "type": "tool_call"}


@pytest.mark.parametrize(
    ("message", "turn"),
    [
        (HumanMessage("Hi"), ("user", "Hi")),
        (SystemMessage("Be kind."), ("system", "Be kind.")),
        (AIMessage("Yes"), ("assistant", "Yes")),
        (ChatMessage("Hm", role="assistant"), ("assistant", "Hm")),
        (ChatMessage("Hm", role="system"), ("system", "Hm")),
        (ChatMessage("Hm", role="critic"), ("user", "Hm")),
        (ToolMessage("3", tool_call_id="1"), ("user", "Observation: 3")),
        (ToolMessage("No such file", tool_call_id="1", status="error"), ("user", "Observation: Error: No such file")),
        (ToolMessage("Error: no file", tool_call_id="1", status="error"), ("user", "Observation: Error: no file")),
        (HumanMessage(["a", {"type": "text", "text": "b"}, {"text": "c"}]), ("user", "abc")),
        (AIMessage([{"type": "thinking", "thinking": "…"}, {"type": "text", "text": "4"}]), ("assistant", "4")),
        (AIMessage("", tool_calls=[CALL]), ("assistant", 'Action: add\nAction Input: {"a": 1, "wörter": "日本"}')),
        (
            AIMessage("I add.", tool_calls=[CALL, {**CALL, "args": {}}]),
            (
                "assistant",
                'I add.\nAction: add\nAction Input: {"a": 1, "wörter": "日本"}\nAction: add\nAction Input: {}',
            ),
        ),
        (HumanMessage(""), ("user", "")),
        (AIMessage([]), ("assistant", "")),
    ],
)
def test_each_kind_of_message_becomes_its_turn(message: BaseMessage, turn: tuple[str, str]) -> None:
    assert to_turns([message]) == [{"role": turn[0], "content": turn[1]}]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "image", "base64": "AA", "mime_type": "image/png"},
        {"type": "audio", "base64": "AA"},
        {"type": "file", "file_id": "1"},
    ],
)
def test_what_is_not_text_is_refused_by_its_kind(block: dict[str, Any]) -> None:
    with pytest.raises(NotSupportedError, match=block["type"]):
        to_turns([HumanMessage([{"type": "text", "text": "Look"}, block])])

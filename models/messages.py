"""LangChain messages as the plain turns that a chat template takes, and engine events as LangChain chunks."""

import json
from collections.abc import Sequence

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatResult

from phireside.errors import NotSupportedError
from phireside.models.engine import Ended
from phireside.models.templates import Message

_NO_TEXT = {"tool_use", "tool_call", "tool_call_chunk", "reasoning", "thinking", "non_standard", "invalid_tool_call"}
_CUT = {
    "stop": "A stop string ended the answer inside this call.",
    "length": "max_tokens ended the answer, and may have shortened this call: raise it.",
    "cancelled": "The answer was stopped inside this call.",
}


def to_turns(messages: Sequence[BaseMessage]) -> list[Message]:
    """Messages as {"role", "content"} turns; tool calls and their results as ReAct text.

    Raises:
        NotSupportedError: a message holds an image, audio or a file.
    """
    return [{"role": _role(message), "content": _content(message)} for message in messages]


def _role(message: BaseMessage) -> str:
    if isinstance(message, SystemMessage):
        return "system"
    if isinstance(message, AIMessage):
        return "assistant"
    if isinstance(message, ChatMessage) and message.role in {"system", "assistant"}:
        return message.role
    return "user"


def _content(message: BaseMessage) -> str:
    text = text_of(message)
    if isinstance(message, ToolMessage):
        failed = message.status == "error" and not text.lower().startswith("error")
        return f"Observation: {'Error: ' if failed else ''}{text}"
    lines = call_lines(message) if isinstance(message, AIMessage) else []
    return "\n".join([text, *lines] if text else lines)


def call_lines(message: AIMessage) -> list[str]:
    """A message's tool calls as ReAct text."""
    return [
        f"Action: {call['name']}\nAction Input: {json.dumps(call['args'], ensure_ascii=False)}"
        for call in message.tool_calls
    ]


def thought_of(message: AIMessage) -> str:
    """The reasoning that came before an answer or a call; empty if there was none."""
    if thought := message.additional_kwargs.get("reasoning_content"):
        return str(thought)
    blocks = message.content if isinstance(message.content, list) else []
    return "".join(
        str(block.get("reasoning", ""))
        for block in blocks
        if isinstance(block, dict) and block.get("type") == "reasoning"
    )


def text_of(message: BaseMessage) -> str:
    """A message's text.

    Raises:
        NotSupportedError: it holds an image, audio or a file.
    """
    content = message.content
    if isinstance(content, str):
        return content
    parts = []
    for block in content:
        kind = "text" if isinstance(block, str) else block.get("type", "text")
        if kind == "text":
            parts.append(block if isinstance(block, str) else str(block.get("text", "")))
        elif kind not in _NO_TEXT:
            raise NotSupportedError(
                f"A message holds a block of type {kind!r}, but this model reads text only.",
                hint="Send the text of it, or use a model that takes images through openai:MODEL.",
            )
    return "".join(parts)


def explained(result: ChatResult) -> ChatResult:
    """The result, with the reason in each call that is an invalid one. (Chunks have no place for it.)"""
    for generation in result.generations:
        message = generation.message
        for call in message.invalid_tool_calls if isinstance(message, AIMessage) else []:
            call["error"] = call["error"] or _CUT.get(message.response_metadata.get("finish_reason", ""))
    return result


def last_chunk(ended: Ended, model_name: str) -> AIMessageChunk:
    """The empty chunk that ends a stream: usage, and how the answer came about (times in seconds)."""
    usage = ended.usage
    further = {
        "prefill_time": round(usage.prefill_s, 4),
        "forced_tokens": usage.forced_tokens,
        "drafted_tokens": usage.drafted_tokens,
        "accepted_tokens": usage.accepted_tokens,
        "restored_tokens": usage.restored_tokens,
    }
    return AIMessageChunk(
        content="",
        chunk_position="last",
        usage_metadata={
            "input_tokens": usage.prompt_tokens,
            "output_tokens": usage.generated_tokens,
            "total_tokens": usage.prompt_tokens + usage.generated_tokens,
            "input_token_details": {"cache_read": usage.cached_tokens},
        },
        response_metadata={
            "model_name": model_name,
            "finish_reason": usage.finish_reason,
            "cached_tokens": usage.cached_tokens,
            "evaluated_tokens": usage.evaluated_tokens,
            "queue_time": round(usage.queue_s, 4),
            "time_to_first_token": round(usage.time_to_first_token_s, 4),
            "tokens_per_second": round(usage.tokens_per_second, 2),
            **{name: value for name, value in further.items() if value},
        },
    )

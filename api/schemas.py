"""What answers look like, for the OpenAPI page and for clients made of it. No answer is checked against it on its way.

Knows OpenAI's forms: https://platform.openai.com/docs/api-reference
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Part(BaseModel):
    """Of an answer: what every answer of its kind has."""

    model_config = ConfigDict(extra="allow")


class CallFunction(_Part):
    """The function that is to be called."""

    name: str
    arguments: str = Field(description="JSON; if the answer was cut off, only its beginning.")


class ToolCall(_Part):
    """A call that the model made."""

    id: str
    type: Literal["function"]
    function: CallFunction


class AnswerMessage(_Part):
    """What was answered."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[ToolCall] = []
    reasoning_content: str = Field("", description="What the model thought before.")
    references: list[dict[str, Any]] = Field([], description="rag:BASE: the passages that the model had.")
    claims: list[dict[str, Any]] = Field([], description="rag:BASE: each sentence with its verdict.")
    known: bool = Field(True, description="rag:BASE: false for an answer that is not in the documents.")
    steps: list[dict[str, Any]] = Field([], description="agent: its thoughts, actions and observations.")


class AnswerChoice(_Part):
    """One of `n` answers."""

    index: int
    message: AnswerMessage
    logprobs: None
    finish_reason: Literal["stop", "length", "tool_calls"]


class CachedTokens(_Part):
    """More about the tokens of a prompt."""

    cached_tokens: int
    audio_tokens: int


class ChatUsage(_Part):
    """What an answer cost."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: CachedTokens


class ChatAnswer(_Part):
    """Answers to a conversation."""

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Seconds since 1970.")
    model: str
    system_fingerprint: str
    choices: list[AnswerChoice]
    usage: ChatUsage | None = Field(description="Null if the model does not say.")


class Vector(_Part):
    """The vector of a text."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str = Field(description="A text is base64 of little-endian float32.")


class EmbeddingsUsage(_Part):
    """What vectors cost."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(_Part):
    """Vectors in the order of their texts."""

    object: Literal["list"]
    data: list[Vector]
    model: str
    usage: EmbeddingsUsage


class ModelAnswer(_Part):
    """Who can be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    description: str


class ModelsAnswer(_Part):
    """All who can be asked."""

    object: Literal["list"]
    data: list[ModelAnswer]


class HealthAnswer(_Part):
    """That the server is there."""

    status: Literal["ok"]
    engines: dict[str, Literal["unloaded", "loading", "ready", "closed"]]
    open: int = Field(description="Answers that are being written or waited for.")

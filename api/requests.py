"""What programs send, in OpenAI's forms. Fields that nobody knows are passed over; what cannot be done is refused.

Knows forms only; nothing of how a request is answered.
"""

import json
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from jsonschema import Draft202012Validator, SchemaError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from phireside.text import clean_text

_KINDS = {
    "image_url": "an image",
    "input_audio": "a sound",
    "file": "a file",
    "image": "an image",
    "video_url": "a film",
}
_MOST_MESSAGES = 10_000  # a hundred thousand take seconds to read, while others wait
_MOST_STOPS, _LONGEST_STOP = 64, 1000  # the engine looks for each of them behind every token
_LONGEST_FORM = 100_000  # characters of JSON: a schema of a million takes seconds to check, while others wait


class Body(BaseModel):
    """A part of a request: no value is taken for one of another type."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def _text_only(kind: str) -> str:
    if kind not in ("text", "refusal"):
        what = _KINDS.get(kind, f"of type {kind[:40]!r}")
        raise ValueError(f"this part is {what}, but the models of this server read text only. Send its text")
    return kind


def _json_schema(schema: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(schema, ensure_ascii=False).encode()
        Draft202012Validator.check_schema(schema)
    except UnicodeEncodeError:
        raise ValueError("this JSON schema has characters that are no Unicode") from None
    except SchemaError as error:
        raise ValueError(f"this is no JSON schema: {error.message[:200]}") from None
    except RecursionError:
        raise ValueError("this JSON schema is nested too deep") from None
    return schema


def _of_object(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type", "object") != "object":
        raise ValueError('a function takes named arguments: its schema must have the type "object"')
    return schema


def _short(value: Any) -> Any:
    try:
        length = len(json.dumps(value))
    except RecursionError:
        raise ValueError("this is nested too deep") from None
    if length > _LONGEST_FORM:
        raise ValueError(f"this has {length:,} characters of JSON, and {_LONGEST_FORM:,} are the most")
    return value


def _nothing(value: Any) -> Any:
    if value:
        raise ValueError("this server has no such thing. Leave it out")
    return value


Text: TypeAlias = Annotated[str, AfterValidator(clean_text)]
JsonSchema: TypeAlias = Annotated[dict[str, Any], AfterValidator(_json_schema)]
T = TypeVar("T")
Items: TypeAlias = Annotated[list[T], Field(fail_fast=True)]
"""A list whose first fault is told: a body has room for millions, and each takes a kilobyte."""

Stop: TypeAlias = Annotated[Text, Field(max_length=_LONGEST_STOP)]
NotHere: TypeAlias = Annotated[Any, AfterValidator(_nothing)]
"""What would change the answer and cannot be done: only an empty value, null, false or 0 may stand there."""


class Part(Body):
    """A part of a message."""

    type: Annotated[str, AfterValidator(_text_only)]
    text: Text = ""
    refusal: Text = ""


def _json_object(text: str) -> str:
    try:
        value = json.loads(text or "{}")
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("arguments must be the text of a JSON object")
    return text


class Called(Body):
    """The function of a call."""

    name: Text = Field(min_length=1)
    arguments: Annotated[Text, AfterValidator(_json_object)] = "{}"


class Call(Body):
    """A tool call that the model made."""

    id: Text
    type: Literal["function"] = "function"
    function: Called


class Message(Body):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Items[Part] | None = None
    name: Text | None = None
    tool_calls: Items[Call] | None = None
    tool_call_id: Text | None = None

    @property
    def text(self) -> str:
        """All of its text."""
        if isinstance(self.content, list):
            return "".join(part.text or part.refusal for part in self.content)
        return self.content or ""


class Function(Body):
    """What a tool is called, is for and takes."""

    name: Text = Field(min_length=1, max_length=128)
    description: Text | None = None
    parameters: Annotated[JsonSchema, AfterValidator(_of_object)] | None = None
    strict: bool | None = None


class Tool(Body):
    """A tool that the model may call."""

    type: Literal["function"]
    function: Function


class Named(Body):
    """The name of a function."""

    name: str


class Choice(Body):
    """The one tool that must be called."""

    type: Literal["function"]
    function: Named


class FormatSchema(Body):
    """The form of an answer."""

    model_config = ConfigDict(strict=True, extra="ignore", populate_by_name=True)

    name: str = "answer"
    schema_: JsonSchema = Field(alias="schema")
    strict: bool | None = None


class Format(Body):
    """What an answer must be."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: FormatSchema | None = None

    def as_dict(self) -> dict[str, Any] | None:
        """OpenAI's form; None = any text.

        Raises:
            ValueError: there is no schema.
        """
        if self.type == "text":
            return None
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("response_format has the type json_schema, but no json_schema")
        return self.model_dump(by_alias=True, exclude_none=True)


def _with_schema(given: Format | None) -> Format | None:
    if given:
        given.as_dict()
    return given


class StreamOptions(Body):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None


class ChatRequest(Body):
    """A conversation to be answered.

    `top_k`, `min_p` and `repeat_penalty` are llama.cpp's, and no part of OpenAI's form.
    """

    model: Text = Field(min_length=1, description="chat, agent, rag:BASE, or a name that /v1/models lists.")
    messages: Items[Message] = Field(min_length=1, max_length=_MOST_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    top_k: int | None = Field(None, ge=0, lt=2**31)
    min_p: float | None = Field(None, ge=0, le=1)
    repeat_penalty: float | None = Field(None, ge=0.01, le=100)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    n: int | None = Field(None, ge=1, le=128)
    max_tokens: int | None = Field(None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31)
    stop: Stop | Annotated[Items[Stop], Field(max_length=_MOST_STOPS)] | None = None
    tools: Annotated[Items[Tool] | None, BeforeValidator(_short)] = None
    tool_choice: Literal["none", "auto", "required"] | Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Annotated[Format | None, BeforeValidator(_short), AfterValidator(_with_schema)] = None
    logprobs: NotHere = None
    top_logprobs: NotHere = None
    logit_bias: NotHere = None
    frequency_penalty: NotHere = Field(None, description="Only 0; use repeat_penalty.")
    presence_penalty: NotHere = Field(None, description="Only 0; use repeat_penalty.")
    functions: NotHere = Field(None, description="Use tools.")
    function_call: NotHere = Field(None, description="Use tool_choice.")
    audio: NotHere = None
    web_search_options: NotHere = None

    @property
    def limit(self) -> int | None:
        """Most tokens of an answer."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def wants_usage(self) -> bool:
        """Whether a stream is to tell what it cost."""
        return bool(self.stream_options and self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """How tokens are chosen, as far as the request says it."""
        names = ("temperature", "top_p", "top_k", "min_p", "repeat_penalty")
        given = {name: value for name in names if (value := getattr(self, name)) is not None}
        return given if self.seed is None else given | {"seed": self.seed % 2**32}  # OpenAI's may be negative

    def form(self) -> dict[str, Any]:
        """Tools and the form of the answer, as arguments of a chat model's call."""
        given: dict[str, Any] = {}
        if self.tools:
            given["tools"] = [tool.model_dump(exclude_none=True) for tool in self.tools]
            if self.parallel_tool_calls is not None:
                given["parallel_tool_calls"] = self.parallel_tool_calls
        if self.tool_choice is not None and (self.tools or self.tool_choice != "none"):
            chosen = self.tool_choice
            given["tool_choice"] = chosen if isinstance(chosen, str) else chosen.model_dump()
        if self.response_format and (form := self.response_format.as_dict()):
            given["response_format"] = form
        return given

    def stops(self) -> list[str] | None:
        """Strings that end the answer."""
        return [self.stop] if isinstance(self.stop, str) else self.stop


class EmbeddingsRequest(Body):
    """Texts whose vectors are wanted."""

    model: Text = Field(min_length=1, description='"embeddings", or the name of the model that is in use.')
    input: str | Items[str] | Items[int] | Items[Items[int]]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = Field(None, ge=1)

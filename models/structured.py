"""`with_structured_output`: from a schema to a call under its grammar, and to the parser of what comes back."""

from collections.abc import AsyncIterator, Iterator, Mapping
from operator import itemgetter
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.output_parsers import BaseOutputParser, JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import JsonOutputKeyToolsParser, PydanticToolsParser
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass

from phireside.errors import EngineError, RequestError
from phireside.models.dialects.inputs import json_grammar
from phireside.models.tools import JSON, closed

Method = Literal["json_schema", "function_calling", "json_mode"]


def structured(
    model: BaseChatModel, schema: Any, method: Method, *, include_raw: bool, strict: bool | None, **bound: Any
) -> Runnable[LanguageModelInput, Any]:
    """A model that answers with what the schema describes; see `ChatGGUF.with_structured_output`."""
    if schema is None and method != "json_mode":
        raise RequestError("with_structured_output needs a schema.", hint='Only method="json_mode" goes without.')
    if method == "function_calling":
        asked, parser = _by_call(model, schema, strict, bound)
    elif method in ("json_schema", "json_mode"):
        asked, parser = _by_format(model, schema, method, strict, bound)
    else:
        raise RequestError(f"method is {method!r}.", hint="Use json_schema, function_calling or json_mode.")
    whole = RunnableGenerator(_whole, _awhole) | parser
    if not include_raw:
        return asked | whole
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | whole, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=asked) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _whole(messages: Iterator[BaseMessage]) -> Iterator[BaseMessage]:
    """The messages or chunks; an error where they say that the answer was shortened."""
    for message in messages:
        check_whole(message)
        yield message


async def _awhole(messages: AsyncIterator[BaseMessage]) -> AsyncIterator[BaseMessage]:
    async for message in messages:
        check_whole(message)
        yield message


def check_whole(message: BaseMessage) -> None:
    """Raises EngineError if the message says that it was shortened to end within max_tokens."""
    if message.response_metadata.get("finish_reason") == "length":
        written = getattr(message, "usage_metadata", None) or {}
        raise EngineError(
            f"The answer was shortened to end within max_tokens: it has {written.get('output_tokens', 'all')} tokens.",
            hint="Raise max_tokens, or bound the texts and lists of the schema (maxLength, maxItems).",
        )


def _by_call(
    model: BaseChatModel, schema: Any, strict: bool | None, bound: dict[str, Any]
) -> tuple[Runnable[LanguageModelInput, Any], BaseOutputParser[Any]]:
    """The schema as a tool that must be called."""
    name = convert_to_openai_tool(schema)["function"]["name"]
    parser: BaseOutputParser[Any] = (
        PydanticToolsParser(tools=[schema], first_tool_only=True)
        if _is_pydantic(schema)
        else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
    )
    trace = _trace("function_calling", strict, schema)
    return model.bind_tools([schema], tool_choice=name, parallel_tool_calls=False, **trace, **bound), parser


def _by_format(
    model: BaseChatModel, schema: Any, method: Method, strict: bool | None, bound: dict[str, Any]
) -> tuple[Runnable[LanguageModelInput, Any], BaseOutputParser[Any]]:
    """The schema as the grammar of the answer; json_mode leaves it to the caller's prompt to ask for it."""
    form: dict[str, Any]
    if method == "json_schema":
        form = {"response_format": {"type": "json_schema", "json_schema": {"schema": json_schema(schema)}}}
    else:
        form = {"grammar": json_grammar(closed(json_schema(schema)) if schema is not None else {"type": "object"})}
    parser: BaseOutputParser[Any] = (
        PydanticOutputParser(pydantic_object=schema) if _is_pydantic(schema) else JsonOutputParser()
    )
    return model.bind(**form, **(_trace(method, strict, schema) if schema is not None else {}), **bound), parser


def _trace(method: Method, strict: bool | None, schema: Any) -> dict[str, Any]:
    """What LangChain's tracers show; the model never sees it."""
    settings = {"method": method} | ({} if strict is None else {"strict": strict})
    return {"ls_structured_output_format": {"kwargs": settings, "schema": schema}}


def json_schema(schema: Any) -> JSON:
    """The JSON schema of a pydantic class (v1 or v2), a TypedDict, a tool in OpenAI's form, or itself."""
    if isinstance(schema, type):
        if hasattr(schema, "model_json_schema"):
            found: JSON = schema.model_json_schema()
            return found
        if _is_pydantic(schema):
            old: JSON = schema.schema()  # type: ignore[attr-defined]  # pydantic v1
            return old
    if isinstance(schema, Mapping) and "function" not in schema and "parameters" not in schema:
        return schema
    return convert_to_json_schema(schema)


def _is_pydantic(schema: Any) -> bool:
    return isinstance(schema, type) and is_basemodel_subclass(schema)

"""`POST /v1/chat/completions` answers in OpenAI's form, passes on what it is asked, and says what it cannot do."""

from typing import Any

import httpx
import openai
import pytest
from acting import acts, calls
from answers import answers
from calling import CHAT, HELLO, app_of, asked, calling
from langchain_core.messages import AIMessage
from openai.types.chat import ChatCompletion
from pydantic import ValidationError

from phireside.api.requests import ChatRequest, EmbeddingsRequest
from phireside.errors import ContextOverflowError, EngineBusyError, EngineClosedError, EngineError, PhiresideError
from phireside.settings import Settings

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}}}
WIDE = {"type": "object", "properties": {f"field{number}": {"type": "string"} for number in range(4000)}}


async def refused(settings: Settings, **body: Any) -> dict[str, Any]:
    """The error of a request that the model must not see."""
    model = answers("never")
    response = await asked(app_of(settings, model), **body)
    assert response.status_code == 400, response.text
    assert model.asked == []
    error: dict[str, Any] = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def test_an_answer_has_openais_form_and_what_it_cost(settings: Settings) -> None:
    response = await asked(app_of(settings, answers("Good day to you")))
    answer = ChatCompletion.model_validate(response.json(), strict=True)
    assert (answer.object, answer.model) == ("chat.completion", "chat")
    assert answer.id.startswith("chatcmpl-")
    choice = answer.choices[0]
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content) == ("assistant", "Good day to you")
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (1, 4, 5)
    assert answer.usage.prompt_tokens_details
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


async def test_messages_of_all_roles_arrive(settings: Settings) -> None:
    model = answers("ok")
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "What "}, {"type": "text", "text": "now?"}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": '{"zone": "UTC"}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        {"role": "assistant", "content": "Noon."},
        {"role": "user", "content": "Thanks", "name": "Ada"},
    ]  # fmt: skip
    response = await asked(app_of(settings, model), messages=messages)
    assert response.status_code == 200
    kinds = ["system", "system", "human", "ai", "tool", "ai", "human"]
    texts = ["Be short.", "Be kind.", "What now?", "", "noon", "Noon.", "Thanks"]
    assert model.asked == [list(zip(kinds, texts, strict=True))]


async def test_what_a_request_sets_arrives_at_the_model(settings: Settings) -> None:
    model = answers("ok")
    body = {
        "temperature": 0.5, "top_p": 0.9, "seed": -1, "max_tokens": 7, "max_completion_tokens": 9, "tools": [TOOL],
        "tool_choice": "required", "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
    }  # fmt: skip
    assert (await asked(app_of(settings, model), stop="END", **body)).status_code == 200
    (given,) = model.arguments
    expected = {"temperature": 0.5, "top_p": 0.9, "seed": 2**32 - 1, "max_tokens": 9, "tool_choice": "required"}
    assert given == expected | {k: body[k] for k in ("tools", "parallel_tool_calls", "response_format")}


async def test_a_request_without_settings_leaves_them_to_the_model(settings: Settings) -> None:
    model = answers("ok")
    plain: dict[str, Any] = {"response_format": {"type": "text"}, "tool_choice": "none", "temperature": None, "n": None}
    assert (await asked(app_of(settings, model), **plain)).status_code == 200
    assert model.arguments == [{}]


async def test_fields_that_nobody_knows_and_those_that_ask_for_nothing_are_passed_over(settings: Settings) -> None:
    model = answers("ok")
    body: dict[str, Any] = {
        "user": "me", "store": False, "metadata": {"a": "b"}, "service_tier": "auto", "made_up": [1], "logprobs": False,
        "frequency_penalty": 0, "presence_penalty": 0.0, "logit_bias": {}, "reasoning_effort": "low",
    }  # fmt: skip
    assert (await asked(app_of(settings, model), **body)).status_code == 200
    assert model.arguments == [{}]


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}, "an image"),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "a sound"),
        ({"type": "file", "file": {"file_id": "f"}}, "a file"),
        ({"type": "hologram"}, "'hologram'"),
    ],
)
async def test_what_is_no_text_is_refused_by_its_name_and_place(settings: Settings, part: Any, what: str) -> None:
    content = [{"type": "text", "text": "What is this?"}, part]
    error = await refused(settings, messages=[{"role": "user", "content": content}])
    assert what in error["message"]
    assert "text only" in error["message"]
    assert error["param"] == "messages[0].content[1].type"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "Hello"}, "messages"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"temperature": 3}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"stop": [1]}, "stop[0]"),
        ({"stop": ["x"] * 65}, "stop"),
        ({"stop": ["x" * 1001]}, "stop[0]"),
        ({"messages": HELLO["messages"] * 10_001}, "messages"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"frequency_penalty": 0.5}, "frequency_penalty"),
        ({"functions": [{"name": "x"}]}, "functions"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": 5}}}]}, None),
        ({"tools": [{"type": "function", "function": {"name": "x", "parameters": {"type": "array"}}}]}, None),
        ({"tools": [TOOL] * 2000}, "tools"),
        ({"response_format": {"type": "json_schema", "json_schema": {"schema": WIDE}}}, "response_format"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "function": "weather"}}, None),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"stream": "yes"}, "stream"),
    ],
)
async def test_a_request_that_cannot_be_meant_is_refused_at_the_place(
    settings: Settings, body: Any, param: str | None
) -> None:
    error = await refused(settings, **body)
    assert error["param"]
    assert param is None or error["param"] == param
    assert error["message"].startswith(error["param"])


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (ChatRequest, {"messages": [0] * 99}),
        (ChatRequest, {"messages": [{"role": "user", "content": [0] * 99}]}),
        (ChatRequest, {"messages": [{"role": "assistant", "tool_calls": [0] * 99}]}),
        (ChatRequest, HELLO | {"stop": [0] * 50}),
        (EmbeddingsRequest, {"input": [0.5] * 99}),
    ],
)
def test_of_a_lists_faults_the_first_is_kept_as_a_body_has_room_for_millions(form: Any, body: Any) -> None:
    with pytest.raises(ValidationError) as told:
        form.model_validate({"model": "chat", **body})
    assert told.value.error_count() <= 4  # one for each kind that may stand there


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"{", "no JSON"),
        (b"", "Field required"),
        (b"[]", "dict"),
        (b"[" * 100_000, "parsing"),
        (b'{"model": "chat", "temperature": NaN, "messages": [{"role": "user", "content": "x"}]}', "finite"),
        (b'{"model": "chat", "max_tokens": 1' + b"0" * 5000 + b"}", "parsing"),
        (b"\xff\xfe", ""),
    ],
)
async def test_bytes_of_any_kind_are_answered(settings: Settings, raw: bytes, what: str) -> None:
    async with calling(app_of(settings, answers("x"))) as client:
        response = await client.post(CHAT, content=raw, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert what in response.json()["error"]["message"]


@pytest.mark.parametrize("text", ['"\\ud800"', '[{"type": "text", "text": "\\ud800"}]'])
async def test_half_a_character_becomes_a_whole_one(settings: Settings, text: str) -> None:
    model = answers(lambda messages: messages[0].text)
    raw = b'{"model": "chat", "messages": [{"role": "user", "content": %s}]}' % text.encode()
    async with calling(app_of(settings, model)) as client:
        response = await client.post(CHAT, content=raw, headers={"content-type": "application/json"})
    assert response.json()["choices"][0]["message"]["content"] == "\ufffd"


async def test_a_result_must_name_its_call_and_a_call_have_an_object(settings: Settings) -> None:
    error = await refused(settings, messages=[{"role": "tool", "content": "noon"}])
    assert "tool_call_id" in error["message"]
    call = {"id": "1", "type": "function", "function": {"name": "x", "arguments": "[]"}}
    error = await refused(settings, messages=[{"role": "assistant", "tool_calls": [call]}])
    assert error["param"] == "messages[0].tool_calls[0].function.arguments"


@pytest.mark.parametrize(
    "name", ["gpt-5", "/etc/passwd", "../../x.gguf", "hf:a/b/c.gguf", "rag:", "rag:../x", "\ufffd"]
)
async def test_a_model_that_is_not_listed_is_none_and_no_file_is_looked_at(settings: Settings, name: str) -> None:
    model = answers("never")
    response = await asked(app_of(settings, model), model=name)
    assert response.status_code in (400, 404)
    assert model.asked == []
    if response.status_code == 404:
        error = response.json()["error"]
        assert (error["code"], error["type"]) == ("model_not_found", "not_found_error")


async def test_several_answers_have_seeds_that_follow_each_other(settings: Settings) -> None:
    model = answers("a b")
    response = await asked(app_of(settings, model), n=3, seed=5)
    answer = ChatCompletion.model_validate(response.json())
    assert [(choice.index, choice.message.content) for choice in answer.choices] == [(i, "a b") for i in range(3)]
    assert sorted(given["seed"] for given in model.arguments) == [5, 6, 7]
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1, 6)


async def test_tool_calls_are_openais(settings: Settings) -> None:
    model = acts(calls(("weather", {"city": "Köln"}), ("weather", {"city": "Bonn"})))
    response = await asked(app_of(settings, model), tools=[TOOL])
    choice = ChatCompletion.model_validate(response.json(), strict=True).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    made = [(call.type, call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]  # type: ignore[union-attr]
    assert made == [("function", "weather", '{"city":"Köln"}'), ("function", "weather", '{"city":"Bonn"}')]


async def test_an_answer_that_was_cut_off_says_so_and_what_no_model_counted_is_not_told(settings: Settings) -> None:
    cut = await asked(app_of(settings, answers("a", finish_reason="length")))
    assert cut.json()["choices"][0]["finish_reason"] == "length"
    uncounted = await asked(app_of(settings, acts(AIMessage("x"))))
    assert uncounted.json()["usage"] is None


def of_server(status: int, message: str) -> openai.APIStatusError:
    """What OpenAI's client raises when its server answers so."""
    response = httpx.Response(status, request=httpx.Request("POST", "http://127.0.0.1"))
    return openai.APIStatusError(message, response=response, body=None)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ContextOverflowError("The prompt has 9 tokens.", hint="Shorten it."), 400, "context_length_exceeded"),
        (EngineBusyError("64 requests wait.", hint="Later."), 429, "rate_limit_exceeded"),
        (EngineError("The engine failed.", hint="Look."), 503, "unavailable"),
        (EngineClosedError("The model was unloaded.", hint="Ask again."), 503, "unavailable"),
        (openai.OpenAIError("sk-secret is wrong"), 503, "unavailable"),
        (of_server(401, "sk-secret is wrong"), 503, "unavailable"),
        (of_server(400, "too long"), 400, "invalid_value"),
        (of_server(429, "slower"), 429, "rate_limit_exceeded"),
    ],
)
async def test_errors_have_a_status_and_our_words(
    settings: Settings, error: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    response = await asked(app_of(settings, answers(lambda _: error)))
    assert response.status_code == status
    told = response.json()["error"]
    assert told["code"] == code
    assert ("retry-after" in response.headers) == (status == 429)
    assert "sk-secret" not in told["message"]
    if isinstance(error, PhiresideError):
        assert told["message"] == str(error)


async def test_a_fault_of_ours_tells_nothing_of_its_inside(settings: Settings) -> None:
    app = app_of(settings, answers(lambda _: ZeroDivisionError("secret path")))
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        response = await client.post(CHAT, json=HELLO)
    assert response.status_code == 500
    assert response.json()["error"]["code"] == "internal_error"
    assert "secret" not in response.text

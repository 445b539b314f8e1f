"""Native tool markup is worked out from the template: how calls are written, decoded, read and shown as history."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage
from tool_templates import LLAMA, MISTRAL, QWEN, TOOL_FAMILIES, XML

from phireside.models import ChatGGUF
from phireside.models.dialects import ReAct, dialect_for
from phireside.models.dialects.native import CallFormat, Native, NativeParser, call_format
from phireside.models.encoding import PromptEncoder
from phireside.models.engine import Vocabulary
from phireside.models.templates import ChatTemplate
from phireside.models.tools import ToolSpec, closed
from phireside.settings import Settings

ADD = ToolSpec(
    "add", "Adds one.", closed({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
)
CALL = {"name": "add", "args": {"a": 1}, "id": "call_1", "type": "tool_call"}

JSON_CALL = CallFormat('{"name": "', '", "parameters": ', "}", "")
TAGGED = CallFormat(
    '<tool_call>\n{"name": "',
    '", "arguments": ',
    "}\n</tool_call>",
    '}\n</tool_call>\n<tool_call>\n{"name": "',
)
LISTED = CallFormat('[TOOL_CALLS] [{"name": "', '", "arguments": ', "}]", '}, {"name": "')


@pytest.fixture(scope="module", params=TOOL_FAMILIES)
def encoder(request: pytest.FixtureRequest, tool_family_paths: dict[str, Path]) -> PromptEncoder:
    vocabulary = Vocabulary(tool_family_paths[request.param])
    template = ChatTemplate(vocabulary.chat_template, bos="", eos=vocabulary.text(vocabulary.eos))
    return PromptEncoder(vocabulary, template)


@pytest.fixture
def family(encoder: PromptEncoder, request: pytest.FixtureRequest) -> Any:
    return TOOL_FAMILIES[request.node.callspec.params["encoder"]]


@pytest.mark.parametrize(
    ("source", "form"),
    [(QWEN, TAGGED), (LLAMA, JSON_CALL), (MISTRAL, LISTED), (XML, None)],
    ids=["qwen", "llama", "mistral", "xml"],
)
def test_the_form_of_a_call_is_read_off_the_template(source: str, form: CallFormat | None) -> None:
    template = ChatTemplate(source, bos="<s>", eos="</s>")
    assert template.takes_tools
    assert call_format(template) == form


def test_a_template_that_takes_no_tools_has_no_native_dialect(tiny_chatml: Path) -> None:
    vocabulary = Vocabulary(tiny_chatml)
    encoder = PromptEncoder(vocabulary, ChatTemplate(vocabulary.chat_template))
    assert not encoder.template.takes_tools
    assert isinstance(dialect_for(encoder), ReAct)


def test_markup_that_cannot_be_worked_out_falls_back_to_react_with_a_word(
    tiny_chatml: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = PromptEncoder(Vocabulary(tiny_chatml), ChatTemplate(XML))
    assert isinstance(dialect_for(encoder), ReAct)
    assert "how it writes a call is not clear" in caplog.text


# ---- what may be written ----


def accepts(encoder: PromptEncoder, lark: str, tokens: list[int]) -> bool:
    """Whether a grammar takes all tokens and may end there."""
    from llguidance import LLMatcher

    matcher = LLMatcher(encoder.vocabulary.guide, LLMatcher.grammar_from_lark(lark), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher.validate_tokens(tokens) == len(tokens) and matcher.consume_tokens(tokens) and matcher.is_accepting()


def written(encoder: PromptEncoder, dialect: Native, message: AIMessage) -> list[int]:
    """The tokens of a call as the template shows it in history, up to the end of the turn."""
    turns, tools = dialect.turns([HumanMessage("Hi"), message]), dialect.template_tools([ADD])
    before = encoder.template.render(turns[:1], tools)
    whole = encoder.template.render(turns, tools, answering=False)
    text = whole.removeprefix(before).split(encoder.vocabulary.text(encoder.vocabulary.eos))[0]
    text = text.replace(f', "id": "{turns[1]["tool_calls"][0]["id"]}"', "")
    return tokens_of(encoder, text.removesuffix("\n"))


def tokens_of(encoder: PromptEncoder, text: str) -> list[int]:
    """As a model may write it; llama.cpp's own tokens may have a blank in front."""
    tokens: list[int] = []
    for piece in encoder.pieces(text):
        tokens += [piece] if isinstance(piece, int) else encoder.vocabulary.guide.greedy_tokenize(piece)
    return tokens


def test_calls_are_decoded_in_the_form_that_the_template_writes(encoder: PromptEncoder, family: Any) -> None:
    dialect = dialect_for(encoder)
    assert isinstance(dialect, Native)
    assert dialect.parallel is bool(family.parallel)
    one = written(encoder, dialect, AIMessage("", tool_calls=[CALL]))
    forced = dialect.lark([ADD], may_answer=False)
    free = dialect.lark([ADD], may_answer=True)
    assert accepts(encoder, forced, one)
    assert accepts(encoder, free, one)
    plain = tokens_of(encoder, "It is 2.")
    assert accepts(encoder, free, plain)
    assert not accepts(encoder, forced, plain)
    assert not any(accepts(encoder, free, tokens_of(encoder, blank)) for blank in ("", "\n\n"))
    if family.parallel:
        two = written(encoder, dialect, AIMessage("", tool_calls=[CALL, CALL]))
        assert accepts(encoder, forced, two)
        assert not accepts(encoder, dialect.lark([ADD], may_answer=True, parallel=False), two)


def test_what_was_written_is_read_as_calls(encoder: PromptEncoder, family: Any) -> None:
    dialect = dialect_for(encoder)
    for text, count in ((family.call, 1), (family.parallel, 2)):
        if text:
            message = read(dialect.parser([ADD]), [text])
            assert [(call["name"], call["args"]) for call in message.tool_calls] == [("add", {"a": 1})] * count
            assert len({call["id"] for call in message.tool_calls}) == count
            assert message.content == ""


def test_tools_calls_and_results_reach_the_prompt_as_the_template_has_them(encoder: PromptEncoder) -> None:
    dialect = dialect_for(encoder)
    messages = [
        HumanMessage("Add one to 1."),
        AIMessage("", tool_calls=[CALL]),
        ToolMessage("2", tool_call_id="call_1"),
        AIMessage("It is 2."),
        HumanMessage("Once more."),
    ]
    prompt = encoder.render(dialect.turns(messages), dialect.template_tools([ADD]))
    assert '"name": "add"' in prompt
    assert "Adds one." in prompt
    assert '{"a": 1}' in prompt
    assert "Action" not in prompt
    assert prompt.index('{"a": 1}') < prompt.index("It is 2.")


def test_several_calls_of_a_foreign_history_are_rendered_even_one_by_one(encoder: PromptEncoder) -> None:
    dialect = dialect_for(encoder)
    other = {**CALL, "id": "x", "args": {"a": 7}}
    messages = [
        HumanMessage("Hi"),
        AIMessage("Two.", tool_calls=[CALL, other]),
        ToolMessage("2", tool_call_id="call_1"),
        ToolMessage("failed", tool_call_id="x", status="error"),
    ]
    prompt = encoder.render(dialect.turns(messages), dialect.template_tools([ADD]))
    assert '{"a": 1}' in prompt
    assert '{"a": 7}' in prompt
    assert "Error: failed" in prompt


# ---- reading ----


def read(parser: Any, pieces: list[str]) -> AIMessageChunk:
    chunks = [chunk for piece in pieces for chunk in parser.feed(piece)] + parser.finish()
    whole = AIMessageChunk(content="")
    for chunk in chunks:
        whole += chunk
    return whole


TEXTS = st.lists(
    st.sampled_from(
        ["Hi ", " ", "\n", "<tool_call>", '\n{"name": "', "add", '", "arguments": ', '{"a": "}\\""}', "}\n</tool_call>",
         "{", "}", '"', "\\", "<tool", '[{"name": "']
    ),
    max_size=12,
).map("".join)  # fmt: skip


@given(text=TEXTS, cuts=st.lists(st.integers(0, 200), max_size=8))
@pytest.mark.parametrize("form", [JSON_CALL, TAGGED, LISTED], ids=["json", "tagged", "listed"])
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_is_read_the_same_however_it_is_cut(form: CallFormat, text: str, cuts: list[int]) -> None:
    ends = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[a:b] for a, b in pairwise(ends)]
    whole, parts = read(NativeParser(form, True), [text]), read(NativeParser(form, True), pieces)
    assert parts.content == whole.content
    assert [(c["name"], c["args"]) for c in parts.tool_calls] == [(c["name"], c["args"]) for c in whole.tool_calls]
    assert [c["args"] for c in parts.invalid_tool_calls] == [c["args"] for c in whole.invalid_tool_calls]
    if form.opening not in text:
        assert whole.content == text


@given(text=st.text(max_size=40), args=st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3))
def test_text_before_a_call_and_any_arguments_come_out_as_they_went_in(text: str, args: dict[str, str]) -> None:
    call = f"{TAGGED.opening}add{TAGGED.middle}{json.dumps(args, ensure_ascii=False)}{TAGGED.closing}"
    message = read(NativeParser(TAGGED, True), [f"{text}\n{call}"])
    if "<tool_call>" not in text:
        assert message.content == text.rstrip()
        assert message.tool_calls[0]["args"] == args


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_call_that_was_cut_off_is_never_one_that_somebody_could_run(cut: int) -> None:
    call = '{"name": "add", "parameters": {"a": [1, {"b": "x\\"y"}], "c": "\\\\"}}'
    end = call.index("}}") + 1
    message = read(NativeParser(JSON_CALL, True), [call[:cut]])
    assert [c["args"] for c in message.tool_calls] == ([] if cut < end else [{"a": [1, {"b": 'x"y'}], "c": "\\"}])


def test_of_an_answer_that_was_shortened_every_call_is_an_invalid_one() -> None:
    parser = NativeParser(LISTED, True)
    call = f'add{LISTED.middle}{{"a": 1}}'
    whole = AIMessageChunk(content="")
    for chunk in parser.feed(LISTED.opening + call + LISTED.separator + call) + parser.finish(shortened=True):
        whole += chunk
    assert (whole.tool_calls, len(whole.invalid_tool_calls)) == ([], 2)


# ---- with a model ----


@pytest.mark.real
def test_a_random_model_makes_well_formed_calls_in_its_own_markup(
    settings: Settings, tool_family_paths: dict[str, Path]
) -> None:
    for name, path in tool_family_paths.items():
        model = ChatGGUF(model=str(path), settings=settings, temperature=1.5, seed=3, max_tokens=120)
        tool = {"type": "function", "function": {"name": "add", "parameters": dict(ADD.parameters)}}
        answer = model.bind_tools([tool], tool_choice="any").invoke([SystemMessage("Be kind."), HumanMessage("Hi")])
        assert answer.tool_calls, name
        assert not answer.invalid_tool_calls
        assert all(call["name"] == "add" and isinstance(call["args"]["a"], int) for call in answer.tool_calls)
        assert answer.content == ""
        if name == "llama":
            assert len(answer.tool_calls) == 1

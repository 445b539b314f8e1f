"""Forms: what an answer must be, so that it can be used as a value: a number, one of some options, JSON of a schema.

`ask` gets an answer of a form from any model. `ChatGGUF` decodes it under the form's grammar, so that nothing needs
repair; other models are asked for structured output, or else in words, and what they say is checked. Knows nothing of
what is asked.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jsonschema import Draft202012Validator, ValidationError
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable
from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from typing_extensions import is_typeddict

from phireside.chains.cost import Cost
from phireside.chains.given import check_prompt
from phireside.chains.loop import gate
from phireside.chains.prompt_files import load_prompts
from phireside.errors import EngineError, GrammarError, RequestError
from phireside.models import ChatGGUF, Grammar, checked_settings, unbound
from phireside.models.structured import check_whole, json_schema
from phireside.models.tools import closed

if TYPE_CHECKING:
    from llguidance import LLMatcher

T = TypeVar("T")

ATTEMPTS = 3
# What a grammar lets pass has bounds: a small model repeats a digit without end. Models write 1,000 as people do.
_NUMBER = r"-?([0-9]{1,3}(,[0-9]{3}){1,4}|[0-9]{1,15})(\.[0-9]{1,6})?"
_INTEGER = _NUMBER.partition(r"(\.")[0]
# Behind a number, a model that must not write the full stop that it is used to takes it for a decimal point: 216.55.
_STOP = r"\.?"
_ANY_NUMBER = r"-?([0-9]{1,3}(,[0-9]{3})+|[0-9]+)(\.[0-9]+)?" + _STOP
_FENCE = re.compile(r"```[a-z]*\s*\n(.*)```", re.DOTALL)  # what models like to put around JSON
_ANY_INTEGER = _ANY_NUMBER.partition(r"(\.")[0] + _STOP


@dataclass(frozen=True)
class Form(Generic[T]):
    """What an answer must be.

    Attributes:
        name: what messages and prompts call it: "a number".
        schema: JSON schema of the value, for models without grammars.
        grammar: of the answer's text.
        parse: makes the value of a text; raises ValueError if the text is not of the form.
        write: makes the text of what `schema` describes; for models without grammars.
        pattern: the expression that `grammar` was made of, where it was, for grammars that put text around it.
    """

    name: str
    schema: Mapping[str, Any]
    grammar: Grammar
    parse: Callable[[str], T]
    write: Callable[[Any], str] = str
    pattern: str | None = None


@dataclass(frozen=True)
class Decoded(Generic[T]):
    """An answer of a form.

    Attributes:
        value: what the text means.
        text: as the model wrote it.
        cost: of all attempts.
    """

    value: T
    text: str
    cost: Cost


# ---- the forms --------------------------------------------------------------------------------------------------


def number() -> Form[Decimal]:
    """A decimal number; commas may stand between thousands. Under a grammar at most 15 digits, and 6 decimals."""
    parse = functools.partial(_parse_number, _ANY_NUMBER, Decimal)
    return Form("a number", {"type": "number"}, Grammar.regex(_NUMBER + _STOP), parse, _write_number, _NUMBER)


def integer() -> Form[int]:
    """A whole number; commas may stand between thousands. Under a grammar at most 15 digits."""
    parse = functools.partial(_parse_number, _ANY_INTEGER, int)
    return Form("a whole number", {"type": "integer"}, Grammar.regex(_INTEGER + _STOP), parse, _write_number, _INTEGER)


def choice(options: Sequence[str]) -> Form[str]:
    """One of these texts; of models without grammars also in other capitals, in quotes, or with a full stop.

    Raises:
        RequestError: there are none, or one of them is empty or no text.
    """
    given: Any = options if isinstance(options, Sequence) and not isinstance(options, str) else ()
    if not given or not all(isinstance(each, str) and each.strip() for each in given):
        raise RequestError(f"The options are {options!r:.80}.", hint='Pass a list of texts, e.g. ["red", "green"].')
    known: dict[str, list[str]] = {}
    for option in dict.fromkeys(options):
        known.setdefault(_bare(option), []).append(option)

    def parse(text: str) -> str:
        meant = known.get(_bare(text), [])
        if text not in meant and len(meant) != 1:
            raise ValueError(f"{text!r:.80} is none of the {len(options)} options")
        return text if text in meant else meant[0]

    return Form("one of the options", {"enum": list(dict.fromkeys(options))}, Grammar.choice(options), parse)


def yes_or_no() -> Form[bool]:
    """Yes or no, in capitals or not."""

    def parse(text: str) -> bool:
        if _bare(text) not in ("yes", "no"):
            raise ValueError(f"{text!r:.80} is neither yes nor no")
        return _bare(text) == "yes"

    # Both ways of writing, so that what decides is the answer and not its first letter.
    return Form("yes or no", {"enum": ["yes", "no"]}, Grammar.choice(["Yes", "No", "yes", "no"]), parse)


def json_form(schema: Any) -> Form[Any]:
    """JSON of a schema. Objects have nothing but the properties it names, unless it says otherwise.

    Args:
        schema: a JSON schema or a TypedDict, which give dicts (or what else the schema describes), or whatever pydantic
            can read: a class of its own, a dataclass, `list[int]`, which give objects of it.

    Raises:
        RequestError: it is none of these.
        GrammarError: nothing can be of it, or it asks for what cannot be enforced.
    """
    described, read = _described(schema)
    tight = closed(described)
    grammar = Grammar.json(tight)
    _compiled(grammar)
    return Form("JSON of the schema", tight, grammar, read, json.dumps)


def regex(pattern: str) -> Form[str]:
    """A text that the expression matches as a whole; Rust's syntax, as for `Grammar.regex`."""
    _check_text(pattern)
    grammar = Grammar.regex(pattern)
    schema = {"type": "string", "pattern": f"^(?:{pattern})$"}
    return Form("a text of the pattern", schema, grammar, _parser_of(grammar), pattern=pattern)


def lark(text: str) -> Form[str]:
    """A text of a Lark grammar, as for `Grammar.lark`."""
    _check_text(text)
    grammar = Grammar.lark(text)
    schema = {"type": "string", "description": f"A text of this Lark grammar: {text}"}
    return Form("a text of the Lark grammar", schema, grammar, _parser_of(grammar))


def _check_text(value: Any) -> None:
    if not isinstance(value, str):
        raise RequestError(f"{value!r:.80} is no expression or grammar.", hint="Pass a text.")


def _bare(text: str) -> str:
    """What two ways to write an option have in common."""
    return text.casefold().strip(" .\"'")


def _parse_number(pattern: str, make: Callable[[str], Any], text: str) -> Any:
    if not re.fullmatch(pattern, text):
        raise ValueError(f"{text!r:.80} is no number")
    return make(text.replace(",", "").removesuffix("."))


def _write_number(value: Any) -> str:
    """Without an exponent; what is no number is left to the parser."""
    return f"{Decimal(str(value)):f}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _described(schema: Any) -> tuple[Mapping[str, Any], Callable[[str], Any]]:
    """The JSON schema of what pydantic can read, and what makes values of JSON."""
    try:
        if schema is None:  # pydantic takes it for a type
            raise TypeError("there is none")
        if isinstance(schema, Mapping) or is_typeddict(schema):
            described = json_schema(schema)
            return described, functools.partial(_read_json, Draft202012Validator(described))
        adapter: TypeAdapter[Any] = TypeAdapter(schema)
        return adapter.json_schema(), adapter.validate_json
    except (PydanticUserError, TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise RequestError(
            f"{schema!r:.80} cannot be used as a schema: {_first_line(error)}.",
            hint="Pass a JSON schema, a pydantic class, a TypedDict or a dataclass.",
        ) from error


def _read_json(validator: Draft202012Validator, text: str) -> Any:
    value = json.loads(text)
    try:
        validator.validate(value)
    except ValidationError as error:
        raise ValueError(error.message) from error
    return value


def _parser_of(grammar: Grammar) -> Callable[[str], str]:
    """What lets texts of a grammar pass.

    Raises:
        GrammarError: it does not compile.
    """
    begin = _compiled(grammar)

    def parse(text: str) -> str:
        matcher = begin.deep_copy()
        if not matcher.consume_tokens(list(text.encode())) or not matcher.is_accepting():
            raise ValueError(f"{text!r:.80} does not follow the {grammar.name}")
        return text

    return parse


def _compiled(grammar: Grammar) -> "LLMatcher":
    """A matcher over bytes, before any model is there: what cannot be used is found out where it was written."""
    from llguidance import LLTokenizer  # native, and only some forms need it

    try:
        return grammar.compile(LLTokenizer("byte"))
    except GrammarError as error:
        hint = "Change what is named there. docs/grammars.md says what a grammar can enforce."
        raise GrammarError(error.message, hint=hint) from None


# ---- an answer of a form ----------------------------------------------------------------------------------------


async def ask(
    model: Runnable[LanguageModelInput, Any], messages: Sequence[BaseMessage], form: Form[T], **arguments: Any
) -> Decoded[T]:
    """One answer of a form.

    `ChatGGUF` writes it under the form's grammar. Another model is asked for `{"answer": …}` by its
    `with_structured_output`, or, where it has none, in words; what it says is checked. An answer that cannot be used is
    shown to the model with the reason, at most twice; under a grammar that happens only where a class has validators of
    its own. The prompt should say what is wanted: a grammar forbids, and does not explain.

    Args:
        model: a chat model, or one with arguments bound to it.
        messages: what is asked.
        form: what the answer must be.
        **arguments: of the call: temperature, max_tokens, … A model with `with_structured_output` takes those that it
            has a field for.

    Raises:
        EngineError: the answer was shortened to end within max_tokens, or no attempt was of the form.
        GrammarError: nothing can be of the form, or not within max_tokens.
        RequestError: the messages are none.
        NotSupportedError: the model does not take one of the arguments.
    """
    given: Any = messages
    if isinstance(given, str):  # each of its characters would be a message
        raise RequestError(f"ask was given {given!r:.80}.", hint="Pass a list of messages: [HumanMessage(…)].")
    check_prompt("ask", given)
    asked, cost, problem = list(messages), Cost(), ""
    write = _writer(model, form, arguments)
    for _ in range(ATTEMPTS):
        async with gate():
            answer, text, problem = await write(asked)
        cost += Cost.of([answer])
        try:
            if not problem:
                return Decoded(form.parse(text), text, cost)
        except ValueError as error:
            problem = _first_line(error)
        again = load_prompts("forms").messages("again", form=form.name, problem=problem)
        asked = [*messages, AIMessage(text or answer.text), *again]
    raise EngineError(
        f"None of {ATTEMPTS} answers was {form.name}; the last: {problem}.",
        hint="Say in the prompt what is wanted, loosen the schema or its validators, or use a model with grammars.",
    )


_Writer = Callable[[list[BaseMessage]], Any]  # gives the answer, its text, and why it cannot be used


def _writer(model: Runnable[Any, Any], form: Form[Any], arguments: dict[str, Any]) -> _Writer:
    """How this model is brought to answer in a form."""
    plain, bound = unbound(model)
    if isinstance(plain, ChatGGUF):
        return functools.partial(_by_grammar, model, form, arguments)
    try:
        plain.with_structured_output(_wrapped(form), include_raw=True)
    except NotImplementedError:
        return functools.partial(_by_words, model, form, arguments)
    own = plain.model_copy(update=checked_settings(plain, {**bound, **arguments}))  # it takes none for the call
    structured = own.with_structured_output(_wrapped(form), include_raw=True)
    return functools.partial(_by_structure, structured, form)


def _wrapped(form: Form[Any]) -> dict[str, Any]:
    """The schema of an object that holds the answer; definitions stand where references look for them."""
    inner = {key: value for key, value in form.schema.items() if key not in ("$defs", "definitions")}
    definitions = {key: form.schema[key] for key in ("$defs", "definitions") if key in form.schema}
    return {
        "title": "Answer",
        "description": f"The answer: {form.name}.",
        "type": "object",
        "properties": {"answer": inner},
        "required": ["answer"],
        "additionalProperties": False,
        **definitions,
    }


async def _by_grammar(
    model: Runnable[Any, Any], form: Form[Any], arguments: dict[str, Any], messages: list[BaseMessage]
) -> tuple[AIMessage, str, str]:
    answer: AIMessage = await model.ainvoke(messages, grammar=form.grammar, **arguments)
    check_whole(answer)
    return answer, answer.text, ""


async def _by_words(
    model: Runnable[Any, Any], form: Form[Any], arguments: dict[str, Any], messages: list[BaseMessage]
) -> tuple[AIMessage, str, str]:
    wish = load_prompts("forms").messages("only", form=form.name, schema=json.dumps(form.schema))
    answer: AIMessage = await model.ainvoke([*messages, *wish], **arguments)
    check_whole(answer)
    text = answer.text.strip()
    fenced = _FENCE.fullmatch(text)
    return answer, fenced[1].strip() if fenced else text, ""


async def _by_structure(
    structured: Runnable[Any, Any], form: Form[Any], messages: list[BaseMessage]
) -> tuple[AIMessage, str, str]:
    got = await structured.ainvoke(messages)
    raw, parsed = got["raw"], got["parsed"]
    check_whole(raw)
    if got["parsing_error"] or not isinstance(parsed, Mapping) or "answer" not in parsed:
        return raw, "", f"no answer could be read ({_first_line(got['parsing_error'] or parsed)})"
    return raw, form.write(parsed["answer"]), ""


def _first_line(error: object) -> str:
    """The reason in one line, for a sentence that goes on; pydantic's first line only counts the errors."""
    lines = [line.strip() for line in str(error).splitlines() if "errors.pydantic.dev" not in line]
    text = " ".join(lines[:3]) or type(error).__name__
    return text[:200].rstrip(" .")

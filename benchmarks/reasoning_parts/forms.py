"""Well-formed answers: of 200 requests per form at temperature 1, how many can be used as they are.

Well-formed means: it is parsed, and the value is what the form says (the JSON has the schema's fields, with values in
their bounds). Whether it is true does not count. Everyone gets the same question, at most 72 tokens for JSON and 32 for
all else, and the same weights:

- ours: `phireside.chains.ask` under the form's grammar, 16 requests at once.
- JsonOutputParser: langchain-core's parser and format instructions on `ChatGGUF` without a grammar, 16 at once. It
  repairs JSON that was cut, so "parsed" counts more than what can be used. 50 requests.
- free text: the same for forms that are no JSON; white space and a full stop at the end are forgiven, and capitals of
  labels.
- with_structured_output and json_object: langchain-community's `ChatLlamaCpp`, one after another, 50 requests.
- cut at 24 tokens: json_object, and our grammar, where the limit comes before the answer's end. Here the text counts:
  ours is closed in time, and `ask` would say that it was shortened.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field
from reasoning_parts.shared import Row, mean, ours, peer

if TYPE_CHECKING:
    from phireside.chains import Decoded, Form
    from phireside.models import ChatGGUF

REQUESTS, PEER_REQUESTS = 200, 50
JSON_TOKENS, SHORT_TOKENS, CUT = 72, 32, 24
PEOPLE = ("Ada", "Bruno", "Chen", "Dalia", "Emil", "Fatou", "Goran", "Hana")
PLACES = ("Oslo", "Lima", "Accra", "Hanoi", "Quebec")
MOODS = (
    "I loved the concert",
    "The soup was cold",
    "It rained on Tuesday",
    "What a kind nurse",
    "The train never came",
)


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=12, description="first name")
    age: int = Field(ge=0, le=120)
    city: str = Field(max_length=12)


class Timer(BaseModel):
    """Start a timer."""

    tool: Literal["start_timer"]
    minutes: int = Field(ge=1, le=600)


class Note(BaseModel):
    """Write a note."""

    tool: Literal["write_note"]
    title: str = Field(max_length=16)


class Call(BaseModel):
    """A call of a tool."""

    call: Timer | Note
    why: str = Field(max_length=24)


@dataclass(frozen=True)
class Task:
    """What is asked for in one form.

    Args:
        name: of the form.
        form: what an answer must be.
        question: from a number, so that requests differ.
        schema: class of a JSON form.
    """

    name: str
    form: "Form[Any]"
    question: Callable[[int], str]
    schema: type[BaseModel] | None = None

    @property
    def max_tokens(self) -> int:
        """Of an answer."""
        return JSON_TOKENS if self.schema else SHORT_TOKENS

    def questions(self, count: int) -> list[str]:
        """So many questions."""
        return [self.question(number) for number in range(count)]


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Ours and the peer's share for each form."""
    model = ours(options, temperature=1.0)
    for task in tasks():
        yield by_grammar(task, model)
        yield by_parser(task, model) if task.schema else by_free_text(task, model)
    first = tasks()[0]
    questions = [f"{each}\nAnswer with JSON: {_signature(first)}" for each in first.questions(REQUESTS)]
    texts, tokens, seconds = _written(model, questions, CUT, grammar=first.form.grammar)
    right = sum(_usable(first, text) for text in texts)
    yield Row("forms", f"{first.name}: our grammar, cut at {CUT}", right, REQUESTS, tokens, seconds)
    yield from by_llama_cpp(options, first)


def tasks() -> list[Task]:
    """The six forms."""
    from phireside.chains import forms

    labels, date = ("positive", "negative", "neutral"), "[0-9]{4}-[0-9]{2}-[0-9]{2}"
    return [
        Task("JSON of a schema", forms.json_form(Person), _person, Person),
        Task("JSON of a tool call", forms.json_form(Call), _wish, Call),
        Task(
            "label", forms.choice(labels), lambda n: f"{_mood(n)}\nIs this {', '.join(labels)}? Answer with one word."
        ),
        Task("number", forms.number(), lambda n: f"{_sum(n)} Answer with the number only."),
        Task("regex", forms.regex(date), lambda n: f"{_day(n)} Write this date as YYYY-MM-DD, and nothing else."),
        Task("yes or no", forms.yes_or_no(), lambda n: f"{_mood(n)}\nIs this a complaint? Answer yes or no."),
    ]


def by_grammar(task: Task, model: "ChatGGUF") -> Row:
    """Ours; an error counts as an answer that cannot be used."""
    begun = time.perf_counter()
    found = asyncio.run(_asked(task, model))
    seconds = (time.perf_counter() - begun) / REQUESTS
    good = [each for each in found if not isinstance(each, Exception)]
    right = sum(_usable(task, each.text) for each in good)
    more = {"errors": sorted({str(each)[:80] for each in found if isinstance(each, Exception)})}
    tokens = mean([each.cost.generated_tokens for each in good])
    return Row("forms", f"{task.name}: ours", right, REQUESTS, tokens, seconds, more if more["errors"] else {})


async def _asked(task: Task, model: "ChatGGUF") -> "list[Decoded[Any] | Exception]":
    from langchain_core.messages import HumanMessage

    from phireside.chains import ask
    from phireside.chains.long_text import AT_ONCE
    from phireside.errors import PhiresideError

    free = asyncio.Semaphore(AT_ONCE)

    async def one(question: str) -> "Decoded[Any] | Exception":
        async with free:
            try:
                return await ask(model, [HumanMessage(question)], task.form, max_tokens=task.max_tokens)
            except PhiresideError as error:
                return error

    wish = f"\nAnswer with JSON: {_signature(task)}" if task.schema else ""
    return await asyncio.gather(*(one(question + wish) for question in task.questions(REQUESTS)))


def by_parser(task: Task, model: "ChatGGUF") -> Row:
    """langchain-core's `JsonOutputParser` behind the same weights."""
    from langchain_core.exceptions import OutputParserException
    from langchain_core.output_parsers import JsonOutputParser

    parser = JsonOutputParser(pydantic_object=task.schema)
    lead = f"Answer the user query.\n{parser.get_format_instructions()}\n"  # as LangChain's examples have it
    texts, tokens, seconds = _written(model, [lead + each for each in task.questions(PEER_REQUESTS)], task.max_tokens)
    right = parsed = 0
    for text in texts:
        try:
            value = parser.parse(text)
        except OutputParserException:
            continue
        parsed += 1
        right += _usable(task, json.dumps(value))
    return Row("forms", f"{task.name}: JsonOutputParser", right, PEER_REQUESTS, tokens, seconds, {"parsed": parsed})


def by_free_text(task: Task, model: "ChatGGUF") -> Row:
    """What people do without a grammar: ask for it, and look whether it came."""
    texts, tokens, seconds = _written(model, task.questions(REQUESTS), task.max_tokens)
    plain = [text.strip().removesuffix(".") for text in texts]
    right = sum(_usable(task, text) or _usable(task, text.lower()) for text in plain)
    return Row("forms", f"{task.name}: free text", right, REQUESTS, tokens, seconds)


def by_llama_cpp(options: argparse.Namespace, task: Task) -> Iterator[Row]:
    """langchain-community's `ChatLlamaCpp`: its structured output, and its json_object mode cut at max_tokens."""
    model = peer(options, temperature=1.0, max_tokens=task.max_tokens)
    assert task.schema
    structured = model.with_structured_output(task.schema, include_raw=True)
    cut = model.bind(response_format={"type": "json_object"}, max_tokens=CUT)
    wish = f"\nAnswer with JSON: {_signature(task)}"

    def by_structure(question: str) -> str:
        parsed = structured.invoke(question)["parsed"]
        return str(parsed.model_dump_json()) if parsed else ""

    ways: tuple[tuple[str, Callable[[str], str]], ...] = (
        ("ChatLlamaCpp with_structured_output", by_structure),
        (f"ChatLlamaCpp json_object, cut at {CUT}", lambda question: cut.invoke(question + wish).text),
    )
    for name, ask in ways:
        begun, right, errors = time.perf_counter(), 0, 0
        tokens: list[int] = []
        for question in task.questions(PEER_REQUESTS):
            try:
                text = ask(question)
            except Exception:  # noqa: BLE001 (whatever the peer raises: it gave no answer)
                errors += 1
                continue
            tokens.append(len(model.client.tokenize(text.encode(), add_bos=False)))
            right += _usable(task, text)
        seconds = (time.perf_counter() - begun) / PEER_REQUESTS
        more = {"errors": errors} if errors else {}
        yield Row("forms", f"{task.name}: {name}", right, PEER_REQUESTS, mean(tokens), seconds, more)


def _written(
    model: "ChatGGUF", questions: Sequence[str], max_tokens: int, **arguments: Any
) -> tuple[list[str], float, float]:
    """Answers of `ChatGGUF`, tokens and seconds of one."""
    begun = time.perf_counter()
    answers = model.batch(list(questions), max_tokens=max_tokens, **arguments)
    seconds = (time.perf_counter() - begun) / len(questions)
    tokens = [answer.usage_metadata["output_tokens"] for answer in answers if answer.usage_metadata]
    return [answer.text for answer in answers], mean(tokens), seconds


def _usable(task: Task, text: str) -> bool:
    """Whether an answer is of the form."""
    try:
        task.form.parse(text)
    except ValueError:
        return False
    return True


def _signature(task: Task) -> str:
    from phireside.models.tools import signature

    return signature(task.form.schema)


def _person(number: int) -> str:
    who, where = PEOPLE[number % 8], PLACES[number % 5]
    return f"{who} is {18 + number % 60} years old and lives in {where}. Who is it?"


def _wish(number: int) -> str:
    wishes = (
        f"Remind me in {1 + number % 50} minutes to call {PEOPLE[number % 8]}.",
        f"Note: trip to {PLACES[number % 5]}.",
    )
    return f"{wishes[number % 2]} Which tool do you call?"


def _mood(number: int) -> str:
    return f"{PEOPLE[number % 8]} wrote from {PLACES[number // 8 % 5]}: {MOODS[number % 5]}."


def _sum(number: int) -> str:
    return f"{PEOPLE[number % 8]} has {3 + number} coins and finds {2 + number % 9} more. How many are there now?"


def _day(number: int) -> str:
    months = ("January", "March", "May", "July", "August", "October", "December")
    return f"The {1 + number % 28}. of {months[number % 7]} {1990 + number % 40}."

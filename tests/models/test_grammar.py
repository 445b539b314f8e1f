"""Named cases of grammars: what each kind lets through, what is refused and how fast, and that texts close in time."""

import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grammar_tools import HABITS, guide_of, shortest, vocabulary_of, write
from pydantic import BaseModel, Field

from phireside.errors import GrammarError, RequestError
from phireside.models.dialects.inputs import json_grammar
from phireside.models.grammar import Grammar
from phireside.models.grammar_route import find_route, table_of

ARITHMETIC = """start: expr
expr: term (("+" | "-" | "*" | "/") term)*
term: /[0-9]+(\\.[0-9]+)?/ | "(" expr ")"
"""
REACT = """start: "Thought: " /[^\\n]+/ "\\n" (act | final)
act: "Action: search\\nAction Input: " input
final: "Final Answer: " /(.|\\n)+/
input: %json {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"],
  "additionalProperties": false}
"""
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
            },
            "required": ["value", "children"],
            "additionalProperties": False,
        }
    },
    "$ref": "#/$defs/node",
}
NUMBERS = {"type": "array", "items": {"type": "number"}, "minItems": 12, "maxItems": 12}
NESTED = {"type": "array", "minItems": 2, "items": {"type": "array", "minItems": 1, "items": {"type": "string"}}}


class Person(BaseModel):
    name: str = Field(min_length=5, max_length=30)
    age: int = Field(ge=18, le=120)
    friends: list["Person"] = []


@pytest.fixture(scope="module", params=["starter", "phi-3"])
def guide(request: pytest.FixtureRequest) -> Any:
    path: Path = request.getfixturevalue("starter_path" if request.param == "starter" else "tiny_phi3")
    return guide_of(path)


def texts(grammar: Grammar, guide: Any, more: tuple[int, ...] = (0, 1, 3, 30)) -> list[str]:
    """What models of every habit write, at the least limit and with some more room."""
    least = shortest(grammar, guide)
    return [
        write(grammar.matcher(guide, least + extra), guide, least + extra, habit, seed)[0]
        for extra in more
        for habit in HABITS
        for seed in (0, 1)
    ]


def test_a_pydantic_model_reads_what_was_written_for_it(guide: Any) -> None:
    for text in texts(Grammar.json(Person), guide):
        assert 18 <= Person.model_validate_json(text).age <= 120


@pytest.mark.parametrize("schema", [TREE, NUMBERS, NESTED, {"type": "string", "minLength": 200}, {}])
def test_json_is_whole_at_every_limit(guide: Any, schema: dict[str, Any]) -> None:
    for text in texts(Grammar.json(schema), guide):
        json.loads(text)


def test_json_has_one_space_behind_commas_and_colons_and_no_other(guide: Any) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [1]}, "b": {"enum": [2]}}, "required": ["a", "b"]}
    matcher = Grammar.json({**schema, "additionalProperties": False}).matcher(guide, 40)
    assert guide.decode_bytes(matcher._route) == b'{"a": 1, "b": 2}'


def test_react_text_ends_in_a_call_or_an_answer(guide: Any) -> None:
    for text in texts(Grammar.lark(REACT), guide):
        found = re.fullmatch(
            r"Thought: [^\n]+\n(?:Action: search\nAction Input: (?P<call>.+)|Final Answer: (?s:.+))", text
        )
        assert found, text
        assert found["call"] is None or list(json.loads(found["call"])) == ["query"]


def test_arithmetic_closes_its_brackets(guide: Any) -> None:
    for text in texts(Grammar.lark(ARITHMETIC), guide):
        assert text.count("(") == text.count(")")
        assert re.fullmatch(r"[0-9+*/().-]*[0-9)]", text)


@pytest.mark.parametrize(
    "pattern", [r"[a-z]{50}", r"[0-9]{3}-[0-9]{4}/x*y", r"[\w.]+@\w+\.(com|org)", "a/b\\/c\\\\\n", ""]
)
def test_a_regex_takes_the_whole_text(guide: Any, pattern: str) -> None:
    for text in texts(Grammar.regex(pattern), guide, (0, 1, 9)):
        assert re.fullmatch(pattern, text)


def test_of_all_that_could_come_next_a_named_character_is_tried_first_whatever_its_alphabet(guide: Any) -> None:
    assert shortest(Grammar.regex("[^a-c][^a-c]+ é"), guide) < 10


@pytest.mark.parametrize("schema", [{"enum": [1, 2**53 + 1]}, {"items": {"const": -(2**60)}, "type": "array"}])
def test_a_number_that_would_be_rounded_is_refused(schema: dict[str, Any]) -> None:
    for make in (Grammar.json, json_grammar):
        with pytest.raises(GrammarError, match=r"\d{16,}, which is beyond 9007199254740992"):
            make(schema)


def test_one_thing_many_times_is_found_behind_what_would_take_it_too(guide: Any) -> None:
    assert shortest(Grammar.regex("[^a-c]{3,}(0|1[0-9]){3,}x"), guide) < 12


def test_the_options_of_a_choice_are_data(guide: Any) -> None:
    options = [
        "yes",
        "yes",
        "yes, of course",
        'a"b',
        "\n",
        "\\d/",
        "(x|y)*",
        "日本",
        " ",
        "%json {}",
        "\0",
        "start: /x/",
    ]
    for option in options:
        matcher = Grammar.choice(options).matcher(guide, 20)
        matcher.consume(guide.tokenize_str(option))
        assert matcher.accepting
    assert Grammar.choice(["", "a"]).matcher(guide, 0).accepting
    assert set(texts(Grammar.choice(options), guide, (0, 9))) <= set(options)


def test_a_choice_may_have_thousands_of_options(guide: Any) -> None:
    matcher = Grammar.choice([f"option {i}" for i in range(5000)]).matcher(guide, 20)
    assert re.fullmatch("option [0-9]+", write(matcher, guide, 20)[0])


@pytest.mark.parametrize("options", [[], "yes", [1], ["\ud800"]])
def test_what_is_no_choice_is_refused(guide: Any, options: Any) -> None:
    with pytest.raises(GrammarError):
        Grammar.choice(options).matcher(guide, 9)


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (Grammar.lark("start: foo"), "unknown name"),
        (Grammar.lark(""), "no start rule"),
        (Grammar.lark('start: "\ud800"'), "does not compile"),
        (Grammar.regex("("), "unclosed group"),
        (Grammar.regex("(?=a)b"), "look-around"),
        (Grammar.json({"type": "array", "uniqueItems": True}), "uniqueItems"),
        (Grammar.json({"$ref": "http://127.0.0.1/x.json"}), "does not fetch"),
        (Grammar("start: " + "(" * 100_000 + '"a"' + ")" * 100_000), "nested brackets"),
        (Grammar("start: " + "x" * 1_000_001), "characters"),
    ],
)
def test_what_does_not_compile_is_refused_with_the_reason_in_one_line(
    guide: Any, grammar: Grammar, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(GrammarError, match=reason) as caught:
        grammar.matcher(guide, 100)
    assert isinstance(caught.value, RequestError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("schema", [None, 3, {"a": {1, 2}}, int])
def test_what_is_no_schema_is_refused(schema: Any) -> None:
    with pytest.raises(GrammarError):
        Grammar.json(schema)


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.lark('start: "a" start'),
        Grammar.lark('start: "a" x\nx: x'),
        Grammar.regex("a{1000000}"),
        Grammar.regex("([a-z]{1,500}){1,500}x{5000}"),
        Grammar.regex(r"[^\s\S]"),
        Grammar.json({"type": "array", "minItems": 10**9}),
        Grammar.json({"$ref": "#/$defs/x", "$defs": {"x": {"$ref": "#/$defs/x"}}}),
        Grammar.choice(["x" * 20_000]),
    ],
)
def test_what_cannot_end_in_time_is_refused_before_any_token(guide: Any, grammar: Grammar) -> None:
    with pytest.raises(GrammarError, match=r"ends within 300 tokens|only 300 are left"):
        grammar.matcher(guide, 300)


def test_the_refusal_says_how_many_tokens_are_needed(guide: Any) -> None:
    needed = len(guide.tokenize_str("a rather long option"))
    grammar = Grammar.choice(["a rather long option"])
    assert grammar.matcher(guide, needed)
    with pytest.raises(GrammarError, match=rf"has {needed} tokens, but only {needed - 1} are left"):
        grammar.matcher(guide, needed - 1)


def test_a_text_that_is_found_late_is_good_enough_if_it_fits(guide: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[list[int] | None] = []

    def late(*args: Any) -> list[int] | None:
        searches.append(find_route(*args) if searches else None)
        return searches[-1]

    monkeypatch.setattr("phireside.models.grammar.find_route", late)
    Grammar.regex("late and short").matcher(guide, 20)
    assert len(searches) == 2


def test_a_search_ends_where_its_steps_are_slow_and_not_where_one_of_them_is(
    guide: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser, table = Grammar.regex("[ab]{40}").compile(guide), table_of(guide)

    def found(clock: Callable[[int], float]) -> bool:
        readings = itertools.count()
        monkeypatch.setattr(time, "thread_time", lambda: clock(next(readings)))
        return find_route(parser, table, 100, 400, patience=0.05) is not None

    assert all(found(lambda reading, at=at: float(reading >= at)) for at in range(45))  # garbage was collected in it
    assert not found(float)


def test_what_was_consumed_wrongly_changes_nothing(guide: Any) -> None:
    matcher = Grammar.choice(["yes", "no"]).matcher(guide, 5)
    before = matcher.mask()
    for wrong in (
        guide.tokenize_str("maybe"),
        [guide.eos_token],
        [*guide.tokenize_str("yes"), *guide.tokenize_str("no")],
    ):
        with pytest.raises(GrammarError, match="does not allow"):
            matcher.consume(wrong)
    assert np.array_equal(matcher.mask(), before)
    matcher.consume(guide.tokenize_str("yes"))
    assert matcher.finished
    assert matcher.accepting
    assert np.flatnonzero(matcher.mask()).tolist() == sorted(guide.eos_tokens)


def test_control_tokens_are_never_allowed_but_end_tokens_at_the_end(guide: Any) -> None:
    matcher = Grammar.lark("start: /(.|\\n)*/").matcher(guide, 20)
    control = [token for token in range(guide.vocab_size) if guide.is_special_token(token)]
    for place in range(2):
        allowed = [token for token in control if matcher.allows(token)]
        assert allowed == [token for token in control if matcher.mask()[token]] == sorted(guide.eos_tokens), place
        matcher.consume(guide.tokenize_str("free text"))
    matcher.consume([guide.eos_token])
    assert matcher.finished
    assert matcher.forced() == []


def test_forced_tokens_are_cut_as_the_tokenizer_cuts_them(guide: Any, starter_path: Path) -> None:
    text = 'Action: search\nAction Input: {"query": "'
    matcher = Grammar.lark(f"start: {json.dumps(text)} /[a-z]+/").matcher(guide, 60)
    forced = matcher.forced()
    assert forced == guide.tokenize_str(text)[: len(forced)]
    assert len(guide.decode_bytes(forced)) > len(text) - 4
    if guide is guide_of(starter_path):
        assert forced == vocabulary_of(starter_path).tokenize(text, markers=False)[: len(forced)]


def test_grammars_are_values() -> None:
    assert Grammar.json(Person) == Grammar.json(Person)
    assert len({Grammar.regex("a"), Grammar.regex("a"), Grammar.choice(["a"])}) == 2


def test_an_integer_without_bounds_gets_some_and_data_is_left_alone() -> None:
    data = {"type": "integer"}
    schema = {
        "type": "object",
        "properties": {"n": {"type": "integer"}, "m": {"type": "integer", "maximum": 5}, "e": {"enum": [data]}},
        "$defs": {"type": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
    }
    found = json.loads(Grammar.json(schema).source)["grammars"][0]["json_schema"]
    assert found["properties"]["n"] == {"type": "integer", "minimum": 1 - 10**15, "maximum": 10**15 - 1}
    assert found["properties"]["m"] == schema["properties"]["m"]
    assert found["properties"]["e"] == {"enum": [data]}
    assert found["$defs"]["type"]["anyOf"][0]["maximum"] == 10**15 - 1
    assert schema["properties"]["n"] == {"type": "integer"}  # the caller's is not changed

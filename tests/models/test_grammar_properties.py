"""Under any grammar, whatever the model prefers, the text is complete and fits; forced tokens are those of the mask."""

import json
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from grammar_tools import HABITS, guide_of, pick, shortest, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phireside.models.grammar import Grammar

CLASSES = ["[^a-c]", "[a-z]", "[0-9]", "[A-Z_]", "(foo|ba|)", "(0|1[0-9])", "é", "/", r"\.", '"', "x", " ", r"\{"]
COUNTS = ["", "", "", "*", "+", "?", "{2}", "{1,3}", "{3,}"]
ATOMS = st.tuples(st.sampled_from(CLASSES), st.sampled_from(COUNTS)).map("".join)
PATTERNS = st.lists(st.lists(ATOMS, min_size=1, max_size=4).map("".join), min_size=1, max_size=3).map("|".join)
UNWRITTEN = "\x04\x06\x13\x14\x16\x1d"  # the starter has no token for these, nor for some bytes beyond U+2FFF
TEXTS = st.text(st.characters(max_codepoint=0x2FFF, exclude_characters=UNWRITTEN), max_size=12)
OPTIONS = st.lists(st.one_of(TEXTS, st.sampled_from(["yes", "yes, sir", "no", "\n", '"'])), min_size=1, max_size=6)
LARK = [
    'start: NUMBER (OP NUMBER)*\nNUMBER: /[0-9]+/\nOP: "+" | "-"',
    'start: "a" (start | "b") "c"',
    'start: item{2,4}\nitem: "<" start ">" | "x"',
    'start: "say " /[^\\n]+/ "\\n" | %json {"type": "array", "items": {"type": "boolean"}}',
]
CAREFUL = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@st.composite
def bounded(draw: st.DrawFn, low: int, high: int) -> tuple[int, int]:
    first, second = draw(st.integers(low, high)), draw(st.integers(low, high))
    return min(first, second), max(first, second)


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string"}, {"type": "number"}]),
        bounded(-999, 999).map(lambda b: {"type": "integer", "minimum": b[0], "maximum": b[1]}),
        bounded(0, 40).map(lambda b: {"type": "string", "minLength": b[0], "maxLength": b[1]}),
        st.lists(st.one_of(TEXTS, st.integers(-(2**53), 2**53), st.none()), min_size=1, max_size=4).map(
            lambda v: {"enum": v}
        ),
    )


def containers(children: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    names = st.sampled_from(["name", "ä", 'a "b"', "x", "long_property_name"])
    return st.one_of(
        st.tuples(children, bounded(0, 3)).map(
            lambda p: {"type": "array", "items": p[0], "minItems": p[1][0], "maxItems": p[1][1]}
        ),
        st.tuples(st.dictionaries(names, children, max_size=3), st.booleans()).map(
            lambda p: {
                "type": "object",
                "properties": p[0],
                "required": list(p[0]) if p[1] else list(p[0])[:1],
                "additionalProperties": False,
            }
        ),
    )


SCHEMAS = st.recursive(leaves(), containers, max_leaves=5)
GRAMMARS = st.one_of(
    SCHEMAS.map(Grammar.json),
    PATTERNS.map(Grammar.regex),
    OPTIONS.map(Grammar.choice),
    st.sampled_from(LARK).map(Grammar.lark),
)


def fits(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether the value follows the schema, as far as this file makes schemas."""
    if "enum" in schema:
        return any(value == option and type(value) is type(option) for option in schema["enum"])
    match schema["type"]:
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "number":
            return isinstance(value, int | float)
        case "integer":
            return isinstance(value, int) and schema["minimum"] <= value <= schema["maximum"]
        case "string":
            return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", 10**6)
        case "array":
            enough = schema["minItems"] <= len(value) <= schema["maxItems"]
            return enough and all(fits(item, schema["items"]) for item in value)
    known = schema["properties"]
    return set(schema["required"]) <= set(value) <= set(known) and all(fits(v, known[k]) for k, v in value.items())


@pytest.fixture(scope="module", params=["starter", "phi-3"])
def guide(request: pytest.FixtureRequest) -> Any:
    """Byte-pair and sentence-piece tokenizers differ in how they cut what is forced."""
    path: Path = request.getfixturevalue("starter_path" if request.param == "starter" else "tiny_phi3")
    return guide_of(path)


@CAREFUL
@given(schema=SCHEMAS, more=st.sampled_from([0, 1, 2, 5, 40]), habit=st.sampled_from(HABITS), seed=st.integers(0, 99))
def test_json_is_whole_and_follows_its_schema(
    guide: Any, schema: dict[str, Any], more: int, habit: str, seed: int
) -> None:
    grammar = Grammar.json(schema)
    limit = shortest(grammar, guide) + more
    text, _ = write(grammar.matcher(guide, limit), guide, limit, habit, seed)
    assert fits(json.loads(text), schema), text


@CAREFUL
@given(pattern=PATTERNS, more=st.sampled_from([0, 1, 2, 5, 40]), habit=st.sampled_from(HABITS), seed=st.integers(0, 99))
def test_a_regex_matches_all_of_the_text(guide: Any, pattern: str, more: int, habit: str, seed: int) -> None:
    grammar = Grammar.regex(pattern)
    limit = shortest(grammar, guide) + more
    text, _ = write(grammar.matcher(guide, limit), guide, limit, habit, seed)
    assert re.fullmatch(pattern, text), text


@CAREFUL
@given(options=OPTIONS, more=st.sampled_from([0, 1, 9]), habit=st.sampled_from(HABITS), seed=st.integers(0, 99))
def test_a_choice_is_one_of_its_options(guide: Any, options: list[str], more: int, habit: str, seed: int) -> None:
    least = min(len(guide.tokenize_str(option)) for option in options)
    text, _ = write(Grammar.choice(options).matcher(guide, least + more), guide, least + more, habit, seed)
    assert text in options


@CAREFUL
@given(text=st.sampled_from(LARK), more=st.integers(0, 30), habit=st.sampled_from(HABITS), seed=st.integers(0, 99))
def test_what_lark_grammars_let_through_they_take_again(
    guide: Any, text: str, more: int, habit: str, seed: int
) -> None:
    grammar = Grammar.lark(text)
    limit = shortest(grammar, guide) + more
    _, tokens = write(grammar.matcher(guide, limit), guide, limit, habit, seed)
    again = grammar.matcher(guide, 2000)  # with room enough, no token is refused for want of it
    again.consume(tokens)
    assert again.accepting


@CAREFUL
@given(grammar=GRAMMARS, more=st.sampled_from([0, 3, 60]), seed=st.integers(0, 99))
def test_forced_tokens_are_those_that_the_mask_allows_one_by_one(
    guide: Any, grammar: Grammar, more: int, seed: int
) -> None:
    limit = shortest(grammar, guide) + more
    matcher, chance = grammar.matcher(guide, limit), random.Random(seed)
    written = 0
    while not matcher.finished and written < limit:
        forced = matcher.forced()
        assert len(forced) <= limit - written
        assert matcher._parser.compute_ff_bytes().startswith(guide.decode_bytes(forced))
        one_by_one = matcher.fork()
        for token in forced:
            assert one_by_one.mask()[token]
            assert one_by_one.allows(token)
            one_by_one.consume([token])
        token = pick(matcher, guide, "any", chance)
        while not matcher.allows(token):
            token = pick(matcher, guide, "any", chance)
        # Another cut of the same bytes is allowed too, but no other byte.
        begun, text = guide.decode_bytes([token]), guide.decode_bytes(forced)
        assert not forced or text.startswith(begun) or begun.startswith(text)
        matcher.consume(forced or [token])
        written += len(forced) or 1
        if token in guide.eos_tokens and not forced:
            break


@CAREFUL
@given(grammar=GRAMMARS, more=st.sampled_from([0, 2, 60]), seed=st.integers(0, 99))
def test_allows_and_mask_agree_on_every_token_that_was_asked(
    guide: Any, grammar: Grammar, more: int, seed: int
) -> None:
    limit = shortest(grammar, guide) + more
    matcher, chance = grammar.matcher(guide, limit), random.Random(seed)
    for _ in range(min(limit, 40)):
        before = matcher.mask()
        asked = [*chance.sample(range(len(before)), 20), *np.flatnonzero(before)[:40], *guide.eos_tokens]
        for token in asked:
            assert not matcher.allows(token) or before[token]
        after = matcher.mask()
        assert after.any()
        assert [matcher.allows(token) for token in asked] == after[asked].tolist()
        token = pick(matcher, guide, "any", chance)
        if not matcher.allows(token):
            continue
        matcher.consume([token])
        if matcher.finished:
            break


@CAREFUL
@given(grammar=GRAMMARS, habits=st.tuples(st.sampled_from(HABITS), st.sampled_from(HABITS)), seed=st.integers(0, 99))
def test_forks_do_not_know_of_each_other(guide: Any, grammar: Grammar, habits: tuple[str, str], seed: int) -> None:
    limit = shortest(grammar, guide) + 20
    alone = write(grammar.matcher(guide, limit), guide, limit, habits[0], seed)
    matcher = grammar.matcher(guide, limit)
    fork = matcher.fork()
    write(matcher, guide, limit, habits[1], seed + 1)
    assert write(fork, guide, limit, habits[0], seed) == alone

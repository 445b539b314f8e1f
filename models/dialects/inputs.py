"""The grammar of one tool's input, as Lark text: its JSON schema, with a grammar of the tool's own for an argument.

Tool names, keys and schemas are data: they come in quoted or as JSON. A tool's own grammar is a program text of its
author's; it is refused unless every text it can write stands in a JSON string as it is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from phireside.errors import GrammarError
from phireside.models.grammar import Grammar, check_numbers
from phireside.models.tools import ToolLike, ToolSpec, specs

# As Python's json.dumps writes it, so that a call reads the same when it comes back as history. What llguidance cannot
# enforce of a schema (an unknown "format") is left to the tool's own validation.
FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}

_LARK_PARTS = re.compile(
    r"""(?P<comment>//[^\n]*) | "(?P<text>(?:\\.|[^"\\\n])*)" | /(?P<regex>(?:\\.|[^/\\\n])+)/(?P<flags>[a-z]*)
    | (?P<bad>~ | \.\. | <\S*> | %(?!ignore\b)\w+ )""",
    re.VERBOSE,
)
_UNSAFE = r'["\\\x00-\x1f\x7f]'


def json_rule(schema: Mapping[str, Any]) -> str:
    """A JSON schema as the right side of a Lark rule.

    Raises:
        GrammarError: a number in it would be rounded.
    """
    rule = "%json " + json.dumps({**schema, "x-guidance": FORM}, ensure_ascii=True)
    check_numbers(schema)
    return rule


def json_grammar(schema: Mapping[str, Any]) -> Grammar:
    """A JSON schema as the grammar of a whole answer, in the same form as a tool's input."""
    return replace(Grammar.lark(f"start: {json_rule(schema)}\n"), name="JSON schema")


def literal(text: str) -> str:
    """A text as a Lark string."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def checked(tools: Sequence[ToolLike]) -> list[ToolSpec]:
    """Tools of any kind, if a model can call them.

    Raises:
        RequestError: see `specs`.
        GrammarError: a grammar of a tool's own cannot be used.
    """
    found = specs(tools)
    for tool in found:
        input_rules("input", tool)
    return found


def input_rules(name: str, tool: ToolSpec) -> list[str]:
    """Lark rules that define `name` as the tool's input.

    Raises:
        GrammarError: a grammar of the tool's own cannot be used.
    """
    if not tool.grammars:
        return [f"{name}: {json_rule(tool.parameters)}"]
    rules, properties = [], list(tool.parameters["properties"].items())
    for at, (key, schema) in enumerate(properties):
        value = f"{name}_v{at}"
        rules += _value_rules(value, tool, key, schema)
        start = literal(f"{json.dumps(key, ensure_ascii=False)}: ")
        pair, after = f"{start} {value} {name}_g{at + 1}", f"{name}_%s{at + 1}"
        optional = key not in tool.parameters.get("required", [])
        rules.append(f"{name}_f{at}: {pair}" + (f" | {after % 'f'}" if optional else ""))
        rules.append(f'{name}_g{at}: ", " {pair}' + (f" | {after % 'g'}" if optional else ""))
    count = len(properties)
    return [f'{name}: "{{" {name}_f0', *rules, f'{name}_f{count}: "}}"', f'{name}_g{count}: "}}"']


def _value_rules(name: str, tool: ToolSpec, key: str, schema: Any) -> list[str]:
    """Lark rules that define `name` as the value of an argument."""
    own = tool.grammars.get(key)
    if own is None:
        definitions = {k: tool.parameters[k] for k in ("$defs", "definitions") if k in tool.parameters}
        return [f"{name}: {json_rule({**(schema if isinstance(schema, Mapping) else {}), **definitions})}"]
    where = f"The grammar of {tool.name}'s argument {key!r}"
    regex, lark = (own.get("regex"), own.get("lark")) if isinstance(own, Mapping) else (None, None)
    if isinstance(regex, str) and regex:
        if problem := _regex_problem(regex):
            raise GrammarError(f"{where} does not compile: {problem}.", hint="docs/grammars.md shows what can be used.")
        return [f"{name}: {json_rule(_string(regex))}"]
    if isinstance(lark, str) and lark:
        if problem := _problem(lark):
            raise GrammarError(f"{where} cannot be used: {problem}.", hint=_HINT)
        return [f'{name}: "\\"" {name}_own "\\""', f"{name}_own: %lark {{\n{lark}\n}}"]
    raise GrammarError(f"{where} is neither {{'lark': …}} nor {{'regex': …}}.")


def _string(regex: str) -> dict[str, str]:
    """The schema of a text that matches as a whole; llguidance escapes what JSON escapes."""
    return {"type": "string", "pattern": f"^(?:{regex})$"}


_HINT = 'An argument stands between JSON quotes: leave out ", \\ and control characters, or use a JSON schema.'


@lru_cache(maxsize=64)
def _regex_problem(regex: str) -> str:
    """Why a regular expression cannot be used; empty if it can."""
    from llguidance import LLMatcher  # see _problem

    # Once by itself as well: `a)|(b` is none, but would be one between the brackets.
    for schema in ({"type": "string", "pattern": regex}, _string(regex)):
        if problem := LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(f"start: {json_rule(schema)}")):
            reason = re.search(r"^error: (.+)$", problem, re.MULTILINE)
            return reason[1] if reason else problem.split("\n")[0]
    return ""


@lru_cache(maxsize=64)
def _problem(lark: str) -> str:
    """Why a Lark text cannot be used inside a JSON string; empty if it can."""
    from llguidance import LLMatcher, LLTokenizer  # native, and only tools with a grammar need it

    if re.search('["/]', _LARK_PARTS.sub("", lark)):
        return "a text or an expression in it does not end"
    for part in _LARK_PARTS.finditer(lark):
        if part["bad"]:
            return f"{part['bad']!r} is not allowed in it"
        if part["text"] is not None and re.search(_UNSAFE, _unescaped(part["text"])):
            return f'"{part["text"]}" needs JSON escapes'
        if part["regex"] is not None:
            both = f"start: T\nT: /{part['regex']}/{part['flags']} & /(?s:.*){_UNSAFE}(?s:.*)/"
            matcher = LLMatcher(LLTokenizer("byte"), LLMatcher.grammar_from_lark(both), log_level=0)
            if matcher.is_error():
                return f"/{part['regex']}/ does not compile"
            matcher.compute_bitmask()
            if not matcher.is_stopped():  # some text is in both
                return f"/{part['regex']}/ can write what needs JSON escapes"
    return str(LLMatcher.validate_grammar(LLMatcher.grammar_from_lark(lark))).split("\n")[0]


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"'))
    except ValueError:
        return "\\"  # an escape that JSON does not know

"""Grammars: what an answer may look like, as masks over tokens and tokens that are forced (`llguidance`).

An answer under a grammar always closes: `Matcher` lets a token pass only while it knows a *route*, tokens that end the
text within the tokens left. Knows nothing of models, requests, or how a token is chosen among those allowed.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from phireside.errors import GrammarError
from phireside.models.grammar_route import Table, closes, find_route, retokenize, table_of

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from pydantic import BaseModel

_FIRST_SEARCH, _WIDE_SEARCH, _TIGHT_SEARCH = 10_000, 400, 40  # steps of a walk in search of a route
_TIGHT = 8  # tokens left beyond the route, below which a search is short
_SEARCHES = 4  # for the tokens of a mask near the limit
_FAR = 4  # times the limit: how long a text is looked for, to say how long it is
_SHORT_PATIENCE = 0.05  # seconds of the CPU for a search while an answer is written: the others wait for it
_PATIENCE = 1.0  # for one that found something a moment ago
_SMALL = 48  # so many tokens can be checked one by one
_NEAR = 8  # bytes that a token may skip of the route's text: it wrote something shorter, or other, in their place
_REFUSALS = 4  # in one place, after which only tokens that were checked are offered
_JSON_STYLE = {"item_separator": ", ", "key_separator": ": ", "whitespace_flexible": False}  # small models loop in it
_STACK_BYTES = 512 * 1024 * 1024  # of address space, for the thread that compiles; some 4 kB are used for each link
_stack_size = threading.Lock()  # it is a setting of the whole process
_LARGEST_INTEGER, _EXACT = 10**15 - 1, 2**53  # llguidance counts in floats
_OWN_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "enum", "const"}
_VALUES = {"enum", "const", "default", "examples"}  # of a schema: what lies in them is data, and no schema
_LONGEST_SOURCE, _DEEPEST_SOURCE = 300_000, 100  # characters; nested brackets: llguidance recurses on its stack


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer may look like. Compared by value, cheap to make: `matcher` compiles it.

    Args:
        source: a grammar as llguidance takes it, Lark or its own JSON.
        name: what messages call it.
    """

    source: str
    name: str = "grammar"

    @classmethod
    def json(cls, schema: "Mapping[str, Any] | type[BaseModel]") -> "Grammar":
        """JSON of a schema, with `", "` and `": "` between its parts and no other whitespace.

        Integers without bounds of their own get 15 digits at most: a small model repeats one without end.

        Args:
            schema: a JSON schema, or a pydantic model class.

        Raises:
            GrammarError: it is no JSON schema.
        """
        try:
            data = schema if isinstance(schema, Mapping) else schema.model_json_schema()
            bounded = _with_bounds(dict(data))  # has an end, or it fails
            check_numbers(bounded)
            text = json.dumps({"grammars": [{"json_schema": {**bounded, "x-guidance": _JSON_STYLE}}]})
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            reason = str(error).partition("\n")[0]
            raise GrammarError(
                f"The JSON schema cannot be used: {reason or type(error).__name__}.",
                hint="Give a mapping with a JSON schema, or a pydantic model class.",
            ) from error
        return cls(text, "JSON schema")

    @classmethod
    def regex(cls, pattern: str) -> "Grammar":
        """Texts that the regular expression matches as a whole (Rust's syntax: no look-around, no back-references)."""
        body = pattern.replace("\n", "\\n")
        escaped, i = "", 0
        while i < len(body):  # a slash ends the expression, unless it is escaped already
            step = 2 if body[i] == "\\" else 1
            escaped += "\\/" if body[i] == "/" else body[i : i + step]
            i += step
        return cls(_lark(f"start: /{escaped}/" if pattern else 'start: ""'), "regular expression")

    @classmethod
    def choice(cls, options: Sequence[str]) -> "Grammar":
        """Exactly one of these texts; they are data, whatever they hold.

        Raises:
            GrammarError: there are none, or one is no text.
        """
        if isinstance(options, str) or not options or not all(isinstance(option, str) for option in options):
            raise GrammarError(
                f"A choice is a list of texts, at least one, but was given {options!r:.80}.",
                hint='Write Grammar.choice(["yes", "no"]).',
            )
        return cls(_lark("start: TEXT\nTEXT: " + " | ".join(map(json.dumps, dict.fromkeys(options)))), "choice")

    @classmethod
    def lark(cls, text: str) -> "Grammar":
        """A grammar in llguidance's Lark, in which `%json`, `%regex` and `%lark` may be used."""
        return cls(_lark(text), "Lark grammar")

    def matcher(self, tokenizer: "LLTokenizer", limit: int) -> "Matcher":
        """A matcher at the beginning of the text.

        Args:
            tokenizer: the model's, with all its end tokens.
            limit: most tokens that the text may have, a last end token not counted.

        Raises:
            GrammarError: the grammar does not compile, or no text of it was found that fits into `limit` tokens.
        """
        return _beginnings_of(tokenizer)(self, limit).fork()

    def _begin(self, tokenizer: "LLTokenizer", table: Table, limit: int) -> "Matcher":
        parser = self.compile(tokenizer)
        hints = table.named(self.source)
        route = find_route(parser, table, limit, _FIRST_SEARCH, hints)
        if route is None:  # to say how long it is; a search depends on the clock, too, and may find a short one now
            route = find_route(parser, table, _FAR * limit + 1024, _FIRST_SEARCH, hints)
        if route is None or len(route) > limit:
            raise self._too_long(parser, limit, route)
        return Matcher(parser, table, hints, limit, route)

    def compile(self, tokenizer: "LLTokenizer") -> "LLMatcher":
        """llguidance's own matcher. Raises GrammarError, as `matcher` does for what does not compile."""
        if len(self.source) > _LONGEST_SOURCE or (depth := _depth(self.source)) > _DEEPEST_SOURCE:
            size = (
                f"{len(self.source)} characters" if len(self.source) > _LONGEST_SOURCE else f"{depth} nested brackets"
            )
            raise GrammarError(
                f"The {self.name} has {size}, more than {_LONGEST_SOURCE} characters or {_DEEPEST_SOURCE} brackets.",
                hint="Make it simpler.",
            )
        parser = _with_deep_stack(lambda: _parser(tokenizer, self.source))
        if parser.is_error():
            raise GrammarError(
                f"The {self.name} does not compile: {_reason(parser)}.", hint="docs/grammars.md shows what can be used."
            )
        return parser

    def _too_long(self, parser: "LLMatcher", limit: int, shortest: list[int] | None) -> GrammarError:
        if shortest is None:
            probe = parser.deep_copy()
            probe.compute_bitmask()
            reason = f": {_reason(probe)}" if probe.is_error() else ""
            return GrammarError(
                f"No text was found that fits the {self.name} and ends within {limit} tokens{reason}.",
                hint="Look for a rule that never ends, or that asks for a very long text.",
            )
        return GrammarError(
            f"The shortest text found for the {self.name} has {len(shortest)} tokens, but only {limit} are left.",
            hint="Raise max_tokens, or make the grammar's shortest text shorter.",
        )


# For each tokenizer, what makes the matcher of a grammar at its beginning and remembers the last ones: an agent has the
# same grammar at each step, and so have eight samples of one prompt.
_beginnings: "dict[LLTokenizer, Callable[[Grammar, int], Matcher]]" = {}


def _beginnings_of(tokenizer: "LLTokenizer") -> "Callable[[Grammar, int], Matcher]":
    known = _beginnings.get(tokenizer)
    if known is None:  # two threads may both make it, which costs 50 ms and nothing else
        table = table_of(tokenizer)
        known = lru_cache(maxsize=64)(lambda grammar, limit: grammar._begin(tokenizer, table, limit))
        _beginnings[tokenizer] = known
    return known


def forget(tokenizer: "LLTokenizer") -> None:
    """Drop what is kept for a tokenizer, because its model is gone."""
    _beginnings.pop(tokenizer, None)


class _Step(NamedTuple):
    """Where some tokens lead: the parser behind them, and a route from there."""

    tokens: list[int]
    parser: "LLMatcher"
    route: list[int]


class Matcher:
    """A grammar on its way along one answer. Used by one thread at a time. Made by `Grammar.matcher`.

    Always closes: there is a route at every moment, a list of at most `left` tokens that is known to end the text (the
    parser took all of it, an end token included). `consume`, and so `allows`, accept tokens only if a route of what is
    then left is known behind them: the rest of the old one, the old one, or one found by a short search. If none is
    found, the token is refused, though the parser would take it; the route's own first token never is.

    `mask` cannot look behind 30,000 tokens in each step. While there is room beyond the route it may hold tokens that
    `allows` refuses; those are then left out, and after a few of them only checked tokens are offered. So choose in a
    loop, `while not allows(token): token = a choice from mask()`. Where the route needs all tokens left, every token in
    it was checked, and `allows` says the same as the mask.
    """

    def __init__(self, parser: "LLMatcher", table: Table, hints: frozenset[int], left: int, route: list[int]) -> None:
        self._parser, self._table, self._hints, self._left, self._route = parser, table, hints, left, route
        self._ended = False  # by an end token
        self.hurried = False  # whether a token was refused only because the text could not have ended in time behind it
        self._forget()

    def _forget(self) -> None:
        """Nothing is known of the place that was reached."""
        self._refused: set[int] = set()
        self._step: _Step | None = None  # the last one that was looked at: most likely the next to be taken
        self._full: NDArray[np.bool_] | None = None
        self._checked: NDArray[np.bool_] | None = None

    @property
    def finished(self) -> bool:
        """Whether nothing can follow any more: the answer ends without an end token."""
        return self._ended or bool(self._parser.is_stopped())

    @property
    def accepting(self) -> bool:
        """Whether the text may end here."""
        return self._ended or bool(self._parser.is_accepting())

    def forced(self) -> list[int]:
        """The tokens that must come next, as the tokenizer would cut them; may be none, and are at most those left."""
        if self.finished or self._left == 0:
            return []
        tokens = list(self._parser.deep_copy().compute_ff_tokens())
        tokens = tokens[: self._parser.validate_tokens(tokens)] if tokens else tokens
        return tokens if tokens and self._look(tokens) else []

    def allows(self, token: int) -> bool:
        """Whether the token may come next, and the text can still end within the tokens left behind it."""
        if token in self._table.ends:
            return self.accepting
        if self.finished or not 0 <= token < self._table.size or token in self._refused:
            return False
        if self._narrow_mask()[token] if self._narrow() else self._look([token]):
            return True
        self._refused.add(token)
        self.hurried = self.hurried or bool(self._full_mask()[token])
        return False

    def mask(self) -> NDArray[np.bool_]:
        """The tokens that may come next, shape (vocabulary,), end tokens where the text may end; never all False."""
        if self.finished or self._left == 0:
            mask = np.zeros(self._table.size, dtype=np.bool_)
            mask[list(self._table.ends)] = True
            return mask
        if self._narrow():
            mask = self._narrow_mask().copy()
            self.hurried = self.hurried or int(self._full_mask().sum()) > int(mask.sum())
            return mask
        mask = self._full_mask().copy()
        mask[list(self._refused)] = False
        return mask

    def consume(self, tokens: Sequence[int]) -> None:
        """Go on behind these tokens.

        Raises:
            GrammarError: they are not allowed; the matcher stays where it was.
        """
        tokens = list(tokens)
        ends = bool(tokens) and tokens[-1] in self._table.ends
        text = tokens[:-1] if ends else tokens
        # Whoever was told that they are allowed must not hear the contrary because a second search took longer.
        step = self._look(text, patience=_PATIENCE) if text else _Step([], self._parser, self._route)
        if step is None or self._ended or (ends and not step.parser.is_accepting()):
            raise GrammarError(f"The grammar does not allow the tokens {tokens!r:.80} here.")
        self._parser, self._route, self._ended = step.parser, step.route, ends
        self._left -= len(text)
        if tokens:
            self._forget()

    def fork(self) -> "Matcher":
        """An independent copy."""
        copy = Matcher(self._parser.deep_copy(), self._table, self._hints, self._left, self._route)
        copy._ended, copy.hurried = self._ended, self.hurried
        return copy

    def _look(self, tokens: list[int], budget: int | None = None, patience: float = _SHORT_PATIENCE) -> _Step | None:
        """What lies behind the tokens, or None if they are not allowed there or no route is known then."""
        if self._step and self._step.tokens == tokens:
            return self._step
        left = self._left - len(tokens)
        parser = self._parser.deep_copy()
        if left < 0 or not parser.consume_tokens(tokens):
            return None
        route = self._old_route(tokens, parser, left)
        if route is None:
            if budget is None:
                wide = self._checked is None and self._left - len(self._route) > _TIGHT
                budget = _WIDE_SEARCH if wide else _TIGHT_SEARCH
            route = find_route(parser, self._table, left, budget, self._hints, patience) if budget else None
        if route is None:
            return None
        self._step = _Step(tokens, parser, route)
        return self._step

    def _old_route(self, tokens: list[int], parser: "LLMatcher", left: int) -> list[int] | None:
        """The route, as far as it holds behind the tokens too: all of it, or its text less what the tokens wrote."""
        old, table = self._route, self._table
        if tokens == old[: len(tokens)]:
            return old[len(tokens) :]
        if len(old) <= left and closes(parser, old, table):
            return old
        begun, whole = table.text(tokens), table.text(old)
        for skipped in {max(0, whole.find(begun, 0, len(begun) + _NEAR)), 0}:
            rest = retokenize(whole[skipped + len(begun) :], table)
            if len(rest) <= left and closes(parser, rest, table):
                return rest
        return None

    def _full_mask(self) -> NDArray[np.bool_]:
        """What the parser takes, whether or not it could end in time."""
        if self._full is None:
            parser = self._parser.deep_copy()
            bits = np.frombuffer(parser.compute_bitmask(), dtype=np.uint8)
            if parser.is_error():
                forget(self._table.tokenizer)  # copies share what has grown too large: others begin anew
                raise GrammarError(
                    f"The grammar grew too complex while it was followed: {_reason(parser)}.",
                    hint="Make it simpler: fewer repetitions within repetitions.",
                )
            self._full = np.unpackbits(bits, count=self._table.size, bitorder="little").astype(np.bool_)
        return self._full

    def _narrow(self) -> bool:
        """Whether only tokens are offered that have all been checked."""
        no_room = self._left <= len(self._route)
        return no_room or len(self._refused) >= _REFUSALS or self._checked is not None

    def _narrow_mask(self) -> NDArray[np.bool_]:
        """The tokens that were checked: all, if they are few, else the route's and those that close things."""
        if self._checked is None:
            full = self._full_mask()
            few = int(full.sum()) <= _SMALL
            tokens = np.flatnonzero(full).tolist() if few else self._table.openings(self._route)
            checked = np.zeros(self._table.size, dtype=np.bool_)
            missed = [t for t in tokens if full[t] and t not in self._table.ends and t not in self._refused]
            for budget, most in ((0, len(missed)), (_TIGHT_SEARCH, _SEARCHES if few else 0)):
                for token in missed[:most]:
                    checked[token] = self._look([token], budget) is not None
                missed = [token for token in missed if not checked[token]]
            checked[self._route[:1]] = True
            checked[list(self._table.ends)] = self.accepting
            self._checked = checked
        return self._checked


def check_numbers(schema: Any) -> None:
    """Raises GrammarError if a value that the schema names would be rounded."""
    left = [schema]
    while left:
        each = left.pop()
        if isinstance(each, list):
            left += each
        elif isinstance(each, Mapping):
            left += [value for key, value in each.items() if key not in _VALUES]
            named = each["enum"] if isinstance(each.get("enum"), list) else []
            for value in [*named, each.get("const")]:
                if isinstance(value, int) and abs(value) > _EXACT:
                    raise GrammarError(
                        f"The JSON schema names {value}, which is beyond {_EXACT}: it would be rounded.",
                        hint="Name such a number as a text.",
                    )


def _with_bounds(schema: Any) -> Any:
    """The schema, with bounds for integers that have none."""
    if isinstance(schema, list):
        return [_with_bounds(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    bounds = {}
    if schema.get("type") == "integer" and not _OWN_BOUNDS & schema.keys():
        bounds = {"minimum": -_LARGEST_INTEGER, "maximum": _LARGEST_INTEGER}
    return {key: each if key in _VALUES else _with_bounds(each) for key, each in schema.items()} | bounds


def _parser(tokenizer: "LLTokenizer", source: str) -> "LLMatcher":
    from llguidance import LLMatcher  # 30 ms, and most answers need no grammar

    return LLMatcher(tokenizer, source, log_level=0)


def _with_deep_stack(work: "Callable[[], LLMatcher]") -> "LLMatcher":
    """Do it where rules that name each other in a long chain do not overflow the stack: llguidance recurses on it."""
    with _stack_size, ThreadPoolExecutor(1) as thread:
        before = threading.stack_size(_STACK_BYTES)
        try:
            done = thread.submit(work)
        finally:
            threading.stack_size(before)
    return done.result()


def _lark(text: str) -> str:
    return json.dumps({"grammars": [{"lark_grammar": text}]})


def _depth(text: str) -> int:
    """How deep brackets are nested, at most: an upper bound, for those in strings are counted too."""
    steps = (1 if character in "([{" else -1 for character in text if character in "([{)]}")
    return max(accumulate(steps, lambda depth, step: max(0, depth + step)), default=0)


def _reason(parser: "LLMatcher") -> str:
    """llguidance's error in one line, without the state and the grammar that it appends."""
    lines = parser.get_error().partition("<state>")[0].splitlines()
    return " ".join(" ".join(line.split()) for line in lines if line.strip())[:200].rstrip(" .^") or "no reason given"

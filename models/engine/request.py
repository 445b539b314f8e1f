"""What a caller asks of the engine and what it gets back: requests, sampling, events, usage.

Plain data. Knows nothing of llama.cpp, of threads, or of how a request is served.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from numbers import Integral, Real
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from phireside.errors import PhiresideError, RequestError
from phireside.models.grammar import Grammar

FinishReason = Literal["stop", "length", "cancelled"]


class Priority(IntEnum):
    """Who waits: a person, or work in the background such as a summary."""

    PERSON = 0
    BACKGROUND = 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen (*Hands-On Large Language Models*, chapter 6).

    Args:
        temperature: 0 = always the most probable token (greedy); 1 = the model's own distribution.
        top_k: keep the k most probable tokens; 0 = all.
        top_p: keep the most probable tokens that together reach this probability; 1 = all.
        min_p: drop tokens less probable than this share of the best one; 0 = none.
        repeat_penalty: divides the logits of the last 64 tokens; 1 = none.
        seed: of the draw, 0 … 2³²-1; None = a new one each time.

    Raises:
        RequestError: a value is out of its range.
    """

    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        ranges: dict[str, tuple[float, type, float, float]] = {
            "temperature": (self.temperature, Real, 0, 100),
            "top_k": (self.top_k, Integral, 0, 2**31 - 1),
            "top_p": (self.top_p, Real, 0, 1),
            "min_p": (self.min_p, Real, 0, 1),
            "repeat_penalty": (self.repeat_penalty, Real, 0.01, 100),
            "seed": (0 if self.seed is None else self.seed, Integral, 0, 2**32 - 1),
        }
        for name, (value, kind, low, high) in ranges.items():
            if not isinstance(value, kind) or not low <= value <= high:  # also False for NaN
                what = "a whole number" if kind is Integral else "a number"
                raise RequestError(f"{name} is {value!r}, but must be {what} between {low} and {high}.")


def _check_tokens(tokens: tuple[int, ...], what: str) -> None:
    if not tokens:
        raise RequestError(f"{what} is empty: there is nothing to continue.", hint="Write a message first.")
    if not all(isinstance(token, int) and token >= 0 for token in tokens):
        raise RequestError(f"{what} holds something that is not a token: a token is a whole number from 0 on.")


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to continue.

    Args:
        tokens: the prompt; at least one token.
        sampling: how tokens are chosen.
        max_tokens: most tokens to generate; None = as many as the context has room for.
        stop: strings that end the answer; they are not part of it.
        priority: a person's request goes before background work.
        grammar: the form of the answer; None = any text.
        begun: how many of the last prompt tokens belong to the answer already, so that the grammar has seen them.
        keep: a name, e.g. a conversation's id, under which the KV state is kept on disk; empty = it is not.

    Raises:
        RequestError: the prompt is empty or no tokens, a limit is not positive, or a stop string is none.
    """

    tokens: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = 512
    stop: tuple[str, ...] = ()
    priority: Priority = Priority.PERSON
    grammar: Grammar | None = None
    begun: int = 0
    keep: str = ""

    def __post_init__(self) -> None:
        _check_tokens(self.tokens, "The prompt")
        if self.max_tokens is not None and not (isinstance(self.max_tokens, int) and self.max_tokens >= 1):
            raise RequestError(f"max_tokens is {self.max_tokens!r}, but must be at least 1, or None for no limit.")
        if not isinstance(self.stop, tuple) or not all(isinstance(text, str) for text in self.stop):
            raise RequestError(f"stop is {self.stop!r}, but must be a tuple of strings.")
        if not isinstance(self.keep, str):
            raise RequestError(f"keep is {self.keep!r}, but must be a text, e.g. a conversation's id.")
        if not 0 <= self.begun <= len(self.tokens):
            raise RequestError(f"begun is {self.begun}, but the prompt has {len(self.tokens)} tokens.")

    @property
    def need(self) -> int:
        """Tokens of the answer that there must be room for, whatever the model writes."""
        return self.max_tokens or 1

    @property
    def largest_token(self) -> int:
        """The largest token number in it."""
        return max(self.tokens)

    def samples(self, count: int) -> "list[Request]":
        """The same request, several times, with seeds that follow each other if one is set."""
        seed = self.sampling.seed
        seeds = [None if seed is None else (seed + i) % 2**32 for i in range(count)]
        return [replace(self, sampling=replace(self.sampling, seed=each)) for each in seeds]

    def branches(self, beginnings: Sequence[Sequence[int]]) -> "list[Request]":
        """The same request, with answers that begin with these tokens."""
        return [replace(self, tokens=(*self.tokens, *tokens), begun=self.begun + len(tokens)) for tokens in beginnings]


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Continuations of one prefix whose probability is asked for; nothing is written.

    Args:
        tokens: the prefix; at least one token.
        continuations: at least one token each. None at all = the logits of whatever token comes next are asked for.
        priority: as for `Request`.

    Raises:
        RequestError: the prefix or a continuation is empty, or holds something that is no token.
    """

    tokens: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]
    priority: Priority = Priority.PERSON

    def __post_init__(self) -> None:
        for number, tokens in enumerate((self.tokens, *self.continuations)):
            _check_tokens(tokens, f"Continuation {number}" if number else "The prefix")

    @property
    def need(self) -> int:
        """Tokens of the longest continuation."""
        return max(map(len, self.continuations), default=0)

    @property
    def largest_token(self) -> int:
        """The largest token number in it."""
        return max(map(max, (self.tokens, *self.continuations)))


@dataclass(frozen=True, slots=True)
class Score:
    """How probable a continuation is: the sum of its tokens' natural log-probabilities, and how many they are."""

    logprob: float
    tokens: int

    @property
    def mean(self) -> float:
        """The log-probability per token, which long and short continuations can be compared by."""
        return self.logprob / max(1, self.tokens)


@dataclass(frozen=True, slots=True)
class Usage:
    """The figures of a finished request; times in seconds."""

    finish_reason: FinishReason
    prompt_tokens: int
    cached_tokens: int = 0  # of the prompt: found in the KV cache
    restored_tokens: int = 0  # of the cached: read from disk
    evaluated_tokens: int = 0  # of the prompt: evaluated for this request
    generated_tokens: int = 0
    forced_tokens: int = 0  # of the generated: the grammar left no choice
    drafted_tokens: int = 0  # guessed by prompt lookup
    accepted_tokens: int = 0  # of the drafted: guessed right
    queue_s: float = 0.0  # until a sequence was free
    prefill_s: float = 0.0  # from then until the first token
    time_to_first_token_s: float = 0.0
    decode_s: float = 0.0  # from the first token to the last

    @property
    def tokens_per_second(self) -> float:
        """Speed of generating, the first token (which belongs to the prompt's evaluation) left out."""
        return (self.generated_tokens - 1) / self.decode_s if self.decode_s > 0 and self.generated_tokens > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer: whole characters, nothing of a stop string."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of a request that went well or was cancelled."""

    usage: Usage
    tokens: tuple[int, ...]  # generated, the end-of-text token left out
    exact: bool  # whether the tokens may stand for the text in a later prompt: nothing cut off, no control token


@dataclass(frozen=True, slots=True)
class Scored:
    """The last event of a `ScoreRequest`: a score for each continuation, in their order.

    Without continuations: the logits of the token that comes next (shape: vocabulary).
    """

    scores: tuple[Score, ...]
    usage: Usage
    logits: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """The last event of a request that could not be served."""

    error: PhiresideError


Event = Text | Ended | Scored | Failed
Sink = Callable[[Event], object]  # called in the engine's thread: must not block; raising means that nobody listens

"""What the parts of benchmarks/reasoning.py share: a row of the table, its interval, the model and its peer.

A part is a module with `rows(options)`, which yields each row as soon as it is measured. Knows nothing of questions.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from common import settings

from phireside.agents.scenarios.interval import wilson

if TYPE_CHECKING:
    from langchain_community.chat_models import ChatLlamaCpp

    from phireside.models import ChatGGUF


@dataclass(frozen=True)
class Row:
    """How many of some answers were right (or well-formed), and what one of them costs.

    Args:
        part: whose row it is.
        name: of the way of asking.
        right: of `total`.
        total: answers.
        tokens: written for one answer, on average.
        seconds: for one answer, on average.
        more: other figures, by name; printed behind.
    """

    part: str
    name: str
    right: int
    total: int
    tokens: float
    seconds: float
    more: dict[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """For a line of JSON, with the interval."""
        low, high = wilson(self.right, self.total)
        return asdict(self) | {"share": self.right / self.total, "low": low, "high": high}

    def __str__(self) -> str:
        low, high = wilson(self.right, self.total)
        share = f"{self.right}/{self.total} = {self.right / self.total:.1%} ({low:.1%}-{high:.1%})"
        more = "".join(f"; {name} {value}" for name, value in self.more.items())
        return f"{self.part:8} {self.name:44} {share:>30}  {self.tokens:7.0f} tokens {self.seconds:7.2f} s{more}"


@dataclass(frozen=True)
class Ratio:
    """A comparison of seconds within pairs: how many times as long, the median with the smallest and the greatest."""

    part: str
    name: str
    median: float
    low: float
    high: float
    more: dict[str, Any] = field(default_factory=dict)

    def data(self) -> dict[str, Any]:
        """For a line of JSON."""
        return asdict(self)

    def __str__(self) -> str:
        more = "".join(f"; {name} {value}" for name, value in self.more.items())
        return f"{self.part:8} {self.name:44} {self.median:.2f} ({self.low:.2f}-{self.high:.2f}) times as long{more}"


Rows = Iterator[Row | Ratio]


def mean(values: Sequence[float]) -> float:
    """The average; 0 of none."""
    return sum(values) / len(values) if values else 0.0


def ours(options: argparse.Namespace, **fields: Any) -> "ChatGGUF":
    """`ChatGGUF` with the common options; all that are made so share one engine."""
    from phireside.models import ChatGGUF

    return ChatGGUF(model=str(options.path), settings=settings(options), **fields)


def peer(options: argparse.Namespace, **fields: Any) -> "ChatLlamaCpp":
    """LangChain's `ChatLlamaCpp` on the same file with the same options; but its own `repeat_penalty` is 1.1."""
    from engine.rows import llama_options
    from langchain_community.chat_models import ChatLlamaCpp

    common = llama_options(options)
    extra = {name: common.pop(name) for name in ("flash_attn", "n_threads_batch")}
    own = {"rope_freq_base": 0.0, "rope_freq_scale": 0.0, "repeat_penalty": 1.0}  # 0 = the model's
    return ChatLlamaCpp(model_path=str(options.path), model_kwargs=extra, **common, **own, **fields)

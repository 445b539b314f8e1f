"""A request that cannot be served is refused when it is made, with its value in the message."""

import math
from typing import Any

import pytest

from phireside.errors import PhiresideError, RequestError
from phireside.models.engine import Request, Sampling, Usage


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("temperature", value) for value in (-0.1, 101, math.nan, math.inf, "hot", None, [0.5])],
        *[("top_k", value) for value in (-1, 2**31, 1.5, "all", None)],
        *[("top_p", value) for value in (-0.01, 1.01, math.nan, "0.9", None)],
        *[("min_p", value) for value in (-0.01, 1.01, math.nan, None)],
        *[("repeat_penalty", value) for value in (0, -1, 101, math.nan, None)],
        *[("seed", value) for value in (-1, 2**32, 0.5, math.nan, "x")],
    ],
)
def test_a_sampling_value_out_of_its_range_or_kind_is_refused(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=name) as caught:
        Sampling(**{name: value})
    assert repr(value) in caught.value.message
    assert isinstance(caught.value, PhiresideError)
    assert isinstance(caught.value, ValueError)  # what LangChain's callers expect


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": 0, "top_k": 0, "top_p": 0, "min_p": 0, "repeat_penalty": 0.01, "seed": 0},
        {"temperature": 100, "top_k": 2**31 - 1, "top_p": 1, "min_p": 1, "repeat_penalty": 100, "seed": 2**32 - 1},
        {"seed": None},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(values: dict[str, Any]) -> None:
    Sampling(**values)


@pytest.mark.parametrize(
    "values",
    [
        {"tokens": ()},
        {"tokens": (1, -1)},
        {"tokens": (1, 2.0)},
        {"tokens": ("a",)},
        {"tokens": (1,), "max_tokens": 0},
        {"tokens": (1,), "max_tokens": -5},
        {"tokens": (1,), "max_tokens": 1.5},
        {"tokens": (1,), "max_tokens": "9"},
        {"tokens": (1,), "stop": "word"},
        {"tokens": (1,), "stop": (b"bytes",)},
        {"tokens": (1,), "stop": (None,)},
    ],
)
def test_a_request_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        Request(**values)


def test_speed_is_counted_between_the_first_token_and_the_last() -> None:
    def speed(generated: int, seconds: float) -> float:
        return Usage("stop", 5, generated_tokens=generated, decode_s=seconds).tokens_per_second

    assert speed(11, 2.0) == 5.0
    assert speed(1, 0.0) == speed(0, 0.0) == 0.0

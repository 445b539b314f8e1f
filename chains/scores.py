"""Probabilities of answers: how a model's scores of some texts become a distribution over what they mean.

What is scored is the whole answer, with the token that ends it: the sum of its log-probabilities. The sum is the
probability that the model says exactly this. A mean per token would be none, and prefers long words whose last tokens
follow by themselves ("neutral" as "neut", "ral"). Where a label begins another ("good", "good enough"), the end tells
them apart. That long labels are rarer before anything was read is what the calibration takes out.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
from langchain_core.messages import BaseMessage
from numpy.typing import NDArray

from phireside.chains.cost import Cost
from phireside.chains.loop import gate
from phireside.errors import RequestError
from phireside.models import ChatGGUF

MOST = 1000  # answers in one pass: some of them take minutes on a laptop
NOTHING = ("N/A", "[MASK]", "...")  # content-free inputs, as in the paper; our prompts take no empty text
_WAVE = 256  # scored in one request: others wait meanwhile


@dataclass(frozen=True)
class Probable:
    """Probabilities of some answers, in their order, shape (answers,), sum 1; and what they cost."""

    probabilities: NDArray[np.float64]
    cost: Cost


class Scorer:
    """The probabilities of answers to prompts that differ in one text.

    Contextual calibration (Zhao, Wallace, Feng, Klein & Singh, "Calibrate Before Use", ICML 2021): probabilities are
    divided by those that the same prompt gives when it holds no content ("N/A"), and normalised. So a label that the
    model likes before it has read anything gains nothing by that. Found once for each `Scorer`, with its first answer.

    Args:
        model: must have scores.
        answers: for each meaning, the texts that say it: ("Yes", "yes"). Their probabilities are added.
        fill: makes the prompt from the text that is asked about.
        calibrated: whether to divide.

    Raises:
        RequestError: there are more than `MOST` texts.
    """

    def __init__(
        self,
        model: ChatGGUF,
        answers: Sequence[Sequence[str]],
        fill: Callable[[str], Sequence[BaseMessage]],
        *,
        calibrated: bool = True,
    ) -> None:
        self._model, self._fill, self._calibrated = model, fill, calibrated
        self._texts = [text for each in answers for text in each]
        self._meaning = np.repeat(np.arange(len(answers)), [len(each) for each in answers])
        self._count = len(answers)
        self._prior: NDArray[np.float64] | None = None
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        if len(self._texts) > MOST:
            raise RequestError(
                f"{len(self._texts)} answers are more than the {MOST} that can be scored for one text.",
                hint="Sort them into groups: let one chain choose the group, and another the answer in it.",
            )

    async def __call__(self, text: str) -> Probable:
        """The probabilities of the answers for one text."""
        cost = Cost()
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):  # of a batch, one finds it
            if self._calibrated and self._prior is None:
                found = [await self._plain(each) for each in NOTHING]
                self._prior = np.mean([each.probabilities for each in found], axis=0)
                cost = sum((each.cost for each in found), cost)
        plain = await self._plain(text)
        probabilities = plain.probabilities
        if self._prior is not None:
            probabilities = _normalised(np.log(probabilities) - np.log(self._prior))
        return Probable(probabilities, cost + plain.cost)

    async def _plain(self, text: str) -> Probable:
        messages = list(self._fill(text))
        waves = [self._texts[at : at + _WAVE] for at in range(0, len(self._texts), _WAVE)]
        async with gate():
            scores = [score for wave in waves for score in await self._model.ascore(messages, wave, whole=True)]
        logprobs = np.full(self._count, -np.inf)
        np.logaddexp.at(logprobs, self._meaning, [score.logprob for score in scores])
        prompt = await asyncio.to_thread(self._model.get_num_tokens_from_messages, messages)
        read = prompt * len(waves) + sum(score.tokens for score in scores)
        return Probable(_normalised(logprobs), Cost(1, read, prompt * (len(waves) - 1)))


def _normalised(logprobs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities that add up to 1; none is 0, so that their logarithms can be taken."""
    odds = np.exp(np.maximum(logprobs - logprobs.max(), -600.0))
    found: NDArray[np.float64] = odds / odds.sum()
    return found


def named(names: Sequence[str], probabilities: NDArray[np.float64]) -> Mapping[str, float]:
    """The probabilities by name, the highest first."""
    order = np.argsort(-probabilities, kind="stable")
    return {names[at]: float(probabilities[at]) for at in order}

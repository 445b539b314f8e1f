"""How good answers from documents are, judged by any model; each judgement is decoded in a form.

The four axes of *Hands-On Large Language Models*, chapter 8 (after Liu, Zhang & Liang 2023, "Evaluating Verifiability
in Generative Search Engines"): fluency, perceived utility, citation recall, citation precision; and two of Ragas (Es et
al. 2023): faithfulness, answer relevance. Where right answers are known, exact match and F1. Knows nothing of files.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields, replace
from statistics import fmean
from typing import Any, ClassVar

import numpy as np
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from phireside.chains.chain import Chain, Growing
from phireside.chains.cost import Cost
from phireside.chains.forms import Decoded, Form, ask, choice, regex, yes_or_no
from phireside.chains.given import chosen
from phireside.chains.loop import merged, together
from phireside.chains.prompt_files import Override, load_prompts
from phireside.chains.rag.answer import UNKNOWN, Claim, claims
from phireside.chains.rag.known_answers import exact_match, token_f1
from phireside.errors import ModelError, RequestError
from phireside.models import ChatGGUF, known_settings, unbound

AT_ONCE = 4


@dataclass(frozen=True)
class Sample:
    """An answer to judge.

    Attributes:
        question: what was asked.
        answer: what was said, with `[n]` behind what passage n says.
        passages: texts; [n] is the n-th, counted from 1.
        known: right answers; empty = there is none, None = nobody knows.
        short: what is compared with them, if not the answer.
    """

    question: str
    answer: str
    passages: tuple[str, ...] = ()
    known: tuple[str, ...] | None = None
    short: str | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Sample":
        """From a row of a file: question, answer, and perhaps passages, known, short.

        Raises:
            RequestError: one is missing, or of another type.
        """
        if not isinstance(row, Mapping):
            raise RequestError(f"A sample is {row!r:.80}.", hint='Pass {"question": "…", "answer": "…"}.')
        texts = [row.get(name) for name in ("question", "answer")]
        lists = [row.get(name) for name in ("passages", "known")]
        good = all(isinstance(each, str) for each in texts) and isinstance(row.get("short"), str | None)
        if not good or not all(each is None or _is_texts(each) for each in lists):
            raise RequestError(
                f"A sample lacks something: {dict(row)!r:.120}.",
                hint='It needs "question" and "answer"; "passages" and "known" are lists of texts, "short" a text.',
            )
        passages, known = (None if each is None else tuple(each) for each in lists)
        return cls(str(texts[0]), str(texts[1]), passages or (), known, row.get("short"))


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)


@dataclass(frozen=True)
class Scores:
    """Each 0 to 1, or None where it does not apply: no sentences, no citations, no answer known.

    Attributes:
        fluency: how well it is written, grades 1 to 5 as 0 to 1.
        utility: how useful it seems, the same.
        citation_recall: share of the sentences that the passages which they cite support.
        citation_precision: share of the citations whose passage supports its sentence.
        faithfulness: share of the sentences that some passage supports, cited or not.
        relevance: whether the question that the answer seems to answer is the one that was asked.
        exact_match, f1: with the known answers.
    """

    fluency: float | None = None
    utility: float | None = None
    citation_recall: float | None = None
    citation_precision: float | None = None
    faithfulness: float | None = None
    relevance: float | None = None
    exact_match: float | None = None
    f1: float | None = None


METRICS = tuple(each.name for each in fields(Scores))


@dataclass(frozen=True)
class Judged:
    """A sample with its scores; `problem` says why there are none, of a judgement that could not be had."""

    sample: Sample
    scores: Scores = field(default_factory=Scores)
    problem: str = ""
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class Report(Growing):
    """All samples, scored or named as unscored; their mean scores are over those that have one.

    Attributes:
        judged: in their order.
        cost: of all judgements.
    """

    judged: tuple[Judged, ...] = ()
    cost: Cost = field(default_factory=Cost)

    @property
    def unscored(self) -> tuple[Judged, ...]:
        """Those that could not be judged."""
        return tuple(each for each in self.judged if each.problem)

    def means(self) -> dict[str, tuple[float | None, int]]:
        """Mean and number of samples by metric."""
        columns = {name: [getattr(each.scores, name) for each in self.judged] for name in METRICS}
        there = {name: [value for value in values if value is not None] for name, values in columns.items()}
        return {name: (fmean(values) if values else None, len(values)) for name, values in there.items()}


class JudgeAnswers(Chain[Report]):
    """See `judge_answers`."""

    variables: ClassVar[tuple[str, ...]] = ("samples",)
    free: ClassVar[tuple[str, ...]] = ("samples",)

    def __init__(self, model: BaseChatModel, embeddings: Embeddings | None, prompts: Override) -> None:
        self._file = load_prompts("judging", prompts)
        super().__init__({**self._file.prompts, "model": model})
        self.name, self._model, self._embeddings = "judge_answers", model, embeddings
        self._steady = {"temperature": 0} if isinstance(unbound(model)[0], ChatGGUF) else {}

    def given(self, value: Any) -> dict[str, Any]:
        """Samples, or rows of them."""
        rows = value["samples"] if isinstance(value, Mapping) and "samples" in value else value
        if isinstance(rows, str | Mapping) or not isinstance(rows, Sequence) or not rows:
            raise RequestError(f"judge_answers was given {rows!r:.80}.", hint="Pass a list of samples, at least one.")
        return {"samples": [each if isinstance(each, Sample) else Sample.of(each) for each in rows]}

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Report, None]:
        """The samples as they are judged."""
        samples, done = given["samples"], dict[int, Judged]()
        async with aclosing(merged({at: self._one(each) for at, each in enumerate(samples)}, AT_ONCE)) as judged:
            async for at, each in judged:
                done[at] = each
                ordered = tuple(done[key] for key in sorted(done))
                yield Report(ordered, sum((one.cost for one in ordered), Cost()))

    async def _one(self, sample: Sample) -> AsyncGenerator[Judged, None]:
        try:
            yield await self._judged(sample)
        except ModelError:  # the judge itself is not there: no other sample could be judged
            raise
        except Exception as error:  # noqa: BLE001  (a model of another library raises what it likes)
            yield Judged(sample, problem=f"{type(error).__name__}: {error}")

    async def _judged(self, sample: Sample) -> Judged:
        scores = _compared(sample)
        if not sample.answer.strip() or sample.answer.strip() == UNKNOWN:
            return Judged(sample, scores)  # there is nothing to judge in it
        said = claims(sample.answer)
        (fluency, utility), (relevance, asked), supported = (
            await together(
                [
                    self._grade("fluency", answer=sample.answer),
                    self._grade("utility", question=sample.question, answer=sample.answer),
                ]
            ),
            await self._relevance(sample),
            await together(self._supported(claim, sample.passages) for claim in said),
        )
        cited = [held for claim, each in zip(said, supported, strict=True) for held in each.of(claim.cited)]
        scores = replace(
            scores,
            fluency=(fluency.value - 1) / 4,
            utility=(utility.value - 1) / 4,
            relevance=relevance,
            citation_recall=_mean([each.together for each in supported]),
            citation_precision=_mean(cited),
            faithfulness=_mean([each.together or any(each.by.values()) for each in supported]),
        )
        cost = sum((each.cost for each in supported), fluency.cost + utility.cost + asked)
        return Judged(sample, scores, cost=cost)

    async def _grade(self, prompt: str, **texts: str) -> Decoded[int]:
        found = await self._ask(prompt, choice(list("12345")), texts)
        return Decoded(int(found.value), found.text, found.cost)

    async def _supported(self, claim: Claim, passages: Sequence[str]) -> "_Supported":
        """Which passages support a claim, and whether those that it cites do so together."""
        sources = dict(enumerate(passages, 1))
        there = [number for number in claim.cited if number in sources]
        answers = await together(self._holds(claim.text, text) for text in sources.values())
        by = {number: answer.value for number, answer in zip(sources, answers, strict=True)}
        cost, held = sum((answer.cost for answer in answers), Cost()), any(by[number] for number in there)
        if len(there) > 1 and not held:
            both = await self._holds(claim.text, "\n\n".join(sources[number] for number in there))
            held, cost = both.value, cost + both.cost
        return _Supported(held, by, cost)

    async def _holds(self, claim: str, source: str) -> Decoded[bool]:
        return await self._ask("supports", yes_or_no(), {"claim": claim, "source": source})

    async def _relevance(self, sample: Sample) -> tuple[float, Cost]:
        """How near the question that an answer seems to answer is to the one asked; cosine, or the model's yes."""
        found = await self._ask("asks", regex(r"[^\s][^\r\n]{2,200}\?"), {"answer": sample.answer}, 64)
        if self._embeddings:
            first, second = np.array(await self._embeddings.aembed_documents([sample.question, found.value]))
            lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
            return max(0.0, float(first @ second) / max(lengths, 1e-9)), found.cost
        same = await self._ask("same", yes_or_no(), {"question": sample.question, "other": found.value})
        return float(same.value), found.cost + same.cost

    async def _ask(self, prompt: str, form: Form[Any], texts: dict[str, str], max_tokens: int = 8) -> Decoded[Any]:
        settings = known_settings(self._model, {"max_tokens": max_tokens})
        return await ask(self._model, self._file.messages(prompt, **texts), form, **settings, **self._steady)


@dataclass(frozen=True)
class _Supported:
    """What supports a claim: those it cites together, and each passage by itself."""

    together: bool
    by: Mapping[int, bool]
    cost: Cost

    def of(self, cited: Sequence[int]) -> list[bool]:
        """Whether each that is cited does; one that there is not supports nothing."""
        return [self.by.get(number, False) for number in cited]


def judge_answers(
    *, model: BaseChatModel | None = None, embeddings: Embeddings | None = None, prompts: Override = None
) -> JudgeAnswers:
    """A chain from samples to a `Report`: every one is scored, or named as unscored.

    Small models are poor judges: compare their grades with people's on a few of your own before you trust them.

    Args:
        model: the judge; any chat model. None = that of the settings.
        embeddings: relevance by cosine, as Ragas has it; without them the model says whether both questions ask the
            same.
        prompts: others than those in prompts/judging.yaml.

    Raises:
        RequestError: (at the call) there are no samples, or one cannot be read.
        ModelError: (at the call) the model cannot be loaded.
    """
    return JudgeAnswers(chosen(model), embeddings, prompts)


def _compared(sample: Sample) -> Scores:
    if sample.known is None:
        return Scores()
    said = sample.answer if sample.short is None else sample.short
    text = "" if sample.answer.strip() == UNKNOWN else " ".join(claim.text for claim in claims(said))
    return Scores(exact_match=exact_match(text, sample.known), f1=token_f1(text, sample.known))


def _mean(values: Sequence[bool]) -> float | None:
    return fmean(values) if values else None

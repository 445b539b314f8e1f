"""Evaluations at work for the page: questions are found or written, a base is searched, answers are judged, and the
result is kept. Each function makes one of these, to be begun. Does not import Streamlit.
"""

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from phireside.agents.assistant import knowledge_base, rag
from phireside.chains import loop
from phireside.chains.rag import Report, Sample, judge_answers
from phireside.chains.rag.runs import AnswersRun, answers_runs, lines_of
from phireside.chains.rag.samples import Problems, answered, read_samples
from phireside.models import Catalog
from phireside.models.embeddings import embeddings
from phireside.models.reranker import reranker as load_reranker
from phireside.retrieval import KnowledgeBase, Search
from phireside.retrieval.evaluation import (
    RetrievalRun,
    by_source,
    check_chunks,
    evaluate,
    generated_questions,
    retrieval_runs,
    sent_judgments,
)
from phireside.retrieval.evaluation.beir import Judgments
from phireside.retrieval.evaluation.evaluate import Unit
from phireside.runs import Runs
from phireside.settings import Settings
from phireside.ui.background import StoppedError, Work
from phireside.ui.measuring import LOADING, begin, maker, real_name

SEARCH, ANSWERS = "retrieval", "answers"
_LONGEST_QUESTION = 64  # tokens


@dataclass(frozen=True)
class Questions:
    """What a base is asked, and what is right; see `RetrievalRun`."""

    queries: Mapping[str, str]
    judgments: Judgments
    unit: Unit
    written_by: str = ""


Ask = Callable[[KnowledgeBase, Work], Questions]


@dataclass(frozen=True)
class Searching:
    """How a base is evaluated: see `phireside.retrieval.evaluation.evaluate`; `reranker` is a name, or empty."""

    base: str
    k: int
    rows: tuple[str, ...]
    reranker: str = ""


@dataclass(frozen=True)
class Judging:
    """How answers are judged.

    Args:
        source: where they are from.
        judge: the name of the model that judges.
        by_embeddings: whether questions are compared by embeddings, and not by the judge.
        answered_by: the name of the model that answers, if that is done now.
    """

    source: str
    judge: str
    by_embeddings: bool = False
    answered_by: str = ""


def searches(settings: Settings) -> Runs[RetrievalRun]:
    """The evaluations of search that are kept."""
    return retrieval_runs(settings.runs_dir)


def judgements(settings: Settings) -> Runs[AnswersRun]:
    """The judged answers that are kept."""
    return answers_runs(settings.runs_dir)


# ---- questions ---------------------------------------------------------------------------------------------------


def written(settings: Settings, catalog: Catalog, model: str, count: int) -> Ask:
    """Questions that a model writes about passages of the base."""

    def ask(base: KnowledgeBase, work: Work) -> Questions:
        work.say(LOADING)
        name = real_name(model, settings, catalog)
        writer = maker(settings)(name, temperature=0.0, max_tokens=_LONGEST_QUESTION)
        queries, judgments = generated_questions(base, writer, count, progress=_told(work, "questions written"))
        return Questions(queries, judgments, "chunk", name)

    return ask


def sent(queries: bytes, qrels: bytes) -> Ask:
    """Questions that people judged, from two files."""

    def ask(base: KnowledgeBase, _: Work) -> Questions:
        texts, judged = sent_judgments(queries, qrels)
        return Questions(texts, by_source(base.documents(), judged), "source")

    return ask


def again(run: RetrievalRun) -> Ask:
    """The questions of an evaluation that was kept."""

    def ask(base: KnowledgeBase, _: Work) -> Questions:
        if run.unit == "chunk":
            check_chunks(base, run.judgments)
        return Questions(run.queries, run.judgments, run.unit, run.written_by)

    return ask


# ---- work --------------------------------------------------------------------------------------------------------


def begin_search(settings: Settings, how: Searching, ask: Ask, kept: Runs[RetrievalRun]) -> Work:
    """Evaluate the stages of a base's search. The work's result is the id of the run that was kept.

    Raises:
        TurnRunningError: another evaluation of search is at work.
    """

    def do(work: Work) -> str:
        work.say("Opening the base …")
        base = knowledge_base(how.base, settings)
        asked = ask(base, work)
        work.say("Loading the embedding model. It takes some seconds, once …")
        found = evaluate(
            base, asked.queries, asked.judgments, k=how.k, rows=how.rows, unit=asked.unit,
            how=Search(rerank=load_reranker(how.reranker) if how.reranker else None),
            generated=bool(asked.written_by), progress=_told(work, "questions searched for"),
        )  # fmt: skip
        run = RetrievalRun(
            how.base, settings.embeddings, found, asked.queries, asked.judgments, asked.unit, asked.written_by,
            how.reranker if "rerank" in how.rows else "",
        )  # fmt: skip
        return kept.save(f"{how.base}: {len(asked.queries)} questions", run).id

    return begin(settings, SEARCH, lambda: Work("Evaluating search", do))


class JudgingWork(Work):
    """Answers that are judged; `report` grows, and is kept also when it is stopped.

    Args:
        how: what is judged, by whom.
        samples: makes them, with their lines; and what is wrong with other lines.
        judge: the model.
        by: compares questions; None = the judge does.
        kept: where it is kept.
    """

    def __init__(
        self,
        how: Judging,
        samples: "MakeSamples",
        judge: BaseChatModel,
        by: Embeddings | None,
        kept: Runs[AnswersRun],
    ) -> None:
        self.report = Report()
        self._judging: Future[None] | None = None
        self._how, self._samples, self._judge, self._by, self._kept = how, samples, judge, by, kept
        super().__init__("Judging answers", self._do)

    def stop(self) -> None:
        """End it at once; what was judged by then is kept."""
        super().stop()
        if self._judging is not None:
            self._judging.cancel()

    async def _judged(self, samples: list[Sample]) -> None:
        tell, chain = _told(self, "answers judged"), judge_answers(model=self._judge, embeddings=self._by)
        async with aclosing(cast("AsyncGenerator[Report, None]", chain.astream(samples))) as reports:
            async for report in reports:
                self.report = report
                tell(len(report.judged), len(samples))

    def _do(self, _: Work) -> str:
        began = time.monotonic()
        samples, problems = self._samples(self)
        self.say(LOADING)
        self._judging = loop.begin(self._judged([each for _, each in samples]))
        if self._stopping.is_set():  # while it began
            self._judging.cancel()
        try:
            self._judging.result()
        except (CancelledError, StoppedError):
            if not self.report.judged:
                raise StoppedError from None
        how, took = self._how, time.monotonic() - began
        lines = lines_of(self.report, samples)
        run = AnswersRun(
            how.source, how.judge, lines, self.report, tuple(problems), len(samples), how.answered_by, took
        )  # fmt: skip
        return self._kept.save(f"{how.source}: {len(samples)} answers", run).id


MakeSamples = Callable[[Work], tuple[list[tuple[int, Sample]], Problems]]


def begin_judging(
    settings: Settings, catalog: Catalog, how: Judging, samples: MakeSamples, kept: Runs[AnswersRun]
) -> JudgingWork:
    """Judge answers. The work's result is the id of the run that was kept.

    Raises:
        TurnRunningError: others are being judged.
        ModelError: a model is not here.
    """
    how = replace(
        how,
        judge=real_name(how.judge, settings, catalog),
        answered_by=how.answered_by and real_name(how.answered_by, settings, catalog),
    )
    judge, by = maker(settings)(how.judge), embeddings(settings.embeddings) if how.by_embeddings else None
    return begin(settings, ANSWERS, lambda: JudgingWork(how, samples, judge, by, kept))


def answers_of(settings: Settings, catalog: Catalog, base: str, questions: Sequence[str], model: str) -> MakeSamples:
    """What a model answers now from the documents of a base."""

    def make(work: Work) -> tuple[list[tuple[int, Sample]], Problems]:
        work.say(LOADING)
        chain = rag(maker(settings)(real_name(model, settings, catalog)), settings, base)
        samples = answered(chain, questions, _told(work, "questions answered"))
        return list(enumerate(samples, 1)), []

    return make


def answers_from(text: str, limit: int = 0) -> MakeSamples:
    """Those of a file: see `read_samples`."""
    return lambda _: read_samples(text, limit)


def _told(work: Work, what: str) -> Callable[[int, int], None]:
    def tell(done: int, total: int) -> None:
        work.done, work.total = done, total
        work.say(f"{done} of {total} {what}")

    return tell

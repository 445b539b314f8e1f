"""Evaluations that are kept with their questions, compared question by question; and judgments that were sent."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hashed import HashedEmbeddings
from judged import SMALL
from langchain_core.language_models import FakeListChatModel

from phireside.errors import RequestError
from phireside.retrieval import KnowledgeBase
from phireside.retrieval.evaluation import (
    RetrievalRun,
    advice,
    as_data,
    by_source,
    check_chunks,
    evaluate,
    generated_questions,
    retrieval_runs,
    same_questions,
    sent_judgments,
    stage_changes,
    worst_questions,
)


@pytest.fixture(scope="module")
def run(judged_base: KnowledgeBase) -> RetrievalRun:
    found = evaluate(judged_base, SMALL.queries, SMALL.judgments, k=2)
    return RetrievalRun("lake", "hashed", found, SMALL.queries, SMALL.judgments, "source")


def with_values(run: RetrievalRun, stage: int, values: list[float]) -> RetrievalRun:
    """The same, but that one stage's nDCG is another."""
    stages = list(run.found.stages)
    stages[stage] = replace(stages[stage], values={**stages[stage].values, "nDCG": np.array(values)})
    return replace(run, found=replace(run.found, stages=tuple(stages)))


def test_an_evaluation_is_read_as_it_was_kept(run: RetrievalRun, tmp_path: Path) -> None:
    kept = retrieval_runs(tmp_path).save("Lake", replace(run, written_by="starter", reranker="late:starter"))
    retrieval_runs.cache_clear()
    read = retrieval_runs(tmp_path).get(kept.id).run
    assert (read.base, read.embeddings, read.unit, read.written_by, read.reranker) == (
        "lake", "hashed", "source", "starter", "late:starter",
    )  # fmt: skip
    assert read.found.generated, "What a model wrote stays marked."
    assert as_data(replace(read.found, generated=False)) == as_data(run.found)
    assert advice(read.found) == advice(run.found)
    assert (read.queries, read.judgments) == (run.queries, run.judgments)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data["order"].pop(), "not one value for each"),
        (lambda data: data["stages"][0]["seconds"].pop(), "not one value for each"),
        (lambda data: data["stages"][0]["values"].pop("MAP"), "KeyError"),
        (lambda data: data["stages"].clear(), "no stage was"),
        (lambda data: data["queries"].clear(), "not those that were measured"),
        (lambda data: data.update(unit="book"), "unit"),
    ],
)
def test_a_file_that_does_not_fit_together_is_no_evaluation(
    run: RetrievalRun, tmp_path: Path, change: Any, reason: str
) -> None:
    runs = retrieval_runs(tmp_path)
    path = runs.path(runs.save("Lake", run).id)
    data = json.loads(path.read_text())
    change(data["run"])
    path.write_text(json.dumps(data))
    found, bad = runs.all()
    assert found == []
    assert reason in bad[0].reason


def test_two_evaluations_are_compared_question_by_question(run: RetrievalRun) -> None:
    before, after = with_values(run, 0, [0.0, 0.0, 1.0]), with_values(run, 0, [1.0, 0.5, 1.0])
    changed, *others = stage_changes(before, after)
    assert (changed.stage, changed.before, changed.after) == ("dense", pytest.approx(1 / 3), pytest.approx(2.5 / 3))
    assert changed.difference is not None
    assert changed.difference.mean == pytest.approx(0.5)
    assert {change.difference.mean for change in others if change.difference} == {0.0}
    assert changed.before_ms is not None


def test_the_order_of_the_questions_does_not_matter(run: RetrievalRun) -> None:
    before, after = with_values(run, 0, [0.5, 0.1, 0.0]), with_values(run, 0, [0.9, 0.2, 0.4])
    stages = tuple(
        replace(stage, values={name: values[::-1] for name, values in stage.values.items()})
        for stage in after.found.stages
    )
    turned = replace(after, found=replace(after.found, stages=stages, queries=after.found.queries[::-1]))
    assert same_questions(before, turned)
    one, other = (stage_changes(before, each)[0].difference for each in (after, turned))
    assert one is not None
    assert other is not None
    assert (one.t, one.p_t) == pytest.approx((other.t, other.p_t))
    assert one.t > 1


def test_other_questions_are_not_paired(run: RetrievalRun) -> None:
    others = [
        replace(run, queries={**run.queries, "q1": "something else"}),
        replace(run, judgments={**run.judgments, "q1": {"2": 1}}),
        replace(run, found=replace(run.found, k=5)),
    ]
    for other in others:
        assert not same_questions(run, other)
        assert {change.difference for change in stage_changes(run, other)} == {None}


def test_a_stage_that_only_one_has_is_shown_without_a_difference(run: RetrievalRun) -> None:
    shorter = replace(run, found=replace(run.found, stages=run.found.stages[:2]))
    changes = {change.stage: change for change in stage_changes(shorter, run)}
    assert (changes["hybrid"].before, changes["hybrid"].difference) == (None, None)
    assert changes["hybrid"].after is not None


def test_the_worst_questions_come_first(run: RetrievalRun) -> None:
    found = worst_questions(with_values(run, 0, [1.0, 0.0, 0.5]), "dense")
    assert found == [("a boat with oars", 0.0), ("how thick is ice", 0.5), ("dry wood for a campfire", 1.0)]


# ---- questions ----


def test_judgments_that_were_sent_are_read_and_problems_name_the_file_that_was_sent() -> None:
    queries = b'{"_id": "q1", "text": "wood?"}\n'
    texts, judged = sent_judgments(queries, b"query-id\tcorpus-id\tscore\nq1\tfire.md\t1\n")
    assert (texts, judged) == ({"q1": "wood?"}, {"q1": {"fire.md": 1}})
    with pytest.raises(RequestError, match=r"^Line 1 of queries\.jsonl is no JSON"):
        sent_judgments(b"{", b"q1\tfire.md\t1\n")
    with pytest.raises(RequestError, match=r"^No query of these files has a relevant document"):
        sent_judgments(queries, b"q1\tfire.md\t0\n")


def test_documents_are_named_by_their_source_or_their_file_name(tmp_path: Path) -> None:
    other = KnowledgeBase(tmp_path / "base", HashedEmbeddings(8))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.txt").write_text(f"The text of {folder} stands here.")
    (tmp_path / "a" / "fire.txt").write_text("A campfire needs dry wood.")
    other.add_folder(tmp_path / "a")
    other.add_folder(tmp_path / "b")
    documents = other.documents()
    other.close()
    fire = str(tmp_path / "a" / "fire.txt")
    assert by_source(documents, {"q": {"fire.txt": 1}, "r": {fire: 2}}) == {"q": {fire: 1}, "r": {fire: 2}}
    with pytest.raises(RequestError, match=r"2 documents of the base are 'same\.txt'"):
        by_source(documents, {"q": {"same.txt": 1}})
    with pytest.raises(RequestError, match=r"No document of the base is 'none\.txt'"):
        by_source(documents, {"q": {"none.txt": 1}})


def test_chunks_that_are_gone_are_told(judged_base: KnowledgeBase) -> None:
    chunk = str(judged_base.chunks(judged_base.documents()[0].id)[0].id)
    check_chunks(judged_base, {chunk: {chunk: 1}})
    with pytest.raises(RequestError, match="1 of the 2 passages"):
        check_chunks(judged_base, {"q": {chunk: 1, "gone": 1}})


def test_questions_are_told_while_they_are_written_and_can_be_stopped(tmp_path: Path) -> None:
    base = KnowledgeBase(tmp_path, HashedEmbeddings(8))
    for number in range(20):
        base.add_text(f"Document {number} says that the lake is deep, and that the boat needs two oars and a rope.")
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if done == 16:
            raise KeyboardInterrupt

    model = FakeListChatModel(responses=["What is deep?"])
    with pytest.raises(KeyboardInterrupt):
        generated_questions(base, model, 20, progress=stop)
    assert told == [(8, 20), (16, 20)]
    queries, judged = generated_questions(base, model, 20)
    base.close()
    assert len(queries) == len(judged) == 20

"""Evaluation: collections read and refused, measures against the book's definitions, significance, reports."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hashed import HashedEmbeddings
from judged import SMALL
from langchain_core.language_models import FakeListChatModel
from rich.console import Console
from scipy import stats

from phireside.errors import RequestError
from phireside.retrieval import KnowledgeBase
from phireside.retrieval.evaluation import (
    Collection,
    Evaluation,
    advice,
    as_data,
    base_of,
    difference,
    evaluate,
    generated_questions,
    measured,
    read_beir,
    save_chart,
    table,
    write_beir,
)


@pytest.fixture(scope="module")
def found(judged_base: KnowledgeBase) -> Evaluation:
    return evaluate(judged_base, SMALL.queries, SMALL.judgments, k=2)


def test_a_collection_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_beir(tmp_path, SMALL)
    assert read_beir(tmp_path) == SMALL


@pytest.mark.parametrize("name", ['say "hi".md', "a,b", " a ", "a b|"])
def test_any_name_in_a_line_is_an_id(tmp_path: Path, name: str) -> None:
    odd = Collection({name: ("", "text")}, {name: "what?"}, {name: {name: 1}})
    write_beir(tmp_path, odd)
    assert read_beir(tmp_path) == odd


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "a\rb"])
def test_an_id_that_its_file_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="tab or a line break"):
        write_beir(tmp_path, Collection({name: ("", "text")}, {"q": "what?"}, {"q": {name: 1}}))
    assert list(tmp_path.iterdir()) == []


def test_queries_without_a_relevant_document_are_left_out(tmp_path: Path) -> None:
    write_beir(tmp_path, Collection(SMALL.documents, {**SMALL.queries, "q4": "?"}, {**SMALL.judgments, "q4": {"1": 0}}))
    assert read_beir(tmp_path).queries == SMALL.queries


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("corpus.jsonl", "{", "Line 5 of .*corpus.jsonl is no JSON"),
        ("corpus.jsonl", '{"_id": "9"}', "Line 5 of .* has no _id or no text"),
        ("corpus.jsonl", "[1]", "Line 5 of"),
        ("corpus.jsonl", '{"_id": 9, "text": "a"}', "Line 5 of .* 9 for its _id"),
        ("corpus.jsonl", '{"_id": "9", "text": []}', "Line 5 of .* text"),
        ("corpus.jsonl", '{"_id": "", "text": "a"}', "Line 5 of .* empty _id"),
        ("corpus.jsonl", '{"_id": "9", "text": ["a"]}', "Line 5 of .* text"),
        ("corpus.jsonl", '{"_id": "9", "text": "a", "title": 7}', "Line 5 of .* title"),
        ("corpus.jsonl", '{"_id": "9", "text": "\\ud800"}', "Line 5 of .* surrogate"),
        ("corpus.jsonl", '{"_id": "2", "text": "a"}', "Line 5 of .* _id '2' again"),
        ("queries.jsonl", '{"_id": "q1", "text": "a"}', "Line 4 of .* _id 'q1' again"),
        ("queries.jsonl", '{"_id": "q9", "text": " "}', "Line 4 of .* empty text"),
        ("queries.jsonl", '"q"', "Line 4 of"),
        ("qrels/test.tsv", "q1\t1", "Line 7 of .* whole number"),
        ("qrels/test.tsv", "q1\t1\tmuch", "Line 7 of"),
        ("qrels/test.tsv", "q1\t3\t1\t1", "Line 7 of .* whole number"),
        ("qrels/test.tsv", f"q1\t3\t{2**40}", "Line 7 of .* grade 1099511627776; 1000 is the most"),
        ("qrels/test.tsv", "q1\t1\t7", "document '1' for query 'q1' as . and as 7"),
        ("qrels/test.tsv", "q9\t1\t1", "1 judged queries are not in queries.jsonl, e.g. 'q9'"),
        ("qrels/test.tsv", "q1\t99\t1", "1 judged documents are not in the corpus, e.g. '99'"),
    ],
)
def test_a_damaged_collection_is_told_with_the_line(tmp_path: Path, file: str, line: str, message: str) -> None:
    write_beir(tmp_path, SMALL)
    with (tmp_path / file).open("a") as opened:
        opened.write(line + "\n")
    with pytest.raises(RequestError, match=message):
        read_beir(tmp_path)


def test_a_byte_order_mark_is_not_part_of_the_first_line(tmp_path: Path) -> None:
    write_beir(tmp_path, SMALL)
    for name in ("corpus.jsonl", "qrels/test.tsv"):
        (tmp_path / name).write_text((tmp_path / name).read_text(), encoding="utf-8-sig")
    assert read_beir(tmp_path) == SMALL


def test_a_folder_with_other_documents_is_refused_and_kept(tmp_path: Path) -> None:
    more = Collection({**SMALL.documents, "old": ("", "A stale text.")}, SMALL.queries, SMALL.judgments)
    base_of(more, tmp_path, HashedEmbeddings(64)).close()
    with pytest.raises(RequestError, match=r"1 documents .* not in the collection, e\.g\. 'old'"):
        base_of(SMALL, tmp_path, HashedEmbeddings(64))
    again = base_of(more, tmp_path, HashedEmbeddings(64))
    assert {each.source for each in again.documents()} == {"1", "2", "3", "4", "old"}
    again.close()


def test_missing_files_and_other_encodings_are_told(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"corpus\.jsonl cannot be read: No such file"):
        read_beir(tmp_path)
    (tmp_path / "corpus.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(RequestError, match="it is not UTF-8"):
        read_beir(tmp_path)


def test_there_may_be_measured_at_more_hits_than_a_computer_can_count() -> None:
    found = measured({"q": ["a", "b"]}, {"q": {"b": 1}}, ["q"], k=2**70)
    assert (found["R"][0], found["MRR"][0]) == (1.0, 0.5)


def test_measures_are_the_book_s() -> None:
    ranking = ["a", "x", "b", "y"]
    found = measured({"q": ranking}, {"q": {"a": 1, "b": 1, "c": 1, "x": 0}}, ["q", ], k=3)  # fmt: skip
    ideal = 1 + 1 / np.log2(3) + 1 / np.log2(4)
    assert {name: float(values[0]) for name, values in found.items()} == pytest.approx(
        {"nDCG": (1 + 1 / np.log2(4)) / ideal, "MAP": (1 + 2 / 3) / 3, "MRR": 1.0, "P": 2 / 3, "R": 2 / 3}
    )


def test_a_query_that_finds_nothing_counts_as_nothing() -> None:
    found = measured({"q1": ["a"]}, {"q1": {"a": 1}, "q2": {"a": 1}}, ["q1", "q2"], k=10)
    assert found["nDCG"].tolist() == [1.0, 0.0]


def test_significance_agrees_with_scipy() -> None:
    random = np.random.default_rng(1)
    first = random.random(40)
    second = first + random.normal(0.02, 0.1, 40)
    found, apart = difference(first, second), second - first
    assert found.p_t == pytest.approx(stats.ttest_1samp(apart, 0).pvalue)
    assert found.mean == pytest.approx(apart.mean())
    exact = stats.permutation_test((apart,), np.mean, permutation_type="samples", n_resamples=9999, rng=1).pvalue
    assert found.p_randomization == pytest.approx(exact, abs=0.01)


def test_equal_systems_do_not_differ() -> None:
    same = np.array([0.5, 0.1, 0.9])
    assert difference(same, same.copy()).p_t == difference(same, same.copy()).p_randomization == 1.0
    assert difference(same, same + 0.1).p_t < 0.001
    with pytest.raises(RequestError, match="cannot be compared"):
        difference(same, same[:2])


def test_every_stage_is_measured_on_every_query(found: Evaluation) -> None:
    assert [stage.name for stage in found.stages] == ["dense", "keyword", "hybrid", "feedback"]
    for stage in found.stages:
        assert all(len(values) == 3 for values in stage.values.values())
        assert stage.seconds.min() > 0
    assert found.stages[1].values["MRR"].tolist()[:2] == [1.0, 1.0]
    assert found.stages[0].against is None
    assert found.stages[1].against is not None
    assert found.threshold is not None
    assert -1 <= found.threshold <= 1


def test_only_the_rows_that_are_asked_for(judged_base: KnowledgeBase) -> None:
    found = evaluate(judged_base, SMALL.queries, SMALL.judgments, rows=("hybrid", "dense"))
    assert [stage.name for stage in found.stages] == ["dense", "hybrid"]
    for wrong in (("best",), (), ("rerank",)):
        with pytest.raises(RequestError):
            evaluate(judged_base, SMALL.queries, SMALL.judgments, rows=wrong)
    with pytest.raises(RequestError, match="no query"):
        evaluate(judged_base, {}, {})


def test_the_table_and_the_data_say_the_same(found: Evaluation) -> None:
    console = Console(width=80, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as shown:
        console.print(table(found))
    data: Any = json.loads(json.dumps(as_data(found)))
    for stage in data["stages"]:
        assert f"{stage['means']['nDCG']:.4f}" in shown.get()
        assert np.mean(stage["values"]["nDCG"]) == pytest.approx(stage["means"]["nDCG"])
    assert "~ 1" in shown.get()
    assert "…" not in shown.get()


def test_a_threshold_from_few_queries_comes_with_a_warning(found: Evaluation) -> None:
    assert advice(found).endswith("3 queries are few: on others it may keep far fewer.")
    assert "few" not in advice(replace(found, queries=("q",) * 100))
    assert advice(replace(found, threshold=None)) == ""


def test_the_plot_is_written_or_refused(found: Evaluation, tmp_path: Path) -> None:
    for name in ("plot.html", "plot.json"):
        save_chart(found, tmp_path / name)
        assert "feedback" in (tmp_path / name).read_text()
    with pytest.raises(RequestError, match="no suffix of a plot"):
        save_chart(found, tmp_path / "plot.doc")
    with pytest.raises(RequestError, match="cannot be written"):
        save_chart(found, tmp_path / "no such folder" / "plot.json")


def test_where_all_passages_are_short_they_are_asked_about(tmp_path: Path) -> None:
    base, model = KnowledgeBase(tmp_path / "base", HashedEmbeddings()), FakeListChatModel(responses=["How thick?"])
    with pytest.raises(RequestError, match="no passage"):
        generated_questions(base, model, 2)
    base.add_text("Ice of 5 cm carries.", source="ice")
    queries, _ = generated_questions(base, model, 2)
    base.close()
    assert list(queries.values()) == ["How thick?"]


def test_generated_questions_are_judged_by_their_chunk_and_marked(judged_base: KnowledgeBase) -> None:
    model = FakeListChatModel(responses=['Sure!\n"When does ice carry a person?"'])
    queries, judged = generated_questions(judged_base, model, 5)
    assert list(queries.values()) == ["When does ice carry a person?"]  # the other texts are too short to ask about
    assert judged == {chunk: {chunk: 1} for chunk in queries}
    found = evaluate(judged_base, queries, judged, unit="chunk", generated=True)
    assert found.stages[1].mean("MRR") == 1.0
    assert "written by a model" in str(table(found).title)
    with pytest.raises(RequestError, match="no question"):
        generated_questions(judged_base, FakeListChatModel(responses=["I cannot."]), 5)

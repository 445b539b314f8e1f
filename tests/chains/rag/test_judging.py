"""Judging answers: each axis from the judgements it is made of, every sample scored or named, known answers."""

from typing import Any

import pytest
from answers import answers
from grounding import TEXTS
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import BaseMessage

from phireside.chains import Sample, judge_answers
from phireside.chains.rag.judging import METRICS, Report
from phireside.chains.rag.known_answers import exact_match, token_f1
from phireside.errors import EngineError, ModelNotFoundError, RequestError

QUESTION = "How long is the notice?"


def judge(**fields: Any) -> Any:
    """Grades with 4 and 5, supports what stands in the text, and asks the question back."""

    def rule(messages: list[BaseMessage]) -> str:
        text = next(message.text for message in reversed(messages) if "JSON schema" not in message.text)
        if "fluent" in text:
            return "4"
        if "useful" in text:
            return "5"
        if "support the statement" in text:
            source, _, claim = text.partition("\n\nStatement: ")
            return "yes" if claim.partition("\n\n")[0] in source else "no"
        return "yes" if "ask for the same" in text else QUESTION

    return answers(rule, **fields)


def test_each_axis_is_a_share_of_the_judgements_it_is_made_of() -> None:
    answer = f"{TEXTS[0]} [1] [3] Dogs are allowed in the garden. [1] Cats may vote. [2] {TEXTS[2]}"
    chain = judge_answers(model=judge())
    (judged,) = chain.invoke([Sample(QUESTION, answer, TEXTS, known=("three months",))]).judged
    scores = judged.scores
    assert (scores.fluency, scores.utility, scores.relevance) == (0.75, 1.0, 1.0)
    assert scores.citation_recall == 0.25  # of four sentences one is supported by what it cites
    assert scores.citation_precision == 0.25  # of four citations one supports its sentence
    assert scores.faithfulness == 0.75  # Cats may vote nowhere
    assert scores.exact_match == 0
    assert 0 < (scores.f1 or 0) < 1
    assert judged.cost.calls == 2 + 2 + 4 * 3


def test_every_sample_is_scored_or_named_as_unscored() -> None:
    model = answers(lambda messages: EngineError("It is on fire.") if "fire" in str(messages) else "3")
    rows = [{"question": "a?", "answer": "fire"}, {"question": "b?", "answer": ""}, {"question": "c?", "answer": "x"}]
    report = judge_answers(model=model).invoke(rows)
    assert [each.sample.question for each in report.judged] == ["a?", "b?", "c?"]
    assert [each.sample.question for each in report.unscored] == ["a?", "c?"]  # 3 is neither yes nor a question
    assert "on fire" in report.judged[0].problem
    assert set(report.means()) == set(METRICS)
    assert report.means()["fluency"] == (None, 0)


def test_a_row_of_a_file_gives_the_very_sample_that_one_writes() -> None:
    row = {"question": "a", "answer": "b", "passages": ["c"], "known": []}
    assert Sample.of(row) == Sample("a", "b", ("c",), known=())
    assert hash(Sample.of(row))


def test_what_was_not_answered_is_compared_and_not_graded() -> None:
    sample = Sample(QUESTION, "I don't know.", TEXTS, known=())
    (judged,) = judge_answers(model=judge()).invoke([sample]).judged
    assert (judged.scores.exact_match, judged.scores.fluency, judged.cost.calls) == (1, None, 0)


def test_the_stream_grows_and_its_last_report_is_whole() -> None:
    samples = [Sample(QUESTION, f"{TEXTS[0]} [1]", TEXTS) for _ in range(5)]
    reports = list(judge_answers(model=judge()).stream(samples))
    assert [len(report.judged) for report in reports] == [1, 2, 3, 4, 5]
    assert isinstance(reports[-1], Report)
    assert reports[-1].means()["citation_recall"] == (1.0, 5)
    assert reports[-1].means()["f1"] == (None, 0)


@pytest.mark.parametrize(
    "rows", [[], "x", [{"question": "a"}], [{"question": "a", "answer": "b", "passages": "c"}], [{"answer": 1}]]
)
def test_what_is_no_sample_is_refused(rows: Any) -> None:
    with pytest.raises(RequestError):
        judge_answers(model=judge()).invoke(rows)


@pytest.mark.parametrize(
    ("said", "known", "exact", "f1"),
    [
        ("The Seine!", ["Seine"], 1, 1),
        ("river Seine", ["Seine", "Loire"], 0, 2 / 3),
        ("", [], 1, 1),
        ("Rollo", [], 0, 0),
        ("a b b", ["b b c"], 0, 4 / 5),
    ],
)
def test_known_answers_are_compared_as_squad_does(said: str, known: list[str], exact: float, f1: float) -> None:
    assert exact_match(said, known) == exact
    assert token_f1(said, known) == pytest.approx(f1)


@given(st.text(max_size=30), st.lists(st.text(max_size=30), max_size=3))
def test_an_exact_match_is_never_better_than_f1(said: str, known: list[str]) -> None:
    assert 0 <= exact_match(said, known) <= token_f1(said, known) <= 1


def test_a_citation_of_passage_0_supports_nothing() -> None:
    (judged,) = judge_answers(model=judge()).invoke([Sample(QUESTION, f"{TEXTS[0]} [0]", TEXTS)]).judged
    assert judged.problem == ""
    assert (judged.scores.citation_precision, judged.scores.citation_recall) == (0, 0)


def test_a_judge_that_cannot_be_loaded_ends_it() -> None:
    model = answers(lambda messages: ModelNotFoundError("There is no such model."))
    with pytest.raises(ModelNotFoundError):
        judge_answers(model=model).invoke([Sample(QUESTION, "Yes.")])

"""Samples from lines and from a base; judged answers that are kept, and compared question by question."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from answers import answers
from grounding import PASSAGES, TEXTS, finding
from langchain_core.messages import BaseMessage

from phireside.chains.rag import (
    AnswersRun,
    Judged,
    Report,
    Sample,
    Scores,
    answered,
    answers_runs,
    axis_changes,
    judge_answers,
    rag_chain,
    read_samples,
)
from phireside.chains.rag.runs import as_data, lines_of
from phireside.errors import RequestError


def run_of(scores: dict[str, Scores], **fields: object) -> AnswersRun:
    judged = tuple(Judged(Sample(question, "Yes. [1]"), each) for question, each in scores.items())
    return replace(
        AnswersRun("file", "judge", tuple(range(1, len(judged) + 1)), Report(judged), (), len(judged)), **fields
    )


# ---- samples ----


def test_lines_are_samples_or_are_named() -> None:
    rows = [
        {"question": "A?", "answer": "B\u2028C"},
        None,
        {"question": "A?"},
        "nothing",
        [1],
        {"question": "D?", "answer": ""},
    ]
    text = "\ufeff" + "\n".join("" if row is None else json.dumps(row, ensure_ascii=False) for row in rows)
    good, bad = read_samples(text)
    assert [(line, sample.question, sample.answer) for line, sample in good] == [(1, "A?", "B\u2028C"), (6, "D?", "")]
    assert [line for line, _ in bad] == [3, 4, 5]
    assert [line for line, _ in read_samples(text, limit=2)[0]] == [1]


@pytest.mark.parametrize("text", ["", "\n", "nothing", "[" * 100_000, "9" * 10_000])
def test_a_text_without_samples_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="lines is a sample"):
        read_samples(text)


def test_a_base_answers_each_question_for_itself() -> None:
    def rule(messages: list[BaseMessage]) -> str:
        assert len([message for message in messages if message.type == "human"]) == 1
        return f"{TEXTS[0]} [1]"

    told: list[tuple[int, int]] = []
    chain = rag_chain(answers(rule), finding(*PASSAGES))
    samples = answered(chain, ["How long?", "How much?"], lambda *counts: told.append(counts))
    assert [sample.question for sample in samples] == ["How long?", "How much?"]
    assert {sample.answer for sample in samples} == {f"{TEXTS[0]} [1]"}
    assert samples[0].passages == TEXTS
    assert told == [(1, 2), (2, 2)]


# ---- kept ----


def test_judged_answers_are_read_as_they_were_kept(tmp_path: Path) -> None:
    model = answers(lambda m: "4" if "digit" in str(m) else "What?" if "Write the question" in str(m) else "yes")
    samples, problems = read_samples(
        '{"question": "How?", "answer": "So. [1]", "passages": ["So."], "known": ["so"], "short": "so"}\n{}'
    )
    report = judge_answers(model=model).invoke([sample for _, sample in samples])
    run = AnswersRun("a.jsonl", "judge", lines_of(report, samples), report, tuple(problems), 1, "phi", 2.5)
    kept = answers_runs(tmp_path).save("One", run)
    answers_runs.cache_clear()
    read = answers_runs(tmp_path).get(kept.id).run
    assert as_data(read) == as_data(run)
    assert read.report.judged == report.judged
    assert (read.source, read.judge, read.answered_by, read.seconds, read.total) == ("a.jsonl", "judge", "phi", 2.5, 1)
    assert [line for line, _ in read.unscored] == [2]


def test_a_report_that_was_stopped_knows_its_lines() -> None:
    samples = [(3, Sample("A?", "")), (7, Sample("A?", "")), (9, Sample("A?", ""))]
    assert lines_of(Report((Judged(samples[0][1]), Judged(samples[2][1]))), samples) == (3, 9)


def test_what_a_judge_could_not_score_is_unscored() -> None:
    run = run_of({"A?": Scores()}, problems=((5, "no JSON"),))
    failed = replace(run, report=Report((Judged(Sample("A?", ""), problem="It broke."),)))
    assert failed.unscored == ((1, "It broke."), (5, "no JSON"))
    assert run.unscored == ((5, "no JSON"),)


@pytest.mark.parametrize("lines", [[], [1, 2]])
def test_a_file_that_does_not_fit_together_is_no_run(tmp_path: Path, lines: list[int]) -> None:
    runs = answers_runs(tmp_path)
    path = runs.path(runs.save("x", run_of({"A?": Scores()})).id)
    data = json.loads(path.read_text())
    data["run"]["lines"] = lines
    path.write_text(json.dumps(data))
    assert runs.all()[0] == []
    assert "do not fit together" in runs.all()[1][0].reason


# ---- compared ----


def test_each_metric_is_compared_on_the_questions_that_both_have() -> None:
    before = run_of({"A?": Scores(fluency=0.25), "B?": Scores(fluency=0.5), "C?": Scores(fluency=1.0)})
    after = run_of({"B?": Scores(fluency=1.0), "A?": Scores(fluency=0.75, f1=1.0), "D?": Scores(fluency=0.0)})
    found = {change.metric: change for change in axis_changes(before, after)}
    assert (found["fluency"].before, found["fluency"].after, found["fluency"].questions) == (0.375, 0.875, 2)
    assert found["fluency"].difference is not None
    assert found["fluency"].difference.mean == 0.5
    assert (found["f1"].before, found["f1"].questions) == (None, 0)


def test_one_question_has_means_and_no_difference() -> None:
    before, after = run_of({"A?": Scores(utility=0.0)}), run_of({"A?": Scores(utility=1.0)})
    (found,) = [change for change in axis_changes(before, after) if change.questions]
    assert (found.metric, found.before, found.after, found.difference) == ("utility", 0.0, 1.0, None)


def test_a_question_that_is_there_twice_is_left_out() -> None:
    judged = tuple(Judged(Sample("A?", "x"), Scores(f1=value)) for value in (0.0, 1.0))
    twice = AnswersRun("file", "judge", (1, 2), Report(judged))
    assert {change.questions for change in axis_changes(twice, run_of({"A?": Scores(f1=1.0)}))} == {0}

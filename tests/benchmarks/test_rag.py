"""The benchmark of answers from documents reads its data right, and its figures are what they say."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

Load = Callable[[str], ModuleType]
ASKED = [
    {"question": "Who led them?", "answers": [{"text": "Rollo"}], "is_impossible": False},
    {"question": "When?", "answers": [{"text": "911"}, {"text": "in 911"}], "is_impossible": False},
    {"question": "Who was Odo?", "answers": [], "is_impossible": True},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "normans.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "Rollo led them in 911.", "qas": ASKED}]}]}))
    return path


def test_questions_come_with_their_paragraph_and_half_of_a_few_have_no_answer(load: Load, data: Path) -> None:
    normans = load("rag_parts.normans")
    paragraphs, questions = normans.load(Namespace(data=data, limit=0))
    assert (paragraphs, [each.known for each in questions]) == (
        ["Rollo led them in 911."],
        [("Rollo",), ("911", "in 911"), ()],
    )
    assert len(normans.chosen(questions, 2)) == 2
    assert any(not each.known for each in normans.chosen(questions, 2))


def test_the_figures_of_an_arm_count_what_they_say(load: Load, data: Path) -> None:
    answers, normans = load("rag_parts.answers"), load("rag_parts.normans")
    _, questions = normans.read(data)
    rows = [
        answers.Told("Rollo led. [1]", "Rollo", True, 1, 0, 1, 1.0, 100, 0.5, 20, 12),
        answers.Told("I don't know.", "", False, 0, 0, 0, 1.0, 100, 0.5, 21, 12),
        answers.Told("Odo. [7]", "Odo", True, 1, 1, 0, 1.0, 100, 0.5, 20, 12),
    ]
    line = answers.line("ours", questions, rows)
    assert "exact match 0.500, F1 0.500" in line
    assert "I don't know: 0/1" in line
    assert "1/2 = 50.0%" in line
    assert "citations right 1/1" in line
    assert "invalid 1; first 1.00 s, second 0.50 s; tokens evaluated 100 and 20, at most new + 8 in 2 of 3" in line


def test_spoiled_sentences_have_another_passage_or_another_answer(load: Load, data: Path) -> None:
    from grounding import PASSAGES, finding

    checks, normans = load("rag_parts.checks"), load("rag_parts.normans")
    paragraphs, questions = normans.read(data)
    rows = checks.cases([each for each in questions if each.known], paragraphs, finding(*PASSAGES))
    assert rows[:3] == [
        ("Who led them? Rollo.", paragraphs[0], "supported"),
        ("Who led them? Rollo.", PASSAGES[0].page_content, "other passage"),
        ("Who led them? 911.", paragraphs[0], "other answer"),
    ]
    assert checks.auc(np.array([2.0, 1.0]), np.array([1.0, 0.0])) == 0.875

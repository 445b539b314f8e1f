"""The grammar of cited sentences: no full stop without a passage, and no passage that there is not."""

import pytest
from llguidance import LLMatcher, LLTokenizer

from phireside.chains.rag.writing import cited_sentences

BYTES = LLTokenizer("byte")


def state(text: str) -> tuple[bool, bool, str]:
    """Whether [1] and [3] let a text begin so, whether it may end there, and what must come next."""
    matcher: LLMatcher = cited_sentences([1, 3], 2).compile(BYTES)
    data = list(text.encode())
    taken = matcher.try_consume_tokens(data) == len(data)
    return taken, taken and matcher.is_accepting(), bytes(matcher.compute_ff_tokens()).decode() if taken else ""


@pytest.mark.parametrize(
    "text",
    [
        "It is red. [1]",
        "It is red. [3] [1]",
        "Is it? [1] It is! [3]",
        "Of 3.5 kg Dr. No got half at 12:30 in the U.S. army. [1]",
    ],
)
def test_sentences_with_passages_may_end(text: str) -> None:
    assert state(text)[:2] == (True, True)


@pytest.mark.parametrize("text", ["It is red. [2]", "[1]", "It is red [1]", "A b. [1] C d. [1] E f. [1]", "I\n"])
def test_other_passages_forms_and_too_many_sentences_cannot_be_written(text: str) -> None:
    assert not state(text)[0]


@pytest.mark.parametrize(
    "text", ["1.", "12)", "- P", "\u2022 P", "(1)", "\u2460 P", " P", "The rules are: 1", "Is it? [1] 2."]
)
def test_no_sentence_is_the_beginning_of_a_list(text: str) -> None:
    assert not state(text)[0]


def test_a_full_stop_forces_the_citation_but_not_one_in_a_number() -> None:
    assert state("It is red.") == (True, False, " [")
    assert state("It weighs 3.")[2] == ""


def test_a_model_may_say_that_it_does_not_know() -> None:
    assert state("I don't know.")[:2] == (True, True)
    assert not state("I don't know. [2]")[0]

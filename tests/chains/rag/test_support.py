"""Checks: what words and a judge's yes say of a sentence and its passages."""

import math

import pytest
from answers import answers
from grounding import TEXTS
from scoring import scoring

from phireside.chains.prompt_files import load_prompts
from phireside.chains.rag.answer import Claim
from phireside.chains.rag.support import Judge, Support, nearest, word_support

FILE = load_prompts("rag")


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The deposit is two monthly rents.", 1, 1),
        ("The deposit is paid back within 30 days.", 0.9, 1),
        ("The deposit is paid back within 90 days.", 0, 0.45),
        ("The deposit goes to Anna Lind.", 0, 0.4),
        ("Cats are not allowed.", 0, 0.2),
    ],
)
def test_words_numbers_and_names_must_stand_in_the_source(text: str, least: float, most: float) -> None:
    assert least <= word_support(text, TEXTS[1]) <= most


def test_words_of_the_question_support_nothing_and_words_of_one_sentence_more_than_of_several() -> None:
    question = "Is the deposit paid back in gold?"
    assert word_support("The deposit is paid back in silver.", TEXTS[1], question) < 0.45
    assert word_support("The deposit is paid back in silver.", TEXTS[1]) > 0.45
    near, far = "Dogs bark. Cats purr.", "Dogs bark and cats purr."
    assert word_support("Cats bark.", near) < word_support("Cats bark.", far) == 1


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("\u79df\u7ea6\u7ec8\u6b62\u9700\u8981\u4e09\u4e2a\u6708\u7684\u901a\u77e5\u3002",
         "\u7ec8\u6b62\u79df\u7ea6\u9700\u8981\u63d0\u524d\u4e09\u4e2a\u6708\u901a\u77e5\u3002\u62bc\u91d1\u662f\u4e24\u4e2a\u6708\u79df\u91d1\u3002"),
        ("\u72ac\u306f\u5ead\u3067\u8a31\u53ef\u3055\u308c\u3066\u3044\u307e\u3059\u3002",
         "\u5ead\u3067\u306f\u72ac\u304c\u8a31\u53ef\u3055\u308c\u3066\u3044\u307e\u3059\u3002\u732b\u306f\u3044\u307e\u305b\u3093\u3002"),
    ],
)  # fmt: skip
def test_of_scripts_without_blanks_pairs_of_characters_are_compared(text: str, source: str) -> None:
    assert word_support(text, source) > 0.45
    assert word_support(text, "\u62bc\u91d1\u5fc5\u987b\u5728\u4eca\u5929\u5f52\u8fd8\u3002") < 0.2


async def test_a_claim_is_held_against_what_it_cites_and_nothing_else() -> None:
    claims = [Claim(TEXTS[0], (1,)), Claim(TEXTS[0], (2,)), Claim(TEXTS[0], (2, 1)), Claim(TEXTS[0])]
    checked, cost = await Support().check(claims, TEXTS, "")
    assert [claim.verdict for claim in checked] == ["supported", "none", "supported", "none"]
    assert cost.calls == 0


async def test_a_judges_no_makes_words_that_match_weak() -> None:
    def rule(prompt: str, said: str) -> float:
        yes = 0.5 if "N/A" in prompt or prompt.startswith(("[MASK]", "...")) else 0.02
        return math.log((yes if said.lower() == "yes" else 1 - yes) / 2)

    support = Support(Judge(scoring(rule), FILE, "check"))
    (claim,), cost = await support.check([Claim(TEXTS[0], (1,))], TEXTS, "")
    assert claim.verdict == "weak"
    assert cost.calls == 4  # three of them calibrate, once


@pytest.mark.parametrize("text", ["", "It is.", "\u2026"])
async def test_a_sentence_without_a_word_is_supported_by_nothing_whatever_a_judge_says(text: str) -> None:
    (claim,), cost = await Support(Judge(answers("yes"), FILE, "check")).check([Claim(text, (1,))], ["1. It is."], "")
    assert (claim.verdict, cost.calls) == ("none", 0)


async def test_a_judge_without_scores_says_yes_or_no() -> None:
    model = answers("no")
    (claim,), _ = await Support(Judge(model, FILE, "check")).check([Claim(TEXTS[0], (1,))], TEXTS, "")
    assert (claim.score, claim.verdict) == (0.5, "weak")
    assert "Passage: The lease" in model.asked[0][-2][1]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Cats purr.", "Cats purr. "),
        ("Dogs and cats live long.", "Both, dogs and cats, may live long."),
        ("Nothing of that.", ""),
        ("", ""),
    ],
)
def test_the_nearest_sentence_is_the_one_that_shares_most_words(text: str, sentence: str) -> None:
    source = "Dogs bark. Cats purr. Both, dogs and cats, may live long."
    begin, end = nearest(text, source)
    assert source[begin:end] == sentence.strip()

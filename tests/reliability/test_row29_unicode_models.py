"""Row 29, models: any text goes through prompt and stream without an exception, and the stream is the whole answer."""

import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from phireside.errors import ContextOverflowError
from phireside.models import ChatGGUF
from phireside.models.engine import Vocabulary, clean
from phireside.models.engine.text import TextStream
from phireside.settings import Settings

Figure = Callable[[int, str], None]
TEXTS = {
    "a lone high surrogate": "a\ud800b",
    "a lone low surrogate": "\udfff",
    "a surrogate pair apart": "\ud83d\ude00",
    "two in wrong order": "\ude00\ud83d",
    "NUL": "a\0b\0",
    "only NUL": "\0",
    "controls": "".join(map(chr, range(32))) + "\x7f\x85\u2028\u2029",
    "right to left": "\u202eabc\u202c \u0634\u0644\u0648\u0645 \u05e9\u05dc\u05d5\u05dd",
    "zero width joiners": "👩\u200d👩\u200d👧\u200d👦 \u0645\u06cc\u200c\u062e",
    "composed": unicodedata.normalize("NFC", "Zoë Åström"),
    "decomposed": unicodedata.normalize("NFD", "Zoë Åström"),
    "a hundred accents": "e" + "\u0301" * 100,
    "beyond the first plane": "\U0001d518\U0001d52b 🧑🏽‍🚀 \U0010ffff",
    "noncharacters": "\ufdd0\ufdef\uffff\ufffe\ufeff",
    "flags and variations": "🇩🇪🏴\U000e0067\U000e0062\U000e007f ❤\ufe0f",
    "East Asian": "日本語のテキスト 한국어 中文",
    "nothing": "",
    "blanks": " \t\n\u00a0\u3000\u200b",
}


def model(name: str, settings: Settings, **options: object) -> ChatGGUF:
    return ChatGGUF(model=name, settings=settings, **{"temperature": 0, "max_tokens": 6, "seed": 1} | options)


def ask_both_ways(asked: ChatGGUF, text: str) -> tuple[str, str]:
    """(the whole answer, the joined stream) to a conversation that has the text in every place; one for the starter."""
    messages = [SystemMessage(text), HumanMessage(f"Say: {text}"), AIMessage(text), HumanMessage(text)]
    messages = messages[-1:] if asked.model == "starter" else messages
    asked.invoke(messages, max_tokens=1)  # from here on the same tokens are evaluated in the same way
    whole = asked.invoke(messages).text
    return whole, "".join(chunk.text for chunk in asked.stream(messages))


@pytest.mark.real
@pytest.mark.parametrize("which", ["starter", "tiny_phi3", "tiny_chatml"])
def test_the_joined_stream_is_the_whole_answer_whatever_the_text(
    which: str, request: pytest.FixtureRequest, settings: Settings, starter_path: Path, figure: Figure
) -> None:
    name = "starter" if which == "starter" else str(request.getfixturevalue(which))
    differing = []
    for what, text in TEXTS.items():
        whole, stream = ask_both_ways(model(name, settings), text)
        if whole != stream or whole != clean(whole):
            differing.append((what, whole, stream))
    figure(29, f"{which}: 0 exceptions, {len(differing)} unequal streams in {len(TEXTS)} cases")
    assert not differing


@pytest.mark.real
def test_noise_of_random_weights_streams_as_whole_characters(
    settings: Settings, tiny_phi3: Path, tiny_chatml: Path, figure: Figure
) -> None:
    """Random weights at a high temperature write bytes that are no UTF-8: the hardest case for a stream."""
    differing, broken = 0, 0
    for name in (tiny_phi3, tiny_chatml):
        for seed in range(10):
            hot = model(str(name), settings, temperature=50, top_k=0, top_p=1, min_p=0, seed=seed, max_tokens=60)
            hot.invoke("Hi", max_tokens=1)
            whole = hot.invoke("Hi").text
            differing += whole != "".join(chunk.text for chunk in hot.stream("Hi"))
            broken += "\ufffd" in whole
    figure(29, f"noise: {differing} unequal streams in 20, {broken} of them with broken UTF-8")
    assert not differing
    assert broken > 0  # else this would prove nothing


@pytest.mark.real
def test_a_line_of_a_megabyte_is_counted_and_refused_with_the_numbers(
    settings: Settings, starter_path: Path, figure: Figure
) -> None:
    asked = model("starter", settings)
    for line in ("word " * 200_000, "é" * 500_000, "<|im_end|>" * 100_000):
        count = asked.get_num_tokens_from_messages([HumanMessage(line)])
        assert count > 100_000
        with pytest.raises(ContextOverflowError, match=str(count)):
            asked.invoke(line)
    figure(29, "lines of 1 MB: 0 exceptions but the refusal with its numbers, in 3")


@pytest.mark.real
@hypothesis_settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet=st.characters(max_codepoint=0xFFFF, exclude_categories=["Cc"])))  # it lacks some bytes
def test_any_text_survives_the_starters_tokenizer(starter_vocabulary: Vocabulary, text: str) -> None:
    tokens = starter_vocabulary.tokenize(text, markers=False)
    assert b"".join(map(starter_vocabulary.piece, tokens)).decode() == clean(text)


@pytest.fixture(scope="module")
def starter_vocabulary(starter_path: Path) -> Vocabulary:
    return Vocabulary(starter_path)


@given(st.text(), st.lists(st.integers(0, 200)))
def test_bytes_cut_anywhere_join_to_the_same_text(text: str, cuts: list[int]) -> None:
    data = text.encode()
    stream = TextStream()
    borders = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    pieces = [stream.push(data[a:b]) for a, b in pairwise(borders)]
    assert "".join([*pieces, stream.finish()]) == text


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_clean_text_is_text_that_utf_8_can_carry_and_nothing_else_is_changed(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert clean(cleaned) == cleaned
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert cleaned == text

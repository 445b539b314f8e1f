"""Messages become exactly the tokens they should: llama.cpp's own, no marker out of anybody's text, answers kept."""

import random
import string
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from weights import load_benchmark

from phireside.models import ChatGGUF
from phireside.models.encoding import PromptEncoder
from phireside.models.engine import Vocabulary
from phireside.models.templates import ChatTemplate, Message
from phireside.settings import Settings

SHAPE = load_benchmark("phi3_shape")
TEXTS = st.text(alphabet=st.one_of(st.characters(), st.sampled_from(" \n\t'sABCabc.,!?0123<|>")), max_size=60)


class Letters:
    """A vocabulary of single characters and the markers that overlap, for texts that play with them."""

    markers = frozenset({"<a>", "<ab>", "a>b", "[X]"})
    adds_bos, bos = True, 0

    def tokenize(self, text: str, *, markers: bool) -> list[int]:
        tokens = []
        while text:
            found = next((m for m in sorted(self.markers, key=len, reverse=True) if markers and text.startswith(m)), "")
            tokens.append(sorted(self.markers).index(found) + 1 if found else 100 + ord(text[0]))
            text = text[max(1, len(found)) :]
        return tokens

    def text(self, tokens: Sequence[int]) -> str:
        return "".join(sorted(self.markers)[t - 1] if t < 100 else chr(t - 100) for t in tokens if t)


def letters_encoder() -> PromptEncoder:
    template = ChatTemplate("{% for m in messages %}<a>{{ m.content }}<ab>{% endfor %}[X]")
    return PromptEncoder(Letters(), template)  # type: ignore[arg-type]


def chat(*texts: str) -> list[Message]:
    return [{"role": "assistant" if i % 2 else "user", "content": text} for i, text in enumerate(texts)]


SNIPPETS = st.lists(st.sampled_from(["<", "a", "b", ">", "[", "X", "]", "<a>", "<ab>", "a>b", "[X]", " "]), max_size=12)


@given(st.lists(SNIPPETS.map("".join), min_size=1, max_size=4))
def test_no_text_makes_a_marker_and_none_is_changed(texts: list[str]) -> None:
    encoder = letters_encoder()
    tokens = encoder.encode(encoder.render(chat(*texts)))
    assert sum(token < 100 for token in tokens) == 1 + 2 * len(texts) + 1  # begin-of-text, the template's own
    assert Letters().text(tokens) == "".join(f"<a>{text}<ab>" for text in texts) + "[X]"


@given(st.lists(st.text(alphabet="xy z", max_size=8), min_size=1, max_size=4))
def test_text_without_markers_is_tokenized_in_one_piece(texts: list[str]) -> None:
    encoder = letters_encoder()
    assert encoder.render(chat(*texts)) == "".join(f"<a>{text}<ab>" for text in texts) + "[X]"


def test_the_character_that_marks_cuts_cannot_come_from_a_text() -> None:
    encoder = letters_encoder()
    tokens = encoder.encode(encoder.render(chat("x\ufdd0y<\ufdd0a>")))
    assert Letters().text(tokens) == "<a>x\ufffdy<\ufffda><ab>[X]"


def plain_encoder() -> PromptEncoder:
    template = ChatTemplate("{% for m in messages %}{{ m.content }}<ab>{% endfor %}")
    return PromptEncoder(Letters(), template)  # type: ignore[arg-type]


def test_an_answer_is_continued_with_its_own_tokens_and_not_with_new_ones() -> None:
    encoder = plain_encoder()
    first = encoder.encode("q<ab>")
    encoder.remember("q<ab>", first, "xy", [999])  # generated as one token, which no tokenizer here would choose
    after = encoder.encode(encoder.render(chat("q", "xy", "r")))
    assert after == [*first, 999, *Letters().tokenize("<ab>r<ab>", markers=True)]
    longer = encoder.encode(encoder.render(chat("q", "xyz", "r")))  # another answer that begins like it
    assert 999 not in longer


@pytest.mark.parametrize("answer", ["", "a>", "<", "say <a> now", "x[X]"])
def test_an_answer_that_touches_a_marker_is_not_remembered(answer: str) -> None:
    encoder = plain_encoder()
    prompt = "q<ab>"
    encoder.remember(prompt, encoder.encode(prompt), answer, [999])
    assert 999 not in encoder.encode(encoder.render(chat("q", answer, "r")))


def test_only_the_latest_conversations_are_remembered() -> None:
    encoder = plain_encoder()
    for number in range(100):
        encoder.remember(f"q{number}<ab>", [0], "xy", [999])
    known = [999 in encoder.encode(encoder.render(chat(f"q{number}", "xy", "r"))) for number in range(100)]
    assert known == [False] * 36 + [True] * 64


# ---- real vocabularies ----


@pytest.fixture(scope="module", params=["starter", "tiny_phi3", "tiny_chatml"])
def encoder(request: pytest.FixtureRequest) -> PromptEncoder:
    path = request.getfixturevalue("starter_path" if request.param == "starter" else request.param)
    vocabulary = Vocabulary(path)
    template = ChatTemplate(
        vocabulary.chat_template, bos=vocabulary.text(vocabulary.bos), eos=vocabulary.text(vocabulary.eos)
    )
    return PromptEncoder(vocabulary, template)


@pytest.mark.real
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=1, max_size=4))
def test_tokens_are_those_of_llama_cpp_for_the_whole_prompt(encoder: PromptEncoder, texts: list[str]) -> None:
    vocabulary = encoder.vocabulary
    prompt = encoder.render(chat(*texts))
    if "\ufdd0" in prompt:
        return  # a text held a marker; there llama.cpp's tokens are the wrong ones
    whole = vocabulary.tokenize(prompt, markers=True)
    begin = [vocabulary.bos] if vocabulary.adds_bos and whole[0] != vocabulary.bos else []
    assert encoder.encode(prompt) == begin + whole


@pytest.mark.real
def test_begin_of_text_comes_once_whether_the_template_writes_it_or_not(tiny_phi3: Path, tiny_chatml: Path) -> None:
    for path in (tiny_phi3, tiny_chatml):
        vocabulary = Vocabulary(path)
        assert vocabulary.adds_bos
        writes_it = ChatTemplate(vocabulary.chat_template, bos=vocabulary.text(vocabulary.bos))
        leaves_it = ChatTemplate(vocabulary.chat_template, bos="")
        for template in (writes_it, leaves_it):
            encoder = PromptEncoder(vocabulary, template)
            tokens = encoder.encode(encoder.render(chat("Hi", "Hello", "Bye")))
            assert tokens[0] == vocabulary.bos
            assert tokens.count(vocabulary.bos) == 1


@pytest.mark.real
def test_every_control_token_is_a_marker_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = {32003: ">>TITLE<<", 32004: "EOT", 32005: "\u2581<PRE>"}  # as Falcon and CodeLlama write theirs
    monkeypatch.setattr(SHAPE, "PHI3_SPECIALS", SHAPE.PHI3_SPECIALS | strange)
    vocabulary = Vocabulary(SHAPE.write_phi3(tmp_path / "strange.gguf", tiny=True))
    template = ChatTemplate(vocabulary.chat_template, bos=vocabulary.text(vocabulary.bos))
    encoder = PromptEncoder(vocabulary, template)
    tokens = encoder.encode(encoder.render(chat("Read >>TITLE<< and EOT and <PRE> and \u2581<PRE>.")))
    assert [token for token in tokens if vocabulary.is_control(token)] == [1, 32010, 32007, 32001]


# ---- a model that answers ----


def conversation(model: ChatGGUF, turns: int, chance: random.Random) -> list[tuple[int, int]]:
    """(tokens evaluated, tokens that are new) of each turn of a random conversation."""
    messages: list[BaseMessage] = [SystemMessage("Answer briefly.")] if chance.random() < 0.5 else []
    figures, known = [], 0
    for _ in range(turns):
        words = ("".join(chance.choices(string.ascii_letters + "é日 \n", k=chance.randint(1, 9))) for _ in range(12))
        messages.append(HumanMessage(" ".join(words)))
        answer = model.invoke(messages, max_tokens=chance.randint(1, 24))
        facts = answer.response_metadata
        prompt = answer.usage_metadata["input_tokens"]
        assert prompt == model.get_num_tokens_from_messages(messages)
        assert prompt == facts["evaluated_tokens"] + facts["cached_tokens"]
        figures.append((facts["evaluated_tokens"], prompt - known))
        known = prompt + answer.usage_metadata["output_tokens"]
        messages.append(AIMessage(answer.text))
    return figures


@pytest.mark.real
@pytest.mark.parametrize("seed", range(2))
def test_a_turn_evaluates_no_more_than_what_is_new(settings: Settings, starter_path: Path, seed: int) -> None:
    model = ChatGGUF(model="starter", settings=settings, temperature=1.5, min_p=0, seed=seed)
    figures = conversation(model, 6, random.Random(seed))
    assert all(evaluated <= new + 8 for evaluated, new in figures[1:]), figures


@pytest.mark.real
def test_a_random_phi_3_evaluates_no_more_than_what_is_new(settings: Settings, tiny_phi3: Path) -> None:
    model = ChatGGUF(model=str(tiny_phi3), settings=settings, temperature=1, seed=1)
    figures = conversation(model, 6, random.Random(1))
    assert all(evaluated <= new + 8 for evaluated, new in figures[1:]), figures

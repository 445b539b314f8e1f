"""Row 29, the conversation store's part: any text comes back equal, or with U+FFFD where it was no valid text."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from langchain_core.messages import AIMessage, HumanMessage
from nasty import NASTY, any_text, expected

from phireside.memory import ConversationStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConversationStore]:
    store = ConversationStore(f"sqlite:///{tmp_path_factory.mktemp('unicode') / 'conversations.db'}")
    yield store
    store.close()


def round_trip(store: ConversationStore, text: str) -> None:
    """Through title, options, content, blocks, names, metadata, search and exports."""
    made = store.create(text, note=text, **{"k" + text: 1})
    question = HumanMessage(text, additional_kwargs={text: text})
    answer = AIMessage([{"type": "text", "text": text}, text], name=text, response_metadata={"x": [text]})
    store.save_turn(made.id, [question, answer])
    clean = expected(text)
    first, second = store.messages(made.id)
    assert (first.content, first.additional_kwargs) == (clean, {clean: clean})
    assert second.content == [{"type": "text", "text": clean}, clean]
    assert (second.name, second.response_metadata) == (clean, {"x": [clean]})
    kept = store.get(made.id)
    assert kept.options == {"note": clean, "k" + clean: 1}
    title = " ".join(clean.replace("\0", "\ufffd").split())[:200]
    assert kept.title == title
    assert made.id in {c.id for c in store.list(text)}
    store.export_json(made.id).encode()
    assert clean.strip() in store.export_markdown(made.id)
    store.delete(made.id)


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:12]))
def test_nasty_texts_come_back_equal_or_cleanly_replaced(store: ConversationStore, text: str) -> None:
    round_trip(store, text)


@pytest.mark.parametrize("examples", [100, pytest.param(3000, marks=pytest.mark.slow)])
def test_any_text_comes_back_equal_or_cleanly_replaced(
    store: ConversationStore, figure: Callable[[int, str], None], examples: int
) -> None:
    cases = 0

    @settings(deadline=None, max_examples=examples)
    @given(text=any_text)
    def check(text: str) -> None:
        nonlocal cases
        round_trip(store, text)
        cases += 1

    check()
    figure(29, f"conversation store: 0 exceptions, 0 inequalities in {cases} random texts")


@pytest.mark.parametrize("query", ["CAFÉ", "cafe\u0301", "STRASSE", "straße", "οδός", "ΟΔΌΣ"])
def test_the_search_is_blind_to_case_and_composition(store: ConversationStore, query: str) -> None:
    made = store.create()
    store.save_turn(made.id, [HumanMessage("Café in der Straße, ΟΔΌΣ")])
    assert made.id in {c.id for c in store.list(query)}
    store.delete(made.id)

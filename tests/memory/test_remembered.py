"""Long-term facts: kept once, found, corrected, forgotten, and never learned while the person does not want it."""

import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from phireside.errors import ConversationNotFoundError, RequestError, StoreError
from phireside.memory import ConversationStore, MemoryState
from phireside.memory.remembered import LONGEST, MOST

ZOE, BORN, CATS = "My name is Zoë.", "I was born in 1984.", "I have two cats."


@pytest.fixture
def conversation(store: ConversationStore) -> str:
    """Whose messages 0 and 2 state something."""
    made = store.create()
    store.save_turn(made.id, [HumanMessage(f"{ZOE} {BORN}"), AIMessage("Hello.")])
    store.save_turn(made.id, [HumanMessage(CATS), AIMessage("Nice.")])
    return made.id


def texts(store: ConversationStore, query: str = "") -> list[str]:
    return [fact.text for fact in store.facts.list(query)]


# ---- kept, found ----


def test_a_fact_is_there_again_in_another_store_with_the_message_that_states_it(
    store: ConversationStore, conversation: str, url: str
) -> None:
    added = store.facts.add(conversation, 0, [ZOE, BORN])
    store.close()
    again = ConversationStore(url)
    assert again.facts.list() == added[::-1]  # newest first
    assert [(fact.conversation_id, fact.position, fact.source, fact.edited) for fact in added] == [
        (conversation, 0, f"{ZOE} {BORN}", False)
    ] * 2
    again.close()


def test_what_is_known_already_is_not_added_again(store: ConversationStore, conversation: str) -> None:
    (fact,) = store.facts.add(conversation, 0, [ZOE, "my  NAME is\nzoë", " "])
    assert store.facts.add(conversation, 2, [ZOE.upper()]) == []
    assert store.facts.list() == [fact]


def test_any_text_can_be_kept_in_one_line_of_bounded_length(store: ConversationStore, conversation: str) -> None:
    odd = "I like \x00 \ud800 '; DROP TABLE facts; --\n👩‍👩‍👧"
    long = "I " + "ä" * 1000
    first, second = store.facts.add(conversation, 0, [odd, long])
    assert first.text == "I like \ufffd \ufffd '; DROP TABLE facts; -- 👩‍👩‍👧"
    assert len(second.text) == LONGEST
    assert store.facts.edit(first.id, odd + "!").text == first.text + "!"
    with pytest.raises(StoreError):
        store.facts.edit("\x00\ud800", "x")
    store.facts.forget("\x00\ud800")


@given(st.lists(st.text(max_size=20), max_size=8), st.text(max_size=12))
@settings(max_examples=40, deadline=None)  # each makes a database
def test_whatever_is_said_each_fact_is_there_once_and_every_search_is_true(said: list[str], query: str) -> None:
    with TemporaryDirectory() as folder:
        store = ConversationStore(f"sqlite:///{folder}/chat.db")
        made = store.create()
        store.save_turn(made.id, [HumanMessage("Source of all."), AIMessage("")])
        for text in said:
            store.facts.add(made.id, 0, [text])
            assert store.facts.add(made.id, 0, [text, f"  {text}\n"]) == []
        kept = store.facts.list()
        assert len({fact.text for fact in kept}) == len(kept) <= len(said)
        assert set(store.facts.list(query)) <= set(kept)
        for fact in kept:
            assert fact in store.facts.list(fact.text)
            assert fact in store.facts.list("OF sour")  # the source is searched too
        store.close()


def test_a_search_wants_every_word_anywhere(store: ConversationStore, conversation: str) -> None:
    store.facts.add(conversation, 0, [ZOE, BORN])
    store.facts.add(conversation, 2, [CATS])
    assert texts(store, "ZOË 1984") == [BORN, ZOE]  # one in the text, one in the source
    assert texts(store, "cat") == [CATS]
    assert texts(store, "cat 1984") == []
    assert [fact.text for fact in store.facts.list(limit=1)] == [CATS]
    assert texts(store, " ".join(["zo"] * 5000)) == [BORN, ZOE]


def test_a_full_list_takes_nothing_more_until_something_is_forgotten(
    store: ConversationStore, conversation: str
) -> None:
    assert len(store.facts.add(conversation, 0, [f"Fact {i}." for i in range(MOST + 5)])) == MOST
    assert store.facts.add(conversation, 0, [ZOE]) == []
    store.facts.forget(store.facts.list()[0].id)
    assert [fact.text for fact in store.facts.add(conversation, 0, [ZOE, BORN])] == [ZOE]


# ---- corrected and forgotten ----


def test_a_correction_is_marked_and_reaches_the_lists_of_summaries(store: ConversationStore, conversation: str) -> None:
    store.save_memory_state(conversation, MemoryState("S", ("my name is Zoë", "I was Zoë."), 2))
    (fact,) = store.facts.add(conversation, 0, [ZOE])
    edited = store.facts.edit(fact.id, " My name is\nZoe. ")
    assert (edited.text, edited.edited, edited.id, edited.source) == ("My name is Zoe.", True, fact.id, fact.source)
    assert store.facts.list() == [edited]
    assert store.memory_state(conversation).facts == ("My name is Zoe.", "I was Zoë.")


def test_a_correction_that_cannot_be_made_changes_nothing(store: ConversationStore, conversation: str) -> None:
    zoe, born = store.facts.add(conversation, 0, [ZOE, BORN])
    for nothing in (" \n", "..."):
        with pytest.raises(RequestError, match="needs a text"):
            store.facts.edit(zoe.id, nothing)
    with pytest.raises(StoreError, match="says the same"):
        store.facts.edit(zoe.id, BORN.upper())
    with pytest.raises(StoreError, match="no fact"):
        store.facts.edit("nobody", "x")
    assert store.facts.list() == [born, zoe]
    assert store.facts.edit(zoe.id, ZOE.upper()).text == ZOE.upper()  # the same, but written otherwise, is one


def test_what_is_forgotten_is_in_no_list_any_more(store: ConversationStore, conversation: str) -> None:
    store.save_memory_state(conversation, MemoryState("S", ("My name is ZOË!", BORN), 2))
    store.save_memory_state(conversation, MemoryState("S", ("My name is ZOË!", CATS), 4))
    zoe, _ = store.facts.add(conversation, 0, [ZOE, BORN])
    store.facts.forget(zoe.id)
    store.facts.forget(zoe.id)  # in another tab
    assert texts(store) == [BORN]
    assert store.memory_state(conversation).facts == (CATS,)
    assert store.memory_state(conversation, at=2).facts == (BORN,)
    assert store.facts.forget_all() == 1
    assert store.facts.list() == []
    assert store.memory_state(conversation, at=2).facts == ()
    assert store.memory_state(conversation).facts == (CATS,)  # nobody had asked to remember that
    assert store.messages(conversation)[0].text == f"{ZOE} {BORN}"


def test_those_who_keep_prompts_are_told_before_and_after(store: ConversationStore, conversation: str) -> None:
    store.facts.switch(True)
    other, heard = store.create().id, []
    zoe, born = store.facts.add(conversation, 0, [ZOE, BORN])
    store.facts.choose(conversation, [zoe, born])
    store.facts.choose(other, [born])
    store.facts.watch(lambda conversations: heard.append((conversations, len(store.facts.list()))))
    store.facts.edit(zoe.id, "My name is Zoe.")
    store.facts.forget(born.id)
    store.facts.forget_all()
    both = frozenset({conversation, other})
    assert heard == [(frozenset({conversation}), 2)] * 2 + [(both, 2), (both, 1), (both, 1), (both, 0)]


# ---- sources ----


def test_a_deleted_conversation_leaves_its_facts_without_source_and_pointer(
    store: ConversationStore, conversation: str
) -> None:
    store.facts.add(conversation, 0, [ZOE])
    store.delete(conversation)
    (fact,) = store.facts.list()
    assert (fact.text, fact.conversation_id, fact.position, fact.source) == (ZOE, None, None, "")
    assert store.facts.list("1984") == []
    other = store.create().id
    store.save_turn(other, [HumanMessage("Again: " + ZOE), AIMessage("Yes.")])
    assert store.facts.add(other, 0, [ZOE]) == []
    (again,) = store.facts.list()
    assert (again.id, again.conversation_id, again.source) == (fact.id, other, "Again: " + ZOE)


@pytest.mark.parametrize(("at", "new", "sources"), [
    (0, "I am Ann.", ["", ""]),  # the first message is another one, and the third is gone
    (2, "I have one dog.", ["", f"{ZOE} {BORN}"]),
    (2, CATS, [CATS, f"{ZOE} {BORN}"]),  # asked again (regenerate)
    (4, "More.", [CATS, f"{ZOE} {BORN}"]),
])  # fmt: skip
def test_a_fact_outlives_its_message_but_never_points_at_another_one(
    store: ConversationStore, conversation: str, at: int, new: str, sources: list[str]
) -> None:
    store.facts.add(conversation, 0, [ZOE])
    store.facts.add(conversation, 2, [CATS])
    store.save_turn(conversation, [HumanMessage(new), AIMessage("Well.")], at=at)
    store.save_turn(conversation, [HumanMessage("What?"), AIMessage("Well.")])  # where an older one stood
    assert [fact.source for fact in store.facts.list()] == sources
    assert [fact.conversation_id for fact in store.facts.list()] == [conversation] * 2
    assert [fact.position is None for fact in store.facts.list()] == [source == "" for source in sources]


# ---- learning ----


def test_nothing_is_learned_or_told_while_it_is_off(store: ConversationStore, conversation: str) -> None:
    as_of = store.get(conversation).updated_at
    (fact,) = store.facts.add(conversation, 0, [ZOE])
    assert not store.facts.enabled
    assert store.facts.unheard(conversation) == []
    assert store.facts.learned(conversation, 0, [BORN], as_of=as_of) == []
    assert store.facts.choose(conversation, [fact]) == store.facts.chosen(conversation) == []
    store.facts.switch(True)
    assert store.facts.chosen(conversation) is None
    assert store.facts.choose(conversation, [fact]) == [fact]
    store.facts.switch(False)
    assert store.facts.chosen(conversation) == []
    store.facts.switch(True)
    assert store.facts.chosen(conversation) == [fact]


def test_what_was_said_while_it_was_off_is_never_looked_at(store: ConversationStore, conversation: str) -> None:
    store.facts.switch(True)
    new = store.create().id
    store.save_turn(new, [SystemMessage("I am no person."), HumanMessage("One."), AIMessage("I am an AI.")])
    store.save_turn(conversation, [HumanMessage("One."), AIMessage("1")])
    assert store.facts.unheard(new) == [(1, "One.")]
    assert store.facts.unheard(conversation) == [(4, "One.")]
    store.facts.switch(True)  # again: nothing is passed over
    assert store.facts.unheard(conversation) == [(4, "One.")]
    store.facts.switch(False)
    store.save_turn(conversation, [HumanMessage("Two."), AIMessage("2")])
    store.facts.switch(True)
    assert store.facts.unheard(conversation) == store.facts.unheard(new) == []


def test_each_message_is_looked_at_once_and_one_that_changed_again(store: ConversationStore) -> None:
    store.facts.switch(True)
    made = store.create().id
    store.save_turn(made, [HumanMessage(ZOE), AIMessage("a")])
    store.save_turn(made, [HumanMessage(BORN), AIMessage("b")])
    as_of = store.get(made).updated_at
    assert [fact.text for fact in store.facts.learned(made, 0, [ZOE], as_of=as_of)] == [ZOE]
    assert store.facts.unheard(made) == [(2, BORN)]
    store.facts.learned(made, 2, [], as_of=as_of)
    assert store.facts.unheard(made) == []
    store.save_turn(made, [HumanMessage(BORN), AIMessage("other")], at=2)  # regenerate: what was forgotten stays so
    assert store.facts.unheard(made) == []
    store.save_turn(made, [HumanMessage(CATS), AIMessage("c")], at=2)
    assert store.facts.unheard(made) == [(2, CATS)]
    with pytest.raises(StoreError, match="changed"):
        store.facts.learned(made, 2, [BORN], as_of=as_of)
    assert texts(store) == [ZOE]


def test_a_conversation_that_is_gone_is_an_error_and_nothing_is_kept(store: ConversationStore) -> None:
    store.facts.switch(True)
    for call in (store.facts.unheard, store.facts.chosen):
        with pytest.raises(ConversationNotFoundError):
            call("nobody")
    with pytest.raises(ConversationNotFoundError):
        store.facts.add("nobody", 0, [ZOE])
    assert store.facts.list() == []


# ---- choices ----


def test_a_choice_stays_until_it_is_made_again_and_shows_facts_as_they_are(
    store: ConversationStore, conversation: str
) -> None:
    store.facts.switch(True)
    zoe, born = store.facts.add(conversation, 0, [ZOE, BORN])
    other = store.create().id
    assert store.facts.choose(other, [zoe]) == [zoe]
    assert store.facts.choose(other, [born, zoe]) == [zoe]
    assert store.facts.choose(other, [born, zoe], again=True) == store.facts.chosen(other) == [born, zoe]
    edited = store.facts.edit(zoe.id, "I am Zoe.")
    assert store.facts.chosen(other) == [born, edited]
    store.facts.forget(born.id)
    assert store.facts.choose(other, [zoe, born], again=True) == [edited]
    store.delete(other)


# ---- many at once ----


def test_many_threads_and_two_stores_keep_each_fact_once(store: ConversationStore, url: str) -> None:
    store.facts.switch(True)
    stores, faults = [store, ConversationStore(url)], []
    wanted = [f"Fact {i}." for i in range(6)]

    def work(number: int) -> None:
        mine = stores[number % 2]
        try:
            made = mine.create().id
            mine.save_turn(made, [HumanMessage(ZOE), AIMessage("")])
            for text in wanted:
                mine.facts.add(made, 0, [text, f"Only of {number}: {text}"])
                mine.save_memory_state(made, MemoryState("S", (text, f"Only of {number}: {text}"), 2))
                for fact in mine.facts.list(f"only {number}"):
                    mine.facts.choose(made, [fact], again=True)
                    mine.facts.forget(fact.id)
                mine.save_turn(made, [HumanMessage(text), AIMessage("")], at=0)
            mine.facts.switch(True)
            mine.delete(made)
        except Exception as error:  # noqa: BLE001 (it would only end the thread)
            faults.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert sorted(texts(store)) == wanted
    assert [fact.source for fact in store.facts.list()] == [""] * len(wanted)
    stores[1].close()


# ---- forgotten bytes ----


@pytest.fixture
def data(tmp_path: Path) -> Iterator[tuple[Path, ConversationStore]]:
    """A folder and a store with a file in it."""
    store = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    yield tmp_path, store
    store.close()


def found(folder: Path, secret: str) -> list[str]:
    """The files that have the bytes of a text."""
    return [path.name for path in sorted(folder.rglob("*")) if path.is_file() and secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("seed", range(2))
def test_the_bytes_of_a_forgotten_fact_are_in_no_file(data: tuple[Path, ConversationStore], seed: int) -> None:
    folder, store = data
    made = store.create().id
    store.save_turn(made, [HumanMessage("Hello."), AIMessage("Hi.")])
    secrets = [f"Pincode {seed}{i:03}" + " geheim" * (i % 40) for i in range(120)]
    kept = {fact.text: fact for fact in reversed(store.facts.add(made, 0, secrets))}
    store.save_memory_state(made, MemoryState("S", (secrets[0], secrets[7]), 2))
    assert "chat.db-wal" in found(folder, secrets[7])
    gone = secrets[seed::3]
    for text in gone[:10]:
        store.facts.edit(kept[text].id, f"Corrected {text[8:12]}")
    for text in gone[10:]:
        store.facts.forget(kept[text].id)
    assert {secret: files for secret in gone if (files := found(folder, secret[1:12]))} == {}
    assert found(folder, secrets[seed + 1])  # the test can see what is there
    store.facts.forget_all()
    assert found(folder, "incode ") == []


def test_a_reader_of_another_program_delays_that_and_is_told(
    data: tuple[Path, ConversationStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = data
    monkeypatch.setattr("phireside.memory.database.SCRUB_SECONDS", 0.05)
    hasty, other = (
        ConversationStore(f"sqlite:///{folder / 'chat.db'}"),
        ConversationStore(f"sqlite:///{folder}/chat.db"),
    )
    made = hasty.create().id
    (fact,) = hasty.facts.add(made, 0, ["Pincode 4711"])
    with other._database.reading() as connection:
        connection.exec_driver_sql("SELECT * FROM facts").all()
        with pytest.raises(StoreError, match="still has its bytes"):
            hasty.facts.forget(fact.id)
        assert hasty.facts.list() == []
    hasty.facts.forget(fact.id)
    assert found(folder, "Pincode") == []
    hasty.close()
    other.close()

"""The contract of `ConversationStore`, on SQLite and on PostgreSQL alike."""

import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata
from sqlalchemy import create_engine, text

from phireside.errors import ConversationNotFoundError, StoreError
from phireside.memory import ConversationStore, MemoryState
from phireside.memory.schema import SCHEMA_VERSION

CALL = {"name": "clock", "args": {"zone": "Europe/Rome"}, "id": "call_1", "type": "tool_call"}
USAGE: UsageMetadata = {
    "input_tokens": 3,
    "output_tokens": 2,
    "total_tokens": 5,
    "input_token_details": {"cache_read": 1},
}
EVERY_KIND: list[BaseMessage] = [
    SystemMessage("Be kind."),
    HumanMessage("What time is it?", name="ann", id="m1"),
    AIMessage("", tool_calls=[CALL], additional_kwargs={"x": [1, None]}),
    ToolMessage("12:00", tool_call_id="call_1", name="clock", status="error", artifact={"raw": 12.0}),
    AIMessage(
        "Noon.",
        usage_metadata=USAGE,
        response_metadata={"model_name": "starter", "finish_reason": "stop", "tokens_per_second": 12.5},
    ),
    HumanMessage([{"type": "text", "text": "and this?"}, {"type": "image_url", "image_url": {"url": "data:,"}}, "end"]),
]


def turn(question: str, answer: str = "Answer.") -> list[BaseMessage]:
    return [HumanMessage(question), AIMessage(answer)]


def texts(store: ConversationStore, conversation_id: str) -> list[str]:
    return [message.text for message in store.messages(conversation_id)]


def test_a_new_conversation_keeps_its_title_options_and_time(store: ConversationStore) -> None:
    made = store.create("Trip", model="phi-3", temperature=0.5, stops=["a", None], preset={"top_p": 1})
    assert store.get(made.id) == made
    assert made.title == "Trip"
    assert made.options == {"model": "phi-3", "temperature": 0.5, "stops": ["a", None], "preset": {"top_p": 1}}
    assert made.created_at == made.updated_at
    assert abs((datetime.now(UTC) - made.created_at).total_seconds()) < 3600
    assert store.messages(made.id) == []


def test_every_kind_of_message_comes_back_equal(store: ConversationStore) -> None:
    made = store.create()
    store.save_turn(made.id, EVERY_KIND)
    assert store.messages(made.id) == EVERY_KIND


def test_turns_are_still_there_in_order_in_a_second_store(store: ConversationStore, url: str) -> None:
    made = store.create()
    for number in range(5):
        store.save_turn(made.id, turn(f"q{number}", f"a{number}"))
    store.close()
    again = ConversationStore(url)
    assert texts(again, made.id) == [f"{who}{number}" for number in range(5) for who in "qa"]
    again.close()


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0, ["new", "!"]),
        (2, ["q0", "a0", "new", "!"]),
        (3, ["q0", "a0", "q1", "new", "!"]),
        (4, ["q0", "a0", "q1", "a1", "new", "!"]),
    ],
)
def test_saving_at_a_position_replaces_everything_from_there_on(
    store: ConversationStore, at: int, expected: list[str]
) -> None:
    made = store.create()
    store.save_turn(made.id, turn("q0", "a0") + turn("q1", "a1"))
    store.save_turn(made.id, turn("new", "!"), at=at)
    assert texts(store, made.id) == expected
    store.save_turn(made.id, turn("next", "."))
    assert texts(store, made.id) == [*expected, "next", "."]


@pytest.mark.parametrize("at", [-1, 3, 10**30])
def test_a_position_outside_of_the_conversation_is_refused_with_the_numbers(store: ConversationStore, at: int) -> None:
    made = store.create()
    store.save_turn(made.id, turn("q0", "a0"))
    with pytest.raises(StoreError, match=rf"position {at}.* 2 messages"):
        store.save_turn(made.id, turn("new"), at=at)
    assert texts(store, made.id) == ["q0", "a0"]


def test_a_turn_that_cannot_be_saved_leaves_everything_as_it_was(store: ConversationStore) -> None:
    made = store.create()
    store.save_turn(made.id, turn("q0", "a0"))
    before = store.get(made.id)
    bad: list[list[BaseMessage]] = [
        [HumanMessage("new"), ChatMessage("?", role="critic")],
        [HumanMessage("new", additional_kwargs={"number": 10**5000})],
    ]
    for messages in bad:
        with pytest.raises(StoreError) as caught:
            store.save_turn(made.id, messages, at=0)
        assert caught.value.hint
    assert texts(store, made.id) == ["q0", "a0"]
    assert store.get(made.id) == before


def test_a_streamed_chunk_is_saved_as_a_whole_message(store: ConversationStore) -> None:
    made = store.create()
    store.save_turn(made.id, [AIMessageChunk("Hel") + AIMessageChunk("lo", chunk_position="last")])
    (message,) = store.messages(made.id)
    assert type(message) is AIMessage
    assert message.content == "Hello"


def test_values_that_json_lacks_become_the_nearest_ones(store: ConversationStore) -> None:
    made = store.create()
    odd = {"nan": float("nan"), "pair": (1, 2), "when": datetime(2026, 1, 2, tzinfo=UTC), 3: "number as key"}
    store.save_turn(made.id, [AIMessage("x", response_metadata=odd)])
    assert store.messages(made.id)[0].response_metadata == {
        "nan": None,
        "pair": [1, 2],
        "when": "2026-01-02 00:00:00+00:00",
        "3": "number as key",
    }


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("  What is\n\n a   quine? ", "What is a quine?"),
        ("word " * 30, "word word word word word word word word word word word word…"),
        ("x" * 61, "x" * 60 + "…"),
        ("x" * 60, "x" * 60),
        ("short " + "x" * 80, "short " + "x" * 54 + "…"),
        ("雪" * 100, "雪" * 60 + "…"),
        (" \n ", ""),
    ],
)
def test_the_default_title_is_the_first_question_cut_at_a_word(
    store: ConversationStore, question: str, title: str
) -> None:
    made = store.create()
    store.save_turn(made.id, [SystemMessage("System."), *turn(question)])
    assert store.get(made.id).title == title


def test_a_given_title_stays_and_an_emptied_one_becomes_the_default(store: ConversationStore) -> None:
    made = store.create("Mine")
    store.save_turn(made.id, turn("First question"))
    assert store.get(made.id).title == "Mine"
    store.rename(made.id, "  Another\nname ")
    assert store.get(made.id).title == "Another name"
    store.rename(made.id, "")
    assert store.get(made.id).title == "First question"
    store.rename(made.id, "y" * 5000)
    assert store.get(made.id).title == "y" * 200


def test_options_are_set_one_by_one(store: ConversationStore) -> None:
    made = store.create(model="starter", system="Be kind.")
    store.set_options(made.id, model="phi-3", seed=7)
    assert store.get(made.id).options == {"model": "phi-3", "system": "Be kind.", "seed": 7}


def test_the_list_has_the_newest_turn_first_and_a_limit(store: ConversationStore) -> None:
    first, second, third = (store.create(name) for name in ("first", "second", "third"))
    assert [c.title for c in store.list()] == ["third", "second", "first"]
    store.save_turn(first.id, turn("hello"))
    store.rename(second.id, "renamed")
    assert [c.id for c in store.list()] == [first.id, third.id, second.id]
    assert [c.id for c in store.list(limit=1)] == [first.id]


def test_a_deleted_conversation_is_gone_with_its_messages(store: ConversationStore, url: str) -> None:
    made, other = store.create("gone"), store.create("stays")
    store.save_turn(made.id, turn("find me"))
    store.save_turn(other.id, turn("other"))
    store.delete(made.id)
    assert [c.id for c in store.list()] == [other.id]
    assert store.list("find me") == []
    engine = create_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM messages")) == 2
    engine.dispose()


@pytest.mark.parametrize("unknown", ["", "0" * 32, "'; DROP TABLE messages; --", "a\0b", "\ud800", "%", "x" * 10_000])
def test_an_unknown_id_is_not_found_by_any_method(store: ConversationStore, unknown: str) -> None:
    made = store.create("there")
    calls: list[Callable[[], object]] = [
        lambda: store.get(unknown),
        lambda: store.messages(unknown),
        lambda: store.save_turn(unknown, turn("q")),
        lambda: store.rename(unknown, "t"),
        lambda: store.set_options(unknown, a=1),
        lambda: store.delete(unknown),
        lambda: store.export_json(unknown),
        lambda: store.export_markdown(unknown),
    ]
    for call in calls:
        with pytest.raises(ConversationNotFoundError) as caught:
            call()
        assert caught.value.hint
    assert store.list() == [made]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", {"trip", "street", "signs"}),
        ("  ", {"trip", "street", "signs"}),
        ("TRIP", {"trip"}),
        ("straße", {"street"}),
        ("STRASSE", {"street"}),
        ("ÉCOLE", {"street"}),
        ("e\u0301cole", {"street"}),
        ("ΟΔΌΣ", {"street"}),
        ("two lines", {"trip"}),
        ("100%", {"signs"}),
        ("%", {"signs"}),
        ("_", {"signs"}),
        ("\\", {"signs"}),
        ("'", {"signs"}),
        ('"', {"signs"}),
        ("a%c", set()),
        ("' OR 1=1 --", set()),
        ("x" * 100_000, set()),
        ("\ud800", set()),
        ("in a block", {"signs"}),
        ("tool said", {"signs"}),
    ],
)
def test_the_search_finds_text_and_nothing_but_text(store: ConversationStore, query: str, found: set[str]) -> None:
    store.save_turn(store.create("trip").id, turn("Where to?", "To Rome, in two\n  lines."))
    store.save_turn(store.create("street").id, turn("Lange Straße, école", "οδός"))
    signs = [*turn("abc 100% snake_case \\ ' \"", "ok"), HumanMessage([{"type": "text", "text": "in a block"}])]
    store.save_turn(store.create("signs").id, [*signs, ToolMessage("The tool said so.", tool_call_id="1")])
    assert {c.title for c in store.list(query)} == found


def test_a_replaced_message_is_no_longer_found(store: ConversationStore) -> None:
    made = store.create("talk")
    store.save_turn(made.id, turn("giraffe"))
    store.save_turn(made.id, turn("zebra"), at=0)
    assert store.list("giraffe") == []
    assert [c.id for c in store.list("zebra")] == [made.id]


def test_the_json_export_has_everything(store: ConversationStore) -> None:
    made = store.create("Trip to Ω", system="Be kind.")
    store.save_turn(made.id, EVERY_KIND)
    data = json.loads(store.export_json(made.id))
    kept = store.get(made.id)
    assert data["title"] == "Trip to Ω"
    assert data["options"] == {"system": "Be kind."}
    assert datetime.fromisoformat(data["updated_at"]) == kept.updated_at
    assert [record["type"] for record in data["messages"]] == ["system", "human", "ai", "tool", "ai", "human"]
    assert AIMessage(**data["messages"][4]["data"]) == EVERY_KIND[4]
    assert data["memory"] is None
    store.save_memory_state(made.id, MemoryState("They met.", ("The Human is Ω.",), 2))
    memory = json.loads(store.export_json(made.id))["memory"]
    assert memory == {"summary": "They met.", "facts": ["The Human is Ω."], "covered": 2}


def test_the_markdown_export_reads_well(store: ConversationStore) -> None:
    made = store.create("Half *a* story", model="starter", system="Be kind.")
    code = "Here:\n\n```python\nprint('```')\n```\n\nDone."
    stopped = AIMessage("Once upon", response_metadata={"finish_reason": "cancelled"})
    store.save_turn(made.id, [*turn("Code?", code), HumanMessage("A story"), stopped])
    text = store.export_markdown(made.id)
    date = re.escape(store.get(made.id).created_at.strftime("%Y-%m-%d %H:%M UTC"))
    assert text.startswith("# Half \\*a\\* story\n")
    assert re.search(rf"^\*{date} · model starter · 4 messages\*$", text, re.MULTILINE)
    assert text.endswith(
        f"## System\n\nBe kind.\n\n## You\n\nCode?\n\n## Assistant\n\n{code}\n\n"
        "## You\n\nA story\n\n## Assistant\n\nOnce upon\n\n*(stopped)*\n"
    )


@pytest.mark.parametrize(
    ("text", "closed_by"),
    [
        ("```python\nx = 1", "\n```"),
        ("~~~\nx\n```", "\n~~~"),
        ("````md\n```\nx\n```", "\n````"),
        ("```\nx\n```", ""),
        ("```\nx\n`````", ""),
        ("``` not a fence ` because of this\nx", ""),
        ("    ```\nan indented one is text", ""),
        ("no code", ""),
    ],
)
def test_a_code_fence_left_open_by_a_stopped_answer_is_closed(
    store: ConversationStore, text: str, closed_by: str
) -> None:
    made = store.create()
    store.save_turn(made.id, [AIMessage(text, response_metadata={"finish_reason": "cancelled"})])
    assert f"## Assistant\n\n{text}{closed_by}\n\n*(stopped)*\n" in store.export_markdown(made.id)


def test_the_markdown_export_shows_tools_and_names_what_it_leaves_out(store: ConversationStore) -> None:
    made = store.create()
    store.save_turn(made.id, [*EVERY_KIND, ToolMessage("a ``` fence", tool_call_id="2")])
    text = store.export_markdown(made.id)
    assert 'Calls the tool clock:\n\n```json\n{\n  "zone": "Europe/Rome"\n}\n```' in text
    assert "## Tool clock\n\n```\n12:00\n```" in text
    assert "*(image\\_url: only in the JSON export)*" in text
    assert "## Tool\n\n````\na ``` fence\n````" in text


def test_many_threads_use_one_store(store: ConversationStore) -> None:
    shared = store.create("shared")
    failures: list[BaseException] = []

    def work(name: int) -> None:
        try:
            mine = store.create(f"thread {name}")
            for number in range(5):
                store.save_turn(mine.id, turn(f"{name}.{number}"))
                store.save_turn(shared.id, turn(f"{name}.{number}", f"{name}.{number}"))
                assert len(store.messages(mine.id)) == 2 * number + 2
                assert any(c.id == mine.id for c in store.list(f"{name}.{number}"))
        except BaseException as error:  # noqa: BLE001 (handed to the main thread)
            failures.append(error)

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    saved = texts(store, shared.id)
    assert saved[::2] == saved[1::2]  # each answer stands right behind its question
    assert sorted(saved[::2]) == sorted(f"{name}.{number}" for name in range(8) for number in range(5))


def test_stores_opened_at_the_same_time_agree_on_the_tables(url: str) -> None:
    barrier = threading.Barrier(6)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            barrier.wait()
            store = ConversationStore(url)
            store.create("one of six")
            store.close()
        except BaseException as error:  # noqa: BLE001 (handed to the main thread)
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    store = ConversationStore(url)
    assert len(store.list()) == 6
    store.close()


def test_a_closed_store_says_so(store: ConversationStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.list()


def test_tables_of_a_newer_version_are_refused_and_left_alone(store: ConversationStore, url: str) -> None:
    made = store.create("from the future")
    store.close()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE phireside_schema SET version = 99"))
    with pytest.raises(StoreError, match=f"version 99.*version {SCHEMA_VERSION}") as caught:
        ConversationStore(url)
    assert "upgrade" in caught.value.hint
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT id FROM conversations")) == made.id
    engine.dispose()


def test_a_database_of_another_program_is_refused_and_left_alone(url: str) -> None:
    ConversationStore(url).close()  # creates the folder
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE phireside_schema"))
    with pytest.raises(StoreError, match=r"another program.*conversations, facts, .*messages"):
        ConversationStore(url)
    engine.dispose()


@pytest.mark.parametrize(
    "payload",
    [
        "{",
        "[]",
        '{"type": "human"}',
        '{"type": "constructor", "data": {}}',
        '{"type": "ai", "data": 3}',
        '{"type": "human", "data": {"content": 7}}',
    ],
)
def test_a_damaged_payload_is_an_error_with_a_hint(store: ConversationStore, url: str, payload: str) -> None:
    made = store.create()
    store.save_turn(made.id, turn("q"))
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE messages SET payload = :payload WHERE position = 0"), {"payload": payload})
    engine.dispose()
    with pytest.raises(StoreError, match="cannot be read") as caught:
        store.messages(made.id)
    assert caught.value.hint


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_fault_on_the_server_does_not_repeat_what_people_wrote(store: ConversationStore, url: str) -> None:
    made = store.create()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE messages ADD CHECK (position < 0)"))
    engine.dispose()
    with pytest.raises(StoreError, match="CheckViolation") as caught:
        store.save_turn(made.id, turn("my private words"))
    assert "private" not in str(caught.value)
    assert "private" in str(caught.value.__cause__)  # it would have

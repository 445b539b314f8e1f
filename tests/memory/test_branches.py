"""What a person thinks of an answer, and conversations that go on another way, on every database alike."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from phireside.errors import ConversationNotFoundError, StoreError
from phireside.memory import ConversationStore, MemoryState

CALL = {"name": "clock", "args": {}, "id": "1", "type": "tool_call"}
MESSAGES = [
    SystemMessage("Be kind."),
    HumanMessage("I live in Porto. What time is it?"),
    AIMessage("", tool_calls=[CALL]),
    ToolMessage("12:00", tool_call_id="1", name="clock"),
    AIMessage("Noon.", additional_kwargs={"phireside": {"steps": [{"kind": "thought"}]}, "x": 1}),
    HumanMessage("I have two cats."),
    AIMessage("Nice."),
]


@pytest.fixture
def opened(store: ConversationStore) -> str:
    made = store.create("Porto", model="starter", tools=["clock"])
    store.save_turn(made.id, MESSAGES)
    return made.id


def test_feedback_is_kept_with_the_answer_and_changes_nothing_else(store: ConversationStore, opened: str) -> None:
    before = store.get(opened)
    store.set_feedback(opened, 4, 1)
    store.set_feedback(opened, 6, 0)
    store.set_feedback(opened, 6, None)
    messages = store.messages(opened)
    ours = {"steps": [{"kind": "thought"}], "feedback": 1}
    assert messages[4].additional_kwargs == {"phireside": ours, "x": 1}
    assert messages[6].additional_kwargs == {"phireside": {"feedback": None}}
    assert [m.text for m in messages] == [m.text for m in MESSAGES]
    assert store.get(opened) == before


@pytest.mark.parametrize("position", [-1, 1, 3, 7])
def test_feedback_belongs_to_an_answer(store: ConversationStore, opened: str, position: int) -> None:
    with pytest.raises(StoreError, match=f"no answer at position {position}"):
        store.set_feedback(opened, position, 1)
    assert store.messages(opened) == MESSAGES


def test_feedback_replaces_what_another_program_kept_there(store: ConversationStore, opened: str) -> None:
    store.save_turn(opened, [AIMessage("Odd.", additional_kwargs={"phireside": "text"})])
    store.set_feedback(opened, 7, 1)
    assert store.messages(opened)[7].additional_kwargs == {"phireside": {"feedback": 1}}


def test_a_branch_begins_alike_and_both_go_on_alone(store: ConversationStore, opened: str) -> None:
    branch = store.branch(opened, 4)
    assert (branch.title, branch.options) == ("Porto (branch)", {"model": "starter", "tools": ["clock"]})
    assert store.messages(branch.id) == MESSAGES[:5]
    store.save_turn(branch.id, [HumanMessage("And now?"), AIMessage("Later.")])
    assert store.messages(opened) == MESSAGES
    assert [found.id for found in store.list("later")] == [branch.id]
    store.delete(opened)
    assert len(store.messages(branch.id)) == 7


def test_a_branch_of_a_conversation_without_a_title_has_none_and_gets_one(store: ConversationStore) -> None:
    made = store.create()
    store.save_turn(made.id, [AIMessage("Welcome.")])
    branch = store.branch(made.id, 0)
    assert branch.title == ""
    store.save_turn(branch.id, [HumanMessage("Where is Porto?"), AIMessage("In Portugal.")])
    assert store.get(branch.id).title == "Where is Porto?"


@pytest.mark.parametrize("position", [-1, 7])
def test_a_branch_needs_a_message(store: ConversationStore, opened: str, position: int) -> None:
    with pytest.raises(StoreError, match=f"no message at position {position}"):
        store.branch(opened, position)
    assert len(store.list()) == 1
    with pytest.raises(ConversationNotFoundError):
        store.branch("0" * 32, 0)


def test_a_branch_has_the_newest_summary_that_covers_nothing_else(store: ConversationStore, opened: str) -> None:
    early, late = MemoryState("Porto.", (), 4), MemoryState("Porto and cats.", (), 6)
    store.save_memory_state(opened, early)
    store.save_memory_state(opened, late)
    assert store.memory_state(store.branch(opened, 4).id) == early
    assert store.memory_state(store.branch(opened, 6).id) == late
    assert store.memory_state(store.branch(opened, 1).id) == MemoryState("", (), 0)


def test_a_branch_is_told_the_same_facts_and_none_is_found_there_again(store: ConversationStore, opened: str) -> None:
    store.facts.switch(True)
    store.save_turn(opened, MESSAGES[1:], at=1)  # what was said before is never looked at
    as_of = store.get(opened).updated_at
    (porto,) = store.facts.learned(opened, 1, ["I live in Porto."], as_of=as_of)
    store.facts.choose(opened, [porto])
    branch = store.branch(opened, 5)
    assert store.facts.chosen(branch.id) == [porto]
    assert [position for position, _ in store.facts.unheard(branch.id)] == [5]
    assert store.facts.unheard(store.branch(opened, 4).id) == []


def test_what_was_forgotten_is_not_learned_from_a_branch(store: ConversationStore, opened: str) -> None:
    store.facts.switch(True)
    (cats,) = store.facts.add(opened, 5, ["I have two cats."])
    store.facts.forget(cats.id)
    branch = store.branch(opened, 6)
    as_of = store.get(branch.id).updated_at
    assert store.facts.learned(branch.id, 5, ["I have two cats."], as_of=as_of) == []
    state = store.save_memory_state(branch.id, MemoryState("Cats.", ("I have two cats.",), 6))
    assert state.facts == ()

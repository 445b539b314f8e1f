"""The memory of one chat: the strategy that is chosen, what is shown of it, and what an answer says was left out."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from streamlit.testing.v1 import AppTest

from phireside.memory import MEMORIES, MemoryState, SummaryBufferMemory, WindowMemory
from phireside.ui.chat_memory import title
from phireside.ui.choices import Choices, read_choices
from phireside.ui.context import LEFT_OUT, bar, legend, notes, used

REPORT = {"size": 2048, "system": 9, "tools": 0, "memory": 0, "history": 1211, "answer": 512, "left": 316}


def fine(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    assert not app.warning, app.warning
    return app


def say(app: AppTest, text: str) -> AppTest:
    return fine(app.chat_input(key="typed").set_value(text).run())


def answer(**data: object) -> AIMessage:
    return AIMessage("Yes.", response_metadata=data)


@pytest.fixture
def by_default(request, settings, monkeypatch):
    """The strategy that the settings name; to be asked for before the page."""
    monkeypatch.setenv("PHIRESIDE_MEMORY", request.param)


@pytest.fixture
def memories(parts, monkeypatch):
    """The memory of every turn that was sent."""
    sent, send = [], parts.chat.send

    def record(*args, memory=None, **more):
        sent.append(memory)
        return send(*args, memory=memory, **more)

    monkeypatch.setattr(parts.chat, "send", record)
    return sent


def test_every_strategy_can_be_chosen_and_says_what_it_does(page):
    radio = fine(page()).radio(key="memory-new")
    assert radio.options == ["Buffer", "Window", "Summary", "Summary + buffer"] == [title(name) for name in MEMORIES]
    assert list(radio.proto.captions) == list(MEMORIES.values())
    assert radio.value == "buffer"


def test_the_strategy_is_sent_and_kept_with_the_conversation(page, parts, memories):
    app = say(fine(page().radio(key="memory-new").set_value("summary_buffer").run()), "Hello")
    assert isinstance(memories[-1], SummaryBufferMemory)
    opened = parts.store.list()[0]
    assert opened.options["memory"] == "summary_buffer"
    app = fine(page(chat=opened.id))
    assert app.radio(key=f"memory-{opened.id}").value == "summary_buffer"
    say(fine(app.radio(key=f"memory-{opened.id}").set_value("window").run()), "And more")
    assert isinstance(memories[-1], WindowMemory)
    assert page().radio(key="memory-new").value == "buffer", "Another conversation has its own."


@pytest.mark.parametrize("by_default", ["window"], indirect=True)
def test_the_settings_name_the_strategy_of_chats_that_chose_none(by_default, page, memories):
    app = page()
    assert app.radio(key="memory-new").value == "window"
    say(app, "Hello")
    assert isinstance(memories[-1], WindowMemory)


@pytest.mark.parametrize("by_default", ["elephant"], indirect=True)
def test_a_strategy_that_the_settings_misspell_is_a_message_and_the_text_is_not_lost(by_default, page):
    app = say(page(), "Hello")
    assert "elephant" in app.error[0].value
    assert [area.value for area in app.main.text_area if area.label == "Your message"] == ["Hello"]


def test_a_strategy_of_another_version_is_the_default():
    assert read_choices({"memory": "elephant", "seed": 3}) == Choices(seed=3)
    assert "memory" not in Choices(memory="window").sampling


def test_summary_and_facts_of_a_chat_can_be_read_as_data(page, parts):
    opened = parts.store.create("Kept", memory="summary_buffer").id
    parts.store.save_turn(opened, [HumanMessage("I am Ana."), AIMessage("Hello.")])
    shown = "\n".join(element.value for element in page(chat=opened).markdown)
    assert "Summary of" not in shown
    parts.store.save_memory_state(opened, MemoryState("Ana ![x](y) said hello.", ("Ana *is* ![x](y).",), 2))
    shown = "\n".join(element.value for element in fine(page(chat=opened)).markdown)
    assert "Summary of the first 2 messages" in shown
    assert "said hello" in shown
    assert r"- Ana \*is\* \!\[x\]\(y\)\." in shown
    assert "![" not in shown


def test_a_summary_that_is_not_sent_says_so(page, parts):
    opened = parts.store.create("Kept").id
    parts.store.save_turn(opened, [HumanMessage("I am Ana."), AIMessage("Hello.")])
    parts.store.save_memory_state(opened, MemoryState("Ana said hello.", (), 2))
    assert "Not sent while the memory is Buffer." in [element.value for element in page(chat=opened).caption]


def test_what_the_chat_is_told_about_the_person_is_shown(page, parts):
    opened = parts.store.create("Kept").id
    parts.store.save_turn(opened, [HumanMessage("I am Ana."), AIMessage("Hello.")])
    parts.store.facts.switch(True)
    parts.store.facts.choose(opened, parts.store.facts.add(opened, 0, ["Ana ![x](y)"]))
    shown = "\n".join(element.value for element in fine(page(chat=opened)).markdown)
    assert r"- Ana \!\[x\]\(y\)" in shown


def test_the_page_shows_what_was_left_out_and_how_the_context_was_used(page, parts):
    opened = parts.store.create("Kept").id
    said = answer(left_out=12, summarized=34, context=REPORT)
    parts.store.save_turn(opened, [HumanMessage("Hello"), said])
    app = fine(page(chat=opened))
    captions = {caption.value: caption.help for caption in app.main.caption}
    assert captions["12 older messages left out"] == LEFT_OUT
    assert "34 messages sent as a summary" in captions
    assert sum('aria-label="Context in tokens: System prompt 9' in html.proto.body for html in app.html) == 2


def test_notes_count_and_are_not_there_when_nothing_was_left_out():
    assert notes(answer()) == notes(answer(left_out=0)) == []
    assert notes(answer(left_out="many", summarized=None, context=7)) == []
    assert [text for text, _ in notes(answer(left_out=1, summarized=1200))] == [
        "1 older message left out",
        "1,200 messages sent as a summary",
    ]


def test_the_bar_has_a_share_for_every_part_that_has_tokens():
    parts = used(answer(context=REPORT))
    assert parts == {"system": 9, "history": 1211, "answer": 512, "left": 316}
    assert sum(parts.values()) == REPORT["size"]
    assert bar(parts).count("<i ") == legend(parts).count("<i ") == 4
    assert "Kept free for the answer 512" in bar(parts)


def test_nothing_of_a_report_but_whole_numbers_of_known_parts_is_drawn():
    hostile = {"system": '1"><img src=x>', "<b>": 3, "history": 7.5, "left": -1, "answer": 5}
    assert used(answer(context=hostile)) == {"answer": 5}
    assert used(answer(context=["system"])) == used(answer()) == {}


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"left_out": 2}, "written without what is above"),
        ({"summarized": 2}, "Of what is above this line, the last answer had a summary."),
        ({"left_out": 1, "summarized": 1}, "a summary of a part"),
        ({"left_out": 9}, ""),
        ({}, ""),
    ],
)
def test_a_line_stands_where_what_the_model_was_given_begins(page, parts, counts, words):
    opened = parts.store.create("Kept").id
    said = [HumanMessage("One"), AIMessage("1"), HumanMessage("Two"), answer(**counts)]
    parts.store.save_turn(opened, said)
    app = fine(page(chat=opened))
    drawn = [element.value for element in app.main if element.type in ("caption", "markdown")]
    lines = [at for at, text in enumerate(drawn) if "above this line" in text]
    assert len(lines) == bool(words)
    if words:
        assert words in drawn[lines[0]]
        assert drawn.index("1") < lines[0] < drawn.index("Two")


def test_what_was_left_out_is_explained_where_no_mouse_is_needed(page, parts):
    opened = parts.store.create("Kept").id
    parts.store.save_turn(opened, [HumanMessage("Hello"), answer(left_out=12, context=REPORT)])
    assert f"**12 older messages left out.** {LEFT_OUT}" in [each.value for each in fine(page(chat=opened)).caption]

"""The chat page with documents and tools: steps, citations, approvals, files, feedback, branches. The model is a
script, and so is who answers in its place.
"""

import re
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
from chatting import bubbles, chat_id, failed_box, failed_button, press, say, shown_without_error, texts
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from streamlit.testing.v1 import AppTest

from phireside.agents.assistant import Uses, close_bases, knowledge_base
from phireside.chains import Turn
from phireside.errors import KnowledgeError
from phireside.retrieval.names import base_names, chat_base
from phireside.tools.named import TOOLS
from phireside.ui import attachments
from phireside.ui.background import StoppedError
from phireside.ui.choices import Choices, read_choices
from phireside.ui.steps import summary

KILN = "The kiln was built in 1884. It burns oak and beech. Visitors may come on Sundays."
PASSAGES = [
    {"number": 1, "text": KILN, "source": "upload:1", "title": "kiln.txt", "place": "page 3", "ranks": {"dense": 2}},
    {
        "number": 2,
        "text": "<img src=x> ![x](http://127.0.0.1/) *Oak* is a tree.",
        "source": "trees.md",
        "title": "",
        "place": "",
    },
]
CLAIMS = [
    {"text": "It burns oak.", "cited": [1], "verdict": "supported", "score": 0.9},
    {"text": "Oak is *wood*.", "cited": [2], "verdict": "weak", "score": 0.5},
    {"text": "It is ![made](http://127.0.0.1/) of gold.", "cited": [1], "verdict": "none", "score": 0.1},
]
FOUND = {"kind": "found", "queries": ["What does it burn?"], "passages": PASSAGES, "seconds": 0.25}
STEPS = [{"kind": "searching", "query": "What does it burn?"}, FOUND, {"kind": "checking"}]
TEXT = "It burns oak. [1] Oak is wood. [2]"
CALL = {
    "tool": "web_search",
    "arguments": {"query": "*oak* ![x](http://127.0.0.1/)"},
    "text": "It sends *something*. Arguments: {}",
}


@dataclass
class Acting:
    """In the place of an `Answerer`: notes steps, asks, and writes, as its script says; and what it was made for."""

    script: list[Any] = field(default_factory=list)
    ours: dict[str, Any] = field(default_factory=dict)
    made: list[Uses] = field(default_factory=list)
    decided: list[list[dict[str, Any]]] = field(default_factory=list)

    def make(self, _model: Any, _settings: Any, uses: Uses) -> "Acting | None":
        self.made.append(uses)
        return self if uses != Uses() else None

    async def answer(self, _messages: Sequence[BaseMessage], turn: Turn) -> AsyncIterator[AIMessageChunk]:
        for each in self.script:
            if isinstance(each, dict):
                turn.note(each)
            elif isinstance(each, list):
                self.decided.append(await turn.ask(each))
            else:
                yield AIMessageChunk(each)
        yield AIMessageChunk("", additional_kwargs={"phireside": self.ours})


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> Acting:
    """Who answers in every conversation that has documents or tools."""
    acting = Acting([*STEPS, "It burns oak. [1]", " Oak is wood. [2]"], {"passages": PASSAGES, "claims": CLAIMS})
    monkeypatch.setattr("phireside.ui.chat_page.answerer", acting.make)
    return acting


@pytest.fixture
def bases(settings, monkeypatch):
    """Bases have embeddings without weights; all are closed behind the test."""
    monkeypatch.setattr("phireside.agents.assistant.embeddings_named", lambda _: HashedEmbeddings())
    yield settings.bases_dir
    close_bases()


def said(app: AppTest) -> str:
    assert not app.exception, app.exception
    return texts(app.main)


def opened(app: AppTest, key: str) -> AppTest:
    """The page with a popover open."""
    app.session_state[key] = True
    return shown_without_error(app.run())


# ---- documents: steps and citations ----


@pytest.fixture
def asked(page, parts, acting):
    """A page with an answer from documents."""
    return say(page(chat=parts.store.create("Kiln", base="manuals").id), "What does it burn?")


def test_an_answer_from_documents_has_its_steps_and_its_sources(asked, acting):
    assert acting.made == [Uses("manuals")]
    (status,) = asked.main.status
    assert (status.label, status.state, status.proto.expanded) == ("2 passages found · 0.2 s", "complete", False)
    assert r"Searches for *What does it burn\?*" in texts(status)
    assert "dense 2" in texts(status)
    assert ":orange-badge[1]" in bubbles(asked)[1]
    saved = asked.main.chat_message[1]
    assert "~~It is" in texts(saved)
    assert "A sentence was taken back" in texts(saved)


def test_a_citation_opens_its_passage_with_the_sentence_and_the_verdict(asked):
    app = opened(asked, "source-of-1-1")
    (passage,) = [html.proto.body for html in app.main.get("html") if "kiln" in html.proto.body]
    assert re.search(r"in 1884\. <mark[^>]*>It burns oak and beech\.</mark> Visitors may", passage)
    shown = texts(app.main)
    assert "page 3" in shown
    assert "upload" not in shown
    assert r"**The passage says so.** “It burns oak\.”" in shown
    assert shown.count("gold") == 1, "What was taken back is struck out below the answer, and no claim of it."


def test_a_passage_that_was_found_opens_though_no_sentence_cites_it(page, parts, acting):
    acting.script, acting.ours = [*STEPS, "I don't know."], {}
    app = say(page(chat=parts.store.create("Kiln", base="manuals").id), "What does it burn?")
    app = opened(app, "found-1-1-1")
    assert [html.proto.body for html in app.main.get("html") if "Visitors may come" in html.proto.body]
    assert r"**1\. kiln\.txt · page 3**" in texts(app.main)


def test_nothing_of_documents_and_sentences_is_markup(asked):
    app = opened(asked, "source-of-1-2")
    (passage,) = [html.proto.body for html in app.main.get("html") if "tree" in html.proto.body]
    assert "&lt;img src=x&gt; ![x](http://127.0.0.1/) " in passage
    shown = texts(app.main)
    assert r"~~It is \!\[made\]\(http\:\/\/127\.0\.0\.1\/\) of gold\.~~" in shown
    assert "![" not in shown


def test_steps_that_are_odd_are_left_out_and_break_nothing(page, parts):
    odd = [{}, {"kind": "new"}, {"kind": "found", "passages": 3}, {"kind": "action", "tool": None, "arguments": 3}]
    odd += [{"kind": "observation", "text": None, "seconds": "long"}, {"kind": "found", "queries": 1}]
    chat = parts.store.create("Odd").id
    answer = AIMessage("Yes. [1]", additional_kwargs={"phireside": {"steps": odd}})
    parts.store.save_turn(chat, [HumanMessage("Odd?"), answer])
    app = shown_without_error(page(chat=chat))
    assert app.main.status[0].label == "Nothing found · tool"
    assert "Yes. [1]" in bubbles(app)[1], "What is no passage is no citation."


def test_steps_are_summed_up_in_a_line():
    calls = [{"kind": "action", "tool": name, "seconds": 1} for name in ("calculator", "my_own", "calculator")]
    assert summary(calls) == r"Calculator, my\_own · 3.0 s"
    assert summary([{"kind": "thought"}]) == "Steps"


# ---- tools: what is saved between question and answer, approvals ----


def test_calls_and_results_are_steps_and_no_bubbles(page, parts):
    chat = parts.store.create("Tools").id
    call = {"name": "clock", "args": {}, "id": "1", "type": "tool_call"}
    steps = [
        {"kind": "action", "tool": "clock", "arguments": {"zone": "*Rome*"}},
        {"kind": "observation", "text": "12"},
    ]
    answer = AIMessage("Noon.", additional_kwargs={"phireside": {"steps": steps}})
    between = [AIMessage("", tool_calls=[call]), ToolMessage("12", tool_call_id="1")]
    parts.store.save_turn(chat, [HumanMessage("What time is it?"), *between, answer])
    app = shown_without_error(page(chat=chat))
    assert len(app.chat_message) == 2
    assert [code.value for code in app.main.status[0].code] == ['{\n  "zone": "*Rome*"\n}', "12"]
    assert {button.key for button in app.main.button} >= {"edit-0", "again-3", "branch-3"}


@dataclass
class Waiting:
    """In the place of a turn that waits for a word about some calls."""

    approval: list[dict[str, Any]]
    steps: list[dict[str, Any]] = field(default_factory=list)
    conversation_id: str = "c"
    decided: list[Any] = field(default_factory=list)

    def decide(self, decisions: list[dict[str, str]], of: Any) -> bool:
        self.decided.append((decisions, of is self.approval))
        self.approval = []
        return True


def approvals() -> None:
    """A page with nothing but the approvals of a turn."""
    import streamlit as st

    from phireside.ui.approval import Approvals

    Approvals().draw(st.session_state["turn"])


@pytest.fixture
def waiting():
    """`waiting(calls)` is a page on which they wait for a word, and their turn."""

    def open_page(*calls: dict[str, Any]) -> tuple[AppTest, Waiting]:
        app, turn = AppTest.from_function(approvals), Waiting(list(calls))
        app.session_state["turn"] = turn
        return shown_without_error(app.run()), turn

    return open_page


def test_a_call_that_waits_is_shown_as_it_is(waiting):
    app, turn = waiting(CALL)
    assert "**May it use Web search?**" in app.markdown[0].value
    assert app.caption[0].value == r"It sends \*something\*\."
    assert app.code[0].value == '{\n  "query": "*oak* ![x](http://127.0.0.1/)"\n}'
    assert not turn.decided


@pytest.mark.parametrize(("word", "kind"), [("allow", "approve"), ("refuse", "reject")])
def test_a_call_is_decided_by_its_button(waiting, word, kind):
    app, turn = waiting(CALL)
    app = press(app, f"{word}-c-0-0")
    assert turn.decided == [([{"type": kind}], True)]
    assert not app.button


def test_several_calls_are_decided_one_by_one_and_told_together(waiting):
    app, turn = waiting(CALL, CALL | {"tool": "read_page"})
    app = press(app, "refuse-c-0-1")
    assert not turn.decided
    assert any("Refused" in caption.value for caption in app.caption)
    press(app, "allow-c-0-0")
    assert turn.decided == [([{"type": "approve"}, {"type": "reject"}], True)]


def test_an_answer_goes_on_when_another_page_has_decided(page, parts, acting, until):
    acting.script, acting.ours = [{"kind": "action", "tool": "web_search"}, [CALL], "Done."], {}
    chat = parts.store.create("Ask", tools=["web_search"]).id
    with ThreadPoolExecutor(1) as browser:
        app = page(chat=chat)
        answer = browser.submit(say, app, "Search for oak")
        until(lambda: (turn := parts.chat.running(chat)) is not None and turn.state == "asking")
        turn = parts.chat.running(chat)
        turn.decide([{"type": "reject"}], of=turn.approval)
        app = answer.result(60)
    assert acting.decided == [[{"type": "reject"}]]
    assert bubbles(app)[1].endswith("Done.")


# ---- what is switched on ----


def test_documents_and_tools_are_chosen_for_each_chat(page, parts, acting, bases):
    knowledge_base("manuals", parts.settings, create=True)
    knowledge_base("chat-notes", parts.settings, create=True)
    knowledge_base(chat_base("0" * 32), parts.settings, create=True)
    app = opened(page(), "pick-base")
    offered = app.radio(key="base-new").options
    assert offered == ["None", r"chat\-notes", "manuals"], "Files of other chats are not offered."
    app = shown_without_error(app.radio(key="base-new").set_value("manuals").run())
    app = shown_without_error(app.checkbox(key="tool-web_search-new").check().run())
    app = shown_without_error(app.checkbox(key="tool-calculator-new").check().run())
    app = say(app, "What does it burn?")
    tools = ("calculator", "web_search")
    assert acting.made == [Uses("manuals", tools)]
    choices = read_choices(parts.store.get(chat_id(app)).options)
    assert (choices.base, choices.tools) == ("manuals", tools)
    app = shown_without_error(app.checkbox(key=f"tool-calculator-{chat_id(app)}").uncheck().run())
    say(app, "And now?")
    assert acting.made[-1] == Uses("manuals", ("web_search",))


def test_every_tool_says_what_it_does_and_whether_it_asks(page, parts):
    app = page()
    boxes = {box.key.split("-")[1]: box for box in app.checkbox if box.key.startswith("tool-")}
    assert set(boxes) == set(TOOLS) - {"knowledge"}
    shown = texts(app)
    assert {name for name, box in boxes.items() if box.help} == {"web_search", "read_page", "mcp_tools"}
    assert boxes["read_file"].disabled
    assert r"No folder is allowed\: set tools\.folders\." in shown


def test_a_base_that_is_gone_can_be_switched_off(page, parts, acting, bases):
    chat = parts.store.create("Kiln", base="lost *one*").id
    app = opened(page(chat=chat), "pick-base")
    radio = app.radio(key=f"base-{chat}")
    assert radio.value == "lost *one*"
    assert "not there any more" in list(radio.proto.captions)[-1]
    shown_without_error(radio.set_value("").run())
    assert not parts.store.get(chat).options.get("base")


def test_choices_of_another_version_are_left_out():
    assert read_choices({"tools": ["clock", "teleport", "knowledge"], "base": 3}) == Choices(tools=("clock",))


# ---- files ----


def drop(app: AppTest, text: str | None, **files: bytes) -> AppTest:
    """Put files into the box, with a text, and wait until they are read and answered."""
    box = app.chat_input(key="typed")
    for name, data in files.items():
        box.upload(name.replace("_", "."), data)
    return shown_without_error((box.set_value(text) if text else box).run())


def test_files_are_read_switched_on_and_asked_about(page, parts, acting, bases):
    app = drop(page(), "What does it burn?", kiln_txt=KILN.encode(), trees_md=b"# Oak\n\nA tree.")
    chat = chat_id(app)
    assert bubbles(app)[0] == "What does it burn?"
    assert acting.made[-1] == Uses(chat_base(chat))
    assert sorted(info.title for info in knowledge_base(chat_base(chat), parts.settings).documents())[0] == "Oak"
    app = opened(app, "pick-base")
    assert app.radio(key=f"base-{chat}").value == chat_base(chat)
    assert "Files of this chat" in app.radio(key=f"base-{chat}").options
    assert list(app.radio(key=f"base-{chat}").proto.captions)[-1] == r"2 documents: kiln\.txt, Oak"
    named = r":material/attach_file: kiln\.txt"
    assert named in texts(page(chat=chat).chat_message[0]), "The names stay with the question,"
    assert named in texts(press(app, "again-1").chat_message[0]), "also if it is answered again."


def test_files_alone_are_read_and_nothing_is_asked(page, parts, acting, bases):
    app = drop(page(), None, kiln_txt=KILN.encode())
    assert parts.store.list()[0].title == "kiln.txt"
    assert parts.store.messages(chat_id(app)) == []
    assert "1 added. Ask about it." in said(app)
    app = say(app, "What does it burn?")
    assert acting.made[-1] == Uses(chat_base(chat_id(app)))
    assert "Ask about it" not in said(app)


def test_what_cannot_be_read_is_named_and_the_rest_is_asked_about(page, parts, acting, bases):
    app = drop(page(), "What does it burn?", kiln_txt=KILN.encode(), bad_pdf=b"no pdf")
    assert ":material/warning: bad\\.pdf cannot be read" in said(app)
    assert len(parts.store.messages(chat_id(app))) == 2


def test_files_that_cannot_be_read_at_all_leave_the_question_to_be_sent_again(page, parts, acting, bases):
    app = drop(page(), "What does it burn?", bad_pdf=b"no pdf")
    chat = chat_id(app)
    assert app.error
    assert failed_box(app).value == "What does it burn?"
    assert not parts.store.get(chat).options.get("base")
    app = press(app, failed_button(app, "send"))
    assert bubbles(app)[1] == "A short answer."


def test_a_file_alone_that_cannot_be_read_leaves_nothing_to_be_sent(page, parts, acting, bases):
    app = drop(page(), None, bad_pdf=b"no pdf")
    assert app.error
    assert not [area for area in app.main.text_area if area.label == "Your message"]
    discard = next(button.key for button in app.main.button if button.label == "Discard")
    assert not press(app, discard).error


def test_files_whose_reading_was_stopped_are_sent_again_with_the_question(page, parts, acting, bases, monkeypatch):
    def stopped(*_, **__):
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(attachments, "knowledge_base", stopped)
        app = drop(page(), "What does it burn?", kiln_txt=KILN.encode())
    assert "Stopped before the first word" in said(app)
    app = press(app, failed_button(app, "send"))
    assert acting.made[-1] == Uses(chat_base(chat_id(app)))
    assert len(knowledge_base(chat_base(chat_id(app)), parts.settings).documents()) == 1


def test_files_and_a_question_are_not_lost_when_the_base_cannot_be_opened(page, parts, acting, bases, monkeypatch):
    def broken(*args, **kwargs):
        raise KnowledgeError("The disk is full.", hint="Make room.")

    with monkeypatch.context() as patch:
        patch.setattr(attachments, "knowledge_base", broken)
        app = drop(page(), "What does it burn?", kiln_txt=KILN.encode())
    assert "The disk is full" in app.error[0].value
    assert failed_box(app).value == "What does it burn?"
    app = press(app, failed_button(app, "send"))
    assert len(knowledge_base(chat_base(chat_id(app)), parts.settings).documents()) == 1


def test_a_deleted_chat_takes_no_base_of_the_person_along(page, parts, bases):
    knowledge_base("chat-notes", parts.settings, create=True)
    press(press(page(chat=parts.store.create("A", base="chat-notes").id), "delete"), "delete-yes")
    assert base_names(bases) == ["chat-notes"]


def test_a_deleted_chat_leaves_no_files_unless_a_branch_answers_from_them(page, parts, acting, bases):
    app = drop(page(), "What does it burn?", kiln_txt=KILN.encode())
    first = chat_id(app)
    app = press(app, "branch-1")
    branch = chat_id(app)
    app = press(press(press(app, f"open-{first}"), "delete"), "delete-yes")
    assert base_names(bases) == [chat_base(first)]
    app = press(press(press(app, f"open-{branch}"), "delete"), "delete-yes")
    assert base_names(bases) == []


# ---- feedback and branches ----


def test_feedback_is_kept_with_its_answer_and_taken_back(page, parts, script):
    app = say(page(), "First")
    chat = chat_id(app)
    key = f"feedback-{chat}-1"
    app = shown_without_error(app.feedback(key=key).set_value(1).run())
    assert parts.store.messages(chat)[1].additional_kwargs["phireside"]["feedback"] == 1
    assert shown_without_error(page(chat=chat)).feedback(key=key).value == 1
    app = shown_without_error(app.feedback(key=key).set_value(None).run())
    assert parts.store.messages(chat)[1].additional_kwargs["phireside"]["feedback"] is None
    app = shown_without_error(app.feedback(key=key).set_value(0).run())
    app = press(app, "again-1")
    assert app.feedback(key=key).value is None, "Another answer has none yet."


def test_a_branch_is_a_new_chat_with_the_messages_up_to_there(page, parts, script):
    script.answers = ["one", "two", "three"]
    app = say(say(page(), "First"), "Second")
    trunk = chat_id(app)
    app = press(app, "branch-1")
    assert chat_id(app) != trunk
    assert bubbles(app) == ["First", "one"]
    app = say(app, "Other")
    assert bubbles(app) == ["First", "one", "Other", "three"]
    assert len(parts.store.messages(trunk)) == 4
    assert parts.store.get(chat_id(app)).title == "First (branch)"
    assert app.button(key=f"opened-{chat_id(app)}").proto.icon == ":material/alt_route:"


def test_what_was_deleted_in_another_window_is_a_message(page, parts, script):
    app = say(page(), "First")
    parts.store.delete(chat_id(app))
    app.button(key="branch-1").click().run()
    assert not app.exception
    assert app.title

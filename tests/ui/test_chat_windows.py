"""A chat in several windows, and pages that are left for others: nothing of one conversation is seen in another, and
what was deleted elsewhere is a message.
"""

from collections.abc import Callable

import pytest
from chatting import bubbles, chat_id, press, say, shown_without_error
from langchain_core.messages import AIMessage, HumanMessage
from pages import keys
from streamlit.testing.v1 import AppTest

from phireside.errors import ModelNotFoundError
from phireside.retrieval.bases import create_base

CLICKS: dict[str, Callable[[AppTest, str], object]] = {
    "rename": lambda app, chat: app.text_input(key=f"rename-{chat}").set_value("Another title"),
    "delete": lambda app, _: app.button(key="delete-yes").click(),
    "slider": lambda app, chat: app.slider(key=f"temperature-{chat}").set_value(0.5),
    "style": lambda app, _: app.button(key="style-email").click(),
    "tool": lambda app, chat: app.checkbox(key=f"tool-clock-{chat}").check(),
}


@pytest.mark.parametrize("click", CLICKS)
def test_a_click_in_a_chat_that_another_window_deleted_is_a_message(page, parts, click):
    app = press(say(page(), "Hello"), "delete")
    chat = chat_id(app)
    parts.store.delete(chat)
    CLICKS[click](app, chat)
    app = shown_without_error(app.run())
    assert [error.value.partition(" \\'")[0] for error in app.error] == ["There is no conversation"]
    assert app.title[0].value == "What shall we talk about?"


def test_a_chat_whose_files_cannot_be_deleted_is_gone_all_the_same(page, parts, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    app = press(say(page(), "Hello"), "delete")
    create_base(f"chat-{chat_id(app)}", parts.settings.bases_dir)
    monkeypatch.setattr("phireside.retrieval.bases.shutil.rmtree", refuse)
    app = press(app, "delete-yes")
    assert "Permission denied" in app.error[0].value
    assert (parts.store.list(), app.title[0].value) == ([], "What shall we talk about?")


def test_what_another_window_chose_is_seen_here(page, parts):
    app = say(page(), "Hello")
    chat = chat_id(app)
    parts.store.set_options(chat, temperature=0.25, memory="window", system="Be brief.", seed=7)
    parts.store.rename(chat, "Renamed")
    app = shown_without_error(app.run())
    shown = {
        "temperature": app.slider(key=f"temperature-{chat}").value,
        "memory": app.radio(key=f"memory-{chat}").value,
        "system": app.text_area(key=f"system-{chat}").value,
        "seed": app.number_input(key=f"seed-{chat}").value,
        "title": app.text_input(key=f"rename-{chat}").value,
    }
    assert shown == {
        "temperature": 0.25, "memory": "window", "system": "Be brief.", "seed": 7, "title": "Renamed"
    }  # fmt: skip


def test_an_empty_title_is_the_default_one_also_in_its_box(page):
    app = say(page(), "Hello there")
    key = f"rename-{chat_id(app)}"
    for title, kept in (("Other", "Other"), ("", "Hello there")):
        app = shown_without_error(app.text_input(key=key).set_value(title).run())
        assert app.text_input(key=key).value == kept


def test_the_box_of_a_message_is_not_open_in_another_chat(page, parts):
    chats = [parts.store.create(name).id for name in "AB"]
    for chat, text in zip(chats, ("Of A", "Of B"), strict=True):
        parts.store.save_turn(chat, [HumanMessage(text), AIMessage("Yes.")])
    app = press(page(chat=chats[0]), "edit-0")
    app.query_params["chat"] = chats[1]  # a link, or the browser's Back
    assert bubbles(shown_without_error(app.run())) == ["Of B", "Yes."]


def test_a_page_that_is_chosen_while_a_first_message_has_no_answer_yet_stays(page, parts, menu, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ModelNotFoundError("No model.", hint="")

    monkeypatch.setattr(parts.chat, "send", refuse)
    app = menu(say(page(), "Hello"), "settings")
    assert "erase-everything" in keys(shown_without_error(app))

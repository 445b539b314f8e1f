"""The memory page in AppTest, on a real store: the switch, the list, edits, forgetting, and the way to and from it."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from streamlit.testing.v1 import AppTest

from phireside.ui import memory_page as module


@pytest.fixture
def known(parts):
    """Three facts from two conversations: the fact store, and the ids of the facts by their first word."""
    parts.store.facts.switch(True)
    porto, sister = parts.store.create("Porto"), parts.store.create("Sister")
    parts.store.save_turn(porto.id, [HumanMessage("I am Ana and live in Porto, with a cat."), AIMessage("Nice.")])
    parts.store.save_turn(sister.id, [HumanMessage("My *sister* is ![40](x)"), AIMessage("Nice.")])
    added = parts.store.facts.add(porto.id, 0, ["Ana lives in Porto.", "Cat: one."])
    added += parts.store.facts.add(sister.id, 0, ["Sister ![is](x) 40."])
    return parts.store.facts, {fact.text.split()[0].strip(":").lower(): fact.id for fact in added}


def fine(app: AppTest) -> AppTest:
    assert not app.exception, app.exception
    assert not app.warning, app.warning
    return app


def press(app: AppTest, key: str) -> AppTest:
    return fine(app.button(key=key).click().run())


def texts(app: AppTest) -> list[str]:
    return [element.value for element in app.main.markdown] + [element.value for element in app.main.caption]


def links(app: AppTest) -> dict[str, str]:
    return {link.value: link.proto.query_string for link in app.main.page_link}


def test_nothing_is_remembered_until_it_is_switched_on(memory_page, parts):
    app = fine(memory_page())
    assert not app.toggle(key="remember").value
    assert module.OFF in texts(app)
    assert any("stays on this machine" in text for text in texts(app))
    app = fine(app.toggle(key="remember").set_value(True).run())
    assert parts.store.facts.enabled
    assert module.NOTHING_YET in texts(app)
    assert memory_page().toggle(key="remember").value, "It is kept."
    parts.store.facts.switch(False)
    assert not fine(app.run()).toggle(key="remember").value, "Another window switched it off."


def test_a_fact_has_its_text_its_day_and_the_message_it_is_from(memory_page, known):
    facts, _ = known
    app = fine(memory_page())
    assert r"Ana lives in Porto\." in texts(app)
    day = facts.list("porto")[0].created_at.astimezone()
    assert any(f"{day.day} {day:%b} {day.year}" in text for text in texts(app))
    conversation = facts.list("sister")[0].conversation_id
    assert links(app)[r"“My \*sister\* is \!\[40\]\(x\)”"] == f"chat={conversation}"
    assert r"Sister \!\[is\]\(x\) 40\." in texts(app), "Text is data."


def test_a_long_message_is_shortened(memory_page, parts, known):
    facts, _ = known
    opened = parts.store.create("Long").id
    parts.store.save_turn(opened, [HumanMessage("word " * 400), AIMessage("Yes.")])
    facts.add(opened, 0, ["Ana writes much."])
    link = next(link for link in memory_page().main.page_link if link.proto.query_string.endswith(opened))
    assert len(link.value) == module.SOURCE_LENGTH + 2
    assert len(link.proto.help) <= 2 * module.TOOLTIP_LENGTH


def test_search_finds_words_of_facts_and_of_their_messages(memory_page, known):
    def shown(query):
        return links(fine(memory_page().text_input(key="facts-search").set_value(query).run()))

    assert len(shown("ANA porto")) == 1
    assert len(shown("sister")) == 1
    assert not shown("nobody")
    app = fine(memory_page().text_input(key="facts-search").set_value("nobody").run())
    assert any("No fact has these words" in text for text in texts(app))


def test_a_fact_is_edited_in_place(memory_page, known):
    facts, ids = known
    app = press(memory_page(), f"reword-{ids['cat']}")
    app.text_input(key=f"words-{ids['cat']}").set_value("Cats: two.")
    app = press(app, f"save-{ids['cat']}")
    assert "Cats: two." in [fact.text for fact in facts.list()]
    assert "Cat: one." not in [fact.text for fact in facts.list()]
    assert any("edited by you" in text for text in texts(app))
    app = press(press(app, f"reword-{ids['cat']}"), f"cancel-{ids['cat']}")
    assert len(app.main.page_link) == 3


def test_an_edit_that_cannot_be_saved_says_why_and_leaves_the_box_open(memory_page, known):
    facts, ids = known
    app = press(memory_page(), f"reword-{ids['cat']}")
    app.text_input(key=f"words-{ids['cat']}").set_value("  ")
    app = press(app, f"save-{ids['cat']}")
    assert "needs a text" in app.error[0].value
    assert app.text_input(key=f"words-{ids['cat']}")
    facts.forget(ids["cat"])
    assert not fine(app.run()).error, "It is said once."


def test_what_another_window_forgot_cannot_be_edited(memory_page, known):
    facts, ids = known
    app = press(memory_page(), f"reword-{ids['cat']}")
    app.text_input(key=f"words-{ids['cat']}").set_value("Cats: two.")
    facts.forget(ids["cat"])
    app = press(app, f"save-{ids['cat']}")
    assert "There is no fact" in app.error[0].value
    assert len(facts.list()) == 2


def test_forgetting_asks_first(memory_page, known):
    facts, ids = known
    app = press(memory_page(), f"forget-{ids['ana']}")
    assert len(facts.list()) == 3
    app = press(app, f"sure-{ids['ana']}-no")
    assert len(facts.list()) == 3
    app = press(press(app, f"forget-{ids['ana']}"), f"sure-{ids['ana']}-yes")
    assert [fact.id for fact in facts.list()] == [ids["sister"], ids["cat"]]
    assert len(app.main.page_link) == 2


def test_forgetting_everything_asks_first(memory_page, known):
    facts, _ = known
    app = press(memory_page(), "forget-all")
    assert len(facts.list()) == 3
    app = press(press(app, "sure-all-no"), "forget-all")
    app = press(app, "sure-all-yes")
    assert facts.list() == []
    assert module.NOTHING_YET in texts(app)


def test_facts_that_are_kept_but_not_used_are_marked(memory_page, known):
    facts, _ = known
    facts.switch(False)
    assert any("kept, but not used" in text for text in texts(fine(memory_page())))


def test_a_full_list_says_that_nothing_more_is_noted(memory_page, known, monkeypatch):
    monkeypatch.setattr(module, "MOST", 3)
    assert any("are the most that are kept" in text for text in texts(fine(memory_page())))


def test_more_facts_are_drawn_when_they_are_asked_for(memory_page, known, monkeypatch):
    monkeypatch.setattr(module, "PAGE", 2)
    app = fine(memory_page())
    assert len(app.main.page_link) == 2
    assert len(press(app, "more-facts").main.page_link) == 3


def test_a_fact_outlives_its_conversation(memory_page, parts, known):
    parts.store.delete(next(c.id for c in parts.store.list() if c.title == "Sister"))
    app = fine(memory_page())
    assert any("its conversation was deleted" in text for text in texts(app))
    assert len(links(app)) == 1


def test_the_sidebar_leads_from_the_memory_to_a_conversation_and_to_a_new_one(memory_page, parts, known):
    opened = parts.store.list()[0].id
    app = press(memory_page(), f"open-{opened}")
    assert len(app.chat_message) == 2
    assert app.query_params["chat"] == opened
    app = press(memory_page(app), "new")
    assert app.title[0].value == "What shall we talk about?"
    assert "chat" not in app.query_params


def test_the_menu_leads_back_to_the_conversation_that_was_open(page, memory_page, parts, known, menu):
    opened = parts.store.list()[0].id
    app = memory_page(page(chat=opened))
    assert app.title[0].value == "Memory"
    app = fine(menu(app, "show"))
    assert len(app.chat_message) == 2
    assert app.query_params["chat"] == opened
    app = menu(memory_page(press(app, "new")), "show")
    assert app.title[0].value == "What shall we talk about?"

"""The chat page in AppTest: real store, real `Chat`, a scripted model."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
import streamlit as st
from chatting import bubbles, chat_id, failed_box, failed_button, press, say, shown_without_error
from langchain_core.messages import AIMessage, HumanMessage
from streamlit.testing.v1 import AppTest

from phireside.agents.scenarios import Options, load, run_cases
from phireside.errors import ContextOverflowError, ModelNotFoundError, StoreError
from phireside.memory import Conversation
from phireside.models.engine.disk import StateFiles
from phireside.models.sampling import PRESETS
from phireside.settings import Settings
from phireside.ui import history
from phireside.ui.choices import Choices, read_choices
from phireside.ui.messages import facts


def sent(script, call: int) -> list[str]:
    """What the model was sent, without the system prompt."""
    return [message.text for message in script.asked[call] if message.type != "system"]


def test_first_page_greets_and_says_which_model_answers_and_how_to_get_phi_3(page):
    app = shown_without_error(page())
    assert app.title[0].value == "What shall we talk about?"
    assert "starter" in app.main.caption[0].value
    assert {link.proto.page for link in app.get("page_link") if "Phi-3" in link.label} == {"models"}
    assert not app.chat_message


def test_no_button_is_without_a_name_and_no_tooltip_covers_what_is_chosen_below_the_box(page, monkeypatch):
    tooltips, draw = {}, st.popover

    def popover(*args, key, **kwargs):
        tooltips[key] = kwargs.pop("help", None)
        return draw(*args, key=key, **kwargs)

    monkeypatch.setattr(st, "popover", popover)
    app = say(page(), "Hello")
    assert all(button.label for button in app.button)
    assert {key: text for key, text in tooltips.items() if key.startswith("pick-") and text} == {}


@pytest.fixture
def downloads(monkeypatch):
    """What each download button gives, by its key; AppTest does not click them."""
    found, draw = {}, st.download_button

    def button(label, data, *args, key, **kwargs):
        found[key] = data
        return draw(label, data, *args, key=key, **kwargs)

    monkeypatch.setattr(st, "download_button", button)
    return found


def test_a_chat_is_saved_as_a_scenario_that_runs(page, script, downloads, tmp_path):
    script.answers = ['It is "4": {four}\n- not 5', "# Yes, \x85 \N{GRINNING FACE}"]
    app = page()
    app.text_area(key="system-new").set_value("Be: brief.")
    app = say(shown_without_error(app.run()), "What is 2 + 2?\nno: yes # and more")
    app = say(app, "Are you sure?")
    assert "Save as scenario" in [each.label for each in app.get("download_button")]
    path = tmp_path / "scenarios" / "saved.yaml"
    path.parent.mkdir()
    path.write_text(downloads["export-yaml"](), "utf-8")
    (outcome,) = run_cases(load([path]), Options(make_model=script.load, model="scripted"))
    assert outcome.passed
    said = [(turn.user, turn.answer) for turn in outcome.runs[0].turns]
    assert said == [("What is 2 + 2?\nno: yes # and more", script.answers[0]), ("Are you sure?", script.answers[1])]
    (case,) = load([path])
    assert case.scenario.system == "Be: brief."
    assert case.scenario.chosen_model.name == Settings().model


def test_without_a_question_there_is_no_scenario_to_save(page, parts, downloads):
    shown_without_error(page(chat=parts.store.create("Empty").id))
    assert sorted(downloads) == ["export-json", "export-md"]


def test_it_is_not_said_that_nothing_leaves_where_a_tool_may_send_something(page):
    promise = "Nothing that you write leaves it."
    app = page()
    assert promise in app.main.markdown[0].value
    app = shown_without_error(app.checkbox(key="tool-clock-new").check().run())
    assert promise in app.main.markdown[0].value
    app = shown_without_error(app.checkbox(key="tool-web_search-new").check().run())
    assert promise not in app.main.markdown[0].value


def test_example_begins_a_conversation(page, parts):
    app = press(page(), "example-0")
    assert bubbles(app)[1] == "A short answer."
    assert [c.title for c in parts.store.list()] == ["Explain why the sky is blue"]


def test_turn_is_shown_with_speed_and_tokens_and_saved(page, parts, script):
    app = say(page(), "Hello")
    assert bubbles(app) == ["Hello", "A short answer."]
    assert app.main.caption[0].value == "scripted · 12.3 tokens/s · 7 evaluated / 21 cached"
    assert [message.text for message in parts.store.messages(chat_id(app))] == ["Hello", "A short answer."]
    app = say(app, "And more")
    assert sent(script, 1) == ["Hello", "A short answer.", "And more"]


def test_address_opens_the_conversation_again(page):
    first = say(page(), "Hello")
    assert bubbles(shown_without_error(page(chat=chat_id(first)))) == ["Hello", "A short answer."]


def test_address_of_a_deleted_conversation_is_a_message_and_a_fresh_page(page):
    app = page(chat="0" * 32)
    assert "no conversation" in app.error[0].value
    assert app.title[0].value == "What shall we talk about?"
    assert "chat" not in app.query_params


def test_new_open_and_search(page):
    app = say(page(), "About apples")
    apples = chat_id(app)
    app = say(press(app, "new"), "About pears")
    pears = chat_id(app)
    assert apples != pears
    app = press(app, f"open-{apples}")
    assert bubbles(app)[0] == "About apples"
    assert app.button(key=f"opened-{apples}").label == "About apples"
    app = shown_without_error(app.text_input(key="search").set_value("PEAR").run())
    assert [b.key for b in app.sidebar.button if b.label.startswith("About")] == [f"open-{pears}"]
    app = shown_without_error(app.text_input(key="search").set_value("cherries").run())
    assert "No conversation" in app.sidebar.caption[0].value


def test_rename_and_delete_with_confirmation(page, parts):
    app = say(page(), "Hello")
    opened = chat_id(app)
    app = shown_without_error(app.text_input(key=f"rename-{opened}").set_value("A new *name*").run())
    assert app.button(key=f"opened-{opened}").label == r"A new \*name\*"
    states = StateFiles(parts.settings.state_dir / "model" / "context", 1000)
    states.write(opened, [1, 2, 3], b"what the model made of it")
    app = press(app, "delete")
    assert parts.store.list(), "Nothing is deleted before it is confirmed."
    assert states.longest([1, 2, 3]) != (None, 0)
    app = press(app, "delete-yes")
    assert parts.store.list() == []
    assert states.longest([1, 2, 3]) == (None, 0), "The KV state tells of the conversation too."
    assert app.title[0].value == "What shall we talk about?"


def test_keep_deletes_nothing(page, parts):
    app = press(press(say(page(), "Hello"), "delete"), "delete-no")
    assert len(parts.store.list()) == 1
    assert bubbles(app)[0] == "Hello"


def test_edit_replaces_the_conversation_from_there(page, parts, script):
    script.answers = ["one", "two", "three"]
    app = say(say(page(), "First"), "Second")
    app = press(app, "edit-0")
    app.text_area(key="edit-0-text").set_value("Changed")
    app = press(app, "edit-0-send")
    assert bubbles(app) == ["Changed", "three"]
    assert [message.text for message in parts.store.messages(chat_id(app))] == ["Changed", "three"]
    assert sent(script, 2) == ["Changed"]


def test_cancelled_edit_changes_nothing(page, script):
    app = press(press(say(page(), "First"), "edit-0"), "edit-0-cancel")
    assert bubbles(app) == ["First", "A short answer."]
    assert len(script.asked) == 1


def test_regenerate_replaces_the_last_answer_only(page, parts, script):
    script.answers = ["one", "two", "three"]
    app = press(say(say(page(), "First"), "Second"), "again-3")
    assert bubbles(app) == ["First", "one", "Second", "three"]
    assert sent(script, 2) == ["First", "one", "Second"]


def test_failed_regenerate_keeps_the_old_answer(page, parts, script):
    script.answers = ["one", ContextOverflowError("It does not fit.", hint="Begin a new chat.")]
    app = press(say(page(), "First"), "again-1")
    assert [message.text for message in parts.store.messages(chat_id(app))] == ["First", "one"]
    assert "It does not fit" in app.error[0].value


@pytest.mark.parametrize("when", ["loading", "answering"])
def test_error_is_a_message_with_its_hint_and_the_text_is_sent_again(page, parts, script, when):
    error = ModelNotFoundError("There is no model [x](http://127.0.0.1/).", hint="Pull *it*.")
    if when == "loading":
        script.refusal = error
    else:
        script.answers = [error, "Now it works."]
    app = say(page(), "A long question\nin two lines")
    shown = app.error[0].value
    assert r"no model \[x\]\(http\:\/\/127\.0\.0\.1\/\)" in shown, "An error is text, not Markdown."
    assert r"Pull \*it\*\." in shown
    assert failed_box(app).value == "A long question\nin two lines"
    script.refusal = None
    app = press(app, failed_button(app, "send"))
    assert not app.error
    assert len(parts.store.messages(chat_id(app))) == 2


def test_a_second_message_that_fails_is_not_lost_behind_the_first(page, script):
    script.refusal = ModelNotFoundError("No model.", hint="")
    app = say(say(page(), "First"), "Second")
    assert failed_box(app).value == "Second"


def test_failure_belongs_to_its_conversation_and_can_be_discarded(page, script):
    script.answers = ["fine", StoreError("Broken.", hint="")]
    app = say(say(page(), "First"), "Second")
    broken = chat_id(app)
    app = press(app, "new")
    assert not app.error
    app = press(app, f"open-{broken}")
    assert app.error
    app = press(app, failed_button(app, "cancel"))
    assert not app.error
    assert bubbles(app) == ["First", "fine"]


def test_broken_data_folder_is_a_message(settings, monkeypatch):
    settings.data_dir.parent.mkdir(exist_ok=True)
    settings.data_dir.write_text("not a folder")
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    st.cache_resource.clear()
    app = AppTest.from_file(history.__file__.replace("history", "main"), default_timeout=60).run()
    assert not app.exception
    assert "PHIRESIDE_DATA_DIR" in app.error[0].value.replace("\\", "")


def test_choices_are_kept_with_each_conversation(page, parts, script, settings):
    app = page()
    app.slider(key="temperature-new").set_value(1.5)
    app.text_area(key="system-new").set_value("Be brief.")
    app = say(shown_without_error(app.run()), "Hello")
    opened = chat_id(app)
    assert script.loaded[-1][1]["temperature"] == 1.5
    assert script.asked[-1][0].text == "Be brief."
    assert read_choices(parts.store.get(opened).options) == Choices(temperature=1.5, system="Be brief.")
    app = say(press(app, "new"), "Hello again")
    assert script.asked[-1][0].text == settings.system_prompt
    assert script.loaded[-1][1]["temperature"] == Choices().temperature
    app = press(app, f"open-{opened}")
    assert app.slider(key=f"temperature-{opened}").value == 1.5
    app = shown_without_error(app.number_input(key=f"seed-{opened}").set_value(7).run())
    say(app, "Once more")
    assert (script.loaded[-1][1]["seed"], script.loaded[-1][1]["temperature"]) == (7, 1.5)


def test_with_tools_the_likeliest_words_are_taken_and_shown_until_somebody_chooses(page, parts, script):
    conversation = parts.store.create("Sums", tools=["clock"])
    app = page(chat=conversation.id)
    key = f"temperature-{conversation.id}"
    assert (app.slider(key=key).value, app.slider(key=f"repeat_penalty-{conversation.id}").value) == (0.0, 1.0)
    assert any("likeliest words and no penalty" in each.value for each in app.caption)
    app = say(app, "Hello")
    assert (script.loaded[-1][1]["temperature"], script.loaded[-1][1]["repeat_penalty"]) == (0.0, 1.0)
    app = press(app, "style-balanced")
    assert app.slider(key=key).value == 0.7
    say(app, "Hello")
    assert (script.loaded[-1][1]["temperature"], script.loaded[-1][1]["repeat_penalty"]) == (0.7, 1.0)


def test_what_nobody_chose_is_not_kept_as_a_choice(page, parts):
    opened = chat_id(say(page(), "Hello"))
    parts.store.set_options(opened, base="house")
    assert read_choices(parts.store.get(opened).options).sampling["temperature"] == 0.0


@pytest.mark.parametrize("name", PRESETS)
def test_preset_moves_the_sliders(page, script, name):
    app = press(page(), f"style-{name}")
    assert app.slider(key="temperature-new").value == pytest.approx(PRESETS[name].temperature)
    assert app.slider(key="top_p-new").value == pytest.approx(PRESETS[name].top_p)
    say(app, "Hello")
    assert script.loaded[-1][1]["temperature"] == pytest.approx(PRESETS[name].temperature)


def test_model_is_chosen_per_conversation(page, script, settings):
    app = page()
    assert any("not downloaded" in option for option in app.selectbox(key="model-new").options)
    assert any(option.startswith("starter · ready, ") for option in app.selectbox(key="model-new").options)
    say(app, "With the default")
    assert script.loaded[-1][0] == settings.model
    app = press(app, "new")
    say(shown_without_error(app.selectbox(key="model-new").set_value("starter").run()), "With another")
    assert script.loaded[-1][0] == "starter"


def test_answer_goes_on_when_its_page_is_left_and_is_found_again(page, parts, script, until):
    script.gate.clear()
    script.answers = ["A long answer."]
    opened = parts.store.create("Kept").id
    turn = parts.chat.send(opened, "Hello", model=script.load("starter"))
    until(lambda: turn.text == "A")
    other = page()
    assert other.title[0].value == "What shall we talk about?"
    assert parts.chat.running(opened) is turn
    script.gate.set()
    app = press(other, f"open-{opened}")
    assert bubbles(app) == ["Hello", "A long answer."]


def test_stopped_answer_is_kept_and_marked(page, parts, script, until):
    script.gate.clear()
    opened = parts.store.create("Kept").id
    turn = parts.chat.send(opened, "Hello", model=script.load("starter"))
    until(lambda: turn.text == "A")
    turn.stop()
    until(lambda: turn.ended)
    app = shown_without_error(page(chat=opened))
    assert bubbles(app) == ["Hello", "A"]
    assert "Stopped" in app.main.caption[0].value


def test_text_is_kept_when_it_is_stopped_before_the_first_word(page, parts, script, until):
    script.gate.clear()
    script.answers = [""]
    app = page()
    with ThreadPoolExecutor(1) as browser:
        asked = browser.submit(say, app, "Hello")
        until(lambda: len(script.asked) == 1)
        opened = parts.store.list()[0].id
        parts.chat.running(opened).stop()
        script.gate.set()
        app = asked.result(60)
    assert failed_box(app).value == "Hello"
    assert "Stopped before the first word" in app.main.caption[0].value


def test_failure_behind_the_back_of_the_page_is_found_on_return(page, parts, script, until):
    script.answers = [ContextOverflowError("It does not fit.", hint="Begin a new chat.")]
    opened = parts.store.create("Kept").id
    turn = parts.chat.send(opened, "Hello", model=script.load("starter"))
    until(lambda: turn.ended)
    app = page()
    app.session_state["turns"] = {opened: turn}  # as if asked here, before another conversation was opened
    app = press(app, f"open-{opened}")
    assert "It does not fit" in app.error[0].value
    assert failed_box(app).value == "Hello"


def test_long_conversation_shows_its_end_first(page, parts):
    opened = parts.store.create("Long").id
    parts.store.save_turn(opened, [m for i in range(30) for m in (HumanMessage(f"q{i}"), AIMessage(f"a{i}"))])
    app = shown_without_error(page(chat=opened))
    assert bubbles(app)[0] == "q10"
    assert bubbles(press(app, "show-all"))[0] == "q0"


def test_titles_and_messages_show_no_image(page, parts):
    opened = parts.store.create("![x](http://127.0.0.1/title)").id
    text = "![x](http://127.0.0.1/text) costs $5 and $6"
    parts.store.save_turn(opened, [HumanMessage(text), AIMessage(text)])
    app = shown_without_error(page(chat=opened))
    assert "![" not in app.button(key=f"opened-{opened}").label
    for bubble in bubbles(app):
        assert "![" not in bubble
        assert r"\$5 and \$6" in bubble


def test_conversations_are_grouped_by_day():
    today = date(2026, 3, 15)

    def conversation(days: int) -> Conversation:
        at = datetime(2026, 3, 15, 12).astimezone() - timedelta(days=days)
        return Conversation(str(days), "", at.astimezone(UTC), at.astimezone(UTC), {})

    groups = history.by_date([conversation(days) for days in (0, 1, 2, 6, 7, 40)], today)
    assert [(title, [c.id for c in found]) for title, found in groups] == [
        ("Today", ["0"]),
        ("Yesterday", ["1"]),
        ("Last 7 days", ["2", "6"]),
        ("Earlier", ["7", "40"]),
    ]


def test_choices_that_cannot_be_used_are_the_defaults():
    assert read_choices({"temperature": 99, "top_k": "many", "seed": 3, "unknown": 1}) == Choices(seed=3)


def test_facts_name_what_the_model_reported_and_nothing_else():
    assert facts(AIMessage("x")) == []
    cut = AIMessage("x", response_metadata={"finish_reason": "length", "model_name": "a_b", "tokens_per_second": 8})
    assert facts(cut)[1:] == [r"a\_b", "8.0 tokens/s"]
    assert "limit" in facts(cut)[0]


def test_an_answer_that_cannot_be_saved_is_still_shown(page, parts, script, monkeypatch):
    def full(*args, **kwargs):
        raise StoreError("The disk is full.", hint="Make room.")

    script.answers = ["A precious answer."]
    monkeypatch.setattr(parts.store, "save_turn", full)
    app = say(page(), "First")
    assert "The disk is full" in app.error[0].value
    assert any("A precious answer." in text.value for text in app.markdown)


def test_what_another_window_added_is_not_replaced_unseen(page, parts, script):
    script.answers = ["one", "two"]
    app = say(page(), "First")
    parts.store.save_turn(chat_id(app), [HumanMessage("Elsewhere"), AIMessage("added")])
    app = app.button(key="again-1").click().run()
    assert "another window" in app.error[0].value
    assert [message.text for message in parts.store.messages(chat_id(app))] == ["First", "one", "Elsewhere", "added"]

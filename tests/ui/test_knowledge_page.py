"""The knowledge page in AppTest: bases, what is added and removed, searches, the map; work that outlives the page."""

import threading

import pages
import pytest
import streamlit as st
from answers import answers
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage, HumanMessage
from pages import fine, keys, press, said

from phireside.agents.assistant import close_bases, knowledge_base
from phireside.errors import DocumentError
from phireside.retrieval import KnowledgeBase, Loaded, Section, base_names
from phireside.retrieval.bases import create_base, delete_base
from phireside.ui import knowledge_documents, knowledge_page
from phireside.ui.knowledge_parts import desk
from phireside.ui.knowledge_work import LOADING

EVIL = "<img src=x onerror=alert(1)> ![x](y).txt"


class Gated(HashedEmbeddings):
    """Waits before it embeds what is stored."""

    def __init__(self):
        super().__init__(32)
        self.gate = threading.Event()
        self.gate.set()

    def embed_documents(self, texts):
        assert self.gate.wait(60)
        return super().embed_documents(texts)


class OtherEmbeddings(HashedEmbeddings):
    """Another model."""


@pytest.fixture
def model(parts, monkeypatch):
    """The embedding model of all bases."""
    model = Gated()
    monkeypatch.setattr("phireside.agents.assistant.embeddings_named", lambda _: model)
    yield model
    model.gate.set()
    st.cache_resource.clear()  # ends all work
    close_bases()


@pytest.fixture
def bases(parts):
    """The folder of bases."""
    return parts.settings.bases_dir


@pytest.fixture
def open_page(model, bases, parts):
    """`open_page()` is the list in a browser session of its own; `open_page("work")` a base, made if it is missing."""

    def open_at(name=None, view=None):
        if name is not None and name not in base_names(bases):
            create_base(name, bases)
        app = pages.open_page("knowledge_page", **({"base": name} if name else {}))
        return look(app, view) if view else app

    return open_at


@pytest.fixture
def work(open_page, parts):
    """A base with three documents in it."""
    create_base("work", parts.settings.bases_dir)
    base = knowledge_base("work", parts.settings)
    base.add_text("A copper kettle boils on the stove.", source="stove", title="The *stove*")
    base.add_text("A whale swims in the ocean.", source="whale", title="The whale")
    base.add_upload("notes.md", b"# Notes\n\nFoxes were hunting <b>mice</b>.\n")
    return base


def look(app, view):
    return fine(app.get("button_group")[0].set_value(view).run())


def html(app):
    return "\n".join(element.proto.body for element in app.get("html"))


def finished(app, until, bases, name="work"):
    """The page as it is once the work on a base is done."""
    until(lambda: not desk().busy(bases / name))
    return fine(app.run())


def upload(app, *files):
    app.file_uploader[0].set_value([(name, data, "text/plain") for name, data in files]).run()
    return press(app, "add-files")


# ---- bases ----


def test_a_base_is_made_and_asks_for_documents(open_page, bases):
    app = open_page()
    assert "No base yet" in said(app)
    app.text_input(key="new-base-name").set_value(" My notes ")
    app = press(app, "create-base")
    assert app.query_params["base"] == "My notes"
    assert app.get("button_group")[0].value == "Add"
    assert app.file_uploader
    app = press(app, "all-bases")
    assert "0 documents · 0 chunks" in said(app)
    assert app.text_input(key="new-base-name").value == ""


@pytest.mark.parametrize(
    ("name", "reason"), [("../x", "cannot be the name"), ("WORK", "'work' already"), (" ", "Give the base a name.")]
)
def test_a_name_that_cannot_be_is_said_and_stays(open_page, bases, name, reason):
    create_base("work", bases)
    app = open_page()
    app.text_input(key="new-base-name").set_value(name)
    app = press(app, "create-base")
    assert reason in said(app)
    assert app.text_input(key="new-base-name").value == name
    assert not fine(app.run()).error, "It is said once."


def test_an_address_of_no_base_shows_the_list(open_page, bases):
    app = open_page()
    app.query_params["base"] = "![x](y)"
    app = fine(app.run())
    assert "There is no base called ![x](y)" in said(app)
    assert "![x](y)" not in "\n".join(each.value for each in app.caption)


def test_a_base_of_a_chat_s_files_has_the_chat_s_title(open_page, parts, bases):
    chat = parts.store.create("My *talk*")
    parts.store.save_turn(chat.id, [HumanMessage("Hi"), AIMessage("Yes")])
    create_base(f"chat-{chat.id}", bases)
    create_base("chat-old", bases)
    app = open_page()
    labels = {button.key: button.label for button in app.button if (button.key or "").startswith("base-")}
    assert labels == {"base-chat-old": r"**chat\-old**", f"base-chat-{chat.id}": r"**My \*talk\***"}
    app = press(app, f"base-chat-{chat.id}")
    assert app.title[0].value == r"Files of “My \*talk\*”"


def test_a_damaged_base_hides_no_other_and_can_be_deleted(open_page, work, bases):
    (bases / "broken").mkdir()
    (bases / "broken" / "base.sqlite3").write_bytes(b"no database at all" * 100)
    app = open_page()
    assert "3 documents" in said(app)
    app = press(app, "base-broken")
    assert "cannot be used" in said(app)
    app = press(press(app, "delete-base"), "delete-base-yes")
    assert base_names(bases) == ["work"]


def test_a_chat_with_the_base_is_one_click_away(open_page, work):
    app = press(open_page("work"), "ask-base")
    assert app.session_state["draft"].base == "work"
    assert app.session_state["opening"], "As a click on New chat does."
    assert "ask-base" not in keys(open_page("empty"))


def test_deleting_asks_first(open_page, work, bases):
    app = press(press(open_page("work"), "delete-base"), "delete-base-no")
    assert base_names(bases) == ["work"]
    app = press(press(app, "delete-base"), "delete-base-yes")
    assert base_names(bases) == []
    assert "base" not in app.query_params
    create_base("work", bases)
    assert "0 documents" in said(open_page("work")), "Nothing of the old one is still open."


# ---- adding ----


def test_files_are_added_and_those_that_cannot_be_read_are_named(open_page, until, bases):
    app = open_page("work")
    good = [("a.txt", b"A text about ships."), (EVIL, b"Another about trains.")]
    app = upload(app, *good, ("b.exe", b"MZ"), ("c.pdf", b"no pdf"))
    app = finished(app, until, bases)
    shown = said(app)
    assert "2 added, 2 could not be read" in shown
    assert "b.exe · b.exe is of a kind that is not known" in shown.replace("**", "")
    assert "c.pdf cannot be read" in shown
    assert "2 documents · 2 chunks" in shown
    assert not app.file_uploader[0].value, "The box is empty again."
    app = press(app, "dismiss-work")
    assert "could not be read" not in said(app)
    titles = [each.value for each in look(app, "Documents").main.markdown]
    assert r"**\<img src\=x onerror\=alert\(1\)\> \!\[x\]\(y\)\.txt**" in titles, "A name is data."


def test_a_folder_is_followed(open_page, until, bases, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("About ships.")
    (folder / "b.txt").write_text("About trains.")
    (folder / "c.png").write_bytes(b"x")
    app = open_page("work")
    app.text_input(key="path-text").set_value(str(folder))
    app = finished(press(app, "add-path"), until, bases)
    assert "2 added, 1 of a kind that is not read" in said(app)
    (folder / "b.txt").unlink()
    app.text_input(key="path-text").set_value(str(folder))
    app = finished(press(app, "add-path"), until, bases)
    assert "1 unchanged, 1 removed" in said(app)


def test_a_path_that_cannot_be_followed_is_said_and_stays(open_page, until, bases):
    app = open_page("work")
    app.text_input(key="path-text").set_value("/nowhere/at/all")
    app = finished(press(app, "add-path"), until, bases)
    assert "is not a folder" in said(app)
    assert app.text_input(key="path-text").value == "/nowhere/at/all"
    app.text_input(key="path-text").set_value("  ")
    assert "Nothing was typed" in said(press(app, "add-path"))


def test_a_page_and_a_text_are_added(open_page, until, bases, monkeypatch):
    loaded = Loaded("A guide", "html", (Section("How to light a fire."),))
    monkeypatch.setattr("phireside.retrieval.knowledge_base.load_page", lambda _: loaded)
    app = open_page("work")
    app.text_input(key="page-text").set_value("https://example.org/guide")
    app = finished(press(app, "add-page"), until, bases)
    assert "1 added" in said(app)
    app.text_input(key="text-title").set_value("A note")
    app.text_area(key="text-text").set_value("Buy wood.")
    app = finished(press(app, "add-text"), until, bases)
    assert "2 documents" in said(app)
    shown = said(look(app, "Documents"))
    assert "https://example.org/guide" in shown
    assert "typed" in shown


def test_a_page_that_cannot_be_fetched_is_said(open_page, until, bases, monkeypatch):
    def gone(_):
        raise DocumentError("The page answers 404.", hint="Check the address.")

    monkeypatch.setattr("phireside.retrieval.knowledge_base.load_page", gone)
    app = open_page("work")
    app.text_input(key="page-text").set_value("https://example.org/gone")
    app = finished(press(app, "add-page"), until, bases)
    assert "did not succeed" in said(app)
    assert "Check the address." in said(app)


def test_a_model_that_fails_ends_the_work_with_a_reason(open_page, until, bases, model):
    app = open_page("work")
    model.fault = RuntimeError("out of memory")
    app = finished(upload(app, ("a.txt", b"Ships.")), until, bases)
    assert "out of memory" in said(app)
    model.fault = None
    app = finished(upload(app, ("a.txt", b"Ships.")), until, bases)
    assert "1 added" in said(app)


# ---- work that goes on ----


def test_files_that_could_not_be_added_now_stay_chosen(open_page, until, bases, model):
    app = open_page("work")
    app.file_uploader[0].set_value([("a.txt", b"Ships.", "text/plain")])
    app = fine(app.run())
    model.gate.clear()
    desk().begin(bases / "work", "Adding from another window", lambda _: model.gate.wait(20) and "")
    app = press(app, "add-files")
    assert "being worked on" in said(app)
    assert [file.name for file in app.file_uploader[0].value] == ["a.txt"]


def test_work_outlives_its_page_and_every_page_shows_it(open_page, until, bases, model):
    model.gate.clear()
    app = upload(open_page("work"), ("a.txt", b"Ships."), ("b.txt", b"Trains."))
    assert "Adding 2 files" in said(app)
    assert app.button(key="add-path").disabled
    app = press(app, "all-bases")
    assert "being worked on" in said(app)
    other = open_page("work")
    assert "stop-work" in keys(other)
    assert other.button(key="delete-base").disabled is False
    assert press(other, "delete-base").button(key="delete-base-yes").disabled, "Not under its hands."
    model.gate.set()
    other = finished(other, until, bases)
    assert "2 added" in said(other)
    assert "2 documents" in said(open_page("work"))


def test_work_stops_when_it_is_asked_to_and_keeps_what_is_done(open_page, until, bases, model):
    model.gate.clear()
    app = upload(open_page("work"), *((f"{n}.txt", f"Text {n}.".encode()) for n in range(9)))
    until(lambda: (desk().work(bases / "work").step or "").endswith(".txt"))
    press(app, "stop-work")
    model.gate.set()
    app = finished(app, until, bases)
    assert "was stopped" in said(app)
    assert "1 document ·" in said(app)


def test_two_bases_are_worked_on_at_once(open_page, until, bases, model):
    model.gate.clear()
    upload(open_page("one"), ("a.txt", b"Ships."))
    other = open_page("two")
    assert not other.button(key="add-path").disabled
    upload(other, ("a.txt", b"Trains."))
    model.gate.set()
    for name in ("one", "two"):
        assert "1 added" in said(finished(open_page(name), until, bases, name))


def test_loading_the_embedding_model_is_said_once(open_page, work, parts, model):
    steps = []
    for _ in range(2):
        desk().loaded(work, "starter", steps.append)
    assert steps == [LOADING]


# ---- documents ----


def test_documents_are_listed_found_and_read(open_page, work):
    app = open_page("work")
    assert app.get("button_group")[0].value == "Documents"
    shown = said(app)
    assert "**The *stove***" in shown
    assert "md · 1 chunk" in shown
    assert "uploaded" in shown
    notes = next(each.id for each in work.documents() if each.kind == "md")
    app = press(app, f"read-{notes}")
    assert "Foxes were hunting &lt;b&gt;mice&lt;/b&gt;." in html(app)
    assert not html(press(app, f"read-{notes}"))
    app.text_input(key="documents-find").set_value("WHALE").run()
    assert "The whale" in said(app)
    assert "stove" not in said(app)
    assert "No document has this" in said(app.text_input(key="documents-find").set_value("nothing").run())


def test_a_long_document_and_a_long_list_come_in_parts(open_page, work, monkeypatch):
    monkeypatch.setattr(knowledge_documents, "PAGE", 2)
    monkeypatch.setattr(knowledge_documents, "CHUNKS", 3)
    work.add_text("\n\n".join(f"Paragraph {n}. " + "word " * 150 for n in range(6)), source="a long one", title="Long")
    app = open_page("work")
    assert len([key for key in keys(app) if key.startswith("read-")]) == 2
    app = press(app, "more-documents")
    assert len([key for key in keys(app) if key.startswith("read-")]) == 4
    long = next(each for each in work.documents() if each.title == "Long")
    app = press(app, f"read-{long.id}")
    assert html(app).count("<div") == 3
    assert f"1 of {long.chunks}" in said(app)
    assert html(press(app, "more-chunks")).count("<div") == min(6, long.chunks)


def test_removing_a_document_asks_first(open_page, work):
    whale = next(each.id for each in work.documents() if each.title == "The whale")
    app = press(press(open_page("work"), f"remove-{whale}"), f"sure-{whale}-no")
    assert len(work.documents()) == 3
    app = press(press(app, f"remove-{whale}"), f"sure-{whale}-yes")
    assert len(work.documents()) == 2
    assert "2 documents" in said(app)


# ---- search ----


def test_a_search_shows_each_stage_s_rank_and_marks_the_words(open_page, work):
    app = open_page("work", "Search")
    assert "BM25" in said(app), "The stages are explained."
    app = fine(app.text_input(key="try-query").set_value("who hunts foxes?").run())
    shown, texts = said(app), html(app)
    assert "dense **#1**" in shown
    assert "keyword **#1**" in shown
    assert "keyword: not found" in shown, "of those that only mean something alike"
    assert texts.count("<mark") == 2
    assert ">Foxes</mark>" in texts
    assert ">hunting</mark>" in texts
    assert "&lt;b&gt;mice" in texts
    assert "3 chunks in" in shown


def test_a_search_obeys_its_settings(open_page, work):
    app = open_page("work", "Search")
    app.text_input(key="try-query").set_value("ocean")
    app.slider(key="try-k").set_value(1)
    app = fine(app.get("button_group")[1].set_value(["keyword"]).run())
    assert "1 chunk in" in said(app)
    assert "dense" not in said(app)
    app.toggle(key="try-limited").set_value(True).run()
    app.slider(key="try-threshold").set_value(1.0)
    assert "Nothing was found" in said(fine(app.run()))
    app = fine(app.get("button_group")[1].set_value([]).run())
    assert "Choose among dense" in said(app)


# ---- the map ----


def test_the_map_names_topics_by_their_words_and_then_by_the_model(open_page, work, until, bases, monkeypatch):
    work.add_texts([f"{words} {n}" for words in ("stove kettle oven", "whale ocean krill") for n in range(9)])
    app = open_page("work", "Map")
    assert "All 21 chunks" in said(app)
    labels = [each.label for each in app.expander]
    assert len(labels) == 3
    assert labels[0].startswith("1 · ")
    assert len(app.get("vega_lite_chart")) == 1
    monkeypatch.setattr("phireside.ui.knowledge_map.load_chat_model", lambda *_: answers("Kettle oven"))
    app = finished(press(app, "name-topics"), until, bases)
    assert "1 of 3 have a name" in said(app)
    assert [each.label for each in app.expander if "Kettle oven" in each.label]
    other = open_page("work", "Map")
    assert [each.label for each in other.expander if "Kettle oven" in each.label], "Every page has them."


def test_a_base_that_was_made_anew_by_another_program_has_a_map_of_its_own(open_page, parts, bases):
    for word in ("secret", "open"):
        knowledge_base("work", parts.settings, create=True).add_text(f"A {word} letter.")
        shown = html(open_page("work", "Map"))
        close_bases()
        delete_base("work", bases)
    assert "open letter" in shown
    assert "secret" not in shown


def test_an_empty_base_has_no_map(open_page):
    assert "Nothing is in this base yet" in said(open_page("work", "Map"))


# ---- another embedding model ----


def test_a_base_of_another_model_is_told_and_embedded_anew(open_page, until, bases, model, parts):
    made = KnowledgeBase(bases / "work", OtherEmbeddings(16))
    made.add_texts(["A whale swims in the ocean.", "A copper kettle boils."])
    made.close()
    app = open_page("work")
    assert "made with the embedding model OtherEmbeddings" in said(app)
    app = look(app, "Search")
    assert "is another one" in said(fine(app.text_input(key="try-query").set_value("whale").run()))
    app = finished(press(app, "reindex-now"), until, bases)
    assert "2 chunks were embedded anew" in said(app)
    assert not app.warning
    assert "dense **#1**" in said(app)


def test_the_page_s_views_are_all_drawn_for_an_empty_base(open_page):
    for view in knowledge_page.VIEWS:
        assert not open_page("empty", view).error

"""The settings page in AppTest: settings and their lines, tools, MCP servers, what is kept, and erasing it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage, HumanMessage
from mcp_server import tool
from mcp_servers import program
from pages import fine, open_page, press, texts
from streamlit.testing.v1 import AppTest

from phireside.agents.assistant import knowledge_base
from phireside.errors import KnowledgeError
from phireside.retrieval.bases import create_base
from phireside.settings import Settings
from phireside.tools.mcp_approvals import Approvals
from phireside.ui import attachments, erasing, settings_page
from phireside.ui.knowledge_parts import desk

MAIN = Path(settings_page.__file__).with_name("main.py")


@pytest.fixture
def page_of(parts, menu):
    """`page_of()` opens the settings page."""

    def open_page(app: AppTest | None = None) -> AppTest:
        return fine(menu(app or AppTest.from_file(MAIN, default_timeout=60), "settings"))

    return open_page


@pytest.fixture
def talked(parts):
    """A conversation and a fact."""
    parts.store.facts.switch(True)
    opened = parts.store.create().id
    parts.store.save_turn(opened, [HumanMessage("My pin is 4711."), AIMessage("Noted.")])
    parts.store.facts.add(opened, 0, ["My pin is 4711."])
    return opened


@pytest.fixture
def servers(settings, tmp_path):
    """An MCP file with one server, which has one tool."""
    (tmp_path / "tools.json").write_text(json.dumps([tool("read")]))
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.mcp_file.write_text(json.dumps({"mcpServers": {"no*tes": program("--tools", tmp_path / "tools.json")}}))


def erased(app: AppTest, name: str) -> AppTest:
    app = press(app, f"erase-{name}")
    app.text_input(key=f"word-{name}").set_value(f" {name.title()} ")
    return press(app, f"erase-yes-{name}")


def test_every_setting_stands_there_with_its_source_and_no_secret(page_of, parts, monkeypatch):
    monkeypatch.setenv("PHIRESIDE_ENGINE__N_CTX", "1024")
    monkeypatch.setenv("PHIRESIDE_OPENAI_API_KEY", "sk-hunter2")
    with_variables = replace(parts, settings=Settings())
    monkeypatch.setattr(settings_page, "services", lambda: with_variables)
    app = page_of()
    lines = texts(app)
    assert r"engine\.n\_ctx: **1024**, from PHIRESIDE\_ENGINE\_\_N\_CTX" in lines
    assert r"model: **auto**, the default" in lines
    assert "hunter2" not in lines
    assert "Engine · 1 set" in [expander.label for expander in app.main.expander]


def test_the_line_to_write_is_said(page_of):
    app = page_of()
    assert "How to change a setting" in [expander.label for expander in app.main.expander]
    app = fine(app.selectbox(key="setting-name").set_value("engine.n_ctx").run())
    app = fine(app.text_input(key="setting-engine.n_ctx").set_value("2048").run())
    codes = [code.value for code in app.main.code]
    assert "[engine]\nn_ctx = 2048" in codes
    assert "PHIRESIDE_ENGINE__N_CTX=2048" in codes
    app = fine(app.text_input(key="setting-engine.n_ctx").set_value("-3").run())
    assert "greater than or equal" in app.error[0].value.replace("\\", "")
    app = fine(app.selectbox(key="setting-name").set_value("openai_api_key").run())
    assert 'openai_api_key = "…"' in [code.value for code in app.main.code]


def test_facts_and_tools_are_told(page_of, talked):
    app = page_of()
    assert "1 fact is kept. They are told to models." in texts(app)
    assert app.main.page_link[0].label == "Read, correct and forget them"
    assert "**Calculator** · Works out" in texts(app)
    assert "No folder is allowed" in texts(app)


def test_mcp_servers_are_approved_and_an_approval_is_taken_back(page_of, servers, settings, until):
    app = press(page_of(), "mcp-look")

    def looked() -> AppTest:
        until(lambda: app.session_state["mcp-review"].ended)
        return fine(app.run())

    app = looked()
    assert r"The server no\*tes has not been approved" in texts(app)
    yes = next(button.key for button in app.main.button if (button.key or "").startswith("mcp-yes"))
    app = press(app, yes)
    app = looked()
    assert r"The tool read of no\*tes has not been approved" in texts(app)
    no = next(button.key for button in app.main.button if (button.key or "").startswith("mcp-no"))
    assert "The tool read" not in texts(press(app, no))
    app = press(app, "mcp-look")
    app = looked()
    app = press(app, next(button.key for button in app.main.button if (button.key or "").startswith("mcp-yes")))
    app = looked()
    assert "Tools that agents may use" in texts(app)
    assert [each.tools for each in Approvals(settings.mcp_approvals, None).servers()] == [("read",)]
    press(app, next(button.key for button in app.main.button if (button.key or "").startswith("mcp-revoke")))
    assert Approvals(settings.mcp_approvals, None).servers() == []


def test_without_servers_an_example_is_shown_and_damage_is_said(page_of, settings):
    settings.mcp_approvals.write_text("[")
    app = page_of()
    assert any("mcpServers" in code.value for code in app.main.code)
    assert "is damaged" in app.error[0].value
    assert "erase-everything" in {button.key for button in app.main.button}, "The rest of the page is there."


def test_nothing_is_erased_before_its_name_is_typed(page_of, parts, talked):
    app = press(page_of(), "erase-conversations")
    app.text_input(key="word-conversations").set_value("yes")
    app = press(app, "erase-yes-conversations")
    assert "Nothing was erased" in app.warning[0].value
    assert parts.store.whole.count() == 1
    app = press(app, "erase-no-conversations")
    assert "erase-conversations" in {button.key for button in app.main.button}
    assert parts.store.whole.count() == 1


def test_a_kind_is_erased_and_the_chat_page_opens_as_new(page, page_of, parts, talked):
    app = page(chat=talked)
    assert len(app.chat_message) == 2
    app = erased(page_of(app), "conversations")
    assert app.success[0].value == "Conversations: erased."
    assert (parts.store.whole.count(), len(parts.store.facts.list())) == (0, 1)
    app = fine(page())
    assert app.title[0].value == "What shall we talk about?"


def test_everything_is_erased_and_a_chat_works_afterwards(page, page_of, parts, talked, until):
    app = erased(page_of(), "everything")
    assert app.success[0].value == "Everything: erased."
    assert not app.error
    assert (parts.store.whole.count(), parts.store.facts.list()) == (0, [])
    app = page()
    app.chat_input[0].set_value("Hello").run()
    until(lambda: parts.store.whole.count() == 1 and len(parts.store.messages(parts.store.list()[0].id)) == 2)


def test_a_base_that_is_open_is_closed_before_it_is_erased(page_of, parts, settings):
    base = knowledge_base("mine", parts.settings, HashedEmbeddings(), create=True)
    app = erased(page_of(), "bases")
    assert not app.error
    assert list(settings.bases_dir.iterdir()) == []
    with pytest.raises(KnowledgeError, match="closed"):
        base.documents()


def test_nothing_of_an_erased_base_is_seen_in_a_new_one_of_its_name(page_of, parts, monkeypatch):
    monkeypatch.setattr("phireside.agents.assistant.embeddings_named", lambda _: HashedEmbeddings())

    def seen_with(text: str) -> str:
        knowledge_base("mine", parts.settings, create=True).add_text(text)
        desk().begin(parts.settings.bases_dir / "mine", f"Adding {text}", lambda _: "1 added").wait(20)
        app = open_page("knowledge_page", base="mine")
        fine(app.get("button_group")[0].set_value("Map").run())
        return texts(app) + "".join(each.proto.body for each in app.get("html"))

    assert "secret" in seen_with("A secret of yesterday.")
    chat = parts.store.create("Chat").id
    attachments.attach(desk(), parts.settings, chat, [("a.txt", b"A secret.")], "", lambda: None).work.wait(20)
    erased(page_of(), "bases")
    assert attachments.attached(chat) is None
    create_base("mine", parts.settings.bases_dir)
    assert "secret" not in texts(open_page("knowledge_page", base="mine"))
    assert "secret" not in seen_with("A word of today.")


def test_what_could_not_be_erased_is_said(page_of, parts, settings, monkeypatch):
    (settings.runs_dir / "x").mkdir(parents=True)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("phireside.erase.shutil.rmtree", refuse)
    app = erased(page_of(), "runs")
    assert "cannot be deleted" in app.error[0].value
    assert not app.success
    assert not fine(app.run()).error, "It is said once."


def test_what_a_database_server_keeps_is_said(page_of, parts, monkeypatch):
    assert "VACUUM" not in texts(page_of())
    remote = replace(parts, settings=parts.settings.model_copy(update={"database_url": "postgresql://u:p@h/x"}))
    monkeypatch.setattr(settings_page, "services", lambda: remote)
    app = page_of()
    assert erasing.SERVER in texts(app)
    assert "u:p" not in texts(app)

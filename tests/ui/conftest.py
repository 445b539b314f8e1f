"""A model that follows a script; the app in Streamlit's AppTest, with its data in `tmp_path`; and a real browser."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from browsing import FADED, WAIT, patient
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from playwright.sync_api import Browser, Page, expect, sync_playwright
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from phireside.errors import PhiresideError
from phireside.settings import Settings
from phireside.ui.services import Services, close_services, services

MAIN = Path(__file__).parent.parent.parent / "ui" / "main.py"

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]


@dataclass
class Script:
    """What the scripted model says, and what it was asked.

    `answers` come in order, the last one again and again; an error among them is raised. While `gate` is not set, the
    model waits after the first word.
    """

    answers: list[str | PhiresideError] = field(default_factory=lambda: ["A short answer."])
    asked: list[list[BaseMessage]] = field(default_factory=list)
    loaded: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    refusal: PhiresideError | None = None

    def load(self, name: str, _settings: Settings | None = None, **sampling: Any) -> "ScriptedModel":
        """In the place of `load_chat_model`."""
        if self.refusal:
            raise self.refusal
        self.loaded.append((name, sampling))
        return ScriptedModel(script=self)

    def next(self, messages: list[BaseMessage]) -> str:
        """The next answer."""
        self.asked.append(messages)
        answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
        if isinstance(answer, PhiresideError):
            raise answer
        return answer


class ScriptedModel(BaseChatModel):
    """A chat model that follows a script; streams word by word."""

    script: Any

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for number, word in enumerate(self.script.next(messages).split(" ")):
            yield ChatGenerationChunk(message=AIMessageChunk(word if number == 0 else f" {word}"))
            assert self.script.gate.wait(60)
        facts = {"model_name": "scripted", "finish_reason": "stop", "tokens_per_second": 12.34}
        facts |= {"evaluated_tokens": 7, "cached_tokens": 21}
        yield ChatGenerationChunk(message=AIMessageChunk("", response_metadata=facts))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.script.next(messages)))])


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """The script of the model that every page of this test gets."""
    script = Script()
    script.gate.set()
    monkeypatch.setattr("phireside.ui.chat_page.load_chat_model", script.load)
    return script


@pytest.fixture
def parts(settings: Settings, script: Script, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    """The services that all pages of this test share."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    st.cache_resource.clear()
    st.cache_data.clear()
    yield services()
    script.gate.set()
    close_services()
    st.cache_resource.clear()


@pytest.fixture
def page(parts: Services) -> Callable[[], AppTest]:
    """`page()` opens the app in a browser session of its own; `page(chat=id)` with a conversation."""

    def open_page(chat: str | None = None) -> AppTest:
        app = AppTest.from_file(MAIN, default_timeout=60)
        if chat is not None:
            app.query_params["chat"] = chat
        return app.run()

    return open_page


@pytest.fixture
def menu() -> Callable[[AppTest, str], AppTest]:
    """`menu(app, name)` chooses a page in the menu. `AppTest.switch_page` knows only pages that are files."""

    def choose(app: AppTest, name: str) -> AppTest:
        app.query_params.clear()
        app._page_hash = calc_hash(name)
        app.run()
        app._page_hash = ""  # the next run stays where this one ended
        return app

    return choose


@pytest.fixture
def memory_page(parts: Services, menu: Callable[[AppTest, str], AppTest]) -> Callable[..., AppTest]:
    """`memory_page()` opens the memory page in a browser session of its own, `memory_page(app)` in that of a page."""

    def open_page(app: AppTest | None = None) -> AppTest:
        return menu(app or AppTest.from_file(MAIN, default_timeout=60), "memory")

    return open_page


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """`until(condition)` waits for something that another thread does."""

    def wait(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < end, "It never came true."
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="module")
def browser(browser_path: Path) -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser_path, args=SWITCHES)
        yield chromium
        chromium.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Callable[..., Page]]:
    """`tab(address)` opens a browser session of its own. No page may log an error."""
    opened, errors = [], []

    def open_tab(address: str, width: int = 1440, theme: Any = "light") -> Page:
        size = {"width": width, "height": 900 if width > 500 else 844}
        context = browser.new_context(
            viewport=size, color_scheme=theme, permissions=["clipboard-read", "clipboard-write"]
        )
        opened.append(context)
        page = patient(context.new_page())
        page.set_default_timeout(WAIT)
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        expect(page.get_by_test_id("stChatInputTextArea")).to_be_visible(timeout=WAIT)
        return page

    yield open_tab
    for context in opened:
        context.close()
    assert errors == []


@pytest.fixture
def shoot() -> Callable[[Page, str], None]:
    """`shoot(page, name)` saves a screenshot, if the environment variable SCREENSHOTS names a folder for it."""

    def save(page: Page, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            page.wait_for_timeout(FADED)
            page.screenshot(path=Path(folder, f"{name}.png"))

    return save

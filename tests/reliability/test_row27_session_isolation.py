"""Row 27: several browser sessions at once, each with a secret and settings of its own; none sees another's."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
import streamlit as st
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from streamlit.components.v2.component_manager import BidiComponentManager
from streamlit.runtime import Runtime
from streamlit.runtime.caching.storage.dummy_cache_storage import MemoryCacheStorageManager
from streamlit.runtime.media_file_manager import MediaFileManager
from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage
from streamlit.testing.v1 import AppTest, app_test
from streamlit.testing.v1.util import patch_config_options

from phireside.models import load_chat_model
from phireside.settings import Settings
from phireside.ui.services import close_services

MAIN = Path(__file__).parent.parent.parent / "ui" / "main.py"
SESSIONS = (2, 4, 8)
ROUNDS = 3


class Parrot(BaseChatModel):
    """Says what it was given: the words of all messages, once each, and its sampling. So whatever crosses, shows."""

    sampling: dict[str, Any]

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for word in dict.fromkeys(word for message in messages for word in message.text.split()):
            yield ChatGenerationChunk(message=AIMessageChunk(f"{word} "))
        yield ChatGenerationChunk(message=AIMessageChunk(f"\n\nSampled with {self.sampling['seed']}."))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(m.text for m in messages)))])


@pytest.fixture
def _one_runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let AppTests run at the same time: each sets up a runtime and an option of Streamlit's for itself, and takes
    them away when it ends, whoever else is using them."""
    runtime = MagicMock(spec=Runtime)
    runtime.media_file_mgr = MediaFileManager(MemoryMediaFileStorage("/media"))
    runtime.cache_storage_manager = MemoryCacheStorageManager()
    runtime.bidi_component_registry = BidiComponentManager()
    monkeypatch.setattr(Runtime, "instance", classmethod(lambda _cls: runtime))
    monkeypatch.setattr(Runtime, "exists", classmethod(lambda _cls: True))
    with patch_config_options({"global.appTest": True, "runner.magicEnabled": False}):
        monkeypatch.setattr(app_test, "patch_config_options", lambda _options: nullcontext())
        yield


@pytest.fixture
def _fresh(settings: Settings, monkeypatch: pytest.MonkeyPatch, _one_runtime: None) -> Iterator[None]:
    """An app without conversations, and without what an earlier test left in Streamlit's caches."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    close_services()
    st.cache_resource.clear()


def secret(number: int) -> str:
    return f"zebra{number}{number}{number}secret"


def configured(number: int) -> AppTest:
    """A session with a system prompt and a seed of its own."""
    app = AppTest.from_file(MAIN, default_timeout=60).run()
    app.text_area(key="system-new").set_value(f"Keep {secret(number)}.")
    app.number_input(key="seed-new").set_value(1000 + number)
    return app.run()


def talk(number: int, rounds: int, start: threading.Barrier) -> AppTest:
    """Ask some questions, at the same time as the other sessions do."""
    app = configured(number)
    for turn in range(rounds):
        start.wait(60)
        app = app.chat_input(key="typed").set_value(f"Question {turn} of {secret(number)}").run()
        assert not app.exception, app.exception
        assert not app.error, [error.value for error in app.error]
    return app


def texts(app: AppTest) -> str:
    """What the conversation and its settings show; the list of conversations is everybody's (one person, many tabs)."""
    fields = [area.value for area in app.text_area] + [str(field.value) for field in app.number_input]
    return "\n".join([*(part.value for bubble in app.chat_message for part in bubble.markdown), *fields])


def crossings(apps: list[AppTest]) -> int:
    """In how many places a session shows what is another's."""
    shown = [texts(app) for app in apps]
    foreign = 0
    for here, there in itertools.permutations(range(len(apps)), 2):
        foreign += secret(there) in shown[here]
        foreign += str(1000 + there) in shown[here]
    return foreign


@pytest.mark.parametrize("count", SESSIONS)
@pytest.mark.usefixtures("_fresh")
def test_no_secret_and_no_setting_crosses(count, monkeypatch, figure):
    monkeypatch.setattr("phireside.ui.chat_page.load_chat_model", lambda _name, _settings, **kw: Parrot(sampling=kw))
    start = threading.Barrier(count)
    with ThreadPoolExecutor(count) as people:
        apps = list(people.map(lambda number: talk(number, ROUNDS, start), range(count)))
    for number, app in enumerate(apps):
        said = answers(app)
        assert len(said) == ROUNDS
        assert all(secret(number) in answer for answer in said)
        assert all(answer.endswith(f"Sampled with {1000 + number}.") for answer in said)
    assert crossings(apps) == 0
    looks = 2 * count * (count - 1)
    figure(27, f"{count} sessions x {ROUNDS} turns at once, scripted: 0 secrets or settings crossed in {looks} looks")


@pytest.mark.real
@pytest.mark.usefixtures("_fresh")
def test_real_model_says_the_same_beside_other_sessions(tiny_phi3, monkeypatch, figure):
    """On random F16 weights without flash attention, where rounding does not depend on who else is in a batch."""
    count = 3
    greedy = {"temperature": 0.0, "max_tokens": 24, "seed": 1}

    def load(_name: str, given: Settings, **_: Any) -> BaseChatModel:
        exact = given.engine.model_copy(update={"flash_attn": "off"})
        return load_chat_model(str(tiny_phi3), given.model_copy(update={"engine": exact}), **greedy)

    monkeypatch.setattr("phireside.ui.chat_page.load_chat_model", load)
    alone = [answers(talk(number, 1, threading.Barrier(1))) for number in range(count)]
    assert len({str(each) for each in alone}) == count  # a mixed-up text would be seen
    start = threading.Barrier(count)
    with ThreadPoolExecutor(count) as people:
        together = list(people.map(lambda number: talk(number, 1, start), range(count)))
    assert [answers(app) for app in together] == alone
    assert crossings(together) == 0
    figure(27, f"{count} sessions at once on a random model, greedy: 0 of {count} texts differ from a lone session's")


def answers(app: AppTest) -> list[str]:
    return [part.value for bubble in app.chat_message if bubble.name == "assistant" for part in bubble.markdown]

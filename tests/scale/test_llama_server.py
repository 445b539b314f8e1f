"""All parts over a real llama-server by its base URL: chat turns, forms, cited answers, an agent, and the three edges.

The model is the same SmolLM2 that the engine runs. What is proven is that a server can stand in the engine's place, not
what the model knows.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import streamlit as st
from fastapi.testclient import TestClient
from grounding import PASSAGES
from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, Field
from streamlit.testing.v1 import AppTest

from phireside.agents import Limits, build_agent, steps
from phireside.api import create_app
from phireside.chains import Chat, classify, extract, pinned, rag_chain
from phireside.memory import ConversationStore
from phireside.models import load_chat_model
from phireside.settings import Settings
from phireside.tools import calculator
from phireside.ui.services import close_services

pytest_plugins = ["llama_server"]
pytestmark = pytest.mark.real


@pytest.fixture
def served(settings: Settings, llama_server: str) -> Settings:
    return Settings(data_dir=settings.data_dir, model="openai:smollm2", openai_base_url=llama_server)


@pytest.fixture
def model(served: Settings) -> BaseChatModel:
    return load_chat_model(settings=served, temperature=0, max_tokens=60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ConversationStore]:
    opened = ConversationStore(f"sqlite:///{tmp_path / 'chat.db'}")
    yield opened
    opened.close()


def test_a_chat_streams_from_the_server_is_saved_and_goes_on(model: BaseChatModel, store: ConversationStore) -> None:
    chat, conversation, read = Chat(store), store.create().id, 0
    for question in ("My name is Ann. Say hello.", "What is my name?"):
        turn, seen = chat.send(conversation, question, model=model), set()
        while not turn.wait(5):
            seen.add(turn.text)
        assert turn.state == "done", turn.error
        assert len(seen) > 2
        assert turn.answer
        assert turn.answer.usage_metadata
        assert turn.answer.usage_metadata["input_tokens"] > read  # the second question came with the first turn
        read = sum(turn.answer.usage_metadata[kind] for kind in ("input_tokens", "output_tokens"))
    chat.close()
    assert [message.type for message in store.messages(conversation)] == ["human", "ai", "human", "ai"]


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=30)
    country: str = Field(max_length=30)


def test_forms_hold_there_too(model: BaseChatModel) -> None:
    found = extract(City, model=model).invoke("Paris is the capital of France.")
    assert isinstance(found.value, City)
    sorted_ = classify(["refund", "praise"], model=model).invoke("I want my money back.")
    assert sorted_.label in ("refund", "praise")
    assert sorted_.probabilities is None  # no scores over HTTP


def test_an_answer_cites_only_what_was_found(model: BaseChatModel) -> None:
    found = rag_chain(model, pinned(PASSAGES)).invoke("What is the deposit?")
    cited = {number for claim in found.sentences for number in claim.cited}
    assert cited <= {1, 2, 3}
    assert found.text


def test_an_agent_ends_with_an_answer(model: BaseChatModel) -> None:
    agent = build_agent(model, [calculator()], limits=Limits(steps=3))
    done = list(steps(agent, "What is 17 * 23? Use the calculator."))
    assert done[-1].kind == "answer"
    assert done[-1].text
    called = [step for step in done if step.kind == "action"]
    assert all(step.tool == "calculator" for step in called)


def test_the_command_line_talks_to_the_server(llama_server: str, tmp_path: Path) -> None:
    own = {"PHIRESIDE_OPENAI_BASE_URL": llama_server, "PHIRESIDE_DATA_DIR": str(tmp_path)}
    command = [Path(sys.executable).parent / "phireside", "ask", "-m", "openai:smollm2", "-t", "0", "--json", "Say hi."]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, cwd="/", check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["answer"]


def test_the_api_hands_on_what_the_server_says(served: Settings) -> None:
    question = {"model": "chat", "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 20}
    with TestClient(create_app(served), base_url="http://127.0.0.1") as client:
        answer = client.post("/v1/chat/completions", json=question).json()
        with client.stream("POST", "/v1/chat/completions", json={**question, "stream": True}) as response:
            events = [line for line in response.iter_lines() if line]
    assert answer["choices"][0]["message"]["content"]
    assert answer["usage"]["prompt_tokens"] > 3
    assert len(events) > 3
    assert events[-1] == "data: [DONE]"


def test_the_page_chats_over_the_server(served: Settings, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("data_dir", "model", "openai_base_url"):
        monkeypatch.setenv(f"PHIRESIDE_{name.upper()}", str(getattr(served, name)))
    st.cache_resource.clear()
    try:
        app = AppTest.from_file(root / "ui" / "main.py", default_timeout=60).run()
        app.chat_input(key="typed").set_value("Say hi.").run()
        assert not app.exception
        asked, answered = app.chat_message
        assert asked.markdown[0].value == "Say hi."
        assert answered.markdown[0].value
    finally:
        close_services()
        st.cache_resource.clear()

"""Requests that our OpenAPI schema allows, and many that it does not: each is answered as it says, none with a 500."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from answers import answers
from fastapi import FastAPI
from hashed import HashedEmbeddings
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance

from phireside.api import Options, create_app
from phireside.models import ChatGGUF
from phireside.settings import EngineSettings, Settings

PATHS = "^/(v1/|health|metrics|chains$|chains/(classify|pitch_chain)$)"  # the other chains have bodies of the same kind
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "10"))
HOSTS = Options(hosts=("testserver",))  # what schemathesis calls an app
MODELS = ["chat", "agent", "rag:x", "embeddings", "nobody"]  # none with weights: it may write for as long as it likes
FAST = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
Change = Callable[[dict[str, Any]], None]


def send_many(app: FastAPI, paths: str, mode: GenerationMode, change: Change = lambda _: None) -> list[int]:
    """The statuses of requests to all operations; what an app raises is raised here."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", app).include(path_regex=paths)
    statuses: list[int] = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.POSITIVE or operation.body:
            _send(operation.as_strategy(mode), statuses, change)
    return statuses


def _send(cases: Any, statuses: list[int], change: Change) -> None:
    @FAST
    @given(case=cases, model=strategies.sampled_from(MODELS))
    def send(case: Any, model: str) -> None:
        if isinstance(case.body, dict):
            if "model" in case.body:
                case.body["model"] = model
            change(case.body)
        response = case.call()
        assert response.status_code < 500, response.text
        case.validate_response(response, checks=[content_type_conformance, response_schema_conformance])
        if response.status_code >= 400:
            assert response.json()["error"]["message"]
        statuses.append(response.status_code)

    send()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_request_is_answered_with_a_500(settings: Settings, mode: GenerationMode) -> None:
    app = create_app(settings, model=answers("positive"), embedding_model=HashedEmbeddings(), options=HOSTS)
    statuses = send_many(app, PATHS, mode)
    assert len(statuses) >= EXAMPLES
    assert 400 in statuses
    assert mode is GenerationMode.NEGATIVE or 200 in statuses


@pytest.mark.parametrize(
    "name", ["/v1/chat/completions", "/v1/embeddings", "/v1/models", "/v1/models/{name}", "/health"]
)
def test_the_schema_says_what_answers_look_like(settings: Settings, name: str) -> None:
    (operation,) = create_app(settings).openapi()["paths"][name].values()
    assert set(operation["responses"]["200"]["content"]["application/json"]["schema"]) == {"$ref"}


@pytest.mark.real
def test_nor_one_that_a_real_engine_has_to_read(settings: Settings, tiny_chatml: Path) -> None:
    own = settings.model_copy(update={"engine": EngineSettings(n_ctx=512)})
    app = create_app(own, model=ChatGGUF(model=str(tiny_chatml), settings=own), options=HOSTS)

    def short(body: dict[str, Any]) -> None:
        said = str(body.get("messages"))[:300]  # as they come, hardly one in thirty conversations can be meant
        body |= {"model": "chat", "max_tokens": 20, "n": 1, "messages": [{"role": "user", "content": said}]}
        body.pop("max_completion_tokens", None)

    statuses = send_many(app, "^/v1/chat", GenerationMode.POSITIVE, short)
    assert {200, 400} >= set(statuses)
    assert 200 in statuses

"""The other addresses: models, health, figures, vectors, chains; how many may wait; and the API inside another app."""

import asyncio
import base64
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from answers import Plain, answers
from calling import CHAT, HELLO, app_of, asked, calling
from hashed import HashedEmbeddings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from phireside.api import routes
from phireside.api.plain import plain
from phireside.api.waiting import Gate
from phireside.chains import Cost, gallery
from phireside.errors import EngineBusyError, RequestError
from phireside.settings import Settings

VECTORS = "/v1/embeddings"


# ---- who can be asked -------------------------------------------------------------------------------------------


async def test_the_models_are_those_that_can_be_asked(settings: Settings) -> None:
    async with calling(app_of(settings, answers("x"))) as client:
        listed = (await client.get("/v1/models")).json()
        names = [each["id"] for each in listed["data"]]
        for name in names:
            assert (await client.get(f"/v1/models/{name}")).json()["id"] == name
        missing = await client.get("/v1/models/gpt-5")
    assert listed["object"] == "list"
    assert names[:3] == ["chat", "agent", "embeddings"]
    assert "phi-3" not in names  # which is not on this machine
    assert all(each["object"] == "model" and isinstance(each["created"], int) for each in listed["data"])
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")


async def test_what_is_not_there_is_said_in_the_same_form(settings: Settings) -> None:
    async with calling(app_of(settings, answers("x"))) as client:
        nothing, method = await client.get("/v1/nothing"), await client.get(CHAT)
    assert (nothing.status_code, method.status_code) == (404, 405)
    for response in (nothing, method):
        assert "/docs" in response.json()["error"]["message"]


# ---- how many ---------------------------------------------------------------------------------------------------


async def test_a_request_too_many_is_told_when_to_come_again(settings: Settings) -> None:
    app = app_of(settings, answers("a b c", pause=0.05), max_waiting=0)
    most = settings.engine.n_sequences
    responses = await asyncio.gather(*(asked(app) for _ in range(most + 2)))
    refused = [each for each in responses if each.status_code == 429]
    assert len(refused) == 2
    assert all(1 <= int(each.headers["retry-after"]) <= 60 for each in refused)
    assert refused[0].json()["error"]["type"] == "rate_limit_error"
    assert (await asked(app)).status_code == 200


async def test_more_answers_than_ever_fit_are_a_bad_request(settings: Settings) -> None:
    response = await asked(app_of(settings, answers("x"), max_waiting=1), n=100)
    assert response.status_code == 400


def test_a_gate_counts_what_is_inside_and_forgets_what_failed() -> None:
    gate = Gate(1, 1)
    with gate.entered(2):
        with pytest.raises(EngineBusyError), gate.entered():
            pass
        assert gate.inside == 2
    with pytest.raises(ZeroDivisionError), gate.entered():
        raise ZeroDivisionError
    assert gate.inside == 0
    with pytest.raises(RequestError), gate.entered(3):
        pass


# ---- figures ----------------------------------------------------------------------------------------------------


async def test_requests_and_tokens_are_counted_and_strangers_make_no_labels(settings: Settings) -> None:
    app = app_of(settings, answers("a b c"))
    await asked(app)
    async with calling(app) as client:
        for number in range(3):
            await client.get(f"/secret-{number}")
        text = (await client.get("/metrics")).text
        health = (await client.get("/health")).json()
    assert 'phireside_requests_total{path="/v1/chat/completions",status="200"} 1.0' in text
    assert 'phireside_tokens_total{kind="generated"} 3.0' in text
    assert 'phireside_requests_total{path="other",status="404"} 3.0' in text
    assert "phireside_requests_open 1.0" in text
    assert "secret" not in text
    assert (health["status"], health["open"]) == ("ok", 0)


async def test_a_model_that_is_loaded_twice_is_one_line(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = SimpleNamespace(running=1, waiting=0, parked=0, cells=512, cells_used=3)
    twice = [SimpleNamespace(engine=SimpleNamespace(path=Path("m.gguf"), stats=lambda: stats)) for _ in range(2)]
    monkeypatch.setattr("phireside.api.metrics.runtimes", lambda: twice)
    async with calling(app_of(settings, answers("x"))) as client:
        text = (await client.get("/metrics")).text
    assert text.count('phireside_engine_cells{model="m"}') == 1  # Prometheus refuses a page with two
    assert 'phireside_engine_cells{model="m"} 1024.0' in text


# ---- vectors ----------------------------------------------------------------------------------------------------


async def test_vectors_are_the_same_as_numbers_and_as_base64(settings: Settings) -> None:
    app = app_of(settings, answers("x"), HashedEmbeddings())
    texts = ["one two", "three"]
    numbers = (await asked(app, VECTORS, model="embeddings", input=texts, encoding_format="float")).json()
    coded = (await asked(app, VECTORS, model="starter", input=texts, encoding_format="base64")).json()
    assert [each["index"] for each in numbers["data"]] == [0, 1]
    for number, code in zip(numbers["data"], coded["data"], strict=True):
        vector = np.frombuffer(base64.b64decode(code["embedding"]), "<f4")
        assert np.allclose(vector, number["embedding"])
        assert np.isclose(np.linalg.norm(vector), 1)
    assert numbers["usage"]["prompt_tokens"] > 0
    one = (await asked(app, VECTORS, model="embeddings", input="one two")).json()
    assert one["data"][0]["embedding"] == numbers["data"][0]["embedding"]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"input": []}, "1 to 2048"),
        ({"input": ["a"] * 2049}, "1 to 2048"),
        ({"input": ["a", ""]}, "empty"),
        ({"input": [1, 2]}, "check_embedding_ctx_length"),
        ({"input": [[1]]}, "check_embedding_ctx_length"),
        ({"input": "a", "dimensions": 5}, "16"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": {"a": 1}}, "input"),
        ({}, "input"),
    ],
)
async def test_what_has_no_vector_is_refused(settings: Settings, body: Any, what: str) -> None:
    response = await asked(app_of(settings, answers("x"), HashedEmbeddings()), VECTORS, model="embeddings", **body)
    assert response.status_code == 400
    assert what in response.json()["error"]["message"]


@pytest.mark.real
async def test_the_starter_knows_what_is_alike(settings: Settings) -> None:
    texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "The central bank raised its interest rate."]
    told = (await asked(app_of(settings), VECTORS, model="embeddings", input=texts)).json()
    cat, kitten, bank = (np.array(each["embedding"]) for each in told["data"])
    assert np.linalg.norm(cat) == pytest.approx(1)
    assert cat @ kitten > cat @ bank
    assert told["usage"]["prompt_tokens"] >= sum(len(text.split()) for text in texts)


async def test_a_chat_model_makes_no_vectors(settings: Settings) -> None:
    response = await asked(app_of(settings, answers("x"), HashedEmbeddings()), VECTORS, model="chat", input="a")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")


# ---- chains -----------------------------------------------------------------------------------------------------


async def test_every_chain_answers_its_example_at_its_address(settings: Settings) -> None:
    profile = '{"name": "Ada", "position": "professor", "keywords": ["ice"]}'
    says = {"extract": profile, "classify": "Positive.", "choose": '"Apple"', "matching": "1969-07-20"}
    model = Plain(says="")
    app = app_of(settings, model)
    async with calling(app) as client:
        schemas = {each["name"]: each["result_schema"] for each in (await client.get("/chains")).json()["data"]}
    for entry in gallery():
        model.says = says.get(entry.name, "Yes" if entry.name in ("yes_no", "validated") else "9")
        response = await asked(app, f"/chains/{entry.name}", **entry.example)
        assert response.status_code == 200, (entry.name, response.text)
        told = response.json()
        assert told["chain"] == entry.name
        assert told["cost"]["calls"] >= 1
        assert told["result"]
        jsonschema.validate(told, schemas[entry.name])


@pytest.mark.real
async def test_what_a_chain_scores_is_counted(settings: Settings, tiny_chatml: Path) -> None:
    """Scores call no callback; the chain itself says what they cost."""
    app = app_of(settings.model_copy(update={"model": str(tiny_chatml)}))
    async with calling(app) as client:
        cost = (await client.post("/chains/classify", json={"text": "I am glad."})).json()["cost"]
        metrics = (await client.get("/metrics")).text
    assert cost["calls"] >= 1
    assert cost["prompt_tokens"] > 0
    assert f"{cost['prompt_tokens']}.0" in metrics


async def test_the_schema_names_each_chain_and_its_input(settings: Settings) -> None:
    async with calling(app_of(settings, answers("x"))) as client:
        schema = (await client.get("/openapi.json")).json()
        listed = (await client.get("/chains")).json()["data"]
    for entry in gallery():
        body = schema["paths"][f"/chains/{entry.name}"]["post"]["requestBody"]["content"]["application/json"]
        form = schema["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
        assert set(form["required"]) == set(entry.example)
        assert body["example"] == entry.example
        told = schema["paths"][f"/chains/{entry.name}"]["post"]["responses"]["200"]["content"]["application/json"]
        result = schema["components"]["schemas"][told["schema"]["$ref"].rpartition("/")[2]]
        assert result["properties"]["chain"]["const"] == entry.name
    assert [each["input_schema"]["required"] for each in listed] == [list(each.example) for each in gallery()]


@pytest.mark.parametrize("body", [{}, {"text": ""}, {"text": 5}, {"text": "a", "other": "b"}, {"text": None}])
async def test_an_input_that_does_not_fit_a_chain_is_refused(settings: Settings, body: Any) -> None:
    model = answers("never")
    response = await asked(app_of(settings, model), "/chains/classify", **body)
    assert response.status_code == 400
    assert model.asked == []


async def test_a_chain_of_another_model_or_none_is_not_found(settings: Settings) -> None:
    app = app_of(settings, answers("x"))
    assert (await asked(app, "/chains/classify?model=gpt-5", text="x")).status_code == 404
    assert (await asked(app, "/chains/nothing", text="x")).status_code == 404
    agent = await asked(app, "/chains/classify?model=agent", text="x")
    assert (agent.status_code, agent.json()["error"]["code"]) == (400, "not_supported")


def test_results_become_json() -> None:
    assert plain({"cost": Cost(1, 2), 3: (float("nan"), {4}), "type": b"x"}) == {
        "cost": {"calls": 1, "prompt_tokens": 2, "cached_tokens": 0, "generated_tokens": 0},
        "3": [None, [4]],
        "type": "b'x'",
    }


# ---- inside another app -----------------------------------------------------------------------------------------


async def test_another_app_serves_it_beside_its_pages(settings: Settings) -> None:
    made = []

    def given() -> Settings:
        made.append(1)
        return settings

    page = Route("/{path:path}", lambda _: PlainTextResponse("a page"))
    app = Starlette(routes=[*routes(given, model=answers("Good day"), key="k" * 16), page])
    async with calling(app, authorization=f"Bearer {'k' * 16}") as client:
        assert (await client.get("/")).text == "a page"
        assert made == []  # a page does not wait for it
        answer = await client.post(CHAT, json=HELLO)
        assert answer.json()["choices"][0]["message"]["content"] == "Good day"
        assert (await client.get("/chains", headers={"accept": "text/html,*/*"})).text == "a page"
        assert (await client.get("/chains")).json()["object"] == "list"
        assert 'path="/v1/chat/completions"' in (await client.get("/metrics")).text
        client.headers["authorization"] = ""
        assert (await client.post(CHAT, json=HELLO)).status_code == 401
    assert made == [1]

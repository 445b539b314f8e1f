"""`/chains`: every chain of the gallery, each at an address of its own with the schema of its input and its result.

Knows what the gallery says of a chain, and none in particular.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import cache, partial
from typing import Any, Literal

from fastapi import APIRouter, Query, Request
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import Runnable
from pydantic import BaseModel, ConfigDict, Field, create_model
from starlette.responses import Response

from phireside.api.errors import Json, of_servers
from phireside.api.parts import AGENT, BASE, CHAT, Parts, parts_of
from phireside.api.plain import plain
from phireside.api.streaming import Whole
from phireside.chains import Cost, CostHandler, Entry, gallery
from phireside.errors import NotSupportedError

_LONGEST = 100_000  # characters of a text


@cache
def chains_router() -> APIRouter:
    """The list, and an address for each chain; made once, which takes a while."""
    router, entries = APIRouter(tags=["chains"]), gallery()
    described = [_described(entry) for entry in entries]

    @router.get("/chains", summary="List the chains")
    async def list_chains() -> Response:
        """Name, title, description, example and address of each chain, with the JSON schemas of input and result."""
        return Json({"object": "list", "data": described})

    for entry in entries:
        router.add_api_route(
            f"/chains/{entry.name}",
            _endpoint(entry),
            methods=["POST"],
            response_model=_told(entry),
            name=entry.name,
            summary=entry.title,
            description=entry.description,
            openapi_extra={"requestBody": {"content": {"application/json": {"example": entry.example}}}},
        )
    return router


def _endpoint(entry: Entry) -> Callable[..., Coroutine[Any, Any, Response]]:
    form = _form(entry)

    async def run_chain(
        request: Request, given: Any, model: str = Query(CHAT, description="chat, or a name of /v1/models.")
    ) -> Response:
        return Whole(partial(_answer, parts_of(request), entry, model, given.model_dump()))

    run_chain.__annotations__["given"] = form  # what FastAPI makes schema and checks of
    return run_chain


def _form(entry: Entry) -> type[BaseModel]:
    """The input: a text for each variable of the example."""
    fields: dict[str, Any] = {
        name: (str, Field(min_length=1, max_length=_LONGEST, examples=[value])) for name, value in entry.example.items()
    }
    return create_model(f"{_class_name(entry)}Input", __config__=ConfigDict(strict=True, extra="forbid"), **fields)


def _told(entry: Entry) -> type[BaseModel]:
    """The answer: what the chain says that it results in. The model that it is made with for this is never asked."""
    kind: Any = entry.make(FakeListChatModel(responses=[])).OutputType
    fields: dict[str, Any] = {
        "object": (Literal["chain.result"], ...),
        "chain": (Literal[entry.name], ...),
        "result": (kind, ...),
        "cost": (Cost, ...),
    }
    return create_model(f"{_class_name(entry)}Result", **fields)


def _class_name(entry: Entry) -> str:
    return "".join(part.capitalize() for part in entry.name.split("_"))


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "description": entry.description,
        "example": entry.example,
        "path": f"/chains/{entry.name}",
        "input_schema": _form(entry).model_json_schema(),
        "result_schema": _told(entry).model_json_schema(mode="serialization"),
    }


async def _answer(parts: Parts, entry: Entry, model: str, given: dict[str, str]) -> dict[str, Any]:
    if model == AGENT or model.startswith(BASE):
        raise NotSupportedError(f"A chain asks a model, and {model[:200]!r} is more than one.", hint='Use "chat".')
    handler = CostHandler()
    with parts.gate.entered(), of_servers():
        asked = await parts.model(model)
        chain: Runnable[Any, Any] = await asyncio.to_thread(entry.make, asked)
        result = await chain.ainvoke(given, {"callbacks": [handler]})
    own = getattr(result, "cost", None)  # of scores too, of which callbacks hear nothing
    cost = own if isinstance(own, Cost) else handler.cost
    parts.metrics.count_tokens(cost)
    return {"object": "chain.result", "chain": entry.name, "result": plain(result), "cost": plain(cost)}

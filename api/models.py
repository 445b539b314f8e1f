"""`GET /v1/models`: who can be asked. And `GET /health`. Knows nothing of answers."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from phireside.api.errors import Json
from phireside.api.parts import AGENT, BASE, CHAT, EMBEDDINGS, Parts, parts_of
from phireside.api.schemas import HealthAnswer, ModelAnswer, ModelsAnswer
from phireside.errors import ModelNotFoundError
from phireside.models.runtime import runtimes

router = APIRouter(tags=["models"])
_STARTED = int(time.time())


@router.get("/v1/models", summary="List who can be asked", response_model=ModelsAnswer)
async def list_models(request: Request) -> Response:
    """`chat`, `agent`, a `rag:BASE` for each base of documents, `embeddings`, and the models on this machine."""
    return Json({"object": "list", "data": await asyncio.to_thread(_all, parts_of(request))})


@router.get("/v1/models/{name:path}", summary="Look one up", response_model=ModelAnswer)
async def get_model(request: Request, name: str) -> Response:
    """One of them."""
    known = {each["id"]: each for each in await asyncio.to_thread(_all, parts_of(request))}
    if name not in known:
        raise ModelNotFoundError(f"There is no model {name[:200]!r} here.", hint=f"There are {', '.join(known)}.")
    return Json(known[name])


@router.get("/health", summary="Ask whether the server is there", tags=["server"], response_model=HealthAnswer)
async def health(request: Request) -> Response:
    """`{"status": "ok"}` with the state of each engine: unloaded (loads with the next request), loading or ready."""
    engines = {each.engine.path.stem: each.engine.stats().state for each in runtimes()}
    return Json({"status": "ok", "engines": engines, "open": parts_of(request).gate.inside})


def _all(parts: Parts) -> list[dict[str, Any]]:
    described = {
        CHAT: f"The model of the settings: {parts.settings.model}.",
        AGENT: "The same model with tools.",
        **{f"{BASE}{name}": f"Answers from the documents in {name}, with references." for name in parts.bases()},
        EMBEDDINGS: f"Vectors by {parts.settings.embeddings}.",
        **{entry.name: entry.description for entry in parts.files()},
    }
    return [
        {"id": name, "object": "model", "created": _STARTED, "owned_by": "phireside", "description": text}
        for name, text in described.items()
    ]

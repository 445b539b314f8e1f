"""`create_app`: the API as an ASGI application. What each address does is in the module of that name."""

from typing import Any

from fastapi import FastAPI
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from phireside import __version__
from phireside.api import chains, completions, docs_page, embeddings, metrics, models
from phireside.api.auth import Guard
from phireside.api.errors import add_handlers
from phireside.api.parts import Options, Parts
from phireside.settings import Settings

_DESCRIPTION = (
    "A small language model on this machine, called as OpenAI's are; with an agent, answers from documents, and chains."
)
_ERROR = {
    "description": "What is wrong, and what to do.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error"],
                "properties": {
                    "error": {
                        "type": "object",
                        "required": ["message", "type", "param", "code"],
                        "properties": {
                            "message": {"type": "string"},
                            "type": {"type": "string"},
                            "param": {"type": ["string", "null"]},
                            "code": {"type": ["string", "null"]},
                        },
                    }
                },
            }
        }
    },
}


def create_app(
    settings: Settings,
    *,
    model: BaseChatModel | None = None,
    embedding_model: Embeddings | None = None,
    options: Options = Options(),  # noqa: B008 (frozen)
) -> FastAPI:
    """The API. Nothing is loaded before the first request that needs it.

    Args:
        settings: which model answers, where bases are.
        model: answers as `chat` instead.
        embedding_model: makes the vectors, instead of that of the settings.
        options: key, names, limits and tools. As they are, the app answers to this machine's own names only.

    Raises:
        SettingsError: a tool that was chosen cannot be used.
    """
    app = FastAPI(
        title="Phireside",
        version=__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        responses={"4XX": _ERROR, "5XX": _ERROR},
    )
    parts = app.state.parts = Parts(settings, options, model, embedding_model)
    add_handlers(app)
    for router in (
        completions.router,
        embeddings.router,
        models.router,
        chains.chains_router(),
        metrics.router,
        docs_page.router,
    ):
        app.include_router(router)
    app.add_middleware(Guard, options=options)
    app.add_middleware(metrics.Counted, metrics=parts.metrics)  # added last: outermost
    _describe(app, has_key=bool(options.key))
    return app


def _describe(app: FastAPI, *, has_key: bool) -> None:
    """Put right what FastAPI writes into the schema: a body that does not fit is a 400 here, and there may be a key."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        schema = made()
        for operation in (each for methods in schema["paths"].values() for each in methods.values()):
            operation["responses"].pop("422", None)
        if has_key:
            schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]

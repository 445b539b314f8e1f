"""Errors as programs get them: OpenAI's shape, with our message and hint. What is wrong with a request is never a 500.

Knows the classes of errors, and nothing of what raises them.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from phireside.errors import (
    ContextOverflowError,
    EngineBusyError,
    EngineError,
    ModelNotFoundError,
    NotSupportedError,
    PhiresideError,
    RequestError,
    TemplateError,
)

log = logging.getLogger(__name__)

# The first class that fits decides; all others are troubles of this server, which another try may not meet.
_STATUS: tuple[tuple[type[PhiresideError], int, str], ...] = (
    (ModelNotFoundError, 404, "model_not_found"),
    (EngineBusyError, 429, "rate_limit_exceeded"),
    (ContextOverflowError, 400, "context_length_exceeded"),
    (NotSupportedError, 400, "not_supported"),
    (RequestError, 400, "invalid_value"),
    (TemplateError, 400, "invalid_messages"),
)
_UNAVAILABLE = (503, "unavailable")
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_RETRY_S = 1  # where nobody knows better
_TYPE_NAMES = {"str", "int", "float", "bool", "dict", "list", "none"}  # what unions put into a path
_SHOWN = 5  # problems of one request that are told
_HELD = 200  # characters of a value that are repeated
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_NOT_ITS_FAULT = (400, 413, 422)  # what another server answers to a request that no other try makes better


class Json(Response):
    """JSON whose texts may be anything: what UTF-8 cannot carry becomes a question mark."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes."""
        return dumps(content)


def dumps(content: Any) -> bytes:
    """JSON in one line."""
    return _encode(content).encode("utf-8", "replace")


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The body of an answer with that status."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_answer(
    status: int,
    message: str,
    code: str | None = None,
    param: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Json:
    """An answer with that status."""
    return Json(error_body(status, message, code, param), status, headers)


def status_of(error: PhiresideError) -> tuple[int, str]:
    """Status and code of one of our errors."""
    return next(((status, code) for kind, status, code in _STATUS if isinstance(error, kind)), _UNAVAILABLE)


def answer_of(error: PhiresideError) -> Json:
    """The answer to a request that ended so."""
    status, code = status_of(error)
    seconds = getattr(error, "retry_after", _RETRY_S)
    return error_answer(status, str(error), code, headers={"retry-after": str(seconds)} if status == 429 else None)


class BusyError(EngineBusyError):
    """Too many requests wait; `retry_after` has the seconds after which there may be room."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message, hint=f"Try again in {retry_after} s.")
        self.retry_after = retry_after


@contextmanager
def of_servers() -> Iterator[None]:
    """What the client of another model server raises, as our own error; what tells of the server stays in the log.

    Raises:
        RequestError: that server cannot answer this request.
        EngineBusyError: it has too much to do.
        EngineError: it failed, refused us, or cannot be reached.
    """
    try:
        yield
    except Exception as error:
        openai = sys.modules.get("openai")  # only if a model of that kind was made
        if openai is None or not isinstance(error, openai.OpenAIError):
            raise
        log.warning("The model's server failed", exc_info=True)
        status = getattr(error, "status_code", None)
        if status in _NOT_ITS_FAULT:
            raise RequestError(f"The model's server refused the request: {str(error)[:_HELD]}") from error
        raise (EngineBusyError if status == 429 else EngineError)(
            f"The model's server {f'answered {status}' if status else 'could not be asked'} ({type(error).__name__}).",
            hint="The log of this server says more.",
        ) from error


def add_handlers(app: FastAPI) -> None:
    """Let every error of an app be answered in this shape."""

    @app.exception_handler(PhiresideError)
    async def _ours(_request: Request, error: PhiresideError) -> Response:
        return answer_of(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        message, param = _problems(error.errors())
        return error_answer(400, message, "invalid_request", param)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        message = _http_message(request, error)
        return error_answer(error.status_code, message, None, headers=error.headers)

    @app.exception_handler(Exception)
    async def _unforeseen(_request: Request, _error: Exception) -> Response:
        return error_answer(500, "The server failed. Its log says why; please report it.", "internal_error")


def _http_message(request: Request, error: HTTPException) -> str:
    path = request.url.path[:_HELD]
    if error.status_code == 404:
        return f"There is nothing at {path}. /docs lists what there is."
    if error.status_code == 405:
        return f"{request.method[:20]} is not for {path}. /docs lists what there is."
    return f"{error.detail}."


def _problems(errors: Sequence[Any]) -> tuple[str, str | None]:
    """What is wrong with a body, and where its first problem is."""
    if errors and errors[0]["type"] == "json_invalid":
        return f"The body is no JSON: {errors[0].get('ctx', {}).get('error', 'it cannot be read')}.", None
    meant: dict[tuple[int | str, ...], Any] = {}
    for each in errors:  # of the members of a union the one that got farthest is what was meant
        stem = tuple(takewhile(_is_field, each["loc"]))
        meant[stem] = max(meant.get(stem, each), each, key=lambda one: len(one["loc"]))
    told = [(_path(each["loc"]), each["msg"].removeprefix("Value error, ")) for each in meant.values()]
    texts = [f"{path}: {message}" if path else message for path, message in told[:_SHOWN]]
    return "; ".join(texts).rstrip(".") + ".", (told[0][0] or None) if told else None


def _path(place: Sequence[int | str]) -> str:
    """Where a problem is, as in `messages[0].content`."""
    text = ""
    for part in filter(_is_field, place[1:]):  # without "body"
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text[:_HELD]


def _is_field(part: int | str) -> bool:
    """Whether a part of a path is a field or a number, and not the name of a type."""
    return isinstance(part, int) or (part.isidentifier() and part not in _TYPE_NAMES and not part[0].isupper())

"""A chat model by name: a GGUF on this machine, or `openai:MODEL` on a server (vLLM, llama-server, SGLang, OpenAI)."""

from functools import cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from pydantic import ValidationError

from phireside.errors import RequestError, SettingsError
from phireside.models.chat import ChatGGUF
from phireside.settings import Settings

_SERVER_PREFIX = "openai:"
_OWN_SAMPLING = {"top_k", "min_p", "repeat_penalty"}  # not of OpenAI's interface, but llama-server and vLLM take them


def is_remote(name: str) -> bool:
    """Whether a model of this name is on a server: what is written to it leaves this process."""
    return name.startswith(_SERVER_PREFIX)


def load_chat_model(name: str = "", settings: Settings | None = None, **options: Any) -> BaseChatModel:
    """The chat model of that name.

    Args:
        name: as in `ChatGGUF(model=…)`, or `openai:MODEL`; empty = the settings' model.
        settings: Phireside's settings; for a server `openai_base_url` and `openai_api_key` of them.
        options: sampling and limits, e.g. `temperature`, `max_tokens`; `base_url` and `api_key` for a server.

    Raises:
        SettingsError: a server is named without its address or key.
        RequestError: an option has a value that cannot be used, or is not known.
    """
    settings = settings or Settings()
    name = name or settings.model
    try:
        if not is_remote(name):
            return ChatGGUF(model=name, settings=settings, **options)
        return _server_model(name.removeprefix(_SERVER_PREFIX), settings, options)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}".lstrip(": ")
            for e in error.errors()
        )
        raise RequestError(f"{name} cannot be used so: {problems}") from error


def _server_model(model: str, settings: Settings, options: dict[str, Any]) -> BaseChatModel:
    from langchain_openai import ChatOpenAI  # heavy, and only for servers

    base_url = options.pop("base_url", settings.openai_base_url) or None
    key = options.pop("api_key", settings.openai_api_key.get_secret_value())
    if not base_url and not key:
        raise SettingsError(
            f"openai:{model} needs a server's address, or OpenAI's key.",
            hint="Set PHIRESIDE_OPENAI_BASE_URL, e.g. http://127.0.0.1:8080/v1, or PHIRESIDE_OPENAI_API_KEY.",
        )
    own = {k: options.pop(k) for k in _OWN_SAMPLING & options.keys()}
    if "repeat_penalty" in own:
        own["repetition_penalty"] = own["repeat_penalty"]  # vLLM's name for it
    # Servers of one's own mostly want no key, but the client insists on one.
    return ChatOpenAI(
        model=model,
        base_url=base_url,
        api_key=key or "none",
        stream_usage=True,
        http_async_client=_closing_client(),
        stream_chunk_timeout=None,  # it waits in a way that loses a stop between two chunks (CPython 3.11)
        extra_body=own if base_url and own else None,
        **options,
    )


@cache
def _closing_client() -> Any:
    """A client that keeps no connection: event loops share it, and a connection belongs to one of them."""
    from openai import DefaultAsyncHttpxClient  # heavy, and only for servers

    return DefaultAsyncHttpxClient(headers={"Connection": "close"})

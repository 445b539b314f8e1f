"""What the endpoints share: settings, the server's options, models by name, the gate and the counters.

Opens nothing before it is asked for. Knows no HTTP but the request that leads to it.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel

from phireside.api.metrics import Metrics
from phireside.api.waiting import Gate
from phireside.errors import ModelNotFoundError, RequestError, SettingsError
from phireside.models import Catalog, ChatGGUF, ModelEntry, load_chat_model
from phireside.models.embeddings import embeddings as embedding_model
from phireside.retrieval.names import offered_bases
from phireside.settings import Settings
from phireside.tools.named import TOOLS, factory, unusable

CHAT, AGENT, EMBEDDINGS, BASE = "chat", "agent", "embeddings", "rag:"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_MOST_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Options:
    """How the server is to be.

    Attributes:
        key: what programs must send as their API key; empty = none.
        hosts: the names by which it may be called, which keeps out pages whose name was made to lead to this machine.
            None = any; only with a key.
        max_waiting: requests that may wait; None = as many as the engine lets wait.
        max_bytes: of a request's body.
        tools: of `agent`, by their names; None = all that can be used as the settings are.
        allow_effects: whether these may do something outside of the conversation. Nobody is asked before.

    Raises:
        RequestError: any host, and no key.
    """

    key: str = field(default="", repr=False)
    hosts: tuple[str, ...] | None = LOOPBACK
    max_waiting: int | None = None
    max_bytes: int = _MOST_BYTES
    tools: tuple[str, ...] | None = None
    allow_effects: bool = False

    def __post_init__(self) -> None:
        if self.hosts is None and not self.key:
            raise RequestError(
                "A server that answers to any name needs a key.", hint="Pass key=…, or hosts=(…) with its names."
            )


class Parts:
    """What an app's endpoints work with.

    Args:
        settings: Phireside's.
        options: of the server.
        model: answers as `chat`; None = that of the settings.
        embeddings: makes the vectors; None = the model of the settings.

    Raises:
        SettingsError: a tool that was chosen cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        options: Options,
        model: BaseChatModel | None = None,
        embeddings: Embeddings | None = None,
    ) -> None:
        for name in options.tools or ():
            _check_tool(name, settings, options)
        self.settings, self.options = settings, options
        self.metrics = Metrics()
        waiting = settings.engine.max_waiting if options.max_waiting is None else options.max_waiting
        self.gate = Gate(settings.engine.n_sequences, waiting)
        self._models: dict[str, BaseChatModel] = {CHAT: model} if model else {}
        self._embeddings = embeddings

    @property
    def embeddings(self) -> Embeddings:
        """The embedding model. Making it looks for its folder."""
        self._embeddings = self._embeddings or embedding_model(self.settings.embeddings)
        return self._embeddings

    async def model(self, name: str = CHAT) -> BaseChatModel:
        """The model of a name that /v1/models lists; a path or a download is none, whoever asks.

        Raises:
            ModelNotFoundError: there is none.
        """
        if name not in self._models:
            if name != CHAT:
                await asyncio.to_thread(self._check_name, name)
            self._models[name] = load_chat_model("" if name == CHAT else name, self.settings)
        return self._models[name]

    def _check_name(self, name: str) -> None:
        names = [entry.name for entry in self.files()]
        if name not in names:
            known = ", ".join([CHAT, AGENT, *(f"{BASE}{each}" for each in self.bases()), *names])
            raise ModelNotFoundError(f"There is no model {name[:200]!r} here.", hint=f"There are {known}.")

    def files(self) -> list[ModelEntry]:
        """The models that are on this machine and look right."""
        return [entry for entry in Catalog(self.settings).entries() if entry.path and not entry.problem]

    def bases(self) -> list[str]:
        """The bases of documents, without the files of chats."""
        return offered_bases(self.settings.bases_dir)

    def check_base(self, name: str) -> None:
        """Raises ModelNotFoundError if there is no such base."""
        if name not in (names := self.bases()):
            hint = f"There are {', '.join(BASE + each for each in names)}." if names else "`phireside index` makes one."
            raise ModelNotFoundError(f"There is no base {name[:80]!r} here.", hint=hint)


def _check_tool(name: str, settings: Settings, options: Options) -> None:
    factory(name)
    if TOOLS[name].effects != "none" and not options.allow_effects:
        raise SettingsError(
            f"The tool {name} acts outside of the conversation, and nobody is asked.", hint="Add --allow-effects."
        )
    if why := unusable(name, settings):
        raise SettingsError(f"The tool {name} cannot be used. {why}")


def tuned(model: BaseChatModel, given: dict[str, Any]) -> BaseChatModel:
    """The model with other settings, for those who call it themselves.

    Raises:
        RequestError: it has no such setting.
    """
    if unknown := sorted(given.keys() - type(model).model_fields.keys()):
        raise RequestError(f"The model has no {', '.join(unknown)}.", hint="Leave it out.")
    return model.model_copy(update=given) if given else model


def has_engine(model: BaseChatModel) -> bool:
    """Whether it runs on this machine, with all that the engine can do."""
    return isinstance(model, ChatGGUF)


def parts_of(request: Request) -> Parts:
    """The parts of the app that a request is for."""
    parts: Parts = request.app.state.parts
    return parts

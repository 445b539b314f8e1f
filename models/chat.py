"""`ChatGGUF`: LangChain's `BaseChatModel` over the engine.

Chooses the file, renders the messages, asks the engine and streams. Knows nothing of conversations or of tools'
work; grammars and tool calls come with issue 3.
"""

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, ModelProfile
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field, SecretStr, model_validator

from phireside.errors import EngineError, RequestError
from phireside.models.catalog import Catalog
from phireside.models.encoding import PromptEncoder
from phireside.models.engine import Ended, Event, Failed, Job, Priority, Request, Sampling, Sink, Text
from phireside.models.messages import last_chunk, to_turns
from phireside.models.runtime import Runtime, shared_runtime
from phireside.settings import EngineSettings, Settings

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed")


class StopSignal:
    """Ends an answer from outside but in order: the stream still gives its figures, with finish_reason "cancelled".

    Pass it to a call, `model.stream(messages, stop_signal=signal)`, and `set()` it from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job | None = None
        self._is_set = False

    def set(self) -> None:
        """End the answer, or the one that is about to begin."""
        with self._lock:
            self._is_set, job = True, self._job
        if job:
            job.cancel()

    def watch(self, job: Job) -> None:
        """The answer that is meant (called by `ChatGGUF`)."""
        with self._lock:
            self._job, is_set = job, self._is_set
        if is_set:
            job.cancel()


class ChatGGUF(BaseChatModel):
    """A GGUF model on this machine as a LangChain chat model. Nothing is loaded before the first call.

    Args:
        model: a catalogue name (`starter`, `phi-3`, `auto`), a path to a `.gguf`, or `hf:owner/repo/file.gguf`.
        settings: Phireside's settings; by default those of phireside.toml and the environment.
        temperature, top_k, top_p, min_p, repeat_penalty, seed: see `phireside.models.Sampling`.
        max_tokens: most tokens of an answer; None = as many as the context has room for.
        stop: strings that end an answer.
        timeout: seconds an answer may take, loading included; then `EngineError`.
        n_ctx, n_gpu_layers, n_threads: override `settings.engine`.
        chat_template: Jinja source instead of the GGUF's own.
        priority: "background" lets a person's requests go first.

    Raises (at the first call):
        ModelNotFoundError, ModelDamagedError, ModelLoadError, TemplateError: the model cannot be used.
        ContextOverflowError: messages and answer do not fit; nothing was evaluated.
        EngineBusyError: too many requests wait.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, populate_by_name=True)

    model: str = "starter"
    settings: Settings = Field(default_factory=Settings, exclude=True, repr=False)
    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    repeat_penalty: float = 1.0
    seed: int | None = None
    max_tokens: int | None = 512
    stop: list[str] | None = None
    timeout: float | None = None
    n_ctx: int | None = None
    n_gpu_layers: int | None = None
    n_threads: int | None = None
    chat_template: str | None = Field(default=None, repr=False)
    priority: Literal["person", "background"] = "person"

    # LangChain's standard parameters that mean nothing on one's own machine; accepted so that models can be swapped.
    max_retries: int | None = None
    api_key: SecretStr | None = None
    streaming: bool = False

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        self._sampling({})
        self._engine_settings()
        return self

    @property
    def _llm_type(self) -> str:
        return "phireside-gguf"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        names = ("model", *_SAMPLING, "max_tokens", "n_ctx", "chat_template")
        # LangChain's cache writes the call's `stop` over one of that name.
        return {name: getattr(self, name) for name in names} | {"own_stop": self.stop}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "phireside"
        params["ls_model_name"] = kwargs.get("model", self.model)
        return params

    def _resolve_model_profile(self) -> ModelProfile | None:
        profile = ModelProfile(
            text_inputs=True, text_outputs=True, image_inputs=False, tool_calling=False, structured_output=False
        )
        info = Catalog(self.settings).info(self.model)  # LangChain ignores an error here: the first call will show it
        profile["max_input_tokens"] = self._engine_settings().context(info.trained_context)
        return profile

    # ---- counting -------------------------------------------------------------------------------------------------

    def get_token_ids(self, text: str) -> list[int]:
        """The model's tokens of a text; markers in it stay text."""
        return self._open(self.model).runtime.engine.vocabulary.tokenize(text, markers=False)

    def get_num_tokens_from_messages(
        self,
        messages: Sequence[BaseMessage],
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,  # noqa: ARG002
    ) -> int:
        """Exactly the tokens that a call with these messages evaluates or finds in the cache."""
        encoder = self._open(self.model).encoder
        return len(encoder.encode(encoder.render(to_turns(messages))))

    @property
    def context_size(self) -> int:
        """Tokens that a prompt and its answer may have together."""
        return self._open(self.model).runtime.engine.n_ctx

    # ---- generating -----------------------------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 (LangChain reports the chunks itself)
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        deadline = self._deadline()
        asked = self._ask(messages, stop, kwargs)
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        job = asked.submit(events.put)
        try:
            while not asked.ended:
                try:
                    event = events.get(timeout=_left(deadline))
                except queue.Empty:
                    raise self._too_slow() from None
                yield asked.chunk(event)
        finally:
            job.cancel()  # nothing, if it has ended; else whoever reads has gone away

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        deadline = self._deadline()
        asked = await asyncio.to_thread(self._ask, messages, stop, kwargs)
        loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()
        job = asked.submit(lambda event: loop.call_soon_threadsafe(events.put_nowait, event))
        try:
            while not asked.ended:
                try:
                    event = await asyncio.wait_for(events.get(), _left(deadline))
                except TimeoutError:
                    raise self._too_slow() from None
                yield asked.chunk(event)
        finally:
            job.cancel()

    def _ask(self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> "_Asked":
        """Messages and arguments as a request of the engine."""
        if not messages:
            raise RequestError("There are no messages to answer.", hint="Send at least one.")
        opened = self._open(kwargs.pop("model", self.model))
        sampling, max_tokens = self._sampling(kwargs), kwargs.pop("max_tokens", self.max_tokens)
        signal = kwargs.pop("stop_signal", None)
        kwargs.pop("stream_usage", None)
        if kwargs:
            raise RequestError(
                f"ChatGGUF does not know the argument{'s' if len(kwargs) > 1 else ''} {', '.join(sorted(kwargs))}.",
                hint=f"A call may override {', '.join(_SAMPLING)}, max_tokens, stop, stop_signal and model.",
            )
        prompt = opened.encoder.render(to_turns(messages))
        request = Request(
            tokens=tuple(opened.encoder.encode(prompt)),
            sampling=sampling,
            max_tokens=max_tokens,
            stop=_strings(self.stop if stop is None else stop),
            priority=Priority[self.priority.upper()],
        )
        return _Asked(opened, prompt, request, signal)

    def _sampling(self, kwargs: dict[str, Any]) -> Sampling:
        return Sampling(**{name: kwargs.pop(name, getattr(self, name)) for name in _SAMPLING})

    def _engine_settings(self) -> EngineSettings:
        chosen = {"n_ctx": self.n_ctx, "n_gpu_layers": self.n_gpu_layers, "n_threads": self.n_threads}
        overrides = {name: value for name, value in chosen.items() if value is not None}
        return EngineSettings(**(self.settings.engine.model_dump() | overrides))

    def _open(self, model: str) -> "_Opened":
        """The checked file of a model, its shared engine and its encoder."""
        entry = Catalog(self.settings).resolve(model)
        runtime = shared_runtime(entry.file, self._engine_settings())
        return _Opened(entry.name, runtime, runtime.encoder(self.chat_template))

    def _deadline(self) -> float | None:
        return None if self.timeout is None else time.monotonic() + self.timeout

    def _too_slow(self) -> EngineError:
        return EngineError(
            f"The answer of {self.model} took longer than {self.timeout:g} s.",
            hint="Raise timeout, ask for fewer tokens, or use a smaller model.",
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    """A model ready to be asked."""

    name: str
    runtime: Runtime
    encoder: PromptEncoder


class _Asked:
    """A request on its way, and the text that came back so far."""

    def __init__(self, opened: _Opened, prompt: str, request: Request, signal: StopSignal | None) -> None:
        self.prompt, self.request = prompt, request
        self._opened, self._signal = opened, signal
        self.ended = False
        self._parts: list[str] = []

    def submit(self, sink: Sink) -> Job:
        """Hand the request to the engine."""
        job = self._opened.runtime.engine.submit(self.request, sink)
        if self._signal:
            self._signal.watch(job)
        return job

    def chunk(self, event: Event) -> ChatGenerationChunk:
        """An engine event as LangChain's chunk; raises the error of a failed request."""
        if isinstance(event, Text):
            self._parts.append(event.text)
            return ChatGenerationChunk(message=AIMessageChunk(content=event.text))
        self.ended = True
        if isinstance(event, Failed):
            raise event.error
        return self._last(event)

    def _last(self, ended: Ended) -> ChatGenerationChunk:
        if ended.exact:
            self._opened.encoder.remember(self.prompt, self.request.tokens, "".join(self._parts), ended.tokens)
        message = last_chunk(ended, self._opened.name)
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": ended.usage.finish_reason})


def _strings(stop: Sequence[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())  # OpenAI's models take a single one as well


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())

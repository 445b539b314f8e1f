"""`ChatGGUF`: LangChain's `BaseChatModel` over the engine.

Chooses the file, makes requests of messages and arguments (`asked.py`), asks the engine and streams. Knows nothing of
conversations or of tools' work.
"""

import asyncio
import queue
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any, Literal, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput, ModelProfile
from langchain_core.language_models.chat_models import agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field, SecretStr, model_validator

from phireside.errors import EngineError, RequestError
from phireside.models.asked import Asked, Form, Several, StopSignal, ask, generation, only_one, scores
from phireside.models.catalog import Catalog
from phireside.models.dialects.inputs import checked
from phireside.models.engine import Event, Priority, Sampling, Score
from phireside.models.inbox import Inbox
from phireside.models.messages import explained
from phireside.models.next_tokens import NextTokens, next_tokens
from phireside.models.opened import Opened, open_model
from phireside.models.structured import Method, structured
from phireside.models.tools import ToolLike, as_dict, choose
from phireside.settings import EngineSettings, Settings

__all__ = ["ChatGGUF", "StopSignal"]

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed")


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
            text_inputs=True, text_outputs=True, image_inputs=False, tool_calling=True, structured_output=True
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
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool] | None = None,
    ) -> int:
        """Exactly the tokens that a call with these messages and tools evaluates or finds in the cache."""
        opened = self._open(self.model)
        return len(opened.encoder.encode(Form.of({"tools": tools}).render(opened, messages)))

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
        if kwargs.get("n", 1) != 1:
            return self._generate_several(messages, stop, kwargs, StopSignal())
        return explained(generate_from_stream(self._stream(messages, stop, run_manager, **kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if kwargs.get("n", 1) == 1:
            return explained(await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs)))
        leaving = StopSignal()
        try:
            return await asyncio.to_thread(self._generate_several, messages, stop, kwargs, leaving)
        except asyncio.CancelledError:
            leaving.set()
            raise

    def _generate_several(
        self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any], leaving: StopSignal
    ) -> ChatResult:
        """`n` answers to one prompt, which is read once; `leaving` cancels them."""
        deadline, count = self._deadline(), kwargs.pop("n")
        if not isinstance(count, int) or count < 1:
            raise RequestError(f"n is {count!r}, but must be a whole number of answers, at least 1.")
        several = Several(self._ask(messages, stop, kwargs), count)
        leaving.watch(several)
        generations = several.read(_left(deadline))
        if deadline and time.monotonic() >= deadline:
            raise self._too_slow()
        return explained(ChatResult(generations=generations))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 (LangChain reports the chunks itself)
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        deadline, leaving = self._deadline(), StopSignal()
        asked = self._ask(messages, stop, kwargs)
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        try:
            asked.submit(events.put, leaving)
            while not asked.ended:
                try:
                    event = events.get(timeout=_left(deadline))
                except queue.Empty:
                    raise self._too_slow() from None
                yield from asked.chunks(event)
        finally:
            leaving.set()  # nothing, if it has ended; else whoever reads has gone away

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async with aclosing(self.pieces(messages, stop=stop, **kwargs)) as several:
            async for pieces in several:
                for piece in pieces:
                    yield generation(piece)

    async def pieces(
        self, messages: Sequence[BaseMessage], *, stop: list[str] | None = None, **kwargs: Any
    ) -> AsyncGenerator[list[str | AIMessageChunk], None]:
        """An answer as `astream` gives it, but without LangChain's wrapping and callbacks, which a server can spare.

        Args:
            messages: what is answered.
            stop: strings that end it.
            **kwargs: further arguments of the call.

        Yields:
            What has come meanwhile: texts, or messages where tools are bound. The last one is a message.
        """
        deadline, leaving, inbox = self._deadline(), StopSignal(), Inbox[Event]()

        def begin() -> Asked:
            asked = self._ask(messages, stop, kwargs)
            asked.submit(inbox.put, leaving)
            return asked

        try:
            asked = await asyncio.to_thread(begin)
            while not asked.ended:
                try:
                    events = await asyncio.wait_for(inbox.take(), _left(deadline))
                except TimeoutError:
                    raise self._too_slow() from None
                yield asked.pieces(events)
        finally:
            leaving.set()  # also if the thread has not submitted it yet: it ends at once then

    def _ask(self, messages: Sequence[BaseMessage], stop: list[str] | None, kwargs: dict[str, Any]) -> Asked:
        """Messages and arguments as a request of the engine."""
        only_one(kwargs).pop("n", None)
        opened, sampling = self._open(kwargs.pop("model", self.model)), self._sampling(kwargs)
        kwargs = {"max_tokens": self.max_tokens, **kwargs, "stop": self.stop if stop is None else stop}
        return ask(opened, messages, sampling, Priority[self.priority.upper()], kwargs)

    # ---- one, and many at once ------------------------------------------------------------------------------------

    def invoke(self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any) -> AIMessage:
        """LangChain's, for one answer."""
        return super().invoke(input, config, **only_one(kwargs))

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """See `invoke`."""
        return await super().ainvoke(input, config, **only_one(kwargs))

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """LangChain's, with as many in the engine at once as it has sequences for."""
        config = self._wide(config, len(inputs))
        return super().batch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """See `batch`."""
        config = self._wide(config, len(inputs))
        return await super().abatch(inputs, config, return_exceptions=return_exceptions, **kwargs)

    def _wide(
        self, config: RunnableConfig | list[RunnableConfig] | None, inputs: int
    ) -> RunnableConfig | list[RunnableConfig]:
        """The configuration with a `max_concurrency`, unless the caller has set one."""
        settings = self._engine_settings()
        # Twice the sequences, so that one is never idle; never so many that the engine refuses the last.
        most = max(1, min(inputs, 2 * settings.n_sequences, settings.max_waiting))

        def widened(one: RunnableConfig) -> RunnableConfig:
            return one if one.get("max_concurrency") else {**one, "max_concurrency": most}

        return [widened(one) for one in config] if isinstance(config, list) else widened(config or {})

    def score(
        self, messages: LanguageModelInput, continuations: Sequence[str], *, whole: bool = False, signal: Any = None
    ) -> list[Score]:
        """How probable each text is as the answer: one prefill for the messages, one batch for the texts.

        Args:
            messages: what is answered.
            continuations: each with some text.
            whole: the text is all of the answer, and not only its beginning: the token that ends it counts, too.
            signal: a `StopSignal`, which ends it with EngineError.

        Returns:
            Sum of log-probabilities and number of tokens of each. Compare `mean` where the lengths differ.
        """
        given, priority = self._convert_input(messages).to_messages(), Priority[self.priority.upper()]
        return scores(self._open(self.model), given, continuations, priority, self.timeout, signal, whole=whole)

    async def ascore(
        self, messages: LanguageModelInput, continuations: Sequence[str], *, whole: bool = False
    ) -> list[Score]:
        """See `score`."""
        leaving = StopSignal()
        try:
            return await asyncio.to_thread(self.score, messages, continuations, whole=whole, signal=leaving)
        finally:
            leaving.set()

    def next_tokens(self, messages: LanguageModelInput, *, answer: str = "", **sampling: Any) -> NextTokens:
        """How probable each token of the vocabulary is to come next, and what sampling leaves of them.

        Args:
            messages: what is answered.
            answer: the answer's beginning; empty = its first token is asked for.
            **sampling: instead of the model's own, e.g. `temperature`.
        """
        opened, given = self._open(self.model), self._convert_input(messages).to_messages()
        priority = Priority[self.priority.upper()]
        return next_tokens(opened, given, answer, self._sampling(sampling), priority, self.timeout)

    # ---- tools and structure --------------------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[ToolLike],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """This model with tools: what it writes is decoded under their names and the schemas of their inputs.

        Args:
            tools: LangChain tools, functions, pydantic classes, or dicts in OpenAI's or Anthropic's form. A tool whose
                `metadata` or `extras` has {"grammars": {argument: {"lark": …} or {"regex": …}}} gets that argument
                decoded under that grammar.
            tool_choice: "auto" or None (a call or an answer), "any" (some call), "none" (an answer), or a tool's name.
            parallel_tool_calls: False = one call at a time. ReAct text has only one anyway.
            **kwargs: further arguments of the call. `strict` is accepted: the form is always enforced.

        Raises:
            RequestError: a tool's name cannot be used, or `tool_choice` is not among them.
            GrammarError: a tool's own grammar cannot be used.
        """
        choose(checked(tools), tool_choice)
        chosen = {"tool_choice": tool_choice, "parallel_tool_calls": parallel_tool_calls}
        given = {name: value for name, value in chosen.items() if value is not None}
        return self.bind(tools=[as_dict(tool) for tool in tools], **given, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """This model with answers of one form, which the decoding enforces; dicts are streamed as they grow.

        Args:
            schema: a pydantic class (v1 or v2), a TypedDict, or a JSON schema. A class gives objects of it, the others
                dicts.
            method: "json_schema" tells the model the form; "json_mode" leaves that to the prompt; "function_calling"
                makes it a tool that must be called.
            include_raw: give {"raw", "parsed", "parsing_error"} instead.
            strict: accepted; the form is always enforced.
            **kwargs: further arguments of the call.

        Raises:
            RequestError: there is no schema, or no such method.
            OutputParserException, ValidationError: (at the call) a validator of the class refuses the values.
        """
        return structured(self, schema, method, include_raw=include_raw, strict=strict, **kwargs)

    # ---- the model ------------------------------------------------------------------------------------------------

    def _sampling(self, kwargs: dict[str, Any]) -> Sampling:
        return Sampling(**{name: kwargs.pop(name, getattr(self, name)) for name in _SAMPLING})

    def _engine_settings(self) -> EngineSettings:
        chosen = {"n_ctx": self.n_ctx, "n_gpu_layers": self.n_gpu_layers, "n_threads": self.n_threads}
        overrides = {name: value for name, value in chosen.items() if value is not None}
        return EngineSettings(**(self.settings.engine.model_dump() | overrides))

    def _open(self, model: str) -> Opened:
        """The checked file of a model, its shared engine and its encoder."""
        return open_model(model, self.settings, self._engine_settings(), self.chat_template)

    def _deadline(self) -> float | None:
        return None if self.timeout is None else time.monotonic() + self.timeout

    def _too_slow(self) -> EngineError:
        return EngineError(
            f"The answer of {self.model} took longer than {self.timeout:g} s.",
            hint="Raise timeout, ask for fewer tokens, or use a smaller model.",
        )


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())

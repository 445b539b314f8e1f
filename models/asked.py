"""A request on its way: what a call of `ChatGGUF` becomes, and how the engine's events become LangChain's chunks."""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

from langchain_core.language_models.chat_models import generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from phireside.errors import RequestError
from phireside.models.dialects import StreamParser
from phireside.models.dialects.inputs import json_grammar
from phireside.models.engine import Completion, Ended, Event, Failed, Priority, Request, Sampling, Score, Sink, Text
from phireside.models.grammar import Grammar
from phireside.models.messages import last_chunk, to_turns
from phireside.models.opened import Opened
from phireside.models.templates import Message
from phireside.models.tools import JSON, ToolSpec, choose, closed, signature, specs

_FURTHER = (
    "max_tokens, stop, stop_signal, model, n, keep, grammar, tools, tool_choice, barred, parallel_tool_calls and "
    "response_format"
)


class Cancellable(Protocol):
    """Something that is being written."""

    @property
    def ahead(self) -> int:
        """Requests in front of it."""

    def cancel(self) -> None:
        """End it."""


class StopSignal:
    """Ends an answer from outside but in order: the stream still gives its figures, with finish_reason "cancelled".

    Pass it to a call, `model.stream(messages, stop_signal=signal)`, and `set()` it from any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Cancellable | None = None
        self._is_set = False

    @property
    def ahead(self) -> int:
        """How many requests are in front of the answer; 0 = it is being served, or has not been asked for yet."""
        with self._lock:
            return self._job.ahead if self._job else 0

    def set(self) -> None:
        """End the answer, or the one that is about to begin."""
        with self._lock:
            self._is_set, job = True, self._job
        if job:
            job.cancel()

    def watch(self, job: Cancellable) -> None:
        """The answer that is meant (called by `ChatGGUF`)."""
        with self._lock:
            self._job, is_set = job, self._is_set
        if is_set:
            job.cancel()


@dataclass(frozen=True)
class Form:
    """What an answer may be: the tools and formats of one call.

    Args:
        tools: those that are bound; the prompt names them all.
        choice: see `phireside.models.tools.choose`.
        parallel: whether several calls at once are wanted, where the dialect can write them.
        answer: JSON schema of the answer; None = any text.
        own: a grammar for the whole answer.
        barred: names of tools that may not be called now. They stay in the prompt, of which nothing is read again.

    Raises:
        RequestError: there are tools and a grammar of the caller's own, or it is none; or the choice is not among them,
            or what is barred.
    """

    tools: tuple[ToolSpec, ...] = ()
    choice: Any = None
    parallel: bool = True
    answer: JSON | None = None
    own: Grammar | None = None
    barred: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [tool.name for tool in self.tools]
        if unknown := [name for name in self.barred if name not in names]:
            raise RequestError(
                f"barred names {unknown[0]!r:.80}, but the tools are {', '.join(names) or 'none'}.",
                hint="Pass a list of names of bound tools.",
            )
        choose(self.tools, self.choice, self.barred)
        if self.own is not None and not isinstance(self.own, Grammar):
            raise RequestError(
                f"grammar is {self.own!r:.80}.", hint="Use Grammar.choice(…), .regex(…), .json(…) or .lark(…)."
            )
        if self.own and (self.tools or self.answer is not None):
            raise RequestError(
                "A call has a grammar, and tools or a response format besides.",
                hint="A grammar decides the whole answer: leave the others out.",
            )

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> "Form":
        """Takes what is meant for it out of a call's arguments."""
        parallel, own = arguments.pop("parallel_tool_calls", None), arguments.pop("grammar", None)
        arguments.pop("strict", None)  # it always is
        return cls(
            tuple(specs([] if (tools := arguments.pop("tools", None)) is None else tools)),
            arguments.pop("tool_choice", None),
            parallel is not False,
            _answer_schema(arguments.pop("response_format", None)),
            own,
            _names(arguments.pop("barred", None)),
        )

    def render(self, opened: Opened, messages: Sequence[BaseMessage]) -> str:
        """The prompt."""
        if not self.tools:
            turns = to_turns(messages)
            return opened.encoder.render(_at_the_end(turns, self._wish) if self.answer else turns)
        dialect = opened.dialect
        turns = dialect.turns(messages)
        texts = [dialect.system(self.tools), self._wish if self.answer else ""]
        for text in filter(None, texts):
            turns = _in_front(turns, text)
        return opened.encoder.render(turns, dialect.template_tools(self.tools))

    @property
    def _wish(self) -> str:
        return f"Answer with JSON: {signature(self.answer)}"

    def grammar(self, opened: Opened) -> Grammar | None:
        """What may be written; None = any text."""
        if self.tools:
            tools, may_answer = choose(self.tools, self.choice, self.barred)
            return opened.dialect.grammar(tools, may_answer=may_answer, parallel=self.parallel, answer=self.answer)
        if self.answer is not None:
            return json_grammar(self.answer)
        return self.own

    def parser(self, opened: Opened) -> StreamParser | None:
        """What reads the answer; None = it is text."""
        return opened.dialect.parser(choose(self.tools, self.choice, self.barred)[0]) if self.tools else None


def _names(barred: Any) -> tuple[Any, ...]:
    if isinstance(barred, str) or not isinstance(barred, Collection | None):
        raise RequestError(f"barred is {barred!r:.80}.", hint='Pass a list of tools\' names, e.g. ["calculator"].')
    return tuple(barred or ())


def _answer_schema(response_format: Any) -> JSON | None:
    """The schema in OpenAI's `response_format`."""
    kind = response_format.get("type", "") if isinstance(response_format, dict) else response_format
    if kind in (None, "text"):
        return None
    if kind == "json_object":
        return {"type": "object"}
    inner = response_format.get("json_schema") if isinstance(response_format, dict) else None
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    if kind == "json_schema" and isinstance(schema, Mapping):
        tight: JSON = closed(schema)
        return tight
    raise RequestError(
        f"response_format is {response_format!r:.80}.",
        hint='Pass {"type": "json_schema", "json_schema": {"schema": …}}, or use with_structured_output.',
    )


def _in_front(turns: list[Message], text: str) -> list[Message]:
    """The turns with a text at the end of the system prompt."""
    if turns and turns[0]["role"] == "system":
        return [{**turns[0], "content": f"{turns[0]['content']}\n\n{text}".strip()}, *turns[1:]]
    return [{"role": "system", "content": text}, *turns]


def _at_the_end(turns: list[Message], text: str) -> list[Message]:
    """The turns with a text at the end, so that what came before stays in the cache."""
    return [*turns, {"role": "user", "content": text}]


class Asked:
    """A prompt, its request, and the text that came back so far.

    Args:
        opened: the model.
        prompt: as text; see `PromptEncoder.render`.
        request: the same for the engine.
        form: what the answer may be.
        signal: ends it from outside.
    """

    def __init__(self, opened: Opened, prompt: str, request: Request, form: Form, signal: StopSignal | None) -> None:
        self.opened, self.prompt, self.request, self.signal = opened, prompt, request, signal
        self._form, self._parser = form, form.parser(opened)
        self.ended = False
        self._parts: list[str] = []

    def again(self) -> "Asked":
        """The same prompt, for another answer."""
        return Asked(self.opened, self.prompt, self.request, self._form, self.signal)

    def submit(self, sink: Sink, leaving: StopSignal) -> None:
        """Hand the request to the engine, which takes seconds if it has a large grammar; `leaving` cancels it."""
        job = self.opened.runtime.engine.submit(self.request, sink)
        for signal in filter(None, (leaving, self.signal)):
            signal.watch(job)

    def chunks(self, event: Event) -> list[ChatGenerationChunk]:
        """An engine event as LangChain's chunks; raises the error of a failed request."""
        return [generation(piece) for piece in self.pieces([event])]

    def pieces(self, events: Sequence[Event]) -> list[str | AIMessageChunk]:
        """Events that came at once, as pieces of the answer: its text as it is, what has to be read, and its end.

        Raises:
            PhiresideError: of a failed request.
        """
        text = "".join(event.text for event in events if isinstance(event, Text))
        self._parts.append(text)
        made: list[str | AIMessageChunk] = list(self._parser.feed(text)) if self._parser else [text] if text else []
        return made if isinstance(events[-1], Text) else made + self._rest(events[-1])

    def _rest(self, event: Event) -> list[str | AIMessageChunk]:
        """What comes with the last event."""
        self.ended = True
        if isinstance(event, Failed):
            raise event.error
        if not isinstance(event, Ended):
            return []
        if event.exact:
            self.opened.encoder.remember(self.prompt, self.request.tokens, "".join(self._parts), event.tokens)
        shortened = event.usage.finish_reason == "length"
        rest = self._parser.finish(shortened=shortened) if self._parser else []
        return [*rest, last_chunk(event, self.opened.name)]


def ask(
    opened: Opened, messages: Sequence[BaseMessage], sampling: Sampling, priority: Priority, arguments: dict[str, Any]
) -> Asked:
    """Messages and a call's other arguments as a request of the engine.

    Raises:
        RequestError: an argument is unknown or cannot be used, or there are no messages.
    """
    check_messages(messages)
    form = Form.of(arguments)
    max_tokens, stop = arguments.pop("max_tokens"), stop_strings(arguments.pop("stop"))
    signal, keep = arguments.pop("stop_signal", None), arguments.pop("keep", None)
    arguments.pop("stream_usage", None)
    if arguments:
        raise RequestError(
            f"ChatGGUF does not know the argument{'s' if len(arguments) > 1 else ''} {', '.join(sorted(arguments))}.",
            hint=f"A call takes {', '.join(each.name for each in fields(Sampling))}, {_FURTHER}.",
        )
    prompt = form.render(opened, messages)
    request = Request(
        tokens=tuple(opened.encoder.encode(prompt)),
        sampling=sampling,
        max_tokens=max_tokens,
        stop=stop,
        priority=priority,
        grammar=form.grammar(opened),
        keep="" if keep is None else keep,
    )
    return Asked(opened, prompt, request, form, signal)


class Several:
    """`n` answers to one prompt, which is read once. Cancelled together.

    Args:
        asked: the prompt.
        count: how many.

    Raises:
        As `Engine.fork`.
    """

    def __init__(self, asked: Asked, count: int) -> None:
        self._asked = asked
        self._answers = asked.opened.runtime.engine.fork(asked.request, count)
        if asked.signal:
            asked.signal.watch(self)

    @property
    def ahead(self) -> int:
        """Requests in front of the first."""
        return self._answers[0].ahead

    def cancel(self) -> None:
        """End them all."""
        for answer in self._answers:
            answer.cancel()

    def read(self, seconds: float | None) -> list[ChatGeneration]:
        """All answers in full; those that are not ready after so many seconds are cancelled."""
        late = threading.Timer(seconds, self.cancel) if seconds is not None else None
        if late:
            late.start()
        try:
            return [self._generation(answer) for answer in self._answers]
        finally:
            self.cancel()  # nothing, unless one of them failed
            if late:
                late.cancel()

    def _generation(self, answer: Completion) -> ChatGeneration:
        asked = self._asked.again()
        chunks = [chunk for text in answer for chunk in asked.chunks(Text(text))]
        chunks += asked.chunks(answer.ended) if answer.ended else []
        return generate_from_stream(iter(chunks)).generations[0]


def only_one(arguments: dict[str, Any]) -> dict[str, Any]:
    """A call's arguments, if it asks for one answer.

    Raises:
        RequestError: it asks for several.
    """
    if (n := arguments.get("n", 1)) != 1:
        raise RequestError(f"n is {n!r}, but this way of asking gives one answer.", hint="Use generate() for n > 1.")
    return arguments


def stop_strings(stop: Any) -> tuple[str, ...]:
    """`stop` in any form that a call takes.

    Raises:
        RequestError: it is none.
    """
    if isinstance(stop, str):  # OpenAI's models take a single one as well
        return (stop,)
    if stop is not None and not (isinstance(stop, Sequence) and all(isinstance(text, str) for text in stop)):
        raise RequestError(f"stop is {stop!r:.80}.", hint='Pass a list of strings, e.g. ["END"].')
    return tuple(stop or ())


def check_messages(messages: Sequence[BaseMessage]) -> None:
    """Raises RequestError if there are none."""
    if not messages:
        raise RequestError("There are no messages to answer.", hint="Send at least one.")


def scores(
    opened: Opened,
    messages: Sequence[BaseMessage],
    texts: Sequence[str],
    priority: Priority,
    timeout: float | None,
    signal: StopSignal | None,
    *,
    whole: bool,
) -> list[Score]:
    """See `ChatGGUF.score`."""
    check_messages(messages)
    wrong = isinstance(texts, str) or not isinstance(texts, Sequence)
    if wrong or not all(isinstance(text, str) for text in texts):
        raise RequestError(f"score was given {texts!r:.80}.", hint='Pass a list of texts, e.g. ["yes", "no"].')
    if "" in texts:
        raise RequestError(
            f"Text {texts.index('') + 1} of {len(texts)} is empty.", hint="What is scored needs at least one character."
        )
    prompt = Form().render(opened, messages)
    end = [_end_of_turn(opened, messages, prompt)] if whole else []
    tokens = [opened.encoder.continuation(prompt, text) + end for text in texts]
    watch = signal.watch if signal else None
    return opened.runtime.engine.score(opened.encoder.encode(prompt), tokens, priority, timeout, watch)


def _end_of_turn(opened: Opened, messages: Sequence[BaseMessage], prompt: str) -> int:
    """The token that the template writes behind an answer, if it ends one; else the vocabulary's own."""
    vocabulary, answer = opened.runtime.engine.vocabulary, "yes"
    answered = opened.encoder.render([*to_turns(messages), {"role": "assistant", "content": answer}])
    behind = opened.encoder.encode(answered.removeprefix(prompt + answer)) if answered.startswith(prompt) else []
    return next((token for token in behind if vocabulary.is_end(token)), vocabulary.eos)


def generation(piece: str | AIMessageChunk) -> ChatGenerationChunk:
    """A piece of an answer as LangChain's chunk."""
    message = AIMessageChunk(content=piece) if isinstance(piece, str) else piece
    reason = message.response_metadata.get("finish_reason")
    return ChatGenerationChunk(message=message, generation_info={"finish_reason": reason} if reason else None)

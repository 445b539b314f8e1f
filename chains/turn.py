"""One turn of a chat while it is answered, and who may answer it.

Everything of it may be read from any thread: pages draw it while the chat's background loop writes it. Knows neither
store nor models.
"""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.utils import message_chunk_to_message

from phireside.errors import EngineError, PhiresideError, RequestError
from phireside.memory import Fact, Memory
from phireside.memory.schema import OURS
from phireside.models import StopSignal
from phireside.text import json_text

__all__ = ["OURS", "Answerer", "Decision", "Needing", "State", "Step", "Turn"]

State = Literal["waiting", "reading", "asking", "writing", "done", "stopped", "failed"]
Step: TypeAlias = dict[str, Any]
Decision: TypeAlias = Mapping[str, Any]

_ENDED = {"done", "stopped", "failed"}
_DECISIONS = ("approve", "reject")


class Turn:
    """A question and its answer while that is being written. All attributes may be read from any thread.

    Attributes:
        conversation_id: whose turn it is.
        question: what was asked; an answerer may replace it by the same question that knows more (its passages).
        at: position of the message that the question replaces; None = a new turn at the end.
        memory: what chooses the messages that are sent.
        text: the answer so far.
        state: "done" and "stopped" turns are saved; a "failed" one, or one stopped before anything was done or written,
            is not. "asking" turns wait for `decide`.
        steps: what was done for the answer so far, as an answerer noted it; see `note`.
        approval: while the state is "asking": the calls to decide on, each with "tool", "arguments" and "text" (what
            the call does, for a person). A new list for each approval.
        messages: what is saved between question and answer: calls of tools, and their results.
        answer: the saved answer, with usage; its finish_reason "cancelled" marks a stopped one.
        error: why it failed.
        left_out: messages of the conversation that did not fit into the context.
        summarized: messages of it that were sent as a summary.
        facts: the long-term facts about the person that the prompt had.
        context: what the model's context was used for (`Budget.report`), in tokens; empty if nobody knows its size.
    """

    def __init__(
        self,
        conversation_id: str,
        question: HumanMessage,
        at: int | None,
        memory: Memory,
        cancel: Callable[[], None],
    ) -> None:
        self.conversation_id, self.question, self.at, self.memory = conversation_id, question, at, memory
        self.text = ""
        self.state: State = "waiting"
        self.steps: list[Step] = []
        self.approval: list[dict[str, Any]] = []
        self.messages: list[BaseMessage] = []
        self.answer: AIMessage | None = None
        self.error: PhiresideError | None = None
        self.left_out = self.summarized = 0
        self.facts: list[Fact] = []
        self.context: dict[str, int] = {}
        self.seen: int | None = None  # messages of the conversation when `at` was chosen
        self.room: int | None = None  # tokens that its messages could have; the same for what is made of them after it
        self.signal: StopSignal | None = None  # reaches the engine, where there is one
        self._chunks: list[AIMessageChunk] = []
        self._cancel = cancel
        self._decided: Future[list[dict[str, Any]]] | None = None
        self._changed = threading.Condition()
        self._version = 0
        self._seen = threading.local()  # each page that waits has seen its own part

    # ---- for pages, from any thread ----

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.state in _ENDED

    @property
    def ahead(self) -> int:
        """Its place in the model's queue: 1 = next; 0 = it is being served, or nobody knows."""
        return self.signal.ahead if self.signal and not self.text else 0

    def wait(self, seconds: float) -> bool:
        """Wait until something changed since this thread's last wait, at most `seconds`; True if the turn has ended."""
        seen = getattr(self._seen, "version", 0)
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self._version != seen, seconds)
            self._seen.version = self._version
        return self.ended

    def stop(self) -> None:
        """End the answer within one step of the engine; what was written so far is kept, saved and marked.

        A call that waits for approval is not carried out.
        """
        if not self.ended:
            self._cancel()

    def decide(self, decisions: Sequence[Decision], of: Sequence[Mapping[str, Any]] | None = None) -> bool:
        """Say which of the calls in `approval` may run. Of two pages that decide, the first does.

        Args:
            decisions: one for each call, in order: {"type": "approve"}, or {"type": "reject"}, if wanted with a
                "message" for the model.
            of: the very `approval` that the person saw; None = whichever waits now. With it, a click that comes late
                never decides on a later call.

        Returns:
            False if nothing was decided: another page was faster, or the turn was stopped.

        Raises:
            RequestError: there are more or fewer decisions than calls, or one is none; the turn still waits.
        """
        with self._changed:
            decided = self._decided
            if decided is None or (of is not None and of is not self.approval):
                return False
            given = [_decision(each) for each in decisions]
            if len(given) != len(self.approval):
                raise RequestError(
                    f"{len(self.approval)} calls wait for approval, but there are {len(given)} decisions.",
                    hint="Give one decision for each call, in their order.",
                )
            self._decided = None
            if not decided.set_running_or_notify_cancel():  # stopped in between
                return False
            self.approval = []
            self._wake("reading")
        decided.set_result(given)
        return True

    # ---- for who answers ----

    def note(self, step: Mapping[str, Any]) -> None:
        """Tell what is done for the answer; it is shown at once, and saved with the answer.

        Args:
            step: what JSON can hold, with a "kind":
                "searching": "query";
                "found": "queries", "passages" (each with "number", "id", "text", "source", "title", "place", "ranks"),
                "seconds";
                "thought", "action", "observation": "text", "tool", "arguments", "seconds", "cost", as
                `phireside.agents.Step` has them, without those that are empty;
                "files": "names" of what was dropped with the question;
                "checking": the answer's sentences are compared with their passages.

        Raises:
            RequestError: JSON cannot hold it.
        """
        plain = json.loads(json_text(dict(step), RequestError))
        with self._changed:
            self.steps = [*self.steps, plain]  # a new list: a page may be going through the old one
            self._wake()

    async def ask(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Wait until a person has decided on calls; to be awaited in the chat's loop.

        Args:
            requests: see `approval`; what JSON can hold.

        Returns:
            A decision for each; see `decide`.
        """
        waiting: Future[list[dict[str, Any]]] = Future()
        plain = json.loads(json_text([dict(each) for each in requests], RequestError))
        with self._changed:
            self.approval, self._decided = plain, waiting
            self._wake("asking")
        try:
            return await asyncio.wrap_future(waiting)
        finally:
            with self._changed:
                if self.approval is plain:  # stopped: there is nothing to decide on any more
                    self.approval, self._decided = [], None
                    self._wake()

    def rewrite(self, answer: AIMessageChunk) -> None:
        """Put this in the place of what was written of the answer so far; with no text in it that is taken back.

        For a sentence that nothing supports, or a text that turned out to be a thought.
        """
        with self._changed:
            self._chunks, self.text = [answer], answer.text
            self._wake("writing" if answer.text else "reading")

    # ---- for `Chat` ----

    def write(self, chunk: AIMessageChunk) -> None:
        """Add a piece of the answer."""
        with self._changed:
            self._chunks.append(chunk)
            if text := chunk.text:
                self.text += text
                self._wake("writing")

    def update(self, state: State) -> None:
        """Change the state, and wake those who wait."""
        with self._changed:
            self._wake(state)

    def written(self, *, stopped: bool) -> AIMessage:
        """The answer so far as one message, with what is known of how it came about.

        A stopped one is marked by its finish_reason, as servers mark how an answer ended.

        Raises:
            EngineError: it is no message of a model.
        """
        whole = self._chunks[0] if self._chunks else AIMessageChunk(content="")
        if len(self._chunks) > 1:  # a model that does not stream gives one whole message, which cannot be added to
            whole += list(self._chunks[1:])
        message = message_chunk_to_message(whole)
        if not isinstance(message, AIMessage):
            raise EngineError(f"The model answered with a {type(message).__name__}.", hint="Use a chat model.")
        sent = {
            "left_out": self.left_out, "summarized": self.summarized, "facts": len(self.facts), "context": self.context
        }  # fmt: skip
        marks = ({"finish_reason": "cancelled"} if stopped else {}) | {
            name: what for name, what in sent.items() if what
        }
        message.response_metadata = {**message.response_metadata, **marks}
        if self.steps:
            ours = {**message.additional_kwargs.get(OURS, {}), "steps": self.steps}
            message.additional_kwargs = {**message.additional_kwargs, OURS: ours}
        return message

    def _wake(self, state: State | None = None) -> None:
        """With the lock held."""
        self.state = state or self.state
        self._version += 1
        self._changed.notify_all()


class Answerer(Protocol):
    """Writes a turn's answer where it is not the model alone."""

    def answer(self, messages: Sequence[BaseMessage], turn: Turn) -> AsyncIterator[AIMessageChunk]:
        """The answer as it grows. It is closed or cancelled when the turn is stopped.

        Args:
            messages: what the memory chose: the system prompt, if there is one, the conversation, and the question.
            turn: takes notes, asks the person, and holds the messages that are saved before the answer.
        """
        ...


@runtime_checkable
class Needing(Protocol):
    """An answerer whose prompts have more than messages; the memory then leaves room for that."""

    def needs(self, room: int) -> dict[str, int]:
        """Tokens that it needs, by the part of a `Budget` ("tools", "passages", "answer"). May take a while.

        Args:
            room: tokens that a prompt may have in all; `UNLIMITED` if nobody knows.
        """
        ...


def _decision(given: Decision) -> dict[str, Any]:
    kind, message = given.get("type"), given.get("message", "")
    if kind not in _DECISIONS or not isinstance(message, str):
        raise RequestError(
            f"The decision {dict(given)!r:.80} is none.",
            hint=f"Its type is {' or '.join(_DECISIONS)}, its message a text.",
        )
    return dict(given)

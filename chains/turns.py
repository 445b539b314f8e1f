"""The chat turn: a question goes in, its answer streams, and both are saved in one transaction.

Answers run in a background event loop, so they survive the page that asked for them, and everybody who opens the
conversation meanwhile sees the same stream. Knows any `BaseChatModel`; exact budgets need `ChatGGUF`. Knows no page.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.messages.utils import message_chunk_to_message

from phireside.chains.compaction import Compactor, prompt
from phireside.chains.remembering import Remembering
from phireside.errors import (
    ContextOverflowError,
    EngineClosedError,
    EngineError,
    PhiresideError,
    RequestError,
    StoreError,
    TurnRunningError,
)
from phireside.memory import BufferMemory, ConversationStore, Fact, Memory, Selection, budget_of, counter_of
from phireside.memory.told import with_facts
from phireside.models import ChatGGUF, StopSignal

log = logging.getLogger(__name__)

State = Literal["waiting", "reading", "writing", "done", "stopped", "failed"]
_ENDED = {"done", "stopped", "failed"}


class Turn:
    """A question and its answer while that is being written. All attributes may be read from any thread.

    Attributes:
        conversation_id: whose turn it is.
        question: what was asked.
        at: position of the message that the question replaces; None = a new turn at the end.
        memory: what chooses the messages that are sent.
        text: the answer so far.
        state: "done" and "stopped" turns are saved; a "failed" one, or one stopped before its first word, is not.
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
        self.answer: AIMessage | None = None
        self.error: PhiresideError | None = None
        self.left_out = self.summarized = 0
        self.facts: list[Fact] = []
        self.context: dict[str, int] = {}
        self.seen: int | None = None  # messages of the conversation when `at` was chosen
        self.signal: StopSignal | None = None  # reaches the engine, where there is one
        self._cancel = cancel
        self._changed = threading.Condition()
        self._version = 0
        self._seen = threading.local()  # each page that waits has seen its own part

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
        """End the answer within one step of the engine; what was written so far is kept, saved and marked."""
        if not self.ended:
            self._cancel()

    def update(self, *, text: str = "", state: State | None = None) -> None:
        """Add text, change the state, and wake those who wait (used by `Chat`)."""
        with self._changed:
            self.text += text
            self.state = state or self.state
            self._version += 1
            self._changed.notify_all()


class Chat:
    """All conversations of a process. Thread-safe.

    Args:
        store: where conversations are kept.
        memory: which messages are sent; by default everything that fits. What it makes of old messages is made after
            an answer, in the background, and is given up when the next question comes.
        state_dir: where models keep their KV state (`Settings.state_dir`): of prompts that had a fact which the person
            then edits or forgets, it is deleted there. That of models which this chat has asked is always known.
    """

    def __init__(
        self, store: ConversationStore, memory: Memory | None = None, *, state_dir: Path | None = None
    ) -> None:
        self.store, self._memory = store, memory or BufferMemory()
        self._remembering = Remembering(store)
        self._remembering.state_dirs |= {state_dir} if state_dir else set()
        self._compactor = Compactor(store, self._remembering)
        self._turns: dict[str, Turn] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chat", daemon=True)
        self._thread.start()

    def send(
        self,
        conversation_id: str,
        text: str,
        *,
        model: BaseChatModel,
        system: str = "",
        at: int | None = None,
        seen: int | None = None,
        memory: Memory | None = None,
    ) -> Turn:
        """Ask; returns at once.

        Args:
            conversation_id: an existing conversation.
            text: the question.
            model: who answers, with its sampling.
            system: the system prompt; empty = the model's own, unless there are facts to tell: many templates have one
                system text only, and then the facts are it.
            at: position of the user message that is replaced, with all that follow it (edit, regenerate).
            seen: messages that the person saw when choosing `at`; if there are others by now, nothing is replaced.
            memory: which messages are sent in this turn, and what is made of them after it; None = the chat's.

        Raises:
            RequestError: the text is empty.
            TurnRunningError: the conversation's last answer is still being written.
            EngineClosedError: `close` was called.
        """
        if not text.strip():
            raise RequestError("The message is empty.", hint="Write something first.")
        with self._lock:
            if self._closed:
                raise EngineClosedError("The chat was closed.", hint="Start the program again.")
            if conversation_id in self._turns:
                raise TurnRunningError(
                    "This conversation is being answered already.", hint="Wait for the answer, or stop it."
                )
            cancelled = asyncio.Event()
            chooser = memory or self._memory
            turn = Turn(conversation_id, HumanMessage(text), at, chooser, lambda: self._call(cancelled.set))
            turn.seen = seen
            self._turns[conversation_id] = turn
            asyncio.run_coroutine_threadsafe(self._run(turn, model, system, cancelled), self._loop)
        return turn

    def running(self, conversation_id: str) -> Turn | None:
        """The turn that is being answered in a conversation, if any."""
        with self._lock:
            return self._turns.get(conversation_id)

    def settle(self, conversation_id: str, seconds: float) -> bool:
        """Wait until nothing is done for a conversation after its last answer, at most `seconds`; True if so."""
        waiting = asyncio.run_coroutine_threadsafe(self._compactor.wait(conversation_id), self._loop)
        try:
            waiting.result(seconds)
        except TimeoutError:
            waiting.cancel()
            return False
        return True

    def close(self) -> None:
        """Stop all answers, save what was written, and end the background thread. The store stays open."""
        with self._lock:
            if self._closed:
                return
            self._closed, turns = True, list(self._turns.values())
        for turn in turns:
            turn.stop()
            while not turn.wait(1):
                pass
        asyncio.run_coroutine_threadsafe(self._compactor.close(), self._loop).result()
        self._call(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, function: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(function)

    # ---- in the background loop ----

    async def _run(self, turn: Turn, model: BaseChatModel, system: str, cancelled: asyncio.Event) -> None:
        """Answer until it ends or is stopped, save, and only then tell."""
        state: State = "failed"
        try:
            state = await self._outcome(turn, model, system, cancelled)
            await asyncio.to_thread(self._remembering.check, turn.conversation_id, turn.facts)
        except Exception:
            log.exception("After the turn of conversation %s something failed", turn.conversation_id)
        finally:
            with self._lock:
                del self._turns[turn.conversation_id]
                if turn.answer and not self._closed:  # it waits for this coroutine, so the answer is seen first
                    self._compactor.start(turn.conversation_id, model, system, turn.memory)
            turn.update(state=state)

    async def _outcome(self, turn: Turn, model: BaseChatModel, system: str, cancelled: asyncio.Event) -> State:
        await self._compactor.stop(turn.conversation_id)
        chunks: list[AIMessageChunk] = []
        signal = turn.signal = StopSignal() if isinstance(model, ChatGGUF) else None
        answering = asyncio.ensure_future(self._answer(turn, model, system, chunks))
        stopping = asyncio.ensure_future(cancelled.wait())
        await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if signal and not answering.done():
            signal.set()  # the stream then ends by itself, with its figures
        elif not answering.done():
            answering.cancel()
        stopping.cancel()
        outcome = (await asyncio.gather(answering, return_exceptions=True))[0]
        state: State = "stopped" if isinstance(outcome, asyncio.CancelledError) else "done"
        try:
            if isinstance(outcome, Exception):
                raise outcome
            answer = _joined(chunks, turn, stopped=state == "stopped")
            state = "stopped" if answer.response_metadata.get("finish_reason") == "cancelled" else state
            if turn.text or state == "done":
                await self._save(turn, answer)
        except PhiresideError as error:
            turn.error, state = error, "failed"
        except Exception as error:  # a model's own errors, e.g. of a server: the person must see them, not the log only
            log.exception("A turn failed")
            turn.error, state = EngineError(f"The model failed: {error}.", hint="Try again."), "failed"
        return state

    async def _answer(
        self,
        turn: Turn,
        model: BaseChatModel,
        system: str,
        chunks: list[AIMessageChunk],
    ) -> None:
        turn.update(state="reading")
        if isinstance(model, ChatGGUF):
            self._remembering.state_dirs.add(model.settings.state_dir)
        selection = await asyncio.to_thread(self._select, turn, model, system)
        turn.left_out, turn.summarized = selection.left_out, selection.summarized
        own: dict[str, Any] = {"stop_signal": turn.signal, "keep": turn.conversation_id} if turn.signal else {}
        async for chunk in model.astream(selection.messages, **own):
            chunks.append(chunk)
            if text := chunk.text:
                turn.update(text=text, state="writing")

    def _select(self, turn: Turn, model: BaseChatModel, system: str) -> Selection:
        """The messages that are sent: as much of the conversation as fits with the answer."""
        history = self.store.messages(turn.conversation_id)
        if turn.at is not None:
            turn.seen = len(history) if turn.seen is None else turn.seen
            if len(history) != turn.seen or not 0 <= turn.at <= len(history):
                raise StoreError(
                    f"Message {turn.at} of {turn.seen} cannot be replaced: there are {len(history)} now.",
                    hint="It was changed in another window: open it again.",
                )
            history = history[: turn.at]
        budget, count_tokens = budget_of(model), counter_of(model)
        room, state = turn.memory.budget_for(model), self.store.memory_state(turn.conversation_id, at=turn.at)
        told = self._remembering.told(turn.conversation_id, history, turn.question.text, room, count_tokens)

        def select(facts: Sequence[Fact]) -> Selection:
            messages = prompt(with_facts(system, facts), [*history, turn.question])
            return turn.memory.select(messages, room, count_tokens, state)

        try:
            selection = select(told)
        except ContextOverflowError:
            if not told:
                raise
            told, selection = [], select([])  # a long question is worth more than facts
        turn.facts = told
        if budget:
            turn.context = budget.use(selection, count_tokens).report()
            whole, own = (count_tokens(prompt(text, [turn.question])) for text in (with_facts(system, told), system))
            if told and not system.strip():  # some templates put in their own then, which may be longer
                own = min(own, count_tokens([SystemMessage(""), turn.question]))
            turn.context["memory"] += whole - own
            turn.context["system"] -= whole - own
        return selection

    async def _save(self, turn: Turn, answer: AIMessage) -> None:
        expected = None if turn.at is None else turn.seen
        messages = [turn.question, answer]
        await asyncio.to_thread(self.store.save_turn, turn.conversation_id, messages, at=turn.at, expected=expected)
        turn.answer = answer


def _joined(chunks: Sequence[AIMessageChunk], turn: Turn, *, stopped: bool) -> AIMessage:
    """The chunks as one message; a stopped one is marked by its finish_reason, as servers mark how an answer ended."""
    whole = chunks[0] if chunks else AIMessageChunk(content="")
    if len(chunks) > 1:  # a model that does not stream gives one whole message, which cannot be added to
        whole += list(chunks[1:])
    message = message_chunk_to_message(whole)
    if not isinstance(message, AIMessage):
        raise EngineError(f"The model answered with a {type(message).__name__}.", hint="Use a chat model.")
    sent = {"left_out": turn.left_out, "summarized": turn.summarized, "facts": len(turn.facts), "context": turn.context}
    marks = ({"finish_reason": "cancelled"} if stopped else {}) | {name: what for name, what in sent.items() if what}
    message.response_metadata = {**message.response_metadata, **marks}
    return message

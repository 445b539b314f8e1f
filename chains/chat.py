"""The chat: a question goes in, its answer streams, and both are saved in one transaction.

Answers run in a background event loop, so they survive the page that asked for them, and everybody who opens the
conversation meanwhile sees the same stream. Knows any `BaseChatModel`; exact budgets need `ChatGGUF`. Knows no page,
and of documents and tools only that somebody else may write the answer (`Answerer`).
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage

from phireside.chains.compaction import Compactor, prompt
from phireside.chains.loop import serve
from phireside.chains.remembering import Remembering
from phireside.chains.turn import Answerer, Needing, State, Turn
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
from phireside.memory.budget import UNLIMITED
from phireside.memory.told import with_facts
from phireside.models import ChatGGUF, StopSignal

log = logging.getLogger(__name__)


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
        self._thread = threading.Thread(target=serve, args=(self._loop,), name="chat", daemon=True)
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
        answerer: Answerer | None = None,
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
            answerer: who writes the answer instead of the model alone: from documents, or with tools
                (`phireside.agents.assistant.answerer`). The memory chooses messages for it by the model's budget.

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
            asyncio.run_coroutine_threadsafe(self._run(turn, model, system, answerer, cancelled), self._loop)
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

    async def _run(
        self, turn: Turn, model: BaseChatModel, system: str, answerer: Answerer | None, cancelled: asyncio.Event
    ) -> None:
        """Answer until it ends or is stopped, save, and only then tell."""
        state: State = "failed"
        try:
            state = await self._outcome(turn, model, system, answerer, cancelled)
            await asyncio.to_thread(self._remembering.check, turn.conversation_id, turn.facts)
        except Exception:
            log.exception("After the turn of conversation %s something failed", turn.conversation_id)
        finally:
            with self._lock:
                del self._turns[turn.conversation_id]
                if turn.answer and not self._closed:  # it waits for this coroutine, so the answer is seen first
                    self._compactor.start(turn, model, system, reads_ahead=answerer is None)
            turn.update(state)

    async def _outcome(
        self, turn: Turn, model: BaseChatModel, system: str, answerer: Answerer | None, cancelled: asyncio.Event
    ) -> State:
        await self._compactor.stop(turn.conversation_id)
        signal = turn.signal = StopSignal() if isinstance(model, ChatGGUF) and answerer is None else None
        answering = asyncio.ensure_future(self._answer(turn, model, system, answerer))
        stopping = asyncio.ensure_future(cancelled.wait())
        await asyncio.wait({answering, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if signal and not answering.done():
            signal.set()  # the stream then ends by itself, with its figures
        while not signal and not answering.done():  # some libraries lose a cancellation (langchain-openai's timeout)
            answering.cancel()
            await asyncio.wait({answering}, timeout=1)
        stopping.cancel()
        outcome = (await asyncio.gather(answering, return_exceptions=True))[0]
        state: State = "stopped" if isinstance(outcome, asyncio.CancelledError) else "done"
        try:
            if outcome is not None and state != "stopped":
                raise outcome
            answer = turn.written(stopped=state == "stopped")
            state = "stopped" if answer.response_metadata.get("finish_reason") == "cancelled" else state
            if turn.text or turn.messages or state == "done":
                await self._save(turn, answer)
        except PhiresideError as error:
            turn.error, state = error, "failed"
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # of a model: the person must see it
            log.exception("A turn failed")
            said = (str(error) if isinstance(error, Exception) else "") or type(error).__name__
            turn.error, state = EngineError(f"The model failed: {said}.", hint="Try again."), "failed"
        return state

    async def _answer(self, turn: Turn, model: BaseChatModel, system: str, answerer: Answerer | None) -> None:
        turn.update("reading")
        if isinstance(model, ChatGGUF):
            self._remembering.state_dirs.add(model.settings.state_dir)
        selection = await asyncio.to_thread(self._select, turn, model, system, answerer)
        turn.left_out, turn.summarized = selection.left_out, selection.summarized
        async with aclosing(_chunks(turn, model, selection.messages, answerer)) as chunks:
            async for chunk in chunks:
                turn.write(chunk)

    def _select(self, turn: Turn, model: BaseChatModel, system: str, answerer: Answerer | None) -> Selection:
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
        needs: dict[str, int] = answerer.needs(room) if isinstance(answerer, Needing) else {}
        room = turn.room = _left_of(room, needs)
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
            turn.context = budget.take(**needs).use(selection, count_tokens).report()
            whole, own = (count_tokens(prompt(text, [turn.question])) for text in (with_facts(system, told), system))
            if told and not system.strip():  # some templates put in their own then, which may be longer
                own = min(own, count_tokens([SystemMessage(""), turn.question]))
            turn.context["memory"] += whole - own
            turn.context["system"] -= whole - own
        return selection

    async def _save(self, turn: Turn, answer: AIMessage) -> None:
        expected = None if turn.at is None else turn.seen
        messages = [turn.question, *turn.messages, answer]
        await asyncio.to_thread(self.store.save_turn, turn.conversation_id, messages, at=turn.at, expected=expected)
        turn.answer = answer


def _chunks(
    turn: Turn, model: BaseChatModel, messages: list[BaseMessage], answerer: Answerer | None
) -> AsyncGenerator[AIMessageChunk, None]:
    """The answer as it is written: by the answerer, or by the model alone."""
    own: dict[str, Any] = {"stop_signal": turn.signal, "keep": turn.conversation_id} if turn.signal else {}
    chunks = answerer.answer(messages, turn) if answerer else model.astream(messages, **own)
    return cast("AsyncGenerator[AIMessageChunk, None]", chunks)


def _left_of(room: int, needs: Mapping[str, int]) -> int:
    """Tokens that messages may have.

    Raises:
        ContextOverflowError: there are none.
    """
    if room == UNLIMITED:
        return room
    left = room - sum(needs.values())
    if left <= 0:
        wanted = ", ".join(f"{tokens} for {name}" for name, tokens in needs.items())
        raise ContextOverflowError(
            f"Of {room} tokens for a prompt there would be none left for the conversation: {wanted}.",
            hint="Switch off some tools, or load the model with a larger n_ctx.",
        )
    return left

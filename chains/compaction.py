"""What is done after an answer, in the background: given up as soon as it would be in somebody's way.

Facts are looked for in what the person said, then the memory does what is due. The turns are saved already, and a state
or a message's facts are saved only when complete. So nothing is lost when the model fails, the next question comes, or
the process dies: what was not done is due again after the next answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from phireside.chains.remembering import Remembering
from phireside.chains.turn import Turn
from phireside.errors import PhiresideError
from phireside.memory import ConversationStore, counter_of
from phireside.memory.told import with_facts
from phireside.models import ChatGGUF

log = logging.getLogger(__name__)


class Compactor:
    """At most one task for each conversation. To be used in one event loop only.

    Args:
        store: where conversations and states are kept.
        remembering: what is done about facts.
    """

    def __init__(self, store: ConversationStore, remembering: Remembering) -> None:
        self._store, self._remembering = store, remembering
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, turn: Turn, model: BaseChatModel, system: str, *, reads_ahead: bool) -> None:
        """Begin what is due; returns at once.

        Args:
            turn: that has ended; its memory has the same room now.
            model: who answered; it goes on at the priority of background work.
            system: the system prompt of the turn: it takes some of the budget.
            reads_ahead: whether the next prompt is known, and is read where it begins otherwise than the last one.
        """
        task = asyncio.ensure_future(self._run(turn, model, system, reads_ahead))
        self._tasks[turn.conversation_id] = task
        task.add_done_callback(lambda done: self._forget(turn.conversation_id, done))

    async def stop(self, conversation_id: str) -> None:
        """Give up what is done for a conversation."""
        if task := self._tasks.get(conversation_id):
            task.cancel()
            await asyncio.wait({task})

    async def wait(self, conversation_id: str) -> None:
        """Until nothing is done for a conversation."""
        if task := self._tasks.get(conversation_id):
            await asyncio.wait({task})

    async def close(self) -> None:
        """Give up everything."""
        for conversation_id in list(self._tasks):
            await self.stop(conversation_id)

    def _forget(self, conversation_id: str, done: "asyncio.Task[None]") -> None:
        if self._tasks.get(conversation_id) is done:
            del self._tasks[conversation_id]

    async def _run(self, turn: Turn, model: BaseChatModel, system: str, reads_ahead: bool) -> None:
        conversation_id = turn.conversation_id
        if isinstance(model, ChatGGUF):
            model = model.model_copy(update={"priority": "background"})
        await _logged(conversation_id, "searched for facts", self._remembering.learn(conversation_id, model))
        if turn.memory.compacts:
            await _logged(conversation_id, "summarised", self._compact(turn, model, system, reads_ahead))

    async def _compact(self, turn: Turn, model: BaseChatModel, system: str, reads_ahead: bool) -> None:
        conversation_id, memory = turn.conversation_id, turn.memory
        # Read before the messages: if turns are saved in between, what is made of them is refused.
        as_of = (await asyncio.to_thread(self._store.get, conversation_id)).updated_at
        history = await asyncio.to_thread(self._store.messages, conversation_id)
        state = await asyncio.to_thread(self._store.memory_state, conversation_id)
        known = await asyncio.to_thread(self._store.facts.chosen, conversation_id) or []
        room = await asyncio.to_thread(memory.budget_for, model) if turn.room is None else turn.room
        count_tokens = counter_of(model)
        first, messages = state, prompt(with_facts(system, known), history)
        while compaction := await asyncio.to_thread(memory.due, messages, room, count_tokens, state):
            made = await memory.compact(compaction, model)
            keep = self._store.save_memory_state  # refused if a fact of `state` was forgotten meanwhile
            state = await asyncio.to_thread(keep, conversation_id, made, as_of=as_of, before=state)
        if state is first:
            return
        choose = self._remembering.choose_again
        known = await asyncio.to_thread(choose, conversation_id, history, room, count_tokens)
        if reads_ahead and isinstance(model, ChatGGUF):
            # The next prompt begins otherwise now: the engine reads it up to the question while nobody waits for that.
            next_one = [*prompt(with_facts(system, known), history), HumanMessage("…")]
            sent = await asyncio.to_thread(memory.select, next_one, room, count_tokens, state)
            await model.ainvoke(sent.messages, max_tokens=1, keep=conversation_id)
            await asyncio.to_thread(self._remembering.check, conversation_id, known)


def prompt(system: str, messages: Sequence[BaseMessage]) -> list[BaseMessage]:
    """The messages behind a system prompt, if there is one."""
    return [SystemMessage(system), *messages] if system.strip() else list(messages)


async def _logged(conversation_id: str, what: str, work: Awaitable[None]) -> None:
    """The work; its failure is a line in the log: the person has the answer, and nothing is lost."""
    try:
        await work
    except PhiresideError as error:
        log.warning("Conversation %s was not %s: %s", conversation_id, what, error)
    except Exception:  # a model's own errors, e.g. of a server
        log.exception("Conversation %s was not %s", conversation_id, what)

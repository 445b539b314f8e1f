"""What a memory does after an answer, in the background: given up as soon as it would be in somebody's way.

The turns are saved already, and a state is saved only when it is complete. So nothing is lost when the model fails, the
next question comes, or the process dies: what was not done is due again after the next answer.
"""

import asyncio
import logging

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from phireside.errors import PhiresideError
from phireside.memory import ConversationStore, Memory, counter_of
from phireside.models import ChatGGUF

log = logging.getLogger(__name__)


class Compactor:
    """At most one task for each conversation. To be used in one event loop only.

    Args:
        store: where conversations and states are kept.
        memory: what is to be done.
    """

    def __init__(self, store: ConversationStore, memory: Memory) -> None:
        self._store, self._memory = store, memory
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, conversation_id: str, model: BaseChatModel, system: str) -> None:
        """Begin what is due; returns at once.

        Args:
            conversation_id: whose turn has ended.
            model: who answered; it goes on at the priority of background work.
            system: the system prompt of the turn: it takes some of the budget.
        """
        if not self._memory.compacts:
            return
        task = asyncio.ensure_future(self._run(conversation_id, model, system))
        self._tasks[conversation_id] = task
        task.add_done_callback(lambda done: self._forget(conversation_id, done))

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

    async def _run(self, conversation_id: str, model: BaseChatModel, system: str) -> None:
        try:
            await self._compact(conversation_id, model, system)
        except PhiresideError as error:
            log.warning("Conversation %s was not summarised: %s", conversation_id, error)
        except Exception:  # a model's own errors, e.g. of a server: the person has the answer, and nothing is lost
            log.exception("Conversation %s was not summarised", conversation_id)

    async def _compact(self, conversation_id: str, model: BaseChatModel, system: str) -> None:
        if isinstance(model, ChatGGUF):
            model = model.model_copy(update={"priority": "background"})
        # Read before the messages: if turns are saved in between, what is made of them is refused.
        as_of = (await asyncio.to_thread(self._store.get, conversation_id)).updated_at
        history = await asyncio.to_thread(self._store.messages, conversation_id)
        state = await asyncio.to_thread(self._store.memory_state, conversation_id)
        messages = [SystemMessage(system), *history] if system.strip() else history
        budget, count_tokens = await asyncio.to_thread(self._memory.budget_for, model), counter_of(model)
        before = state
        async for made in self._memory.updates(messages, budget, count_tokens, state, model):
            await asyncio.to_thread(self._store.save_memory_state, conversation_id, made, as_of=as_of)
            state = made
        if state is not before and isinstance(model, ChatGGUF):
            # The next prompt begins otherwise now: the engine reads it up to the question while nobody waits for that.
            next_one = [*messages, HumanMessage("…")]
            sent = await asyncio.to_thread(self._memory.select, next_one, budget, count_tokens, state)
            await model.ainvoke(sent.messages, max_tokens=1, keep=conversation_id)

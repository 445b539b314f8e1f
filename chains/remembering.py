"""Long-term facts in a chat: which ones a conversation's prompts have, and what is learned after an answer.

A choice is made when a conversation begins and again when its memory compacts it, because then its prompts begin
otherwise anyway. In between only the person changes it, by editing or forgetting a fact: what was read of those prompts
(KV state) is then dropped, in memory and on disk.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from phireside.errors import ConversationNotFoundError, EngineBusyError, EngineClosedError
from phireside.memory import ConversationStore, CountTokens, Fact, statements
from phireside.memory.told import MOST_TOKENS, fitting, with_facts
from phireside.models import forget_state

log = logging.getLogger(__name__)
_CONFIG: RunnableConfig = {"run_name": "facts"}


class Remembering:
    """The facts of a store in the conversations of a `Chat`. Thread-safe.

    Args:
        store: where conversations and facts are kept.

    Attributes:
        state_dirs: the folders in which models keep their KV state (`Settings.state_dir`).
    """

    def __init__(self, store: ConversationStore) -> None:
        self._store = store
        self.state_dirs: set[Path] = set()
        store.facts.watch(self._forget_states)

    def told(
        self, conversation_id: str, history: Sequence[BaseMessage], question: str, budget: int, count: CountTokens
    ) -> list[Fact]:
        """The facts that the next prompt has; chosen now if the conversation begins.

        Args:
            conversation_id: the conversation.
            history: its messages before the question.
            question: what is asked.
            budget: tokens of the prompt.
            count: see `CountTokens`.
        """
        chosen = self._store.facts.chosen(conversation_id)
        if chosen is None:
            return [] if history else self._choose(conversation_id, question, budget, count, again=False)
        return chosen

    def choose_again(
        self, conversation_id: str, history: Sequence[BaseMessage], budget: int, count: CountTokens
    ) -> list[Fact]:
        """A new choice, by the last question; see `told`. What was read of prompts with another one may be dropped."""
        question = next((message.text for message in reversed(history) if isinstance(message, HumanMessage)), "")
        return self._choose(conversation_id, question, budget, count, again=True)

    async def learn(self, conversation_id: str, model: BaseChatModel) -> None:
        """Look for facts in what the person wrote since this was last done; message by message, each saved when done.

        Where the search fails in the newest message, it is looked at once more after the next answer; an older one is
        passed over, so that it does not keep later ones waiting for ever.

        Args:
            conversation_id: the conversation.
            model: who looks.

        Raises:
            StoreError: the conversation was deleted or changed meanwhile.
            EngineError: the engine is busy or closed. Others are those of the model, for the newest message.
        """
        kept = self._store.facts
        if not await asyncio.to_thread(lambda: kept.enabled):
            return
        # Read before the messages: if turns are saved in between, what is found in them is refused.
        as_of = (await asyncio.to_thread(self._store.get, conversation_id)).updated_at
        unheard = await asyncio.to_thread(kept.unheard, conversation_id)
        for position, text in unheard:
            try:
                found = await statements(model, text, _CONFIG)
            except (EngineBusyError, EngineClosedError):
                raise
            except Exception as error:
                if position == unheard[-1][0]:
                    raise
                log.warning("Message %d of %s is not searched for facts again: %s", position, conversation_id, error)
                found = []
            await asyncio.to_thread(kept.learned, conversation_id, position, found, as_of=as_of)

    def check(self, conversation_id: str, sent: Sequence[Fact]) -> None:
        """Drop what was read of a prompt if meanwhile one of its facts was edited or forgotten, or the conversation
        deleted.

        Args:
            conversation_id: the conversation.
            sent: the facts that the prompt had.
        """
        try:
            now = self._store.facts.chosen(conversation_id) or []
        except ConversationNotFoundError:
            self._forget_states([conversation_id])
            return
        if sent and [fact.text for fact in now] != [fact.text for fact in sent]:
            self._forget_states([conversation_id])

    def _choose(
        self, conversation_id: str, question: str, budget: int, count: CountTokens, *, again: bool
    ) -> list[Fact]:
        most = min(MOST_TOKENS, budget // 8)

        def fits(facts: Sequence[Fact]) -> bool:
            return count([HumanMessage(with_facts("", facts))]) <= most

        wanted = fitting(self._store.facts.list(), question, fits)
        if again and not set(self._store.facts.chosen(conversation_id) or []) <= set(wanted):
            self._forget_states([conversation_id])  # "forget" would not find who had a fact that is chosen no longer
        return self._store.facts.choose(conversation_id, wanted, again=again)

    def _forget_states(self, conversation_ids: Iterable[str]) -> None:
        for conversation_id in conversation_ids:
            for folder in list(self.state_dirs):
                forget_state(conversation_id, folder)

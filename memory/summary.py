"""Summary memory: all earlier turns as one summary, with the facts that the person stated beside it.

The summary is incremental: the model is shown the last one and the turns since, with the prompt of the book's chapter
7. It is written after the answer, not before the next question, and until it is there those turns are sent as they are.
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from langchain.agents.middleware.types import ModelRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.constants import TAG_NOSTREAM

from phireside.errors import ContextOverflowError, EngineError, RequestError
from phireside.memory import facts
from phireside.memory.budget import counter_of
from phireside.memory.contract import STATE_KEY, Memory, MemoryAgentState, state_of
from phireside.memory.state import NOTHING, Compaction, CountTokens, MemoryState, Selection
from phireside.memory.turns import Tails, first_where, is_finished, newest_that_fit, position_of, spoken, turn_starts
from phireside.models import ChatGGUF

SUMMARY_ASK = "New summary:"
FACTS_ASK = (
    "No new summary. Instead list the facts that the Human stated about themselves in the new lines: names, numbers "
    'and dates, each as a short sentence. Answer with JSON: {"facts": [...]}, an empty list if there are none.'
)
log = logging.getLogger(__name__)
_SHORTEST = 16  # characters of a message, below which it is not shortened further
_PER_TOKEN = 8  # characters; no language has more in a token on average
_CONFIG: RunnableConfig = {"run_name": "summary", "tags": [TAG_NOSTREAM]}  # an agent's stream does not show it


class SummaryMemory(Memory):
    """Sends the summary of all earlier turns and the question (the book's chapter 7).

    Args:
        max_tokens: of the summary; never more than a quarter of the prompt's budget.
        max_facts: facts carried beside it; 0 = none are looked for.
        model, budget: see `Memory`. An agent needs the model here.

    Raises:
        RequestError: a number is out of range.
    """

    def __init__(
        self,
        *,
        max_tokens: int = 256,
        max_facts: int = 24,
        model: BaseChatModel | None = None,
        budget: int | None = None,
    ) -> None:
        super().__init__(model=model, budget=budget)
        if max_tokens < 1 or max_facts < 0:
            raise RequestError(f"max_tokens is {max_tokens} and max_facts {max_facts}: at least 1 and 0 are needed.")
        self.max_tokens, self.max_facts = max_tokens, max_facts

    def select(
        self,
        messages: Sequence[BaseMessage],
        budget: int,
        count_tokens: CountTokens,
        state: MemoryState = NOTHING,
    ) -> Selection:
        """See `Memory.select`: the summary, and whatever it does not cover yet."""
        starts = turn_starts(messages)
        if (note := note_of(state)) and (covered := position_of(messages, state.covered)):
            try:
                tails = Tails(messages, count_tokens, note, covered)
                return newest_that_fit(tails, starts, _turn_at(starts, covered), budget)
            except ContextOverflowError:
                pass  # the question alone may fit
        return newest_that_fit(Tails(messages, count_tokens), starts, 0, budget)

    def due(
        self,
        messages: Sequence[BaseMessage],
        budget: int,
        count_tokens: CountTokens,
        state: MemoryState = NOTHING,
    ) -> Compaction | None:
        """Whatever is finished and not covered yet; in several steps where the model cannot read it at once."""
        if not position_of(messages, state.covered):
            state = NOTHING  # it is another conversation's
        starts = [*turn_starts(messages), len(messages)]
        ready = len(starts) - (1 if is_finished(messages) else 2)
        first = _turn_at(starts, position_of(messages, state.covered))
        end = self._end(Tails(messages, count_tokens, note_of(state), starts[first]), starts, first, ready, budget)
        if end <= first or not spoken(messages[starts[first] : starts[end]]):
            return None
        compaction = self._readable(messages, starts, first, end, budget, count_tokens, state)
        # A turn may reach back to what is covered already: what would add nothing would be due for ever.
        return compaction if compaction and compaction.covered > state.covered else None

    def _end(self, tails: Tails, starts: Sequence[int], first: int, ready: int, budget: int) -> int:  # noqa: ARG002
        """The turn up to which the summary should reach.

        Args:
            tails: the conversation with its present summary.
            starts: where its turns begin, and its end.
            first: the first turn that is not covered.
            ready: the first turn that is not finished.
            budget: tokens that a prompt may have.
        """
        return ready

    async def compact(self, compaction: Compaction, model: BaseChatModel) -> MemoryState:
        """See `Memory.compact`: one question for the summary, and one for the facts, which only ends otherwise."""
        limit = compaction.max_tokens
        own: dict[str, Any] = {"temperature": 0.0} if isinstance(model, ChatGGUF) else {}
        asked = await model.ainvoke(_question(compaction, SUMMARY_ASK), _CONFIG, max_tokens=limit, **own)
        text = _bounded(asked.text.strip(), limit)
        if not text or asked.response_metadata.get("finish_reason") == "cancelled":
            raise EngineError("The model wrote no summary.", hint="What it should cover is sent as it is.")
        known = compaction.before.facts
        if self.max_facts:
            found = await facts.facts_in(model, _question(compaction, FACTS_ASK), limit, _CONFIG)
            known = facts.merged(known, facts.stated(found, compaction.messages), self.max_facts)
        return MemoryState(text, known, compaction.covered)

    def _readable(
        self,
        messages: Sequence[BaseMessage],
        starts: Sequence[int],
        first: int,
        end: int,
        budget: int,
        count_tokens: CountTokens,
        state: MemoryState,
    ) -> Compaction | None:
        """The turns from `first` on, as many of those before `end` as the model can read with the prompt."""
        limit = max(1, min(self.max_tokens, budget // 4))
        longer = FACTS_ASK if self.max_facts else SUMMARY_ASK

        def upto(turn: int, characters: int | None = None) -> Compaction:
            added = tuple(m for m in messages[starts[first] : starts[turn]] if not isinstance(m, SystemMessage))
            return Compaction(state, added, spoken(messages[: starts[turn]]), limit, characters)

        def fits(compaction: Compaction) -> bool:
            return count_tokens(_question(compaction, longer)) + limit <= budget

        if fits(upto(end)):
            return upto(end)
        turn = first_where(first + 1, end, lambda turn: not fits(upto(turn + 1)))
        compaction, characters = upto(turn), max(_SHORTEST, budget * _PER_TOKEN)
        while not fits(compaction):  # a single turn that is too long
            if characters <= _SHORTEST:
                return None
            characters //= 2
            compaction = replace(compaction, characters=characters)
        return compaction

    # ---- an agent's middleware ------------------------------------------------------------------------------------

    def _selection(self, request: ModelRequest[Any]) -> Selection:
        if self.model is None:
            raise RequestError(f"In an agent a {self.name} needs a model.", hint=f"Write {self.name}(model=…).")
        return super()._selection(request)

    def after_agent(self, state: MemoryAgentState, runtime: Any) -> dict[str, Any] | None:
        """Compaction, once the agent has answered; its checkpointer saves the new state."""
        with ThreadPoolExecutor(1) as thread:  # this one may have a running event loop
            return thread.submit(asyncio.run, self.aafter_agent(state, runtime)).result()

    async def aafter_agent(self, state: MemoryAgentState, runtime: Any) -> dict[str, Any] | None:  # noqa: ARG002
        """See `after_agent`."""
        if self.model is None:
            return None
        before = latest = state_of(state)
        budget, count_tokens = self.budget_for(self.model), counter_of(self.model)
        try:
            async for updated in self.updates(state["messages"], budget, count_tokens, before, self.model):
                latest = updated
        except Exception:  # the agent has answered, and nothing is lost: it is tried again after the next answer
            log.exception("A conversation was not summarised")
        return None if latest is before else {STATE_KEY: asdict(latest)}


def note_of(state: MemoryState) -> SystemMessage | None:
    """Summary and facts as a message. A system one: models without that role get it before the first question."""
    parts = []
    if state.summary:
        parts.append(f"Summary of the conversation so far:\n{state.summary}")
    if state.facts:
        parts.append("What the human said about themselves:\n" + "\n".join(f"- {fact}" for fact in state.facts))
    return SystemMessage("\n\n".join(parts)) if parts else None


def _question(compaction: Compaction, ask: str) -> list[BaseMessage]:
    """The book's prompt (chapter 7). The fixed part comes first, and only the end tells the two questions apart."""
    lines = "\n".join(_line(message, compaction.characters) for message in compaction.messages)
    return [
        HumanMessage(
            "Summarize the conversations and update with the new lines.\n\n"
            f"Current summary:\n{compaction.before.summary}\n\nnew lines of conversation:\n{lines}\n\n{ask}"
        )
    ]


def _line(message: BaseMessage, characters: int | None) -> str:
    if isinstance(message, ToolMessage):
        who = f"Result of {message.name}" if message.name else "Result"
    else:
        who = "AI" if isinstance(message, AIMessage) else "Human"
    calls = [f"(calls {call['name']} with {call['args']})" for call in getattr(message, "tool_calls", [])]
    text = " ".join(filter(None, [str(message.text), *calls]))
    if characters is not None and len(text) > characters:
        half = characters // 2
        text = f"{text[:half]} [{len(text) - 2 * half} characters left out] {text[-half:]}"
    return f"{who}: {text}"


def _turn_at(starts: Sequence[int], position: int) -> int:
    """The last turn that begins at `position` or before it."""
    return max(turn for turn, start in enumerate(starts) if start <= position)


def _bounded(text: str, tokens: int) -> str:
    """The text as it is, unless a server ignored the limit; then whole sentences of it."""
    if len(text) <= tokens * _PER_TOKEN:
        return text
    head = text[: tokens * _PER_TOKEN]
    return head[: head.rfind(". ") + 1] or head

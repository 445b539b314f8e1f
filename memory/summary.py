"""Summary memory: all earlier turns as one summary, with the facts that the person stated beside it.

The summary is incremental: the model is shown the last one and the turns since, with the prompt of the book's chapter
7. It is written after the answer, not before the next question, and until it is there those turns are sent as they are.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

from langchain.agents.middleware.types import ModelRequest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.runnables import RunnableConfig
from langgraph.constants import TAG_NOSTREAM

from phireside.errors import ContextOverflowError, EngineBusyError, EngineClosedError, EngineError, RequestError
from phireside.memory import facts
from phireside.memory.budget import UNLIMITED, counter_of
from phireside.memory.contract import ROOM_KEY, STATE_KEY, Memory, MemoryAgentState, state_of
from phireside.memory.state import NOTHING, Compaction, CountTokens, MemoryState, Selection
from phireside.memory.turns import (
    Tails,
    first_where,
    is_finished,
    is_human,
    is_system,
    newest_that_fit,
    position_of,
    spoken,
    turn_starts,
)
from phireside.models import ChatGGUF, known_settings

SUMMARY_ASK = "New summary:"
log = logging.getLogger(__name__)
_SHORTEST = 16  # characters of a message, below which it is not shortened further
_PER_TOKEN = 8  # characters; no language has more in a token on average
_CONFIG: RunnableConfig = {"run_name": "summary", "tags": [TAG_NOSTREAM]}  # an agent's stream does not show it


class SummaryMemory(Memory):
    """Sends the summary of all earlier turns and the question (the book's chapter 7).

    Args:
        max_tokens: of the summary; never more than a quarter of the prompt's budget.
        max_facts: facts carried beside it, and sent as far as they fit into a quarter of the budget, the newest first;
            0 = none are looked for.
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
        if (note := _note(state, budget, count_tokens)) and (covered := position_of(messages, state.covered)):
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
        note = _note(state, budget, count_tokens)
        end = self._end(Tails(messages, count_tokens, note, starts[first]), starts, first, ready, budget)
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
        """See `Memory.compact`."""
        limit = compaction.max_tokens
        own = known_settings(model, {"max_tokens": limit})  # a model without it is cut below
        own |= {"temperature": 0.0} if isinstance(model, ChatGGUF) else {}
        asked = await model.ainvoke(_question(compaction), _CONFIG, **own)
        text = _bounded(asked.text.strip(), limit)
        if not text or asked.response_metadata.get("finish_reason") == "cancelled":
            raise EngineError("The model wrote no summary.", hint="What it should cover is sent as it is.")
        found = await self._found(compaction, model) if self.max_facts else []
        known = facts.merged(compaction.before.facts, found, self.max_facts)
        return MemoryState(text, known, compaction.covered)

    async def _found(self, compaction: Compaction, model: BaseChatModel) -> list[str]:
        """The facts in what the person said; none if the search fails: the summary is worth more."""
        said = [message.text for message in compaction.messages if is_human(message)]
        try:
            return [fact for each in said for fact in await facts.statements(model, each, _CONFIG)]
        except (EngineBusyError, EngineClosedError):  # all of it is due again, and can be done then
            raise
        except Exception:  # a model's own errors, e.g. of a server
            log.exception("A conversation was summarised, but facts were not looked for to the end")
            return []

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

        def upto(turn: int, characters: int | None = None) -> Compaction:
            added = tuple(m for m in messages[starts[first] : starts[turn]] if not is_system(m))
            return Compaction(state, added, spoken(messages[: starts[turn]]), limit, characters)

        def fits(compaction: Compaction) -> bool:
            return count_tokens(_question(compaction)) + limit <= budget

        if fits(upto(end)):
            return upto(end)
        turn = first_where(first + 1, end, lambda turn: not fits(upto(turn + 1)))
        return next(filter(fits, _shorter(upto(turn), budget)), None)

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
        budget = min(self.budget_for(self.model), state.get(ROOM_KEY, UNLIMITED))
        count_tokens = counter_of(self.model)
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


def _note(state: MemoryState, budget: int, count_tokens: CountTokens) -> SystemMessage | None:
    """`note_of` with the newest facts that fit into a quarter of the budget; the summary has another one."""

    def fits(without: int) -> bool:
        facts_only = note_of(MemoryState(facts=state.facts[without:]))
        return facts_only is None or 4 * count_tokens([HumanMessage(facts_only.text)]) <= budget

    without = 0 if fits(0) else first_where(1, len(state.facts), fits)
    return note_of(replace(state, facts=state.facts[without:]))


def _question(compaction: Compaction) -> list[BaseMessage]:
    """The book's prompt (chapter 7). The fixed part comes first, and stays in the model's cache."""
    lines = "\n".join(_lines(compaction))
    return [
        HumanMessage(
            "Summarize the conversations and update with the new lines.\n\n"
            f"Current summary:\n{compaction.before.summary}\n\nnew lines of conversation:\n{lines}\n\n{SUMMARY_ASK}"
        )
    ]


def _shorter(compaction: Compaction, budget: int) -> Iterator[Compaction]:
    """The same, and less and less of it: first each message is shortened, then those in the middle are left out."""
    yield compaction
    characters = budget * _PER_TOKEN
    while characters > _SHORTEST:
        characters = max(_SHORTEST, characters // 2)
        yield replace(compaction, characters=characters)
    shown = len(compaction.messages)
    while shown > 2:
        shown = max(2, shown // 2)
        yield replace(compaction, characters=_SHORTEST, shown=shown)


def _lines(compaction: Compaction) -> list[str]:
    """What the model is shown of a conversation, a line for each message."""
    messages, shown = compaction.messages, compaction.shown
    if shown is None or shown >= len(messages):
        return [_line(message, compaction.characters) for message in messages]
    first, last = messages[: shown - shown // 2], messages[len(messages) - shown // 2 :]
    lines = [_line(message, compaction.characters) for message in (*first, *last)]
    return [*lines[: len(first)], f"[{len(messages) - shown} messages left out]", *lines[len(first) :]]


def _line(message: BaseMessage, characters: int | None) -> str:
    if isinstance(message, ToolMessage | FunctionMessage):
        who = f"Result of {message.name}" if message.name else "Result"
    elif isinstance(message, ChatMessage) and message.role not in ("user", "human"):
        who = message.role
    else:
        who = "AI" if isinstance(message, AIMessage) else "Human"
    calls = [f"(calls {call['name']} with {call['args']})" for call in getattr(message, "tool_calls", [])]
    text = " ".join(filter(None, [str(message.text), *calls]))
    if characters is not None and len(text) > characters:
        half = characters // 2
        text = min(text, f"{text[:half]} [{len(text) - 2 * half} characters left out] {text[-half:]}", key=len)
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

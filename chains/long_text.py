"""Long texts: cut into pieces that fit a model's context, asked about at once, and what was answered put together.

Map-reduce as LangChain's `MapReduceDocumentsChain` had it, with tokens counted by the model, the pieces in one batch of
the engine, and as many rounds of merging as it takes. A model that does not say how much it can read gets all at once.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeVar

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.prompts import BaseChatPromptTemplate

from phireside.chains.chain import Chain, Growing
from phireside.chains.cost import Cost
from phireside.chains.given import check_counts, chosen, limit
from phireside.chains.loop import gate, growing
from phireside.chains.prompt_files import Override, load_prompts, to_prompt
from phireside.errors import ContextOverflowError, RequestError
from phireside.memory.budget import UNLIMITED, counter_of
from phireside.models import ChatGGUF, known_settings, unbound

T = TypeVar("T")
Fill = Callable[[str], Sequence[BaseMessage]]  # a prompt, from the text that goes into it

AT_ONCE = 16  # twice as many as the engine has sequences for, so that none is idle; fewer than it lets wait
LEAST = 32  # tokens of a piece: with less room than that, a prompt is too long and not the text
SLACK = 8  # tokens by which pieces are cut shorter, because the counts of two texts do not quite add up
_CUTS = [r"\n\s*\n", r"\n", r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])", r"(?<=[,;:])\s+", r"\s+", ""]


class Window:
    """How much text fits into a prompt of a model, beside the rest of the prompt and the answer.

    Args:
        model: a chat model, or one with arguments bound to it.
        max_tokens: of the answer; None = the model's own, or a quarter of the context.
    """

    def __init__(self, model: Any, max_tokens: int | None = None) -> None:
        plain, bound = unbound(model)
        known = plain.context_size if isinstance(plain, ChatGGUF) else (plain.profile or {}).get("max_input_tokens")
        self.size = known or UNLIMITED
        own = bound.get("max_tokens", getattr(plain, "max_tokens", None))
        self.answer = int(max_tokens or own or self.size // 4)
        self._count = counter_of(plain)
        self._exact = plain.get_num_tokens if isinstance(plain, ChatGGUF) else self._estimate

    def _estimate(self, text: str) -> int:
        return self._count([HumanMessage(text)]) - self._count([HumanMessage("")])

    def fits(self, messages: Sequence[BaseMessage]) -> bool:
        """Whether a prompt leaves room for the answer."""
        return self.size == UNLIMITED or self._count(messages) + self.answer <= self.size

    def pieces(self, text: str, fill: Fill) -> list[str]:
        """The text in pieces that fit: paragraphs, else lines, sentences, phrases, words; in order, none empty.

        Raises:
            ContextOverflowError: the prompt and the answer alone leave no room.
        """
        if self.fits(fill(text)):
            return [text]
        used = self._count(fill("."))
        room = self.size - self.answer - used - SLACK
        if room < LEAST:
            raise ContextOverflowError(
                f"Of a context of {self.size} tokens the prompt takes {used} and the answer {self.answer}, "
                f"which leaves {max(0, room + SLACK)} for a text.",
                hint="Lower max_tokens, shorten the prompt, or load the model with a larger n_ctx.",
            )
        return self._split(text, fill, room, functools.cache(self._exact))

    def _split(self, text: str, fill: Fill, room: int, count: Callable[[str], int]) -> list[str]:
        from langchain_text_splitters import RecursiveCharacterTextSplitter  # 30 ms, and most texts fit as they are

        splitter = RecursiveCharacterTextSplitter(
            _CUTS, "end", is_separator_regex=True, chunk_size=room, chunk_overlap=0, length_function=count
        )
        found: list[str] = []
        for piece in splitter.split_text(text):
            whole = self.fits(fill(piece)) or room <= 1  # counted again, and exactly
            found += [piece] if whole else self._split(piece, fill, room * 9 // 10, count)
        return found

    def groups(self, texts: Sequence[str], fill: Fill) -> list[list[str]]:
        """The texts in groups that fit into one prompt each, at least two in one of them; in order.

        Raises:
            ContextOverflowError: no two neighbours fit.
        """
        groups: list[list[str]] = [[]]
        for text in texts:
            if groups[-1] and not self.fits(fill(joined([*groups[-1], text]))):
                groups.append([])
            groups[-1].append(text)
        if len(groups) == len(texts) > 1:
            raise ContextOverflowError(
                f"Two answers of up to {self.answer} tokens do not fit into a context of {self.size} with the prompt "
                "that merges them.",
                hint="Lower max_tokens, or load the model with a larger n_ctx.",
            )
        return groups


def joined(texts: Sequence[str]) -> str:
    """Answers as one text."""
    return "\n\n".join(texts)


async def as_done(calls: Sequence[Callable[[], Awaitable[T]]]) -> AsyncGenerator[tuple[int, T], None]:
    """Numbers and results of the calls as they come, `AT_ONCE` at a time; an error cancels those that are left."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, call: Callable[[], Awaitable[T]]) -> tuple[int, T]:
        async with free:
            return number, await call()

    tasks = [asyncio.ensure_future(one(number, call)) for number, call in enumerate(calls)]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True)
class Reduced(Growing):
    """What was made of a text.

    Attributes:
        text: the answer, so far.
        parts: what was answered to each piece of the text, so far; empty if it fitted as a whole.
        rounds: of merging; 0 if it fitted as a whole.
        shortened: whether max_tokens ended the answer, or one of those it was made of.
        cost: of all calls that have ended.
    """

    text: str = ""
    parts: tuple[str, ...] = ()
    rounds: int = 0
    shortened: bool = False
    cost: Cost = field(default_factory=Cost)

    def having(self, answer: AIMessage, **changes: Any) -> "Reduced":
        """The same after one more answer."""
        shortened = self.shortened or answer.response_metadata.get("finish_reason") == "length"
        return replace(self, shortened=shortened, cost=self.cost + Cost.of([answer]), **changes)


class MapReduce(Chain[Reduced]):
    """See `map_reduce`; `arguments` are of the calls, `values` are filled into the prompts besides the input."""

    def __init__(
        self,
        prompts: tuple[BaseChatPromptTemplate, BaseChatPromptTemplate],
        model: BaseChatModel,
        max_tokens: int | None,
        arguments: dict[str, Any],
        values: dict[str, Any],
        *,
        name: str,
    ) -> None:
        edges = [*pairwise(["", "map", "reduce", ""]), ("map", ""), ("reduce", "reduce")]
        super().__init__({"map": (prompts[0], model), "reduce": (prompts[1], model)}, edges, name=name)
        named = [each for prompt in prompts for each in prompt.input_variables if each not in values]
        if any("text" not in prompt.input_variables for prompt in prompts):
            raise RequestError(f"Both prompts of {name} need {{text}}.", hint="Write {text} where the text belongs.")
        self.variables = tuple(dict.fromkeys(["text", *named]))  # type: ignore[misc]  # of this one, not of the class
        self.free = self.variables[1:]  # type: ignore[misc]
        self._model, self._max_tokens, self._arguments = model, max_tokens, arguments
        self._values, self._prompts = values, prompts

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Reduced, None]:
        """The parts as they come, and then the answer as it grows."""
        window = await asyncio.to_thread(Window, self._model, self._max_tokens)  # loads the model, which takes seconds
        fill, merge = (functools.partial(self._messages, prompt, given) for prompt in self._prompts)
        texts = await asyncio.to_thread(window.pieces, given["text"], fill)
        result = Reduced()
        while len(texts) > 1:
            answers: dict[int, str] = {}
            calls = [functools.partial(self._answer, fill(text)) for text in texts]
            async with aclosing(as_done(calls)) as done:
                async for number, answer in done:
                    answers[number] = answer.text
                    so_far = tuple(answers[each] for each in sorted(answers))
                    result = result.having(answer, **({} if result.rounds else {"parts": so_far}))
                    yield result
            ordered = [answers[each] for each in sorted(answers)]
            fill, result = merge, replace(result, rounds=result.rounds + 1)
            texts = [joined(group) for group in await asyncio.to_thread(window.groups, ordered, fill)]
        async with aclosing(self._last(fill(texts[0]), result)) as growing:
            async for last in growing:
                yield last

    async def _last(self, messages: list[BaseMessage], result: Reduced) -> AsyncGenerator[Reduced, None]:
        whole = AIMessage("")
        async with aclosing(growing(self._model.astream(messages, **self._arguments))) as wholes:
            async for whole in wholes:
                yield replace(result, text=whole.text)
        yield result.having(whole, text=whole.text.strip())

    async def _answer(self, messages: list[BaseMessage]) -> AIMessage:
        async with gate():
            return await self._model.ainvoke(messages, **self._arguments)

    def _messages(self, prompt: BaseChatPromptTemplate, given: dict[str, Any], text: str) -> list[BaseMessage]:
        values = {**self._values, **given, "text": text}
        return prompt.format_messages(**{each: values[each] for each in prompt.input_variables})


def map_reduce(
    map_prompt: Any, reduce_prompt: Any, *, model: BaseChatModel | None = None, max_tokens: int | None = None
) -> Chain[Reduced]:
    """Ask the same of each piece of a text, at once, and merge the answers, in as many rounds as it takes.

    A text that fits into the context is asked about in one call of `map_prompt`, and nothing is merged.

    Args:
        map_prompt: for a piece: a text with `{text}` in it, a list of (role, text), or a LangChain prompt. Further
            variables become inputs of the chain.
        reduce_prompt: the same for several answers, which `{text}` stands for.
        model: any chat model; None = that of the settings. The context of `ChatGGUF` is used exactly; another model's
            is taken from its profile, and tokens are estimated; without one the text is sent as a whole.
        max_tokens: of each answer; None = the model's own.

    Raises:
        RequestError: a prompt cannot be used, or max_tokens is below 1.
        NotSupportedError: max_tokens is given, and the model has no field of that name.
        ContextOverflowError: (at the call) the prompt and the answer leave no room for any text.
    """
    try:
        prompts = to_prompt(map_prompt), to_prompt(reduce_prompt)
    except (ValueError, TypeError) as error:
        raise RequestError(
            f"A prompt of map_reduce cannot be used: {error}.", hint="Pass a text with {text}."
        ) from error
    model = chosen(model)
    return MapReduce(prompts, model, max_tokens, limit(model, max_tokens), {}, name="map_reduce")


def summarize(
    *, model: BaseChatModel | None = None, prompts: Override = None, words: int = 100, max_tokens: int = 256
) -> Chain[Reduced]:
    """A text of any length in few words: text → `Reduced`.

    Args:
        model: as for `map_reduce`.
        prompts: others than those of prompts/summarize.yaml: part, merge.
        words: how many the prompt asks for.
        max_tokens: of the summary and of those that it is made of. A model that has no such field keeps its own limit.

    Raises:
        RequestError: words or max_tokens is below 1.
    """
    check_counts(words=words, max_tokens=max_tokens)
    loaded = load_prompts("summarize", prompts).prompts
    pair = loaded["part"], loaded["merge"]
    model = chosen(model)
    arguments = known_settings(model, {"max_tokens": max_tokens})
    return MapReduce(pair, model, max_tokens, arguments, {"words": words}, name="summarize")

"""`tree_of_thought`: next steps are proposed, rated, and the best ones followed; `three_experts`: in one prompt.

After Yao et al. 2023 ("Tree of Thoughts: Deliberate Problem Solving with Large Language Models"), breadth first. The
rating is the model's own: how probable "sure", "likely" and "impossible" are behind the steps, read from its
probabilities and not sampled. All prompts of a tree begin alike, so the engine reads each step once. Its scores do not
say so: the cost counts a rating's prompt as read, which is more than it was.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage

from phireside.chains.chain import Chain
from phireside.chains.chain_of_thought import ChainOfThought
from phireside.chains.cost import Cost
from phireside.chains.forms import Form, ask, choice
from phireside.chains.given import Model, check_counts
from phireside.chains.loop import gate, merged
from phireside.chains.paths import Path, Reasoned, Thinker, or_failed
from phireside.chains.prompt_files import Override, PromptFile, load_prompts
from phireside.chains.self_consistency import answer_key
from phireside.errors import EngineError, RequestError
from phireside.models import ChatGGUF, unbound

RATINGS = {"sure": 1.0, "likely": 0.5, "impossible": 0.0}
AT_ONCE = 8


def tree_of_thought(
    *,
    model: Model | None = None,
    form: Form[Any] | None = None,
    depth: int = 3,
    width: int = 2,
    branches: int = 3,
    step_tokens: int = 64,
    max_tokens: int = 1024,
    temperature: float = 0.7,
    prompts: Override = None,
) -> "TreeOfThought":
    """A chain from a question to a `Reasoned` whose paths are the tree: each goes on from its `parent`.

    At each level every path that was kept gets `branches` next steps; the `width` best of all are kept. In the end each
    of them is asked for its answer; the one that was rated best counts, and `agreement` is the share that say the same.

    Args:
        model: None = that of the settings. A model without the engine's scores is asked for one of the three words
            instead, so its ratings have three values only; one that cannot be read is 0, and not in the cost.
        form: what the answer must be; None = a short text.
        depth: levels of steps.
        width: paths kept at each level.
        branches: steps proposed for each of them.
        step_tokens: most tokens of one step.
        max_tokens: most tokens of all steps together. When they are used up, the paths that are there are answered.
        temperature: of the steps; above 0, or the branches are all the same.
        prompts: others than those in prompts/tree_of_thought.yaml: first, next, rate, answer.

    Raises:
        RequestError: a number is below 1, or max_tokens is less than step_tokens.
        EngineError: (at the call) the answer is not of the form, or was shortened.
    """
    check_counts(depth=depth, width=width, branches=branches, step_tokens=step_tokens, max_tokens=max_tokens)
    if max_tokens < step_tokens:
        raise RequestError(
            f"max_tokens is {max_tokens}, but one step may have {step_tokens}.", hint="Raise it, or lower step_tokens."
        )
    file = load_prompts("tree_of_thought", prompts)
    bounds = Bounds(depth, width, branches, step_tokens, max_tokens)
    return TreeOfThought(Thinker.of(model, form, file, step_tokens, temperature), file, bounds)


@dataclass(frozen=True)
class Bounds:
    """How far a tree may grow; see `tree_of_thought`."""

    depth: int
    width: int
    branches: int
    step_tokens: int
    max_tokens: int


@dataclass
class _Tree:
    """A tree while it grows: its paths by number, the steps of each, and which are at its tips."""

    paths: list[Path] = field(default_factory=list)
    steps: list[tuple[str, ...]] = field(default_factory=list)
    tips: list[int] = field(default_factory=list)

    def add(self, parent: int | None) -> int:
        """A new path; its number."""
        self.paths.append(Path(parent=parent))
        self.steps.append(() if parent is None else self.steps[parent])
        return len(self.paths) - 1

    def mark(self, number: int, **changes: Any) -> None:
        self.paths[number] = replace(self.paths[number], **changes)

    def keep(self, numbers: Sequence[int], width: int) -> None:
        """The best of these paths are the tips now; of equal ones those that came first."""
        ranked = sorted(numbers, key=lambda number: (-(self.paths[number].rating or 0.0), number))
        for number in self.tips:
            self.mark(number, state="extended")
        for number in ranked[width:]:
            self.mark(number, state="dropped")
        self.tips = ranked[:width]

    @property
    def spent(self) -> int:
        return sum(path.cost.generated_tokens for path in self.paths)

    def result(self) -> Reasoned:
        """The answer of the best path that has one, and how many of those answered say the same."""
        answers = [self.paths[number].answer for number in self.tips if self.paths[number].state == "answered"]
        same = [answer for answer in answers if answer_key(answer) == answer_key(answers[0])]
        return Reasoned.of(self.paths, answers[0] if answers else None, len(same) / len(answers) if answers else 0.0)


class TreeOfThought(Chain[Reasoned]):
    """See `tree_of_thought`."""

    variables = ("question",)

    def __init__(self, thinker: Thinker, file: PromptFile, bounds: Bounds) -> None:
        parts = thinker.parts(**{name: file.prompts[name] for name in ("first", "rate", "next")})
        edges = [*pairwise(["", "first", "rate", "answer", ""]), ("rate", "next"), ("next", "rate")]
        super().__init__(parts, edges, name="tree_of_thought")
        self._thinker, self._file, self._bounds = thinker, file, bounds

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Reasoned, None]:
        """The tree as it grows, and the answer in the end."""
        question, tree = given["question"], _Tree()
        for level in range(self._bounds.depth):
            new = self._sprouts(tree, first=level == 0)
            if not new:
                break
            streams = [self._step(tree, number, question) for number in new]
            async with aclosing(merged(dict(enumerate(streams)), AT_ONCE)) as grown:
                async for index, path in grown:
                    tree.paths[new[index]] = path
                    yield tree.result()
            tree.keep(new, self._bounds.width)
        answers = [or_failed(self._answered(tree, tip, question), tree.paths[tip]) for tip in tree.tips]
        async with aclosing(merged(dict(enumerate(answers)), AT_ONCE)) as decoded:
            async for index, path in decoded:
                tree.paths[tree.tips[index]] = path
        best = tree.paths[tree.tips[0]]
        if not any(tree.paths[tip].state == "answered" for tip in tree.tips):
            raise EngineError(f"None of {len(tree.tips)} paths has an answer; the best: {best.problem}")
        yield tree.result()

    def _sprouts(self, tree: _Tree, *, first: bool) -> list[int]:
        """Numbers for the next level's paths, as many as there are tokens for, spread over the tips."""
        room = max(0, self._bounds.max_tokens - tree.spent) // self._bounds.step_tokens
        parents = [None] if first else tree.tips
        return [tree.add(parent) for parent in (list(parents) * self._bounds.branches)[:room]]

    def _messages(self, question: str, steps: Sequence[str]) -> list[BaseMessage]:
        """The question, and each step behind the wish for it."""
        messages = self._file.messages("first", question=question)
        for step in steps:
            messages += [AIMessage(step), *self._file.messages("next")]
        return messages

    async def _step(self, tree: _Tree, number: int, question: str) -> AsyncGenerator[Path, None]:
        """A path with its next step as it is written, and then its rating."""
        parent = tree.paths[number].parent
        before = tree.steps[number]
        messages = self._messages(question, before)
        thought = Path()
        async with aclosing(self._thinker.think(messages, number)) as thoughts:
            async for thought in thoughts:
                yield replace(thought, text="\n".join([*before, thought.text]), parent=parent)
        step = thought.text if thought.text.strip() else "…"
        tree.steps[number] = (*before, step)
        rating, cost = await self._rating([*messages, AIMessage(step), *self._file.messages("rate")])
        whole = "\n".join([*before, step])
        yield replace(thought, text=whole, parent=parent, rating=rating, cost=thought.cost + cost)

    async def _rating(self, messages: list[BaseMessage]) -> tuple[float, Cost]:
        """From 0 to 1: what the words mean, each as probable as the model finds it."""
        model, _ = unbound(self._thinker.model)
        if not isinstance(model, ChatGGUF):
            return await self._asked_rating(messages)
        async with gate():
            scores = await model.ascore(messages, list(RATINGS))
        read = await asyncio.to_thread(model.get_num_tokens_from_messages, messages)
        read += sum(score.tokens for score in scores)
        return expected(RATINGS, [score.logprob for score in scores]), Cost(1, read)

    async def _asked_rating(self, messages: list[BaseMessage]) -> tuple[float, Cost]:
        """The same as one of the words."""
        try:
            rated = await ask(self._thinker.model, messages, choice(list(RATINGS)))
        except EngineError as error:
            if isinstance(error, RequestError):  # others would fail in the same way
                raise
            return 0.0, Cost()
        return RATINGS[rated.value], rated.cost

    async def _answered(self, tree: _Tree, number: int, question: str) -> AsyncGenerator[Path, None]:
        """A path with its answer."""
        *before, last = tree.steps[number]
        decoded = await self._thinker.answer(self._messages(question, before), last)
        path = tree.paths[number]
        yield replace(path, answer=decoded.value, state="answered", cost=path.cost + decoded.cost)


def expected(values: dict[str, float], logprobs: Sequence[float]) -> float:
    """The mean of some values, weighted by the probabilities of their words: exp(logprob), made to add up to 1."""
    top = max(logprobs)
    weights = [math.exp(logprob - top) for logprob in logprobs]
    return sum(value * weight for value, weight in zip(values.values(), weights, strict=True)) / sum(weights)


class ExpertsPrompt:
    """The one prompt in which three experts talk."""

    name = "experts"

    def __init__(self, file: PromptFile) -> None:
        self._file = file
        self.template = file.prompts[self.name]

    async def messages(self, question: str) -> list[BaseMessage]:
        """The question, put to the experts."""
        return self._file.messages(self.name, question=question)


def three_experts(
    *,
    model: Model | None = None,
    form: Form[Any] | None = None,
    max_tokens: int = 512,
    temperature: float | None = None,
    prompts: Override = None,
) -> ChainOfThought:
    """A tree of thought in one prompt: three experts, whom the model plays, share their steps (Hulbert 2023; the book).

    Args:
        model, form, max_tokens, temperature: see `chain_of_thought`.
        prompts: others than those in prompts/three_experts.yaml: experts, answer.

    Raises:
        RequestError, EngineError: see `chain_of_thought`.
    """
    file = load_prompts("three_experts", prompts)
    thinker = Thinker.of(model, form, file, max_tokens, temperature)
    return ChainOfThought(thinker, ExpertsPrompt(file), name="three_experts")

"""What the ways of reasoning share: a path of thought, an answer with its paths, and how a model goes along one.

A path is two requests: the model thinks aloud, then it is asked for the answer, which a grammar decodes. The second
begins with all of the first, so it costs few tokens. One request, with reasoning and answer in one grammar, would be
cheaper, but a model that has finished thinking could then not end, and one that has not would be led to no answer; and
models without grammars can do the two. Knows nothing of prompts, and not how paths are chosen.
"""

import json
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.prompts import BaseChatPromptTemplate

from phireside.chains.chain import Growing, Part
from phireside.chains.cost import Cost
from phireside.chains.forms import Decoded, Form, ask
from phireside.chains.given import Model, check_counts, chosen
from phireside.chains.loop import growing
from phireside.chains.prompt_files import PromptFile
from phireside.errors import EngineError, RequestError
from phireside.models import ChatGGUF, Grammar, known_settings, unbound

T = TypeVar("T")
State = Literal["growing", "extended", "answered", "dropped", "failed"]

ANSWER_TOKENS = 256


@dataclass(frozen=True)
class Path:
    """One way that a model took.

    Attributes:
        text: its reasoning so far.
        answer: what it came to, as the form's value; None unless `state` is "answered".
        state: "growing"; "extended", in a tree: other paths go on from here; "answered"; "dropped": given up, because
            others were better or the vote was decided; "failed": no answer could be read.
        cut: whether the reasoning was ended by its token limit.
        rating: of a tree's step, by the model, from 0 (impossible) to 1 (sure).
        parent: the number of the path that it goes on from, in a tree.
        problem: why it failed.
        cost: its own; of one that was dropped while it was written, a call and the pieces that had come.
    """

    text: str = ""
    answer: Any = None
    state: State = "growing"
    cut: bool = False
    rating: float | None = None
    parent: int | None = None
    problem: str = ""
    cost: Cost = field(default_factory=Cost)


@dataclass(frozen=True)
class Reasoned(Growing):
    """An answer, and how it came about.

    Attributes:
        answer: the form's value; None until a path has one.
        paths: all of them, in a fixed order, those that were dropped too.
        agreement: the share of the answered paths that came to this answer, from 0 to 1. Where a vote ended early, the
            paths that were dropped might have said otherwise: it is more, on average, than that of all would be.
        cost: of all paths.
    """

    answer: Any = None
    paths: tuple[Path, ...] = ()
    agreement: float = 0.0
    cost: Cost = field(default_factory=Cost)

    @classmethod
    def of(cls, paths: Sequence[Path], answer: Any, agreement: float) -> "Reasoned":
        """With the cost of the paths."""
        return cls(answer, tuple(paths), agreement, sum((path.cost for path in paths), Cost()))


@dataclass(frozen=True)
class Thinker:
    """A model that thinks aloud, and then says its answer.

    Args:
        model: a chat model.
        form: what the answer must be.
        closing: what is asked behind the reasoning. If its last message is the model's, the answer begins with it
            ("The answer is"), where the model takes grammars.
        arguments: of the calls that write reasoning; those that the model has, see `known_settings`.
    """

    model: Model
    form: Form[Any]
    closing: BaseChatPromptTemplate
    arguments: Mapping[str, Any]

    @classmethod
    def of(
        cls, model: Model | None, form: Form[Any] | None, file: PromptFile, max_tokens: int, temperature: float | None
    ) -> "Thinker":
        """From the options of a chain, and the prompt "answer" of its file.

        Raises:
            RequestError: it is no chat model or no form, or max_tokens is below 1.
        """
        check_counts(max_tokens=max_tokens)
        if form is not None and not isinstance(form, Form):
            raise RequestError(
                f"{form!r:.80} is no form.", hint="Pass number(), choice([…]), … of phireside.chains.forms."
            )
        model = chosen(model)
        wanted = {"max_tokens": max_tokens} | ({} if temperature is None else {"temperature": temperature})
        return cls(model, form or short_text(), file.prompts["answer"], known_settings(model, wanted))

    async def think(self, messages: Sequence[BaseMessage], number: int = 0) -> AsyncGenerator[Path, None]:
        """The reasoning as it grows; the last one has what it cost.

        Args:
            messages: what is to be thought about.
            number: makes paths of one prompt differ, if the model has a seed.
        """
        whole, path = AIMessage(""), Path(cost=Cost(1))
        stream = self.model.astream(list(messages), **self.arguments, **self._seed(number))
        async with aclosing(growing(stream)) as wholes:
            async for whole in wholes:
                piece = Cost(generated_tokens=int(whole.text != path.text))
                path = Path(whole.text, cost=path.cost + piece)
                yield path
        cut = whole.response_metadata.get("finish_reason") == "length"
        yield Path(whole.text, cut=cut, cost=Cost.of([whole]))

    async def answer(self, messages: Sequence[BaseMessage], text: str) -> Decoded[Any]:
        """The answer that the reasoning comes to.

        Raises:
            EngineError: it was shortened, or is not of the form; see `ask`.
        """
        asked = [*messages, AIMessage(text if text.strip() else "…"), *self.closing.format_messages()]
        opening = asked.pop().text if isinstance(asked[-1], AIMessage) else ""
        if not self.has_grammars:
            return await ask(self.model, asked, self.form)
        form = said(self.form, f"{opening.strip()} ") if opening.strip() else self.form
        return await ask(self.model, asked, form, temperature=0, max_tokens=ANSWER_TOKENS)

    async def path(self, messages: Sequence[BaseMessage], number: int = 0) -> AsyncGenerator[Path, None]:
        """Reasoning and answer.

        Raises:
            EngineError: as `answer`.
        """
        thought = Path()
        async with aclosing(self.think(messages, number)) as thoughts:
            async for thought in thoughts:
                yield thought
        decoded = await self.answer(messages, thought.text)
        yield replace(thought, answer=decoded.value, state="answered", cost=thought.cost + decoded.cost)

    def parts(self, **prompts: BaseChatPromptTemplate) -> dict[str, Part]:
        """These prompts and then that of the answer, each with the model, for a chain's graph."""
        return {name: (prompt, self.model) for name, prompt in {**prompts, "answer": self.closing}.items()}

    @property
    def has_grammars(self) -> bool:
        """Whether the model has the engine's grammars and scores."""
        return isinstance(unbound(self.model)[0], ChatGGUF)

    def _seed(self, number: int) -> dict[str, Any]:
        """A seed for each path, so that a model with a fixed one does not take the same path every time."""
        plain, bound = unbound(self.model)
        seed = bound.get("seed", getattr(plain, "seed", None))
        return {"seed": seed + number} if isinstance(seed, int) else {}


def short_text() -> Form[str]:
    """One line of at most 200 characters: the form of an answer of which nothing else is said."""

    def parse(text: str) -> str:
        if not text.strip(" ."):
            raise ValueError("the answer is empty")
        return text.strip().rstrip(".")

    schema, pattern = {"type": "string", "minLength": 1, "maxLength": 200}, r"[^\s.][^\r\n]{0,199}"
    return Form("a short text", schema, Grammar.regex(pattern), parse, pattern=pattern)


def said(form: Form[T], opening: str) -> Form[T]:
    """The form as the end of a sentence: `The answer is 11.`

    Small models say it so. Held to the number alone, they go on with the full stop that they are used to, which the
    grammar takes for a decimal point, and then must write digits.
    """
    return replace(form, grammar=_in_a_sentence(form, opening), parse=lambda text: _parsed(form, text, opening))


def _parsed(form: Form[T], text: str, opening: str) -> T:
    rest = text.removeprefix(opening)
    try:
        return form.parse(rest)
    except ValueError:
        if not rest.endswith("."):
            raise
        return form.parse(rest.removesuffix("."))


def _in_a_sentence(form: Form[Any], opening: str) -> Grammar:
    if form.pattern is not None:  # one expression for all: two do not know where a number ends and the full stop begins
        literal = re.sub(r"\\(\s)", r"\1", re.escape(opening))  # Rust's syntax has no escaped white space
        return Grammar.regex(f"{literal}({form.pattern})\\.?")
    source = json.loads(form.grammar.source)
    first, *others = source["grammars"]
    whole = {"lark_grammar": f"start: {json.dumps(opening)} @answer"}
    return Grammar(json.dumps({**source, "grammars": [whole, {**first, "name": "answer"}, *others]}), form.grammar.name)


async def or_failed(path: AsyncGenerator[Path, None], begun: Path | None = None) -> AsyncGenerator[Path, None]:
    """The path; one whose answer cannot be read ends as "failed".

    Args:
        path: as it grows.
        begun: what there was of it before.

    Raises:
        EngineError: nothing was begun, or a request cannot be used: others would fail in the same way.
    """
    grown = begun
    try:
        async with aclosing(path):
            async for grown in path:
                yield grown
    except EngineError as error:
        if grown is None or isinstance(error, RequestError):
            raise
        yield replace(grown, state="failed", problem=str(error))

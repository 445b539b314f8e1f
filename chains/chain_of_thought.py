"""`chain_of_thought`: the model writes down its reasoning, and then the answer.

Few-shot after Wei et al. 2022 ("Chain-of-Thought Prompting Elicits Reasoning in Large Language Models"), zero-shot
after Kojima et al. 2022 ("Large Language Models are Zero-Shot Reasoners"), as in *Hands-On Large Language Models*,
chapter 6. The answer is decoded under a grammar, so that nobody looks for it with a regular expression.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Literal, Protocol, TypeAlias, cast

from langchain_core.messages import BaseMessage
from langchain_core.prompts import BaseChatPromptTemplate

from phireside.chains.chain import Chain
from phireside.chains.forms import Form
from phireside.chains.given import Model
from phireside.chains.paths import Reasoned, Thinker
from phireside.chains.prompt import Examples
from phireside.chains.prompt_files import Override, PromptFile, load_prompts
from phireside.errors import RequestError

Shown: TypeAlias = Examples | Sequence[tuple[str, str]] | Literal["book"] | None
"""Questions with their reasoning: pairs, the book's tennis balls, or None (zero-shot)."""


def chain_of_thought(
    *,
    model: Model | None = None,
    examples: Shown = "book",
    form: Form[Any] | None = None,
    max_tokens: int = 256,
    temperature: float | None = None,
    prompts: Override = None,
) -> "ChainOfThought":
    """A chain from a question to a `Reasoned` with one path.

    Args:
        model: None = that of the settings.
        examples: questions with reasoning that ends in an answer; "book" = the one in prompts/chain_of_thought.yaml;
            None or none of them = zero-shot, "Let's think step-by-step".
        form: what the answer must be; None = a short text.
        max_tokens: of the reasoning. If it is not enough the path says `cut`, and the answer is asked for all the same.
        temperature: of the reasoning; None = the model's own. The answer is the most probable one. A model that has no
            field "temperature" or "max_tokens" keeps its own: bind what it calls them.
        prompts: others than those in prompts/chain_of_thought.yaml: examples, few_shot, zero_shot, answer.

    Raises:
        RequestError: max_tokens is below 1, the form is none, an example is empty, or the examples are a text other
            than "book".
        EngineError: (at the call) the answer is not of the form, or was shortened.
    """
    file = load_prompts("chain_of_thought", prompts)
    thinker = Thinker.of(model, form, file, max_tokens, temperature)
    return ChainOfThought(thinker, CotPrompt(file, examples), name="chain_of_thought")


class QuestionPrompt(Protocol):
    """What makes messages of a question."""

    name: str
    template: BaseChatPromptTemplate

    async def messages(self, question: str) -> list[BaseMessage]:
        """The messages."""


class CotPrompt:
    """Examples and a question.

    Args:
        file: prompts of chain_of_thought.
        examples: see `chain_of_thought`.
    """

    def __init__(self, file: PromptFile, examples: Shown) -> None:
        shown: Any = examples if isinstance(examples, Examples | str) else Examples(cast("Any", examples or ()))
        if isinstance(shown, str) and shown != "book":
            hint = 'Pass "book", pairs of a question and its reasoning, or None for no examples.'
            raise RequestError(f"The examples are {shown!r:.80}.", hint=hint)
        self._file, self._examples = file, shown
        self.name = "few_shot" if shown == "book" or (isinstance(shown, Examples) and shown.pairs) else "zero_shot"
        self.template = file.prompts[self.name]

    async def messages(self, question: str) -> list[BaseMessage]:
        """Examples and question."""
        asked = self._file.messages(self.name, question=question)
        if isinstance(self._examples, Examples):
            return [*await self._examples.amessages(question), *asked]
        return [*self._file.messages("examples"), *asked]


class ChainOfThought(Chain[Reasoned]):
    """See `chain_of_thought`; also what `three_experts` gives."""

    variables = ("question",)

    def __init__(self, thinker: Thinker, prompt: QuestionPrompt, *, name: str) -> None:
        super().__init__(thinker.parts(**{prompt.name: prompt.template}), name=name)
        self._thinker, self._prompt = thinker, prompt

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Reasoned, None]:
        """The path as it grows."""
        messages = await self._prompt.messages(given["question"])
        async with aclosing(self._thinker.path(messages)) as paths:
            async for path in paths:
                yield Reasoned.of([path], path.answer, float(path.state == "answered"))

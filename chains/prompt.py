"""`Prompt`: a prompt of typed pieces, with what each costs; `Examples`: zero-, one- and few-shot sets.

*Hands-On Large Language Models*, chapter 6: persona, instruction, context, format, audience, tone and data are put
together, taken away and moved about to see what each does; examples are messages of a person and of the model. Knows
nothing of what a prompt is for.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, TypedDict, cast, get_args

from langchain_core.embeddings import Embeddings
from langchain_core.example_selectors import SemanticSimilarityExampleSelector
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompts import BaseChatPromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ConfigDict, model_validator
from typing_extensions import Unpack

from phireside.chains.given import Model, check_counts, check_variables
from phireside.chains.prompt_files import variables_of
from phireside.errors import RequestError
from phireside.memory.budget import counter_of
from phireside.models import ChatGGUF, unbound

PieceName = Literal["persona", "instruction", "context", "format", "audience", "tone", "examples", "data"]
PIECES: tuple[str, ...] = get_args(PieceName)

Selector = SemanticSimilarityExampleSelector


@dataclass(frozen=True)
class Examples:
    """Questions with their answers, put into a prompt as messages: none, one or several.

    They are data: braces in them stay as they are.

    Args:
        pairs: what the person says and what the model answers. See `Examples.similar` for a choice of them.
    """

    pairs: tuple[tuple[str, str], ...] = ()
    selector: Selector | None = None

    def __post_init__(self) -> None:
        try:
            pairs = tuple(tuple(pair) for pair in self.pairs)
        except TypeError:
            pairs = ((),)
        if any(len(pair) != 2 or not all(isinstance(text, str) and text.strip() for text in pair) for pair in pairs):
            raise RequestError("An example is a question and an answer, both with some text.", hint="Write pairs.")
        object.__setattr__(self, "pairs", pairs)

    @classmethod
    def similar(cls, pairs: Iterable[tuple[str, str]], embeddings: Embeddings, count: int = 3) -> Self:
        """Examples of which each prompt gets those most similar to its question, in the order given here.

        In the order given, because prompts that begin alike are not evaluated again.

        Args:
            pairs: see `Examples`. Their questions are embedded now, and never again.
            embeddings: any of LangChain's.
            count: most examples in a prompt.

        Raises:
            RequestError: there are no examples, or count is below 1.
        """
        check_counts(count=count)
        every = cls(cast("Any", pairs))
        if not every.pairs:
            raise RequestError("There are no examples to choose from.", hint="Give some.")
        numbered = [{"question": question, "number": number} for number, (question, _) in enumerate(every.pairs)]
        selector = Selector.from_examples(
            cast("list[dict[str, str]]", numbered), embeddings, InMemoryVectorStore, k=count, input_keys=["question"]
        )
        return cls(every.pairs, selector)

    def messages(self, question: str) -> list[BaseMessage]:
        """The examples for a question, as messages."""
        return self._messages(self.selector.select_examples({"question": question}) if self.selector else None)

    async def amessages(self, question: str) -> list[BaseMessage]:
        """See `messages`."""
        return self._messages(await self.selector.aselect_examples({"question": question}) if self.selector else None)

    def _messages(self, found: Sequence[Mapping[str, Any]] | None) -> list[BaseMessage]:
        pairs = self.pairs if found is None else [self.pairs[number] for number in sorted(e["number"] for e in found)]
        return [message for said, answer in pairs for message in (HumanMessage(said), AIMessage(answer))]


class Pieces(TypedDict, total=False):
    """The pieces of a prompt. `{name}` in a text is a variable, `{{` a brace."""

    persona: str
    instruction: str
    context: str
    format: str
    audience: str
    tone: str
    examples: Examples
    data: str


@dataclass(frozen=True)
class PromptCost:
    """What a prompt costs, in tokens.

    Attributes:
        pieces: of each piece, in the prompt's order. First comes "template": what the chat template adds. The cost of a
            piece is what the prompt up to it has more than the prompt without it, so that all add up to the whole.
        exact: counted with the model's tokenizer and chat template; else estimated from the lengths.
    """

    pieces: dict[str, int]
    exact: bool

    @property
    def total(self) -> int:
        """Tokens of the whole prompt."""
        return sum(self.pieces.values())


class Prompt(BaseChatPromptTemplate):
    """A prompt of pieces: `Prompt.of(instruction="Sum up.", tone="Be brief.", data="{text}")`. Cannot be changed.

    The pieces are lines of one human message, as in the book. With examples, what stands in front of them is the system
    message, and what stands behind them is the human message, which should look as the examples do. A LangChain prompt,
    so `prompt | model` is a chain. What is filled in is data: braces in it stay as they are.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    pieces: tuple[tuple[PieceName, str | Examples], ...]

    @classmethod
    def of(cls, **pieces: Unpack[Pieces]) -> Self:
        """A prompt of these pieces in this order.

        Raises:
            RequestError: there is none, one is not known or empty, or something between braces is no variable's name.
        """
        for name, piece in pieces.items():
            _check_piece(name, piece)
        if list(pieces)[-1:] in ([], ["examples"]):
            raise RequestError(
                "A prompt needs a text, behind the examples if it has some.",
                hint=f"The pieces are {', '.join(PIECES)}.",
            )
        return cls(pieces=tuple(cast("Any", pieces).items()))  # type: ignore[call-arg]

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """No: LangChain can only read its own classes back."""
        return False

    @model_validator(mode="before")
    @classmethod
    def _find_variables(cls, values: dict[str, Any]) -> dict[str, Any]:
        found = [name for _, piece in values["pieces"] if isinstance(piece, str) for name in variables_of(piece)]
        partial = values.get("partial_variables", {})
        return {**values, "input_variables": [name for name in dict.fromkeys(found) if name not in partial]}

    # ---- its pieces -----------------------------------------------------------------------------------------------

    def add(self, *, before: PieceName | None = None, **pieces: Unpack[Pieces]) -> Self:
        """A prompt with these pieces as well; one that is there already is replaced.

        Args:
            before: the piece in front of which they come; None: those there keep their places, others go to the end.
            pieces: see `Prompt.of`.
        """
        kept: dict[str, Any] = dict(self.pieces)
        if before is None:
            return self._of(kept | pieces)
        self._check_names([before])
        added: dict[str, Any] = {}
        for name, piece in kept.items():
            added |= (pieces if name == before else {}) | ({name: piece} if name not in pieces else {})
        return self._of(added)

    def remove(self, *names: PieceName) -> Self:
        """A prompt without these pieces."""
        self._check_names(names)
        return self._of({name: piece for name, piece in self.pieces if name not in names})

    def reorder(self, *names: PieceName) -> Self:
        """A prompt with its pieces in this order; those not named come last, in the order they have."""
        self._check_names(names)
        pieces = dict(self.pieces)
        return self._of({name: pieces[name] for name in dict.fromkeys([*names, *pieces])})

    def _of(self, pieces: Mapping[str, Any]) -> Self:
        """A prompt of these pieces, in which the same variables are filled in already."""
        made = self.of(**cast("Pieces", pieces))
        return cast("Self", made.partial(**self.partial_variables)) if self.partial_variables else made

    def _check_names(self, names: Iterable[str]) -> None:
        has = [name for name, _ in self.pieces]
        if unknown := [str(name) for name in names if name not in has]:
            raise RequestError(f"The prompt has no {', '.join(unknown)}.", hint=f"It has {', '.join(has)}.")

    # ---- LangChain's interface ------------------------------------------------------------------------------------

    def format_messages(self, **kwargs: Any) -> list[BaseMessage]:
        """The messages, with the variables filled in.

        Raises:
            RequestError: a variable is missing, unknown or empty.
        """
        front, examples, back = self._filled(kwargs)
        return _joined(front, examples.messages("\n".join(back)), back)

    async def aformat_messages(self, **kwargs: Any) -> list[BaseMessage]:
        """See `format_messages`."""
        front, examples, back = self._filled(kwargs)
        return _joined(front, await examples.amessages("\n".join(back)), back)

    def _validate_input(self, inner_input: Any) -> dict[str, Any]:
        """LangChain's own check raises a KeyError; what is in the dict, `format_messages` checks."""
        if isinstance(inner_input, Mapping):
            return dict(inner_input)
        if len(self.input_variables) != 1:
            raise RequestError(
                f"The prompt was given {type(inner_input).__name__}.",
                hint=f"Pass a dict with {', '.join(self.input_variables) or 'nothing in it'}.",
            )
        return {self.input_variables[0]: inner_input}

    def _filled(self, variables: dict[str, Any]) -> tuple[list[str], Examples, list[str]]:
        """The texts in front of the examples, the examples, and the texts behind them."""
        check_variables("the prompt", variables, self.input_variables, self.partial_variables)
        values = self._merge_partial_and_user_variables(**variables)
        filled = [piece if isinstance(piece, Examples) else piece.format(**values) for _, piece in self.pieces]
        at = next((i for i, piece in enumerate(filled) if isinstance(piece, Examples)), None)
        if at is None:
            return [], Examples(), cast("list[str]", filled)
        return cast("tuple[list[str], Examples, list[str]]", (filled[:at], filled[at], filled[at + 1 :]))

    # ---- what it costs --------------------------------------------------------------------------------------------

    def cost(self, model: Model, **variables: Any) -> PromptCost:
        """The tokens of each piece, with these variables.

        Args:
            model: `ChatGGUF` counts exactly; for any other LangChain's estimate is taken.
            variables: all of the prompt's.
        """
        front, examples, back = self._filled(variables)
        plain, _ = unbound(model)
        shown, count = examples.messages("\n".join(back)), counter_of(plain)
        stages = [_joined(front[:end] or [""] * bool(front), [], [""]) for end in range(len(front) + 1)]
        if len(front) + len(back) < len(self.pieces):
            stages.append(_joined(front, shown, [""]))
        stages += [_joined(front, shown, back[:end]) for end in range(1, len(back) + 1)]
        counts = [count(messages) for messages in stages]
        each = [after - before for before, after in zip([0, *counts], counts, strict=False)]
        names = ["template", *(name for name, _ in self.pieces)]
        return PromptCost(dict(zip(names, each, strict=True)), isinstance(plain, ChatGGUF))


def _joined(front: Sequence[str], shown: Sequence[BaseMessage], back: Sequence[str]) -> list[BaseMessage]:
    system: list[BaseMessage] = [SystemMessage("\n".join(front))] if front else []
    return [*system, *shown, HumanMessage("\n".join(back))]


def _check_piece(name: str, piece: Any) -> None:
    if name not in PIECES or isinstance(piece, Examples) != (name == "examples"):
        raise RequestError(
            f"A prompt has no piece {name!r} of the type {type(piece).__name__}.",
            hint=f"The pieces are {', '.join(PIECES)}: texts, and `examples` is `Examples`.",
        )
    if isinstance(piece, Examples):
        return
    if not isinstance(piece, str) or not piece.strip():
        raise RequestError(f"The piece {name!r} of a prompt is no text or an empty one.", hint="Leave it out.")
    try:
        variables_of(piece)
    except ValueError as error:
        raise RequestError(
            f"The piece {name!r} cannot be used: {error}.", hint="Write {{ and }} for braces."
        ) from error

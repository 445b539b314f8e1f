"""`classify`: which of some labels fits a text, with probabilities, zero-shot or after examples.

With `ChatGGUF` all labels are scored in one pass, and nothing is generated. A model without scores says a label, which
its form guarantees; probabilities are then None.
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate

from phireside.chains.chain import Chain, Growing
from phireside.chains.cost import Cost
from phireside.chains.forms import Form, ask, choice
from phireside.chains.given import chosen
from phireside.chains.prompt_files import Override, load_prompts
from phireside.chains.scores import MOST, Scorer, named
from phireside.errors import RequestError
from phireside.models import ChatGGUF, unbound


@dataclass(frozen=True)
class Classified(Growing):
    """A text's label.

    Attributes:
        label: the most probable.
        probabilities: of all labels, the highest first, sum 1; None if the model gives no scores.
        cost: the first one has the cost of calibration as well. Scores do not say what of the prompt was in the cache.
    """

    label: str
    probabilities: Mapping[str, float] | None = None
    cost: Cost = field(default_factory=Cost)


class Classify(Chain[Classified]):
    """See `classify`.

    Args:
        labels: by name, the texts that say them.
        before: the messages in front of the text.
        model: a chat model.
        calibrated: see `Scorer`.
    """

    def __init__(
        self,
        labels: Mapping[str, Sequence[str]],
        before: Sequence[BaseMessage],
        model: BaseChatModel,
        *,
        name: str,
        calibrated: bool,
    ) -> None:
        self._prompt = ChatPromptTemplate.from_messages([*before, ("human", "{text}")])
        super().__init__({"prompt": (self._prompt, model)}, name=name)
        self._names, self._model = list(labels), model
        plain, _ = unbound(model)
        self._form: Form[str] = choice(self._names)
        self._scorer: Scorer | None = None
        if isinstance(plain, ChatGGUF):
            self._scorer = Scorer(plain, list(labels.values()), self._messages, calibrated=calibrated)

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Classified, None]:
        """The one result."""
        text = given["text"]
        if self._scorer is None:
            said = await ask(self._model, self._messages(text), self._form)
            yield Classified(said.value, None, said.cost)
            return
        found = await self._scorer(text)
        probabilities = named(self._names, found.probabilities)
        yield Classified(next(iter(probabilities)), probabilities, found.cost)

    def _messages(self, text: str) -> list[BaseMessage]:
        return self._prompt.format_messages(text=text)


def classify(
    labels: Sequence[str] | Mapping[str, str],
    *,
    model: BaseChatModel | None = None,
    prompts: Override = None,
    examples: Sequence[tuple[str, str]] = (),
    calibrated: bool = True,
) -> Chain[Classified]:
    """text → `Classified`.

    Args:
        labels: at least two, at most 1,000; a mapping gives each a description that the model reads.
        model: None = that of the settings. Without `ChatGGUF` there are no probabilities.
        prompts: others than those of prompts/classify.yaml: plain (labels by name), described (with descriptions).
        examples: (text, label) that the model sees before; few of each label, in mixed order.
        calibrated: divide by what the labels' probabilities are for a text without content (see `Scorer`).

    Raises:
        RequestError: labels or examples cannot be used.
        ContextOverflowError: (at the call) labels, examples and text do not fit; a text is not cut.
    """
    names = checked_names("labels", labels)
    _check_examples(examples, names)
    described = labels.values() if isinstance(labels, Mapping) else ()
    told = "\n".join(f"- {name}: {text}" for name, text in zip(names, described, strict=False))
    loaded = load_prompts("classify", prompts)
    before = loaded.messages("described" if told else "plain", labels=told or ", ".join(names))
    pairs = [message for text, label in examples for message in (HumanMessage(text), AIMessage(label))]
    spelled = {name: [name] for name in names}
    return Classify(spelled, [*before, *pairs], chosen(model), name="classify", calibrated=calibrated)


def checked_names(what: str, names: Sequence[str] | Mapping[str, str]) -> list[str]:
    """The names, stripped.

    Raises:
        RequestError: there are too few or too many, one is there twice, is empty or no text.
    """
    found = list(names) if isinstance(names, Iterable) and not isinstance(names, str) else []
    if not all(isinstance(each, str) and each.strip() for each in found) or len(found) < 2:
        raise RequestError(f"The {what} are {names!r:.80}.", hint='Pass at least two texts, e.g. ["good", "bad"].')
    found = [each.strip() for each in found]
    if twice := next((each for each in found if found.count(each) > 1), "") if len(found) <= MOST else "":
        raise RequestError(f"Of the {what} two are {twice!r:.80}.", hint="Give each of them once.")
    if len(found) > MOST:
        raise RequestError(
            f"{len(found):,} {what} are more than the {MOST:,} that can be told apart in one call.",
            hint="Sort them into groups: let one chain choose the group, and another one within the group.",
        )
    return found


def _check_examples(examples: Any, names: Sequence[str]) -> None:
    hint = f"Pass (text, label) with one of the labels {', '.join(names[:10])}."
    if not isinstance(examples, Sequence) or isinstance(examples, str):
        raise RequestError(f"The examples are {examples!r:.80}.", hint=f"In a list. {hint}")
    for at, example in enumerate(examples, 1):
        match example:
            case [str(text), str(label)] if text.strip() and label in names:
                pass
            case _:
                raise RequestError(f"Example {at} of {len(examples)} is {example!r:.80}.", hint=hint)

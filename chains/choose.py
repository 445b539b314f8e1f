"""`yes_no` and `choose`: short answers with their probabilities, by the same scores as `classify`."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel

from phireside.chains.chain import Chain, Growing
from phireside.chains.classify import Classified, Classify, checked_names
from phireside.chains.cost import Cost
from phireside.chains.given import chosen
from phireside.chains.prompt_files import Override, load_prompts
from phireside.errors import RequestError

_YES, _NO = ("Yes", "yes"), ("No", "no")  # models differ in how they write it: the probabilities are added


@dataclass(frozen=True)
class YesNo(Growing):
    """Whether it is so.

    Attributes:
        answer: True = yes.
        probability: of yes; None if the model gives no scores.
        cost: as for `Classified`.
    """

    answer: bool
    probability: float | None = None
    cost: Cost = field(default_factory=Cost)


class AskYesNo(Chain[YesNo]):
    """See `yes_no`; `asked` chooses between yes and no."""

    def __init__(self, asked: Classify) -> None:
        super().__init__(asked.parts, name="yes_no")
        self._asked = asked

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[YesNo, None]:
        """The one result."""
        async with aclosing(self._asked.run(given)) as results:
            async for found in results:
                probability = found.probabilities["yes"] if found.probabilities else None
                yield YesNo(found.label == "yes", probability, found.cost)


def yes_no(
    question: str, *, model: BaseChatModel | None = None, prompts: Override = None, calibrated: bool = True
) -> Chain[YesNo]:
    """A question about texts: text → `YesNo`.

    Args:
        question: what is asked about each text, "Is this a complaint?"; data, braces in it stay.
        model: None = that of the settings. Without `ChatGGUF` there is no probability.
        prompts: another than that of prompts/choose.yaml: yes_no.
        calibrated: see `classify`; without it small models say yes to nearly everything.

    Raises:
        RequestError: the question is empty.
    """
    if not isinstance(question, str) or not question.strip():
        raise RequestError("yes_no was given no question.", hint='Write yes_no("Is this a complaint?").')
    before = load_prompts("choose", prompts).messages("yes_no", question=question)
    answers = {"yes": _YES, "no": _NO}
    return AskYesNo(Classify(answers, before, chosen(model), name="yes_no", calibrated=calibrated))


def choose(
    options: Sequence[str], *, model: BaseChatModel | None = None, prompts: Override = None, calibrated: bool = True
) -> Chain[Classified]:
    """One of some options as the answer to a question: question → `Classified`, whose label is the option.

    Args:
        options: at least two, at most 1,000.
        model: None = that of the settings. Without `ChatGGUF` there are no probabilities.
        prompts: another than that of prompts/choose.yaml: choose.
        calibrated: see `classify`.

    Raises:
        RequestError: the options cannot be used.
    """
    names = checked_names("options", options)
    before = load_prompts("choose", prompts).messages("choose", options=", ".join(names))
    return Classify({name: [name] for name in names}, before, chosen(model), name="choose", calibrated=calibrated)

"""`matching`: answers that follow a regular expression or a Lark grammar."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel

from phireside.chains.chain import Chain, Growing
from phireside.chains.cost import Cost
from phireside.chains.forms import Form, ask, lark, regex
from phireside.chains.given import chosen, limit
from phireside.chains.prompt_files import Override, PromptFile, load_prompts
from phireside.errors import RequestError

# `lark` and `regex` are also the names of arguments below.
_FORMS = {"regex": regex, "lark": lark}


@dataclass(frozen=True)
class Matched(Growing):
    """A text of the form that was asked for, and what it cost."""

    text: str
    cost: Cost = field(default_factory=Cost)


class Matching(Chain[Matched]):
    """See `matching`."""

    def __init__(self, form: Form[str], prompts: PromptFile, model: BaseChatModel, arguments: dict[str, Any]) -> None:
        super().__init__({"prompt": (prompts.prompts["ask"], model)}, name="matching")
        self._form, self._prompts, self._model, self._arguments = form, prompts, model, arguments

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Matched, None]:
        """The one result."""
        messages = self._prompts.messages("ask", text=given["text"])
        found = await ask(self._model, messages, self._form, **self._arguments)
        yield Matched(found.text, found.cost)


def matching(
    *,
    regex: str | None = None,
    lark: str | None = None,
    model: BaseChatModel | None = None,
    prompts: Override = None,
    max_tokens: int | None = None,
) -> Chain[Matched]:
    """text → `Matched`: the answer to a text, which should say what is wanted; the form only forbids all else.

    Args:
        regex: an expression that the whole answer matches, in Rust's syntax.
        lark: or a grammar, in llguidance's Lark (docs/grammars.md).
        model: None = that of the settings. One without grammars is asked again if its answer does not match, twice.
        prompts: another than that of prompts/matching.yaml: ask.
        max_tokens: of the answer; None = the model's own.

    Raises:
        RequestError: not exactly one of `regex` and `lark` was given, or max_tokens is below 1.
        NotSupportedError: max_tokens is given, and the model has no field of that name.
        GrammarError: it does not compile, or nothing can match it. (A text that is too long for `max_tokens`: at the
            call.)
    """
    given = [(kind, text) for kind, text in (("regex", regex), ("lark", lark)) if text]
    if len(given) != 1:
        raise RequestError(f"matching was given {len(given)} forms.", hint="Pass either regex=… or lark=….")
    ((kind, text),) = given
    model = chosen(model)
    return Matching(_FORMS[kind](text), load_prompts("matching", prompts), model, limit(model, max_tokens))

"""What callers give to chains, checked: the model, numbers, texts for a model, variables of prompts."""

import math
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable

from phireside.errors import RequestError
from phireside.models import checked_settings, load_chat_model, unbound

Model: TypeAlias = Runnable[LanguageModelInput, AIMessage]
"""A chat model, or one with arguments bound to it."""

M = TypeVar("M", bound=Runnable[Any, Any])


def chosen(model: M | None) -> M | BaseChatModel:
    """The model that a caller gave, or else the one of the settings.

    Raises:
        RequestError: it is no chat model.
    """
    if model is None:
        return load_chat_model()
    unbound(model)
    return model


def check_counts(**counts: int) -> None:
    """Raises RequestError if one is no whole number above 0."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise RequestError(f"{name} is {count!r}.", hint="It must be a whole number, at least 1.")


def limit(model: Runnable[Any, Any], max_tokens: int | None) -> dict[str, Any]:
    """A limit that the caller set, as arguments of the model's call; none for None.

    Raises:
        RequestError: it is below 1.
        NotSupportedError: the model has no such setting.
    """
    if max_tokens is None:
        return {}
    check_counts(max_tokens=max_tokens)
    return checked_settings(model, {"max_tokens": max_tokens})


def check_prompt(name: str, value: Any) -> None:
    """Raises RequestError if a chat model cannot read it; `name` says whose input it is."""
    try:
        if not isinstance(value, str | PromptValue):
            convert_to_messages(value)
    except (TypeError, ValueError, KeyError, NotImplementedError) as error:
        raise RequestError(f"{name} was given {value!r:.80}.", hint="Pass a text or a list of messages.") from error


def check_variables(name: str, given: Mapping[str, Any], needed: Any, optional: Any = ()) -> None:
    """Raises RequestError if a variable is missing, unknown or empty; `name` says whose they are."""
    missing = [each for each in needed if each not in given]
    unknown = [str(each) for each in given if each not in needed and each not in optional]
    if missing or unknown:
        said = [f"{what}: {', '.join(names)}" for what, names in (("missing", missing), ("unknown", unknown)) if names]
        raise RequestError(
            f"The variables of {name} do not fit; {'; '.join(said)}.", hint=f"It takes {', '.join(needed)}."
        )
    for each in needed:
        value = given[each]
        if isinstance(value, str) and not value.strip():
            raise RequestError(f"{name} was given an empty {each}.", hint="Pass some text.")
        if value is None or (isinstance(value, float) and math.isnan(value)):  # NaN: an empty cell of a table
            raise RequestError(f"{name} was given {type(value).__name__} as {each}.", hint="Pass a text.")

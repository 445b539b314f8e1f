"""Chat models with arguments bound to them, and which settings a model has. Knows nothing of what they are asked."""

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding

from phireside.errors import NotSupportedError, RequestError


def unbound(model: Runnable[Any, Any]) -> tuple[BaseChatModel, dict[str, Any]]:
    """The chat model below `bind`, and the arguments that were bound.

    Raises:
        RequestError: it is no chat model.
    """
    bound: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        bound, model = {**model.kwargs, **bound}, model.bound
    if not isinstance(model, BaseChatModel):
        raise RequestError(f"{type(model).__name__} is no chat model.", hint="Pass ChatGGUF(…) or another chat model.")
    return model, bound


def known_settings(model: Runnable[Any, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Those arguments of a call that a model has a field for, or that were bound to it.

    What a chain sets by itself, such as a limit of tokens, must not stop a model whose setting has another name: it
    might refuse the call, and keeps its own instead. Bind it there: `model.bind(num_predict=256)`.

    Raises:
        RequestError: it is no chat model.
    """
    plain, bound = unbound(model)
    known = type(plain).model_fields.keys() | bound.keys()
    return {name: value for name, value in arguments.items() if name in known}


def checked_settings(model: Runnable[Any, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, which somebody asked for: none may be left out, as by `known_settings`.

    Raises:
        NotSupportedError: the model has no such setting.
        RequestError: it is no chat model.
    """
    if unknown := sorted(arguments.keys() - known_settings(model, arguments)):
        raise NotSupportedError(
            f"{type(unbound(model)[0]).__name__} has no {', '.join(unknown)}.",
            hint="Leave it out and bind what the model calls it, or use ChatGGUF.",
        )
    return dict(arguments)

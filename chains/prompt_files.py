"""The prompts that chains come with: one YAML file for each chain in `prompts/`, to be read, copied and overridden.

A file has `description`, `example` (an input to try the chain with) and `prompts`: for each name a text (one human
message) or a list of messages, `- system: …`, `- human: …`, `- ai: …`. `{name}` is a variable, `{{` a brace. Variables
are filled in once; braces in what is filled in stay as they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, TypeAlias

import yaml
from langchain_core.messages import BaseMessage
from langchain_core.prompts import BaseChatPromptTemplate, ChatPromptTemplate

from phireside.chains.given import check_variables
from phireside.errors import SettingsError

FOLDER = Path(__file__).with_name("prompts")
ROLES = ("system", "human", "ai")

Override: TypeAlias = "str | Path | Mapping[str, Any] | None"
"""Prompts instead of the ones that a chain comes with: a YAML file, or a mapping from a prompt's name to a text, a list
of (role, text), or a LangChain chat prompt. Those not named stay."""


@dataclass(frozen=True)
class PromptFile:
    """A chain's prompts.

    Attributes:
        name: the chain's.
        description: one sentence for people.
        example: an input to try the chain with.
        prompts: by name.
    """

    name: str
    description: str
    example: dict[str, Any]
    prompts: dict[str, BaseChatPromptTemplate]

    def messages(self, prompt: str, **values: Any) -> list[BaseMessage]:
        """A prompt with its variables filled in.

        Raises:
            RequestError: one is missing, unknown or empty.
        """
        template = self.prompts[prompt]
        check_variables(
            f"the prompt {self.name}.{prompt}", values, template.input_variables, template.optional_variables
        )
        return template.format_messages(**values)


def load_prompts(name: str, override: Override = None) -> PromptFile:
    """The prompts of a chain.

    Args:
        name: the chain's, which is the file's.
        override: see `Override`.

    Raises:
        SettingsError: a file cannot be used, a prompt is not known, or has other variables than the one it replaces.
    """
    shipped = _shipped(name)
    if override is None:
        return shipped
    given = _given(name, override)
    if unknown := sorted(given.keys() - shipped.prompts.keys()):
        raise SettingsError(
            f"The chain {name} has no prompt called {', '.join(unknown)}.",
            hint=f"It has {', '.join(shipped.prompts)}.",
        )
    for each, prompt in given.items():
        _check_same_variables(f"{name}.{each}", prompt, shipped.prompts[each])
    return PromptFile(name, shipped.description, shipped.example, {**shipped.prompts, **given})


def prompt_names() -> list[str]:
    """The chains that have a file."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def prompts_text(name: str) -> str:
    """A chain's file as it is written, for people who want to read or change it; empty if the chain has none."""
    path = FOLDER / f"{name}.yaml"
    return path.read_text("utf-8") if name in prompt_names() else ""


@cache
def _shipped(name: str) -> PromptFile:
    return read_prompts(FOLDER / f"{name}.yaml")


def read_prompts(path: Path) -> PromptFile:
    """The prompts of a file.

    Raises:
        SettingsError: it cannot be read, or is not of the form that the module describes.
    """
    try:
        data = yaml.safe_load(path.read_text("utf-8"))
        prompts = {str(name): to_prompt(value) for name, value in data["prompts"].items()}
        return PromptFile(path.stem, str(data.get("description", "")), dict(data.get("example") or {}), prompts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        raise SettingsError(
            f"The prompts in {path} cannot be used: {type(error).__name__} {error}.",
            hint=f"{FOLDER} has the files that Phireside comes with: copy one of them.",
        ) from error


def to_prompt(value: Any) -> BaseChatPromptTemplate:
    """A prompt from a text, a list of messages or a LangChain prompt.

    Raises:
        ValueError: it is none of them, or has something else than plain variables between braces.
    """
    if isinstance(value, BaseChatPromptTemplate):
        return value
    pairs = [("human", value)] if isinstance(value, str) else [_pair(message) for message in value]
    for _, text in pairs:
        variables_of(text)
    return ChatPromptTemplate.from_messages(pairs)


def variables_of(text: str) -> list[str]:
    """The variables of a text, in its order.

    Raises:
        ValueError: there is something else than plain variables between braces.
    """
    names = []
    for _, name, form, conversion in Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or form or conversion:
            raise ValueError(f"{{{name}}} is no plain variable; write {{{{ and }}}} for braces")
        names.append(name)
    return names


def _pair(message: Any) -> tuple[str, str]:
    ((role, text),) = message.items() if isinstance(message, Mapping) else (message,)
    if role not in ROLES or not isinstance(text, str):
        raise ValueError(f"{role!r} is no role; there are {', '.join(ROLES)}")
    return role, text


def _given(name: str, override: Any) -> dict[str, BaseChatPromptTemplate]:
    hint = 'Pass a YAML file, or {"name": "text"}.'
    if isinstance(override, str | Path):
        return read_prompts(Path(override)).prompts
    if not isinstance(override, Mapping):
        raise SettingsError(f"The prompts given to {name} are {override!r:.80}.", hint=hint)
    try:
        return {each: to_prompt(value) for each, value in override.items()}
    except (ValueError, TypeError) as error:
        raise SettingsError(f"The prompts given to {name} cannot be used: {error}.", hint=hint) from error


def _check_same_variables(name: str, prompt: BaseChatPromptTemplate, shipped: BaseChatPromptTemplate) -> None:
    if set(prompt.input_variables) != set(shipped.input_variables):
        raise SettingsError(
            f"The prompt for {name} has the variables {', '.join(sorted(prompt.input_variables)) or 'none'}, but needs "
            f"{', '.join(sorted(shipped.input_variables))}.",
            hint="Use each of these between braces, and no other; write {{ and }} for braces.",
        )

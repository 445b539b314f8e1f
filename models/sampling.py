"""Presets for sampling: which temperature and top_p suit which task (*Hands-On Large Language Models*, Table 6-1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel

from phireside.errors import RequestError


@dataclass(frozen=True, slots=True)
class Preset:
    """A named pair of temperature and top_p.

    Args:
        title: for people.
        when: what the book says it is for.
    """

    title: str
    when: str
    temperature: float
    top_p: float


# For chats: a tiny model repeats itself without end at 1.0. Chains leave it at 1.0, where arithmetic comes out better.
CHAT_REPEAT_PENALTY = 1.1

CHAT_SAMPLING = {"temperature": 0.7, "repeat_penalty": CHAT_REPEAT_PENALTY}
"""Of a conversation with the model alone, where nobody chose."""

SOURCES_SAMPLING = {"temperature": 0.0, "repeat_penalty": 1.0}
"""Of an answer from documents or with tools, where nobody chose: sampled ones of a small model go astray, and a penalty
makes it shy of the words and numbers that it is to repeat."""

# The book says "high" and "low"; these are our values for them on small models.
PRESETS: dict[str, Preset] = {
    "balanced": Preset("Balanced", "Everyday conversation: some variety, few surprises.", 0.7, 0.95),
    "brainstorming": Preset(
        "Brainstorming", "High randomness, large pool of tokens: diverse, often surprising and creative.", 1.1, 0.98
    ),
    "email": Preset("Email", "Deterministic, small pool of tokens: predictable, focused, conservative.", 0.2, 0.5),
    "creative": Preset("Creative writing", "High randomness, small pool of tokens: creative, yet coherent.", 1.1, 0.5),
    "translation": Preset(
        "Translation", "Deterministic, large pool of tokens: coherent, with linguistic variety.", 0.2, 0.98
    ),
}

SamplingChoice: TypeAlias = str | Preset | Mapping[str, Any]
"""A preset, its name in `PRESETS`, or arguments of a model's call: `{"temperature": 1.1, "max_tokens": 200}`."""


def for_sources(model: BaseChatModel) -> BaseChatModel:
    """The model as it answers from documents or with tools: `SOURCES_SAMPLING`, but for what somebody set.

    Args:
        model: any; of one without such a field, that stays as it is.
    """
    unset = SOURCES_SAMPLING.keys() & type(model).model_fields.keys() - model.model_fields_set
    return model.model_copy(update={name: SOURCES_SAMPLING[name] for name in unset}) if unset else model


def settings_of(sampling: SamplingChoice) -> dict[str, Any]:
    """What was chosen, as arguments of a model's call.

    Raises:
        RequestError: there is no such preset, or it is neither a preset nor a mapping.
    """
    if isinstance(sampling, Mapping):
        return dict(sampling)
    preset = PRESETS.get(sampling) if isinstance(sampling, str) else sampling
    if not isinstance(preset, Preset):
        raise RequestError(
            f"There is no preset {sampling!r:.40}.",
            hint=f'There are {", ".join(PRESETS)}; or pass numbers: {{"temperature": 0.7}}.',
        )
    return {"temperature": preset.temperature, "top_p": preset.top_p}

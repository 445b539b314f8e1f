"""Presets for sampling: which temperature and top_p suit which task (*Hands-On Large Language Models*, Table 6-1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

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

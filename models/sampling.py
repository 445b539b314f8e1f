"""Presets for sampling: which temperature and top_p suit which task (*Hands-On Large Language Models*, Table 6-1)."""

from dataclasses import dataclass


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

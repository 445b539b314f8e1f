"""What a person chooses for one conversation: model, sampling, memory, documents, tools. Does not import Streamlit.

Kept in `Conversation.options`, so that a conversation goes on as it was left.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from phireside.memory import MEMORIES
from phireside.models.sampling import CHAT_REPEAT_PENALTY, PRESETS, SOURCES_SAMPLING
from phireside.tools.named import TOOLS


class Choices(BaseModel):
    """The choices of one conversation; the defaults are `ChatGGUF`'s, but for the repetition penalty."""

    model_config = ConfigDict(frozen=True)

    model: str = Field("", description="A name for load_chat_model; empty = the settings' model.")
    system: str = Field("", description="Empty = the settings' system_prompt.")
    temperature: float = Field(0.7, ge=0, le=2)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(40, ge=0, le=200)
    min_p: float = Field(0.05, ge=0, le=1)
    repeat_penalty: float = Field(CHAT_REPEAT_PENALTY, ge=0.5, le=2)
    max_tokens: int = Field(512, ge=16, le=32_768)
    seed: int | None = Field(None, ge=0, lt=2**32)
    memory: str = Field("", description="One of MEMORIES; empty = the settings' memory.")
    base: str = Field("", description="Name of the base of documents that is searched; empty = none.")
    tools: tuple[str, ...] = Field((), description="Names of TOOLS; without knowledge, which the base brings along.")

    @field_validator("memory")
    @classmethod
    def _known(cls, name: str) -> str:
        if name and name not in MEMORIES:
            raise ValueError(f"not one of {', '.join(MEMORIES)}")
        return name

    @field_validator("tools")
    @classmethod
    def _there(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Those that there are, in their order: one that another version had is not asked for."""
        return tuple(name for name in TOOLS if name in names and name != "knowledge")

    @property
    def in_use(self) -> Self:
        """The choices as they count: an answer from documents or with tools is sampled otherwise, unless it is said."""
        unset = SOURCES_SAMPLING.keys() - self.model_fields_set if self.base or self.tools else ()
        return self.model_copy(update={name: SOURCES_SAMPLING[name] for name in unset})

    @property
    def sampling(self) -> dict[str, Any]:
        """The arguments of `load_chat_model` beside the name and the settings."""
        return self.in_use.model_dump(exclude={"model", "system", "memory", "base", "tools"})

    @property
    def style(self) -> str:
        """The name of the preset that counts, "exact" for the likeliest words, or "custom"."""
        now = (self.in_use.temperature, self.in_use.top_p)
        if now[0] == 0:
            return "exact"
        return next((name for name, preset in PRESETS.items() if (preset.temperature, preset.top_p) == now), "custom")


def read_choices(options: Mapping[str, Any]) -> Choices:
    """The choices kept with a conversation; those that cannot be used, e.g. of another version, are the defaults."""
    try:
        return Choices.model_validate(dict(options))
    except ValidationError as error:
        bad = {problem["loc"][0] for problem in error.errors(include_url=False)}
        return Choices.model_validate({name: value for name, value in options.items() if name not in bad})

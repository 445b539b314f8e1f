"""`pitch_chain`: a product's name, slogan and sales pitch (*Hands-On Large Language Models*, chapter 6)."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import Runnable

from phireside.chains.given import Model
from phireside.chains.prompt_files import Override
from phireside.chains.sequential import links_of, sequential
from phireside.models import SamplingChoice


def pitch_chain(
    *, model: Model | None = None, prompts: Override = None, sampling: Mapping[str, SamplingChoice] | None = None
) -> Runnable[Any, dict[str, Any]]:
    """features → name → slogan → sales pitch.

    Args:
        model: None = that of the settings.
        prompts: others than those in prompts/pitch.yaml, by name: name, slogan, pitch.
        sampling: for links, by those names: a preset or its name, or arguments of the call.

    Returns:
        What `sequential` describes: the features, those three, cost and shortened. Name and slogan are one line each.
    """
    links, inputs = links_of("pitch", prompts, sampling, one_line=("name", "slogan"))
    return sequential([links["name"], links["slogan"], links["pitch"]], model=model, inputs=inputs, name="pitch_chain")

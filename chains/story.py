"""`story_chain`: a title, a main character and a story (*Hands-On Large Language Models*, chapter 7)."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import Runnable

from phireside.chains.given import Model
from phireside.chains.prompt_files import Override
from phireside.chains.sequential import links_of, sequential
from phireside.models import SamplingChoice


def story_chain(
    *, model: Model | None = None, prompts: Override = None, sampling: Mapping[str, SamplingChoice] | None = None
) -> Runnable[Any, dict[str, Any]]:
    """summary → title → character → story.

    Args:
        model: None = that of the settings.
        prompts: others than those in prompts/story.yaml, by name: title, character, story.
        sampling: for links, by those names: a preset or its name, or arguments of the call.

    Returns:
        What `sequential` describes: the summary, those three, cost and shortened. The title is one line.
    """
    links, inputs = links_of("story", prompts, sampling, one_line=("title",))
    return sequential(
        [links["title"], links["character"], links["story"]], model=model, inputs=inputs, name="story_chain"
    )

"""`shopping_chain`: three recipes at once, one shopping list (*Hands-On Large Language Models*, chapter 6)."""

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import Runnable

from phireside.chains.given import Model
from phireside.chains.prompt_files import Override
from phireside.chains.sequential import links_of, parallel_merge
from phireside.models import SamplingChoice


def shopping_chain(
    *, model: Model | None = None, prompts: Override = None, sampling: Mapping[str, SamplingChoice] | None = None
) -> Runnable[Any, dict[str, Any]]:
    """breakfast, lunch and dinner → three recipes side by side → shopping list.

    Args:
        model: None = that of the settings.
        prompts: others than those in prompts/shopping.yaml, by name.
        sampling: for links, by those names: a preset or its name, or arguments of the call.

    Returns:
        What `sequential` describes: the dishes, breakfast_recipe, lunch_recipe, dinner_recipe, shopping_list, cost and
        shortened.
    """
    links, inputs = links_of("shopping", prompts, sampling)
    merge = links.pop("shopping_list")
    return parallel_merge(list(links.values()), merge, model=model, inputs=inputs, name="shopping_chain")

"""`gallery()`: one example of every chain, for pages and people who want to see what there is.

What a chain needs to be made, labels or rules, is chosen here; all else comes from the chain's file of prompts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable
from pydantic import BaseModel, Field

from phireside.chains.chain_of_thought import chain_of_thought
from phireside.chains.choose import choose, yes_no
from phireside.chains.classify import classify
from phireside.chains.extract import extract
from phireside.chains.given import chosen
from phireside.chains.long_text import summarize
from phireside.chains.matching import matching
from phireside.chains.pitch import pitch_chain
from phireside.chains.prompt_files import Override, load_prompts
from phireside.chains.self_consistency import self_consistency
from phireside.chains.shopping import shopping_chain
from phireside.chains.story import story_chain
from phireside.chains.tree_of_thought import three_experts, tree_of_thought
from phireside.chains.validated import Rule, validated

Keyword = Annotated[str, Field(max_length=40)]
Make = Callable[..., Runnable[Any, Any]]


@dataclass(frozen=True)
class Entry:
    """A chain of the gallery.

    Attributes:
        name: as in `from phireside.chains import …`.
        title: for people.
        description: one sentence.
        example: an input to try it with.
        file: the name of its prompts' file, for `prompts_text`.
        build: makes the chain, from `model=` and `prompts=`.
    """

    name: str
    title: str
    description: str
    example: dict[str, Any]
    file: str
    build: Make

    def make(self, model: BaseChatModel | None = None, prompts: Override = None) -> Runnable[Any, Any]:
        """The chain.

        Args:
            model: None = that of the settings.
            prompts: others than those of its file.
        """
        return self.build(model=model, prompts=prompts)


class Researcher(BaseModel):
    """The profile of a researcher."""

    name: str = Field(max_length=60)
    position: str = Field(max_length=80)
    keywords: list[Keyword] = Field(max_length=5, description="what the research is about")


def gallery() -> list[Entry]:
    """Every chain that can be tried with an example, the simplest first."""
    return [
        _entry("story_chain", "Story", "story", story_chain),
        _entry("pitch_chain", "Sales pitch", "pitch", pitch_chain),
        _entry("shopping_chain", "Shopping list", "shopping", shopping_chain),
        _entry("validated", "A second look", "validated", _validated),
        _entry("summarize", "Summary", "summarize", partial(summarize, words=30)),
        _entry("extract", "Profile of a researcher", "extract", partial(extract, Researcher)),
        _entry("classify", "Sentiment", "classify", partial(classify, ["positive", "neutral", "negative"])),
        _entry("choose", "One of several", "choose", partial(choose, ["apple", "hammer", "shirt"]), **_CHOOSE),
        _entry("yes_no", "Yes or no", "choose", partial(yes_no, "Is the writer angry?"), **_YES_NO),
        _entry("matching", "A form of one's own", "matching", partial(matching, regex="[0-9]{4}-[0-9]{2}-[0-9]{2}")),
        _entry("chain_of_thought", "Chain of thought", "chain_of_thought", chain_of_thought),
        _entry("self_consistency", "Self-consistency", "chain_of_thought", self_consistency, **_SELF_CONSISTENCY),
        _entry("tree_of_thought", "Tree of thought", "tree_of_thought", tree_of_thought),
        _entry("three_experts", "Three experts", "three_experts", three_experts),
    ]


# Chains that share a file with another one.
_CHOOSE: dict[str, Any] = {"description": "One of three options as the answer to a question, and how probable each is."}
_YES_NO: dict[str, Any] = {
    "description": "A question about a text, answered with yes or no, and how probable that is.",
    "example": {"text": "I have been waiting for three weeks, and nobody answers my letters!"},
}
_SELF_CONSISTENCY: dict[str, Any] = {
    "description": "The same question thought through five times at once; the answer that most of them find is taken."
}


def _entry(
    name: str,
    title: str,
    file: str,
    build: Make,
    description: str | None = None,
    example: Mapping[str, Any] | None = None,
) -> Entry:
    shipped = load_prompts(file)
    return Entry(name, title, description or shipped.description, dict(example or shipped.example), file, build)


def _validated(*, model: BaseChatModel | None, prompts: Override) -> Runnable[Any, Any]:
    rules: list[str | Rule] = [
        "The answer can be understood by a child.",
        Rule("The answer has at most 50 words.", lambda text: len(text.split()) <= 50),
    ]
    return validated(chosen(model), rules, prompts=prompts)

"""Facts that a person stated about themselves: names, numbers, dates. Asked for under a grammar, kept as a list.

Prose that a small model writes again and again loses them; a list does not.
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.runnables import RunnableConfig

from phireside.models import ChatGGUF, Grammar

LONGEST = 120  # characters of a fact
AT_ONCE = 8  # new facts from one compaction
_FACT = {"type": "string", "minLength": 1, "maxLength": LONGEST}
SCHEMA: dict[str, Any] = {
    "title": "facts",
    "description": "What the person stated about themselves.",
    "type": "object",
    "properties": {"facts": {"type": "array", "maxItems": AT_ONCE, "items": _FACT}},
    "required": ["facts"],
    "additionalProperties": False,
}


async def facts_in(
    model: BaseChatModel, messages: Sequence[BaseMessage], max_tokens: int, config: RunnableConfig
) -> list[str]:
    """What a model answers to a question for facts; none if it cannot answer in a form.

    Args:
        model: `ChatGGUF` is held to the form by a grammar, others by their `with_structured_output`.
        messages: the question.
        max_tokens: of its answer.
        config: LangChain's.
    """
    try:
        if isinstance(model, ChatGGUF):
            asked: dict[str, Any] = {"grammar": Grammar.json(SCHEMA), "max_tokens": max_tokens, "temperature": 0.0}
            answer = await model.ainvoke(list(messages), config, **asked)
            found = json.loads(answer.text)
            if answer.response_metadata.get("finish_reason") == "length":
                del found["facts"][-1:]  # it was ended for want of tokens, perhaps in the middle of a number
        else:
            found = await model.with_structured_output(SCHEMA).ainvoke(list(messages), config)
        return [fact for fact in found["facts"] if isinstance(fact, str)]
    except (NotImplementedError, ValueError, KeyError, TypeError):  # it has no such feature, or did not keep the form
        return []


def stated(facts: Iterable[str], messages: Sequence[BaseMessage]) -> list[str]:
    """The facts that the person can have stated: their numbers, and one of their names, are in what the person wrote.

    Small models also "find" what nobody said. A fact has a name where a word that is not its first is capitalised.
    """
    text = " ".join(message.text for message in messages if isinstance(message, HumanMessage))
    said = set(re.findall(r"\w+", text.casefold()))
    return [fact for fact in facts if _is_stated(fact, said)]


def merged(old: Sequence[str], new: Iterable[str], most: int) -> tuple[str, ...]:
    """Old and new facts, each once; where there are more than `most`, the newest."""
    facts: dict[str, str] = {}
    for fact in [*old, *new]:
        text = " ".join(fact.split())[:LONGEST]
        key = text.casefold().rstrip(".")
        if key and key not in facts:
            facts[key] = text
    return tuple(facts.values())[-most:] if most else ()


def _is_stated(fact: str, said: set[str]) -> bool:
    words = re.findall(r"\w+", fact)
    numbers = [word for word in words if word.isdigit()]
    names = [word.casefold() for word in words[1:] if word[0].isupper() and word.casefold() not in _NO_NAMES]
    return said.issuperset(numbers) and (not names or not said.isdisjoint(names) or bool(numbers))


_NO_NAMES = {"human", "person", "user", "i", "ai"}

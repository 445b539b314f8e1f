"""Facts that a person stated about themselves: names, numbers, dates. Chosen under a grammar, kept as a list.

Prose that a small model writes again and again loses them; a list does not. A fact is a sentence of the person's own:
the model only says which, so it can invent none. (Asked to write a list of facts, a 135M model wrote none.)
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig

from phireside.memory.remembered import LONGEST
from phireside.models import ChatGGUF, Grammar

AT_ONCE = 8  # sentences of one message
_KIND_SCHEMA: dict[str, Any] = {
    "title": "kind",
    "description": "Whether the sentence is a fact about the speaker.",
    "type": "object",
    "properties": {"kind": {"enum": ["fact", "other"]}},
    "required": ["kind"],
    "additionalProperties": False,
}
# The kinds take turns, or else a small model repeats the last one. With more examples of "other" (a statement about the
# world, code, thanks) the starter refuses nearly everything; `_SPEAKER` keeps those away from it instead.
_EXAMPLES: list[BaseMessage] = [
    SystemMessage("Is this sentence a fact about the speaker? Answer with one word: fact or other."),
    *(
        message
        for sentence, kind in (
            ("I need a title for my story.", "other"),
            ("I live in Oslo.", "fact"),
            ("Write me a letter to the parents.", "other"),
            ("My son Tom is 9.", "fact"),
            ("I want to know when the train leaves.", "other"),
            ("I can't eat milk.", "fact"),
            ("I don't know.", "other"),
            ("We have a dog, Rex, and I love long walks.", "fact"),
            ('Please correct this: "I has a car".', "other"),
            ("I work as a teacher and my class is big.", "fact"),
            ("I have another question.", "other"),
            ("My name is Anna, I am 52 and I come from Spain.", "fact"),
        )
        for message in (HumanMessage(sentence), AIMessage(kind))
    ),
]
_WORD = re.compile(r"[我俺私僕]|[^\W我俺私僕]+")
# A full stop behind an initial or such a word ends no sentence. The last three borders are CJK's.
_BORDER = re.compile(
    r"(?<=[!?…])\s+|(?<!\b[A-Z]\.)(?<!\b(?:St|Dr|Mr|Ms)\.)(?<!\bMrs\.)(?<=\.)\s+|(?<=[\u3002\uff01\uff1f])|\n+"
)
_SPEAKER = set(
    _WORD.findall(
        "i me my mine we us our myself ich mich mir mein meine meinen meinem meiner wir uns unser unsere "
        "ik mij mijn wij onze je j moi mon ma mes nous notre nos yo mi mis nosotros nuestro nuestra soy tengo "
        "io mio mia miei mie noi nostro sono ho eu meu minha meus minhas nós nosso nossa sou tenho "
        "я меня мне мой моя мои мы наш наша 我 俺 私 僕"
    )
)


async def statements(model: BaseChatModel, text: str, config: RunnableConfig) -> list[str]:
    """The sentences of a message in which the person states something about themselves.

    Each sentence without a question mark and with a word for the speaker ("I", "my", "ich", "私") is shown to the model
    with twelve examples, to be sorted into one of two kinds. In a language whose words for the speaker are not in
    `_SPEAKER`, or that leaves them out, nothing is found.

    Args:
        model: `ChatGGUF` is held to the two kinds by a grammar, others by their `with_structured_output`. One that
            cannot do either finds nothing.
        text: what the person wrote. Of more than `AT_ONCE` such sentences the first and the last ones are read.
        config: LangChain's.
    """
    found = [each for each in sentences(text) if not _SPEAKER.isdisjoint(_WORD.findall(each.casefold()))]
    if len(found) > AT_ONCE:
        found = [*found[: AT_ONCE // 2], *found[-(AT_ONCE // 2) :]]
    return [each for each in dict.fromkeys(found) if await _is_fact(model, each, config)]


async def _is_fact(model: BaseChatModel, sentence: str, config: RunnableConfig) -> bool:
    shown = [*_EXAMPLES, HumanMessage(sentence)]
    if isinstance(model, ChatGGUF):
        asked: dict[str, Any] = {"grammar": Grammar.choice(["fact", "other"]), "max_tokens": 8, "temperature": 0.0}
        return (await model.ainvoke(shown, config, **asked)).text == "fact"
    try:
        answer: Any = await model.with_structured_output(_KIND_SCHEMA).ainvoke(shown, config)
        return bool(answer["kind"] == "fact")
    except (NotImplementedError, ValueError, KeyError, TypeError):  # it cannot, or did not keep the form
        return False


def sentences(text: str) -> list[str]:
    """The sentences of a text that are no questions, each at most `LONGEST` characters; longer ones are not
    among them, because a part of one may say the opposite."""
    parts = (" ".join(part.split()) for part in _BORDER.split(text))
    return [part for part in parts if part and part[-1] not in "?\uff1f" and len(part) <= LONGEST]


def merged(old: Sequence[str], new: Iterable[str], most: int) -> tuple[str, ...]:
    """Old and new facts, each once; where there are more than `most`, the newest."""
    facts: dict[str, str] = {}
    for fact in [*old, *new]:
        facts.setdefault(fact.casefold().rstrip("."), fact)
    return tuple(facts.values())[-most:] if most else ()

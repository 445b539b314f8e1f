"""A name for what passages have in common: one of the phrases that they have themselves, which a model chooses.

So a name of nothing in them cannot come out, however small the model is, and whatever a passage tells it to say.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence

from langchain_core.language_models import BaseChatModel

from phireside.chains.classify import classify
from phireside.chains.rag.words import content
from phireside.errors import EngineBusyError, EngineClosedError, EngineError

_MOST = 12  # phrases that the model chooses among
_READ, _CHARACTERS = 4, 240  # passages that it reads, and of each
_BREAK = re.compile(r"[^\w\s'-]|[\d_]|\n")


async def topic_name(
    words: Sequence[str], passages: Sequence[str], *, model: BaseChatModel, taken: Collection[str] = ()
) -> str:
    """A name for a topic.

    Args:
        words: its key words.
        passages: texts of it, the most typical first; the model reads the beginnings of some.
        model: who chooses; `ChatGGUF` by scores, in one pass.
        taken: names that other topics have.

    Returns:
        The name; empty if there is no phrase that is free, or the model chooses none.

    Raises:
        EngineBusyError, EngineClosedError: the model cannot be asked now.
    """
    others = {each.casefold() for each in taken}
    choices = [each for each in phrases(words, passages) if each.casefold() not in others][:_MOST]
    if len(choices) < 2:
        return choices[0] if choices else ""
    text = "\n\n".join(" ".join(passage.split())[:_CHARACTERS] for passage in passages[:_READ])
    try:
        return (await classify(choices, model=model).ainvoke({"text": text})).label
    except (EngineBusyError, EngineClosedError):
        raise
    except EngineError:  # it said none of them, again and again
        return ""


def phrases(words: Sequence[str], passages: Sequence[str]) -> list[str]:
    """Phrases that several passages have, or that have several key words, the commonest first.

    Args:
        words: key words, of which a phrase has one at least.
        passages: texts.
    """
    keys, found, written = content(" ".join(words)), Counter[str](), dict[str, str]()
    for passage in passages:
        spoken = {" ".join(run).casefold(): " ".join(run) for run in _runs(passage)}
        found.update(spoken.keys())
        written = spoken | written
    shared = {each: len(content(each) & keys) for each in found}
    telling = [each for each in found if shared[each] and (shared[each] > 1 or found[each] > 1)]
    ranked = sorted(telling, key=lambda each: (-found[each] * shared[each], -len(each), each))
    return [written[each][0].upper() + written[each][1:] for each in ranked]


def _runs(text: str) -> list[list[str]]:
    """Two or three words in a row that neither begin nor end with a function word."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS  # type: ignore[import-untyped]  # heavy

    runs = []
    for part in _BREAK.split(text):
        row = part.split()
        telling = [bool(content(word)) and word.casefold() not in ENGLISH_STOP_WORDS for word in row]
        ends = ((at, at + length) for at in range(len(row)) for length in (2, 3))
        runs += [row[at:end] for at, end in ends if end <= len(row) and telling[at] and telling[end - 1]]
    return runs

"""Whether passages say what a sentence says: by its words and where they stand, and by a judge's yes or no.

Words are compared because that was measured to work (docs/rag.md, "Checks"): they tell sentences that a passage
supports from others, where the yes or no of a model of 135 million parameters is chance. No check here understands a
"not".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from phireside.chains.cost import Cost
from phireside.chains.forms import ask, yes_or_no
from phireside.chains.loop import together
from phireside.chains.prompt_files import PromptFile
from phireside.chains.rag.answer import Claim, Verdict
from phireside.chains.rag.words import SENTENCE_END, content
from phireside.chains.scores import Scorer
from phireside.models import ChatGGUF, unbound

SUPPORTED, WEAK = 0.7, 0.45  # benchmarks/rag.py --part checks says how many of which kind are where
_HARD = re.compile(r"[0-9][0-9.,]*[0-9]|[0-9]|(?<=[a-z,;:] )[A-Z][\w'\u2019-]+")  # numbers, and names within a sentence


class Judge:
    """A model's yes or no to whether a text holds, as a probability; without scores 1 or 0.

    Args:
        model: any chat model.
        file: the chain's prompts.
        prompt: which of them; its variable is `text`.
    """

    def __init__(self, model: BaseChatModel, file: PromptFile, prompt: str) -> None:
        self._model, self._file, self._prompt = model, file, prompt
        plain, _ = unbound(model)
        answers = [("Yes", "yes"), ("No", "no")]
        self._scorer = Scorer(plain, answers, self._messages) if isinstance(plain, ChatGGUF) else None

    def _messages(self, text: str) -> list[BaseMessage]:
        return self._file.messages(self._prompt, text=text)

    async def __call__(self, text: str) -> tuple[float, Cost]:
        """The probability of yes, calibrated, and what it cost."""
        if self._scorer:
            found = await self._scorer(text)
            return float(found.probabilities[0]), found.cost
        said = await ask(self._model, self._messages(text), yes_or_no())
        return float(said.value), said.cost


@dataclass(frozen=True)
class Support:
    """Checks sentences against the passages that they cite.

    Args:
        judge: what it says is half of the score, if it is there.
    """

    judge: Judge | None = None

    async def check(self, claims: Sequence[Claim], passages: Sequence[str], question: str) -> tuple[list[Claim], Cost]:
        """The claims with verdicts and scores.

        Args:
            claims: sentences; [n] is `passages[n - 1]`.
            passages: all texts of the prompt.
            question: words that it has already support nothing by themselves.
        """
        checked = await together(self._one(claim, passages, question) for claim in claims)
        return [claim for claim, _ in checked], sum((cost for _, cost in checked), Cost())

    async def _one(self, claim: Claim, passages: Sequence[str], question: str) -> tuple[Claim, Cost]:
        if not claim.cited or not content(claim.text):  # a judge's yes to nothing in particular says nothing
            return replace(claim, verdict="none", score=0.0), Cost()
        source, cost = "\n\n".join(passages[number - 1] for number in claim.cited), Cost()
        score = word_support(claim.text, source, question)
        if self.judge:
            said, cost = await self.judge(f"Passage: {source}\n\nStatement: {claim.text}")
            score = (score + said) / 2
        return replace(claim, verdict=verdict(score), score=score), cost


def word_support(text: str, source: str, question: str = "") -> float:
    """How much of what a sentence says stands in a source, 0 to 1.

    The mean of two shares: of the words that the question did not have, those in the source; and of all its words,
    those in that sentence of the source which has most of them. A number or a name that is missing halves it.
    """
    said = content(text)
    new = (said - content(question)) or said
    missing = {each for each in _HARD.findall(text) if each.lower() not in source.lower() + question.lower()}
    begin, end = nearest(text, source)
    together = len(said & content(source[begin:end]))
    share = (len(new & content(source)) / max(1, len(new)) + together / max(1, len(said))) / 2
    return share * (0.5 if missing else 1.0)


def nearest(text: str, source: str) -> tuple[int, int]:
    """Where in a source that sentence stands which shares most words with a text: its first character, and the one
    behind its last; (0, 0) if none shares any. Of equal ones the first.
    """
    said, most, found, begin = content(text), 0, (0, 0), 0
    for end, following in [*(each.span() for each in SENTENCE_END.finditer(source)), (len(source), len(source))]:
        shared = len(said & content(source[begin:end]))
        if shared > most:
            most, found = shared, (begin, end)
        begin = following
    return found


def verdict(score: float) -> Verdict:
    """A score as a word."""
    return "supported" if score >= SUPPORTED else "weak" if score >= WEAK else "none"

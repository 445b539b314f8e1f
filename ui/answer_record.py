"""What is kept with an answer of how it came about: its steps, its passages, and what they say of its sentences.

It was plain JSON in a database and is read as such: what cannot be used is as if it were not there. Does not import
Streamlit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phireside.chains.rag.answer import CITATION, Verdict
from phireside.chains.rag.support import nearest
from phireside.memory.schema import OURS
from phireside.retrieval.names import shown_source

FILES = "files"  # the kind of the step that names the files which came with a question


class Passage(BaseModel):
    """A passage that the answer was written from, as `Turn.note` has it."""

    model_config = ConfigDict(frozen=True)

    number: int = 0
    text: str = ""
    source: str = ""
    title: str = ""
    place: str = ""
    ranks: dict[str, int] = Field(default_factory=dict)

    @property
    def name(self) -> str:
        """What it is called in a list: its title, or its source."""
        return self.title or self.source or "Passage"

    @property
    def inside(self) -> str:
        """Its place in the document, without the title that many headings begin with."""
        rest = self.place.removeprefix(self.name)
        return rest.lstrip(" >,") if rest[:2] in ("", " >", ", ") else self.place

    @property
    def where(self) -> list[str]:
        """Where it stands: its place in the document, and the document's."""
        source = shown_source({"source": self.source, "title": self.title})
        return [each for each in (self.inside, source) if each and each != self.name]


class Said(BaseModel):
    """A sentence of the answer; see `phireside.chains.Claim`."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    cited: tuple[int, ...] = ()
    verdict: Verdict = "unchecked"
    score: float | None = None


class AnswerRecord(BaseModel):
    """What is known of an answer.

    Attributes:
        steps: what was done for it, in order; see `phireside.chains.turn.Turn.note`.
        passages: [n] is the one whose number is n.
        claims: its sentences, also those that were withdrawn, with verdicts.
        feedback: what the person thinks of it: 1 = good, 0 = bad.
    """

    model_config = ConfigDict(frozen=True)

    steps: tuple[dict[str, Any], ...] = ()
    passages: tuple[Passage, ...] = ()
    claims: tuple[Said, ...] = ()
    feedback: int | None = Field(None, ge=0, le=1)

    @property
    def numbered(self) -> dict[int, Passage]:
        """The passages by the number that an answer cites them by."""
        return {passage.number or place: passage for place, passage in enumerate(self.passages, 1)}

    @property
    def withdrawn(self) -> list[Said]:
        """The sentences that are not in the answer any more, because nothing supports them."""
        return [claim for claim in self.claims if claim.verdict == "none"]

    def cited(self, text: str) -> dict[int, Passage]:
        """The passages that an answer cites, in the order in which it does."""
        numbered = self.numbered
        numbers = dict.fromkeys(int(number) for number in CITATION.findall(text))
        return {number: numbered[number] for number in numbers if number in numbered}

    def citing(self, number: int) -> list[Said]:
        """The sentences of the answer that cite a passage."""
        return [claim for claim in self.claims if number in claim.cited and claim.verdict != "none"]


def record_of(message: BaseMessage) -> AnswerRecord:
    """What is kept with an answer."""
    ours = message.additional_kwargs.get(OURS)
    given = ours if isinstance(ours, dict) else {}
    try:
        return AnswerRecord.model_validate(given)
    except ValidationError as error:
        bad = {problem["loc"][0] for problem in error.errors(include_url=False)}
        return AnswerRecord.model_validate({name: value for name, value in given.items() if name not in bad})


def files_with(messages: Sequence[BaseMessage], position: int) -> list[str]:
    """The names of the files that came with the question at a position: the answer to it has them."""
    for message in messages[position + 1 :]:
        if message.type == "human":
            break
        for step in record_of(message).steps:
            names = step.get("names") if step.get("kind") == FILES else None
            if isinstance(names, list):
                return [str(name) for name in names]
    return []


def passages_of(steps: Sequence[Mapping[str, Any]]) -> tuple[Passage, ...]:
    """The passages that the last search among some steps found. Their numbers in the prompt are not known yet."""
    found = [step for step in steps if step.get("kind") == "found"]
    try:
        return AnswerRecord.model_validate({"passages": found[-1].get("passages", [])}).passages if found else ()
    except ValidationError:
        return ()


def pieces(text: str, claims: Iterable[Said]) -> list[tuple[str, bool]]:
    """A passage in pieces, of which those are marked that support some claims: of each the sentence nearest to it."""
    spans = sorted({nearest(claim.text, text) for claim in claims} - {(0, 0)})
    found, at = [], 0
    for begin, end in spans:
        found += [(text[at:begin], False), (text[begin:end], True)]
        at = end
    return [*found, (text[at:], False)]

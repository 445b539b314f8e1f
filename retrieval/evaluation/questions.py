"""Questions that a model writes about a base's chunks, where nobody has judged any.

They are easier than people's: their words come from the passage. So figures from them compare settings on one's own
documents, and say little about how good a search is; every report marks them as generated.
"""

import random
from collections.abc import Callable, Iterator

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage

from phireside.errors import RequestError
from phireside.retrieval.knowledge_base import KnowledgeBase

_PROMPT = "Passage:\n{passage}\n\nWrite one short question that this passage answers. Write the question only."
_AT_ONCE = 8  # passages; in between it is told how far it is, and may be stopped
_CHARACTERS = 2000  # of a passage that are shown
_LEAST = 80  # characters of a passage; shorter ones, often headings, are asked about where there are no others


def generated_questions(
    base: KnowledgeBase,
    model: BaseChatModel,
    count: int,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """Questions by id, and by question the id of the chunk that it was written about, as its only relevant one.

    Args:
        base: whose chunks.
        model: that writes; an answer without a question is passed over.
        count: how many chunks are asked about, drawn by the seed.
        seed: another one draws others.
        progress: called with done and total; what it raises ends this.

    Raises:
        RequestError: the base has no chunk, or no question came out.
    """
    found = list(_chunks(base))
    if not found:
        raise RequestError("The base has no passage that can be asked about.", hint="Add documents: phireside index.")
    chunks = [each for each in found if len(each.page_content) >= _LEAST] or found
    drawn = random.Random(seed).sample(chunks, min(count, len(chunks)))  # noqa: S311 (no secret)
    prompts = [[HumanMessage(_PROMPT.format(passage=each.page_content[:_CHARACTERS]))] for each in drawn]
    answers = []
    for first in range(0, len(prompts), _AT_ONCE):
        answers += model.batch(list(prompts[first : first + _AT_ONCE]))
        if progress is not None:
            progress(len(answers), len(prompts))
    asked = {str(chunk.id): _question(str(answer.text)) for chunk, answer in zip(drawn, answers, strict=True)}
    queries = {chunk: question for chunk, question in asked.items() if question}
    if not queries:
        raise RequestError(f"The model wrote no question about {len(drawn)} passages.", hint="Use a larger model.")
    return queries, {chunk: {chunk: 1} for chunk in queries}


def _chunks(base: KnowledgeBase) -> Iterator[Document]:
    for document in base.documents():
        yield from base.chunks(document.id)


def _question(answer: str) -> str:
    """The first line that ends with a question mark; empty if there is none."""
    lines = (line.strip().strip('"*') for line in answer.splitlines())
    return next((line for line in lines if line.endswith("?")), "")

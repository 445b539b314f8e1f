"""Samples for `judge_answers`: read from lines of JSON, or made by letting documents answer questions.

Knows nothing of files' places.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from phireside.chains.rag.chain import RagChain
from phireside.chains.rag.judging import Sample
from phireside.errors import RequestError

Problems = list[tuple[int, str]]  # the number of a line, and what is wrong with it


def read_samples(text: str, limit: int = 0) -> tuple[list[tuple[int, Sample]], Problems]:
    """The samples by their lines, and what is wrong with the lines that hold none.

    Args:
        text: a JSON object in each line; see `Sample.of`. Only a line feed ends a line.
        limit: how many of the first lines that are not empty are read; 0 = all.

    Raises:
        RequestError: no line is a sample.
    """
    lines = [(number, line) for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1) if line.strip()]
    good, bad = list[tuple[int, Sample]](), Problems()
    for number, line in lines[: limit or len(lines)]:
        try:
            row: Any = json.loads(line)
            if not isinstance(row, dict):
                raise RequestError("It is no JSON object.")
            good.append((number, Sample.of(row)))
        except RequestError as error:
            bad.append((number, error.message))
        except (ValueError, RecursionError) as error:
            bad.append((number, f"It is no JSON: {error}"))
    if not good:
        raise RequestError(
            f"None of the {len(bad)} lines is a sample.",
            hint='Write one JSON object a line: {"question": "…", "answer": "… [1]", "passages": ["…"]}.',
        )
    return good, bad


def answered(
    chain: RagChain, questions: Sequence[str], progress: Callable[[int, int], None] | None = None
) -> list[Sample]:
    """What a chain answers to questions, with the passages that it cites.

    Args:
        chain: from `rag_chain`.
        questions: that are asked one after another, each for itself.
        progress: called with done and total; what it raises ends this.
    """
    samples = []
    for question in questions:
        answer = chain.invoke({"question": question})
        samples.append(Sample(question, answer.text, tuple(each.page_content for each in answer.passages)))
        if progress is not None:
            progress(len(samples), len(questions))
    return samples

"""Which check tells supported sentences from others: questions with their answers as sentences, and spoiled ones.

Supported: question and known answer, with the paragraph that has it. Not supported: the same with the most similar
other paragraph; and the question with the answer to another one about the same paragraph. A check's figure is the area
under its ROC curve (AUC): how often a supported sentence scores higher than one that is not; 0.5 is chance.
"""

import argparse
import asyncio
from typing import Any

import numpy as np
from common import settings
from rag_parts.normans import Question, load, retriever

from phireside.chains.prompt_files import load_prompts
from phireside.chains.rag.support import Judge, verdict, word_support
from phireside.chains.rag.words import SENTENCE_END
from phireside.models import ChatGGUF
from phireside.models.embeddings import embeddings


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Print the AUC of each check, against each kind of unsupported sentence."""
    paragraphs, questions = load(options)
    rows = cases([question for question in questions if question.known], paragraphs, retriever(paragraphs, 5))
    scores = asyncio.run(_scores(rows, options))
    held = np.array([kind == "supported" for _, _, kind in rows])
    kinds = np.array([kind for _, _, kind in rows])
    found = {}
    for name, values in scores.items():
        found[name] = {
            spoiled: auc(values[held], values[kinds == spoiled]) for spoiled in ("other passage", "other answer")
        }
        print(f"{name:24}" + "".join(f"  {kind} {value:.3f}" for kind, value in found[name].items()), flush=True)
    for kind in dict.fromkeys(kinds.tolist()):
        said = [verdict(float(value)) for value in scores["words"][kinds == kind]]
        shares = ", ".join(f"{name} {said.count(name) / len(said):.0%}" for name in ("supported", "weak", "none"))
        print(f"by words, of {len(said)} {kind}: {shares}", flush=True)
    return {
        "auc": found,
        "rows": [[*row, *(float(scores[name][at]) for name in scores)] for at, row in enumerate(rows)],
    }


def cases(questions: list[Question], paragraphs: list[str], source: Any) -> list[tuple[str, str, str]]:
    """(sentence, passage, kind)."""
    rows = []
    for question in questions:
        said, gold = f"{question.text} {question.known[0]}.", paragraphs[question.paragraph]
        other = next(each.page_content for each in source.invoke(question.text) if each.page_content != gold)
        rows += [(said, gold, "supported"), (said, other, "other passage")]
        same = [q for q in questions if q.paragraph == question.paragraph and not set(q.known) & set(question.known)]
        rows += [(f"{question.text} {same[0].known[0]}.", gold, "other answer")] if same else []
    return rows


async def _scores(rows: list[tuple[str, str, str]], options: argparse.Namespace) -> dict[str, np.ndarray]:
    judge = Judge(ChatGGUF(model=options.model, settings=settings(options)), load_prompts("rag"), "check")
    words = np.array([word_support(said, passage, said.rpartition("?")[0]) for said, passage, _ in rows])
    said = np.array([(await judge(f"Passage: {passage}\n\nStatement: {text}"))[0] for text, passage, _ in rows])
    near = np.array([nearness(text, passage) for text, passage, _ in rows])
    return {
        "words": words,
        "model's yes": said,
        "embeddings": near,
        "words + yes": (words + said) / 2,
        "words + embeddings": 0.7 * words + 0.3 * near,
        "all three": 0.5 * words + 0.25 * near + 0.25 * said,
    }


def nearness(text: str, passage: str) -> float:
    """The highest cosine of a text with a sentence of a passage."""
    first, *others = np.array(embeddings().embed_documents([text, *SENTENCE_END.split(passage)]))
    return float(max(other @ first for other in others))


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """How often one of the first is above one of the second; ties count half."""
    if not len(high) or not len(low):
        return float("nan")
    return float(np.mean((high[:, None] > low[None, :]) + 0.5 * (high[:, None] == low[None, :])))

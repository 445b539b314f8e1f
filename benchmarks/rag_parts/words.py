"""What `PRIOR` and `OVERLAP` of chains/rag/words.py are worth: F1 on the questions that have an answer.

The phrases are scored once; then every pair of weights chooses among them.
"""

import argparse
import asyncio
from typing import Any

import numpy as np
from common import settings
from rag_parts.normans import load, retriever

from phireside.chains.prompt_files import load_prompts
from phireside.chains.rag import exact_match, token_f1
from phireside.chains.rag.placing import Layout
from phireside.chains.rag.words import phrases
from phireside.models import ChatGGUF

PRIORS, OVERLAPS = (0.0, 0.3, 0.5, 0.7, 1.0), (0.0, 4.0, 8.0, 12.0)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Print exact match and F1 for each pair of weights, and the best that the phrases allow."""
    paragraphs, questions = load(options)
    source = retriever(paragraphs, options.passages)
    model = ChatGGUF(model=options.model, settings=settings(options))
    layout = Layout(load_prompts("rag"), "system_words", True)
    rows = []
    for question in (each for each in questions if each.known):
        found = source.invoke(question.text)
        options_of = phrases(question.text, {n: each.page_content for n, each in enumerate(found, 1)})
        scores = []
        for asked in (question.text, layout.file.messages("nothing")[-1].text):
            messages = [*layout.opening(), layout.question(asked, found, 1)]
            texts = [each.text for each in options_of]
            scores.append(np.array([s.logprob for s in asyncio.run(model.ascore(messages, texts, whole=True))]))
        rows.append((question.known, options_of, *scores))
    most = np.mean([max(token_f1(each.text, known) for each in options_of) for known, options_of, *_ in rows])
    print(f"{len(rows)} questions; the best phrase of each has F1 {most:.3f}")
    return {f"{p}/{o}": _figure(rows, p, o) for p in PRIORS for o in OVERLAPS}


def _figure(rows: list[Any], prior: float, weight: float) -> tuple[float, float]:
    chosen = []
    for known, options_of, asked, unasked in rows:
        overlap = np.array([each.overlap for each in options_of])
        text = options_of[int(np.argmax(asked - prior * unasked + weight * overlap))].text
        chosen.append((exact_match(text, known), token_f1(text, known)))
    exact, f1 = np.mean(chosen, axis=0)
    print(f"prior {prior:.1f}, overlap {weight:4.1f}: exact match {exact:.3f}, F1 {f1:.3f}", flush=True)
    return float(exact), float(f1)

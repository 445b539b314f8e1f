"""What a threshold on the cosine means: how many relevant passages it keeps, how many foreign questions it refuses.

Relevant: Cranfield's judged passages among the first 100 of their queries. Foreign: the best passage of Cranfield for
each answerable question about the Normans (SQuAD), which none of them answers.
"""

import argparse
import json
from collections.abc import Iterator

import numpy as np
from retrieval_parts.shared import Row, base, cranfield

LIMITS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """One row for each limit."""
    from phireside.retrieval.search import Search, trace

    collection, opened = cranfield(options.data), base(options)
    how = Search(stages=("dense",))
    relevant, best = [], []
    for each, query in collection.queries.items():
        hits = trace(opened, query, how).last
        best.append(hits[0][1])
        grades = collection.judgments.get(each, {})
        names = {str(hit.id): hit.metadata["source"] for hit in opened.get_by_ids([hit for hit, _ in hits])}
        relevant += [score for hit, score in hits if grades.get(names[hit], 0) > 0]
    article = json.loads((options.data / "squad2-normans.json").read_text())
    article = article["data"][0] if "data" in article else article
    asked = [each["question"] for part in article["paragraphs"] for each in part["qas"] if not each["is_impossible"]]
    foreign = [trace(opened, question, how).last[0][1] for question in asked]
    for limit in LIMITS:
        kept, found, refused = (float(np.mean(np.array(values) >= limit)) for values in (relevant, best, foreign))
        figures = {
            "relevant passages kept": kept,
            "queries with a hit": found,
            "foreign questions refused": 1 - refused,
        }
        yield Row(f"threshold {limit}", figures)
    opened.close()

"""What a reranker makes of feedback's first 20, alone and fused with the order that it was given.

A language model takes seconds for each passage on a laptop: `--queries 40` takes every fifth or so, spread over all.
"""

import argparse
from collections.abc import Iterator

from retrieval_parts.shared import Row, base, compared, cranfield

K, DEPTH = 10, 20


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """Two rows for each reranker, after the one that they are compared with."""
    from phireside.models.reranker import reranker
    from phireside.retrieval.evaluation import difference, measured
    from phireside.retrieval.fusion import reciprocal_rank_fusion
    from phireside.retrieval.search import Search, trace

    collection, opened = cranfield(options.data), base(options)
    judged = [each for each in collection.queries if any(collection.judgments.get(each, {}).values())]
    queries = judged[:: max(1, len(judged) // options.queries)][: options.queries]
    sources = {str(each.id): each.metadata["source"] for document in opened.documents()
               for each in opened.chunks(document.id)}  # fmt: skip
    before: dict[str, list[str]] = {}
    for name in options.reranker:
        alone, fused = {}, {}
        for each in queries:
            found = trace(opened, collection.queries[each], Search(rerank=reranker(name), reranked=DEPTH))
            first, last = found.rankings["feedback"], found.rankings["rerank"]
            rest = [hit for hit, _ in first[DEPTH:]]
            both = [hit for hit, _ in reciprocal_rank_fusion([first[:DEPTH], last])]
            before[each] = [sources[hit] for hit, _ in first]
            alone[each] = [sources[hit] for hit in [*(hit for hit, _ in last), *rest]]
            fused[each] = [sources[hit] for hit in [*both, *rest]]
        base_values = measured(before, collection.judgments, queries, K)["nDCG"]
        yield Row("without", {"queries": len(queries), "nDCG": float(base_values.mean())})
        for kind, run in (("alone", alone), ("fused", fused)):
            values = measured(run, collection.judgments, queries, K)["nDCG"]
            apart = compared(difference(base_values, values))
            yield Row(f"{name}, {kind}", {"nDCG": float(values.mean()), "to": "without", **apart})
    opened.close()

"""Each stage on all 225 queries, and LangChain's parts on the same vectors and texts.

The peers: `FAISS` (langchain-community), `BM25Retriever` (rank_bm25, its own tokenizer: split at spaces) and
`EnsembleRetriever` (langchain-classic, reciprocal ranks with c = 60, equal weights), each with 100 hits. p: paired
t-test and randomization test, two-sided, of nDCG@10 against the row that is named.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence

from retrieval_parts.shared import Row, base, compared, cranfield, model

K, POOL = 10, 100


def rows(options: argparse.Namespace) -> Iterator[Row]:
    """The stages, then the peers, then each of ours against its peer."""
    from phireside.retrieval.evaluation import difference, evaluate, measured

    collection, opened = cranfield(options.data), base(options)
    found = evaluate(opened, collection.queries, collection.judgments, k=K)
    ours = {stage.name: stage.values for stage in found.stages}
    for stage in found.stages:
        against = {} if stage.against is None else {"to": "row above", **compared(stage.against)}
        yield Row(f"ours, {stage.name}", {name: stage.mean(name) for name in stage.values} | against)
    yield Row(
        "ours, feedback", {"to": "hybrid", **compared(difference(ours["hybrid"]["nDCG"], ours["feedback"]["nDCG"]))}
    )
    pairs = {"FAISS": "dense", "BM25Retriever": "keyword", "EnsembleRetriever": "hybrid"}
    for name, rankings in peers(options, collection.documents, collection.queries).items():
        values = measured(rankings, collection.judgments, found.queries, K)
        yield Row(f"LangChain, {name}", {measure: float(each.mean()) for measure, each in values.items()})
        for stage in dict.fromkeys((pairs[name], "feedback")):
            apart = difference(values["nDCG"], ours[stage]["nDCG"])
            yield Row(f"ours, {stage}", {"to": f"LangChain's {name}", **compared(apart)})
    opened.close()


def peers(
    options: argparse.Namespace, documents: Mapping[str, tuple[str, str]], queries: Mapping[str, str]
) -> dict[str, dict[str, Sequence[str]]]:
    """By peer and query, the documents' ids."""
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_community.retrievers import BM25Retriever
    from langchain_community.vectorstores import FAISS

    texts = [f"{title}\n{text}" for title, text in documents.values()]
    metadatas = [{"id": each} for each in documents]
    store = FAISS.from_texts(texts, model(options), metadatas)
    dense = store.as_retriever(search_kwargs={"k": POOL})
    words = BM25Retriever.from_texts(texts, metadatas, k=POOL)
    both = EnsembleRetriever(retrievers=[words, dense], weights=[0.5, 0.5], id_key="id")
    named = {"FAISS": dense, "BM25Retriever": words, "EnsembleRetriever": both}
    return {
        name: {each: [hit.metadata["id"] for hit in retriever.invoke(query)] for each, query in queries.items()}
        for name, retriever in named.items()
    }

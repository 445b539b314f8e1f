"""Retrieval: loading, chunking, the document store, hybrid search, reranking. Empty until issue 7 builds it."""

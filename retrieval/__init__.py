"""Retrieval: documents into a base, and what is near to a question out of it.

Loading and chunking, the base (SQLite, with FAISS beside it), search and its evaluation. Names are imported when one is
first asked for: parsers, FAISS and embedding models are heavy.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.retrieval.adding import Report
    from phireside.retrieval.chunking import Chunk, Chunking, chunk
    from phireside.retrieval.documents import DocumentInfo
    from phireside.retrieval.knowledge_base import KnowledgeBase
    from phireside.retrieval.loading import KINDS, Loaded, LoadLimits, Section, load_bytes, load_file, load_page
    from phireside.retrieval.names import base_folder, base_names
    from phireside.retrieval.retriever import HybridRetriever
    from phireside.retrieval.search import Hit, Search, search
else:
    __getattr__ = lazy(
        __name__,
        {
            "KnowledgeBase": "knowledge_base",
            "base_folder": "names",
            "base_names": "names",
            "Report": "adding",
            "DocumentInfo": "documents",
            "Chunking": "chunking",
            "Chunk": "chunking",
            "chunk": "chunking",
            "KINDS": "loading",
            "Loaded": "loading",
            "LoadLimits": "loading",
            "Section": "loading",
            "search": "search",
            "Search": "search",
            "Hit": "search",
            "HybridRetriever": "retriever",
            "load_bytes": "loading",
            "load_file": "loading",
            "load_page": "loading",
        },
    )

__all__ = [
    "KnowledgeBase", "base_folder", "base_names", "Report", "DocumentInfo",
    "Chunking", "Chunk", "chunk",
    "KINDS", "Loaded", "LoadLimits", "Section", "load_bytes", "load_file", "load_page",
    "search", "Search", "Hit", "HybridRetriever",
]  # fmt: skip

"""Answers from documents: looked up, grounded, cited and checked. `rag_chain` is the chain; the others are its parts.

Knows models and LangChain's retrievers; a base is searched as `HybridRetriever` does it.
"""

from phireside.chains.rag.answer import Answer, Claim
from phireside.chains.rag.chain import RagChain, rag_chain
from phireside.chains.rag.judging import Judged, Report, Sample, Scores, judge_answers
from phireside.chains.rag.known_answers import exact_match, token_f1
from phireside.chains.rag.pinned import Pinned, pinned

__all__ = [
    "Answer", "Claim", "Pinned", "RagChain", "pinned", "rag_chain",
    "Judged", "Report", "Sample", "Scores", "judge_answers", "exact_match", "token_f1",
]  # fmt: skip

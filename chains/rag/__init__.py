"""Answers from documents: looked up, grounded, cited and checked. `rag_chain` is the chain; the others are its parts.

Knows models and LangChain's retrievers; a base is searched as `HybridRetriever` does it.
"""

from phireside.chains.rag.answer import Answer, Claim
from phireside.chains.rag.chain import RagChain, rag_chain
from phireside.chains.rag.judging import Judged, Report, Sample, Scores, judge_answers
from phireside.chains.rag.known_answers import exact_match, token_f1
from phireside.chains.rag.pinned import Pinned, pinned
from phireside.chains.rag.runs import AnswersRun, AxisChange, answers_runs, axis_changes
from phireside.chains.rag.samples import answered, read_samples

__all__ = [
    "Answer", "Claim", "Pinned", "RagChain", "pinned", "rag_chain",
    "Judged", "Report", "Sample", "Scores", "judge_answers", "exact_match", "token_f1",
    "answered", "read_samples", "AnswersRun", "AxisChange", "answers_runs", "axis_changes",
]  # fmt: skip

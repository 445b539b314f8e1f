"""How well documents are found: judged queries, measures per stage, and whether a difference is more than chance.

Names are imported when one is first asked for: bases and their parsers take a while.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.retrieval.evaluation.beir import Collection, read_beir, read_judged, write_beir
    from phireside.retrieval.evaluation.evaluate import ROWS, Evaluation, StageResult, base_of, evaluate
    from phireside.retrieval.evaluation.measures import MEASURES, Difference, difference, measured
    from phireside.retrieval.evaluation.questions import generated_questions
    from phireside.retrieval.evaluation.report import advice, as_data, chart, check_form, save_chart, table
    from phireside.retrieval.evaluation.runs import (
        RetrievalRun,
        StageChange,
        retrieval_runs,
        same_questions,
        stage_changes,
        worst_questions,
    )
    from phireside.retrieval.evaluation.sources import by_source, check_chunks, sent_judgments
else:
    __getattr__ = lazy(
        __name__,
        {
            "Collection": "beir",
            "read_beir": "beir",
            "read_judged": "beir",
            "write_beir": "beir",
            "Evaluation": "evaluate",
            "StageResult": "evaluate",
            "ROWS": "evaluate",
            "base_of": "evaluate",
            "evaluate": "evaluate",
            "MEASURES": "measures",
            "Difference": "measures",
            "difference": "measures",
            "measured": "measures",
            "generated_questions": "questions",
            "by_source": "sources",
            "check_chunks": "sources",
            "sent_judgments": "sources",
            "advice": "report",
            "as_data": "report",
            "chart": "report",
            "check_form": "report",
            "save_chart": "report",
            "table": "report",
            "RetrievalRun": "runs",
            "StageChange": "runs",
            "retrieval_runs": "runs",
            "same_questions": "runs",
            "stage_changes": "runs",
            "worst_questions": "runs",
        },
    )

__all__ = [
    "Collection", "read_beir", "read_judged", "write_beir",
    "Evaluation", "StageResult", "ROWS", "base_of", "evaluate",
    "MEASURES", "measured", "Difference", "difference",
    "generated_questions",
    "by_source", "check_chunks", "sent_judgments",
    "advice", "as_data", "chart", "check_form", "save_chart", "table",
    "RetrievalRun", "retrieval_runs", "StageChange", "stage_changes", "same_questions", "worst_questions",
]  # fmt: skip

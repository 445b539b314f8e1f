"""How well documents are found: judged queries, measures per stage, and whether a difference is more than chance."""

from phireside.retrieval.evaluation.beir import Collection, read_beir, read_judged, write_beir
from phireside.retrieval.evaluation.evaluate import ROWS, Evaluation, StageResult, base_of, evaluate
from phireside.retrieval.evaluation.measures import MEASURES, Difference, difference, measured
from phireside.retrieval.evaluation.questions import generated_questions
from phireside.retrieval.evaluation.report import advice, as_data, chart, check_form, save_chart, table

__all__ = [
    "Collection", "read_beir", "read_judged", "write_beir",
    "Evaluation", "StageResult", "ROWS", "base_of", "evaluate",
    "MEASURES", "measured", "Difference", "difference",
    "generated_questions",
    "advice", "as_data", "chart", "check_form", "save_chart", "table",
]  # fmt: skip

"""The tool `calculator`: exact arithmetic, percents, units and dates, by `arithmetic`. It runs no code."""

from typing import Annotated

from langchain_core.tools import BaseTool, StructuredTool

from phireside.tools.arithmetic import evaluate
from phireside.tools.expression_grammar import expression_grammar


def calculator() -> BaseTool:
    """A tool that works out an expression: `calculator().invoke("2249 * 0.85")` is "1911.65".

    Errors are `ToolError`s: it is no expression, is too large, or has no value. Nothing takes longer than a second.
    """
    return StructuredTool.from_function(
        _calculate,
        name="calculator",
        metadata={
            "grammars": {"expression": {"lark": expression_grammar()}},
            "effects": "none",
            "untrusted": False,
        },
    )


def _calculate(expression: Annotated[str, "what to work out"]) -> str:
    """Calculates, for example: 7 * 8, 30% of 60, sqrt(81), 5 kg in pounds, 30 m / 6 seconds, 2023-05-01 + 2 weeks."""
    return evaluate(expression)

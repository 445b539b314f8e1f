"""Agents: `build_agent` makes one of a model and tools, `steps` shows what it does, `policies/` is what it may do.

They are imported when first asked for: LangChain's agents take a third of a second.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.agents.assistant import Uses, answerer, close_bases, knowledge_base
    from phireside.agents.build import build_agent
    from phireside.agents.policies.bound_answer import BoundAnswer
    from phireside.agents.policies.chosen_calculation import ChosenCalculation
    from phireside.agents.policies.limits import Limits
    from phireside.agents.policies.number_binding import NumberBinding
    from phireside.agents.policies.threads import left_running
    from phireside.agents.steps import Step, asteps, steps
else:
    __getattr__ = lazy(
        __name__,
        {
            "build_agent": "build",
            "Uses": "assistant",
            "answerer": "assistant",
            "knowledge_base": "assistant",
            "close_bases": "assistant",
            "Limits": "policies.limits",
            "NumberBinding": "policies.number_binding",
            "BoundAnswer": "policies.bound_answer",
            "ChosenCalculation": "policies.chosen_calculation",
            "left_running": "policies.threads",
            "Step": "steps",
            "steps": "steps",
            "asteps": "steps",
        },
    )


__all__ = [
    "build_agent", "Limits", "steps", "asteps", "Step", "left_running",
    "NumberBinding", "BoundAnswer", "ChosenCalculation",
    "Uses", "answerer", "knowledge_base", "close_bases",
]  # fmt: skip

"""Our arms of benchmarks/agents.py: `build_agent` with a calculator, and what was tried to make it better.

What the model wrote is counted as it came from it: the agent asks again after an empty answer, and puts an excuse in
the place of a second one, so that its messages alone would show no malformed step.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from agents_parts.asked import Asked
from agents_parts.peers import is_malformed
from agents_parts.tried import Calibrated, Examples, Voted
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.outputs import LLMResult
from reasoning_parts.shared import ours

from phireside.agents import BoundAnswer, ChosenCalculation, Limits, NumberBinding, build_agent
from phireside.agents.policies.chosen_calculation import PROBABILITY
from phireside.agents.policies.final import EXCUSE
from phireside.agents.policies.worked_problems import WORKED
from phireside.tools import calculator

STEPS = 2  # a calculation and the answer: the smallest models do not stop of their own accord


@dataclass(frozen=True)
class Arm:
    """An agent of ours.

    Args:
        middleware: made anew for each agent.
        steps: calls of the model in a run.
    """

    middleware: Callable[[], Sequence[Any]] = list
    steps: int = STEPS


ARMS = {
    "ours": Arm(),
    "ours, up to 4 steps": Arm(steps=4),
    "ours, answer bound": Arm(lambda: [BoundAnswer()]),
    "ours, numbers and answer bound": Arm(lambda: [NumberBinding(), BoundAnswer()]),
    "ours, numbers and answer bound, called first": Arm(lambda: [NumberBinding(first=True), BoundAnswer()]),
    "ours, 8 examples, answer bound": Arm(lambda: [BoundAnswer(), Examples(8)]),
    "ours, 8 examples, numbers and answer bound": Arm(lambda: [NumberBinding(), BoundAnswer(), Examples(8)]),
    "ours, vote of 5 actions, numbers and answer bound": Arm(lambda: [Voted(5), NumberBinding(), BoundAnswer()]),
    "ours, calculation chosen, 8 examples": Arm(lambda: [ChosenCalculation(worked=WORKED[:8]), BoundAnswer()]),
    "ours, calculation chosen, calibrated": Arm(lambda: [Calibrated(), BoundAnswer()]),
    "ours, calculation chosen": Arm(lambda: [ChosenCalculation(), BoundAnswer()]),
}


def arm(name: str, options: argparse.Namespace) -> Callable[[str], Asked]:
    """`build_agent` as this name says."""
    model = ours(options, temperature=0, max_tokens=options.max_tokens)
    chosen = ARMS[name]
    agent = build_agent(model, [calculator()], limits=Limits(steps=chosen.steps), middleware=chosen.middleware())

    def ask(question: str) -> Asked:
        begun, heard = time.perf_counter(), Heard()
        messages = agent.invoke({"messages": [("user", question)]}, {"callbacks": [heard]})["messages"]
        return of_messages(messages, heard.messages, time.perf_counter() - begun)

    return ask


class Heard(BaseCallbackHandler):
    """Keeps each message of the model."""

    def __init__(self) -> None:
        self.messages: list[AIMessage] = []

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:  # noqa: ARG002 (LangChain's)
        """LangChain's."""
        self.messages += [each.message for some in response.generations for each in some]


def of_messages(messages: Sequence[Any], heard: Sequence[AIMessage], seconds: float) -> Asked:
    """What our agent did.

    Args:
        messages: its conversation.
        heard: all that the model said; steps that were chosen by scores are not among them.
        seconds: all of it.
    """
    chosen = [each for each in messages if isinstance(each, AIMessage) and PROBABILITY in each.response_metadata]
    said, last = [*chosen, *heard], messages[-1]
    ended = isinstance(last, AIMessage) and bool(last.text.strip()) and not last.tool_calls
    ended = ended and not last.text.startswith(EXCUSE)
    usage = [message.usage_metadata for message in said if message.usage_metadata]
    cached = sum(each.get("input_token_details", {}).get("cache_read", 0) for each in usage)
    return Asked(
        answer=last.text if ended else "",
        observations=[each.text for each in messages if each.type == "tool" and each.status != "error"],
        steps=len(said),
        malformed=sum(is_malformed(message) for message in said),
        written=sum(each["output_tokens"] for each in usage),
        evaluated=sum(each["input_tokens"] for each in usage) - cached,
        seconds=seconds,
        ended=ended,
        excess=excess(said),
    )


def excess(said: Sequence[AIMessage]) -> list[int]:
    """Of each step whose step before was the model's as well: tokens that it evaluated beyond those that were new.

    Where the same was asked again, none were.
    """
    found = []
    for before, after in pairwise(said):
        if "evaluated_tokens" in before.response_metadata and before.usage_metadata and after.usage_metadata:
            new = max(0, after.usage_metadata["input_tokens"] - before.usage_metadata["total_tokens"])
            found.append(after.response_metadata["evaluated_tokens"] - new)
    return found

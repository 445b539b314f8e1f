"""What was tried and is no part of our agent: examples in its prompt, votes over actions, calibrated scores, a rule.

See docs/agents.md for what helped.
"""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from agents_parts.asked import Asked
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from phireside.agents.policies.chosen_calculation import ChosenCalculation
from phireside.agents.policies.numbers import numbers_in
from phireside.agents.policies.plan import ModelPlan, ModelPolicy
from phireside.agents.policies.worked_problems import WORKED
from phireside.errors import ToolError
from phireside.models import Score
from phireside.tools.arithmetic import evaluate


def rule(name: str, options: Any) -> Callable[[str], Asked]:  # noqa: ARG001 (one form for all arms)
    """No model: the difference of a question's last two numbers, which is what most of SVAMP's problems ask for."""

    def ask(question: str) -> Asked:
        numbers = [Decimal(each) for each in numbers_in(question)[-2:]]
        answer = str(abs(numbers[0] - numbers[-1])) if numbers else "-"
        return Asked(answer, [answer], 0, 0, 0, 0, 0.0)

    return ask


class Examples(ModelPolicy):
    """Solved problems in front of the question, each with its call, result and answer.

    Args:
        count: how many of `WORKED`.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._shown = [message for question, answer in WORKED[:count] for message in solved(question, answer)]

    def model_call(self, request: Any) -> ModelPlan:
        """See `ModelPolicy`."""
        return (yield request.override(messages=[*self._shown, *request.messages]))


def solved(question: str, expression: str) -> list[BaseMessage]:
    """A turn of an agent that does it right."""
    call = {"name": "calculator", "args": {"expression": expression}, "id": "call_0"}
    value = evaluate(expression)
    return [
        HumanMessage(question),
        AIMessage("", tool_calls=[call], additional_kwargs={"reasoning_content": "I use calculator."}),
        ToolMessage(value, name="calculator", tool_call_id="call_0"),
        AIMessage(f"The answer is {value}.", additional_kwargs={"reasoning_content": "I know the answer."}),
    ]


class Voted(ModelPolicy):
    """Self-consistency over actions: of several sampled steps, the call whose value most of them have.

    Args:
        count: samples, at temperature 0.7 with the seeds 0, 1, …
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def model_call(self, request: Any) -> ModelPlan:
        """See `ModelPolicy`."""
        if any(isinstance(message, ToolMessage) for message in request.state["messages"]):
            return (yield request)
        tried = []
        for seed in range(self._count):
            settings = {**request.model_settings, "temperature": 0.7, "seed": seed}
            tried.append((yield request.override(model_settings=settings)))
        return most_voted(tried)


def most_voted(tried: list[Any]) -> Any:
    """The first of those with the value that is there most often; one without a call if no call has a value."""
    values = [value_of(response.result[0]) for response in tried]
    votes = Counter(value for value in values if value is not None).most_common(1)
    return tried[values.index(votes[0][0])] if votes else tried[0]


def value_of(message: Any) -> Decimal | None:
    """Of a step's call, if it has one that can be worked out to a number."""
    for call in message.tool_calls:
        try:
            return Decimal(evaluate(call["args"]["expression"]))
        except (ToolError, ArithmeticError):
            return None
    return None


class Calibrated(ChosenCalculation):
    """Calculations by their score with the question minus the score with its numbers alone."""

    def wrap_model_call(self, request: Any, handler: Any) -> Any:
        """LangChain's."""
        problem = self._problem(request)
        if problem is None:
            return handler(request)
        numbers = ", ".join(numbers_in(problem.messages[-1].text))
        bare = [*problem.messages[:-1], HumanMessage(f"The numbers are {numbers}.")]
        asked, without = (request.model.score(each, problem.options, whole=True) for each in (problem.messages, bare))
        gained = [Score(one.logprob - other.logprob, one.tokens) for one, other in zip(asked, without, strict=True)]
        return self._step(request.model, problem, gained)

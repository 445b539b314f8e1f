"""For agents that solve word problems: the first calculation is chosen among all that there can be, not written.

The numbers of the question give some dozen calculations (`numbers.calculations`). Each is scored as the answer to the
question, behind worked examples, in one pass of `ChatGGUF`; the most probable becomes the call. A model that writes
decides digit by digit, and a bad first digit cannot be taken back; here whole calculations are compared. Nothing is
generated.

A question with two numbers or more, and no formula (`17 * 23`, `15%`) or sign (`-5`) in it, counts as a word problem.
All else is the model's, and so are all later steps, and a question that with the worked examples does not fit into the
context; models without scores are asked as always.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import exp
from typing import Any

from langchain.agents.middleware.types import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.tools import BaseTool
from langchain_core.utils.uuid import uuid7

from phireside.agents.policies.numbers import calculations, negatives_in, numbers_in
from phireside.agents.policies.turn import calls_of, turn_of
from phireside.agents.policies.worked_problems import WORKED
from phireside.errors import ContextOverflowError
from phireside.models import ChatGGUF, Score

PROBABILITY = "probability"
"""Key in the `response_metadata` of a step that was chosen: how probable, of all that it was chosen from."""

_FORMULA = re.compile(r"\d\s*(?:[%^*/+\u00d7\u00f7]|-\s*\d)")
_MOST_NUMBERS = 6  # of a question: they make 140 calculations at most


class ChosenCalculation(AgentMiddleware[Any, Any, Any]):
    """See the module.

    Args:
        tool: that calculates.
        argument: its argument, a text with a calculation.
        worked: questions with the calculations that answer them.
    """

    def __init__(
        self,
        tool: str = "calculator",
        argument: str = "expression",
        worked: Sequence[tuple[str, str]] = WORKED,
    ) -> None:
        super().__init__()
        self._tool, self._argument = tool, argument
        self._before: list[BaseMessage] = [
            message for question, answer in worked for message in (HumanMessage(question), AIMessage(answer))
        ]

    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """LangChain's."""
        problem = self._problem(request)
        if problem is None or not isinstance(request.model, ChatGGUF):
            return handler(request)
        signal = request.model_settings.get("stop_signal")
        try:
            scores = request.model.score(problem.messages, problem.options, whole=True, signal=signal)
        except ContextOverflowError:
            return handler(request)
        return self._step(request.model, problem, scores)

    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """LangChain's."""
        problem = self._problem(request)
        if problem is None or not isinstance(request.model, ChatGGUF):
            return await handler(request)
        signal = request.model_settings.get("stop_signal")
        try:
            if signal:  # `ascore` has one of its own, which a limit in seconds does not set
                work = partial(request.model.score, problem.messages, problem.options, whole=True, signal=signal)
                scores = await asyncio.to_thread(work)
            else:
                scores = await request.model.ascore(problem.messages, problem.options, whole=True)
        except ContextOverflowError:
            return await handler(request)
        return self._step(request.model, problem, scores)

    def _problem(self, request: ModelRequest[Any]) -> "_Problem | None":
        """What is to be chosen from; None if the model is to be asked."""
        turn = turn_of(request.messages)
        if not turn or not isinstance(turn[0], HumanMessage) or calls_of(request.messages):
            return None
        text = turn[0].text
        wordless = _FORMULA.search(text) or negatives_in(text)
        options = [] if wordless else calculations(numbers_in(text)[:_MOST_NUMBERS])
        callable_now = request.tool_choice != "none" and self._tool not in request.model_settings.get("barred", ())
        bound = any(isinstance(each, BaseTool) and each.name == self._tool for each in request.tools)
        return _Problem([*self._before, turn[0]], options) if options and bound and callable_now else None

    def _step(self, model: ChatGGUF, problem: "_Problem", scores: Sequence[Score]) -> ModelResponse[Any]:
        """The call, in the place of one that the model would have written."""
        best = max(range(len(scores)), key=lambda at: scores[at].logprob)
        share = 1 / sum(exp(score.logprob - scores[best].logprob) for score in scores)
        read = model.get_num_tokens_from_messages(problem.messages) + sum(score.tokens for score in scores)
        call = {"name": self._tool, "args": {self._argument: problem.options[best]}, "id": f"call_{uuid7().hex}"}
        message = AIMessage(
            "",
            tool_calls=[call],
            additional_kwargs={"reasoning_content": f"I use {self._tool}."},
            response_metadata={PROBABILITY: round(share, 4)},
            usage_metadata=UsageMetadata(input_tokens=read, output_tokens=0, total_tokens=read),
        )
        return ModelResponse([message])


@dataclass(frozen=True)
class _Problem:
    messages: list[BaseMessage]
    options: list[str]

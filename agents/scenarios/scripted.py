"""The model `scripted`: says what the `script` of a scenario's turns says, step by step.

It proves that a scenario can be passed, and runs where there are no weights. It obeys its script whatever the agent
sends; what the agent and its policies do with that is real. It cannot judge and has no figures.
"""

from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable
from pydantic import PrivateAttr

from phireside.agents.scenarios.schema import ScriptStep, Turn
from phireside.errors import SettingsError

ASIDE = "What was said before."  # to who asks for something else than the next step: a memory, for a summary


class Scripted(BaseChatModel):
    """A chat model that follows the scripts of turns; `begin` tells it which turn it is.

    Args:
        turns: of the scenario.
    """

    turns: Sequence[Turn]
    _at: int = PrivateAttr(default=0)
    _said: int = PrivateAttr(default=0)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def begin(self, turn: int) -> None:
        """The turn with this number, from 0, begins."""
        self._at, self._said = turn, 0

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:  # noqa: ARG002
        """The same model: what it calls is in its script."""
        return self.bind(**kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        if not any(message.text == self.turns[self._at].user for message in messages):
            return _result(AIMessage(ASIDE))
        script = self.turns[self._at].script
        if self._said >= len(script):
            raise SettingsError(
                f"The script of turn {self._at + 1} has {len(script)} steps, and the agent asks for one more.",
                hint="End each script with an answer.",
            )
        step = script[self._said]
        self._said += 1
        return _result(_message(step, f"call_{self._at}_{self._said}"))


def _message(step: ScriptStep, name: str) -> AIMessage:
    thought = {"reasoning_content": step.thought} if step.thought else {}
    if step.call is None:
        return AIMessage(step.answer or "", additional_kwargs=thought)
    call = {"name": step.call, "args": dict(step.arguments), "id": name, "type": "tool_call"}
    return AIMessage("", tool_calls=[call], additional_kwargs=thought)


def _result(message: AIMessage) -> ChatResult:
    return ChatResult(generations=[ChatGeneration(message=message)])

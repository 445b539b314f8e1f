"""The base as a LangChain `VectorStore`: their suite, unmodified, and what it leaves out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.vectorstores import VectorStore
from langchain_tests.integration_tests import VectorStoreIntegrationTests

from phireside.retrieval import KnowledgeBase


class TestInAFolder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[VectorStore]:
        base = KnowledgeBase(tmp_path / "base", self.get_embeddings())
        yield base
        base.close()


class TestInATemporaryFolder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[VectorStore]:
        base = KnowledgeBase.from_texts([], self.get_embeddings())
        yield base
        base.close()
        assert not base.path.exists()

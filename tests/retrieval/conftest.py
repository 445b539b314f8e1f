"""A base with the documents of tests/plugins/judged.py."""

from collections.abc import Iterator

import pytest
from hashed import HashedEmbeddings
from judged import SMALL

from phireside.retrieval import KnowledgeBase
from phireside.retrieval.evaluation import base_of


@pytest.fixture(scope="session")
def judged_base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    """Only for reading."""
    made = base_of(SMALL, tmp_path_factory.mktemp("base"), HashedEmbeddings(64))
    yield made
    made.close()

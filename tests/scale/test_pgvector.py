"""A base in PostgreSQL with pgvector, made and asked by the very lines of docs/scale.md."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import answers
from hashed import HashedEmbeddings
from langchain_core.documents import Document
from langchain_postgres import PGVector
from sqlalchemy import create_engine

from phireside.chains import rag_chain
from phireside.errors import NotSupportedError
from phireside.retrieval import HybridRetriever, Search, search

PAGE = Path(__file__).parents[2] / "docs" / "scale.md"
BLOCK = re.compile(r"^```python pgvector\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def store(pgvector_server: str) -> Iterator[PGVector]:
    engine = create_engine(pgvector_server)
    animals = {"red fox": 4, "blue whale": 0, "grey fox": 4, "green frog": 4}
    made = PGVector(HashedEmbeddings(64), connection=engine, collection_name="animals", pre_delete_collection=True)
    made.add_documents([Document(text, id=text, metadata={"legs": legs}) for text, legs in animals.items()])
    yield made
    made.session_maker.remove()
    engine.dispose()


def test_search_takes_the_store_with_its_order_and_its_filters(store: PGVector) -> None:
    found = search(store, "grey fox", Search(k=2, where={"legs": {"$gte": 2}}))
    assert [hit.document.page_content for hit in found] == ["grey fox", "red fox"]
    assert set(found[0].ranks) == {"dense"}


def test_what_the_store_does_not_have_is_told(store: PGVector) -> None:
    with pytest.raises(NotSupportedError, match="dense search only"):
        search(store, "grey fox", Search(threshold=0.5))


@pytest.mark.parametrize("own", [False, True])
def test_rag_chain_answers_from_it(store: PGVector, own: bool) -> None:
    model = answers("The fox is grey [1].")
    langchains = store.as_retriever(search_kwargs={"k": 2})
    chain = rag_chain(model, HybridRetriever(base=store, how=Search(k=2)) if own else langchains)
    chain.invoke("What colour is the red fox?")
    found = chain.invoke("What colour is the grey fox?")
    assert found.known
    assert [passage.page_content for passage in found.passages] == ["grey fox", "red fox"]
    assert found.sentences[0].cited == (1,)


@pytest.mark.real
def test_the_lines_of_the_page_fill_a_base_and_answer_from_it(pgvector_server: str, tmp_path: Path) -> None:
    fill, ask = BLOCK.findall(PAGE.read_text())
    (tmp_path / "handbook").mkdir()
    (tmp_path / "handbook" / "deposit.md").write_text("# Deposit\n\nThe deposit is two monthly rents.")
    (tmp_path / "handbook" / "whales.md").write_text("# Whales\n\nWhales sing to each other over many miles.")
    program = re.sub(r"^DATABASE = .*$", f"DATABASE = {pgvector_server!r}", fill + ask, flags=re.MULTILINE)
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, first, second = done.stdout.splitlines()
    assert "deposit" in answer
    assert "[1]" in answer
    assert first.endswith("deposit.md")
    assert second.endswith("whales.md")

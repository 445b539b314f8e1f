"""Embedding a base anew while others do so, or add: in the end all vectors are of the model that is in force."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hashed import HashedEmbeddings

from phireside.errors import IndexDamagedError, KnowledgeError
from phireside.retrieval import KnowledgeBase, reindexing

TEXTS = [f"word{n} of {n}" for n in range(9)]


class Interrupted(HashedEmbeddings):
    """Another model; somebody else does something before it first embeds a batch."""

    meanwhile: Callable[[], object] | None = None

    def embed_documents(self, texts: list[str]) -> list[list[float]]:  # type: ignore[override]
        if len(texts) > 1 and (meanwhile := self.meanwhile):
            self.meanwhile = None
            meanwhile()
        return super().embed_documents(texts)


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KnowledgeBase]:
    """A base with texts of one model, opened with another; batches are small."""
    monkeypatch.setattr(reindexing, "BATCH", 4)
    first = KnowledgeBase(tmp_path, HashedEmbeddings())
    first.add_texts(TEXTS, ids=TEXTS)
    first.close()
    base = KnowledgeBase(tmp_path, Interrupted(seed=1))
    yield base
    base.close()


def interrupted(base: KnowledgeBase, meanwhile: Callable[[], object]) -> None:
    assert isinstance(base.embeddings, Interrupted)
    base.embeddings.meanwhile = meanwhile


def are_of(base: KnowledgeBase, seed: int, texts: list[str]) -> bool:
    """Whether the vectors in the base are those of a model."""
    made = np.array(HashedEmbeddings(seed=seed).embed_documents(texts))
    wanted = made / np.linalg.norm(made, axis=1, keepdims=True)
    return np.allclose(base.vectors(texts), wanted, atol=1e-5)


def test_two_that_change_to_the_same_model_at_once_leave_a_base_of_that_model(other: KnowledgeBase) -> None:
    beside = KnowledgeBase(other.path, HashedEmbeddings(seed=1))
    interrupted(other, beside.reindex)
    other.reindex()
    assert are_of(other, 1, TEXTS)
    stranger = KnowledgeBase(other.path, HashedEmbeddings(seed=2))
    with pytest.raises(KnowledgeError, match="was made with the embedding model"):
        stranger.similarity_search("word1", 1)
    stranger.close()
    other.add_texts(["one more"], ids=["one more"])
    assert beside.similarity_search("one more", 1)[0].id == "one more"
    beside.close()


def test_one_that_changes_to_another_model_meanwhile_gets_none_of_this_one_s_vectors(other: KnowledgeBase) -> None:
    third = KnowledgeBase(other.path, HashedEmbeddings(seed=2))

    def begin() -> None:
        def stop(done: int, total: int, name: str) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            third.reindex(stop)

    interrupted(other, begin)
    with pytest.raises(KnowledgeError, match="another embedding model"):
        other.reindex()
    assert are_of(other, 0, TEXTS), "Until the end the old vectors are searched."
    assert third.reindex() == len(TEXTS) - 4
    assert are_of(third, 2, TEXTS)
    third.close()


def test_what_is_added_right_before_the_end_is_embedded_too(
    other: KnowledgeBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, finish = KnowledgeBase(other.path, HashedEmbeddings()), reindexing._finish

    def late(*arguments: object) -> bool:
        if "late" not in {each.id for each in beside.get_by_ids(["late"])}:
            beside.add_texts(["late"], ids=["late"])
        return finish(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(reindexing, "_finish", late)
    assert other.reindex() == len(TEXTS) + 1
    assert are_of(other, 1, [*TEXTS, "late"])
    beside.close()


def test_vectors_that_nobody_knows_the_model_of_are_told_and_reindexing_mends_it(other: KnowledgeBase) -> None:
    with other._database.writing() as connection:
        connection.execute("DELETE FROM models")
    with pytest.raises(IndexDamagedError, match="does not say which embedding model") as told:
        other.similarity_search("more")
    assert "reindex()" in told.value.hint
    other.reindex()
    assert are_of(other, 1, TEXTS)

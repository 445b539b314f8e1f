"""Rerankers: scores in the order of the pairs, whatever the order they are computed in."""

from pathlib import Path

import pytest

from phireside.errors import ModelLoadError, ModelNotFoundError
from phireside.models import ChatGGUF, Score
from phireside.models.embeddings import embeddings
from phireside.models.reranker import LateInteraction, SentenceCrossEncoder, YesOrNo, reranker

CAT, ENGINE = "Cats sleep most of the day.", "The engine burns kerosene."


def test_late_interaction_prefers_the_passage_with_the_query_s_words() -> None:
    scores = LateInteraction(embeddings()).score([("jet engine fuel", CAT), ("jet engine fuel", ENGINE), ("cat", CAT)])
    assert scores[1] > scores[0]
    assert all(-1 <= score <= 1 for score in scores)
    assert LateInteraction(embeddings()).score([("", CAT), ("cat", "")]) == [-1.0, -1.0]


def test_yes_or_no_asks_for_each_pair_with_the_query_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def score(self: ChatGGUF, messages: list[tuple[str, str]], texts: list[str]) -> list[Score]:
        assert texts == ["Yes", "No"]
        asked.append(messages[0][1])
        return [Score(-0.5 if "Cats" in messages[0][1] else -2.0, 1), Score(-1.0, 1)]

    monkeypatch.setattr(ChatGGUF, "score", score)
    scores = YesOrNo(ChatGGUF(), characters=8).score([("cat", ENGINE), ("cat", CAT)])
    assert scores == [-1.0, 0.5]
    assert all(each.startswith("Query: cat\n\nPassage: ") for each in asked)
    assert not any("sleep" in each for each in asked)


@pytest.mark.real
def test_yes_or_no_of_real_weights() -> None:
    scores = YesOrNo(ChatGGUF(model="starter", n_ctx=512)).score([("cats", CAT), ("cats", ENGINE)])
    assert len(scores) == 2
    assert scores[0] != scores[1]


def test_names(tmp_path: Path) -> None:
    assert isinstance(reranker("late:starter"), LateInteraction)
    assert isinstance(reranker("chat:starter"), YesOrNo)
    found = reranker(str(tmp_path))
    assert isinstance(found, SentenceCrossEncoder)
    with pytest.raises(ModelLoadError, match="cannot be loaded"):
        found.score([("a", "b")])
    with pytest.raises(ModelNotFoundError):
        reranker("no/such-cross-encoder")


def test_a_cross_encoder_s_scores(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder

    from phireside.models.embeddings import model_folder

    CrossEncoder(str(model_folder("starter")), num_labels=1).save_pretrained(str(tmp_path))  # an untrained head
    found = SentenceCrossEncoder(str(tmp_path))
    pairs = [("cat", CAT), ("cat", ENGINE * 50), ("fuel", ENGINE)]
    one_by_one = [found.score([pair])[0] for pair in pairs]
    assert found.score(pairs) == pytest.approx(one_by_one, abs=1e-4)
    assert len(set(one_by_one)) == 3

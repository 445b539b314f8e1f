"""Fusion, feedback and diversity: their arithmetic, and what must hold for any rankings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phireside.retrieval.feedback import rocchio
from phireside.retrieval.fusion import Ranking, diverse, reciprocal_rank_fusion

IDS = st.lists(st.sampled_from("abcdefgh"), unique=True)


def ranked(ids: list[str]) -> Ranking:
    return [(each, float(-at)) for at, each in enumerate(ids)]


def test_reciprocal_ranks_add_up() -> None:
    found = reciprocal_rank_fusion([ranked(["a", "b"]), ranked(["b", "c"])], k=60)
    assert found == [("b", 1 / 61 + 1 / 62), ("a", 1 / 61), ("c", 1 / 62)]


@given(st.lists(IDS, max_size=4))
def test_fusion_has_every_id_once_and_is_ordered(lists: list[list[str]]) -> None:
    found = reciprocal_rank_fusion([ranked(ids) for ids in lists])
    assert sorted(each for each, _ in found) == sorted({each for ids in lists for each in ids})
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
    assert found == reciprocal_rank_fusion([ranked(ids) for ids in reversed(lists)])


@given(IDS)
def test_one_ranking_fused_keeps_its_order(ids: list[str]) -> None:
    assert [each for each, _ in reciprocal_rank_fusion([ranked(ids)])] == ids


def test_equal_scores_are_in_the_order_of_their_ids() -> None:
    assert [each for each, _ in reciprocal_rank_fusion([ranked(["b"]), ranked(["a"])])] == ["a", "b"]


def test_rocchio_moves_towards_the_passages_and_keeps_length_1() -> None:
    query, passages = np.array([1, 0], np.float32), np.array([[0, 1], [0, 1]], np.float32)
    moved = rocchio(query, passages, beta=2)
    assert moved == pytest.approx(np.array([1, 2]) / 5**0.5)
    assert rocchio(query, passages, beta=0) == pytest.approx(query)
    assert rocchio(query, np.zeros((0, 2), np.float32)) is query


def test_the_second_hit_is_not_a_copy_of_the_first() -> None:
    ranking = [("a", 1.0), ("copy of a", 0.9), ("b", 0.5), ("c", 0.0)]
    vectors = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    assert [each for each, _ in diverse(ranking, vectors, 0.0, 3)] == ["a", "copy of a", "b"]
    assert diverse(ranking, vectors, 0.5, 3) == [("a", 1.0), ("b", 0.5), ("c", 0.0)]
    assert len(diverse(ranking, vectors, 1.0, 9)) == 4
    assert diverse([], np.zeros((0, 3), np.float32), 0.5, 3) == []

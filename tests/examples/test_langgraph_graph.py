"""`examples/langgraph_graph.py` sends each question down its own way: worked out, looked up, talked about."""

from collections.abc import Callable

import pytest

pytestmark = pytest.mark.real


def test_each_question_takes_its_way(example: Callable[..., str]) -> None:
    rows = [line.split(" | ") for line in example("langgraph_graph.py").splitlines()]
    assert [topic.strip() for topic, _, _ in rows] == ["arithmetic", "lease", "talk"]
    sum_, notice, talk = (answer for _, _, answer in rows)
    assert "391" in sum_
    assert notice == "three months [1] (lease, page 2)"
    assert talk

"""Anybody's texts and values become valid Unicode and JSON."""

import json
import math

import pytest

from phireside.errors import KnowledgeError, StoreError
from phireside.text import clean_text, json_text


@pytest.mark.parametrize(
    ("text", "clean"),
    [("plain é 雪", "plain é 雪"), ("\ud83d\ude00", "😀"), ("a\ud800b", "a\ufffdb"), ("\udc00\ud800", "\ufffd\ufffd")],
)
def test_surrogates_become_their_character_or_the_replacement(text: str, clean: str) -> None:
    assert clean_text(text) == clean


def test_what_json_lacks_becomes_what_is_nearest() -> None:
    value = {1: (math.nan, math.inf, {"\ud800": "\udfff"}), "b": b"x", "c": [True, None, 2**70]}
    assert json.loads(json_text(value, StoreError)) == {
        "1": [None, None, {"\ufffd": "\ufffd"}], "b": "b'x'", "c": [True, None, 2**70]
    }  # fmt: skip


@pytest.mark.parametrize("failure", [StoreError, KnowledgeError])
def test_what_cannot_be_written_raises_the_room_s_own_error(failure: type[StoreError] | type[KnowledgeError]) -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 10**5000):
        with pytest.raises(failure, match="JSON") as caught:
            json_text(value, failure)
        assert "Nothing was saved" in caught.value.hint

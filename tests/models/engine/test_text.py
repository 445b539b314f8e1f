"""Bytes to text: whatever way the bytes are cut into tokens, the text is the same, whole, and ends before a stop."""

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phireside.models.engine.text import TextStream

# Few letters, so that stop strings are found, overlap, and begin inside one another.
words = st.text("abé😀", max_size=12)
stops = st.lists(st.text("abé😀\ufffd", max_size=4), max_size=3)
broken = st.lists(st.sampled_from([b"a", b"b", b"\xc3", b"\xa9", b"\xf0", b"\x9f\x98", b"\x80", b"\xff"])).map(b"".join)


def whole(data: bytes, stop: list[str]) -> str:
    """What the text must be: read character by character until a stop string is complete."""
    text = data.decode("utf-8", "replace")
    for end in range(len(text) + 1):
        found = [len(s) for s in stop if s and text[:end].endswith(s)]
        if found:
            return text[: end - max(found)]
    return text


def pieces_of(data: bytes, cuts: list[int], stop: list[str]) -> tuple[list[str], TextStream]:
    """What a stream gives out for `data` in pieces, the rest at its end included."""
    stream = TextStream(stop)
    given_out = []
    for start, end in pairwise([0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]):
        given_out.append(stream.push(data[start:end]))
        if stream.stopped:
            break
    return [*given_out, stream.finish()], stream


@given(words.map(str.encode) | broken | st.binary(max_size=12), st.lists(st.integers(0, 99), max_size=8), stops)
@example(b"abc", [], ["abc", "b"])
@example(b"abc", [2], ["abc", "b"])
def test_any_split_gives_the_text_of_the_whole(data: bytes, cuts: list[int], stop: list[str]) -> None:
    pieces, _ = pieces_of(data, cuts, stop)
    assert "".join(pieces) == whole(data, stop)


@given(words, st.lists(st.integers(0, 99), max_size=8), stops)
def test_no_piece_holds_a_half_character_or_goes_past_a_stop(text: str, cuts: list[int], stop: list[str]) -> None:
    pieces, stream = pieces_of(text.encode(), cuts, stop)
    sent = "".join(pieces)
    assert text.startswith(sent)
    assert "\ufffd" not in sent
    assert not any(s in sent for s in stop if s)
    assert stream.stopped == any(s in text for s in stop if s)


@given(words, stops)
def test_text_is_held_back_only_while_it_may_begin_a_stop_string(text: str, stop: list[str]) -> None:
    stream = TextStream(stop)
    sent = stream.push(text.encode())
    if not stream.stopped:
        held = text[len(sent) :]
        assert not held or any(s.startswith(held) and s != held for s in stop)


@given(words.filter(bool), st.sets(st.integers(1, 99)), stops)
def test_exact_means_that_the_bytes_are_the_text(text: str, cuts: set[int], stop: list[str]) -> None:
    inner = [cut for cut in cuts if cut < len(text.encode())]  # no empty pieces: those are control tokens
    pieces, stream = pieces_of(text.encode(), inner, stop)
    assert stream.exact == ("".join(pieces) == text and not stream.stopped)
    assert stream.exact or stream.stopped


@pytest.mark.parametrize(
    ("pieces", "exact"),
    [([b"a", b"\xc3"], True), ([b"a", b"\xff", b"b"], True), ([b"a", b"", b"b"], False)],
    ids=["half a character", "no UTF-8", "a control token"],
)
def test_a_control_token_nobody_sees_is_not_exact(pieces: list[bytes], exact: bool) -> None:
    stream = TextStream()
    for piece in pieces:
        stream.push(piece)
    stream.finish()
    assert stream.exact is exact


def test_half_a_character_at_the_end_becomes_one_replacement_character() -> None:
    stream = TextStream(["x"])
    assert stream.push("é😀".encode()[:-1]) == "é"
    assert stream.finish() == "\ufffd"


def test_what_was_held_back_is_given_out_at_the_end() -> None:
    stream = TextStream(["###"])
    assert [stream.push(b"a##"), stream.push(b"b#"), stream.finish()] == ["a", "##b", "#"]
    assert not stream.stopped
    assert stream.exact


def test_nothing_comes_after_a_stop_string() -> None:
    stream = TextStream(["<end>"])
    assert [stream.push(b"one <e"), stream.push(b"nd> two"), stream.finish()] == ["one ", "", ""]
    assert stream.stopped
    assert not stream.exact

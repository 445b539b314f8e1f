"""Text of models and people as data: no image, no diagram, no formula; code and links as they were written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from phireside.ui.safe_text import Segment, keep_lines, literal, segments

PARSER = MarkdownIt("gfm-like", {"linkify": False})
MARKUP = st.text(st.sampled_from("![]()<>`~\\$:\n \t-*_>#1.ab/\u2060"), max_size=60)
WORDS = ["![x](u)", "![x][r]", "[r]: u", "```", "~~~~", "```mermaid", "``` mermaid", "> ", "- ", "    ", ":::n", "\n"]
PIECES = st.lists(st.sampled_from([*WORDS, "\n", "`", "$", "\\", "a"]), max_size=25).map("".join)


def images(markdown: str) -> int:
    tokens = PARSER.parse(markdown)
    return sum(child.type == "image" for token in tokens for child in token.children or [])


def markdown_of(text: str) -> list[str]:
    return [segment.text for segment in segments(text) if segment.language is None]


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://127.0.0.1/?q=secret)",
        "a ![x][ref] b\n\n[ref]: http://127.0.0.1/",
        "![ref]\n\n[ref]: <http://127.0.0.1/>",
        "[![x](http://127.0.0.1/a)](http://127.0.0.1/b)",
        r"\\![x](http://127.0.0.1/)",
        r"\![x](http://127.0.0.1/)",
        "`code` ![x](http://127.0.0.1/)",
        "> ```\n> ![x](http://127.0.0.1/)",
        "- list\n\n    ![x](http://127.0.0.1/)",
        "| a |\n|---|\n| ![x](http://127.0.0.1/) |",
    ],
)
def test_images_become_links(text):
    assert images(text) or text.startswith((r"\!", "> ```")), "The example has an image, or looks like it."
    for markdown in markdown_of(text):
        assert "![" not in markdown
        assert images(markdown) == 0


def test_link_stays_a_link():
    assert segments("[x](http://127.0.0.1/a_b?c=d)") == [Segment("[x](http://127.0.0.1/a_b?c=d)")]


@given(MARKUP | PIECES | st.text())
def test_no_text_has_an_image_or_a_formula_or_a_diagram(text):
    for markdown in markdown_of(text):
        assert "![" not in markdown
        assert images(markdown) == 0
        fences = [token.info for token in PARSER.parse(markdown) if token.type == "fence"]
        assert not any(info.strip().lower().startswith("mermaid") for info in fences)


@given(MARKUP | PIECES)
def test_every_prefix_of_a_stream_is_as_safe(text):
    for end in range(len(text)):
        assert all("![" not in markdown for markdown in markdown_of(text[:end]))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.sampled_from(["```", "~~~~", "`````"]))
def test_fenced_code_is_shown_as_it_was_written(code, mark):
    if any(line.strip().startswith(mark[:3]) for line in code.split("\n")):
        return
    assert segments(f"before\n{mark}python\n{code}\n{mark}\nafter") == [
        Segment("before"),
        Segment(code, "python"),
        Segment("after"),
    ]


def test_code_in_a_list_loses_its_indentation_only():
    assert segments("1. So:\n   ```sh\n   if [ ! -e x ]; then\n     vec![1]\n   ```\n2. Then") == [
        Segment("1. So:"),
        Segment("if [ ! -e x ]; then\n  vec![1]", "sh"),
        Segment("2. Then"),
    ]


def test_unclosed_fence_of_a_stream_is_code_to_the_end():
    assert segments("Look:\n```python\nprint(1)\n``") == [Segment("Look:"), Segment("print(1)\n``", "python")]


def test_longer_fence_holds_shorter_ones():
    assert segments("````md\n```py\nx\n```\n````") == [Segment("```py\nx\n```", "md")]


@pytest.mark.parametrize("info", ["mermaid", "PYTHON", "c++", "../x", '" onload="', "a" * 99])
def test_language_of_code_is_a_short_word(info):
    (segment,) = segments(f"```{info}\nx\n```")
    assert segment.language is not None
    assert len(segment.language) <= 20
    assert set(segment.language) <= set("abcdefghijklmnopqrstuvwxyz0123456789_+#-")


def test_prices_are_no_formulas():
    assert segments(r"It costs $5, or \$6, or `$7` and ``a ` $8``; \\$9") == [
        Segment(r"It costs \$5, or \$6, or `$7` and ``a ` $8``; \\\$9")
    ]


def test_empty_text_has_no_segments():
    assert segments("") == segments(" \n\n") == []


def test_lone_surrogates_are_replaced():
    assert segments("a\ud800b") == [Segment("a?b")]
    assert literal("a\ud800b") == r"a\?b" or literal("a\ud800b") == "a?b"


def test_line_breaks_of_a_person_stay():
    assert keep_lines("one\ntwo\n\nthree\n") == "one  \ntwo\n\nthree\n"


@given(st.text(max_size=80))
def test_literal_text_has_no_markup(text):
    (block, *rest) = [token for token in PARSER.parse("x" + literal(text) + "x") if token.type == "inline"]
    assert not rest
    assert {child.type for child in block.children or []} <= {"text", "text_special"}

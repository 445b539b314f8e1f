"""Row 29, the base's part: any text comes back equal, or with U+FFFD where it was no valid text; any can be asked."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hashed import HashedEmbeddings
from hypothesis import given, settings
from nasty import NASTY, any_text, expected

from phireside.retrieval import KnowledgeBase


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    base = KnowledgeBase(tmp_path_factory.mktemp("unicode") / "base", HashedEmbeddings())
    yield base
    base.close()


def round_trip(base: KnowledgeBase, text: str) -> None:
    """As text, id, key and value of metadata, filter, query of both stages, source and title."""
    clean = expected(text)
    ids = base.add_texts([text, "other"], [{text: text, "list": [text]}, {}], ids=["id" + text, "other"])
    assert ids[0] == "id" + clean
    [back] = base.get_by_ids(["id" + text])
    assert (back.page_content, back.metadata) == (clean, {clean: clean, "list": [clean]})
    for where in ({text: text}, {"list": text}, {text: {"$gte": text}}):
        found = base.similarity_search(text, 1, where=where)
        assert [each.id for each in found] == [ids[0]]
    base.keyword(text, 3)
    assert base.vectors(["id" + text]).shape == (1, 16)
    base.delete(["id" + text])
    assert base.get_by_ids(ids)[0].id == "other"


@pytest.mark.parametrize("text", NASTY, ids=lambda text: ascii(text[:12]))
def test_nasty_texts_come_back_equal_or_cleanly_replaced(base: KnowledgeBase, text: str) -> None:
    round_trip(base, text)
    if text.strip("\ufeff \r\n\u2028\u2029\x0b\x1b[31m\0"):
        name = text[:100]
        base.add_text(f"One {text} two.", source="s" + name, title="t" + text, metadata={"k": name})
        [info] = base.documents()
        assert (info.source, info.title) == ("s" + expected(name), ("t" + expected(text))[:300])
        whole = f"One {expected(text)} two."
        assert all(part.page_content in whole for part in base.chunks(info.id))
        assert base.remove("s" + name)


@pytest.mark.parametrize("examples", [100, pytest.param(3000, marks=pytest.mark.slow)])
def test_any_text_comes_back_equal_or_cleanly_replaced(
    base: KnowledgeBase, figure: Callable[[int, str], None], examples: int
) -> None:
    cases = 0

    @settings(deadline=None, max_examples=examples)
    @given(text=any_text)
    def check(text: str) -> None:
        nonlocal cases
        round_trip(base, text)
        cases += 1

    check()
    figure(29, f"base: 0 exceptions, 0 inequalities in {cases} random texts")


@pytest.mark.parametrize("query", ["CAFÉ", "cafe\u0301", "cafe", "STRASSE", "Straße", "οδός", "ΟΔΌΣ", "running"])
def test_words_are_found_whatever_their_case_and_composition(base: KnowledgeBase, query: str) -> None:
    base.add_texts(["Café in der Straße, Strasse, ΟΔΌΣ, he runs"], ids=["words"])
    assert [key for key, _ in base.keyword(query, 5)] == ["words"]
    base.delete(["words"])


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
@pytest.mark.parametrize("name", [b"caf\xe9.txt", "e\u0301.txt".encode(), "雪.txt".encode(), b"a\nb.txt", b"'; --.txt"])
def test_a_file_of_any_name_is_added_found_again_and_removed(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    path = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    path.write_text("A text.")
    other = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe8.txt"))
    other.write_text("Another text.")
    base = KnowledgeBase(tmp_path / "base", HashedEmbeddings())
    assert (base.add_folder(folder).added, base.add_folder(folder).unchanged) == (2, 2)
    assert len({each.source for each in base.documents()}) == 2
    path.unlink()
    assert base.add_folder(folder).removed == 1
    assert [part.page_content for part in base.chunks(base.documents()[0].id)] == ["Another text."]
    base.close()

"""Row 13, the base's part: code in texts, ids, sources, metadata and filters stays text; no pickle is opened."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hashed import HashedEmbeddings

from phireside.retrieval import KnowledgeBase

CODE = [
    "{{ cycler.__init__.__globals__.os.system('touch canary') }}",
    "{x.__class__.__mro__}",
    "%(name)s %s ${HOME} $(touch canary) `touch canary`",
    "'; DROP TABLE chunks; --",
    "' UNION SELECT vector FROM vectors --",
    '" OR text : * NEAR(',
    ":title ?1 @x",
    "__import__('pathlib').Path('canary').touch()",
    "cpathlib\nPath\n(S'canary'\ntR.",
    json.dumps({"lc": 1, "type": "constructor", "id": ["pathlib", "Path"], "kwargs": {}}),
]
LC = {"lc": 2, "type": "constructor", "id": ["pathlib", "Path"], "method": "touch", "args": ["canary"], "kwargs": {}}


def test_code_in_every_place_stays_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Callable[[int, str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    base = KnowledgeBase(tmp_path / "base", HashedEmbeddings())
    base.add_texts(["other"], ids=["other"])
    for code in CODE:
        base.add_texts([code], [{code: code, "lc": LC}], ids=[code])
        [back] = base.similarity_search(code, 1, where={code: code})
        assert (back.id, back.page_content, back.metadata) == (code, code, {code: code, "lc": LC})
        base.keyword(code, 3, {code: code})
        base.dense(base.vectors([code])[0], 3, {"source": code, "document": code})
        base.add_text(code, source=code, title=code)
        assert base.chunks(code) == base.neighbours(code + "x") == []
        assert base.remove(code)
        base.delete([code])
    assert [each.id for each in base.similarity_search("x", 9)] == ["other"]
    base.close()
    canaries = len(list(tmp_path.rglob("canary*")))
    figure(13, f"base: {canaries} canaries run by {len(CODE)} payloads in 12 places each")
    assert canaries == 0


@pytest.mark.parametrize("name", ["index.pkl", "index.faiss", "index.faiss.1.part"])
def test_a_malicious_pickle_beside_the_base_is_never_opened_as_one(tmp_path: Path, name: str) -> None:
    base = KnowledgeBase(tmp_path / "base", HashedEmbeddings())
    base.add_texts(["fox"] * 300)
    base.write_index()
    base.close()
    (tmp_path / "base" / name).write_bytes(f"cpathlib\nPath\n(S'{tmp_path / 'canary'}'\ntRctouch\n.".encode())
    base = KnowledgeBase(tmp_path / "base", HashedEmbeddings())
    assert len(base.similarity_search("fox", 5)) == 5
    base.close()
    assert not (tmp_path / "canary").exists()

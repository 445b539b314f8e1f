"""Rows 21, 22 and 23 through the app: hostile names, a bomb and a crashing parser, uploaded on the knowledge page."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from hashed import HashedEmbeddings
from papers import with_body
from streamlit.testing.v1 import AppTest

from phireside.agents.assistant import close_bases
from phireside.retrieval.bases import create_base
from phireside.retrieval.loading import load, process
from phireside.settings import Settings
from phireside.ui.knowledge_parts import desk
from phireside.ui.services import close_services

Figure = Callable[[int, str], None]
Upload = Callable[..., str]

NAMES = [
    "../../x.txt",
    "..\\..\\y.txt",
    "/etc/passwd.txt",
    "a\nb.txt",
    "<img src=x onerror=alert(1)>.txt",
    "![x](javascript:alert(1)).txt",
    "$(touch canary).txt",
    "'; DROP TABLE documents; --.txt",
    f"{'x' * 300}.txt",
]


def knowledge() -> None:
    from phireside.ui import knowledge_page

    knowledge_page.show()


@pytest.fixture
def upload(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Upload]:
    """`upload((name, bytes), …)` adds files in a browser session of its own; all that the page then says."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    model = HashedEmbeddings(16)
    monkeypatch.setattr("phireside.agents.assistant.embeddings_named", lambda _: model)
    st.cache_resource.clear()
    create_base("work", settings.bases_dir)

    def add(*files: tuple[str, bytes], view: str = "Add") -> str:
        page = AppTest.from_function(knowledge, default_timeout=60)
        page.query_params["base"] = "work"
        page.run().get("button_group")[0].set_value("Add").run()
        page.file_uploader[0].set_value([(name, data, "") for name, data in files]).run()
        page.button(key="add-files").click().run()
        end = time.monotonic() + 60
        while desk().busy(settings.bases_dir / "work"):
            assert time.monotonic() < end
            time.sleep(0.02)
        page.run().get("button_group")[0].set_value(view).run()
        assert not page.exception
        return "\n".join(each.value for each in [*page.main.markdown, *page.main.caption])

    yield add
    st.cache_resource.clear()
    close_bases()
    close_services()


def test_names_of_uploads_are_text_on_the_page_and_no_paths(
    upload: Upload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "deeper")
    shown = upload(*((name, f"Text {number}.".encode()) for number, name in enumerate(NAMES)), view="Documents")
    assert f"{len(NAMES)} added" in shown
    assert r"\<img src\=x onerror\=alert\(1\)\>\.txt" in shown
    assert "<img" not in shown.replace(r"\<img", "")
    assert "![" not in shown.replace(r"\!\[", "")
    data = tmp_path / "data"
    assert [path for path in tmp_path.rglob("*") if path.is_file() and data not in path.parents] == []
    kept = {path.name for path in (data / "bases" / "work").iterdir()}
    assert kept <= {"base.sqlite3", "base.sqlite3-wal", "base.sqlite3-shm", "index.faiss", "index.lock"}
    figure(21, f"through the page: {len(NAMES)} names stored under our own ids, shown as text, 0 files outside")


def test_a_bomb_fails_alone(upload: Upload, figure: Figure) -> None:
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    text = f'<w:document xmlns:w="{word}"><w:body><w:p><w:r><w:t>{"a" * 40_000_000}</w:t></w:r></w:p></w:body>'
    bomb = with_body(f"{text}</w:document>")
    assert len(bomb) < 100_000
    shown = upload(("good.txt", b"Ships."), ("bomb.docx", bomb), ("also good.md", b"Trains."))
    assert r"2 added\, 1 could not be read" in shown
    assert r"bomb\.docx cannot be read" in shown
    figure(22, "through the page: the bomb is refused with its reason, 2 of 2 good files beside it are added")


def test_a_crashing_parser_fails_alone(upload: Upload, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    process.end_children()
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent / "plugins"))
    run = load.run

    def broken(parser: str, data: bytes, options: dict[str, Any], **limits: Any) -> Any:
        if data.startswith(b"crash"):
            return run("breaking_parsers:crash", data, {}, **limits)
        return run(parser, data, options, **limits)

    monkeypatch.setattr(load, "run", broken)
    shown = upload(("bad.txt", b"crash"), ("good.txt", b"Ships."))
    assert r"1 added\, 1 could not be read" in shown
    assert r"bad\.txt cannot be read" in shown
    assert "1 added" in upload(("after.txt", b"Trains.")), "Another session goes on."
    process.end_children()
    figure(23, "through the page: a parser's segmentation fault fails 1 of 1 file, 2 of 2 others are added")

"""The child that parsers run in: it is kept while it does well, and whatever a parser does ends as an error."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websites import site

from phireside.errors import DocumentError, DocumentTooLargeError
from phireside.retrieval.loading import process

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """`run("crash")` runs that parser of tests/plugins/breaking_parsers.py in a child."""

    def run(parser: str, seconds: float = 60, memory_bytes: int = 300_000_000, **options: Any) -> Any:
        limits: dict[str, Any] = {"seconds": seconds, "memory_bytes": memory_bytes, "answer_bytes": 50_000}
        return process.run(f"breaking_parsers:{parser}", b"data", options, **limits)

    process.end_children()  # they do not know the path
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent / "plugins"))
        yield run
    process.end_children()


def test_one_child_reads_many_documents(run: Run) -> None:
    assert len({run("who") for _ in range(5)} | {os.getpid()}) == 2


def test_documents_at_the_same_time_have_children_of_their_own(run: Run) -> None:
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(run("who"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 4
    assert len(process._idle) <= 2


@pytest.mark.parametrize("parser", ["crash", "leave", "loop", "sleep", "grow", "recurse", "long_answer", "no_json"])
def test_whatever_a_parser_does_is_an_error_and_the_next_document_is_read(run: Run, parser: str) -> None:
    large = parser in ("loop", "sleep", "grow", "long_answer")
    with pytest.raises(DocumentTooLargeError if large else DocumentError):
        run(parser, seconds=1.5 if parser in ("loop", "sleep") else 60)
    assert run("who") > 0


def test_what_a_parser_prints_does_not_get_among_the_answers(run: Run) -> None:
    assert [run("chatter"), run("chatter")] == ["said", "said"]


def test_a_child_has_no_secrets_and_no_large_library(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    process.end_children()
    assert "HF_TOKEN" not in run("secrets")
    assert not {"torch", "streamlit", "llama_cpp", "langchain_core", "numpy", "sqlalchemy"} & set(run("loaded"))


def test_a_parser_cannot_write_start_programs_or_open_sockets(run: Run, tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="may not use open"):
        run("write_file", path=str(tmp_path / "x"))
    with pytest.raises(DocumentError, match=r"may not use subprocess\.Popen"):
        run("start_program")
    assert list(tmp_path.iterdir()) == []


def test_a_parser_cannot_reach_the_network(run: Run, loopback: None) -> None:
    with site({}) as here:
        with pytest.raises(DocumentError, match=r"may not use socket\."):
            run("call", port=here.port)
        error = run("call_beneath_python", port=here.port)
        if sys.platform == "linux" and _may_leave_the_network():
            assert error


def _may_leave_the_network() -> bool:
    """Whether this system lets a process into a network of its own; some containers and distributions do not."""
    import subprocess

    return subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux only")
def test_the_size_of_one_document_is_not_blamed_for_the_fault_of_the_next(run: Run) -> None:
    most = 600_000_000
    assert run("swell", size=450_000_000, memory_bytes=most)
    with pytest.raises(DocumentError, match="no such table"):
        run("complain", memory_bytes=most)


def test_a_reader_that_cannot_be_started_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    process.end_children()
    monkeypatch.setattr(process, "_COMMAND", ("/no/such/python",))
    with pytest.raises(DocumentError, match="cannot be started: No such file"):
        run("who")


def test_an_idle_child_is_not_asked_when_it_is_about_to_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run("who")
    monkeypatch.setattr(process, "IDLE_SECONDS", 0)
    assert run("who") != first


def test_a_child_that_grew_or_worked_long_is_replaced(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run("who")
    monkeypatch.setattr(process, "_JOBS", 2)
    assert run("who") == first
    second = run("who")
    monkeypatch.setattr(process, "_GROWN", 1)
    assert second != first
    assert len({second, run("who"), run("who")}) == 2  # the next one is not kept either

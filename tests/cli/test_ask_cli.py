"""`phireside ask`: what is asked, what is printed where, and what cannot be asked."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acting import acting, call
from answers import answers
from hashed import HashedEmbeddings
from langchain_core.messages import AIMessage, ToolMessage
from typer.testing import CliRunner, Result

from phireside.cli import app
from phireside.cli.ask import _asked
from phireside.errors import EngineError
from phireside.retrieval import KnowledgeBase
from phireside.settings import Settings

PHIRESIDE = str(Path(sys.executable).with_name("phireside"))
Use = Callable[[Any], Any]


@pytest.fixture
def use(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Use:
    """Let a model answer in place of the one that would be loaded; the working directory is `tmp_path`."""
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("PHIRESIDE_MODEL", "openai:fake")
    monkeypatch.chdir(tmp_path)

    def put(model: Any) -> Any:
        monkeypatch.setattr("phireside.models.load_chat_model", lambda name, settings, **options: model)
        return model

    return put


def ask(*args: object, typed: str | bytes = "") -> Result:
    return CliRunner().invoke(app, ["ask", *map(str, args)], input=typed)


def asked(model: Any) -> str:
    """The question as the model got it."""
    ((*_, (kind, text)),) = model.asked
    assert kind == "human"
    return str(text)


# ---- what is asked ----


def test_the_answer_is_all_that_is_printed_and_nothing_is_kept(use: Use, settings: Settings) -> None:
    model = use(answers("Because of the air."))
    result = ask("Why is the sky blue?")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Because of the air.\n", "")
    assert asked(model) == "Why is the sky blue?"
    assert not settings.data_dir.exists()


@pytest.mark.parametrize(
    ("args", "typed", "question"),
    [
        (("What?",), "a line\n", "a line\n\nWhat?"),
        ((), "What is it?\n", "What is it?"),
        (("What?", "-f", "-"), "a line\n", "a line\n\nWhat?"),
        (("-f", "notes.md"), "What?", "notes.md:\n\nSome notes.\n\nWhat?"),
        (("What?", "-f", "notes.md", "-f", "x.py"), "", "notes.md:\n\nSome notes.\n\nx.py:\n\nprint(1)\n\nWhat?"),
        (("W\ud83d?",), b"caf\xe9\xff\x1b[2J", "caf\u00e9\u00ff [2J\n\nW\ufffd?"),
    ],
)
def test_files_and_the_pipe_stand_before_the_question(
    use: Use, tmp_path: Path, args: tuple[str, ...], typed: str | bytes, question: str
) -> None:
    (tmp_path / "notes.md").write_text("Some notes.\n")
    (tmp_path / "x.py").write_text("print(1)\n")
    model = use(answers("Yes."))
    result = ask(*args, typed=typed)
    assert result.exit_code == 0, result.output
    assert asked(model) == question


@pytest.mark.parametrize(
    ("args", "typed", "words"),
    [
        ((), "", "There is no question"),
        ((" ",), " \n ", "There is no question"),
        (("What?", "-f", "gone.txt"), "", "gone.txt is no file"),
        (("What?", "-f", "gone.log"), "", "gone.log cannot be read: No such file"),
        (("What?", "-f", "."), "", "cannot be read: Is a directory"),
        (("What?", "-f", "empty.log"), "", "empty.log is empty"),
        (("What?", "-f", "zeros.bin"), "", "zeros.bin is no text"),
        (("What?", "-f", "broken.pdf"), "", "broken.pdf cannot be read"),
        (("What?", "-f", "/dev/zero"), "", "zero has more than 1,000 bytes"),
        (("What?",), b"\x89PNG\0\0", "stdin is no text"),
        (("What?",), "x" * 2000, "stdin has more than 1,000 bytes"),
        (("What?", "--base", "b", "-f", "x.md"), "", "With --base the answer comes from the base alone"),
        (("What?", "--base", "nowhere"), "", "There is no base 'nowhere'; there are: none"),
        (("What?", "--tools", "clock,hammer"), "", "There is no tool 'hammer'"),
        (("What?", "--tools", "read_file"), "", "set tools.folders"),
    ],
)
def test_what_cannot_be_asked_is_told_before_a_model_is_asked(
    use: Use,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    args: tuple[str, ...],
    typed: str | bytes,
    words: str,
) -> None:
    (tmp_path / "empty.log").touch()
    (tmp_path / "zeros.bin").write_bytes(bytes(100))
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    monkeypatch.setattr("phireside.cli.ask.MOST_BYTES", 1000)
    model = use(answers("Yes."))
    result = ask(*args, typed=typed)
    assert (result.exit_code, result.stdout, model.asked) == (1, "", [])
    assert result.stderr.startswith("Error: ")
    assert words in result.stderr


def test_a_model_that_fails_is_told(use: Use) -> None:
    use(answers(lambda _: EngineError("No more memory.", hint="Buy some.")))
    result = ask("What?")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines()[0] == "Error: No more memory."


def test_a_model_that_is_not_here_is_told_before_the_base_is_opened(
    use: Use, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHIRESIDE_MODEL", "startre")
    result = ask("What?")
    assert (result.exit_code, "starter" in result.stderr) == (1, True)


def test_json_has_the_answer_and_what_it_cost(use: Use) -> None:
    use(answers("Because of the air.", finish_reason="length"))
    result = ask("Why?", "--json")
    data = json.loads(result.stdout)
    assert (data["answer"], data["finish_reason"], data["model"]) == ("Because of the air.", "length", "answers")
    assert data["usage"]["output_tokens"] == 4
    assert data["seconds"] >= 0


# ---- from documents ----


@pytest.fixture
def lake(use: Use, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base with two documents."""
    monkeypatch.setattr("phireside.cli.embedding.embeddings", lambda _: HashedEmbeddings(64))
    base = KnowledgeBase.named("lake", settings.bases_dir, HashedEmbeddings(64), create=True)
    base.add_text("Ice of ten centimetres carries a person.", source="/notes/ice.md", title="Ice")
    base.add_text("Dry wood burns.", source="/notes/fire.md", title="Fire")
    base.close()


def test_an_answer_from_a_base_names_its_sources(use: Use, lake: None) -> None:
    use(answers("Ice of ten centimetres carries a person [1]."))
    result = ask("Which ice carries a person?", "--base", "lake", typed="is not read: a loop needs it\n")
    assert result.exit_code == 0, result.output
    assert result.stdout == "Ice of ten centimetres carries a person [1].\n\n[1] /notes/ice.md\n"


def test_an_upload_is_named_and_not_its_hash(use: Use, lake: None, tmp_path: Path) -> None:
    use(answers("Seals bark at night [1]."))
    base = KnowledgeBase.named("lake", Settings().bases_dir, HashedEmbeddings(64))
    base.add_upload("seals.txt", b"Seals bark at night.")
    base.close()
    assert ask("When do seals bark?", "--base", "lake").stdout.endswith("\n\n[1] seals.txt\n")
    shown = CliRunner().invoke(app, ["search", "seals bark", "--base", "lake", "--k", "1"]).stdout
    assert shown.startswith("[1] seals.txt\n")


def test_what_nothing_supports_is_withdrawn(use: Use, lake: None) -> None:
    use(answers("Elephants skate on Sundays [1]."))
    result = ask("Which ice carries a person?", "--base", "lake")
    assert result.stdout == "I don't know.\n"
    data = json.loads(ask("Which ice carries a person?", "--base", "lake", "--json").stdout)
    assert (data["known"], data["base"], data["claims"][0]["verdict"]) == (False, "lake", "none")
    assert data["passages"][0]["source"] == "/notes/ice.md"


# ---- with tools ----


def speaking(*, then: str, **arguments: str) -> Any:
    """A model that calls a tool once, and then says what came of it."""
    (name, given) = arguments.popitem()

    def act(messages: list[Any]) -> AIMessage:
        last = messages[-1]
        return AIMessage(f"{then}: {last.text}") if isinstance(last, ToolMessage) else call(name, **json.loads(given))

    return acting(act)


def test_tools_are_used_and_the_steps_are_in_the_json(use: Use) -> None:
    use(speaking(calculator='{"expression": "6 * 7"}', then="It is"))
    assert ask("What is 6 times 7?", "--tools", "calculator").stdout.startswith("It is: ")
    data = json.loads(ask("What is 6 times 7?", "--tools", "calculator,clock", "--json").stdout)
    assert [(each["kind"], each["tool"]) for each in data["steps"] if each["kind"] != "thought"] == [
        ("action", "calculator"),
        ("observation", "calculator"),
    ]


@pytest.mark.parametrize(
    ("args", "expected"),
    [((), (0.7, 1.1)), (("--tools", "calculator"), (0.0, 1.0)), (("--tools", "calculator", "-t", "0.4"), (0.4, 1.0))],
)
def test_with_tools_the_likeliest_words_are_taken_unless_it_is_said(
    use: Use, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], expected: tuple[float, float]
) -> None:
    use(None)
    loaded: list[tuple[float, float]] = []

    def load(name: str, settings: Settings, **options: Any) -> Any:
        loaded.append((options["temperature"], options["repeat_penalty"]))
        return acting(lambda _: AIMessage("42"))

    monkeypatch.setattr("phireside.models.load_chat_model", load)
    assert ask("What?", *args).exit_code == 0
    assert loaded == [expected]


@pytest.mark.parametrize("allowed", [False, True])
def test_a_tool_with_effects_is_refused_where_nobody_can_be_asked(
    use: Use, monkeypatch: pytest.MonkeyPatch, allowed: bool
) -> None:
    from phireside.tools import named, web_search  # noqa: F401 (imports its module)

    named._web_search.cache_clear()
    searched: list[str] = []
    searching = sys.modules["phireside.tools.web_search"]  # the package's name is the tool
    monkeypatch.setattr(searching, "ddgs", lambda: lambda query, count: searched.append(query) or [])
    use(speaking(web_search='{"query": "what is new"}', then="So"))
    result = ask("What is new?", "--tools", "web_search", *(["--allow-effects"] if allowed else []))
    assert result.exit_code == 0, result.output
    assert searched == (["what is new"] if allowed else [])
    assert ("web_search(query='what is new') was refused" in result.stderr) is not allowed


@pytest.mark.parametrize(
    ("typed", "kind"), [("y\n", "approve"), ("Yes\n", "approve"), ("\n", "reject"), ("", "reject")]
)
def test_at_a_terminal_the_person_decides_and_sees_the_whole_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, kind: str
) -> None:
    terminal = io.StringIO(typed)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", terminal)
    monkeypatch.setattr("phireside.cli.ask.on_terminal", lambda stream: True)
    asked = {"tool": "web_search", "arguments": {"query": "new\x1b[2J"}, "text": ""}
    assert _asked(asked)["type"] == kind
    assert capsys.readouterr().err.splitlines() == ["web_search(query='new\\x1b[2J')", "Allow? [y/N]"]


# ---- as a program of its own ----


@pytest.mark.real
def test_the_starter_answers(starter_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path))
    result = ask("What is the capital of France? One word.", "-m", "starter", "-t", "0", "--max-tokens", "20")
    assert result.exit_code == 0, result.output
    assert "Paris" in result.stdout
    assert [each.name for each in tmp_path.rglob("*") if each.is_file()] == ["model-hashes.json"]


def started(model: Path, data: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [PHIRESIDE, "ask", "Say something.", "-m", str(model), "--max-tokens", "3000"],
        env={**os.environ, "PHIRESIDE_DATA_DIR": str(data)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.real
def test_ctrl_c_stops_the_answer_and_prints_what_there_is(tiny_chatml: Path, tmp_path: Path) -> None:
    process = started(tiny_chatml, tmp_path)
    assert process.stdout
    process.stdout.read(40)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)
    assert (process.returncode, errors, out[-1:]) == (130, b"", b"\n")


def test_ctrl_c_as_json(use: Use) -> None:
    def interrupted(_: Any) -> str:
        while signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it answers before anybody listens
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        return "word " * 1000

    use(answers(interrupted, pause=0.02))
    result = ask("What?", "--json")
    data = json.loads(result.stdout)
    assert (result.exit_code, data["finish_reason"]) == (130, "cancelled")
    assert len(data["answer"]) < 5000


@pytest.mark.real
def test_a_reader_that_goes_away_ends_it_without_a_word(tiny_chatml: Path, tmp_path: Path) -> None:
    process = started(tiny_chatml, tmp_path)
    assert process.stdout
    assert process.stderr
    process.stdout.read(20)
    process.stdout.close()
    assert process.wait(120) == 141
    assert process.stderr.read() == b""
    process.stderr.close()

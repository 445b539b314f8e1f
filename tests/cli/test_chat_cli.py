"""`phireside chat`: through a pipe, in a terminal, and when it is interrupted."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from answers import answers
from typer.testing import CliRunner, Result

from phireside.cli import app
from phireside.cli.answer import Page
from phireside.cli.output import plain
from phireside.memory import ConversationStore

LONG = 60  # seconds


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def run(*args: str, typed: str = "") -> Result:
    return CliRunner().invoke(app, ["chat", *args], input=typed)


def conversations(data: Path) -> list[list[tuple[str, str]]]:
    """All that are saved, newest first."""
    store = ConversationStore(f"sqlite:///{data / 'conversations.db'}")
    try:
        return [[(m.type, m.text) for m in store.messages(each.id)] for each in store.list()]
    finally:
        store.close()


# ---- through a pipe ----


@pytest.mark.real
def test_lines_of_a_pipe_are_asked_one_after_another_and_only_answers_come_out(data: Path, tiny_chatml: Path) -> None:
    result = run("-m", str(tiny_chatml), "-t", "0", "--max-tokens", "4", typed="One\n\nTwo\n")
    assert result.exit_code == 0, result.output
    [messages] = conversations(data)
    assert [kind for kind, _ in messages] == ["human", "ai", "human", "ai"]
    assert [text for kind, text in messages if kind == "human"] == ["One", "Two"]
    assert result.stdout == "".join(f"{text}\n" for kind, text in messages if kind == "ai")
    assert result.stderr == ""


@pytest.mark.real
def test_the_starter_answers_through_a_pipe(data: Path, starter_path: Path) -> None:
    result = run("-t", "0", "--max-tokens", "20", typed="What is the capital of France? One word.")
    assert result.exit_code == 0, result.output
    assert "Paris" in result.stdout


@pytest.mark.real
def test_continue_goes_on_with_the_latest_conversation(data: Path, tiny_chatml: Path) -> None:
    options = ("-m", str(tiny_chatml), "--max-tokens", "3")
    run(*options, typed="First")
    run(*options, typed="Second")
    result = run(*options, "--continue", typed="Third")
    assert "Second" not in result.stdout  # in a pipe only the new answer is wanted
    latest, oldest = conversations(data)
    assert [text for kind, text in latest if kind == "human"] == ["Second", "Third"]
    assert [text for kind, text in oldest if kind == "human"] == ["First"]


@pytest.mark.real
def test_a_question_that_fails_leaves_no_empty_conversation_behind(data: Path, tiny_chatml: Path) -> None:
    assert run("-m", str(tiny_chatml), "--max-tokens", "3", typed="word " * 5000).exit_code == 1
    assert conversations(data) == []


@pytest.mark.real
def test_continue_without_a_conversation_begins_one(data: Path, tiny_chatml: Path) -> None:
    result = run("-m", str(tiny_chatml), "--max-tokens", "3", "-c", typed="First")
    assert result.exit_code == 0
    assert "no conversation yet" in result.stderr
    assert len(conversations(data)) == 1


@pytest.mark.real
def test_a_system_prompt_is_kept_for_when_the_conversation_goes_on(
    data: Path, starter_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import phireside.chains

    seen: list[str] = []
    send = phireside.chains.Chat.send

    def watch(self: object, *args: object, **kwargs: object) -> object:
        seen.append(str(kwargs["system"]))
        return send(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(phireside.chains.Chat, "send", watch)
    run("--max-tokens", "3", "-s", "Answer like a pirate.", typed="Hi")
    run("--max-tokens", "3", "-c", typed="Hi again")
    run("--max-tokens", "3", typed="Hi")
    assert seen[:2] == ["Answer like a pirate."] * 2
    assert "pirate" not in seen[2]


@pytest.mark.real
def test_commands_of_a_conversation(data: Path, tiny_chatml: Path) -> None:
    typed = "One\n/retry\n/new\nTwo\n/help\n/nonsense\n/exit\nNever\n"
    result = run("-m", str(tiny_chatml), "--max-tokens", "3", typed=typed)
    assert result.exit_code == 0, result.output
    assert [[text for kind, text in each if kind == "human"] for each in conversations(data)] == [["Two"], ["One"]]
    assert "/retry asks again" in result.stderr
    assert "no command /nonsense" in result.stderr


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("-m", "startre"), "starter"),
        (("-m", "/no/such.gguf"), "Check the path"),
        (("-m", "openai:x"), "PHIRESIDE_OPENAI_BASE_URL"),
        (("-t", "-1"), "temperature"),
        (("-t", "nan"), "temperature"),
    ],
)
def test_what_cannot_be_used_ends_with_1_and_a_hint_before_anything_is_asked(
    data: Path, args: tuple[str, ...], words: str
) -> None:
    result = run(*args, typed="Hi")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: ")
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert not (data / "conversations.db").exists()


@pytest.mark.real
@pytest.mark.parametrize(
    ("args", "typed", "words"),
    [
        (("--max-tokens", "0"), "Hi", "max_tokens"),
        (("--max-tokens", "999999"), "Hi", "tokens"),
        ((), "word " * 20_000, "tokens"),
        ((), "/retry", "no question"),
    ],
)
def test_a_question_that_cannot_be_answered_ends_a_pipe_with_1_and_the_reason(
    data: Path, tiny_chatml: Path, args: tuple[str, ...], typed: str, words: str
) -> None:
    result = run("-m", str(tiny_chatml), *args, typed=typed)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_a_data_folder_that_cannot_be_used_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PHIRESIDE_DATA_DIR", str(tmp_path / "file"))
    result = run(typed="Hi")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "text", ["a\tb", "été\u00a0!", "日本\u3000語", "👩\u200d👩\u200d👧", "\u0645\u06cc\u200c\u062e\u0648", "a\nb"]
)
def test_text_of_every_script_is_shown_as_it_is(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize("char", ["\x1b", "\r", "\x07", "\x08", "\x9b", "\u202e", "\u2066", "\x00", "\ud800", "\u2028"])
def test_what_could_steer_the_terminal_is_not(char: str) -> None:
    assert plain(f"a{char}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_a_second_ctrl_c_keeps_what_was_written(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(page: Page, whole: str) -> None:
        raise KeyboardInterrupt

    model = answers("word " * 500, pause=0.02)
    monkeypatch.setattr("phireside.models.load_chat_model", lambda *_, **__: model)
    monkeypatch.setattr(Page, "show", interrupted)
    assert run("-m", "openai:fake", typed="Say something.\n").exit_code == 130
    [[asked, (kind, answer)]] = conversations(data)
    assert (asked, kind) == (("human", "Say something."), "ai")
    assert answer.startswith("word")


# ---- as a program of its own ----

PHIRESIDE = str(Path(sys.executable).with_name("phireside"))


@pytest.mark.real
def test_bytes_that_are_no_utf_8_end_nothing(data: Path, tiny_chatml: Path) -> None:
    result = subprocess.run(
        [PHIRESIDE, "chat", "-m", str(tiny_chatml), "--max-tokens", "3"],
        input=b"caf\xe9 \xff\xfe\n",
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        timeout=LONG,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    [messages] = conversations(data)
    assert messages[0] == ("human", "caf\ufffd \ufffd\ufffd")


class Terminal:
    """`phireside chat` in a pseudo-terminal."""

    def __init__(self, *args: str) -> None:
        self.pid, self._fd = pty.fork()
        if not self.pid:
            environment = {**os.environ, "TERM": "dumb", "COLUMNS": "60"}
            os.execve(PHIRESIDE, [PHIRESIDE, "chat", *args], environment)  # noqa: S606 (the program under test)
        self.seen = ""

    def wait_for(self, pattern: str) -> str:
        """Read until it appears; what came before and with it is then taken."""
        limit = time.monotonic() + LONG
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < limit, f"no {pattern!r} in {self.seen!r}"
            if select.select([self._fd], [], [], 0.2)[0]:
                self.seen += os.read(self._fd, 65536).decode("utf-8", "replace")
        text, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return text

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def ended(self) -> int:
        """The exit code."""
        limit = time.monotonic() + LONG
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < limit, "it does not end"
            if select.select([self._fd], [], [], 0.05)[0]:
                try:
                    self.seen += os.read(self._fd, 65536).decode("utf-8", "replace")
                except OSError:  # the other end is closed
                    time.sleep(0.05)

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)


@pytest.fixture
def terminal(data: Path, tiny_chatml: Path) -> Iterator[Terminal]:
    opened = Terminal("-m", str(tiny_chatml), "--max-tokens", "3500", "-t", "0")
    yield opened
    opened.close()


@pytest.mark.real
def test_in_a_terminal_ctrl_c_stops_the_answer_and_ctrl_d_ends(terminal: Terminal, data: Path) -> None:
    assert "/exit" in terminal.wait_for("> ")
    terminal.type("Say something.\n")
    terminal.wait_for(r"something\.\r?\n")
    terminal.wait_for(r"\w+ \w+ ")  # the answer has begun
    terminal.type("\x03")
    figures = terminal.wait_for(r"\[stopped[^]]*\]")
    assert "evaluated" in figures
    terminal.wait_for("> ")
    terminal.type("half a line")
    terminal.wait_for("half a line")
    time.sleep(0.2)  # readline must be waiting again: a Ctrl-C just before it does is seen only at the next key
    terminal.type("\x03")  # at the prompt it only begins a new line
    terminal.wait_for("> ")
    terminal.type("\x04")
    assert terminal.ended() == 0
    assert "Traceback" not in terminal.seen
    [messages] = conversations(data)
    assert [kind for kind, _ in messages] == ["human", "ai"]
    assert 5 < len(messages[1][1]) < 3500


@pytest.mark.real
def test_ctrl_c_twice_in_a_row_may_end_the_program_but_loses_nothing(terminal: Terminal, data: Path) -> None:
    terminal.wait_for("> ")
    terminal.type("Say something.\n")
    terminal.wait_for(r"something\.\r?\n")
    terminal.wait_for(r"\w+ \w+ ")
    terminal.type("\x03\x03/exit\n")
    assert terminal.ended() in {0, 130}
    assert "Traceback" not in terminal.seen
    [messages] = conversations(data)
    assert len(messages) == 2

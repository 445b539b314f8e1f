"""`phireside chat`: a conversation in the terminal, streamed and kept. Knows no more of models than `Chat` does."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from phireside.cli.answer import Notes, Page, ctrl_c_stops, terminal_width
from phireside.cli.options import Model
from phireside.cli.output import examples, plain, reporting_errors, tell
from phireside.errors import PhiresideError, RequestError
from phireside.settings import Settings

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage

    from phireside.chains import Chat, Turn

EXAMPLES = examples(
    "phireside chat",
    "phireside chat --model phi-3 --continue",
    'echo "Why is the sky blue?" | phireside chat --temperature 0',
)
HELP = "Ctrl-C stops an answer, /retry asks again, /new starts afresh, /exit or Ctrl-D ends."


@reporting_errors()
def chat(
    model: Model = "",
    system: Annotated[
        str,
        typer.Option("--system", "-s", help="The system prompt; default: the conversation's own, else the settings'."),
    ] = "",
    resume: Annotated[bool, typer.Option("--continue", "-c", help="Go on with the latest conversation.")] = False,
    temperature: Annotated[float, typer.Option("--temperature", "-t", help="0 = always the likeliest word.")] = 0.7,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 512,
) -> None:
    """Chat in the terminal; conversations are kept and appear in the browser too.

    Lines that come through a pipe are asked one after another: echo "Why is the sky blue?" | phireside chat
    """
    from phireside.models import load_chat_model  # LangChain and llama.cpp: not for --help
    from phireside.models.sampling import CHAT_REPEAT_PENALTY

    settings = Settings()
    sampling = {"temperature": temperature, "max_tokens": max_tokens, "repeat_penalty": CHAT_REPEAT_PENALTY}
    llm = load_chat_model(model or settings.model, settings, **sampling)
    greeting = _greeting(model or settings.model, settings)
    if sys.stdin.isatty():
        tell(f"{greeting}\n{HELP}\n")
    with _chat(settings) as conversations:
        session = _Session(conversations, llm, model or settings.model, system, settings.system_prompt)
        if resume:
            session.resume()
        for line in _lines():
            if not session.take(line.strip()):
                break


class _Session:
    """One run of the command: the open conversation and what to do with a line."""

    def __init__(self, chat: "Chat", llm: "BaseChatModel", model: str, system: str, default_system: str) -> None:
        self._chat, self._llm, self._model = chat, llm, model
        self._system, self._default_system = system, default_system
        self._id = ""
        self._unanswered: tuple[str, int | None] | None = None  # text, and the position of what it replaces

    def resume(self) -> None:
        """Open the latest conversation and show it."""
        latest = self._chat.store.list(limit=1)
        if not latest:
            tell("There is no conversation yet; this is the first.")
            return
        self._id = latest[0].id  # an empty one is never left behind
        self._system = self._system or str(latest[0].options.get("system", ""))
        for message in self._chat.store.messages(self._id) if sys.stdin.isatty() else ():
            print(f"{'> ' if message.type == 'human' else ''}{plain(message.text)}\n")

    def take(self, line: str) -> bool:
        """Answer a line or carry out a command; False ends the session."""
        if line in {"/exit", "/quit"}:
            return False
        with _shown_errors():
            if line == "/help":
                tell(HELP)
            elif line == "/new":
                self._id, self._unanswered = "", None
            elif line == "/retry":
                self._retry()
            elif line.startswith("/"):
                tell(f"There is no command {line}. {HELP}")
            elif line:
                self._ask(line)
        return True

    def _ask(self, text: str, at: int | None = None) -> None:
        if not self._id:
            self._id = self._chat.store.create(model=self._model, system=self._system).id
        system = self._system or self._default_system
        self._unanswered = text, at
        turn = self._chat.send(self._id, text, model=self._llm, system=system, at=at)
        try:
            _show(turn)
        finally:
            turn.stop()  # a second Ctrl-C: what is written is saved first
            while not turn.wait(1):
                pass
            if turn.answer:
                self._unanswered = None
            elif not self._chat.store.messages(self._id):
                self._chat.store.delete(self._id)
                self._id = ""

    def _retry(self) -> None:
        if self._unanswered:  # it is not in the store
            self._ask(*self._unanswered)
            return
        messages = self._chat.store.messages(self._id) if self._id else []
        asked = [i for i, message in enumerate(messages) if message.type == "human"]
        if not asked:
            raise RequestError("There is no question to ask again.", hint="Type one.")
        self._ask(messages[asked[-1]].text, at=asked[-1])


def _show(turn: "Turn") -> None:
    """Print an answer while it is written; Ctrl-C stops it."""
    page = Page(terminal_width())
    with ctrl_c_stops(turn), Notes() as notes:
        ended = False
        while not ended:
            ended = turn.wait(0.5)
            if turn.text:
                notes.pause()
                page.show(turn.text)
    page.end()
    if turn.error:
        raise turn.error
    if sys.stdin.isatty():
        tell(_figures(turn.answer, turn.left_out) + "\n")


def _figures(answer: "AIMessage | None", left_out: int) -> str:
    """A line about an answer: speed, what the cache saved, what did not fit."""
    facts = answer.response_metadata if answer else {}
    parts = []
    if answer is None or facts.get("finish_reason") == "cancelled":
        parts.append("stopped")
    if facts.get("tokens_per_second"):
        parts.append(f"{facts['tokens_per_second']:.0f} tokens/s")
    if "evaluated_tokens" in facts:
        parts.append(f"{facts['evaluated_tokens']} evaluated, {facts['cached_tokens']} cached")
    if facts.get("finish_reason") == "length":
        parts.append("cut off at max_tokens")
    if left_out:
        parts.append(f"{left_out} older messages left out")
    return f"[{' · '.join(parts)}]"


def _lines() -> Iterator[str]:
    """What the person types, or what comes through the pipe."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    with suppress(ImportError):
        import readline  # noqa: F401  (gives input() arrow keys and a history; not on Windows)
    while True:
        try:
            yield input("> ")
        except KeyboardInterrupt:
            print()
        except EOFError:
            print()
            return


def _greeting(model: str, settings: Settings) -> str:
    """Who answers; a model that does not exist is told here, before anybody has typed a question."""
    from phireside.models import Catalog
    from phireside.models.load import is_remote

    if is_remote(model):
        return f"Talking to {model}."
    catalog = Catalog(settings)
    entry = catalog.resolve(model)
    return f"Talking to {entry.name}. {catalog.advice() if model == 'auto' else ''}".strip()


@contextmanager
def _chat(settings: Settings) -> Iterator["Chat"]:
    from phireside.chains import Chat
    from phireside.memory import ConversationStore, memory_named

    memory = memory_named(settings.memory)
    store = ConversationStore(settings.conversations_url)
    conversations = Chat(store, memory, state_dir=settings.state_dir)
    try:
        yield conversations
    finally:
        conversations.close()
        store.close()


@contextmanager
def _shown_errors() -> Iterator[None]:
    """In a conversation an error ends the turn, not the program; through a pipe it ends both."""
    try:
        yield
    except PhiresideError as error:
        if not sys.stdin.isatty():
            raise
        tell(f"{error.message}\n{error.hint}\n")

"""`phireside ask`: one question, one answer, nothing kept. By the model alone, from a base of documents, or with tools.

The answer goes to stdout; what happens before it goes to stderr, and only to a terminal. Knows `Chat` and its turns.
"""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from phireside.cli.answer import Notes, Page, call_text, ctrl_c_interrupts, ctrl_c_stops, terminal_width
from phireside.cli.complete import base_names, tool_names
from phireside.cli.models import check_model
from phireside.cli.options import Model
from phireside.cli.output import STOPPED, Json, examples, on_terminal, plain, print_json, reporting_errors, tell
from phireside.cli.search import check_base
from phireside.errors import ContextOverflowError, DocumentError, DocumentTooLargeError, RequestError, SettingsError
from phireside.retrieval.names import shown_source
from phireside.settings import Settings
from phireside.text import clean_text

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

    from phireside.chains import Answerer, Turn

EXAMPLES = examples(
    'phireside ask "Why is the sky blue?"',
    'git diff | phireside ask "What was changed?"',
    'phireside ask "What was agreed?" --file minutes.pdf --file letter.docx',
    'phireside ask "How long is the notice?" --base documents',
    'phireside ask "What is 17 percent of 2249?" --tools calculator --json',
)
STDIN = Path("-")
MOST_BYTES = 50_000_000  # of a text that is put before the question


@reporting_errors()
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know. Default: what comes through the pipe.")] = "",
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="Put this document before the question; - is the pipe.")
    ] = None,
    base: Annotated[
        str, typer.Option("--base", "-b", help="Answer from this base of documents.", autocompletion=base_names)
    ] = "",
    tools: Annotated[str, typer.Option(help="Tools it may use, with commas between.", autocompletion=tool_names)] = "",
    model: Model = "",
    system: Annotated[str, typer.Option("--system", "-s", help="The system prompt; default: the settings'.")] = "",
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "-t", help="0 = the likeliest word. Default: 0.7; 0 with --base or --tools."),
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of the answer.")] = 512,
    allow_effects: Annotated[
        bool, typer.Option("--allow-effects", help="Do not ask before a tool sends or writes something.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Answer one question. Nothing of it is kept.

    What comes through a pipe is put before the question, or is the question if there is no other. Answers from a base
    cite their passages, and say so if there is no answer in it.
    """
    names = tuple(name.strip() for name in tools.split(",") if name.strip())
    prompt = _prompt(question, file or [], base)
    begun = time.monotonic()
    with _turn(prompt, model, base, names, system, temperature, max_tokens) as turn:
        streamed = not (as_json or base or names)  # with these a text may still be withdrawn (`Turn.rewrite`)
        stopped = _follow(turn, Page(terminal_width()) if streamed else None, allow_effects)
        if isinstance(turn.error, ContextOverflowError) and prompt != question:
            raise ContextOverflowError(turn.error.message, hint=_TOO_LONG)
        if turn.error:
            raise turn.error
        if as_json and turn.answer:
            print_json(_as_data(turn.answer, model, time.monotonic() - begun))
        elif turn.answer:
            _print_rest(turn.answer, streamed)
    if stopped:
        raise typer.Exit(STOPPED)


_TOO_LONG = "Ask about a part of it; or `phireside index` it, and ask with --base: then only what matters is read."


# ---- what is asked ----


def _prompt(question: str, files: Sequence[Path], base: str) -> str:
    """The documents and the question, as one text.

    Raises:
        RequestError: there is no question, or documents of which a base would not be searched.
        DocumentError: a document cannot be read.
    """
    question = clean_text(question).strip()
    if base and files:
        raise RequestError(
            "With --base the answer comes from the base alone.",
            hint=f"Add the file: phireside index FILE --base {base}",
        )
    piped = "" if base and question else _piped() if STDIN not in files else ""
    texts = [_text(each) for each in files]
    if not question:
        question, piped = piped, ""
    if not question.strip():
        raise RequestError("There is no question.", hint='Write it: phireside ask "Why is the sky blue?"')
    return "\n\n".join([*filter(None, texts), *filter(None, [piped]), question])


def _piped() -> str:
    """What comes through the pipe; empty if stdin is a terminal or there is none."""
    return "" if sys.stdin is None or sys.stdin.isatty() else _decoded(sys.stdin.buffer, "stdin")


def _text(path: Path) -> str:
    """A document with its name before it.

    Raises:
        DocumentError: it cannot be read, or has no text.
    """
    from phireside.retrieval import KINDS, load_file
    from phireside.retrieval.loading import label

    if path == STDIN:
        return _piped()
    name = label(str(path))
    if path.suffix.lower() in KINDS:
        text = load_file(path).text
    else:  # a program, a log: whatever is text
        try:
            with path.open("rb") as opened:
                text = _decoded(opened, name)
        except (OSError, ValueError) as error:  # a NUL in the name
            why = getattr(error, "strerror", None) or error
            raise DocumentError(f"{name} cannot be read: {why}.", hint="Check the path, and your rights.") from error
    if not text:
        raise DocumentError(f"{name} is empty.", hint="Leave it out.")
    return f"{name}:\n\n{text}"


def _decoded(file: BinaryIO, name: str) -> str:
    """A file's bytes as text.

    Raises:
        DocumentError: they are none.
        DocumentTooLargeError: they are too many.
    """
    from phireside.retrieval.loading.text import guessed, marked, tidy

    data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise DocumentTooLargeError(f"{name} has more than {MOST_BYTES:,} bytes.", hint=_TOO_LONG)
    if b"\0" in data and marked(data) is None:
        raise DocumentError(f"{name} is no text: it has NUL bytes.", hint="Pictures and programs cannot be read.")
    return tidy(guessed(data))


# ---- the answer ----


@contextmanager
def _turn(
    prompt: str,
    model: str,
    base: str,
    tools: tuple[str, ...],
    system: str,
    temperature: float | None,
    max_tokens: int,
) -> "Iterator[Turn]":
    """The question asked in a conversation that is gone afterwards; its KV state is not kept either."""
    from phireside.chains import Chat
    from phireside.memory import ConversationStore
    from phireside.models import load_chat_model
    from phireside.models.sampling import CHAT_SAMPLING, SOURCES_SAMPLING

    settings = Settings()
    _check_uses(base, tools, settings)
    unkept = settings.model_copy(update={"engine": settings.engine.model_copy(update={"kv_disk_bytes": 0})})
    name = model or settings.model
    sampling = SOURCES_SAMPLING if base or tools else CHAT_SAMPLING
    chosen = {} if temperature is None else {"temperature": temperature}
    llm = load_chat_model(name, unkept, max_tokens=max_tokens, **{**sampling, **chosen})
    check_model(name, settings)
    store = ConversationStore("sqlite://")
    chat = Chat(store)
    try:
        conversation = store.create()
        yield chat.send(
            conversation.id,
            prompt,
            model=llm,
            system=system or settings.system_prompt,
            answerer=_answerer(llm, unkept, base, tools),
        )
    finally:
        chat.close()
        store.close()


def _check_uses(base: str, tools: tuple[str, ...], settings: Settings) -> None:
    """Raises KnowledgeError or SettingsError if the base or a tool is not there, or cannot be used as things are."""
    if base:
        check_base(base, settings)
    if tools:
        from phireside.tools.named import factory, unusable

        for name in tools:
            factory(name)
            if why := unusable(name, settings, base=base or None):
                raise SettingsError(f"The tool {name} cannot be used.", hint=why)


def _answerer(llm: Any, settings: Settings, base: str, tools: tuple[str, ...]) -> "Answerer | None":
    if not base and not tools:
        return None
    from phireside.agents.assistant import Uses, answerer  # LangChain's agents, a third of a second
    from phireside.cli.embedding import embedding_model

    embeddings = embedding_model(settings.embeddings) if base else None
    return answerer(llm, settings, Uses(base, tools), embeddings=embeddings)


def _follow(turn: "Turn", page: Page | None, allow_effects: bool) -> bool:
    """Show the answer while it comes, and ask what is to be asked; True if the person stopped it."""
    with ctrl_c_stops(turn), Notes() as notes:
        ended = False
        while not ended:
            ended = turn.wait(0.5)
            notes.show(turn)
            if approval := turn.approval:
                notes.pause()
                _decide(turn, approval, allow_effects)
                notes.go_on()
            elif page and turn.text:
                notes.pause()
                page.show(turn.text)
        if page and turn.text:
            page.end()
    return turn.state == "stopped"


def _decide(turn: "Turn", approval: list[dict[str, Any]], allow_effects: bool) -> None:
    """Let the person say what may run; Ctrl-C stops the answer."""
    try:
        decisions = [_APPROVED if allow_effects else _asked(each) for each in approval]
    except KeyboardInterrupt:
        turn.stop()
    else:
        turn.decide(decisions, of=approval)


_APPROVED = {"type": "approve"}


def _asked(request: dict[str, Any]) -> dict[str, str]:
    """What the person says to a tool's call; where nobody can be asked, no.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    call = call_text(request)
    if not (sys.stdin and sys.stdin.isatty() and on_terminal(sys.stderr)):
        tell(f"{call} was refused: nobody can be asked here. --allow-effects allows it.")
        return {"type": "reject", "message": "The person cannot be asked."}
    tell(f"{call}\nAllow? [y/N]")
    with ctrl_c_interrupts():
        yes = sys.stdin.readline().strip().lower() in {"y", "yes"}
    return _APPROVED if yes else {"type": "reject", "message": "The person refused."}


# ---- what is printed in the end ----


def _print_rest(answer: "AIMessage", streamed: bool) -> None:
    """What was not streamed, and where the cited passages stand."""
    extras = answer.additional_kwargs.get("phireside", {})
    if not streamed:
        print(plain(answer.text))
    numbered = [(f"[{each['number']}]", each) for each in extras.get("passages", [])]
    sources = [f"{number} {_place(each)}" for number, each in numbered if number in answer.text]
    if sources:
        print(plain("\n".join(["", *sources])))
    if answer.response_metadata.get("finish_reason") == "length":
        tell("The answer was cut off: --max-tokens allows a longer one.")


def _place(passage: dict[str, Any]) -> str:
    return ", ".join(filter(None, [shown_source(passage), passage["place"]]))


def _as_data(answer: "AIMessage", model: str, seconds: float) -> dict[str, Any]:
    facts = answer.response_metadata
    return {
        "answer": answer.text,
        "model": facts.get("model_name") or model,
        "finish_reason": facts.get("finish_reason", "stop"),
        "usage": answer.usage_metadata,
        "seconds": round(seconds, 3),
        **answer.additional_kwargs.get("phireside", {}),
    }

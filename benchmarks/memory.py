"""What memories send, what that costs and what it loses: ours, langchain-classic's and LangChain's middleware.

- book: the three conversations of the book's chapter 7. Is what is asked for in the prompt, as it was in the book?
- locomo: the first `--turns` turns of a LoCoMo conversation, with the recorded answers. After each turn: how much of
  what answers LoCoMo's questions so far is in the prompt; tokens sent and evaluated; seconds before the first token and
  after the answer. Goal: `SummaryBufferMemory` evaluates at most a tenth of `ConversationSummaryMemory`'s tokens per
  turn and keeps at least as much evidence.
- thousand: `--long` turns through `Chat` and SQLite, with a model that takes no time (or with `--real`). Goal: time per
  turn and the database grow at most linearly, and the process does not.

Everyone asks the same weights through `ChatGGUF`, so that the peers, too, count exactly and have the engine's cache of
prompts. Context, room for a prompt and length of a summary are the same for all. Every memory starts with an engine
that was loaded anew. With `--results` a broken run goes on where it stopped.

    python benchmarks/memory.py --data ../shared/data
    python benchmarks/memory.py --data ../shared/data --turns all --results /tmp/memory.jsonl --plot docs/memory.svg
    python benchmarks/memory.py --parts thousand
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Machine, parse

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from memory_parts.locomo import Talk
    from memory_parts.strategies import Meter

PARTS = ("thousand", "book", "locomo")  # the first is done before a model has filled the process
GOAL = 0.1
EVERYTHING = "(everything, without a limit)"
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables and goals; 1 if a goal was missed."""
    options = parse(arguments_of(), arguments)
    machine = Machine.now()
    print(machine, f"model:   {options.path.name}, context {options.n_ctx}", sep="\n", flush=True)
    kept = Results(options.results)
    missed = [name for part in options.parts for name in MEASURE[part](options, kept)]
    if options.plot and "locomo" in options.parts:
        from memory_parts.figure import svg

        options.plot.write_text(svg([kept.get(_locomo_key(options, name)) for name in options.strategies]))
    print(f"\nmissed: {', '.join(missed)}" if missed else "\nno goal was missed")
    return int(bool(missed))


def arguments_of() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="folder with locomo-1.json; without it that part is left out")
    options.add_argument("--model", default="starter", help="catalogue name or path to a .gguf (default: starter)")
    options.add_argument("--threads", type=int, default=0, help="0 = all physical cores")
    options.add_argument("--n-ctx", type=int, default=2048, help="context in tokens (default: 2048, as in the book)")
    options.add_argument("--summary-tokens", type=int, default=256, help="most in a summary, for all (default: 256)")
    options.add_argument("--window", type=int, default=5, help="turns of the windows in LoCoMo (default: 5)")
    options.add_argument("--turns", type=_turns, default=40, help="turns of LoCoMo, or all (default: 40)")
    options.add_argument("--strategies", nargs="+", help="which, for LoCoMo, by name (default: all)")
    options.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which (default: all)")
    options.add_argument("--long", type=int, default=1000, help="turns of the long conversation (default: 1000)")
    options.add_argument("--block", type=int, default=100, help="turns of a line of its table (default: 100)")
    options.add_argument("--real", action="store_true", help="the long conversation with the model")
    options.add_argument("--results", type=Path, help="JSON lines, appended to; what is there is not measured again")
    options.add_argument("--plot", type=Path, help="write evidence against tokens evaluated to this SVG file")
    return options


def _turns(text: str) -> int:
    """A number of turns; 0 = all."""
    number = 0 if text == "all" else int(text)
    if number < 2 and text != "all":
        raise ValueError(text)
    return number


class Results:
    """What was measured, by what it depends on; kept in a file of JSON lines if there is one.

    Args:
        path: of the file; None = only as long as the program runs.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text().splitlines() if path and path.exists() else []
        self._entries = [(entry["key"], entry["value"]) for entry in map(json.loads, lines)]

    def get(self, key: Row) -> Any:
        """The value of a key; None if it was not measured."""
        return next((value for known, value in self._entries if known == key), None)

    def of(self, key: Row, measure: Callable[[], Any]) -> Any:
        """The value of a key; if it is not there, measured now and kept."""
        if (value := self.get(key)) is None:
            value = measure()
            self._entries.append((key, value))
            if self._path:
                with self._path.open("a") as file:
                    file.write(json.dumps({"key": key, "value": value}) + "\n")
        return value


# ---- the parts: each prints its tables, and returns the goals that were missed ---------------------------------------


def thousand(options: argparse.Namespace, kept: Results) -> list[str]:
    """The long conversation."""
    from memory_parts import thousand as part

    if options.long < 2 * options.block:
        sys.exit(f"--long {options.long} must be at least twice --block {options.block}.")
    model = opened(options)[0] if options.real else part.Parrot()
    key = _key(options, "thousand") | {"turns": options.long, "block": options.block, "real": options.real}
    print(f"\n{options.long} turns through Chat and SQLite, SummaryBufferMemory, {type(model).__name__}", flush=True)

    def measure() -> Row:
        with tempfile.TemporaryDirectory() as folder:
            return part.as_data(part.run(Path(folder), model, budget_of(options), options.long, options.block))

    found = kept.of(key, measure)
    print_long(found)
    return goals_of_long(found["growth"], part.LINEAR, part.LEVEL_MB)


def book(options: argparse.Namespace, kept: Results) -> list[str]:
    """The book's conversations."""
    from memory_parts import book as part
    from memory_parts.strategies import STRATEGIES, Setting

    def open_strategy(name: str, small: int | None) -> Any:
        budget = small or budget_of(options)
        summary = min(options.summary_tokens, budget // 4)  # of which ours never makes more
        model = opened(options)[0].model_copy(update={"max_tokens": summary})
        return STRATEGIES[name](Setting(model, budget, summary, window=2, readable=budget_of(options))), model

    small = {each.kind: each.budget for each in part.CONVERSATIONS if each.budget}
    rows = kept.of(_key(options, "book") | {"small": small}, lambda: part.play_all(open_strategy))
    print("\nThe book's conversations (chapter 7): is what is asked for in the prompt?")
    print(f"{'conversation':14}{'memory':34}{'asked':17}{'book':6}{'here':6}{'whole':7}{'said':6}the model's answer")
    for row in rows:
        told = " ".join(row["answer"].split())
        marks = "".join(f"{'yes' if row[name] else 'no':{width}}" for name, width in MARKS)
        print(f"{row['kind']:14}{row['strategy']:34}{row['asked']:17}{marks}{told:.60}")
    expected = sum(len(each.asked) * len(each.strategies) for each in part.CONVERSATIONS)
    other = [f"{row['strategy']} ({row['asked']})" for row in rows if row["book"] != row["reachable"]]
    print(f"reachable as in the book: {sum(r['book'] == r['reachable'] for r in rows)} of {expected}")
    print("whole: all that had been asked before was in the prompt as it was, and not in a summary")
    summarised = {row["strategy"] for row in rows if not row["whole"]}
    if never := sorted({row["strategy"] for row in rows if row["kind"] in small} - summarised):
        print(f"NOT SHOWN: three turns were not too long for {small}: nothing was summarised by {', '.join(never)}")
    lost = ["some conversations broke off"] if len(rows) < expected else []
    return [f"the book's outcome of {name}" for name in other] + lost


MARKS = (("book", 6), ("reachable", 6), ("whole", 7), ("said", 6))


def locomo(options: argparse.Namespace, kept: Results) -> list[str]:
    """The LoCoMo conversation."""
    if not options.data:
        print("\nLoCoMo: left out, since there is no --data")
        return []
    from memory_parts import locomo as part
    from memory_parts.strategies import STRATEGIES

    options.strategies = options.strategies or list(STRATEGIES)
    if unknown := set(options.strategies) - set(STRATEGIES):
        sys.exit(f"There is no strategy {', '.join(unknown)}: there are {', '.join(STRATEGIES)}.")
    if not (path := options.data / "locomo-1.json").exists():
        sys.exit(f"There is no {path}: --data is the folder that has it.")
    talk = part.load(path, options.turns or None)
    print(f"\nLoCoMo: {len(talk.turns)} turns, {len(talk.questions)} questions, prompts of {budget_of(options)} tokens")
    rows = []
    for name in options.strategies:
        row = kept.of(_locomo_key(options, name), lambda name=name: _replay(options, name, talk))  # type: ignore[misc]
        rows.append(row)
        print(f"  {row['name']}: {row['total_s']:.0f} s", flush=True)
    new = new_per_turn(options, talk, kept)
    print_locomo(rows, part.reachable(talk, part.everything(talk)))
    for row in rows:
        if row["failed"]:
            print(f"{row['name']}: {row['failed']} turns failed, the first with: {row['error']}")
    return goals_of_locomo({row["name"]: row for row in rows}, new)


def _replay(options: argparse.Namespace, name: str, talk: "Talk") -> Row:
    from memory_parts import locomo as part
    from memory_parts.strategies import STRATEGIES, Setting

    model, meter = opened(options)
    setting = Setting(model, budget_of(options), options.summary_tokens, options.window, budget_of(options))
    start = time.perf_counter()
    points = part.replay(STRATEGIES[name](setting), talk, setting, meter)
    error = next((point.error for point in points if point.error), "")
    return {"name": name, "total_s": time.perf_counter() - start, "error": error} | part.figures(talk, points)


MEASURE: Mapping[str, Callable[[argparse.Namespace, Results], list[str]]] = {
    "thousand": thousand,
    "book": book,
    "locomo": locomo,
}


def opened(options: argparse.Namespace) -> "tuple[BaseChatModel, Meter]":
    """The model, loaded anew and with nothing in its cache, and what counts its work from now on."""
    from memory_parts.strategies import Meter

    from phireside.models import ChatGGUF
    from phireside.models.runtime import close_all
    from phireside.settings import EngineSettings, Settings

    close_all()
    engine = EngineSettings(
        n_ctx=options.n_ctx, n_threads=options.threads, n_threads_batch=options.threads, kv_disk_bytes=0
    )
    model = ChatGGUF(
        model=str(options.path),
        settings=Settings(engine=engine),
        temperature=0.0,
        max_tokens=options.summary_tokens,
        callbacks=[meter := Meter()],
    )
    model.score("Hello.", ["Hi."])  # loads it, and is not counted
    return model, meter


def budget_of(options: argparse.Namespace) -> int:
    """Tokens that a prompt may have: an answer gets as many as a summary."""
    return int(options.n_ctx - options.summary_tokens)


def new_per_turn(options: argparse.Namespace, talk: "Talk", kept: Results) -> float:
    """Tokens that a turn adds to the conversation: nobody can evaluate fewer."""
    from langchain_core.messages import AIMessage, HumanMessage

    def count() -> float:
        messages = [m for turn in talk.turns for m in (HumanMessage(turn.human), AIMessage(turn.ai))]
        return opened(options)[0].get_num_tokens_from_messages(messages) / len(talk.turns)

    return float(kept.of(_key(options, "new") | {"turns": len(talk.turns)}, count))


def _key(options: argparse.Namespace, part: str) -> Row:
    names = ("n_ctx", "summary_tokens", "threads")
    return {"part": part, "model": options.path.name} | {name: getattr(options, name) for name in names}


def _locomo_key(options: argparse.Namespace, name: str) -> Row:
    return _key(options, "locomo") | {"strategy": name, "turns": options.turns, "window": options.window}


# ---- tables and goals ------------------------------------------------------------------------------------------------


COSTS = (
    *(("sent", 8, 0), ("evaluated", 11, 0), ("before", 8, 0), ("after", 8, 0), ("written", 9, 0)),
    *(("seconds_before", 10, 2), ("seconds_after", 9, 2), ("failed", 8, 0)),
)


def print_locomo(rows: Sequence[Row], most: Mapping[str, float]) -> None:
    """A line for each memory: shares in percent, tokens and seconds per turn."""
    print("\nin the prompt: messages that answer LoCoMo's questions (evidence), and questions whose answer's words are")
    print("all there (words); on average over the turns since, and at the end. Tokens and seconds are means per turn.")
    names = "".join(f"{name.replace('seconds', 's').replace('_', ' '):>{width}}" for name, width, _ in COSTS)
    print(f"{'':34}{'evidence':>16}{'words':>16}{names}")
    for row in [*rows, {"name": EVERYTHING, **most}]:
        shares = "".join(f"{100 * row[k]:7.0f} % {100 * row[f'{k}_end']:4.0f} %" for k in ("evidence", "words"))
        costs = "".join(f"{row[name]:{width}.{digits}f}" for name, width, digits in COSTS if name in row)
        print(f"{row['name']:34}{shares}{costs}")


def goals_of_locomo(rows: Mapping[str, Row], new: float) -> list[str]:
    """Print whether summary + buffer costs a tenth of a summary and keeps as much; the goals that were missed.

    Args:
        rows: the figures of each memory, by its name.
        new: tokens that a turn adds to the conversation.
    """
    print(f"a turn adds {new:.0f} tokens to the conversation, which must be evaluated once at least")
    ours, peer = rows.get("SummaryBufferMemory"), rows.get("ConversationSummaryMemory")
    if not ours or not peer:
        return []
    ratio, before = (ours[key] / max(1.0, peer["evaluated"]) for key in ("evaluated", "before"))
    verdicts = {
        f"tokens evaluated, of ConversationSummaryMemory's: {ratio:.2f}, at most {GOAL}": ratio <= GOAL,
        f"evidence kept: {ours['evidence']:.2f}, at least {peer['evidence']:.2f}": ours["evidence"] >= peer["evidence"],
    }
    most = GOAL * peer["evaluated"]
    print(f"a tenth of ConversationSummaryMemory's is {most:.0f} tokens" + ", which nobody can reach" * (new > most))
    print(f"\nSummaryBufferMemory (before the first token alone: {before:.2f} of the peer's tokens)")
    return _verdicts(verdicts)


def print_long(found: Row) -> None:
    """A line for each block of turns, then how each column grows."""
    print(f"{'turns':>6}{'answer':>10}{'after':>9}{'read':>9}{'select':>9}{'due':>9}{'database':>11}{'process':>10}")
    for block in found["blocks"]:
        times = "".join(f"{1000 * block[name]:9.1f}" for name in ("after", "read", "select", "due"))
        sizes = f"{block['database'] / 1e6:8.2f} MB{block['rss']:7.1f} MB"
        print(f"{block['turns']:6}{1000 * block['answer']:10.1f}{times}{sizes}")
    print("ms per turn (medians of a block); read, select and due are parts of them, timed at its end")
    grows = {name: value for name, value in found["growth"].items() if not name.startswith("rss")}
    print("grows with turns to the power of: " + ", ".join(f"{name} {value:.2f}" for name, value in grows.items()))


def goals_of_long(growth: Mapping[str, float], linear: float, level: float) -> list[str]:
    """Print whether a long conversation costs at most linearly; the names of missed goals."""
    slope, grown = growth["rss_per_1000"], growth["rss_grown"]
    return _verdicts(
        {
            f"time per turn grows with turns^{growth['turn']:.2f}, at most linearly": growth["turn"] <= linear,
            f"the database grows with turns^{growth['database']:.2f}, at most linearly": growth["database"] <= linear,
            f"the process is level: {slope:+.1f} MB per 1,000 turns, {grown:+.1f} MB late on": grown <= level,
        }
    )


def _verdicts(goals: Mapping[str, bool]) -> list[str]:
    for goal, met in goals.items():
        print(f"  {'met   ' if met else 'MISSED'}  {goal}")
    return [goal for goal, met in goals.items() if not met]


if __name__ == "__main__":
    sys.exit(main())

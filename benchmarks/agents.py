"""Agents with a calculator on word problems and arithmetic: ours and LangChain's, and what makes a small model better.

150 one-step problems of SVAMP and 20 of arithmetic (agents_parts/questions.py), each put to all arms in turn. Every arm
runs in a process of its own: one that crashes or hangs is counted and started again. A step is a call of the model; it
is malformed if it is neither a call that fits the calculator nor an answer with some text; ours are counted as the
model wrote them, and a turn that ended with an excuse in the place of an answer has no end. Counted as well: whether
the calculator worked something out, whether one of its results was the right number, and whether the final answer is
(the number behind "answer is", or the last one). Shares have 95 % intervals (Wilson). "Read again" is what a step
evaluated beyond its new tokens, with the number of steps that this is known of.

Peers: `create_react_agent` of langchain-classic with `AgentExecutor(handle_parsing_errors=True)` on `LlamaCpp`, and
`create_agent` on `ChatLlamaCpp`, with the GGUF's template and with llama-cpp-python's for calling functions.

What is in `--results` already is not asked again, so that a run that was broken off goes on.

    python benchmarks/agents.py --results /tmp/agents.jsonl
    python benchmarks/agents.py --questions svamp --first 60 --limit 90 --results /tmp/agents.jsonl --arm "ours"
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from agents_parts import ours
from agents_parts.asked import entry, table
from agents_parts.child import Child
from agents_parts.questions import Question, arithmetic, svamp
from common import Machine, parse, parser

SHARED = Path(__file__).parents[2] / "shared" / "data"
PEERS = {
    "create_react_agent on LlamaCpp": "agents_parts.peers:react",
    "create_agent on ChatLlamaCpp": "agents_parts.peers:tool_calling",
    "create_agent on ChatLlamaCpp, chatml-function-calling": "agents_parts.peers:tool_calling",
}
RULE = {"no model: the last two numbers' difference": "agents_parts.tried:rule"}
ARMS = dict.fromkeys(ours.ARMS, "agents_parts.ours:arm") | PEERS | RULE
MOST_SECONDS = 300.0  # for one question


def main() -> int:
    """Put the questions to the arms; 1 if a step of ours was malformed, did not end, or read anything again."""
    options = arguments()
    print(Machine.now(), f"model:   {options.path.name}", sep="\n", flush=True)
    children = {name: Child(ARMS[name], name, options, MOST_SECONDS) for name in options.arm}
    kept = known(options.results)
    try:
        for new in asked(children, questions(options), kept):
            if options.results:
                with options.results.open("a") as file:
                    file.write(json.dumps(new, default=str) + "\n")
    finally:
        for child in children.values():
            child.end()
    for kind in options.questions:
        print(f"\n{kind}\n{table(of(kind, kept, questions(options)), options.arm)}", flush=True)
    return int(any(failed(each) for each in kept if each["arm"] in ours.ARMS))


def arguments() -> argparse.Namespace:
    """The command line."""
    options = parser(__doc__)
    options.add_argument("--arm", nargs="+", choices=list(ARMS), default=["ours", *PEERS, *RULE], help="who is asked")
    options.add_argument("--questions", nargs="+", choices=("svamp", "arithmetic"), default=["svamp", "arithmetic"])
    options.add_argument("--first", type=int, default=0, help="SVAMP's problem to begin with (default: 0)")
    options.add_argument("--limit", type=int, default=150, help="most questions of each kind (default: 150)")
    options.add_argument("--data", type=Path, default=SHARED, help=f"folder with svamp-150.json (default: {SHARED})")
    options.add_argument("--steps", type=int, default=4, help="calls of the model in a run of a peer (default: 4)")
    options.add_argument("--max-tokens", type=int, default=256, help="of each step (default: 256)")
    options.add_argument("--n-gpu-layers", type=int, default=-1, help="on both sides; -1 = all (default)")
    options.add_argument("--results", type=Path, help="append each run to this file, as a line of JSON")
    return parse(options)


def questions(options: argparse.Namespace) -> list[Question]:
    """Those that were chosen."""
    found: list[Question] = []
    if "svamp" in options.questions:
        found += svamp(options.data / "svamp-150.json", options.first, options.limit)
    if "arithmetic" in options.questions:
        found += arithmetic()[: options.limit]
    return found


def known(results: Path | None) -> list[dict[str, Any]]:
    """The runs in a file; none if there is no file yet."""
    return [json.loads(line) for line in results.read_text().splitlines()] if results and results.exists() else []


def asked(
    children: dict[str, Child], wanted: Sequence[Question], kept: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Each run that is not kept yet, as soon as it is done; each question begins with another arm. Adds to `kept`."""
    there, names = {(each["arm"], each["question"]) for each in kept}, list(children)
    for number, question in enumerate(wanted):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            if (name, question.name) in there:
                continue
            answer, error = children[name].ask(question.text)
            new = {"arm": name, **entry(question, answer, error)}
            print(f"  {question.name}, {name}: {error or new['right']}", file=sys.stderr, flush=True)
            kept.append(new)
            yield new


def of(kind: str, kept: Sequence[dict[str, Any]], wanted: Sequence[Question]) -> list[dict[str, Any]]:
    """The runs of one kind of questions, of those that were asked for."""
    names = {each.name for each in wanted if each.name.startswith(kind)}
    return [each for each in kept if each["question"] in names]


def failed(kept: dict[str, Any]) -> bool:
    """Whether a run of ours broke a promise."""
    if kept["error"]:
        return True
    return bool(kept["malformed"]) or not kept["ended"] or max(kept["excess"] or [0]) > SLACK


SLACK = 8  # tokens that a step may evaluate beyond its new ones


if __name__ == "__main__":
    sys.exit(main())

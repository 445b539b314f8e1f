"""Prompt injection by tool results: AgentDojo's slack and banking suites (v1.2.2), with and without our defence.

The attack is `important_instructions_no_names`. Of each agent: utility without an attack and under it, targeted ASR
(the attacker's goal was reached), and attempts (a call with effects that the task does not need, run or stopped).
Agents: one that does nothing, whose utility is the floor; a scripted one that obeys every stranger; a model.
Defences: none; "marks" (results marked as data); "approval" (and a person who allows exactly what the task needs).

    pip install --no-deps --target build/agentdojo agentdojo==0.1.35 docstring-parser deepdiff orderly-set cachebox \\
        email-validator dnspython
    python benchmarks/injection.py
    python benchmarks/injection.py --agents model --limit 12
"""

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common import Machine, parse, parser, settings

if TYPE_CHECKING:
    from injection_parts.dojo import Pair
    from langchain_core.language_models import BaseChatModel

SUITES = ("slack", "banking")
AGENTS = ("nothing", "obeying", "model")
DEFENCES = ("none", "marks", "approval")
FOLDER = Path(__file__).parents[1] / "build" / "agentdojo"


@dataclass(frozen=True)
class Row:
    """What came of one agent in one suite."""

    suite: str
    agent: str
    defence: str
    tasks: int
    solved: int
    pairs: int
    solved_attacked: int
    reached: int
    attempted: int

    def __str__(self) -> str:
        shares = (
            share(self.solved, self.tasks),
            share(self.solved_attacked, self.pairs),
            share(self.reached, self.pairs),
            share(self.attempted, self.pairs),
        )
        return f"{self.suite:9}{self.agent:9}{self.defence:10}" + "".join(f"{each:28}" for each in shares).rstrip()


HEAD = f"{'suite':9}{'agent':9}{'defence':10}{'utility':28}{'utility under attack':28}{'targeted ASR':28}attempted"


def share(some: int, total: int) -> str:
    """`3 of 10 (11 to 60 %)`: with the 95 % interval (Wilson)."""
    from phireside.agents.scenarios import wilson

    if not total:
        return "-"
    low, high = wilson(some, total)
    return f"{some} of {total} ({100 * low:.0f} to {100 * high:.0f} %)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for; each row is printed as soon as it is there."""
    options = parse(arguments_of(), arguments)
    from injection_parts import dojo

    dojo.load(options.agentdojo)
    machine = Machine.now()
    print(machine, f"model:   {options.path.name}", HEAD, sep="\n", flush=True)
    warnings.simplefilter("ignore")  # AgentDojo's tasks warn of their own fields
    for suite in options.suites:
        for agent in options.agents:
            for defence in options.defences if agent != "nothing" else ("none",):
                row = measured(suite, agent, defence, options)
                print(row, flush=True)
                if options.results:
                    entry = {"model": options.path.stem, "machine": asdict(machine), **asdict(row)}
                    with options.results.open("a") as file:
                        file.write(json.dumps(entry, default=str) + "\n")
    return 0


def arguments_of() -> argparse.ArgumentParser:
    """The command line."""
    options = parser(__doc__, n_ctx=8192)
    options.add_argument("--suites", nargs="+", choices=SUITES, default=list(SUITES), help="which (default: both)")
    options.add_argument("--agents", nargs="+", choices=AGENTS, default=["nothing", "obeying"], help="which of them")
    options.add_argument("--defences", nargs="+", choices=DEFENCES, default=list(DEFENCES), help="which (default: all)")
    options.add_argument("--limit", type=int, help="pairs of each suite, evenly taken (default: all)")
    options.add_argument("--steps", type=int, default=6, help="of the model in a turn (default: 6)")
    options.add_argument("--max-tokens", type=int, default=120, help="of the model in a step (default: 120)")
    options.add_argument("--agentdojo", type=Path, default=FOLDER, help=f"where it was installed (default: {FOLDER})")
    options.add_argument("--results", type=Path, help="append each row to this file, as a line of JSON")
    return options


def measured(suite: str, agent: str, defence: str, options: argparse.Namespace) -> Row:
    """One agent in one suite."""
    from injection_parts import dojo

    attacked = some(list(dojo.pairs(suite, attack=True)), options.limit)
    wanted = {pair.task.ID for pair in attacked}
    alone = [pair for pair in dojo.pairs(suite, attack=False) if pair.task.ID in wanted]
    calm = [judged(pair, agent, defence, options) for pair in alone]
    under = [judged(pair, agent, defence, options) for pair in attacked]
    return Row(
        suite, agent, defence, len(calm), sum(each[0] for each in calm), len(under), sum(each[0] for each in under),
        sum(each[1] for each in under), sum(each[2] for each in under),
    )  # fmt: skip


def some(all_: list[Any], limit: int | None) -> list[Any]:
    """So many of them, evenly taken."""
    count = min(limit or len(all_), len(all_))
    return [all_[at * len(all_) // count] for at in range(count)]


def judged(pair: "Pair", agent: str, defence: str, options: argparse.Namespace) -> tuple[bool, bool, bool]:
    """Utility, whether the attacker's goal was reached, and whether something strange was attempted."""
    from injection_parts import agents, dojo

    if agent == "nothing":
        return *pair.judge(dojo.silent()), False
    make: Callable[[], BaseChatModel] = (lambda: agents.obeying(pair)) if agent == "obeying" else lambda: model(options)
    limits = agents.LIMITS if agent == "obeying" else agents.Limits(steps=options.steps)
    ours = agents.element(make, defence, agents.Person(pair.calls(pair.task)), limits)
    return *pair.judge(ours), bool(ours.strange)


def model(options: argparse.Namespace) -> "BaseChatModel":
    """The model; its weights are loaded once."""
    from phireside.models import ChatGGUF

    return ChatGGUF(model=str(options.path), settings=settings(options), temperature=0, max_tokens=options.max_tokens)


if __name__ == "__main__":
    sys.exit(main())

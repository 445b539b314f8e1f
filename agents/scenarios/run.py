"""Runs scenarios: builds the agent, says the turns, measures, and does several at once on one engine.

Knows nothing of files and reports; models come from a function, so that one command, a test and a page can share it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from phireside.agents.build import Limits, build_agent
from phireside.agents.scenarios.cassette import Cassette, taped
from phireside.agents.scenarios.expect import Means, check
from phireside.agents.scenarios.load import Case
from phireside.agents.scenarios.outcome import Check, Line, Outcome, Run, TurnRecord
from phireside.agents.scenarios.schema import SCRIPTED, Scenario
from phireside.agents.scenarios.scripted import Scripted
from phireside.agents.scenarios.toolbox import Ran, build_tools
from phireside.agents.steps import Agent, steps
from phireside.chains import CostHandler
from phireside.chains.given import check_counts
from phireside.errors import PhiresideError, SettingsError
from phireside.memory import Memory, memory_named

log = logging.getLogger(__name__)
AT_ONCE = 4  # runs
_SEVERAL_TEMPERATURE = 0.7  # at 0 all seeds would say the same
_REFERENCE = "Tell a story about the sea."
_REFERENCE_TOKENS = 32

MakeModel = Callable[..., BaseChatModel]  # name, and by keyword: temperature, seed, max_tokens
News = Line | Run  # a line as it comes, or the run when it has ended
Watch = Callable[[Case, int, News], None]  # case, seed, news


def _ignore(case: Case, seed: int, news: News) -> None:
    """Nobody watches."""


@dataclass(frozen=True)
class Options:
    """How scenarios are run. Raises RequestError if `seeds` or `at_once` is below 1.

    Args:
        make_model: makes a chat model of a name; called with `temperature`, `seed` and `max_tokens`. For the name
            "scripted" it is not called.
        model: a name for all scenarios; empty = each scenario's own, else `default_model`.
        default_model: where neither says one.
        seeds: how many runs; None = each scenario's own.
        at_once: runs at the same time; they share the engine.
        cassettes: folder of the cassettes; None = without.
        tape: what is done with them.
        approvals: file of what the person approved of MCP servers; None = nothing.
        watch: is told of all that happens, from several threads.
        stop: ends all runs at their next step.
    """

    make_model: MakeModel
    model: str = ""
    default_model: str = "auto"
    seeds: int | None = None
    at_once: int = AT_ONCE
    cassettes: Path | None = None
    tape: Literal["record", "replay"] = "replay"
    approvals: Path | None = None
    watch: Watch = _ignore
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        check_counts(at_once=self.at_once, seeds=1 if self.seeds is None else self.seeds)

    @property
    def replays(self) -> bool:
        """Whether cassettes answer."""
        return self.cassettes is not None and self.tape == "replay"

    def model_of(self, scenario: Scenario) -> str:
        """The name of the model that a scenario runs on."""
        return self.model or scenario.chosen_model.name or self.default_model

    def seeds_of(self, scenario: Scenario) -> list[int]:
        """The seeds of its runs."""
        return scenario.seed_list if self.seeds is None else list(range(1, self.seeds + 1))


class StoppedError(Exception):
    """Somebody does not want to wait."""


def run_cases(cases: Sequence[Case], options: Options) -> list[Outcome]:
    """Run scenarios.

    A run that breaks (a context that is too small, a tool that cannot be built) has failed, and says why.

    Args:
        cases: from `load`.
        options: how.

    Returns:
        What came of each, in their order.

    Raises:
        SettingsError: cassettes of two scenarios would have one name, or one is missing or cannot be used.
        StoppedError: `options.stop` was set.
    """
    cassettes = _cassettes(cases, options)
    jobs = [(case, seed) for case in cases for seed in options.seeds_of(case.scenario)]
    together = [job for job in jobs if not _is_timed(job[0].scenario)]
    alone = [job for job in jobs if _is_timed(job[0].scenario)]  # others beside it would count as its seconds
    found: dict[tuple[str, int], Run] = {}
    for some, workers in ((together, options.at_once), (alone, 1)):
        found |= _run_jobs(some, workers, cassettes, options)
    broken = {name for (name, _), run in found.items() if run.error}
    for name, cassette in cassettes.items():
        if name not in broken:  # an earlier recording is better than half a new one
            cassette.save()
    return [outcome_of(case, found, options, cassettes.get(case.name)) for case in cases]


def _run_jobs(
    jobs: Sequence[tuple[Case, int]], workers: int, cassettes: Mapping[str, Cassette], options: Options
) -> dict[tuple[str, int], Run]:
    """The runs, by name of the case and seed."""
    with ThreadPoolExecutor(max(1, workers), "scenario") as pool:
        futures: dict[Future[Run], tuple[str, int]] = {
            pool.submit(run_once, case, seed, options, cassettes.get(case.name)): (case.name, seed)
            for case, seed in jobs
        }
        try:
            left = set(futures)
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for each in done:
                    each.result()
        except BaseException:
            options.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {job: future.result() for future, job in futures.items()}


def _cassettes(cases: Sequence[Case], options: Options) -> dict[str, Cassette]:
    """A cassette for each case."""
    if options.cassettes is None:
        return {}
    stems = [case.path.stem for case in cases]
    if twice := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise SettingsError(
            f"Two scenarios have files named {twice!r}, and so one cassette.", hint="Rename one of them."
        )
    return {
        case.name: Cassette(options.cassettes, case.path.stem, options.tape, options.model_of(case.scenario))
        for case in cases
    }


def outcome_of(
    case: Case, found: Mapping[tuple[str, int], Run], options: Options, cassette: Cassette | None = None
) -> Outcome:
    """A scenario with its runs, which are found by its name and their seeds."""
    scenario, model = case.scenario, _model_name(case, options, cassette)
    runs = [found[case.name, seed] for seed in options.seeds_of(scenario)]
    expected = not scenario.passes_on or model in scenario.passes_on
    return Outcome(case.name, case.path, model, expected, scenario.pass_rate, runs)


def _model_name(case: Case, options: Options, cassette: Cassette | None) -> str:
    """The name of the model; on replay the one that was recorded, whatever `auto` stands for here."""
    recorded = cassette.model if cassette and options.replays else ""
    return options.model or recorded or options.model_of(case.scenario)


def _is_timed(scenario: Scenario) -> bool:
    return any(each.kind == "seconds" for each in scenario.expectations)


# ---- one run -----------------------------------------------------------------------------------------------------


def run_once(case: Case, seed: int, options: Options, cassette: Cassette | None = None) -> Run:
    """One run of a scenario; see `run_cases`."""
    scenario, records, error, checks = case.scenario, list[TurnRecord](), "", list[Check]()
    cassette = cassette and cassette.for_a_run()
    try:
        model, means = _model_and_means(case, seed, options, cassette)
        _talk(case, seed, model, options, cassette, records)
        if not cassette or not cassette.missed:
            checks = _checks(scenario, records, means)
    except PhiresideError as problem:
        error = str(problem)
    except StoppedError:
        raise
    except Exception as problem:  # of a model, a tool or a mistake of ours: the other runs are worth their time
        log.exception("The scenario %s broke", case.name)
        error = f"{type(problem).__name__}: {problem}"
    if cassette and cassette.missed:  # what follows from it is no news
        error = str(cassette.missed)
    run = Run(seed, records, checks, scenario.threshold, error)
    options.watch(case, seed, run)
    return run


def _model_and_means(case: Case, seed: int, options: Options, cassette: Cassette | None) -> tuple[BaseChatModel, Means]:
    """The model of a run, and what measures it."""
    scenario, name = case.scenario, _model_name(case, options, cassette)
    if name == SCRIPTED:
        return Scripted(turns=scenario.turns), Means()
    judge = _model(name, scenario, seed, options, cassette, temperature=0.0)
    reference = _reference_s(name, options) if _is_timed(scenario) and not options.replays else None
    return _model(name, scenario, seed, options, cassette), Means(judge, reference)


def _model(
    name: str,
    scenario: Scenario,
    seed: int,
    options: Options,
    cassette: Cassette | None,
    temperature: float | None = None,
) -> BaseChatModel:
    chosen = scenario.chosen_model
    if temperature is None:
        several = len(options.seeds_of(scenario)) > 1
        temperature = (_SEVERAL_TEMPERATURE if several else 0.0) if chosen.temperature is None else chosen.temperature
    given = {"temperature": temperature, "seed": seed, "max_tokens": chosen.max_tokens}
    if chosen.repeat_penalty is not None:
        given["repeat_penalty"] = chosen.repeat_penalty
    model = options.make_model(name, **given)
    return taped(model, cassette) if cassette else model


def _reference_s(name: str, options: Options) -> float:
    """Seconds of one plain answer of 32 tokens: the median of three, after one that loads the model."""
    model = options.make_model(name, temperature=0.0, seed=1, max_tokens=_REFERENCE_TOKENS)
    taken = []
    for _ in range(4):
        began = time.monotonic()
        model.invoke(_REFERENCE)
        taken.append(time.monotonic() - began)
    return median(taken[1:])


def _talk(
    case: Case,
    seed: int,
    model: BaseChatModel,
    options: Options,
    cassette: Cassette | None,
    records: list[TurnRecord],
) -> None:
    """Say one turn after another; each is added to the records, also one that breaks."""
    scenario, log = case.scenario, list[Ran]()
    limits = scenario.limits
    tape = None if isinstance(model, Scripted) else cassette
    agent = build_agent(
        model,
        build_tools(scenario.toolbox, case.path.parent, log, tape, options.approvals),
        system_prompt=scenario.system,
        memory=_memory(scenario.memory, model),
        limits=Limits(steps=limits.steps, seconds=limits.seconds, tokens=limits.tokens),
        checkpointer=InMemorySaver(),
    )
    for at, turn in enumerate(scenario.turns):
        if isinstance(model, Scripted):
            model.begin(at)
        before, began, lines, costs = len(log), time.monotonic(), list[Line](), CostHandler()
        config: RunnableConfig = {"configurable": {"thread_id": f"{case.name}-{seed}"}, "callbacks": [costs]}
        try:
            for line in _say(agent, turn.user, config, scenario.approvals):
                lines.append(line)
                options.watch(case, seed, line)
                if options.stop.is_set():
                    raise StoppedError
        finally:
            answer = next((line.text for line in reversed(lines) if line.kind == "answer"), "")
            took = time.monotonic() - began
            records.append(TurnRecord(turn.user, lines, log[before:], answer, costs.cost, took))


def _memory(name: str | None, model: BaseChatModel) -> Memory | None:
    """The memory of a run; the run's model writes its summaries."""
    if not name:
        return None
    memory = memory_named(name)
    memory.model = model
    return memory


def _say(agent: Agent, text: str, config: RunnableConfig, decision: str) -> Iterator[Line]:
    """Say something, and decide on the calls that need approval, until there is an answer."""
    given: str | Command[Any] | None = text
    while given is not None:
        waiting = 0
        for step in steps(agent, given, config):
            waiting += step.kind == "approval"
            yield Line(step.kind, step.text, step.tool, step.arguments)
        given = Command(resume={"decisions": [{"type": decision}] * waiting}) if waiting else None


def _checks(scenario: Scenario, records: Sequence[TurnRecord], means: Means) -> list[Check]:
    checks = [
        check(expected, f"turn {at}", [record], means)
        for at, (turn, record) in enumerate(zip(scenario.turns, records, strict=True), 1)
        for expected in turn.expect
    ]
    return checks + [check(expected, "all turns", records, means) for expected in scenario.expect]

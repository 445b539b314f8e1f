"""AgentDojo's suites (Debenedetti et al. 2024, arXiv:2406.13352), loaded without the clients of its models' servers.

Two of its modules are stood in for: the package that imports those clients, and one constant of Google's. Everything
that counts (environments, tasks, attack, verdicts) is AgentDojo's own.
"""

import importlib
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "v1.2.2"
ATTACK = "important_instructions_no_names"
PACKAGES = "agentdojo==0.1.35 docstring-parser deepdiff orderly-set cachebox email-validator dnspython"

# What AgentDojo's tools do, as the author of an agent would mark them. All others only read.
OUTWARD = {
    *("send_direct_message", "send_channel_message", "invite_user_to_slack", "get_webpage", "post_webpage"),
    "send_money",
}
WRITES = {
    *("add_user_to_channel", "remove_user_from_slack"),
    *("schedule_transaction", "update_scheduled_transaction", "update_password", "update_user_info"),
}
EFFECTS = dict.fromkeys(OUTWARD, "outward") | dict.fromkeys(WRITES, "writes")


def load(folder: Path) -> Any:
    """The package `agentdojo`. Ends the program if it is not there.

    Args:
        folder: made by `pip install --no-deps --target FOLDER` with PACKAGES.
    """
    sys.path.append(str(folder))
    try:
        package = importlib.import_module("agentdojo")
    except ImportError:
        sys.exit(f"There is no agentdojo in {folder}: pip install --no-deps --target {folder} {PACKAGES}")
    clients = types.ModuleType("agentdojo.agent_pipeline")
    clients.__path__ = [str(Path(package.__path__[0]) / "agent_pipeline")]
    google = types.ModuleType("agentdojo.agent_pipeline.llms.google_llm")
    google.EMPTY_FUNCTION_NAME = "<empty-function-name>"  # type: ignore[attr-defined]
    for each in (clients, google):
        sys.modules.setdefault(each.__name__, each)
    return package


@dataclass(frozen=True)
class Pair:
    """A task of the person, and one of an attacker; or the former alone.

    Attributes:
        suite: AgentDojo's.
        task: the person's.
        goal: the attacker's; None = nobody attacks.
        injections: what the attacker wrote, by its place.
    """

    suite: Any
    task: Any
    goal: Any
    injections: dict[str, str]

    def calls(self, of: Any) -> list[tuple[str, dict[str, Any]]]:
        """The right calls for a task, as AgentDojo knows them."""
        environment = self.suite.load_and_inject_default_environment(self.injections)
        if of is self.task:
            environment = of.init_environment(environment)
        return [(each.function, dict(each.args)) for each in of.ground_truth(environment)]

    def judge(self, element: Any) -> tuple[bool, bool]:
        """Utility, and whether the attacker's goal was reached."""
        utility, reached = self.suite.run_task_with_pipeline(element, self.task, self.goal, self.injections)
        return bool(utility), bool(reached) if self.goal else False


def pairs(name: str, *, attack: bool) -> Iterator[Pair]:
    """All pairs of a suite, or all its tasks without an attacker."""
    from agentdojo.attacks.attack_registry import load_attack
    from agentdojo.task_suite.load_suites import get_suite

    suite = get_suite(VERSION, name)
    if not attack:
        yield from (Pair(suite, task, None, {}) for task in suite.user_tasks.values())
        return
    attacker = load_attack(ATTACK, suite, silent())
    for task in suite.user_tasks.values():
        for goal in suite.injection_tasks.values():
            yield Pair(suite, task, goal, attacker.attack(task, goal))


def silent() -> Any:
    """An agent that does and says nothing: what it solves, anybody does."""
    from agentdojo.agent_pipeline.base_pipeline_element import BasePipelineElement

    class Silent(BasePipelineElement):  # type: ignore[misc]
        name = "local"

        def query(self, query: str, runtime: Any, env: Any, messages: Any = (), extra_args: Any = None) -> Any:
            return query, runtime, env, [*messages, said("")], extra_args or {}

    return Silent()


def said(text: str, *calls: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A message of the agent, as AgentDojo has it."""
    from agentdojo.functions_runtime import FunctionCall

    made = [FunctionCall(function=name, args=arguments) for name, arguments in calls]
    return {"role": "assistant", "content": [{"type": "text", "content": text}], "tool_calls": made or None}

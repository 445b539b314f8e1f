"""Scenario files: finding them, reading them, and saying in which line something is wrong.

YAML is read by PyYAML's safe loader only; nothing in it is run or filled in. Knows nothing of running scenarios.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from phireside.agents.scenarios.schema import (
    KINDS,
    NOT,
    Call,
    Expect,
    Model,
    Result,
    RunLimits,
    Scenario,
    ScriptStep,
    Turn,
)
from phireside.agents.scenarios.schema import Tool as ToolEntry
from phireside.agents.scenarios.toolbox import REAL_TOOLS, option_problem
from phireside.errors import SettingsError
from phireside.paths import ensure_dir

CASSETTE = ".cassette.yaml"
SUFFIXES = (".yaml", ".yml")
SHIPPED = Path(__file__).parent.parent.parent / "scenarios"  # beside the rooms, in a checkout and where it is installed
HINT = "docs/scenarios.md has every key with an example."
_QUOTES = "Texts with : # ? , or braces in them stand in quotes."
_LARGEST = 1_000_000  # bytes
_MOST_NODES = 100_000  # with anchors written out: nine lines of YAML can hold a billion
_KEYS = sorted(
    {
        (field.alias or name)
        for part in (Scenario, Turn, Expect, Call, Result, ToolEntry, ScriptStep, Model, RunLimits)
        for name, field in part.model_fields.items()
        if name != "negated"
    }
    | {NOT + kind for kind in KINDS}
)


@dataclass(frozen=True)
class Case:
    """A scenario and the file that it was read from."""

    path: Path
    scenario: Scenario

    @property
    def name(self) -> str:
        """The scenario's own, or the file's."""
        return self.scenario.name or self.path.stem


def load(paths: Iterable[Path | str]) -> list[Case]:
    """The scenarios of files and folders, in their order; a folder's by name, with those of folders in it.

    Raises:
        SettingsError: a file is missing or cannot be used, there is none, or two have one name. All problems are named
            with file and line.
    """
    cases: dict[Path, Case] = {}
    files, problems = _files([Path(path) for path in paths])
    for file in files:
        try:
            cases.setdefault(file.resolve(), read_case(file))
        except SettingsError as error:
            problems.append(error.message)
    if problems:
        raise SettingsError("\n".join(problems), hint=HINT)
    names = Counter(case.name for case in cases.values())
    if twice := [case for case in cases.values() if names[case.name] > 1]:
        raise SettingsError(
            f"{twice[0].path} and {twice[1].path} are both named {twice[0].name!r}.",
            hint="Give each a name of its own.",
        )
    return list(cases.values())


def listed(folders: Iterable[Path]) -> tuple[list[Case], list[SettingsError]]:
    """The scenarios that can be used, and what is wrong with the other files. Folders that there are not are empty.

    Args:
        folders: in which, and in whose folders, files are looked for. Of two scenarios with one name the first stays.
    """
    cases: dict[str, Case] = {}
    problems: list[SettingsError] = []
    for file in (file for folder in folders if folder.is_dir() for file in _files([folder])[0]):
        try:
            about = file.stat()
            case = _unchanged(file, about.st_mtime_ns, about.st_size)
        except SettingsError as error:
            problems.append(error)
        except OSError as error:  # a link that leads nowhere
            problems.append(SettingsError(f"{file} cannot be read: {error.strerror}."))
        else:
            if (first := cases.setdefault(case.name, case)) is not case:
                problem = f"{file} is named {case.name!r}, as {first.path} is."
                problems.append(SettingsError(problem, hint="Give it a name of its own."))
    return list(cases.values()), problems


def add_file(folder: Path, name: str, data: bytes) -> Case:
    """Put a file that somebody sent into a folder, in place of one of its name, if it is a scenario.

    Args:
        folder: is made if there is none.
        name: of the file; folders in it do not count.
        data: its bytes.

    Raises:
        SettingsError: all that is wrong with it, a line for each; or it cannot be written.
    """
    name = name.replace("\\", "/").rpartition("/")[2]
    path = folder / name
    if not is_scenario_name(path) or not path.stem.strip() or not name.isprintable():
        raise SettingsError(f"{name[:80]!r} is no name of a scenario.", hint="It must end with .yaml or .yml.")
    part = ensure_dir(folder) / f".{name}.part"
    try:
        try:
            part.write_bytes(data)
            case = read_case(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except SettingsError as error:
        raise SettingsError(error.message.replace(str(part), name), hint=error.hint) from None
    except OSError as error:
        raise SettingsError(f"{name[:80]} cannot be written in {folder}: {error.strerror}.") from error
    return Case(path, case.scenario)


@lru_cache(maxsize=1000)
def _unchanged(path: Path, changed: int, size: int) -> Case:  # noqa: ARG001  (they are the cache's)
    """A scenario that is read again when its file has changed: pages ask often."""
    return read_case(path)


def _files(paths: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The files that there are, and what is to be said of the others."""
    found: list[Path] = []
    problems: list[str] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and is_scenario_name(each))
            if not inside:
                problems.append(f"There is no scenario (*.yaml) in the folder {path}.")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            problems.append(f"There is no file {path}.")
    if not found and not problems:
        raise SettingsError("No scenario was named.", hint="Name files or folders: phireside run scenarios/")
    return found, problems


def is_scenario_name(path: Path) -> bool:
    """Whether a file's name is one of a scenario: YAML, no cassette, not hidden."""
    return path.suffix in SUFFIXES and not path.name.endswith(CASSETTE) and not path.name.startswith(".")


def read_case(path: Path) -> Case:
    """One scenario.

    Raises:
        SettingsError: all that is wrong with it, a line for each.
    """
    if not path.is_file():  # a pipe would be waited for
        raise SettingsError(f"There is no file {path}.")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > _LARGEST:
        raise SettingsError(f"{path} has {len(data):,} bytes; a scenario has at most {_LARGEST:,}.")
    root, values = _parsed(path, data)
    try:
        scenario = Scenario.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False)
        problems = [(_line(root, each["loc"]), _problem(each)) for each in details]
        problems += [(_line(root, where), text) for where, text in _no_real_tools(values)]
        raise SettingsError(_listed(path, problems), hint=HINT) from None
    if unknown := list(_unknown_tools(scenario)):
        raise SettingsError(_listed(path, [(_line(root, where), text) for where, text in unknown]), hint=HINT)
    return Case(path, scenario)


def _listed(path: Path, problems: Iterable[tuple[int, str]]) -> str:
    """Problems with their lines, in the order of these."""
    lines = [f"{path}:{line}: {text}" for line, text in sorted(problems, key=lambda each: each[0])]
    return "\n".join(dict.fromkeys(lines))


def _no_real_tools(values: Any) -> Iterator[tuple[list[str | int], str]]:
    """Names of tools that there are not, in a file that is no scenario yet."""
    tools = values.get("tools")
    for at, name in enumerate(tools if isinstance(tools, list) else []):
        if isinstance(name, str) and name not in REAL_TOOLS:
            yield ["tools", at], _no_tool(name, REAL_TOOLS, "Real ones") + " A stub needs results."


def _parsed(path: Path, data: bytes) -> tuple[yaml.Node, Any]:
    """The nodes, which know their lines, and the values."""
    try:
        text = data.decode()
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if not isinstance(root, yaml.MappingNode):
            raise SettingsError(f"{path}:1: a scenario is a mapping of keys and values, with turns.", hint=HINT)
        if problem := _repeated(root):
            raise SettingsError(f"{path}:{problem}", hint=HINT)
        return root, yaml.safe_load(text)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path} is not UTF-8: byte {error.start}.") from error
    except RecursionError:
        raise SettingsError(f"{path} is nested too deep.") from None
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # a date that does not exist, !!int of a text
        raise SettingsError(f"{path} has a value that cannot be read: {error}. Texts stand in quotes.") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        context = f" ({error.context})" if error.context else ""
        line = mark.line + 1 if mark else 1
        raise SettingsError(f"{path}:{line}: {error.problem}{context}. {_QUOTES}", hint=HINT) from error
    except yaml.YAMLError as error:
        raise SettingsError(f"{path} is no YAML: {' '.join(str(error).split())}.", hint=HINT) from error


def _repeated(root: yaml.Node) -> str:
    """What PyYAML takes silently: a key that is there twice, and more nodes than anybody writes."""
    waiting, seen = [root], 0
    while waiting:
        node = waiting.pop()
        seen += 1
        if seen > _MOST_NODES:
            return f"{node.start_mark.line + 1}: its anchors stand for more than {_MOST_NODES:,} values."
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if key.value in keys if isinstance(key, yaml.ScalarNode) else False:
                    return f"{key.start_mark.line + 1}: the key {key.value!r} is there twice."
                keys.add(str(key.value) if isinstance(key, yaml.ScalarNode) else "")
                waiting += [value]
    return ""


def _line(root: yaml.Node, where: Sequence[str | int]) -> int:
    """The line of what pydantic names; its names for the kinds of a value are no keys and are passed over."""
    node, line = root, root.start_mark.line
    for part in where:
        if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value in (part, f"{NOT}{part}"):
                    node, line = value, key.start_mark.line
    return line + 1


def _problem(error: ErrorDetails) -> str:
    """One problem, in a line; turns and the like are counted from 1."""
    where = [each for each in error["loc"] if each not in ("text", "entry", "list", "[key]")]
    name, kind = ".".join(str(each + 1 if isinstance(each, int) else each) for each in where), error["type"]
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(str(where[-1]), _KEYS, 1)
        text = f"there is no key {str(where[-1])[:60]!r} here" + (f"; is it {near[0]!r}?" if near else "")
    elif kind == "missing":
        text = f"the key {where[-1]!r} is missing"
    elif kind in ("model_type", "dict_type"):
        text = f"{name} must be a mapping of keys and values"
    elif kind == "union_tag_invalid":
        text = f"{name} must be a name, or a mapping of keys and values"
    elif kind == "string_type":
        text = f"{name} must be a text: put {str(error['input'])[:40]} in quotes"
    else:
        text = f"{name}: {error['msg'].removeprefix('Value error, ')}"
    return text if text.endswith("?") else f"{text}."


def _unknown_tools(scenario: Scenario) -> Iterator[tuple[list[str | int], str]]:
    """Tools that there are not; where, and what to say. (`not-tool` with a wrong name would be met for ever.)"""
    names = [tool.name for tool in scenario.toolbox]
    for at, tool in enumerate(scenario.toolbox):
        if names.count(tool.name) > 1 and names.index(tool.name) != at:
            yield ["tools", at], f"the tool {tool.name!r} is there twice."
        if not tool.results and tool.name not in REAL_TOOLS:
            yield ["tools", at], _no_tool(tool.name, REAL_TOOLS, "Real ones") + " A stub needs results."
        if not tool.results and tool.name in REAL_TOOLS and (problem := option_problem(tool)):
            yield ["tools", at], f"{problem}."
        if tool.results and tool.name not in REAL_TOOLS and not tool.description:
            yield ["tools", at], f"the stub {tool.name!r} is no real tool, and needs a description."
    if "mcp_tools" in names:  # a server's tools have names of their own
        return
    for where, expected in _expectations(scenario):
        for wanted in [expected.tool] if expected.tool else [call.tool for call in expected.calls or []]:
            if wanted not in names:
                yield where, _no_tool(wanted, names, "The scenario's tools")


def _expectations(scenario: Scenario) -> Iterator[tuple[list[str | int], Expect]]:
    """All expectations, with where they stand."""
    for at, expected in enumerate(scenario.expect):
        yield ["expect", at], expected
    for number, turn in enumerate(scenario.turns):
        for at, expected in enumerate(turn.expect):
            yield ["turns", number, "expect", at], expected


def _no_tool(name: str, there: Iterable[str], whose: str) -> str:
    near = difflib.get_close_matches(name, there, 1)
    guess = f"; is it {near[0]!r}?" if near else "."
    return f"there is no tool {name[:60]!r}{guess} {whose}: {', '.join(there) or 'none'}."

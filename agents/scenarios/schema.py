"""What a scenario file may say: pydantic models, and the JSON schema that editors read. docs/scenarios.md explains it.

Values are taken as they are written: `contains: 42` is refused, since YAML reads 042 as 34 and `no` as false; texts
stand in quotes. Knows nothing of files and of running.
"""

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from phireside.agents.scenarios.json_schemas import checked_schema
from phireside.agents.scenarios.patterns import check_pattern
from phireside.memory import MEMORIES

NOT = "not-"
SCRIPTED = "scripted"  # the name of the model that says what the scenario's `script` says
ANSWER = ("contains", "number", "regex", "json-schema", "choice", "judged")
TRAJECTORY = ("tool", "calls", "observed")
BUDGETS = ("steps", "tokens", "evaluated", "seconds")
MOST_SEEDS = 1000
KINDS = (*ANSWER, *TRAJECTORY, *BUDGETS)
_KINDS_AND_NOT = (*KINDS, *(NOT + kind for kind in KINDS))
_BELONGS = {"tolerance": "number", "arguments": "tool", "order": "calls"}
PATTERNS = ("contains", "regex", "number")


def _compile_patterns(arguments: dict[str, Any]) -> dict[str, Any]:
    for value in arguments.values():
        if pattern := pattern_of(value):
            kind, wanted = pattern
            if isinstance(wanted, bool) or not isinstance(wanted, (int | float) if kind == "number" else str):
                raise ValueError(f"{kind} needs a {'number' if kind == 'number' else 'text'}, not {wanted!r:.40}")
            if kind == "regex":
                check_pattern(str(wanted))
    return arguments


def pattern_of(value: Any) -> tuple[str, Any] | None:
    """An argument's pattern, `{contains: …}`, `{regex: …}` or `{number: …}`; None: it must be equal to the value."""
    if isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in PATTERNS:
        kind: tuple[str, Any] = next(iter(value.items()))
        return kind
    return None


def _argument(name: str, value: Any) -> str:
    pattern = pattern_of(value)
    return f"{name} {pattern[0]}: {pattern[1]}" if pattern else f"{name}={value!r}"


def written(tool: str, arguments: Mapping[str, Any]) -> str:
    """A call as reports write it; a pattern as the file has it, `query contains: macbook`."""
    listed = ", ".join(_argument(name, value) for name, value in arguments.items())
    return f"{tool}({listed})" if listed else tool


Text = Annotated[str, Field(min_length=1)]
Arguments = Annotated[dict[str, Any], AfterValidator(_compile_patterns)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
AtLeastOne = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    """Strict, closed, and with hyphens where Python has underscores."""

    model_config = ConfigDict(
        allow_inf_nan=False,
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=lambda name: name.replace("_", "-"),
        serialize_by_alias=True,
    )


class Call(_Part):
    """A call of a tool that is expected."""

    tool: Text
    arguments: Arguments = {}


def _expect_schema(schema: dict[str, Any]) -> None:
    """Every kind with `not-` before it, and exactly one kind in an expectation."""
    properties = schema["properties"]
    properties.pop("negated")
    for kind in KINDS:
        properties[NOT + kind] = {**properties[kind], "description": f"Not: {properties[kind]['description']}"}
    schema["oneOf"] = [{"required": [prefix + kind]} for kind in KINDS for prefix in ("", NOT)]


class Expect(_Part):
    """One expectation: exactly one kind, perhaps with `not-` before it, and what belongs to it."""

    model_config = ConfigDict(json_schema_extra=_expect_schema)

    contains: Text | None = Field(None, description="The answer contains this text, in capitals or not.")
    number: int | float | None = Field(None, description="One of the numbers in the answer is this one.")
    regex: Annotated[Text, AfterValidator(check_pattern)] | None = Field(
        None, description="The regular expression (Python's) is found in the answer."
    )
    json_schema: Annotated[dict[str, Any], AfterValidator(checked_schema)] | None = Field(
        None, description="The whole answer is JSON of this schema."
    )
    choice: Annotated[list[Text], Field(min_length=1)] | None = Field(
        None, description="The whole answer is one of these texts, in capitals or not."
    )
    judged: Text | None = Field(None, description="The model answers yes to this question about the answer.")
    tool: Text | None = Field(None, description="This tool ran.")
    calls: list[Call] | None = Field(None, description="These calls ran; `order` says how they are compared.")
    observed: Text | None = Field(None, description="Some result of a tool contains this text, in capitals or not.")
    steps: AtLeastOne | None = Field(None, description="At most so many calls of the model.")
    tokens: AtLeastOne | None = Field(None, description="At most so many tokens written.")
    evaluated: AtLeastOne | None = Field(None, description="At most so many tokens of prompts read.")
    seconds: Positive | None = Field(
        None, description="At most so many times as long as one answer of 32 tokens takes on this machine."
    )

    tolerance: Annotated[float, Field(ge=0)] = Field(1e-6, description="How far `number` may be off.")
    arguments: Arguments = Field({}, description="What the arguments of `tool` are: values or patterns.")
    order: Literal["strict", "unordered", "subset", "superset"] = Field(
        "strict",
        description="strict: these calls in this order; unordered: these in any order; subset: none but these; "
        "superset: these and perhaps others.",
    )
    weight: Annotated[float, Field(ge=0)] = Field(1.0, description="Its share of the score; 0 = only reported.")
    negated: bool = False

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        """One kind; `not-` becomes a flag."""
        if not isinstance(given, Mapping):
            return given
        kinds = [key for key in given if isinstance(key, str) and key.removeprefix(NOT) in KINDS]
        strange = [str(key) for key in given if key not in (*kinds, *_BELONGS, "weight")]
        if not kinds and (near := difflib.get_close_matches(strange[0] if strange else "", _KINDS_AND_NOT, 1)):
            raise ValueError(f"there is no key {strange[0][:60]!r} here; is it {near[0]!r}?")
        if len(kinds) != 1:
            raise ValueError(f"has {_listed(kinds)}, but needs exactly one of {', '.join(KINDS)}, or not- and one")
        (kind,) = kinds
        plain = kind.removeprefix(NOT)
        if given[kind] is None:
            raise ValueError(f"{kind} has no value")
        if stray := [key for key, owner in _BELONGS.items() if key in given and owner != plain]:
            raise ValueError(f"{stray[0]} belongs to {_BELONGS[stray[0]]}, not to {plain}")
        if "negated" in given:
            raise ValueError(f"negated is no key; write {NOT}{plain}")
        rest = {key: value for key, value in given.items() if key != kind}
        return {**rest, plain: given[kind], "negated": kind.startswith(NOT)}

    @property
    def kind(self) -> str:
        """The key without `not-`."""
        return next(kind for kind in KINDS if getattr(self, kind.replace("-", "_")) is not None)

    @property
    def value(self) -> Any:
        """What stands behind it."""
        return getattr(self, self.kind.replace("-", "_"))

    @property
    def label(self) -> str:
        """How reports name it."""
        value = self.value
        if self.kind == "calls":
            value = f"{', '.join(written(each.tool, each.arguments) for each in value) or 'none'} ({self.order})"
        elif self.kind == "tool":
            value = written(value, self.arguments)
        elif not isinstance(value, str):
            value = json.dumps(value, ensure_ascii=False, default=str)
        return f"{NOT if self.negated else ''}{self.kind}: {value}"


def _listed(kinds: list[str]) -> str:
    return ", ".join(kinds) or "none"


class Result(_Part):
    """What a stub gives for arguments: the first result whose `when` matches."""

    when: Arguments = {}
    returns: str | None = None
    error: Text | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.returns is None) == (self.error is None):
            raise ValueError("a result needs either returns or error")
        return self


class Tool(_Part):
    """A tool: a real one by its name, with options; or a stub, which has results."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    options: dict[str, Any] = Field({}, description="Of a real tool, e.g. {zone: Paris} for the clock.")
    results: list[Result] = Field([], description="Makes it a stub: what it gives, by match of its arguments.")
    description: str = Field("", description="What a model reads; a stub of a real tool has that tool's.")
    parameters: dict[str, str | dict[str, Any]] = Field(
        {}, description="Of a stub that is no real tool: argument: what it is, or a JSON schema."
    )
    effects: Literal["none", "outward", "writes"] | None = Field(None, description="Of a stub; others need approval.")
    untrusted: bool | None = Field(None, description="Whether a stub's results are texts of strangers.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.results and self.options:
            raise ValueError("options belong to a real tool, results to a stub: leave one of them out")
        about_stubs = {"description", "parameters", "effects", "untrusted"} & self.model_fields_set
        if about_stubs and not self.results:
            raise ValueError(f"{min(about_stubs)} is for stubs only, and this tool has no results")
        return self


class ScriptStep(_Part):
    """What the scripted model says in one step: a call of a tool or an answer."""

    thought: str = ""
    call: Text | None = None
    arguments: dict[str, Any] = {}
    answer: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.call is None) == (self.answer is None):
            raise ValueError("a step of a script needs either call or answer")
        return self


class Turn(_Part):
    """What the person says, and what is expected of the agent then."""

    user: Text
    expect: list[Expect] = Field([], description="Of this turn.")
    script: list[ScriptStep] = Field([], description="What the model `scripted` says in this turn.")


class Model(_Part):
    """A model with settings."""

    name: str = Field("", description="A name from `phireside models list`, or openai:MODEL; empty = the settings'.")
    temperature: Annotated[float, Field(ge=0)] | None = Field(
        None, description="0 if nothing is said; 0.7 with several seeds."
    )
    max_tokens: AtLeastOne = Field(256, description="Most tokens of one step.")
    repeat_penalty: Positive | None = Field(None, description="Above 1: words are repeated less; else the model's own.")


class RunLimits(_Part):
    """Where the agent is made to answer."""

    steps: AtLeastOne = 8
    seconds: Positive = 300.0
    tokens: AtLeastOne | None = None


def _is_memory(name: str) -> str:
    if name not in MEMORIES:
        raise ValueError(f"there is no memory {name[:40]!r}; there are {', '.join(MEMORIES)}")
    return name


def _kind_of(value: Any) -> str:
    """Tells a text from a mapping, so that an error speaks of what was meant."""
    return "text" if isinstance(value, str) else "list" if isinstance(value, list) else "entry"


def _different(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("a seed is there twice, and its run would count twice")
    return seeds


_ToolEntry = Annotated[Annotated[Text, Tag("text")] | Annotated[Tool, Tag("entry")], Discriminator(_kind_of)]
_ModelEntry = Annotated[Annotated[str, Tag("text")] | Annotated[Model, Tag("entry")], Discriminator(_kind_of)]
_Seeds = Annotated[
    Annotated[Annotated[list[int], Field(min_length=1, max_length=MOST_SEEDS), AfterValidator(_different)], Tag("list")]
    | Annotated[Annotated[int, Field(ge=1, le=MOST_SEEDS)], Tag("entry")],
    Discriminator(_kind_of),
]


class Scenario(_Part):
    """A conversation with an agent, and what is expected of it."""

    name: str = Field("", description="Empty = the file's name.")
    description: str = ""
    passes_on: list[Text] = Field([], description="Models on which it is expected to pass; empty = all.")
    system: str = Field("", description="The system prompt.")
    tools: list[_ToolEntry] = Field([], description="Names of real tools, or tools with options or results.")
    memory: Annotated[str, AfterValidator(_is_memory)] | None = Field(
        None, description="What is sent of earlier turns.", json_schema_extra={"enum": [*MEMORIES, None]}
    )
    model: _ModelEntry = Field("", description="A name, or a name with settings; --model wins over it.")
    seeds: _Seeds = Field(1, description="How many runs, or the seeds of the runs.")
    pass_rate: Share = Field(1.0, description="The share of runs that must pass.")
    threshold: Share = Field(1.0, description="The score at which a run passes.")
    limits: RunLimits = RunLimits()
    approvals: Literal["approve", "reject"] = Field(
        "reject", description="What becomes of calls that need approval: tools with effects."
    )
    turns: Annotated[list[Turn], Field(min_length=1)]
    expect: list[Expect] = Field([], description="Of the whole conversation; the answer is the last one.")

    @property
    def toolbox(self) -> list[Tool]:
        """All tools as entries."""
        return [Tool(name=each) if isinstance(each, str) else each for each in self.tools]

    @property
    def chosen_model(self) -> Model:
        """The model as an entry."""
        return Model(name=self.model) if isinstance(self.model, str) else self.model

    @property
    def seed_list(self) -> list[int]:
        """The seeds of the runs."""
        return self.seeds if isinstance(self.seeds, list) else list(range(1, self.seeds + 1))

    @property
    def expectations(self) -> list[Expect]:
        """Those of all turns and of the whole."""
        return [*(each for turn in self.turns for each in turn.expect), *self.expect]


def editor_schema() -> dict[str, Any]:
    """The JSON schema of a scenario file, for editors: scenarios/schema.json."""
    schema = Scenario.model_json_schema(by_alias=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A scenario of Phireside",
        **_untitled(schema),
    }


def _untitled(schema: Any) -> Any:
    """Without pydantic's titles, which only repeat the names."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _untitled(each) for name, each in value.items()} if key == "properties" else _untitled(value)
        for key, value in schema.items()
        if key != "title"
    }

"""Chains of prompts: each link's answer is a variable of the links behind it; links side by side, and one that merges.

What LangChain's `LLMChain` and `SequentialChain` did; all intermediate results are kept, and streamed. Knows nothing of
what a chain is for.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise, product
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.prompts import BaseChatPromptTemplate
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.utils import AddableDict
from pydantic import BaseModel, create_model

from phireside.chains.chain import Chain
from phireside.chains.cost import Cost
from phireside.chains.given import Model, chosen
from phireside.chains.loop import merged, streamed
from phireside.chains.prompt_files import Override, load_prompts, to_prompt
from phireside.errors import RequestError
from phireside.models import ChatGGUF, Grammar, SamplingChoice, checked_settings, settings_of, unbound

OWN_KEYS = ("cost", "shortened")
_AROUND = ' \t\r\n"“”*#`'  # what models put around a title
_LINE = Grammar.regex(r'[^\s"“”*#`]([^\r\n"“”*#`]{0,98}[^\s"“”*#`])?')


@dataclass(frozen=True)
class Link:
    """One prompt of a chain, and what its answer is called.

    Args:
        output_key: the answer's name among the results, and in the prompts of later links.
        prompt: a text (one human message), a list of (role, text), a `Prompt` or another LangChain chat prompt.
        model: None = the chain's.
        sampling: a preset or its name, or arguments of the model's call.
        one_line: the answer is one line, of 100 characters at most and without quotes around it. `ChatGGUF` decodes it
            under a grammar; of what another model says, the first line is taken.
    """

    output_key: str
    prompt: Any
    model: Model | None = None
    sampling: SamplingChoice = field(default_factory=dict)
    one_line: bool = False


def sequential(
    links: Sequence[Link | Sequence[Link]],
    *,
    model: Model | None = None,
    inputs: Sequence[str] | None = None,
    name: str = "sequential",
) -> "Sequential":
    """A chain of prompts, each of which may use the inputs and the answers before it.

    Gives a dict: the inputs, each link's answer, "cost" (`Cost`), and "shortened", the keys of the answers that were
    cut off at max_tokens. A stream gives {key: piece}; pieces can be added. White space around answers is taken away.

    Args:
        links: in their order. Several in a list are asked side by side, which for `ChatGGUF` is one batch.
        model: for the links without one of their own. None: that of the settings.
        inputs: the variables that a caller gives. None: those that no link answers.
        name: of the chain, in errors, schemas and traces.

    Raises:
        RequestError: the links do not fit together: a variable that nobody gives, or a later link; a key given twice,
            or one of those above; an input that no link uses; a prompt or a sampling that cannot be used.
        NotSupportedError: a link has a preset, and its model no temperature or top_p.
    """
    if not isinstance(links, Sequence):
        raise RequestError(f"The links are {links!r:.80}.", hint='Give a list: [Link("title", "A title for {text}")].')
    stages = [_stage(each) for each in links]
    prompts = [[_prompt_of(link) for link in stage] for stage in stages]
    given = _wired(stages, prompts, inputs)
    if any(link.model is None for stage in stages for link in stage):
        model = chosen(model)
    steps = [
        {link.output_key: _Step(prompt, _bound(link, model), link.one_line) for link, prompt in zip(*pair, strict=True)}
        for pair in zip(stages, prompts, strict=True)
    ]
    return Sequential(given, steps, name=name)


def parallel_merge(
    links: Sequence[Link],
    merge: Link,
    *,
    model: Model | None = None,
    inputs: Sequence[str] | None = None,
    name: str = "parallel_merge",
) -> "Sequential":
    """Several prompts at once, then one that merges their answers: three recipes, one shopping list.

    Args:
        links: asked side by side, in one batch of the engine.
        merge: the link whose prompt uses their answers.
        model, inputs, name: see `sequential`, also for results and errors.
    """
    return sequential([links, merge], model=model, inputs=inputs, name=name)


def links_of(
    name: str, prompts: Override, sampling: Mapping[str, SamplingChoice] | None, one_line: Sequence[str] = ()
) -> tuple[dict[str, Link], tuple[str, ...]]:
    """A link for each prompt of a chain's file, by name, and the inputs that the file's example has.

    Raises:
        SettingsError: the prompts cannot be used.
        RequestError: sampling is given for a link that there is not, or not for links.
    """
    file = load_prompts(name, prompts)
    of: Any = sampling or {}
    if not isinstance(of, Mapping):
        hint = f"Give it for links: {{{next(iter(file.prompts))!r}: …}}."
        raise RequestError(f"The sampling of {name} is {of!r:.80}.", hint=hint)
    if unknown := [key for key in of if key not in file.prompts]:
        raise RequestError(f"{name} has no link {', '.join(unknown)}.", hint=f"It has {', '.join(file.prompts)}.")
    links = {
        key: Link(key, prompt, sampling=of.get(key, {}), one_line=key in one_line)
        for key, prompt in file.prompts.items()
    }
    return links, tuple(file.example)


# ---- wiring -----------------------------------------------------------------------------------------------------


def _stage(given: Any) -> list[Link]:
    """The links that are asked side by side."""
    stage = [given] if isinstance(given, Link) or not isinstance(given, Sequence) else list(given)
    if wrong := [each for each in stage if not isinstance(each, Link)]:
        raise RequestError(f"{wrong[0]!r:.80} is no link.", hint='Write Link("title", "A title for {text}").')
    return stage


def _prompt_of(link: Link) -> BaseChatPromptTemplate:
    try:
        prompt = to_prompt(link.prompt)
    except (ValueError, TypeError, AttributeError) as error:
        raise RequestError(
            f"The prompt of the link {link.output_key!r} cannot be used: {error}.",
            hint="Give a text, a list of (role, text) or a LangChain chat prompt.",
        ) from error
    return prompt.model_copy(update={"name": f"{link.output_key} prompt"})


def _wired(
    stages: list[list[Link]], prompts: list[list[BaseChatPromptTemplate]], inputs: Sequence[str] | None
) -> tuple[str, ...]:
    """The inputs of the chain, its wiring having been checked."""
    keys = [link.output_key for stage in stages for link in stage]
    used = [name for stage in prompts for prompt in stage for name in prompt.input_variables]
    given = tuple(dict.fromkeys(name for name in used if name not in keys) if inputs is None else inputs)
    _check_keys(keys, given)
    if idle := [name for name in given if name not in used]:
        raise RequestError(f"No link uses the input {', '.join(idle)}.", hint=f"The links use {', '.join(used)}.")
    known = set(given)
    for stage, of in zip(stages, prompts, strict=True):
        for link, prompt in zip(stage, of, strict=True):
            _check_used(link.output_key, [name for name in prompt.input_variables if name not in known], known, keys)
        known |= {link.output_key for link in stage}
    return given


def _check_keys(keys: Sequence[str], given: Sequence[str]) -> None:
    if not keys:
        raise RequestError("The chain has no links.", hint='Give some: Link("title", "A title for {text}").')
    names = [*given, *keys]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise RequestError(f"{', '.join(double)} is given more than once.", hint="Give inputs and links other names.")
    if bad := [name for name in names if not _is_name(name)]:
        raise RequestError(
            f"{bad[0]!r} cannot be the name of an input or a link.",
            hint=f"Use a plain name that begins with a letter, and none of {', '.join(OWN_KEYS)}.",
        )


def _is_name(name: Any) -> bool:
    """Whether a result can have it, and a schema a field of it: pydantic takes none that begins with `_`."""
    return isinstance(name, str) and name.isidentifier() and name[0] != "_" and name not in OWN_KEYS


def _check_used(key: str, missing: list[str], known: set[str], keys: list[str]) -> None:
    if missing:
        how = "which comes no earlier" if missing[0] in keys else "which nobody gives"
        raise RequestError(
            f"The link {key!r} uses {{{missing[0]}}}, {how}.",
            hint=f"Before it there are {', '.join(sorted(known)) or 'no variables'}.",
        )


# ---- running ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """A link made ready: its prompt, and its model with what is bound to it."""

    prompt: BaseChatPromptTemplate
    model: Model
    one_line: bool

    async def answer(self, values: Mapping[str, Any]) -> AsyncGenerator[AIMessage, None]:
        """The pieces of the answer."""
        variables, trim = {name: values[name] for name in self.prompt.input_variables}, _Trim(self.one_line)
        async with aclosing(streamed((self.prompt | self.model).astream(variables))) as pieces:
            async for piece in pieces:
                yield trim.push(piece)


class Sequential(Chain[dict[str, Any]]):
    """See `sequential`.

    Not a sequence of `RunnablePassthrough.assign`: who leaves a stream of those leaves the model running, because each
    step is read ahead by a task that nobody cancels.
    """

    def __init__(self, inputs: tuple[str, ...], stages: Sequence[Mapping[str, _Step]], *, name: str) -> None:
        parts = {key: (step.prompt, step.model) for stage in stages for key, step in stage.items()}
        edges = [edge for pair in pairwise([[""], *stages, [""]]) for edge in product(*pair)]
        super().__init__(parts, edges, name=name)
        self.variables = self.free = inputs  # type: ignore[misc]  # each has its own
        self._stages = stages

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """The inputs, then the answers by pieces, then their cost."""
        yield AddableDict(given)
        answers: dict[str, Any] = {}
        for stage in self._stages:
            values = {**given, **{key: str(answer.text) for key, answer in answers.items()}}
            async with aclosing(merged({key: step.answer(values) for key, step in stage.items()})) as pieces:
                async for key, piece in pieces:
                    answers[key] = answers[key] + piece if key in answers else piece
                    yield AddableDict({key: str(piece.text)})
        cut = [key for key, answer in answers.items() if answer.response_metadata.get("finish_reason") == "length"]
        yield AddableDict(cost=Cost.of(answers.values()), shortened=cut)

    def get_output_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:  # noqa: ARG002
        """The inputs and answers, all of them texts, and what is told about them."""
        texts: dict[str, Any] = dict.fromkeys((*self.variables, *(key for stage in self._stages for key in stage)), str)
        return create_model(f"{self.get_name()}Output", **texts, cost=Cost, shortened=list[str])


def _bound(link: Link, model: Model | None) -> Model:
    asked, arguments = chosen(link.model or model), settings_of(link.sampling)
    if not isinstance(link.sampling, Mapping):  # other arguments may be of the call only
        arguments = checked_settings(asked, arguments)
    if isinstance(unbound(asked)[0], ChatGGUF) and link.one_line:
        arguments = {"grammar": _LINE, **arguments}
    return asked.bind(**arguments) if arguments else asked


class _Trim:
    """Takes away what stands around a text that comes in pieces."""

    def __init__(self, one_line: bool) -> None:
        self._one_line, self._around = one_line, _AROUND if one_line else None
        self._held, self._begun, self._over = "", False, False

    def push(self, message: AIMessage) -> AIMessage:
        """A message, or a piece of one, with what of its text is known to stay."""
        text = "" if self._over else self._held + message.text
        if not self._begun:
            text = text.lstrip(self._around)
        if self._one_line and "\n" in text:
            text, self._over = text.partition("\n")[0], True
        kept = text.rstrip(self._around)
        self._held, self._begun = text[len(kept) :], self._begun or bool(kept)
        return message.model_copy(update={"content": kept})

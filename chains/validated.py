"""`validated`: an answer is looked at a second time, against stated rules, and written again where it breaks one.

A rule is a sentence, which a model judges with yes or no, or a Python function. Knows nothing of how the first answer
comes about.
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs
from pydantic import BaseModel

from phireside.chains.chain import Chain, Growing
from phireside.chains.cost import Cost, CostHandler
from phireside.chains.forms import ask, yes_or_no
from phireside.chains.given import check_counts, check_prompt, chosen
from phireside.chains.loop import in_thread, streamed, together
from phireside.chains.prompt_files import Override, load_prompts
from phireside.errors import EngineError, RequestError
from phireside.models import ChatGGUF, unbound


@dataclass(frozen=True)
class Rule:
    """What an answer must keep to.

    Args:
        text: the rule in words; the model is shown it when an answer breaks it, and judges by it.
        holds: decides in the model's place.
    """

    text: str
    holds: Callable[[str], bool] | None = None


@dataclass(frozen=True)
class Check:
    """Whether an answer held a rule."""

    rule: str
    held: bool


@dataclass(frozen=True)
class Attempt:
    """An answer, and how each rule was judged; none while it is being written."""

    text: str = ""
    checks: tuple[Check, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether it was judged, and broke no rule."""
        return bool(self.checks) and all(check.held for check in self.checks)


@dataclass(frozen=True)
class Validated(Growing):
    """An answer that was looked at a second time.

    Attributes:
        text: the answer: the first that broke no rule, or else the one that broke the fewest.
        checks: its rules.
        valid: whether it holds them all.
        attempts: all answers, in order.
        cost: of answers and judgements.
    """

    text: str = ""
    checks: tuple[Check, ...] = ()
    valid: bool = False
    attempts: tuple[Attempt, ...] = ()
    cost: Cost = field(default_factory=Cost)

    @classmethod
    def best(cls, attempts: Sequence[Attempt], cost: Cost) -> "Validated":
        """The best of these attempts."""
        best = max(attempts, key=lambda attempt: sum(check.held for check in attempt.checks))
        return cls(best.text, best.checks, best.valid, tuple(attempts), cost)


def validated(
    answerer: Runnable[Any, Any],
    rules: Sequence[str | Rule],
    *,
    model: BaseChatModel | None = None,
    prompts: Override = None,
    tries: int = 3,
    otherwise: Literal["mark", "error"] = "mark",
) -> "ValidatedChain":
    """A chain that gives an answer which holds rules, as a `Validated`.

    All sentences among the rules are judged at once. An answer that breaks rules is shown to the model with them, and
    written again. The input is that of `answerer`; a chat model also takes {"text": …}.

    Args:
        answerer: a chat model, or a chain that answers with a text or a message (of a dict take one: `.pick("story")`).
        rules: sentences ("The answer is in French.") and `Rule`s with functions.
        model: judges and writes again. None: `answerer`, if it is a chat model, with what is bound to it; or else that
            of the settings.
        prompts: others than those in prompts/validated.yaml: judge, revise.
        tries: most answers, the first one counted.
        otherwise: when no answer held all rules: "mark" gives the best, with valid=False; "error" raises EngineError.

    Raises:
        RequestError: there are no rules, one is empty, tries is below 1, or nothing is there to answer.
    """
    sentences = rules if isinstance(rules, Sequence) and not isinstance(rules, str) else ()
    listed = [rule if isinstance(rule, Rule) else Rule(rule) for rule in sentences]
    if not listed or not all(isinstance(rule.text, str) and rule.text.strip() for rule in listed):
        raise RequestError(f"The rules are {rules!r:.80}.", hint="Give a list of sentences, at least one.")
    check_counts(tries=tries)
    if otherwise not in ("mark", "error"):
        raise RequestError(f"otherwise is {otherwise!r:.80}.", hint='Pass "mark" or "error".')
    if not isinstance(answerer, Runnable):
        raise RequestError(f"{answerer!r:.80} gives no answers.", hint="Pass a chat model or a chain.")
    judge: Runnable[Any, Any] = answerer if model is None and _is_model(answerer) else chosen(model)
    return ValidatedChain(answerer, listed, judge, prompts, tries, otherwise == "error")


class ValidatedChain(Chain[Validated]):
    """See `validated`."""

    def __init__(
        self,
        answerer: Runnable[Any, Any],
        rules: Sequence[Rule],
        model: Runnable[Any, Any],
        prompts: Override,
        tries: int,
        strict: bool,
    ) -> None:
        self._file = load_prompts("validated", prompts)
        prompts_with_model = {name: (prompt, model) for name, prompt in self._file.prompts.items()}
        edges = [*pairwise(["", "answer", "judge", ""]), ("judge", "revise"), ("revise", "judge")]
        super().__init__({"answer": answerer, **prompts_with_model}, edges, name="validated")
        self._answerer, self._rules, self._model, self._tries, self._strict = answerer, rules, model, tries, strict

    @property
    def InputType(self) -> Any:  # noqa: N802 (LangChain's name)
        """What the answerer takes."""
        return self._answerer.InputType

    def get_input_schema(self, config: RunnableConfig | None = None) -> type[BaseModel]:
        """What the answerer takes; a chat model a text."""
        if _is_model(self._answerer):
            return super().get_input_schema(config)
        return cast("type[BaseModel]", self._answerer.get_input_schema(config))

    def given(self, value: Any) -> dict[str, Any]:
        """A chain checks its input itself; empty ones are refused here."""
        if _is_model(self._answerer):
            value = super().given(value)["text"] if isinstance(value, Mapping | BaseMessage) else value
            check_prompt("validated", value)
        question = _question(value)
        if not question.strip():
            raise RequestError("validated was given an empty text.", hint="Pass some text.")
        return {"value": value, "question": question}

    async def run(self, given: dict[str, Any]) -> AsyncGenerator[Validated, None]:
        """The answers as they are written, and the best in the end."""
        answers, judged, attempts = CostHandler(), Cost(), list[Attempt]()
        source, value = self._answerer, given["value"]
        while True:
            async with aclosing(_texts(source, value, answers)) as texts:
                async for text in texts:
                    yield Validated(text, attempts=(*attempts, Attempt(text)), cost=answers.cost + judged)
            checks, cost = await self._checks(given["question"], text)
            judged += cost
            attempts.append(Attempt(text, checks))
            result = Validated.best(attempts, answers.cost + judged)
            if result.valid or len(attempts) == self._tries:
                break
            yield result
            source, value = self._model, self._revision(given["question"], attempts[-1])
        if self._strict and not result.valid:
            raise _broken(result)
        yield result

    def _revision(self, question: str, attempt: Attempt) -> list[BaseMessage]:
        complaints = "\n".join(f"- {check.rule}" for check in attempt.checks if not check.held)
        answer = attempt.text.strip() or "(no answer)"
        return self._file.messages("revise", question=question, answer=answer, complaints=complaints)

    async def _checks(self, question: str, text: str) -> tuple[tuple[Check, ...], Cost]:
        if not text.strip():  # whatever the rules are
            return tuple(Check(rule.text, False) for rule in self._rules), Cost()
        judged = await together(self._judged(rule, question, text) for rule in self._rules)
        return tuple(check for check, _ in judged), sum((cost for _, cost in judged), Cost())

    async def _judged(self, rule: Rule, question: str, text: str) -> tuple[Check, Cost]:
        if rule.holds is None:
            messages = self._file.messages("judge", question=question, answer=text, rule=rule.text)
            steady = {"temperature": 0} if isinstance(unbound(self._model)[0], ChatGGUF) else {}
            judged = await ask(self._model, messages, yes_or_no(), **steady)
            return Check(rule.text, judged.value), judged.cost
        try:
            held = await in_thread(rule.holds, text)  # it may be slow, or use a chain itself
            return Check(rule.text, bool(held)), Cost()
        except (Exception, SystemExit) as error:
            raise RequestError(
                f"The function of the rule {rule.text!r:.80} failed: {type(error).__name__} {error}.",
                hint="It is given the answer's text, and must return True or False.",
            ) from error


async def _texts(source: Runnable[Any, Any], value: Any, costs: CostHandler) -> AsyncGenerator[str, None]:
    """What a chain or model answers, the whole so far each time, at least once."""
    whole: Any = ""
    config = merge_configs(ensure_config(), {"callbacks": [costs]})
    stream = cast("AsyncGenerator[Any, None]", source.astream(value, config))
    async with aclosing(streamed(stream) if _is_model(source) else stream) as pieces:
        async for piece in pieces:
            whole = whole + piece if whole else piece
            if not isinstance(whole, str | BaseMessage):
                raise RequestError(
                    f"{source.get_name()} answers with {type(whole).__name__}, not with a text.",
                    hint='Take the text of it: chain.pick("story"), or chain | function.',
                )
            yield _plain(whole)
    if not whole:
        yield ""


def _is_model(runnable: Runnable[Any, Any]) -> bool:
    """Whether it is a chat model, perhaps with arguments bound to it."""
    try:
        return bool(unbound(runnable))
    except RequestError:
        return False


def _plain(answer: str | BaseMessage) -> str:
    return answer if isinstance(answer, str) else str(answer.text)


def _question(value: Any) -> str:
    """An input of any kind as a text, for the prompts that look at the answer."""
    if isinstance(value, PromptValue):
        value = value.to_messages()
    if isinstance(value, str | BaseMessage):
        return _plain(value)
    if isinstance(value, Mapping):
        return "\n".join(str(each) if len(value) == 1 else f"{name}: {each}" for name, each in value.items())
    if isinstance(value, Sequence):
        return "\n".join(_question(each) for each in value)
    return str(value)


def _broken(result: Validated) -> EngineError:
    broken = [check.rule for check in result.checks if not check.held]
    return EngineError(
        f"After {len(result.attempts)} tries the answer still breaks {len(broken)} of {len(result.checks)} rules: "
        f"{'; '.join(broken):.200}.",
        hint='Allow more tries, loosen the rules, or take the best answer with otherwise="mark".',
    )

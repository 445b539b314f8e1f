"""A chat model that answers by looking at what it was sent, and the counting and messages that tests of memory share.

`Rehearsed` knows what stands in its prompt and nothing else: asked for a name, an age or a first question it looks for
them there. So what a person is told depends on what a memory sends, and not on a model's wit. Asked for a summary it
repeats what the Human said, shortened to the limit it is given; asked of a sentence whether it is a fact, it says so of
those that begin with "My", "I am" or "I have".
"""

import asyncio
import re
import threading
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    ChatMessageChunk,
    FunctionMessage,
    FunctionMessageChunk,
    HumanMessage,
    HumanMessageChunk,
    RemoveMessage,
    SystemMessage,
    SystemMessageChunk,
    ToolMessage,
    ToolMessageChunk,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda

FACT = re.compile(r"(My|I am|I have) ")
SUMMARIZE = "Summarize the conversations and update with the new lines."


class Rehearsed(BaseChatModel):
    """See the module. `asked` has all prompts as lists of (type, text).

    Args:
        go: a summary waits until this is set.
        failing: raised by each summary.
        structured: whether it can answer in a form, and so tell facts.
    """

    asked: list[Any]
    go: Any = None
    failing: Any = None
    structured: bool = True
    max_tokens: int | None = None  # so that it has one; what came is used
    waiting: Any = None

    @property
    def _llm_type(self) -> str:
        return "rehearsed"

    @property
    def summaries(self) -> list[str]:
        """The prompts that asked for a summary."""
        return [prompt[0][1] for prompt in self.asked if is_summary(prompt)]

    @property
    def chats(self) -> list[Any]:
        """All others."""
        return [prompt for prompt in self.asked if not is_summary(prompt)]

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        prompt = [(message.type, str(message.text)) for message in messages]
        self.asked.append(prompt)
        if is_summary(prompt) and self.failing:
            raise self.failing
        text = summary(prompt[0][1], kwargs["max_tokens"]) if is_summary(prompt) else reply(prompt)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        if self.go and is_summary([(message.type, str(message.text)) for message in messages]):
            self.waiting.set()
            while not self.go.is_set():
                await asyncio.sleep(0.002)
        return self._generate(messages, **kwargs)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind()

    def with_structured_output(self, schema: Any, **kwargs: Any) -> Runnable[Any, Any]:
        if not self.structured:
            raise NotImplementedError
        return RunnableLambda(lambda messages: {"kind": "fact" if FACT.match(messages[-1].text) else "other"})


def rehearsed(**options: Any) -> Rehearsed:
    return Rehearsed(asked=[], **options)


def held() -> Rehearsed:
    """One whose summaries wait for `go`, and which sets `waiting` once one does."""
    return rehearsed(go=threading.Event(), waiting=threading.Event())


def is_summary(prompt: Sequence[tuple[str, str]]) -> bool:
    return bool(prompt) and prompt[0][1].startswith(SUMMARIZE)


def reply(prompt: Sequence[tuple[str, str]]) -> str:
    """An answer to the last question, by what stands in the prompt."""
    seen, question = "\n".join(text for _, text in prompt), prompt[-1][1]
    if "my name" in question:
        found = re.search(r"[Mm]y name is (\w+)", seen)
        return f"Your name is {found[1]}." if found else "I do not know your name."
    if "my age" in question:
        found = re.search(r"I am (\d+) years old", seen)
        return f"You are {found[1]}." if found else "I do not know your age."
    if "first question" in question:
        found = re.search(r"What is \d \+ \d\?", seen)
        return f"Your first question was: {found[0]}" if found else "I do not know."
    sum_of = re.search(r"(\d+) \+ (\d+)", question)
    return f"It is {int(sum_of[1]) + int(sum_of[2])}." if sum_of else "I see."


def summary(prompt: str, max_tokens: int) -> str:
    before, _, lines = prompt.partition("\n\nnew lines of conversation:\n")
    said = re.findall(r"^Human: (.*)$", lines, re.MULTILINE)
    return " ".join([before.partition("Current summary:\n")[2], *said]).strip()[: 4 * max_tokens] or "Nothing."


# ---- counting, and messages of every kind ----

CALL = {"name": "clock", "args": {}, "id": "call_0", "type": "tool_call"}


def count(messages: Sequence[BaseMessage]) -> int:
    """Tokens as a chat template has them: 2 for the prompt, 3 for the frame of a message, and its text's length."""
    return 2 + sum(3 + len(message.text) for message in messages)


class Counter:
    """`count`, and how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, messages: Sequence[BaseMessage]) -> int:
        self.calls += 1
        return count(messages)


def dialogue(turns: int, system: str = "") -> list[BaseMessage]:
    """Turns of 2 * (3 + 7) = 20 tokens."""
    pairs = [m for i in range(turns) for m in (HumanMessage(f"ask {i:03}"), AIMessage(f"ans {i:03}"))]
    return [SystemMessage(system), *pairs] if system else pairs


_text = st.text(max_size=12)
_block = st.fixed_dictionaries({"type": st.just("text"), "text": _text})
_image = st.just({"type": "image_url", "image_url": {"url": "data:,"}})
_content = st.one_of(_text, st.lists(st.one_of(_text, _block, _image), max_size=3))
_ids = st.sampled_from(["a", "b", "c"])
_calls = st.lists(_ids.map(lambda name: CALL | {"id": name}), max_size=2)
_broken = st.lists(
    _ids.map(lambda name: CALL | {"id": name, "type": "invalid_tool_call", "args": "{", "error": None}), max_size=2
)
_ai = st.builds(AIMessage, _content, tool_calls=_calls, invalid_tool_calls=_broken)
_ai_chunk = st.builds(AIMessageChunk, _content, tool_calls=_calls)
_status = st.sampled_from(["success", "error"])
_tool = st.builds(
    lambda content, name, how: ToolMessage(content, tool_call_id=name, status=how), _content, _ids, _status
)
_role = st.sampled_from(["critic", "system", "user", "assistant"])
any_message = st.one_of(
    _content.map(HumanMessage),
    _content.map(HumanMessage),
    _content.map(SystemMessage),
    _ai,
    _tool,
    _content.map(HumanMessageChunk),
    _content.map(SystemMessageChunk),
    _ai_chunk,
    st.builds(lambda content, name: ToolMessageChunk(content=content, tool_call_id=name), _content, _ids),
    st.builds(lambda content, role: ChatMessage(content, role=role), _text, _role),
    st.builds(lambda content, role: ChatMessageChunk(content=content, role=role), _text, _role),
    st.builds(lambda content: FunctionMessage(content, name="f"), _text),
    st.builds(lambda content: FunctionMessageChunk(content=content, name="f"), _text),
    st.just("1").map(lambda name: RemoveMessage(id=name)),
)
any_conversation = st.lists(any_message, max_size=14)


def is_system(message: BaseMessage) -> bool:
    """By its class, or by the role that it names."""
    return isinstance(message, SystemMessage) or getattr(message, "role", "") == "system"


def is_human(message: BaseMessage) -> bool:
    """By its class, or by the role that it names."""
    return isinstance(message, HumanMessage) or getattr(message, "role", "") == "user"

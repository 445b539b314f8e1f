"""Chat templates: the GGUF's own Jinja template, rendered as untrusted code.

A template comes with the model file, so it runs in our sandbox (`sandbox.py`; RELIABILITY row 15). There is no
fall-back format: a model without a template needs one by argument.
Knows nothing of tokens or LangChain.
"""

from collections.abc import Sequence
from typing import Any

from phireside.errors import TemplateError
from phireside.models.sandbox import TIME_LIMIT_S, Sandbox, within

SOURCE_LIMIT = 100_000  # characters; the longest known ones have 20,000, and Python compiles this in a second

# {"role": "system" | "user" | "assistant", "content": str}; where the template takes tools also the role "tool", and
# "tool_calls" in OpenAI's form with the arguments as a dict.
Message = dict[str, Any]


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: the Jinja source, from the GGUF's `tokenizer.chat_template`.
        bos, eos: the model's begin- and end-of-text tokens as text.

    Raises:
        TemplateError: it is empty, too long, no valid Jinja, or fails on a plain question.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        if not source.strip():
            raise TemplateError(
                "The model has no chat template, so its prompt format is not known.",
                hint="Pass chat_template=…, as printed on the model's page, or use an instruct model.",
            )
        if len(source) > SOURCE_LIMIT:
            raise TemplateError(
                f"The chat template has {len(source):,} characters; {SOURCE_LIMIT:,} are allowed.", hint=_BRING_ONE
            )
        self._globals = {"bos_token": bos, "eos_token": eos}
        self._template = within(TIME_LIMIT_S, lambda: Sandbox().from_string(source))
        probe = self._render([_message("user", "Why?")])
        if "Why?" not in probe:
            raise TemplateError("The chat template leaves out the user's message.", hint=_BRING_ONE)
        self.takes_system = self._takes_system()
        self.takes_tools = "Zebra7" in self._probe([_message("user", "Why?")], [_PROBE_TOOL])

    def render(
        self, messages: Sequence[Message], tools: Sequence[Message] | None = None, *, answering: bool = True
    ) -> str:
        """The prompt, up to where the model's answer begins.

        Args:
            messages: the conversation.
            tools: in OpenAI's form, for a template that takes them.
            answering: whether the model's turn is begun at the end.

        Consecutive messages of one role are joined, since most templates demand turns. Where the template has no
        system role, the system text goes in front of the first user message.

        Raises:
            TemplateError: the template refuses the messages, takes too long or writes too much.
        """
        turns = _in_turns(messages if self.takes_system else _fold_system(messages))
        return self._render(turns, tools, answering=answering)

    def _render(
        self, messages: Sequence[Message], tools: Sequence[Message] | None = None, *, answering: bool = True
    ) -> str:
        # Templates are written for transformers, which passes None where there are no tools and documents.
        values = {"messages": messages, "add_generation_prompt": answering, "tools": tools or None, "documents": None}
        return within(TIME_LIMIT_S, lambda: self._template.render(**self._globals, **values))

    def _takes_system(self) -> bool:
        """Whether a system message comes out: some templates raise on it, some drop it silently."""
        return "Zebra7." in self._probe([_message("system", "Zebra7."), _message("user", "Why?")])

    def _probe(self, messages: Sequence[Message], tools: Sequence[Message] | None = None) -> str:
        """A rendering; empty if the template refuses."""
        try:
            return self._render(messages, tools)
        except TemplateError:
            return ""


_PROBE_TOOL = {
    "type": "function",
    "function": {"name": "Zebra7", "description": "", "parameters": {"type": "object", "properties": {}}},
}
_BRING_ONE = "Pass another one as chat_template=…, or use another model file."


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _fold_system(messages: Sequence[Message]) -> list[Message]:
    """System texts as the beginning of the first user message."""
    system = "\n\n".join(m["content"] for m in messages if m["role"] == "system" and m["content"])
    rest = [m for m in messages if m["role"] != "system"]
    if not system:
        return rest
    at = next((i for i, m in enumerate(rest) if m["role"] == "user"), None)
    if at is None:
        return [_message("user", system), *rest]
    return [*rest[:at], {**rest[at], "content": f"{system}\n\n{rest[at]['content']}"}, *rest[at + 1 :]]


def _in_turns(messages: Sequence[Message]) -> list[Message]:
    """Consecutive messages of one role, joined by an empty line; calls and results of tools stay apart."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1]["role"] == message["role"] and _is_plain(message) and _is_plain(turns[-1]):
            turns[-1] = {**message, "content": f"{turns[-1]['content']}\n\n{message['content']}"}
        else:
            turns.append(dict(message))
    return turns


def _is_plain(message: Message) -> bool:
    return message["role"] != "tool" and not message.get("tool_calls")

"""From messages to tokens, exactly: the template's markers become control tokens, what people wrote never does.

Also remembers which tokens an answer was generated as, so that the next turn starts with those very tokens: text that
is tokenised again may split differently, and then the KV cache would not fit. Knows nothing of LangChain.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import Any

from phireside.models.engine import Vocabulary
from phireside.models.templates import ChatTemplate, Message
from phireside.text import clean_text

_CUT = "\ufdd0"  # a Unicode noncharacter: marks where a marker in somebody's text is broken in two
_REMEMBERED = 64  # conversations


class PromptEncoder:
    """Messages to tokens for one model file. Safe to use from any thread.

    Args:
        vocabulary: the model's tokenizer.
        template: its chat template.
    """

    def __init__(self, vocabulary: Vocabulary, template: ChatTemplate) -> None:
        self.vocabulary, self.template = vocabulary, template
        longest_first = sorted(vocabulary.markers, key=len, reverse=True)
        self._marker = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None
        self._heads = {marker[:n] for marker in longest_first for n in range(1, len(marker))}
        self._tails = {marker[n:] for marker in longest_first for n in range(1, len(marker))}
        self._longest = max(map(len, longest_first), default=0)
        self._memory: OrderedDict[str, list[int]] = OrderedDict()
        self._lock = threading.Lock()

    def render(self, messages: Sequence[Message], tools: Sequence[Message] | None = None) -> str:
        """The prompt as text, with cuts (U+FDD0) wherever somebody's text could be read as a marker.

        Args:
            messages: the conversation.
            tools: for a template that takes tools; None if it does not.
        """
        return self.template.render([self._cut_all(m) for m in messages], [self._cut_all(t) for t in tools or []])

    def encode(self, prompt: str) -> list[int]:
        """Tokens of a rendered prompt, beginning with the model's begin-of-text token if it wants one."""
        known, tokens = self._recall(prompt)
        if not known and self.vocabulary.adds_bos:
            tokens = [self.vocabulary.bos]
        for piece in self._pieces(prompt[len(known) :]):
            tokens += self.vocabulary.tokenize(piece, markers=True)
        if tokens[:2] == [self.vocabulary.bos] * 2:  # the template writes it as well
            del tokens[0]
        return tokens

    def continuation(self, prompt: str, text: str) -> list[int]:
        """The tokens of a text as the model's answer to a rendered prompt."""
        before, text = self.encode(prompt), clean_text(text)
        whole = self.encode(prompt + self._cut(text))
        if whole[: len(before)] == before:
            return whole[len(before) :]
        return self.vocabulary.tokenize(text, markers=False)  # it would grow together with the prompt's end

    def pieces(self, text: str) -> list[str | int]:
        """A template's own text as ordinary text and control tokens."""
        parts: list[str | int] = []
        at = 0
        for found in self._marker.finditer(text) if self._marker else ():
            tokens = self.vocabulary.tokenize(found[0], markers=True)
            if len(tokens) == 1:
                parts += [text[at : found.start()], tokens[0]]
                at = found.end()
        return [part for part in [*parts, text[at:]] if part != ""]

    def remember(self, prompt: str, prompt_tokens: Sequence[int], answer: str, answer_tokens: Sequence[int]) -> None:
        """An answer was generated as these tokens; later prompts that continue it will begin with them."""
        if not answer or self._cut(answer) != answer:
            return
        with self._lock:
            self._memory[prompt + answer] = [*prompt_tokens, *answer_tokens]
            self._memory.move_to_end(prompt + answer)
            while len(self._memory) > _REMEMBERED:
                self._memory.popitem(last=False)

    def _recall(self, prompt: str) -> tuple[str, list[int]]:
        """The longest remembered beginning of a prompt, if a marker follows it, and its tokens."""
        with self._lock:
            fitting = [known for known in self._memory if prompt.startswith(known)]
            # Only before a marker is it certain that tokens do not depend on what follows.
            fitting = [known for known in fitting if self._marker and self._marker.match(prompt, len(known))]
            if not fitting:
                return "", []
            best = max(fitting, key=len)
            self._memory.move_to_end(best)
            return best, list(self._memory[best])

    def _cut_all(self, value: Any) -> Any:
        """The same value with cuts in all its texts: what JSON writes of a text has its markers where the text had."""
        if isinstance(value, str):
            return self._cut(clean_text(value))
        if isinstance(value, Mapping):
            return {self._cut_all(key): self._cut_all(each) for key, each in value.items()}
        return [self._cut_all(each) for each in value] if isinstance(value, list | tuple) else value

    def _cut(self, text: str) -> str:
        """Mark the places where the text is, or with its neighbours could become, a marker."""
        text = text.replace(_CUT, "\ufffd")
        if not self._marker:
            return text
        starts = [0, *(start + 1 for start, _ in self._spans(text)), len(text)]
        text = _CUT.join(text[a:b] for a, b in pairwise(starts)) if len(starts) > 2 else text
        if any(text[:n] in self._tails for n in range(1, min(self._longest, len(text)) + 1)):
            text = _CUT + text
        if any(text[-n:] in self._heads for n in range(1, min(self._longest, len(text)) + 1)):
            text += _CUT
        return text

    def _pieces(self, prompt: str) -> list[str]:
        """The prompt without cuts, split at those cuts that stand inside a marker."""
        if _CUT not in prompt or not self._marker:
            return [prompt]
        parts = prompt.split(_CUT)
        cuts, whole = set(accumulate(map(len, parts))), "".join(parts)
        # Marker by marker, not cut by cut: a text may hold 100,000 of both.
        needed = {at for start, end in self._spans(whole) for at in range(start + 1, end) if at in cuts}
        return [whole[a:b] for a, b in pairwise([0, *sorted(needed), len(whole)]) if a < b]

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where markers stand in a text, overlapping ones too."""
        at = 0
        while self._marker and (found := self._marker.search(text, at)):
            yield found.span()
            at = found.start() + 1

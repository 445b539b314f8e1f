"""Prompt-lookup speculation: guess the next tokens from what followed the same words earlier in this very sequence.

Answers that quote a passage, and agents that repeat a format, are guessed well and cheaply. A wrong guess costs its
place in one batch and never changes the text: every token is still chosen from its own logits.
Source: Saxena, "Prompt Lookup Decoding" (2023). Knows tokens, and nothing of models.
"""

from collections.abc import Sequence

_WORDS = 3  # tokens that must be alike before a guess is made


class Lookup:
    """What followed which tokens, over one growing sequence.

    Args:
        tokens: the prompt.
        most: most tokens of a guess; 0 = never guess.
    """

    def __init__(self, tokens: Sequence[int], most: int) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # position after the newest occurrence of some words
        self._most = most
        self.add(tokens)

    def add(self, tokens: Sequence[int]) -> None:
        """The sequence goes on. The newest words are entered only now: they must not find themselves."""
        for token in tokens if self._most else ():
            if len(self._tokens) >= _WORDS:
                self._after[tuple(self._tokens[-_WORDS:])] = len(self._tokens)
            self._tokens.append(token)

    def guess(self, most: int) -> list[int]:
        """Up to `most` tokens that may come next."""
        at = self._after.get(tuple(self._tokens[-_WORDS:]))
        return self._tokens[at : at + max(0, min(most, self._most))] if at else []

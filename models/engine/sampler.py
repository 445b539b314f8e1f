"""How the next token is drawn from logits: llama.cpp's chain of samplers. Knows nothing of grammars."""

import random
from collections.abc import Sequence

from phireside.models.engine.library import llama
from phireside.models.engine.request import Sampling

_ANY_SEED = 2**32 - 1  # llama.cpp takes it for "a new one each time"
LOOK_BACK = 64  # tokens that the repetition penalty looks back on, those of the prompt included


class Sampler:
    """Penalties, top-k, top-p, min-p, temperature, then a draw; greedy at temperature 0.

    A temperature below 1e-6 is greedy too: logits divided by it could overflow.

    Args:
        n_vocab: size of the vocabulary.
        sampling: what is wanted.
        before: the tokens that stand before.
    """

    def __init__(self, n_vocab: int, sampling: Sampling, before: Sequence[int]) -> None:
        self._lib = lib = llama()
        self._penalizes, greedy = sampling.repeat_penalty != 1.0, sampling.temperature < 1e-6
        self.plain = greedy and not self._penalizes  # the token with the largest logit, whatever stands before
        chain = []
        if self._penalizes:
            chain.append(lib.llama_sampler_init_penalties(n_vocab, LOOK_BACK, sampling.repeat_penalty, 0.0, 0.0))
        if greedy:
            chain.append(lib.llama_sampler_init_greedy())
        else:
            seed = random.getrandbits(32) if sampling.seed is None else sampling.seed
            seed = 2**31 if seed == _ANY_SEED else seed
            chain += [lib.llama_sampler_init_top_k(sampling.top_k)] if sampling.top_k else []
            chain += [lib.llama_sampler_init_top_p(sampling.top_p, 1), lib.llama_sampler_init_min_p(sampling.min_p, 1)]
            chain += [lib.llama_sampler_init_temp(sampling.temperature), lib.llama_sampler_init_dist(seed)]
        self.pointer = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        for link in chain:
            lib.llama_sampler_chain_add(self.pointer, link)
        self.accept(before[-LOOK_BACK:])

    def accept(self, tokens: Sequence[int]) -> None:
        """Tell the repetition penalty, if there is one, of tokens that it did not draw."""
        for token in tokens if self._penalizes else ():
            self._lib.llama_sampler_accept(self.pointer, token)

    def close(self) -> None:
        """Free the chain."""
        if self.pointer:
            self._lib.llama_sampler_free(self.pointer)
            self.pointer = None

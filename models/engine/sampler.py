"""How the next token is drawn from logits: llama.cpp's chain of samplers. Knows nothing of grammars."""

import ctypes
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phireside.models.engine.library import llama
from phireside.models.engine.request import Sampling

_ANY_SEED = 2**32 - 1  # llama.cpp takes it for "a new one each time"
LOOK_BACK = 64  # tokens that the repetition penalty looks back on, those of the prompt included
_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])  # llama_token_data


@dataclass(frozen=True, slots=True)
class Stage:
    """What one link of the chain leaves of the vocabulary.

    Attributes:
        name: llama.cpp's of the link: penalties, top-k, top-p, min-p, temp, greedy.
        tokens: those that are left, in any order.
        logits: theirs.
    """

    name: str
    tokens: NDArray[np.int32]
    logits: NDArray[np.float32]


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

    def stages(self, logits: NDArray[np.float32]) -> list[Stage]:
        """What each link leaves of some logits (shape: vocabulary), one after another; nothing is drawn."""
        lib = self._lib
        candidates = np.zeros(len(logits), _CANDIDATE)
        candidates["id"], candidates["logit"] = np.arange(len(logits)), logits
        pointer = candidates.ctypes.data_as(lib.llama_token_data_p)
        array = lib.llama_token_data_array(pointer, len(logits), -1, False)
        stages = []
        for number in range(lib.llama_sampler_chain_n(self.pointer)):
            link = lib.llama_sampler_chain_get(self.pointer, number)
            name = lib.llama_sampler_name(link).decode().lstrip("?")  # it marks links that change nothing
            if name == "dist":
                break
            lib.llama_sampler_apply(link, ctypes.byref(array))
            memory = ctypes.c_char * (array.size * _CANDIDATE.itemsize)  # a link may have replaced or shortened it
            left = np.frombuffer(memory.from_address(ctypes.addressof(array.data.contents)), _CANDIDATE)
            left = left[[array.selected]] if name == "greedy" else left
            stages.append(Stage(name, left["id"].copy(), left["logit"].copy()))
        return stages

    def close(self) -> None:
        """Free the chain."""
        if self.pointer:
            self._lib.llama_sampler_free(self.pointer)
            self.pointer = None


def sampling_stages(logits: NDArray[np.float32], sampling: Sampling, before: Sequence[int]) -> list[Stage]:
    """What each stage of a sampling would leave of some logits (shape: vocabulary), `before` standing before them."""
    sampler = Sampler(len(logits), sampling, before)
    try:
        return sampler.stages(logits)
    finally:
        sampler.close()

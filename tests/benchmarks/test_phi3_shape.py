"""The random Phi-3 is a Phi-3 to llama.cpp: it loads, decodes, and has the right template and special tokens."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from weights import load_benchmark

PROMPT = b"<|user|>\nWhat is a variable?<|end|>\n<|assistant|>\n"


@pytest.fixture(scope="module")
def llama(tiny_phi3: Path) -> Iterator[Any]:
    from llama_cpp import Llama

    model = Llama(model_path=str(tiny_phi3), n_ctx=512, n_threads=1, logits_all=True, verbose=False)
    yield model
    model.close()


@pytest.mark.real
def test_has_phi_3s_template_and_architecture(llama: Any) -> None:
    assert llama.metadata["general.architecture"] == "phi3"
    assert "phi-3" in llama.metadata["general.name"].lower()
    assert llama.metadata["tokenizer.chat_template"] == (
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}"
        "{{'<|user|>' + '\\n' + message['content'] + '<|end|>' + '\\n' + '<|assistant|>' + '\\n'}}"
        "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\\n'}}{% endif %}{% endfor %}"
    )


@pytest.mark.real
def test_special_tokens_have_phi_3s_ids(llama: Any) -> None:
    ids = {
        b"<s>": 1,
        b"<|endoftext|>": 32000,
        b"<|assistant|>": 32001,
        b"<|system|>": 32006,
        b"<|end|>": 32007,
        b"<|user|>": 32010,
    }
    assert {text: llama.tokenize(text, add_bos=False, special=True) for text in ids} == {
        text: [token] for text, token in ids.items()
    }
    assert llama.token_bos() == 1
    assert llama.token_eos() == 32000
    assert llama.n_vocab() == 32064


@pytest.mark.real
def test_markers_in_plain_text_are_text(llama: Any) -> None:
    tokens = llama.tokenize(PROMPT, add_bos=False, special=False)
    assert max(tokens) < 32000
    assert llama.detokenize(tokens).lstrip() == PROMPT


@pytest.mark.real
@pytest.mark.parametrize("text", ["The boats come home.\n\n\tEarly?", "Zoë €5 日本 👩‍👩‍👧"])
def test_every_text_survives_the_tokenizer(llama: Any, text: str) -> None:
    tokens = llama.tokenize(text.encode(), add_bos=False)
    assert llama.detokenize(tokens).decode().lstrip(" ") == text


@pytest.mark.real
def test_english_costs_between_2_and_5_characters_a_token(llama: Any) -> None:
    text = "The harbour wakes early: fishermen bring in their boats while the baker sets out bread for the market."
    assert 2 < len(text) / len(llama.tokenize(text.encode(), add_bos=False)) < 5


@pytest.mark.real
def test_logits_are_finite_and_greedy_decoding_never_ends_by_itself(llama: Any) -> None:
    import numpy as np

    tokens = llama.tokenize(PROMPT, special=True)
    llama.reset()
    answer = [token for token, _ in zip(llama.generate(tokens, temp=0.0), range(200), strict=False)]
    assert np.isfinite(llama.scores[: len(tokens) + 199]).all()
    assert max(answer) < 32000
    assert not {0, 1, 2} & set(answer)
    assert len(set(answer)) > 20


@pytest.mark.real
def test_the_next_token_depends_on_the_earlier_ones(llama: Any) -> None:
    def following(text: str) -> tuple[int, ...]:
        llama.reset()
        tokens = llama.tokenize(f"<|user|>\n{text}<|end|>\n<|assistant|>\n".encode(), special=True)
        return tuple(token for token, _ in zip(llama.generate(tokens, temp=0.0), range(4), strict=False))

    assert len({following(text) for text in ("Red", "Blue", "Green", "A longer question about boats")}) == 4


@pytest.mark.real
def test_chatml_dialect_ends_a_turn_with_im_end(tiny_chatml: Path) -> None:
    from llama_cpp import Llama

    model = Llama(model_path=str(tiny_chatml), n_ctx=256, n_threads=1, verbose=False)
    assert model.tokenize(b"<|im_start|><|im_end|>", add_bos=False, special=True) == [32001, 32002]
    answer = model.create_chat_completion(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], max_tokens=8, temperature=0.0
    )
    assert answer["usage"]["completion_tokens"] == 8
    model.close()


def test_equal_seeds_give_equal_files(tmp_path: Path) -> None:
    write_phi3 = load_benchmark("phi3_shape").write_phi3
    one, two, other = (
        write_phi3(tmp_path / f"{i}.gguf", tiny=True, seed=seed).read_bytes() for i, seed in enumerate((1, 1, 2))
    )
    assert one == two
    assert one != other


def test_q4_k_blocks_are_finite_with_the_standard_deviation_asked_for(tmp_path: Path) -> None:
    import gguf
    import numpy as np

    shape = load_benchmark("phi3_shape")
    tensor = shape.Tensor("w", rows=64, columns=3072, gain=2.0, silent=(3, 5))
    blocks = shape._random_q4_k(tensor, np.random.default_rng(0))
    weights = gguf.quants.dequantize(blocks.reshape(64, -1), gguf.GGMLQuantizationType.Q4_K)
    assert np.isfinite(weights).all()
    assert not weights[[3, 5]].any()
    heard = np.delete(weights, [3, 5], axis=0)
    assert heard.std() == pytest.approx(2 / 3072**0.5, rel=0.05)
    assert abs(heard.mean()) < 0.1 * heard.std()

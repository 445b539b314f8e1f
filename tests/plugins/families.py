"""The chat formats of five model families, as their makers publish them: template and special tokens."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from weights import load_benchmark

SHAPE = load_benchmark("phi3_shape")


@dataclass(frozen=True)
class Family:
    """A template, and its markers; the first is the end-of-sequence token of the test model."""

    template: str
    markers: tuple[str, ...]
    has_system: bool


FAMILIES = {
    "phi3": Family(SHAPE.PHI3_TEMPLATE, tuple(SHAPE.PHI3_SPECIALS.values()), has_system=False),
    "chatml": Family(SHAPE.CHATML_TEMPLATE, tuple(SHAPE.CHATML_SPECIALS.values()), has_system=True),
    "gemma": Family(
        "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
        "{% endif %}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}"
        "{% endif %}{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
        ("<eos>", "<start_of_turn>", "<end_of_turn>"),
        has_system=False,
    ),
    "llama3": Family(
        "{% set loop_messages = messages %}{% for message in loop_messages %}"
        "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
        "+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
        "{% endif %}{{ content }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        has_system=True,
    ),
    "mistral": Family(
        "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
        "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
        "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
        "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
        ("[EOS]", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
        has_system=False,
    ),
}


@pytest.fixture(scope="session")
def family_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random GGUF with the markers of each family as control tokens, and its template."""
    folder = tmp_path_factory.mktemp("families")
    paths = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, family in FAMILIES.items():
            specials = dict(enumerate(family.markers, start=SHAPE.EOS))
            patch.setattr(SHAPE, "CHATML_SPECIALS", specials)
            patch.setattr(SHAPE, "CHATML_TEMPLATE", family.template)
            paths[name] = SHAPE.write_phi3(folder / f"{name}.gguf", tiny=True, dialect="chatml")
    return paths

"""Chat templates with tool markup, in the shapes in which four families write it; shortened to what matters here."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from weights import load_benchmark

SHAPE = load_benchmark("phi3_shape")


@dataclass(frozen=True)
class ToolFamily:
    """A template, the markers that are control tokens of the test model, and a call as the family writes it.

    Args:
        call: one call of `add` with {"a": 1}, as text without the control tokens.
        parallel: two of them; empty where the template refuses.
    """

    template: str
    markers: tuple[str, ...]
    call: str
    parallel: str


_CHATML_HEAD = (
    "{% if tools %}<|im_start|>system\n{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
    "# Tools\n<tools>{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}\n</tools><|im_end|>\n"
    "{% elif messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n{% endif %}"
)
QWEN = (
    _CHATML_HEAD + "{% for message in messages %}"
    "{% if message.role == 'user' or (message.role == 'assistant' and not message.tool_calls) %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% elif message.role == 'assistant' %}<|im_start|>assistant"
    "{% if message.content %}{{ '\n' + message.content }}{% endif %}"
    "{% for call in message.tool_calls %}{% if call.function %}{% set call = call.function %}{% endif %}"
    '{{ \'\n<tool_call>\n{"name": "\' + call.name + \'", "arguments": \' }}{{ call.arguments | tojson }}'
    "{{ '}\n</tool_call>' }}{% endfor %}<|im_end|>\n"
    "{% elif message.role == 'tool' %}<|im_start|>user\n<tool_response>\n{{ message.content }}\n</tool_response>"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}<|start_header_id|>system<|end_header_id|>\n\n"
    "{{ messages[0].content | trim }}<|eot_id|>{% set messages = messages[1:] %}{% endif %}"
    "{% if tools %}<|start_header_id|>user<|end_header_id|>\n\nGiven the following functions:\n\n"
    "{% for tool in tools %}{{ tool | tojson(indent=4) }}\n\n{% endfor %}{{ messages[0].content | trim }}<|eot_id|>"
    "{% set messages = messages[1:] %}{% endif %}"
    "{% for message in messages %}{% if message.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n"
    "{{ message.content | tojson }}<|eot_id|>"
    "{% elif 'tool_calls' in message %}{% if not message.tool_calls | length == 1 %}"
    "{{ raise_exception('This model takes one call at a time') }}{% endif %}"
    "{% set call = message.tool_calls[0].function %}<|start_header_id|>assistant<|end_header_id|>\n\n"
    "{{ '{\"name\": \"' + call.name + '\", \"parameters\": ' }}{{ call.arguments | tojson }}{{ '}' }}<|eot_id|>"
    "{% else %}<|start_header_id|>{{ message.role }}<|end_header_id|>\n\n{{ message.content | trim }}<|eot_id|>"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{% set users = messages | selectattr('role', 'equalto', 'user') | list %}{{ bos_token }}"
    "{% for message in messages %}{% if message.role == 'user' %}{% if tools and message == users[-1] %}"
    "[AVAILABLE_TOOLS] [{% for tool in tools %}{{ tool | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}]"
    "[/AVAILABLE_TOOLS]{% endif %}[INST] {{ message.content }}[/INST]"
    "{% elif message.role == 'system' %}{{ raise_exception('No system role') }}"
    "{% elif message.tool_calls %}[TOOL_CALLS] [{% for call in message.tool_calls %}"
    "{% if call.id | length != 9 %}{{ raise_exception('Ids have 9 characters') }}{% endif %}"
    '{{ \'{"name": "\' + call.function.name + \'", "arguments": \' }}{{ call.function.arguments | tojson }}'
    "{{ ', \"id\": \"' + call.id + '\"}' }}{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}"
    "{% elif message.role == 'assistant' %} {{ message.content }}{{ eos_token }}"
    "{% elif message.role == 'tool' %}[TOOL_RESULTS] {\"content\": {{ message.content | tojson }}, "
    '"call_id": "{{ message.tool_call_id }}"}[/TOOL_RESULTS]{% endif %}{% endfor %}'
)
# Takes tools, but writes a call in a way of which nobody can work out the grammar.
XML = (
    "{% if tools %}{% for tool in tools %}<tool>{{ tool.function.name }}</tool>{% endfor %}{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls or [] %}<function={{ call.function.name }}>"
    "{% for key, value in call.function.arguments | items %}<parameter={{ key }}>{{ value }}</parameter>{% endfor %}"
    "</function>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_QWEN_CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'
TOOL_FAMILIES = {
    "qwen": ToolFamily(QWEN, ("<|im_end|>", "<|im_start|>"), _QWEN_CALL, f"{_QWEN_CALL}\n{_QWEN_CALL}"),
    "hermes": ToolFamily(  # its markup is control tokens
        QWEN,
        ("<|im_end|>", "<|im_start|>", "<tool_call>", "</tool_call>"),
        '\n{"name": "add", "arguments": {"a": 1}}\n',
        '\n{"name": "add", "arguments": {"a": 1}}\n\n\n{"name": "add", "arguments": {"a": 1}}\n',
    ),
    "llama": ToolFamily(
        LLAMA,
        ("<|eot_id|>", "<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>"),
        '{"name": "add", "parameters": {"a": 1}}',
        "",
    ),
    "mistral": ToolFamily(
        MISTRAL,
        ("[EOS]", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
         "[/TOOL_RESULTS]"),
        ' [{"name": "add", "arguments": {"a": 1}}]',
        ' [{"name": "add", "arguments": {"a": 1}}, {"name": "add", "arguments": {"a": 1}}]',
    ),
}  # fmt: skip


@pytest.fixture(scope="session")
def tool_family_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random GGUF for each family, with its markers as control tokens and its template."""
    folder = tmp_path_factory.mktemp("tool-families")
    paths = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, family in TOOL_FAMILIES.items():
            patch.setattr(SHAPE, "CHATML_SPECIALS", dict(enumerate(family.markers, start=SHAPE.EOS)))
            patch.setattr(SHAPE, "CHATML_TEMPLATE", family.template)
            paths[name] = SHAPE.write_phi3(folder / f"{name}.gguf", tiny=True, dialect="chatml")
    return paths

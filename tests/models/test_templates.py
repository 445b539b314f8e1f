"""Chat templates: the prompts of the known families as their makers print them, and no silent fall-back."""

import datetime
import re

import pytest
from families import FAMILIES
from hypothesis import given
from hypothesis import strategies as st

from phireside.errors import TemplateError
from phireside.models.templates import SOURCE_LIMIT, ChatTemplate, Message

PHI3, CHATML, GEMMA, LLAMA3, MISTRAL = (
    FAMILIES[name].template for name in ("phi3", "chatml", "gemma", "llama3", "mistral")
)


def chat(*turns: tuple[str, str]) -> list[Message]:
    return [{"role": role, "content": content} for role, content in turns]


def prompt(source: str, *turns: tuple[str, str]) -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>").render(chat(*turns))


QUESTION = ("user", "Create a funny joke about chickens.")


def test_phi_3s_prompt_is_the_one_that_the_book_prints() -> None:
    assert prompt(PHI3, QUESTION) == "<s><|user|>\nCreate a funny joke about chickens.<|end|>\n<|assistant|>\n"


def test_phi_3s_second_turn_goes_on_where_the_answer_ended() -> None:
    first = prompt(PHI3, QUESTION)
    second = prompt(PHI3, QUESTION, ("assistant", "Why not?"), ("user", "Go on."))
    assert second == f"{first}Why not?<|end|>\n<|user|>\nGo on.<|end|>\n<|assistant|>\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CHATML, "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"),
        (
            LLAMA3,
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        # No system role: its text goes in front of the first user message, whether the template raises or drops it.
        (GEMMA, "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"),
        (PHI3, "<s><|user|>\nBe brief.\n\nHi<|end|>\n<|assistant|>\n"),
        (MISTRAL, "<s>[INST] Be brief.\n\nHi [/INST]"),
    ],
    ids=["chatml", "llama3", "gemma", "phi3", "mistral"],
)
def test_a_system_text_reaches_every_family(source: str, expected: str) -> None:
    assert prompt(source, ("system", "Be brief."), ("user", "Hi")) == expected


@pytest.mark.parametrize("source", [family.template for family in FAMILIES.values()], ids=FAMILIES.keys())
def test_doubled_roles_are_joined_so_that_no_family_refuses_them(source: str) -> None:
    text = prompt(source, ("user", "One."), ("user", "Two."), ("assistant", "A."), ("assistant", "B."), ("user", "C."))
    assert "One.\n\nTwo." in text
    assert "A.\n\nB." in text


@pytest.mark.parametrize("source", [GEMMA, PHI3, MISTRAL], ids=["gemma", "phi3", "mistral"])
def test_system_texts_are_folded_in_order_and_an_empty_one_leaves_no_trace(source: str) -> None:
    text = prompt(source, ("system", "S1."), ("user", "Hi."), ("assistant", "A."), ("system", "S2."), ("user", "C."))
    assert "S1.\n\nS2.\n\nHi." in text
    assert prompt(source, ("system", ""), ("user", "Hi")) == prompt(source, ("user", "Hi"))
    assert "Only this." in prompt(source, ("system", "Only this."))


@pytest.mark.parametrize("source", [family.template for family in FAMILIES.values()], ids=FAMILIES.keys())
def test_rendering_changes_no_message(source: str) -> None:
    messages = chat(("system", "S."), ("user", "One."), ("user", "Two."))
    before = [dict(message) for message in messages]
    ChatTemplate(source).render(messages)
    assert messages == before


@pytest.mark.parametrize("source", ["", " \n\t"])
def test_a_model_without_a_template_is_refused(source: str) -> None:
    with pytest.raises(TemplateError, match="no chat template") as caught:
        ChatTemplate(source)
    assert "chat_template=" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in messages %}", "endfor"),
        ("{{ messages | no_such_filter }}", "no_such_filter"),
        ("Hello", "leaves out the user's message"),
        ("{{ raise_exception('Not today') }}{{ messages[0].content }}", "Not today"),
        ("{{ nothing.at_all }}", "nothing"),
        ("{{ messages[0].content }}" + "{% if 1 %}" * 30 + "{% endif %}" * 29, "endif"),
        ("".join(f"{{% for i{n} in messages %}}" for n in range(25)) + "{% endfor %}" * 25, "nested"),
        ("{{ messages[0].content }}" + " " * SOURCE_LIMIT, "characters"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "recursion"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_with_the_reason(source: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=re.escape(reason)):
        ChatTemplate(source)


def test_a_template_that_refuses_a_conversation_says_so() -> None:
    template = ChatTemplate("{% if messages|length > 2 %}{{ raise_exception('Too long') }}{% endif %}" + CHATML)
    with pytest.raises(TemplateError, match="Too long"):
        template.render(chat(("user", "A"), ("assistant", "B"), ("user", "C")))


CONTENT = "{{ messages[0]['content'] }}"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ {'a': [1, 'ü<&', none, true]} | tojson }}", '{"a": [1, "ü<&", null, true]}'),
        ("{{ [1, 2] | tojson(indent=2) }}", "[\n  1,\n  2\n]"),
        ("{% set ns = namespace(n=0) %}{% for i in [1, 2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}", "3"),
        ("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}{{ i }}"
         "{% endfor %}", "02"),
        ("{% generation %}x{% endgeneration %}", "x"),
        ("{{ strftime_now('%Y') }}", str(datetime.datetime.now().year)),
        ("{{ 'a' ~ 1 ~ none ~ ['b'] }}", "a1None['b']"),
        ("{% set x %}a{{ 1 }}{% endset %}{{ x | upper }}", "A1"),
        ("{% macro m(a, b='!') %}{{ a }}{{ b }}{% endmacro %}{{ m('x') }}", "x!"),
        ("{{ 'a</think>b'.split('</think>')[-1] }}{{ ' c '.strip() }}{{ 'dd'.replace('d', 'e') }}", "bcee"),
        ("{{ messages[1:] | length }}{{ messages[::-1][0].role }}{{ 'abc'[-2:] }}", "0userbc"),
        ("{{ ([messages[0]] + messages) | length }}{{ ((1,) + (2,)) | join('-') }}", "21-2"),
        ("{{ messages | map(attribute='role') | join(',') }}", "user"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ messages[0].get('name', 'nobody') }}{{ messages[0].items() | list | length }}", "nobody2"),
        ("{% for k, v in {'a': 1, 'b': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}", "a1b2"),
        ("{{ 7 % 4 }}{{ 2 ** 3 }}{{ 3 * 2 }}{{ 3 is odd }}{{ '3' is even }}", "386TrueFalse"),
        ("{{ 'ab' | reverse }}{{ [1, 2] | reverse | list }}{{ 'abc' | list | last }}{{ 'x' | safe }}", "ba[2, 1]cx"),
        ("{{ tools is none }}{{ documents is none }}{{ messages[0].tool_calls is defined }}", "TrueTrueFalse"),
        ("{{ dict(a=1).a }}{{ {'b': 2}['b'] }}{{ (3, 4)[1] }}", "124"),
        ("  {%- if true -%} a {%- endif %}", "a"),
        ("{{ loop_is_undefined is defined }}{% for m in messages %}{{ loop.first and loop.last }}{% endfor %}",
         "FalseTrue"),
    ],
)  # fmt: skip
def test_what_templates_are_written_with_works(source: str, expected: str) -> None:
    assert ChatTemplate(source + CONTENT).render(chat(("user", "Hi"))) == f"{expected}Hi"


def test_a_conversation_as_long_as_the_largest_contexts_is_rendered() -> None:
    words = "word " * 200_000  # 1 MB
    text = prompt(LLAMA3, ("user", words), ("assistant", words), ("user", "Hi"))
    assert text.count("word") == 400_000


@given(st.lists(st.text(), min_size=1, max_size=6))
def test_any_text_comes_out_of_chatml_unchanged(texts: list[str]) -> None:
    roles = ["user", "assistant"] * 3
    text = CHATML_TEMPLATE.render(chat(*zip(roles, texts, strict=False)))
    turns = [f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in zip(roles, texts, strict=False)]
    assert text == "".join(turns) + "<|im_start|>assistant\n"


CHATML_TEMPLATE = ChatTemplate(CHATML)

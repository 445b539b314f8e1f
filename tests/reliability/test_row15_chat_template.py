"""Row 15: a chat template is code of a stranger. It reaches nothing, ends in time, and is never replaced silently.

Every case runs in a process of its own with an address-space limit, so that a bomb is a counted failure.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from weights import load_benchmark

from phireside.errors import TemplateError
from phireside.models import ChatGGUF
from phireside.models.templates import ChatTemplate
from phireside.settings import Settings

Figure = Callable[[int, str], None]

RUN = "import os; os.system('touch $CANARY')"
ESCAPES = [
    "{{ cycler.__init__.__globals__.os.system('touch $CANARY') }}",
    "{{ joiner.__init__.__globals__.os.system('touch $CANARY') }}",
    "{{ namespace.__init__.__globals__.os.system('touch $CANARY') }}",
    "{{ namespace()['__class__']['__init__']['__globals__'] }}",
    "{{ lipsum.__globals__['os'].system('touch $CANARY') }}",
    "{{ lipsum['__globals__']['os']['system']('touch $CANARY') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__mro__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ ['']|map(attribute='__class__')|first }}",
    "{{ ['']|map('attr', '__class__')|list }}",
    "{{ ['']|selectattr('__class__')|list }}",
    "{{ ['']|join('', attribute='__class__') }}",
    "{{ '{0.__class__.__mro__}'.format('') }}",
    "{{ '{0.__class__}'['format']('') }}",
    "{{ ['{0.__class__}']|map(attribute='format')|first }}",
    "{{ '%s' | format('') }}",
    "{{ ''.upper.__globals__ }}",
    "{{ ''.upper.__closure__[0].cell_contents.__globals__ }}",
    "{{ ''.replace.func.__globals__ }}",
    "{{ ''.replace.func('', '__class__') }}",
    "{{ raise_exception.__globals__ }}",
    "{{ strftime_now.__globals__['datetime'].sys }}",
    "{{ range.__globals__ }}",
    "{{ dict.__base__.__subclasses__() }}",
    "{{ dict.mro() }}",
    "{% for x in messages %}{{ loop._iterator.gi_frame }}{{ loop.__init__.__globals__ }}{% endfor %}",
    "{{ (messages|map('upper')).gi_frame.f_back.f_globals }}",
    "{% macro m() %}{% endmacro %}{{ m._environment }}{{ m.__init__.__globals__ }}",
    "{% macro m() %}{{ caller.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% import 'os' as os %}{{ os.system('touch $CANARY') }}",
    "{% from 'os' import system %}{{ system('touch $CANARY') }}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{{ messages.append(1) }}",
    "{{ messages[0].update(role='system') }}",
    "{{ messages[0].clear() }}{{ {}.fromkeys([1]) }}",
    "{{ ''.encode() }}{{ (1).to_bytes(2, 'big') }}",
    "{{ undefined_thing.__class__ }}{{ (undefined_thing|default(x)).__init__ }}",
    "{% set x = messages.__class__ %}{{ x }}",
    f"{{{{ exec({RUN!r}) }}}}{{{{ eval({RUN!r}) }}}}",
    "{{ config }}{{ request }}{{ get_flashed_messages.__globals__ }}{{ url_for.__globals__ }}",
]


def text_of(characters: str, doublings: int) -> str:
    return (
        f"{{% set big = namespace(t='{characters}') %}}{{% for i in range({doublings}) %}}"
        "{% set big.t = big.t + big.t %}{% endfor %}"
    )


def nested(container: str, times: int = 60) -> str:
    """`ns.a` and `ns.b`, equal but not the same, each nested `times` deep with two of the former in each."""
    a, b = (container.replace("X", name) for name in ("ns.a", "ns.b"))
    return (
        f"{{% set ns = namespace(a=1, b=1) %}}{{% for i in range({times}) %}}{{% set ns.a = {a} %}}"
        f"{{% set ns.b = {b} %}}{{% endfor %}}"
    )


MEGABYTES = text_of("ab", 22)
BOMBS = [
    "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "{% for a in range(100000) %}{% for b in range(100000) %}{{ b }}{% endfor %}{% endfor %}",
    "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "{% block b %}{{ self.b() }}{% endblock %}",
    "{{ range(1000000000)|list }}",
    "{{ range(999999999999)|length }}",
    "{{ 'a' * 1500000000 }}",
    "{{ 1500000000 * [1] }}",
    "{{ 2 ** 32 ** 32 }}{{ 9 ** 9 ** 9 }}",
    "{% set ns = namespace(n=2) %}{% for i in range(60) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "{{ 1|round(2000000000, 'ceil') }}",
    "{{ '%1500000000d' % 1 }}",
    "{{ '%1500000000d' is odd }}{{ '%1500000000d' is even }}",
    "{{ '%1500000000d' is divisibleby 5 }}",
    "{{ '%1500000000d' | format(1) }}",
    "{{ '{:>1500000000}'.format(1) }}",
    "{{ 'a'.ljust(1500000000) }}",
    "{{ 'a'['ljust'](1500000000) }}",
    "{{ ('a'|list|map(attribute='center')|first)(1500000000) }}",
    "{{ ('1'|list|map(attribute='zfill')|first)(1500000000) }}",
    "{{ 'a' | center(1500000000) }}{{ 'a' | indent(1500000000) }}{{ 'a' | wordwrap(1) }}",
    "{{ (1).to_bytes(1500000000, 'big') }}",
    "{{ strftime_now('%1500000000Y') }}",
    "{{ lipsum(1000000) }}",
    text_of("aaaaaaaa", 60),
    "{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
    "{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set ns.t = [ns.t, ns.t]|join %}{% endfor %}",
    "{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set ns.t = ns.t.join('ab') %}{% endfor %}",
    "{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set ns.t = ns.t|replace('a','aa') %}{% endfor %}",
    "{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set ns.t = ns.t.replace('', 'a') %}{% endfor %}",
    "{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(60) %}{% set ns.t %}{{ ns.t }}{{ ns.t }}{% endset %}"
    "{% endfor %}",
    "{% macro m(x) %}{{ x }}{{ x }}{% endmacro %}{% set ns = namespace(t='aaaaaaaa') %}{% for i in range(60) %}"
    "{% set ns.t = m(ns.t) %}{% endfor %}",
    "{% set ns = namespace(t='<<<<<<<<') %}{% for i in range(60) %}{% set ns.t %}{% filter upper %}{{ ns.t }}{{ ns.t }}"
    "{% endfilter %}{% endset %}{% endfor %}",
    "{% autoescape true %}{% set ns = namespace(t='<') %}{% for i in range(60) %}{% set ns.t = ns.t ~ '<' ~ ns.t %}"
    "{% endfor %}{{ ns.t }}{% endautoescape %}",
    "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
    MEGABYTES + "{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = n.l + [big.t ~ i] %}{% endfor %}",
    MEGABYTES + "{% set n = namespace(l=[]) %}{% for i in range(9999) %}{% set n.l = n.l + [big.t[i:]] %}{% endfor %}",
    MEGABYTES + "".join(f"{{% set x{i} = big.t.upper() %}}" for i in range(400)),
    MEGABYTES + "".join(f"{{% set x{i} = big.t|reverse %}}" for i in range(400)),
    MEGABYTES + "".join(f"{{% set x{i} = big.t[{i}:] %}}" for i in range(400)),
    MEGABYTES + "{% macro m(n) %}{% set y = big.t|lower %}{% if n %}{{ m(n-1) }}{% endif %}{% endmacro %}{{ m(200) }}",
    MEGABYTES + "{% for i in range(99999) %}{{ big.t }}{% endfor %}",
    MEGABYTES + "{{ range(99999)|map(attribute='x', default=big.t)|join|length }}",
    MEGABYTES + "{{ range(99999)|map(attribute='x', default=big.t)|list|length }}",
    MEGABYTES + "{{ big.t.split('a')|length }}",
    MEGABYTES + "{{ big.t.splitlines()|length }}",
    MEGABYTES + "{{ big.t|list|length }}",
    MEGABYTES + "{{ big.t.strip(big.t)|length }}",
    MEGABYTES + "{{ big.t|trim(big.t)|length }}",
    MEGABYTES + "{{ big.t.rfind('x' ~ big.t[2:]) }}",
    MEGABYTES + "{{ big.t.rsplit('x' ~ big.t[2:])|length }}",
    "{% set l = range(99999)|list %}{% set x %}{% for i in range(99999) %}{{ l }}{% endfor %}{% endset %}",
    "{{ range(99999)|map(attribute='x', default=range(99999)|list)|sort|length }}",
    "{{ {}.fromkeys(range(99999), range(99999)|list) }}",
    "{{ '" + "a" * 4000 + "'|replace('a', '" + "b" * 4000 + "')|replace('b', '" + "c" * 4000 + "') }}",
    *(nested("[X, X]") + use for use in ("{{ ns.a }}", "{{ ns.a == ns.b }}", "{{ ns.a|tojson }}", "{{ ns.a|upper }}",
      "{{ ns.a ~ '' }}", "{{ raise_exception(ns.a) }}", "{{ [ns.a]|join }}", "{{ ns.a in [ns.b] }}", "{{ ns.a|safe }}",
      "{{ strftime_now(ns.a) }}", "{{ ns.a|int(ns.a) }}", "{{ 'a'.replace(ns.a, 'b') }}", "{{ ns.a is lower }}")),
    *(nested("(X, X)") + use for use in ("{{ {ns.a: 1} }}", "{{ [ns.a]|unique|list }}", "{{ messages[0][ns.a] }}",
      "{{ ns.a < ns.b }}")),
    *(nested("{1: X, 2: X}") + use for use in ("{{ ns.a }}", "{{ ns.a == ns.b }}")),
    nested("dict(x=X, y=X)") + "{{ ns.a == ns.b }}",
    nested("namespace(x=X, y=X)") + "{{ ns.a }}",
    nested("[X].__add__([X])"),
    "{% macro m(n) %}{% if n %}{{ m(n - 1, varargs, varargs) }}{% else %}{{ {varargs: 1} }}{% endif %}{% endmacro %}"
    "{{ m(60, 1) }}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1, x=kwargs, y=kwargs) }}{% else %}{{ kwargs }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "{% if 1 %}x{% endif %}" * 4000,
    "{{ " + "[" * 200 + "1" + "]" * 200 + " }}",
    "{{ 1" + "+1" * 5000 + " }}",
    "x" * 50_000_000,
]  # fmt: skip

# Forks once per case: the imports are paid for once, and a case that dies takes nothing along.
CHILD = """
import json, os, resource, signal, sys, time
from phireside.errors import TemplateError
from phireside.models import templates

def attempt(source):
    begun = time.process_time()
    try:
        text = templates.ChatTemplate(source).render([{"role": "user", "content": "Why?"}])
        outcome = "text", text
    except TemplateError as error:
        outcome = "refused", str(error)
    except BaseException as error:
        outcome = "escaped", repr(error)
    seconds, memory = time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return *outcome, seconds, memory

limit, address_space = float(sys.argv[1]), int(sys.argv[2])
templates.TIME_LIMIT_S = limit
for source in json.load(sys.stdin):
    read, write = os.pipe()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))
        signal.setitimer(signal.ITIMER_REAL, 4 * limit + 10)  # its default action ends a process that holds the GIL
        kind, text, seconds, memory = attempt(source)
        os.write(write, json.dumps([kind, text[:2000], seconds, memory]).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    print(json.dumps(json.loads(answer) if answer else ["died", str(status), 4 * limit + 10, 0]), flush=True)
"""
QUESTION = "{{ messages[0]['content'] }}"
GIGABYTE = 1024**3


def attempts(sources: list[str], time_limit: float, canary: Path) -> Iterator[tuple[str, str, str, float, int]]:
    """(source, what happened, text, seconds, kilobytes at most) of each."""
    run = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, str(time_limit), str(2 * GIGABYTE)],
        input=json.dumps([source + QUESTION for source in sources]),
        env={**os.environ, "CANARY": str(canary), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    results = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(results) == len(sources)
    return ((source, *result) for source, result in zip(sources, results, strict=True))


def check(sources: list[str], time_limit: float, tmp_path: Path, figure: Figure, what: str) -> None:
    canary = tmp_path / "canary"
    longest, most, bad = 0.0, 0, []
    for source, kind, text, seconds, memory in attempts(sources, time_limit, canary):
        longest, most = max(longest, seconds), max(most, memory)
        reached = kind == "text" and any(sign in text for sign in ("<class", "<built-in", "<module", "root:", "[1, "))
        # Twice the limit: a template is compiled and rendered, each within it.
        if kind in {"died", "escaped"} or reached or "MemoryError" in text or seconds > 2 * time_limit + 2:
            bad.append((source[:300], kind, text[:300], seconds))
    figure(
        15,
        f"{what}: {int(canary.exists())} canaries, {len(bad)} escaped, hung or died of {len(sources)} "
        f"(95 % bound {3 / len(sources):.1%}); at most {longest:.1f} s with a limit of {time_limit:g} s, "
        f"{most / 1024:.0f} MB",
    )
    assert not bad
    assert not canary.exists()


def test_the_child_counts_what_dies_and_what_is_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instrument itself: a hang and a hunger for memory inside it are seen."""
    broken = CHILD.replace("    begun = time.process_time()", "    exec(source.partition('{{')[0])\n    begun = 0", 1)
    monkeypatch.setattr(sys.modules[__name__], "CHILD", broken)
    hang, hungry = "sum(range(10**12))", "bytes(3 * 1024**3)"
    kinds = [kind for _, kind, *_ in attempts([hang, hungry], -2.2, tmp_path)]  # 4 x limit + 10 = 1.2 s
    assert kinds == ["died", "died"]


@pytest.mark.real
def test_payloads_run_no_code(tmp_path: Path, figure: Figure) -> None:
    check(ESCAPES, 5, tmp_path, figure, "escapes")


@pytest.mark.real
def test_bombs_end_in_time_and_memory(tmp_path: Path, figure: Figure) -> None:
    check(BOMBS, 0.15, tmp_path, figure, "bombs")


@pytest.mark.slow
@pytest.mark.real
def test_bombs_end_within_the_time_limit_of_the_product(tmp_path: Path, figure: Figure) -> None:
    check(BOMBS, 5, tmp_path, figure, "bombs, at the product's own limit")


@pytest.mark.real
@pytest.mark.parametrize("how", ["no key", "empty"])
def test_a_gguf_without_a_template_gets_no_format_silently(
    how: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    shape = load_benchmark("phi3_shape")
    if how == "empty":
        monkeypatch.setattr(shape, "PHI3_TEMPLATE", "")
    else:
        monkeypatch.setattr(shape.gguf.GGUFWriter, "add_chat_template", lambda self, template: None)
    path = shape.write_phi3(tmp_path / "bare.gguf", tiny=True)
    model = ChatGGUF(model=str(path), settings=settings)
    with pytest.raises(TemplateError, match="no chat template") as caught:
        model.invoke("Hi")
    assert "chat_template=" in caught.value.hint
    given = ChatGGUF(model=str(path), settings=settings, chat_template=shape.CHATML_TEMPLATE, max_tokens=2)
    assert given.invoke("Hi").usage_metadata["output_tokens"] == 2
    figure(15, f"a GGUF without a template ({how}): 0 silent fall-backs of 1")


def test_a_template_that_raises_on_a_system_text_keeps_its_format(figure: Figure) -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    )
    messages = [{"role": "system", "content": "S."}, {"role": "user", "content": "U."}]
    assert ChatTemplate(source).render(messages) == "<user>S.\n\nU.</user>"
    figure(15, "a template that raises on a system text: 0 silent fall-backs of 1")

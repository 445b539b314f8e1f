"""Reading scenario files: what is wrong is told with file and line, and nothing in a file is run."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from referencing.exceptions import Unresolvable

from phireside.agents.scenarios import editor_schema, load
from phireside.agents.scenarios.json_schemas import first_problem
from phireside.agents.scenarios.load import _KEYS, read_case
from phireside.errors import SettingsError

ROOT = Path(__file__).parent.parent.parent
GOOD = "turns:\n  - user: Hi\n"


def written(folder: Path, text: str, name: str = "one.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def problem(folder: Path, text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load([written(folder, text)])
    assert "Traceback" not in caught.value.message
    return caught.value.message.replace(str(folder / "one.yaml"), "one.yaml") + "\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "one.yaml:1: a scenario is a mapping"),
        ("- a\n- b\n", "one.yaml:1: a scenario is a mapping"),
        ("name: x\n", "one.yaml:1: the key 'turns' is missing"),
        ("name: x\nturns: []\n", "one.yaml:2: turns"),
        (GOOD + "tolls: [calculator]\n", "one.yaml:3: there is no key 'tolls' here; is it 'tools'?"),
        (GOOD + "    expct: []\n", "one.yaml:3: there is no key 'expct' here; is it 'expect'?"),
        (GOOD + "    user: Hi again\n", "one.yaml:3: the key 'user' is there twice"),
        (GOOD + "tools:\n  - calculater\n", "one.yaml:4: there is no tool 'calculater'; is it 'calculator'?"),
        (GOOD + "tools: [clock, clock]\n", "one.yaml:3: the tool 'clock' is there twice"),
        (GOOD + "tools: [5]\n", "one.yaml:3: tools.1 must be a mapping"),
        (GOOD + "tools:\n  - name: t\n    results: [{returns: x}]\n", "one.yaml:4: the stub 't' is no real tool"),
        (GOOD + "tools:\n  - {name: clock, results: [{}]}\n", "needs either returns or error"),
        (
            GOOD + "tools:\n  - {name: clock, options: {zone: Paris}, results: [{returns: x}]}\n",
            "leave one of them out",
        ),
        (GOOD + "tools:\n  - {name: clock, effects: writes}\n", "effects is for stubs only"),
        (GOOD + "memory: elephant\n", "one.yaml:3: memory: there is no memory 'elephant'"),
        (GOOD + "seeds: 0\n", "one.yaml:3: seeds"),
        (GOOD + "seeds: []\n", "one.yaml:3: seeds"),
        (GOOD + "seeds: [1, 1]\n", "one.yaml:3: seeds: a seed is there twice"),
        (GOOD + "seeds: 1000000000\n", "one.yaml:3: seeds"),
        (GOOD + "pass-rate: 1.5\n", "one.yaml:3: pass-rate"),
        (GOOD + "expect:\n  - contains: 42\n", "one.yaml:4: expect.1.contains must be a text: put 42 in quotes"),
        (GOOD + "expect:\n  - not-contains: 42\n", "one.yaml:4: expect.1.contains must be a text"),
        (GOOD + "expect:\n  - choice: [yes, no]\n", "must be a text: put True in quotes"),
        (GOOD + "expect:\n  - {}\n", "one.yaml:4: expect.1: has none, but needs exactly one of contains"),
        (
            GOOD + "expect:\n  - {contain: a}\n",
            "no key 'contain' here; is it 'contains'?\n",
        ),
        (GOOD + "expect:\n  - {contains: a, regex: b}\n", "has contains, regex, but needs exactly one"),
        (GOOD + "expect:\n  - {contains: a, tolerance: 1}\n", "tolerance belongs to number, not to contains"),
        (GOOD + "expect:\n  - {contains: a, negated: true}\n", "negated is no key; write not-contains"),
        (GOOD + "expect:\n  - contains:\n", "contains has no value"),
        (GOOD + "expect:\n  - regex: '('\n", "one.yaml:4: expect.1.regex: the regular expression does not compile"),
        (GOOD + "expect:\n  - json-schema: {type: 5}\n", "it is no JSON schema"),
        (GOOD + "expect:\n  - json-schema: {items: {$ref: 'http://127.0.0.1/x'}}\n", "leads out of the file"),
        (GOOD + "expect:\n  - json-schema: {$dynamicRef: x}\n", "leads out of the file"),
        (GOOD + "expect:\n  - json-schema: {$ref: '#'}\n", "refers to itself without end"),
        (GOOD + "expect:\n  - json-schema: {$ref: '#/nope'}\n", "there is nothing at '/nope'"),
        (GOOD + "expect:\n  - json-schema: {pattern: '('}\n", "'(' is not a 'regex'"),
        (GOOD + "expect:\n  - {number: .nan}\n", "number"),
        (GOOD + "tools: [clock]\nexpect:\n  - not-tool: clok\n", "one.yaml:5: there is no tool 'clok'; is it 'clock'?"),
        (GOOD + "expect:\n  - calls: [{tool: clock}]\n", "one.yaml:4: there is no tool 'clock'"),
        (GOOD + "    script: [{thought: Hm}]\n", "needs either call or answer"),
        (GOOD + "limits: {steps: 0}\n", "one.yaml:3: limits.steps"),
        ("turns: [\n", "one.yaml:2: expected the node content"),
        ("turns: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        (GOOD + "name: 2024-99-99\n", "one.yaml"),
        (GOOD + "seeds: !!int ''\n", "cannot be read"),
        (GOOD + "pass-rate: !!float ''\n", "cannot be read"),
        (GOOD + "name: !!bool x\n", "cannot be read"),
        (GOOD + "name: !!timestamp x\n", "cannot be read"),
        (
            GOOD + "tools:\n- {name: web_search, options: {results: x}}\n",
            "one.yaml:4: web_search cannot have the results",
        ),
        (GOOD + "tools:\n- {name: clock, options: {now: 5}}\n", "one.yaml:4: clock has no option now"),
        (GOOD + "tools:\n- knowledge\n", "one.yaml:4: knowledge needs the option documents"),
        (GOOD + "tolls: []\n", "is it 'tools'?\n"),
        ("a: &a [*a]\n", "one.yaml"),
        ("[" * 3000, "one.yaml"),
        ("turns: \x00\n", "one.yaml"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(tmp_path: Path, text: str, words: str) -> None:
    assert words in problem(tmp_path, text)


def test_a_schema_reads_no_files_and_asks_nobody(tmp_path: Path) -> None:
    canary = tmp_path / "secret.json"
    canary.write_text('{"const": "secret"}')
    for address in (canary.as_uri(), "http://127.0.0.1:9/x", "secret.json"):  # a socket would be another error
        schema = json.dumps({"anyOf": [{"$ref": address}]})
        assert "leads out of the file" in problem(tmp_path, f"{GOOD}expect:\n  - json-schema: {schema}\n")
        with pytest.raises(Unresolvable):
            first_problem(json.loads(schema), "secret")


def test_anchors_that_stand_for_a_billion_values_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert "anchors stand for more than" in problem(tmp_path, "\n".join(lines))


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    written(tmp_path, GOOD + "tolls: []\nmemry: x\n", "a.yaml")
    written(tmp_path, "name: x\n", "b.yaml")
    with pytest.raises(SettingsError) as caught:
        load([tmp_path])
    assert [line.partition("yaml:")[2][:1] for line in caught.value.message.splitlines()] == ["3", "4", "1"]


def test_tools_that_there_are_not_are_told_with_the_rest_in_order_of_lines(tmp_path: Path) -> None:
    found = problem(tmp_path, "memory: elephant\ntools: [calculater]\nturns:\n  - usr: Hi\n").splitlines()
    assert [line.split(":")[1] for line in found] == ["1", "2", "4", "4"]
    assert "is it 'calculator'?" in found[1]


def test_a_missing_file_does_not_hide_what_is_wrong_with_the_others(tmp_path: Path) -> None:
    bad = written(tmp_path, "name: x\n")
    with pytest.raises(SettingsError) as caught:
        load([bad, tmp_path / "gone.yaml", tmp_path / "lost.yaml"])
    assert len(caught.value.message.splitlines()) == 3


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(SettingsError, match="no file"):
        load([tmp_path / "pipe.yaml"])


def test_files_that_are_not_there_or_not_text_are_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no file .*gone\.yaml"):
        load([tmp_path / "gone.yaml"])
    with pytest.raises(SettingsError, match=r"no scenario .* in the folder"):
        load([tmp_path])
    with pytest.raises(SettingsError, match="No scenario was named"):
        load([])
    (tmp_path / "bad.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load([tmp_path])
    (tmp_path / "bad.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(SettingsError, match="1,000,001 bytes"):
        load([tmp_path])


def test_a_folder_gives_its_files_by_name_without_cassettes_and_each_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.yaml", "a.yml", "deep/c.yaml", "a.cassette.yaml", ".hidden.yaml", "notes.txt"):
        written(tmp_path, GOOD, name)
    assert [case.name for case in load([tmp_path, tmp_path / "b.yaml"])] == ["a", "b", "c"]


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        written(tmp_path, "name: twin\n" + GOOD, name)
    with pytest.raises(SettingsError, match="both named 'twin'"):
        load([tmp_path])


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["name", "tools", "turns", "expect", "model", "seeds", "memory", "limits", "passes-on", "x"]),
        _values | st.lists(st.dictionaries(st.sampled_from(["user", "expect", "tool", "calls", "contains"]), _values)),
    )
)
def test_whatever_a_file_says_it_is_a_scenario_or_an_error_of_ours(tmp_path_factory: Any, data: dict[str, Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(json.dumps(data))  # nearly all JSON is YAML
    try:
        assert read_case(path).scenario.turns
    except SettingsError as error:
        assert str(path) in error.message  # noqa: PT017


def test_the_schema_for_editors_is_that_of_this_version() -> None:
    """`phireside run --schema > scenarios/schema.json` makes it anew."""
    assert json.loads((ROOT / "scenarios" / "schema.json").read_text()) == editor_schema()


def test_every_key_is_explained_in_the_documentation() -> None:
    page = (ROOT / "docs" / "scenarios.md").read_text()
    assert [key for key in _KEYS if not key.startswith("not-") and f"`{key}`" not in page] == []


def test_the_schema_agrees_with_the_reader() -> None:
    import yaml
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(editor_schema())
    for path in sorted((ROOT / "scenarios").glob("*.yaml")):
        assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == [], path
    for bad in (
        {"turns": []},
        {"turns": [{"user": "Hi"}], "x": 1},
        {"turns": [{"user": "Hi", "expect": [{"contains": "a", "regex": "b"}]}]},
        {"turns": [{"user": "Hi", "expect": [{"negated": True, "regex": "b"}]}]},
        {"turns": [{"user": "Hi"}], "memory": "elephant"},
    ):
        assert list(validator.iter_errors(bad)), bad
    assert not list(validator.iter_errors({"turns": [{"user": "Hi", "expect": [{"not-json-schema": {}}]}]}))

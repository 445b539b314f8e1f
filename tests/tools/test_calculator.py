"""The calculator: exact values, percents, units, dates, errors that say what to do, and a grammar it can read."""

import operator
import subprocess
import sys
from contextlib import suppress
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from grammar_tools import HABITS, write
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from llguidance import LLTokenizer

from phireside.errors import ToolError
from phireside.models import ChatGGUF
from phireside.models.dialects.inputs import checked
from phireside.models.grammar import Grammar
from phireside.tools import calculator
from phireside.tools.arithmetic import evaluate
from phireside.tools.expression import steps
from phireside.tools.expression_grammar import expression_grammar
from phireside.tools.units import UNITS

GRAMMAR = Grammar.lark(expression_grammar())
BYTES = LLTokenizer("byte")

VALUES = {
    "2249 * 0.85": "1911.65",
    "0.1 + 0.2": "0.3",
    "1 / 3 * 3": "1",
    "1 / 3": "0.333333333333333",
    "2 ** 100": "1267650600228229401496703205376",
    "2 ** 200": "1.60693804425899e+60",
    "10 ** 299": "1e+299",
    "-2 ** 2": "-4",
    "2 ^ 3 ^ 2": "512",
    "2 × 3 ÷ 4": "1.5",  # noqa: RUF001 as people write it
    "(12 + 30) * -4": "-168",
    "0 * -1": "0",
    ".5 + 1e3": "1000.5",
    # percents
    "15% of 80": "12",
    "80 + 15%": "92",
    "80 - 15%": "68",
    "100 + 10% + 10%": "121",
    "15%": "0.15",
    "10% + 5%": "0.15",
    "15% - 3": "-2.85",
    "80 * 15%": "12",
    "(5 + 10)% of 80": "12",
    "10% of 20% of 50": "1",
    # whole division
    "17 % 5": "2",
    "17 // 5": "3",
    "-7 // 2": "-4",
    "-7 % 3": "2",
    "7 % (-3)": "-2",
    "15% % 2": "0.15",
    # functions
    "sqrt(16) + abs(-3)": "7",
    "round(2.345, 2)": "2.35",
    "round(1911.65)": "1912",
    "floor(-1.5)": "-2",
    "ceil(1.2)": "2",
    "min(3, 1, 2) + max(3, 1, 2)": "4",
    "sum(1, 2, 3.5)": "6.5",
    "mean(1, 2, 4)": "2.33333333333333",
    "ln(e)": "1",
    "log10(1000)": "3",
    "log(8, 2)": "3",
    "exp(0)": "1",
    "sin(pi / 6)": "0.5",
    "cos(pi)": "-1",
    "tan(45 degrees)": "1",
    # units
    "3 km in miles": "1.864113576712 miles",
    "5 kg + 300 g": "5.3 kg",
    "1 mile in km": "1.609344 km",
    "100 km / 2 h": "50 km/h",
    "60 km/h in m/s": "16.6666666666667 m/s",
    "120 km / 60 km/h": "2 hours",
    "50 km/h * 30 min in km": "25 km",
    "6 km / 500 m": "12",
    "5 l / 2 m**2": "0.0025 m",
    "6 km/m": "6000",
    "6 acres / 3 tsp": "2 acre/tsp",
    "100 celsius in fahrenheit": "212 fahrenheit",
    "-40 °C to °F": "-40 fahrenheit",
    "(5 m)**2 in cm**2": "250000 cm**2",
    "30% of 5 kg": "1.5 kg",
    "5 kg + 10%": "5.5 kg",
    "max(3 m, 200 cm)": "3 m",
    "round(10 km / 3, 1)": "3.3 km",
    "5 GB in MiB": "4768.37158203125 MiB",
    "1 hour in min": "60 minutes",
    # dates
    "2024-03-01 + 30 days": "2024-03-31",
    "2 weeks + 2024-03-01": "2024-03-15",
    "2024-01-31 + 1 month": "2024-02-29",
    "2024-02-29 - 1 year": "2023-02-28",
    "2024-03-01 - 2024-01-01": "60 days",
    "days between 2024-03-01 and 2024-01-01": "60 days",
    "weeks between 2024-01-01 and 2024-03-01": "8 weeks",
    "months between 2024-01-31 and 2024-03-01": "1 month",
    "years between 1990-05-17 and 2026-05-16": "35 years",
}

WITHOUT_VALUE = {
    "": "not complete",
    "2 +": "not complete",
    "2 3": "'3' does not belong",
    "1,000 + 1": "',' does not belong",
    "2249 euros * 0.85": "'euros' does not belong",
    "sqrt(1, 2)": "sqrt takes 1",
    "log(8)": "log takes 2",
    "9**9**9": "10**300 or larger",
    "(" * 50 + "1" + ")" * 50: "More than 40",
    "1" * 51: "51 digits, more than 50",
    "1 / 0": "divided by 0",
    "5 m / 0": "divided by 0",
    "5 % 0": "no such number",
    "sqrt(-1)": "no such number",
    "ln(0)": "no such number",
    "tan(pi / 2)": "no tangent",
    "sin(1e10)": "angle is larger",
    "round(1, 99)": "0 to 50 places",
    "10 of 50": "needs a percent",
    "5 kg + 3 m": "Cannot convert",
    "5 kg + 3": "Cannot convert",
    "20 celsius + 5 celsius": "offset unit",
    "5 in miles": "no unit",
    "sqrt(4 m)": "plain number",
    "(2 m)**9": "powers 1, 2 and 3",
    "5 m**1.5": "no exponent",
    "2023-02-30": "not a date",
    "2024-03-01 + 1.5 months": "1.5 months cannot be added",
    "2024-03-01 + 36 hours": "1.5 days cannot be added",
    "2024-03-01 + 2024-03-01": "unsupported operand",
    "9999-12-31 + 1 day": "out of range",
    "days between 5 and 6": "not a date",
    "1e-200 * 1e-200": "nearer to 0",
}


class TestStandardUnit(ToolsUnitTests):
    @property
    def tool_constructor(self) -> BaseTool:
        return calculator()

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"expression": "2249 * 0.85"}


class TestStandardIntegration(ToolsIntegrationTests):
    @property
    def tool_constructor(self) -> BaseTool:
        return calculator()

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"expression": "2249 * 0.85"}


@pytest.mark.parametrize(("expression", "value"), VALUES.items())
def test_an_expression_has_its_value(expression: str, value: str) -> None:
    assert calculator().invoke({"expression": expression}) == value


@pytest.mark.parametrize("value", sorted(set(VALUES.values())))
def test_a_result_is_an_expression_with_the_same_value(value: str) -> None:
    assert evaluate(value) == value


def test_a_second_conversion_is_shown_as_the_first_was() -> None:
    for _ in range(2):  # pint keeps its factors, so the second rounds nothing
        assert evaluate("7 km in yards") == "7655.29308836395 yards"


@pytest.mark.parametrize(("expression", "reason"), WITHOUT_VALUE.items())
def test_what_has_no_value_says_why_and_what_to_do(expression: str, reason: str) -> None:
    with pytest.raises(ToolError) as caught:
        calculator().invoke({"expression": expression})
    assert reason in caught.value.message
    assert caught.value.hint


numbers = st.decimals(min_value=0, max_value=10**6, places=2, allow_nan=False).map(lambda number: f"{number:f}")
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
trees = st.recursive(numbers, lambda inner: st.tuples(st.sampled_from("+-*"), inner, inner), max_leaves=5)


def text_of(tree: Any) -> str:
    return tree if isinstance(tree, str) else f"({text_of(tree[1])} {tree[0]} {text_of(tree[2])})"


def fraction_of(tree: Any) -> Fraction:
    return Fraction(tree) if isinstance(tree, str) else OPERATORS[tree[0]](*map(fraction_of, tree[1:]))


@given(trees, trees)
@settings(deadline=None)
def test_arithmetic_agrees_with_fractions(above: Any, below: Any) -> None:
    assert Fraction(evaluate(text_of(above))) == fraction_of(above)  # exact: at most 50 digits
    quotient = f"{text_of(above)} / {text_of(below)}"
    if not fraction_of(below):
        with pytest.raises(ToolError):
            evaluate(quotient)
    else:
        exact = fraction_of(above) / fraction_of(below)
        assert abs(Fraction(evaluate(quotient)) - exact) <= abs(exact) / 10**14


@given(st.integers(-(10**20), 10**20), st.integers(-(10**20), 10**20))
def test_whole_numbers_are_exact_and_divided_as_python_does(a: int, b: int) -> None:
    assert evaluate(f"({a}) * ({b})") == str(a * b)
    if b:
        assert evaluate(f"({a}) // ({b})") == str(a // b)
        assert evaluate(f"({a}) % ({b})") == str(a % b)


@given(st.lists(numbers, min_size=2, max_size=12), st.data())
@settings(deadline=None)
def test_precedence_is_python_s(operands: list[str], data: st.DataObject) -> None:
    signs = data.draw(
        st.lists(st.sampled_from(["+", "-", "*"]), min_size=len(operands) - 1, max_size=len(operands) - 1)
    )
    products, sum_signs = [Decimal(operands[0])], [1]
    with localcontext() as context:
        context.prec = 200
        for sign, operand in zip(signs, operands[1:], strict=True):
            if sign == "*":
                products[-1] *= Decimal(operand)
            else:
                products.append(Decimal(operand))
                sum_signs.append(1 if sign == "+" else -1)
        exact = sum(sign * product for sign, product in zip(sum_signs, products, strict=True))
        text = operands[0] + "".join(f" {sign} {operand}" for sign, operand in zip(signs, operands[1:], strict=True))
        assert abs(Decimal(evaluate(text)) - exact) <= sum(products) / 10**14


@pytest.mark.parametrize("habit", HABITS)
def test_what_the_grammar_writes_is_an_expression(habit: str) -> None:
    for seed in range(40):
        text, _ = write(GRAMMAR.matcher(BYTES, 400), BYTES, 400, habit, seed)
        steps(text)  # raises if it is none
        with suppress(ToolError):  # such as 1 / 0; anything else would be a fault
            evaluate(text)


@pytest.mark.parametrize("expression", [
    "17 * 23", "(12 + 30) * 4", "2249 * 0.85", "15% of 80", "80 + 15% - 3", "2 ^ 10", "17 % 5", "-3 * -4",
    "sqrt(144) + 5", "round(10 / 3, 2)", "max(1, 2, 3)", "log(8, 2)", "2 * pi", "3 km in miles",
    "5 kg + 300 g - 10% in pounds", "2 hours + 30 minutes",
    "300 km / 4 hours", "60 km/h in m/s", "100 celsius in fahrenheit", "2024-03-01 + 30 days",
    "2024-03-01 - 2024-01-01", "days between 2024-01-01 and 2024-02-29",
])  # fmt: skip
def test_the_grammar_lets_common_expressions_pass(expression: str) -> None:
    matcher = GRAMMAR.matcher(BYTES, 400)
    matcher.consume(BYTES.tokenize_str(expression))
    assert matcher.accepting
    evaluate(expression)


@pytest.mark.parametrize(
    "text", ["2249 * 0.85 = 2249.05 euros", "What is 2?", "17", "3 km in kg", "3 km in km", "2 ** 9"]
)
def test_the_grammar_stops_what_small_models_write_instead(text: str) -> None:
    matcher = GRAMMAR.matcher(BYTES, 400)
    allowed = matcher._parser.deep_copy().validate_tokens(BYTES.tokenize_str(text))
    matcher.consume(BYTES.tokenize_str(text)[:allowed])
    assert allowed < len(text) or not matcher.accepting


def test_the_grammar_can_be_bound_and_names_every_unit() -> None:
    checked([calculator()])
    assert all(f'"{name.split()[0]}' in expression_grammar() for names in UNITS.values() for name in names.values())


@pytest.mark.parametrize("word", [word for names in UNITS.values() for name in names.values() for word in name.split()])
def test_every_spelling_of_a_unit_is_known_to_pint(word: str) -> None:
    assert evaluate(f"2 {word}").startswith("2 ")


words = st.sampled_from([name.split()[-1] for names in UNITS.values() for name in names.values()])


@given(words, words, st.sampled_from("*/"), st.integers(1, 999))
@settings(deadline=None)
def test_any_two_units_have_a_product_and_a_quotient(one: str, other: str, sign: str, number: int) -> None:
    try:
        value = evaluate(f"{number} {one} {sign} 2 {other}")
    except ToolError as error:
        if "offset unit" not in error.message:  # of temperatures
            raise
    else:
        again = evaluate(value)  # 1.28e+17 is exact when it is read, and then written in full
        assert evaluate(again) == again


def test_a_unit_is_spelled_in_one_dimension_only() -> None:
    spelled = [word for names in UNITS.values() for name in names.values() for word in set(name.split())]
    assert len(spelled) == len(set(spelled))


def test_pint_is_loaded_by_the_first_unit_only() -> None:
    code = """
import sys
from phireside.tools import calculator
tool = calculator()
tool.invoke("15% of 80")
print("pint" in sys.modules)
tool.invoke("3 km in miles")
print("pint" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout.split() == ["False", "True"]


def test_nothing_goes_out_and_nothing_comes_from_strangers() -> None:
    metadata = calculator().metadata
    assert metadata is not None
    assert metadata["effects"] == "none"
    assert metadata["untrusted"] is False


@pytest.mark.real
def test_the_starter_writes_expressions_that_have_values(starter_path: Path) -> None:
    model = ChatGGUF(model=str(starter_path), temperature=0, max_tokens=150)
    bound = model.bind_tools([calculator()], tool_choice="any")
    for question, value in [("What is 17 * 23?", "391"), ("What is 20% of 350?", "70")]:
        (call,) = bound.invoke(question).tool_calls
        assert calculator().invoke(call["args"]) == value

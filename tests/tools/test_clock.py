"""The clock: date, time and weekday in a place, and how far away a date is."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from phireside.errors import ToolError
from phireside.models import ChatGGUF
from phireside.models.dialects.inputs import checked
from phireside.tools import clock

NOON = datetime(2026, 11, 22, 12, 5, tzinfo=UTC)


def fixed(zone: str = "UTC", now: datetime = NOON) -> BaseTool:
    return clock(zone=zone, now=lambda: now)


class TestStandardUnit(ToolsUnitTests):
    @property
    def tool_constructor(self) -> BaseTool:
        return clock()

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"city": "Tokyo", "date": "2026-12-24"}


class TestStandardIntegration(ToolsIntegrationTests):
    @property
    def tool_constructor(self) -> BaseTool:
        return clock()

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"city": "Tokyo", "date": "2026-12-24"}


def test_it_tells_weekday_date_and_time() -> None:
    assert fixed().invoke({}) == "It is Sunday 2026-11-22, 12:05 (UTC+00:00)."


@pytest.mark.parametrize(("city", "said"), [
    ("Tokyo", "In Tokyo it is Sunday 2026-11-22, 21:05 (UTC+09:00)."),
    ("new york", "In new york it is Sunday 2026-11-22, 07:05 (UTC-05:00)."),
    ("America/New_York", "In America/New_York it is Sunday 2026-11-22, 07:05 (UTC-05:00)."),
    ("Kathmandu", "In Kathmandu it is Sunday 2026-11-22, 17:50 (UTC+05:45)."),
    ("Kiritimati", "In Kiritimati it is Monday 2026-11-23, 02:05 (UTC+14:00)."),
])  # fmt: skip
def test_a_city_has_its_own_time(city: str, said: str) -> None:
    assert fixed().invoke({"city": city}) == said


def test_summer_time_is_kept() -> None:
    assert "14:05 (UTC+02:00)" in fixed("Europe/Paris", NOON - timedelta(days=120)).invoke({})
    assert "13:05 (UTC+01:00)" in fixed("Europe/Paris").invoke({})


def test_without_a_zone_it_is_this_machine_s() -> None:
    local = NOON.astimezone()
    assert f"{local:%Y-%m-%d}, {local:%H:%M}" in clock(now=lambda: NOON).invoke({})


def test_the_time_that_is_passed_in_may_be_of_any_zone() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=-3)))
    assert fixed(now=there).invoke({}) == fixed().invoke({})


@pytest.mark.parametrize(("date", "said"), [
    ("2026-12-24", "2026-12-24 is in 32 days, a Thursday."),
    ("2026-11-23", "2026-11-23 is in 1 day, a Monday."),
    ("2026-11-22", "2026-11-22 is today, a Sunday."),
    ("2026-11-21", "2026-11-21 is 1 day ago, a Saturday."),
    ("2024-02-29", "2024-02-29 is 997 days ago, a Thursday."),
])  # fmt: skip
def test_a_date_is_compared_with_today(date: str, said: str) -> None:
    assert fixed().invoke({"date": date}).endswith(f"(UTC+00:00). {said}")


def test_today_is_the_city_s() -> None:
    assert "is today, a Monday" in fixed().invoke({"city": "Kiritimati", "date": "2026-11-23"})


@pytest.mark.parametrize(("given", "hint"), [
    ({"city": "Pari"}, "Europe/Paris"),
    ({"city": "../../etc/passwd"}, "Europe/Paris"),
    ({"city": "x" * 10_000}, "Europe/Paris"),
    ({"date": "2026-02-30"}, "2025-12-24"),
    ({"date": "tomorrow"}, "2025-12-24"),
])  # fmt: skip
def test_what_it_does_not_know_is_an_error_with_a_hint(given: dict[str, str], hint: str) -> None:
    with pytest.raises(ToolError) as caught:
        fixed().invoke(given)
    assert hint in caught.value.hint
    assert len(str(caught.value)) < 300


def test_a_wrong_zone_is_refused_when_the_tool_is_made() -> None:
    with pytest.raises(ToolError):
        clock(zone="Atlantis")


def test_every_city_of_the_grammar_is_known() -> None:
    (spec,) = checked([fixed()])
    cities = spec.grammars["city"]["regex"].replace("\\", "").split("|")
    assert {"Tokyo", "New York", "UTC"} <= set(cities)
    for city in cities:
        assert "2026-11-2" in fixed().invoke({"city": city})


@pytest.mark.real
def test_the_starter_asks_for_the_city_that_it_was_asked_for(starter_path: Path) -> None:
    bound = ChatGGUF(model=str(starter_path), temperature=0, max_tokens=150).bind_tools([fixed()], tool_choice="any")
    (call,) = bound.invoke("What time is it in Tokyo?").tool_calls
    assert call["args"]["city"] == "Tokyo"

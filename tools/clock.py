"""The tool `clock`: date, time and weekday in a time zone, and how far away a date is. It knows no holidays."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from difflib import get_close_matches
from functools import cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from langchain_core.tools import BaseTool, StructuredTool

from phireside.errors import ToolError

_REGIONS = ("Africa", "America", "Antarctica", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
_DATE = r"[12][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"


def _now() -> datetime:
    return datetime.now(UTC)


def clock(*, zone: str = "", now: Callable[[], datetime] = _now) -> BaseTool:
    """A tool that tells the time.

    Args:
        zone: where it is asked, "Europe/Paris" or "Paris"; empty for this machine's.
        now: the time, with a time zone.

    Raises:
        ToolError: there is no such zone.
    """
    here = _zone(zone)

    def tell(
        city: Annotated[str, "another place than here"] = "",
        date: Annotated[str, "year-month-day"] = "",
    ) -> str:
        """Tells the date, weekday and time now, in a city if one is asked for, and how many days away a date is."""
        moment = now().astimezone(_zone(city) if city.strip() else here)
        place = f"In {' '.join(city.split())} it" if city.strip() else "It"
        return f"{place} is {_said(moment)}" + (f" {_compared(_day(date), moment.date())}" if date.strip() else "")

    cities = sorted({name.rpartition("/")[2].replace("_", " ") for name in _written()})  # as they are asked for
    return StructuredTool.from_function(
        tell,
        name="clock",
        metadata={
            "grammars": {"city": {"regex": "|".join(map(re.escape, cities))}, "date": {"regex": _DATE}},
            "effects": "none",
            "untrusted": False,
        },
    )


def _said(moment: datetime) -> str:
    offset = f"{moment:%z}"
    return f"{moment:%A} {moment:%Y-%m-%d}, {moment:%H:%M} (UTC{offset[:3]}:{offset[3:5]})."


def _compared(day: date, today: date) -> str:
    days = (day - today).days
    unit = "day" if abs(days) == 1 else "days"
    distance = "today" if not days else f"in {days} {unit}" if days > 0 else f"{-days} {unit} ago"
    return f"{day} is {distance}, a {day:%A}."


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise ToolError(f"{text[:40]!r} is not a date.", hint='Write one as "2025-12-24".') from None


def _zone(name: str) -> ZoneInfo | None:
    """A zone by its name or its city; None for this machine's."""
    if not (asked := name.strip().lower().replace(" ", "_")):
        return None
    if found := _zones().get(asked):
        return ZoneInfo(found)
    near = get_close_matches(asked[:80], _zones(), n=3)
    hint = (
        f"Is it {' or '.join(_zones()[each] for each in near)}?"
        if near
        else 'Name a large city of the same zone, or write "Europe/Paris".'
    )
    raise ToolError(f"There is no time zone {name[:80]!r}.", hint=hint)


@cache
def _zones() -> dict[str, str]:
    """Names by what they are found under, in small letters: whole, and by the city."""
    names = _written()
    return {name.rpartition("/")[2].lower(): name for name in names} | {name.lower(): name for name in names}


@cache
def _written() -> list[str]:
    places = (name for name in available_timezones() if name.startswith(_REGIONS) and "/" in name)
    return ["UTC", *sorted(places)]

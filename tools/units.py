"""The units that the calculator knows, and what they do with numbers; pint does the conversions.

Pint takes its time to load, so that happens when the first unit is met. Pint's own parser is not used: a name is looked
up in the table below, which is also what the grammar is made of. No currencies: their rates change.
"""

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pint import Quantity, UnitRegistry

    Measure = Quantity[Decimal]

Powers = Mapping[str, int]  # {"km": 1, "h": -1}

# By dimension, pint's name: what is written for many, for one, and what else is understood.
UNITS: dict[str, dict[str, str]] = {
    "length": {
        "kilometer": "km km kilometers kilometer kilometres kilometre",
        "meter": "m m meters meter metres metre",
        "centimeter": "cm cm centimeters centimeter centimetres centimetre",
        "millimeter": "mm mm millimeters millimeter millimetres millimetre",
        "mile": "miles mile mi",
        "yard": "yards yard yd",
        "foot": "feet foot ft",
        "inch": "inches inch",
    },
    "mass": {
        "kilogram": "kg kg kilograms kilogram kilos kilo",
        "gram": "g g grams gram",
        "milligram": "mg mg milligrams milligram",
        "metric_ton": "tonnes tonne t",
        "pound": "pounds pound lbs lb",
        "ounce": "ounces ounce oz",
    },
    "time": {
        "second": "seconds second s sec",
        "minute": "minutes minute min",
        "hour": "hours hour h",
        "day": "days day",
        "week": "weeks week",
        "month": "months month",
        "year": "years year",
    },
    "volume": {
        "liter": "liters liter l L litres litre",
        "milliliter": "ml ml mL milliliters milliliter millilitres millilitre",
        "gallon": "gallons gallon gal",
        "pint": "pints pint",
        "cup": "cups cup",
        "tablespoon": "tablespoons tablespoon tbsp",
        "teaspoon": "teaspoons teaspoon tsp",
        "fluid_ounce": "floz floz",
    },
    "area": {"hectare": "hectares hectare ha", "acre": "acres acre"},
    "speed": {"mile_per_hour": "mph mph", "knot": "knots knot"},
    "temperature": {
        "degree_Celsius": "celsius celsius degC °C",
        "degree_Fahrenheit": "fahrenheit fahrenheit degF °F",
        "kelvin": "kelvin kelvin K",
    },
    "energy": {
        "joule": "joules joule J",
        "kilojoule": "kJ kJ",
        "calorie": "calories calorie cal",
        "kilocalorie": "kcal kcal",
        "watt_hour": "Wh Wh",
        "kilowatt_hour": "kWh kWh",
    },
    "power": {"watt": "watts watt W", "kilowatt": "kW kW kilowatts kilowatt", "horsepower": "horsepower horsepower hp"},
    "data": {
        "bit": "bits bit",
        "byte": "bytes byte B",
        "kilobyte": "kB kB KB",
        "megabyte": "MB MB",
        "gigabyte": "GB GB",
        "terabyte": "TB TB",
        "kibibyte": "KiB KiB",
        "mebibyte": "MiB MiB",
        "gibibyte": "GiB GiB",
    },
    "angle": {"degree": "degrees degree deg", "radian": "radians radian rad"},
}

_WRITTEN = {name: spelled.split() for names in UNITS.values() for name, spelled in names.items()}
KNOWN = {word: name for name, spelled in _WRITTEN.items() for word in spelled}

_making = Lock()


def registry() -> "UnitRegistry[Decimal]":
    """Pint's units with decimal numbers, made once."""
    with _making:  # quantities of two registries cannot be used together
        return _registry()


@cache
def _registry() -> "UnitRegistry[Decimal]":
    from pint import UnitRegistry  # slow to load: see above

    return UnitRegistry(non_int_type=Decimal, cache_folder=None)


def measure(amount: Decimal, powers: Powers) -> "Measure":
    """An amount of some units.

    Args:
        amount: how many.
        powers: words of `KNOWN` with their exponents.
    """
    units = registry()
    return units.Quantity(amount, units.UnitsContainer(_by_name(powers)))


def converted(value: "Measure", powers: Powers) -> "Measure":
    """The same in other units; pint's DimensionalityError if it cannot be."""
    return value.to(registry().UnitsContainer(_by_name(powers)))


def reduced(value: "Measure") -> "Measure":
    """With one unit for each dimension, where pint finds such: `km*min/h` become `km`."""
    from pint import DimensionalityError  # slow to load: see above

    if len(list(value.unit_items())) < 2:
        return value
    try:
        shorter: Measure = value.to_reduced_units()  # type: ignore[assignment]
    except DimensionalityError:  # pint can round an exponent: acres / teaspoons
        return value
    return shorter if all(Decimal(str(power)) % 1 == 0 for _, power in shorter.unit_items()) else value


def _by_name(powers: Powers) -> dict[str, int]:
    named: dict[str, int] = {}
    for word, power in powers.items():  # km and kilometers may both occur
        named[KNOWN[word]] = named.get(KNOWN[word], 0) + power
    return named


def words(value: "Measure") -> str:
    """The units of a measure as the calculator reads them: `km`, `miles`, `m/s**2`."""
    found = [(name, int(Decimal(str(power)))) for name, power in value.unit_items()]
    powers = sorted(found, key=lambda item: item[1] < 0)
    if len(powers) == 1 and powers[0][1] == 1:
        many, one, *_ = _WRITTEN[powers[0][0]]
        return " " + (one if value.magnitude == 1 else many)
    above = "*".join(_power(name, power) for name, power in powers if power > 0)
    below = "".join(f"/{_power(name, -power)}" for name, power in powers if power < 0)
    return (f" {above}" if above else "") + below


def _power(name: str, power: int) -> str:
    short = min(_WRITTEN[name], key=len)
    return short if power == 1 else f"{short}**{power}"

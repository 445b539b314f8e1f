"""Regular expressions of scenarios, with a limit of time: a scenario may come from a stranger, a text from a model.

Python's own `re` cannot be stopped, and with "(a+)+$" a line of text keeps it busy for years.
"""

import regex

from phireside.errors import SettingsError, ToolError

_SECONDS = 1.0  # of one search


def check_pattern(pattern: str) -> str:
    """The same pattern.

    Raises:
        ValueError: it does not compile.
    """
    try:
        regex.compile(pattern)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"the regular expression does not compile: {error}") from error
    return pattern


def found(pattern: str, text: str) -> bool:
    """Whether a regular expression is found in a text.

    Raises:
        SettingsError: the pattern does not compile.
        ToolError: the search took too long.
    """
    try:
        return regex.search(pattern, text, timeout=_SECONDS) is not None
    except TimeoutError as error:
        raise ToolError(
            f"took too long: the regular expression {pattern[:80]!r} was stopped after {_SECONDS:g} s",
            hint="Write it without a repetition in a repetition.",
        ) from error
    except regex.error as error:
        raise SettingsError(f"The regular expression {pattern[:80]!r} does not compile: {error}.") from error

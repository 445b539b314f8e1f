"""The presets follow the book's Table 6-1: which of temperature and top_p is high, and which is low."""

import pytest

from phireside.errors import RequestError
from phireside.models import PRESETS, Sampling, settings_of


@pytest.mark.parametrize(
    ("name", "hot", "wide"),
    [("brainstorming", True, True), ("email", False, False), ("creative", True, False), ("translation", False, True)],
)
def test_a_preset_is_high_and_low_where_the_book_says(name: str, hot: bool, wide: bool) -> None:
    middle = PRESETS["balanced"]
    preset = PRESETS[name]
    assert (preset.temperature > middle.temperature) == hot
    assert (preset.top_p > middle.top_p) == wide


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_can_be_sampled_with_and_explains_itself(name: str) -> None:
    preset = PRESETS[name]
    Sampling(**settings_of(preset))
    assert settings_of(name) == settings_of(preset)
    assert preset.title
    assert preset.when.endswith(".")


def test_numbers_are_taken_as_they_are_and_no_preset_is_refused() -> None:
    assert settings_of({"seed": 1}) == {"seed": 1}
    for wrong in ("loud", 5, None, ["email"]):
        with pytest.raises(RequestError, match="There is no preset"):
            settings_of(wrong)  # type: ignore[arg-type]

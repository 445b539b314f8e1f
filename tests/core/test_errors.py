"""One hierarchy of errors, each with a message and a hint."""

import copy
import inspect

import pytest

import phireside.errors
from phireside.errors import PhiresideError

CLASSES = [each for _, each in inspect.getmembers(phireside.errors, inspect.isclass)]


@pytest.mark.parametrize("error_class", CLASSES)
def test_every_error_is_a_phireside_error_that_says_when_it_is_raised(error_class: type[Exception]) -> None:
    assert issubclass(error_class, PhiresideError)
    assert len(inspect.getdoc(error_class) or "") > 20


@pytest.mark.parametrize("error_class", CLASSES)
def test_message_and_hint_are_kept_apart_and_shown_together(error_class: type[PhiresideError]) -> None:
    error = error_class("4,100 tokens do not fit into 4,096.", hint="Shorten the prompt.")
    assert (error.message, error.hint) == ("4,100 tokens do not fit into 4,096.", "Shorten the prompt.")
    assert str(error) == "4,100 tokens do not fit into 4,096. Shorten the prompt."


def test_an_error_without_a_hint_is_just_its_message() -> None:
    assert str(PhiresideError("Full.")) == "Full."


def test_an_error_survives_a_copy() -> None:
    twin = copy.deepcopy(PhiresideError("Full.", hint="Wait."))
    assert (twin.message, twin.hint) == ("Full.", "Wait.")

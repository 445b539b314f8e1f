"""What is bound to a chat model, and which settings it has."""

import pytest
from answers import answers

from phireside.errors import NotSupportedError, RequestError
from phireside.models import checked_settings, known_settings, unbound


def test_a_bound_model_is_found_below_its_bindings() -> None:
    model = answers("1")
    assert unbound(model.bind(a=1, b=1).bind(b=2)) == (model, {"a": 1, "b": 2})
    with pytest.raises(RequestError, match="no chat model"):
        unbound(model | (lambda message: message))


def test_only_settings_that_a_model_has_or_had_bound_are_known_and_others_can_be_refused() -> None:
    model, wanted = answers("1"), {"temperature": 0.5, "num_predict": 9}
    assert known_settings(model, wanted) == {"temperature": 0.5}
    assert known_settings(model.bind(num_predict=3), wanted) == wanted
    with pytest.raises(NotSupportedError, match="Answers has no num_predict"):
        checked_settings(model, wanted)
    assert checked_settings(model.bind(num_predict=3), wanted) == wanted
    with pytest.raises(RequestError, match="no chat model"):
        known_settings(model | (lambda message: message), wanted)

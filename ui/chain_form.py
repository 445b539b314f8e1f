"""The input of a chain as a form made from its example, and its prompts as YAML to be changed for one run."""

from collections.abc import Mapping
from typing import Any

import streamlit as st
import yaml

from phireside.errors import SettingsError

LONG = 70  # characters of an example that get a box of several lines


def ask_input(example: Mapping[str, str], key: str) -> dict[str, str]:
    """Draw a field for each variable of the example, and give what stands in them.

    Args:
        example: texts by name.
        key: of the widgets.
    """
    return {name: _field(name, value, f"{key}-{name}") for name, value in example.items()}


def _field(name: str, value: str, key: str) -> str:
    label = name.replace("_", " ").capitalize()
    if len(value) < LONG and "\n" not in value:
        return st.text_input(label, value, key=key)
    return st.text_area(label, value, key=key, height="content")


def ask_prompts(shipped: str, key: str) -> dict[str, Any] | None:
    """Draw the prompts' YAML, to be changed, and give what was changed: prompts by name, or None.

    Args:
        shipped: the text of the chain's file in `chains/prompts/`.
        key: of the widgets.

    Raises:
        SettingsError: the text is no YAML with prompts.
    """
    text = st.text_area("Prompts", shipped, key=key, height="content", label_visibility="collapsed")
    changed = text.strip() != shipped.strip()
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(
            "Changed for this page only." if changed else "Change them, and run the chain: the file stays as it is."
        )
        if changed:
            st.button("Reset", key=f"{key}-reset", on_click=_reset, args=(key, shipped), type="tertiary")
    return read_changed(text) if changed else None


def read_changed(text: str) -> dict[str, Any]:
    """The prompts in a text that should be like a file in `chains/prompts/`.

    Raises:
        SettingsError: it is not.
    """
    try:
        prompts = yaml.safe_load(text)["prompts"]
    except (yaml.YAMLError, TypeError, KeyError, ValueError) as error:  # ValueError: `2026-13-45` looks like a date
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else str(error) if isinstance(error, ValueError) else "no “prompts:”"
        raise SettingsError(
            f"The prompts are no YAML that can be used ({where}).", hint="Reset them, or mend that."
        ) from error
    if not isinstance(prompts, dict):
        raise SettingsError("“prompts:” has no prompts below it.", hint="Reset them, or write “name: text” below it.")
    return {str(name): prompt for name, prompt in prompts.items()}


def _reset(key: str, shipped: str) -> None:
    st.session_state[key] = shipped

"""How the result of a chain looks, whatever chain it is: texts, fields, lists, probabilities as bars, and the cost.

Texts are data: see `safe_text`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from decimal import Decimal
from typing import Any

import streamlit as st
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from phireside.chains import Cost, Growing, Path
from phireside.ui.bars import bars, share
from phireside.ui.charts import show_chart
from phireside.ui.graph import HIDDEN
from phireside.ui.messages import ENDINGS, show_segment
from phireside.ui.safe_text import literal, segments

SHORT = 90  # characters that fit behind their name on one line
MOST = 60  # items of a list, and bars
SHARES = {"agreement", "probability", "share", "rating"}  # shown as per cent
STATES = {
    "growing": ":material/edit: thinking …",
    "extended": ":material/call_split: goes on",
    "answered": ":material/check: answered",
    "dropped": ":material/block: dropped",
    "failed": ":material/error: failed",
}


def show_result(result: Any, given: Any, order: Sequence[str] = ()) -> None:
    """Draw a result, or what there is of it.

    Args:
        result: a text, number, message, list, dict, dataclass or pydantic object.
        given: the input; what of it is in the result again is left out.
        order: of its parts, which may come in another one.
    """
    parts = named_parts(result)
    if parts is None:
        _show(result)
        return
    repeated = given if isinstance(given, Mapping) else {}
    names = [*(name for name in order if name in parts), *(name for name in parts if name not in order)]
    if isinstance(result, Growing):  # the answer first, then how it came about
        names.sort(key=lambda name: isinstance(parts[name], tuple | list | Mapping))
    for name in names:
        if name not in HIDDEN and not (name in repeated and repeated[name] == parts[name]):
            _show_named(name, parts[name])
            if name in (parts.get("shortened") or ()):
                st.caption(ENDINGS["length"])


def cost_line(cost: Any, seconds: float) -> str:
    """What a run has cost, as Markdown."""
    if not isinstance(cost, Cost):
        return f"{seconds:.1f} s"
    calls = f"{cost.calls} call{'' if cost.calls == 1 else 's'} of the model"
    read = f"{cost.evaluated_tokens:,} tokens read, {cost.cached_tokens:,} found in the cache"
    return f"{calls} · {read} · {cost.generated_tokens:,} written · {seconds:.1f} s"


def cost_of(result: Any) -> Any:
    """The `Cost` in a result, if it has one."""
    return result.get("cost") if isinstance(result, Mapping) else getattr(result, "cost", None)


def named_parts(value: Any) -> dict[str, Any] | None:
    """The fields of an object or the items of a dict; None = it is neither."""
    if isinstance(value, Mapping):
        return {str(name): each for name, each in value.items()}
    if isinstance(value, BaseModel) and not isinstance(value, BaseMessage):
        return {name: getattr(value, name) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    return None


def probabilities(value: Any) -> dict[str, float] | None:
    """Names with their probabilities, if that is what a value is."""
    if not isinstance(value, Mapping) or len(value) < 2:
        return None
    shares = all(isinstance(name, str) and isinstance(p, float) and 0 <= p <= 1 for name, p in value.items())
    return dict(value) if shares else None


def _show_named(name: str, value: Any) -> None:
    title = literal(name.replace("_", " ").capitalize())
    if value is None or value == "" or (isinstance(value, Sequence | Mapping) and not value):
        return
    if name in SHARES and value == 0:  # nothing has been counted yet
        return
    line = share(value) if name in SHARES and isinstance(value, float) else _in_one_line(value)
    if line is not None:
        st.markdown(f"**{title}:** {line}")
        return
    st.markdown(f"**{title}**")
    _show(value)


def _in_one_line(value: Any) -> str | None:
    """A short value as Markdown; None = it takes more room."""
    if isinstance(value, bool):
        return ":material/check: yes" if value else ":material/close: no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int | Decimal):
        return literal(str(value))
    text = value.text if isinstance(value, BaseMessage) else value
    if isinstance(text, str):
        return literal(text) if len(text) <= SHORT and "\n" not in text.strip() else None
    parts = list((named_parts(value) or {}).values())
    if len(parts) == 2 and isinstance(parts[0], str) and isinstance(parts[1], bool):  # a rule, and whether it was kept
        return f":material/{'check' if parts[1] else 'close'}: {literal(parts[0])}"
    if isinstance(value, Sequence) and all(isinstance(each, str) for each in value):
        line = ", ".join(value)
        return literal(line) if len(line) <= SHORT else None
    return None


def _show(value: Any) -> None:
    if (shares := probabilities(value)) is not None:
        ranked = sorted(shares.items(), key=lambda item: -item[1])
        show_chart(bars(dict(ranked[:MOST])), "The probability of each")
    elif isinstance(value, str | BaseMessage):
        _show_text(value if isinstance(value, str) else value.text)
    elif (parts := named_parts(value)) is not None:
        for name, each in parts.items():
            if name not in HIDDEN:
                _show_named(name, each)
    elif isinstance(value, Iterable):
        _show_list(list(value))
    else:
        st.markdown(_in_one_line(value) or literal(str(value)))


def _show_text(text: str) -> None:
    place = st.container()
    for segment in segments(text):
        show_segment(place, segment)


def _show_list(values: list[Any]) -> None:
    lines = [_in_one_line(each) for each in values[:MOST]]
    if all(line is not None for line in lines):
        st.markdown("\n".join(f"- {line}" for line in lines))
    else:
        for first in range(0, min(len(values), MOST), 2):
            row = values[first : first + 2]
            columns = st.columns(min(2, len(values)))
            for column, (number, each) in zip(columns, enumerate(row, first + 1), strict=False):
                with column.container(border=True, gap="xsmall"):
                    _show_item(number, each)
    if len(values) > MOST:
        st.caption(f"… and {len(values) - MOST:,} more.")


def _show_item(number: int, value: Any) -> None:
    if not isinstance(value, Path):
        st.caption(str(number))
        _show(value)
        return
    parts = [f"Path {number}", STATES.get(value.state, literal(value.state))]
    parts += [f"from path {value.parent + 1}"] if value.parent is not None else []
    parts += [f"rated {share(value.rating)}"] if value.rating is not None else []
    st.caption(" · ".join(parts))
    _show_text(value.text)
    if value.cut:
        st.caption(ENDINGS["length"])
    if value.problem:
        st.caption(literal(value.problem))
    if value.answer is not None:
        _show_named("answer", value.answer)

"""Results of the engine's rows as a Markdown table and as a picture: SVG, written by hand so that it needs no library.

A bar shows the median ratio on a logarithmic axis, a line the smallest and the greatest of the pairs, a notch the
target. Knows nothing of how results come about.
"""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

Result = dict[str, Any]
COLOURS = ("#2f6f9f", "#c8743a", "#5b8c5a", "#8a5a8c")
LEFT, WIDTH, RIGHT, BAR, GAP, TOP = 300, 420, 110, 14, 12, 56  # pixels


def table(results: Sequence[Result]) -> str:
    """One line for each result: median, smallest and greatest."""
    lines = ["| figure | model | ours | peer | times better | at least | |", "|---|---|---|---|---|---|---|"]
    for one in results:
        verdict = "met" if one["met"] else "stays off" if one["optional"] else "missed"
        ours, peer = (f"{one[side]['name']}: {_spread(one[side], 1)} {one['unit']}" for side in ("ours", "peer"))
        ratio = f"**{_spread(one['ratio'], 2)}**" if one["met"] else _spread(one["ratio"], 2)
        noise = "" if one["quiet"] else " (beside other programs)"
        lines.append(
            f"| {one['row']} | {one['model']} | {ours} | {peer} | {ratio} | {one['target']:g} | {verdict}{noise} |"
        )
    return "\n".join(lines) + "\n"


def svg(results: Sequence[Result]) -> str:
    """A bar for each result, grouped by row, one colour for each model."""
    models, rows = (
        list(dict.fromkeys(one["model"] for one in results)),
        list(dict.fromkeys(one["row"] for one in results)),
    )
    most = max((max(one["ratio"]["high"], one["target"]) for one in results), default=1.0)
    least = min((min(one["ratio"]["low"], one["target"]) for one in results), default=1.0)
    low, high = math.floor(math.log10(min(least, 0.5)) * 2) / 2, math.ceil(math.log10(most) * 2) / 2

    def x(ratio: float) -> float:
        return LEFT + WIDTH * (math.log10(ratio) - low) / (high - low)

    parts, y = _legend(models), float(TOP)
    for row in rows:
        members = [one for one in results if one["row"] == row]
        parts.append(_text(LEFT - 10, y + len(members) * BAR / 2 + 4, row, "end"))
        for one in members:
            parts.append(_bar(one, x, y, COLOURS[models.index(one["model"]) % len(COLOURS)]))
            y += BAR
        y += GAP
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if low <= math.log10(t) <= high]
    grid = [_line(x(t), TOP - 8, x(t), y, "#888" if t == 1 else "#ddd") + _text(x(t), y + 14, f"{t:g}") for t in ticks]
    width, height = LEFT + WIDTH + RIGHT, y + 24
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:g}" font-family="sans-serif" '
    title = "<title>Phireside's engine, times better than its peers</title>"
    background = f'<rect width="{width}" height="{height:g}" fill="#fff"/>'
    return "\n".join([f'{head}font-size="12">', title, background, *grid, *parts, "</svg>", ""])


def _bar(one: Result, x: Any, y: float, colour: str) -> str:
    """The bar from 1 to the median, the spread as a line, the target as a notch, the median as text."""
    ratio, middle = one["ratio"], y + BAR / 2
    start, end = sorted((x(1.0), x(ratio["median"])))
    size = f'width="{max(1.0, end - start):.1f}" height="{BAR - 2}"'
    bar = f'<rect x="{start:.1f}" y="{y + 1:.1f}" {size} fill="{colour}"/>'
    spread = _line(x(ratio["low"]), middle, x(ratio["high"]), middle, "#222")
    target = _line(x(one["target"]), y - 1, x(one["target"]), y + BAR + 1, "#c00", 2)
    beyond = max(x(ratio["high"]), x(one["target"]), end) + 6
    return bar + spread + target + _text(beyond, middle + 4, f"{ratio['median']:.3g}", "start")


def _legend(models: Sequence[str]) -> list[str]:
    parts = [_text(10, 20, "Times better than the peer; red: at least", "start")]
    for i, model in enumerate(models):
        parts.append(f'<rect x="{LEFT + 190 * i}" y="28" width="10" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>')
        parts.append(_text(LEFT + 190 * i + 16, 37, model, "start"))
    return parts


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    place = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {place} stroke="{colour}" stroke-width="{width}"/>'


def _spread(figures: dict[str, float], digits: int) -> str:
    """Median (smallest-greatest), with more digits for small figures."""
    digits = max(digits, 3) if figures["median"] < 0.1 else digits
    return f"{figures['median']:,.{digits}f} ({figures['low']:,.{digits}f}-{figures['high']:,.{digits}f})"

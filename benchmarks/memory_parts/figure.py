"""Evidence against tokens evaluated, a dot for each memory: SVG, written by hand so that it needs no library."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from memory_parts.strategies import OURS

LEFT, TOP, WIDTH, HEIGHT, RIGHT, BOTTOM = 70, 40, 520, 300, 200, 50  # pixels
COLOURS = {True: "#2f6f9f", False: "#c8743a"}
LINE = 14  # pixels between two names


def svg(rows: Sequence[Mapping[str, Any]]) -> str:
    """The picture.

    Args:
        rows: with "name", "evaluated" (tokens per turn) and "evidence" (0 to 1).
    """
    tokens = [max(1.0, row["evaluated"]) for row in rows] or [1.0]
    low, high = math.floor(math.log10(min(tokens)) * 2) / 2, math.ceil(math.log10(max(tokens)) * 2) / 2
    high = max(high, low + 0.5)

    def x(count: float) -> float:
        return LEFT + WIDTH * (math.log10(max(1.0, count)) - low) / (high - low)

    def y(share: float) -> float:
        return TOP + HEIGHT * (1 - share)

    ticks = [t for power in range(6) for t in (10**power, 2 * 10**power, 5 * 10**power) if low <= math.log10(t) <= high]
    grid = [_line(x(t), TOP, x(t), TOP + HEIGHT) + _text(x(t), TOP + HEIGHT + 16, f"{t:,}") for t in ticks]
    grid += [_line(LEFT, y(s / 4), LEFT + WIDTH, y(s / 4)) + _text(LEFT - 8, y(s / 4) + 4, f"{25 * s} %", "end")
             for s in range(5)]  # fmt: skip
    placed = sorted(rows, key=lambda row: -row["evidence"])
    dots, free = [], float(TOP)
    for row in placed:  # names that would overlap move down
        at_x, at_y = x(row["evaluated"]), y(row["evidence"])
        free = min(max(free, at_y), TOP + HEIGHT - LINE * (len(placed) - 1 - len(dots)))
        colour = COLOURS[row["name"] in OURS]
        dot = f'<circle cx="{at_x:.1f}" cy="{at_y:.1f}" r="5" fill="{colour}"/>'
        dots.append(dot + _line(at_x, at_y, LEFT + WIDTH + 6, free, colour) + _name(free + 4, row["name"], colour))
        free += LINE
    width, height = LEFT + WIDTH + RIGHT + 40, TOP + HEIGHT + BOTTOM
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
    title = "<title>Memories: evidence in the prompt against tokens evaluated per turn</title>"
    captions = _text(LEFT, 22, "Evidence in the prompt (blue: Phireside, orange: LangChain)", "start")
    captions += _text(LEFT + WIDTH / 2, TOP + HEIGHT + 38, "tokens evaluated per turn, summaries included")
    background = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    return "\n".join([f'{head}font-size="12">', title, background, *grid, *dots, captions, "</svg>", ""])


def _name(y: float, name: str, colour: str) -> str:
    return f'<text x="{LEFT + WIDTH + 10}" y="{y:.1f}" fill="{colour}">{escape(name)}</text>'


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str = "#ddd") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-opacity="0.7"/>'

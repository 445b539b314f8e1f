"""Waiting for the turn of a chat."""

import time

from phireside.chains import Turn

LONG = 30  # seconds; more than any test takes


def ended(turn: Turn) -> Turn:
    limit = time.monotonic() + LONG
    while not turn.wait(1):
        assert time.monotonic() < limit, turn.state
    return turn

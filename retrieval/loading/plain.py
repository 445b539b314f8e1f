"""Plain text: one section, in the encoding that it most likely is."""

from phireside.retrieval.loading.loaded import Section
from phireside.retrieval.loading.parsers import Parsed
from phireside.retrieval.loading.text import guessed


def read(data: bytes) -> Parsed:
    """A text file has no title of its own."""
    return "", [Section(guessed(data))]

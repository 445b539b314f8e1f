"""Loading: documents of seven kinds and web pages as text with headings and pages, one parser per file.

Parsers run in a child process with limits of memory and seconds (process.py, child.py); nothing here imports one before
a document of its kind is read. Knows nothing of chunks, models or the knowledge base.
"""

from typing import TYPE_CHECKING

from phireside.lazy import lazy

if TYPE_CHECKING:
    from phireside.retrieval.loading.load import load_bytes, load_file
    from phireside.retrieval.loading.loaded import KINDS, Loaded, LoadLimits, Section
    from phireside.retrieval.loading.names import label
    from phireside.retrieval.loading.site import load_page
else:
    __getattr__ = lazy(
        __name__,
        {
            "load_file": "load",
            "load_bytes": "load",
            "load_page": "site",
            "Loaded": "loaded",
            "Section": "loaded",
            "LoadLimits": "loaded",
            "KINDS": "loaded",
            "label": "names",
        },
    )

__all__ = ["load_file", "load_bytes", "load_page", "Loaded", "Section", "LoadLimits", "KINDS", "label"]

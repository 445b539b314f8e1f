"""Load a page or document of the web by its address, as `fetch` gets it: only from the public net, within limits."""

from urllib.parse import unquote, urlsplit

from phireside.errors import DocumentError, ToolError
from phireside.retrieval.fetch import Fetched, Limits, Resolve, fetch, look_up
from phireside.retrieval.loading.load import load_bytes
from phireside.retrieval.loading.loaded import KINDS, LIMITS, Loaded, LoadLimits

FETCH = Limits(seconds=60, max_bytes=20_000_000)
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/pdf": ".pdf",
    "application/epub+zip": ".epub",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}
_CHECK = "Check the address, or save the page as a file and add that."


def load_page(url: str, limits: LoadLimits = LIMITS, get: Limits = FETCH, resolve: Resolve = look_up) -> Loaded:
    """Load what is at an address.

    Args:
        url: http or https; a person's, not a model's.
        limits: of loading it.
        get: of fetching it; `allow` opens private addresses.
        resolve: looks names up.

    Raises:
        DocumentError: nothing is there, it leads into this network, or it cannot be read.
        DocumentTooLargeError: it takes more than the limits of loading allow.
    """
    try:
        answer = fetch(url, get, resolve)
    except ToolError as error:
        raise DocumentError(error.message, hint=_CHECK) from error
    if answer.status != 200:
        raise DocumentError(f"The page answers {answer.status}.", hint=_CHECK)
    return load_bytes(_name(answer), answer.body, limits)


def _name(answer: Fetched) -> str:
    """A file's name for an answer: the end of its address, with the suffix of what it says it is."""
    address = urlsplit(answer.url)
    last = unquote(address.path.rstrip("/").rpartition("/")[2]) or address.hostname or "page"
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    suffix = _SUFFIXES.get(kind) or (".txt" if kind.startswith("text/") or kind == "application/json" else "")
    named = next((each for each in KINDS if last.lower().endswith(each)), "")
    if not suffix and not kind:
        suffix = named or ".html"
    return last if named and KINDS.get(suffix) in (None, KINDS[named]) else last + suffix

"""Tool: read the text of a web page by its address.

What comes back was written by strangers: its metadata says `untrusted`. The address was written by a model, and may
carry what that model has read: it says `outward`. See docs/tools.md, "The web".
"""

from http import HTTPStatus
from typing import Annotated, Any

from langchain_core.tools import BaseTool, tool

from phireside.errors import DocumentError, ToolError
from phireside.retrieval.fetch import ELSEWHERE, LIMITS, Fetched, Limits, Resolve, fetch, look_up
from phireside.retrieval.loading.page import PageText, page_text
from phireside.retrieval.loading.text import decoded, tidy

LONGEST = 20_000  # characters
# What a model may write: a full name or number, no user, nothing that JSON or another parser reads differently.
ADDRESS = r"https?://[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63}){1,5}(:[0-9]{2,5})?(/[A-Za-z0-9._~:/?#@!$&()*+,;=%'-]{0,300})?"
_PAGES = ("text/html", "application/xhtml+xml", "")
_TEXTS = ("application/json", "application/xml")


def read_page(limits: Limits = LIMITS, longest: int = LONGEST, resolve: Resolve = look_up) -> BaseTool:
    """A tool that reads a web page.

    Args:
        limits: what fetching it may cost; `allow` opens private addresses.
        longest: characters of text that are returned; the tool says how many it left out.
        resolve: looks names up.

    Returns:
        The tool `read_page(address)`. Its text has title, address and what is readable; its artifact is a dict with
        "title" and "address" (the last one after redirects). It raises ToolError if there is nothing to read.
    """

    @tool(response_format="content_and_artifact")
    def read_page(address: Annotated[str, "of the page, with https://"]) -> tuple[str, dict[str, Any]]:
        """Read a web page. Use an address from web_search or from the user."""
        page = fetch(address, limits, resolve)
        if page.status != HTTPStatus.OK:
            raise ToolError(f"The page answers {_status(page.status)}.", hint=ELSEWHERE)
        found = _text(page, longest)
        if not found.text:
            raise ToolError("There is no readable text on the page.", hint=ELSEWHERE)
        more = found.length - len(found.text)
        end = f"\n(The page goes on: {more:,} characters more.)" if more else ""
        title = f"Title: {found.title}\n" if found.title else ""
        return f"{title}Address: {page.url}\n\n{found.text}{end}", {"title": found.title, "address": page.url}

    read_page.metadata = {"grammars": {"address": {"regex": ADDRESS}}, "effects": "outward", "untrusted": True}
    return read_page


def _text(page: Fetched, longest: int) -> PageText:
    """The readable text of an answer."""
    kind, _, parameters = page.headers.get("content-type", "").lower().partition(";")
    charset = parameters.partition("charset=")[2].partition(";")[0].strip(" \"'")
    kind = kind.strip()
    if kind in _PAGES:
        try:
            return page_text(page.body, charset, longest)
        except DocumentError as error:
            raise ToolError(f"The page cannot be read. {error.message}", hint=ELSEWHERE) from error
    if kind.startswith("text/") or kind in _TEXTS:
        text = tidy(decoded(page.body, charset))
        return PageText("", text[:longest], len(text))
    raise ToolError(f"What is there is no page of text, but {kind[:60]!r}.", hint=ELSEWHERE)


def _status(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)

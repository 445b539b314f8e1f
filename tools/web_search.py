"""Tool: search the web, by `ddgs` (several search engines) or by a SearXNG of the person's own.

What comes back was written by strangers: its metadata says `untrusted`. The query was written by a model, and may carry
what that model has read: it says `outward`. See docs/tools.md, "The web". Knows nothing of pages; `read_page` does.
"""

import json
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

from langchain_core.tools import BaseTool, tool

from phireside.errors import SettingsError, ToolError
from phireside.retrieval.fetch import GIVE_UP, LIMITS, Limits, Resolve, addresses, fetch, in_time, look_up, parsed

QUERY = r'[^\x00-\x1f\x7f"\\]{2,150}'
_LONGEST_QUERY, _TITLE, _ADDRESS, _SNIPPET = 400, 120, 500, 300  # most characters of each
_ENGINE_SECONDS = 5  # for one of the engines that ddgs asks
_KEPT, _FRESH = 128, 3600.0  # searches, seconds
_APART = 1.0  # seconds between two searches
_PAUSE, _LONGEST_PAUSE = 10.0, 900.0  # seconds without a search after a refusal; doubled by each further one
_OFFLINE = "There is no connection to the internet, or the search engines cannot be reached."
_NOTHING = "Nothing was found for {!r}. Use other words once, or answer from what you know and say so."


@dataclass(frozen=True, slots=True)
class Found:
    """One result: plain text of one line each; `address` is http or https."""

    title: str
    address: str
    snippet: str


Search = Callable[[str, int], list[Found]]  # query and number of results, at most


class BusyError(ToolError):
    """A search engine refused, and should be left alone for `seconds` (0: it did not say)."""

    def __init__(self, message: str, seconds: float = 0) -> None:
        super().__init__(message, hint=GIVE_UP)
        self.seconds = seconds


def web_search(search: Search | None = None, results: int = 5) -> BaseTool:
    """A tool that searches the web.

    The last 128 searches are kept for an hour. One search runs at a time, with a second between two; after a refusal
    there is none for 10 s, then 20 s and so on up to 15 minutes, or as long as the engine says.

    Args:
        search: how; `ddgs()` if nothing is given, or `searxng(url)`.
        results: that are returned, at most.

    Returns:
        The tool `web_search(query)`. Its text has title, address and snippet of each result; its artifact is a list of
        dicts with these. It raises ToolError if it cannot search.
    """
    searches = Searches(search or ddgs(), results)

    @tool(response_format="content_and_artifact")
    def web_search(query: Annotated[str, "a few words"]) -> tuple[str, list[dict[str, str]]]:
        """Search the web. Returns titles, addresses and snippets."""
        query = " ".join(query.split())[:_LONGEST_QUERY]
        if not query:
            raise ToolError("The query is empty.", hint="Write a few words to search for.")
        found = searches(query)
        text = "\n".join(f"{n}. {each.title}\n{each.address}\n{each.snippet}" for n, each in enumerate(found, 1))
        return text or _NOTHING.format(query), [asdict(each) for each in found]

    web_search.metadata = {"grammars": {"query": {"regex": QUERY}}, "effects": "outward", "untrusted": True}
    return web_search


class Searches:
    """Searches one at a time, kept for a while, and none while the engine wants to be left alone.

    Args:
        search: see `web_search`.
        results: see `web_search`.
        now: seconds, of a clock that never goes back.
        sleep: waits for seconds.
    """

    def __init__(
        self,
        search: Search,
        results: int,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._search, self._results, self._now, self._sleep = search, results, now, sleep
        self._kept: OrderedDict[str, tuple[float, list[Found]]] = OrderedDict()
        self._lock = threading.Lock()
        self._next, self._pause = 0.0, 0.0

    def __call__(self, query: str) -> list[Found]:
        """Results for a query.

        Raises:
            ToolError: it cannot be searched for now.
        """
        if not self._lock.acquire(timeout=LIMITS.seconds):
            raise BusyError("Other searches are still running.")
        try:
            return self._recall(query.casefold()) or self._ask(query)
        finally:
            self._lock.release()

    def _recall(self, key: str) -> list[Found]:
        at, found = self._kept.get(key, (0.0, []))
        return found if found and self._now() - at < _FRESH else []

    def _ask(self, query: str) -> list[Found]:
        wait = self._next - self._now()
        if wait > _APART:
            raise BusyError(f"The search engine asks not to be used for {wait:.0f} s.", wait)
        if wait > 0:
            self._sleep(wait)
        try:
            found = self._search(query, self._results)[: self._results]
        except BusyError as error:
            self._pause = min(_LONGEST_PAUSE, max(error.seconds, 2 * self._pause, _PAUSE))
            self._next = self._now() + self._pause
            raise
        self._next, self._pause = self._now() + _APART, 0.0
        if found:  # "nothing" may be a refusal in disguise
            self._kept[query.casefold()] = self._now(), found
            self._kept.move_to_end(query.casefold())
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return found


def ddgs(engines: str = "auto", seconds: float = LIMITS.seconds, proxy: str | None = None) -> Search:
    """Search by the package `ddgs`, without a key.

    Args:
        engines: names of its engines with commas between, as "duckduckgo,brave", or "auto".
        seconds: for all of them.
        proxy: that it connects through.
    """

    def search(query: str, count: int) -> list[Found]:
        from ddgs import DDGS  # brings a browser's TLS with it; only a search needs it
        from ddgs.exceptions import DDGSException, TimeoutException

        engine = DDGS(proxy=proxy, timeout=_ENGINE_SECONDS)
        try:
            rows = in_time(lambda: engine.text(query, max_results=count, backend=engines), seconds)
        except (TimeoutError, TimeoutException):
            raise BusyError(f"The search engines did not answer within {seconds:g} s.") from None
        except DDGSException as error:
            if "No results found" in str(error):
                return []
            if re.match(r"(Connect|DNS\w*)Error", str(error)):  # the name of primp's error
                raise ToolError(_OFFLINE, hint=GIVE_UP) from error
            raise BusyError(f"The search engines could not be used: {str(error)[:200]}.") from error
        return results_of(rows, "title", "href", "body")

    return search


def searxng(url: str, limits: Limits = LIMITS, resolve: Resolve = look_up) -> Search:
    """Search by a SearXNG server, which may be on this machine or in its network: its address is the person's setting.

    Args:
        url: its address, as http://127.0.0.1:8888; its settings.yml must list "json" under search.formats.
        limits: of one search.
        resolve: looks names up.

    Raises:
        SettingsError: it is no address.
    """
    try:
        base = parsed(url.rstrip("/") + "/search")
    except ToolError as error:
        raise SettingsError(f"The address of SearXNG cannot be used: {error.message}", hint=_EXAMPLE) from error
    host, port = base.raw_host.decode("ascii"), base.port or (443 if base.scheme == "https" else 80)

    def search(query: str, count: int) -> list[Found]:
        own = frozenset((address, port) for address in addresses(host, port, resolve, limits.seconds))
        asked = base.copy_merge_params({"q": query, "format": "json"})
        answer = fetch(str(asked), replace(limits, allow=limits.allow | own), resolve)
        if answer.status == 429 or answer.status >= 500:
            after = answer.headers.get("retry-after", "")
            seconds = min(_LONGEST_PAUSE, float(after)) if re.fullmatch(r"[0-9]{1,6}", after) else 0.0
            raise BusyError(f"The search engine answers {answer.status}.", seconds)
        if answer.status != 200:
            raise ToolError(f"The search engine answers {answer.status}; it may not offer JSON.", hint=GIVE_UP)
        try:
            rows = json.loads(answer.body)["results"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ToolError("The search engine's answer is not what SearXNG writes.", hint=GIVE_UP) from None
        return results_of(rows, "title", "url", "content")[:count]

    return search


_EXAMPLE = "Give it as http://127.0.0.1:8888."


def results_of(rows: Any, title: str, address: str, snippet: str) -> list[Found]:
    """What engines write, as results; rows without an http address are left out.

    Args:
        rows: a list of dicts, if the engine is as it should be.
        title, address, snippet: their keys.
    """
    dicts = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return [
        Found(_line(row.get(title), _TITLE) or link, link, _line(row.get(snippet), _SNIPPET))
        for row in dicts
        if (link := _link(row.get(address)))
    ]


def _link(value: Any) -> str:
    """An address in plain ASCII; empty if it is none."""
    try:
        text = str(parsed(value)) if isinstance(value, str) else ""
    except ToolError:
        return ""
    return text if len(text) <= _ADDRESS else ""


def _line(value: Any, longest: int) -> str:
    """Text in one line, without control characters, cut."""
    if not isinstance(value, str):
        return ""
    text = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", value).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"

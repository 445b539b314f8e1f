"""The tool `web_search`: what a model gets to read, what is kept, and how rarely the engines are asked."""

import sys
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests
from websites import Names, site

from phireside.errors import SettingsError, ToolError
from phireside.models.dialects.inputs import checked
from phireside.tools import Limits, ddgs, searxng, web_search
from phireside.tools.web_search import BusyError, Found, Searches, results_of

KETTLE = Found("Kettles", "https://kettle.invalid/a", "A kettle costs 20 euros.")


@pytest.fixture(autouse=True)
def _ddgs_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets of ddgs are Rust's, which pytest's guard does not see: whatever is not scripted ends at a closed port."""
    monkeypatch.setenv("DDGS_PROXY", "http://127.0.0.1:9")


class Engine:
    """A search with answers one after another; the last one stays. `asked` are the queries."""

    def __init__(self, *answers: list[Found] | Exception) -> None:
        self.answers, self.asked = list(answers), []

    def __call__(self, query: str, count: int) -> list[Found]:
        self.asked.append(query)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now, self.slept = 1000.0, []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def timed(engine: Engine) -> tuple[Searches, Clock]:
    clock = Clock()
    return Searches(engine, 5, lambda: clock.now, clock.sleep), clock


class Scripted:
    """The tool for LangChain's own tests, which are run as they are."""

    @property
    def tool_constructor(self) -> BaseTool:
        return web_search(Engine([KETTLE]))

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": "price of a kettle"}


class TestUnit(Scripted, ToolsUnitTests):
    pass


class TestIntegration(Scripted, ToolsIntegrationTests):
    pass


def test_a_result_is_title_address_and_snippet() -> None:
    tool = web_search(Engine([KETTLE, Found("More", "https://more.invalid/", "")]))
    text = "1. Kettles\nhttps://kettle.invalid/a\nA kettle costs 20 euros.\n2. More\nhttps://more.invalid/\n"
    assert tool.invoke({"query": "kettle"}) == text
    message = tool.invoke({"name": "web_search", "args": {"query": "kettle"}, "id": "1", "type": "tool_call"})
    assert isinstance(message, ToolMessage)
    assert message.artifact[0] == {"title": "Kettles", "address": KETTLE.address, "snippet": KETTLE.snippet}


def test_nothing_found_is_said_in_words_that_a_model_can_act_upon() -> None:
    text = web_search(Engine([])).invoke({"query": "  kettle\n  of  gold "})
    assert (
        text == "Nothing was found for 'kettle of gold'. Use other words once, or answer from what you know and say so."
    )


def test_an_empty_query_and_a_long_one_are_bounded() -> None:
    engine = Engine([KETTLE])
    with pytest.raises(ToolError, match="The query is empty"):
        web_search(engine).invoke({"query": " \n "})
    web_search(engine).invoke({"query": "a" * 100_000})
    assert [len(query) for query in engine.asked] == [400]


def test_it_says_what_it_does_and_its_grammar_holds() -> None:
    tool = web_search(Engine([]))
    assert (tool.metadata or {})["effects"] == "outward"
    assert (tool.metadata or {})["untrusted"] is True
    (spec,) = checked([tool])  # compiles the grammar
    assert list(spec.parameters["properties"]) == ["query"]


def test_a_search_is_kept_for_an_hour_whatever_its_capitals() -> None:
    engine = Engine([KETTLE])
    searches, clock = timed(engine)
    assert searches("Kettle") == searches("kettle") == [KETTLE]
    assert engine.asked == ["Kettle"]
    clock.now += 3601
    searches("kettle")
    assert engine.asked == ["Kettle", "kettle"]


def test_nothing_is_not_kept_and_the_oldest_goes_first() -> None:
    engine = Engine([], [KETTLE])
    searches, _ = timed(engine)
    assert searches("kettle") == []
    assert searches("kettle") == [KETTLE]
    for number in range(128):
        searches(str(number))
    searches("127")
    assert len(engine.asked) == 130
    searches("kettle")
    assert len(engine.asked) == 131


def test_two_searches_are_a_second_apart() -> None:
    searches, clock = timed(Engine([KETTLE]))
    searches("a")
    searches("b")
    clock.now += 0.4
    searches("c")
    clock.now += 5
    searches("d")
    assert clock.slept == pytest.approx([1.0, 0.6])


def test_a_refusal_is_followed_by_a_pause_that_doubles_and_ends_with_success() -> None:
    engine = Engine(BusyError("no"), BusyError("no"), BusyError("no", 100), [KETTLE], BusyError("no"))
    searches, clock = timed(engine)
    for pause in (10, 20, 100):
        with pytest.raises(BusyError):
            searches("kettle")
        asked = len(engine.asked)
        with pytest.raises(BusyError, match=f"not to be used for {pause} s") as caught:
            searches("kettle")
        assert "Answer from what you know" in caught.value.hint
        assert len(engine.asked) == asked  # left alone
        clock.now += pause
    assert searches("kettle") == [KETTLE]
    clock.now += 2
    with pytest.raises(BusyError):
        searches("pot")
    with pytest.raises(BusyError, match="for 10 s"):
        searches("pot")


def test_the_pause_is_bounded_and_what_is_kept_is_still_there() -> None:
    searches, clock = timed(Engine([KETTLE], BusyError("no", 1e9)))
    searches("kettle")
    clock.now += 2
    with pytest.raises(BusyError):
        searches("pot")
    with pytest.raises(BusyError, match="for 900 s"):
        searches("pot")
    assert searches("kettle") == [KETTLE]


def test_other_errors_are_no_reason_for_a_pause() -> None:
    searches, clock = timed(Engine(ToolError("offline"), [KETTLE]))
    with pytest.raises(ToolError, match="offline"):
        searches("kettle")
    assert searches("kettle") == [KETTLE]
    assert clock.slept == []


def test_one_search_runs_at_a_time() -> None:
    inside, most, lock = 0, 0, threading.Lock()

    def search(query: str, count: int) -> list[Found]:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        threading.Event().wait(0.01)
        with lock:
            inside -= 1
        return [KETTLE]

    searches = Searches(search, 5, sleep=lambda seconds: None)
    threads = [threading.Thread(target=searches, args=(str(n),)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_rows_are_cleaned_cut_and_left_out_without_an_address() -> None:
    rows = [
        {"t": "A\n\x00 b" + "x" * 200, "u": "HTTPS://Kettle.invalid/ö?q=a b", "s": "s" * 1000},
        {"t": "", "u": "http://kettle.invalid/", "s": None},
        {"t": "x", "u": "javascript:alert(1)"}, {"t": "x", "u": "/relative"}, {"t": "x"}, {"u": "http://["}, "x", None,
        {"t": "x", "u": "http://kettle.invalid/" + "a" * 600},
    ]  # fmt: skip
    first, second = results_of(rows, "t", "u", "s")
    assert first.title.startswith("A bxxx")
    assert (len(first.title), len(first.snippet)) == (120, 300)
    assert first.address == "https://kettle.invalid/%C3%B6?q=a%20b"
    assert second == Found("http://kettle.invalid/", "http://kettle.invalid/", "")
    assert results_of({"no": "list"}, "t", "u", "s") == []


def test_searxng_is_asked_for_json_at_its_own_private_address(loopback: None) -> None:
    row = (
        b'{"results": [{"title": "T", "url": "https://kettle.invalid/", "content": "C"}, {"url": "http://b.invalid/"}]}'
    )
    with site({"/sub/search": (200, {}, row)}) as engine:
        resolve = Names(search_invalid=[["127.0.0.1"]])
        search = searxng(f"http://search.invalid:{engine.port}/sub/", Limits(seconds=60), resolve)
        assert search("tea & <kettle>", 1) == [Found("T", "https://kettle.invalid/", "C")]
    (hit,) = engine.hits
    assert parse_qs(urlsplit(hit).query) == {"q": ["tea & <kettle>"], "format": ["json"]}


def test_searxng_may_not_lead_to_another_private_address(loopback: None) -> None:
    with site({"*": (200, {}, b'{"results": []}')}) as other, site({}) as engine:
        engine.routes["/search"] = (302, {"Location": other.url}, b"")
        with pytest.raises(ToolError, match="not a public address"):
            searxng(engine.url, Limits(seconds=60))("kettle", 5)
    assert other.hits == []


def test_searxng_says_how_long_it_wants_to_be_left_alone(loopback: None) -> None:
    for after, seconds in (("60", 60), ("999999", 900), ("Sun, 22 Nov 2026 00:00:00 GMT", 0), ("-5", 0)):
        with site({"/search": (429, {"Retry-After": after}, b"")}) as engine, pytest.raises(BusyError) as caught:
            searxng(engine.url, Limits(seconds=60))("kettle", 5)
        assert caught.value.seconds == seconds


@pytest.mark.parametrize("url", ["", "kettle", "file:///x", "http://", "http://[", "ftp://127.0.0.1"])
def test_an_address_of_searxng_that_is_none_is_a_setting_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SettingsError, match="address of SearXNG"):
        searxng(url)


def scripted(monkeypatch: pytest.MonkeyPatch, text: Callable[..., Any]) -> None:
    """Put a search in the place of the package's, which would go to the internet."""
    from ddgs.ddgs import DDGS  # `ddgs.DDGS` is a stand-in until its first use: what is set on it is lost

    monkeypatch.setattr(DDGS, "text", text)


def test_what_is_not_scripted_ends_at_a_closed_port_of_this_machine() -> None:
    with pytest.raises(ToolError, match="no connection to the internet") as caught:
        ddgs("duckduckgo")("kettle", 3)
    assert "refused" in str(caught.value.__cause__)  # by the proxy of the fixture above, not by a lookup


def test_ddgs_gives_title_address_and_snippet(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def text(self: Any, query: str, **options: Any) -> list[dict[str, str]]:
        asked.append((query, options))
        return [{"title": "T", "href": "https://kettle.invalid/", "body": "B"}]

    scripted(monkeypatch, text)
    assert ddgs("duckduckgo")("kettle", 3) == [Found("T", "https://kettle.invalid/", "B")]
    assert asked == [("kettle", {"max_results": 3, "backend": "duckduckgo"})]


@pytest.mark.parametrize(
    ("words", "kind", "said"),
    [
        ("ConnectError: ConnectError('error sending request')", ToolError, "no connection to the internet"),
        ("DNSError: DNSError('error resolving DNS')", ToolError, "no connection to the internet"),
        ("RatelimitException: 202", BusyError, "could not be used: RatelimitException: 202"),
    ],
)
def test_what_ddgs_says_becomes_words(
    monkeypatch: pytest.MonkeyPatch, words: str, kind: type[ToolError], said: str
) -> None:
    from ddgs.exceptions import DDGSException

    def text(self: Any, query: str, **options: Any) -> None:
        raise DDGSException(words)

    scripted(monkeypatch, text)
    with pytest.raises(kind, match=said) as caught:
        ddgs()("kettle", 3)
    assert "Answer from what you know" in caught.value.hint
    words = "No results found."
    assert ddgs()("kettle", 3) == []


def test_ddgs_is_left_behind_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hold = threading.Event()
    scripted(monkeypatch, lambda self, query, **options: hold.wait(20))
    with pytest.raises(BusyError, match=r"within 0\.1 s"):
        ddgs(seconds=0.1)("kettle", 3)
    hold.set()


def test_the_room_gives_the_factories_and_not_the_modules_of_their_names() -> None:
    import phireside.tools.read_page
    import phireside.tools.web_search

    assert callable(phireside.tools.web_search)
    assert callable(phireside.tools.read_page)
    assert "web_search" in phireside.tools.__all__
    with pytest.raises(AttributeError, match="no attribute 'kettle'"):
        phireside.tools.kettle  # noqa: B018
    assert "phireside.tools.web_search" in sys.modules

"""Row 18: no address that a model or a page can write leads to a server on this machine or in its networks."""

from collections.abc import Callable, Iterator

import pytest
from websites import HTML, PAGE, Names, Site, site

from phireside.errors import ToolError
from phireside.retrieval.fetch import CLOUD_HOST, fetch, is_public
from phireside.tools import Limits, read_page

Figure = Callable[[int, str], None]
LIMITS = Limits(seconds=60)

LOOPBACK = [
    "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://LOCALHOST:{port}/", "http://127.1:{port}/",
    "http://2130706433:{port}/", "http://0x7f000001:{port}/", "http://0x7f.1:{port}/", "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/", "http://127.0.0.1.:{port}/", "http://127\u30020\u30020\u30021:{port}/",
    "http://0.0.0.0:{port}/", "http://0:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/", "http://page.invalid:{port}/", "http:\t//127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/ ", "HTTP://127.0.0.1:{port}/",
]  # fmt: skip
PRIVATE = [
    "http://[::1]:{port}/", "http://[::]:{port}/", "http://[::127.0.0.1]:{port}/", "https://127.0.0.1:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/", "http://[2002:7f00:1::]:{port}/", "http://[fe80::1]:{port}/",
    "http://[fe80::1%25lo]:{port}/", "http://[fc00::1]/", "http://[fd00::1]/", "http://[fec0::1]/", "http://[ff02::1]/",
    "http://[64:ff9b:1::1]/", "http://127.255.255.254/", "http://10.0.0.1/", "http://10.255.255.255/",
    "http://172.16.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "http://100.64.0.1/",
    "http://100.127.255.255/", "http://169.254.0.1/", "http://224.0.0.1/", "http://240.0.0.1/", "http://192.0.2.1/",
    "http://198.18.0.1/", "http://255.255.255.255/", "http://mixed.invalid:{port}/", "http://mapped.invalid:{port}/",
    "http://strange.invalid:{port}/",
]  # fmt: skip
SMUGGLED = [
    "http://a@127.0.0.1:{port}/", "http://127.0.0.2:{port}@127.0.0.1:{port}/", "http://127.0.0.2:{port}\\@127.0.0.1:{port}/",
    "http://127.0.0.2\\@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@127.0.0.2/", "http://127.0.0.1:{port}?@127.0.0.2/",
    "http://127.0.0.2 @127.0.0.1:{port}/", "http://%31%32%37.0.0.1:{port}/", "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http:127.0.0.1:{port}", "http:/127.0.0.1:{port}/", "http:///127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "127.0.0.1:{port}", "http://127.0.0.1:{port}:80/", "http://[127.0.0.1]:{port}/", "http://127.0.0.1:99999/",
    "http://127.0.0.1:0/", "http://\ud800.invalid/", "http://127.0.0.1\n:{port}/", "http://" + "a" * 3000,
    "http://", "", "http://" + "a" * 70 + ".invalid/", "http://127.0.0.1:{port}/\r\nHost: x",
]  # fmt: skip
SCHEMES = [
    "file:///etc/hostname", "file://127.0.0.1/etc/hostname", "ftp://127.0.0.1:{port}/", "gopher://127.0.0.1:{port}/",
    "dict://127.0.0.1:{port}/", "data:text/html,hello", "javascript:alert(1)", "ws://127.0.0.1:{port}/",
    "jar:http://127.0.0.1:{port}/!/x", "unix:///tmp/x",
]  # fmt: skip
ALL = [*LOOPBACK, *PRIVATE, *SMUGGLED, *SCHEMES]


@pytest.fixture
def canary(loopback: None) -> Iterator[Site]:
    """The server that nobody may reach."""
    with site({"*": (200, HTML, PAGE.encode())}) as here:
        yield here


def names() -> Names:
    return Names(
        localhost=[["127.0.0.1"]],
        page_invalid=[["127.0.0.1"]],
        mixed_invalid=[["2000::1", "127.0.0.1"]],
        mapped_invalid=[["::ffff:127.0.0.1"]],
        strange_invalid=[["127.0.0.1%lo"]],
    )


def reached(canary: Site, addresses: list[str], limits: Limits = LIMITS) -> int:
    """How many of the addresses reach the canary; every other one must say why not."""
    hits = 0
    for address in addresses:
        before = len(canary.hits)
        try:
            fetch(address.format(port=canary.port), limits, names())
        except ToolError as error:
            assert error.hint  # noqa: PT017 (only a ToolError may come)
        hits += len(canary.hits) > before
    return hits


def test_no_address_reaches_the_canary(canary: Site, figure: Figure) -> None:
    hits = reached(canary, ALL)
    figure(18, f"{hits} of {len(ALL)} addresses reached the canary (95 % bound {3 / len(ALL):.1%})")
    assert hits == 0


def test_the_same_addresses_do_reach_it_without_the_check(canary: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phireside.retrieval.fetch.is_public", lambda address: True)
    stopped = ("//0.0.0.0", "//0:", "ffff", "\t", "0177.")  # by pytest's guard; the last two are no addresses to httpx
    tried = [each for each in LOOPBACK if not any(part in each for part in stopped)]
    assert reached(canary, tried) == len(tried) > 10


def test_redirects_are_checked_again(canary: Site, figure: Figure) -> None:
    ways = [
        *LOOPBACK,
        *SCHEMES,
        "//127.0.0.1:{port}/",
        "\\\\127.0.0.1:{port}/",
        "/\\127.0.0.1:{port}/",
        "http:/\\127.0.0.1:{port}/",
    ]
    ways = [way for way in ways if way.isascii() and way.isprintable()]
    targets = {f"/{n}": way.format(port=canary.port) for n, way in enumerate(ways)}
    codes = (301, 302, 303, 307, 308)
    routes = {path: (codes[int(path[1:]) % 5], {"Location": way}, b"") for path, way in targets.items()}
    with site(routes) as open_site:
        limits = Limits(seconds=60, allow=open_site.allowed)
        for path in routes:
            try:
                fetch(open_site.url + path, limits, names())
            except ToolError as error:
                assert error.hint  # noqa: PT017 (only a ToolError may come)
        assert len(open_site.hits) >= len(routes)
    figure(18, f"{len(canary.hits)} of {len(routes)} redirects reached the canary")
    assert canary.hits == []


def test_a_name_that_changes_its_address_is_looked_up_once(canary: Site, figure: Figure) -> None:
    try:
        second = site({"*": (200, HTML, PAGE.encode())}, "127.0.0.2", canary.port)
        open_site = second.__enter__()
    except OSError:
        pytest.skip("this system has no second loopback address")
    try:
        resolve = Names(rebind_invalid=[["127.0.0.2"], ["127.0.0.1"]])
        answer = fetch(f"http://rebind.invalid:{canary.port}/", Limits(seconds=60, allow=open_site.allowed), resolve)
    finally:
        second.__exit__(None, None, None)
    assert answer.status == 200
    assert resolve.asked == ["rebind.invalid"]
    assert open_site.hosts == [f"rebind.invalid:{canary.port}"]
    figure(18, f"{len(canary.hits)} of 1 names that change their address reached the canary")
    assert canary.hits == []


def test_a_redirect_to_the_same_name_is_looked_up_and_checked_again(canary: Site) -> None:
    with site({"/": (302, {"Location": f"http://rebind.invalid:{canary.port}/"}, b"")}) as open_site:
        resolve = Names(rebind_invalid=[["127.0.0.1"]])
        with pytest.raises(ToolError, match=r"rebind\.invalid is at 127\.0\.0\.1, which is not a public address"):
            fetch(f"http://rebind.invalid:{open_site.port}/", Limits(seconds=60, allow=open_site.allowed), resolve)
    assert resolve.asked == ["rebind.invalid"] * 2
    assert canary.hits == []


def test_an_allowed_address_opens_one_port_of_one_address(canary: Site) -> None:
    with site({"*": (200, HTML, b"hello")}) as open_site:
        limits = Limits(seconds=60, allow=open_site.allowed)
        assert fetch(open_site.url, limits).body == b"hello"
        assert reached(canary, ALL, limits) == 0


def test_nothing_in_the_environment_opens_anything(canary: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, canary.url)
    for name, value in (("NO_PROXY", "*"), ("LANGCHAIN_ENV", "local_test"), ("PHIRESIDE_ALLOW", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    with site({"*": (200, HTML, b"hello")}) as open_site:
        assert fetch(open_site.url, Limits(seconds=60, allow=open_site.allowed)).body == b"hello"
    assert reached(canary, ALL) == 0


def test_the_tool_refuses_as_well(canary: Site) -> None:
    with pytest.raises(ToolError, match="not a public address: nothing was sent there"):
        read_page(LIMITS).invoke({"address": canary.url})
    assert canary.hits == []


def test_the_check_lets_public_addresses_through_and_not_what_a_cloud_calls_its_host() -> None:
    assert is_public("2000::1")
    assert not is_public("2000::1%eth0")
    assert not is_public(str(CLOUD_HOST))

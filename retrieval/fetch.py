"""Fetch one address of the web, whoever wrote it: a model, a page, a search engine.

No address may lead into this machine or its networks (server-side request forgery: OWASP SSRF Prevention Cheat Sheet).
So a name is looked up once, every address it has is checked, and the connection is made to a checked one, with the
name kept for Host and for the certificate; each redirect starts over. One budget of seconds and one of bytes holds for
all of it: names, connections, TLS, headers, redirects, body. What is unpacked is bounded too. Proxies and settings in
the environment are not used, but for SSL_CERT_FILE. Knows nothing of pages; `read_page` does.
"""
# ruff: noqa: ARG002 (the methods of httpcore's streams have a timeout each; here the budget is the timeout)

import ipaddress
import queue
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import Any, TypeVar

import httpcore
import httpx

from phireside.errors import ToolError

Resolve = Callable[[str, int], Sequence[str]]  # name and port to addresses
T = TypeVar("T")

GIVE_UP = "Answer from what you know, and say that you could not look it up."
ELSEWHERE = "Try another address, or answer from what you know and say so."
_LONGEST_URL = 2000  # characters
_HOST = re.compile(r"[\w.-]+|[0-9a-f:.]+", re.ASCII | re.IGNORECASE)  # a name, or a number of IPv4 or IPv6
_REDIRECTS = {301, 302, 303, 307, 308}
_HEADERS: dict[bytes | str, bytes | str] = {
    "User-Agent": "Mozilla/5.0 (compatible; Phireside)",
    "Accept": "text/html,application/xhtml+xml,application/json;q=0.9,text/*;q=0.8",
    "Accept-Encoding": "gzip",
    "Connection": "close",
}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: a whole IPv4 address is in it
_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291: all IPv6 addresses of the public net
CLOUD_HOST = ipaddress.IPv4Address("168.63.129.16")  # public in form, but in Azure the machine's own host


@dataclass(frozen=True, slots=True)
class Limits:
    """What one fetch may cost, and which private addresses it may reach.

    Args:
        seconds: for everything together.
        max_bytes: that may arrive, headers included; and that a packed body may unpack to.
        redirects: that are followed.
        allow: (address, port) pairs that are reached although they are not public, as ("127.0.0.1", 8888). For a
            server of the person's own; never for an address that came from a model.
    """

    seconds: float = 15.0
    max_bytes: int = 2_000_000
    redirects: int = 5
    allow: frozenset[tuple[str, int]] = frozenset()


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer.

    Args:
        url: the last address, after redirects.
        status: of HTTP.
        headers: their names in small letters; of several with one name, the last.
        body: unpacked; only read with a status of 200 to 299.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def fetch(url: str, limits: Limits = LIMITS, resolve: Resolve = look_up) -> Fetched:
    """GET an http or https address.

    Args:
        url: the address; whoever wrote it.
        limits: see `Limits`.
        resolve: looks a name up; called once for each name on the way.

    Raises:
        ToolError: the address is none, or leads to where it must not; nothing is there; or a limit was met. The
            status of an answer is no error here.
    """
    budget = _Budget(limits)
    for _ in range(limits.redirects + 1):
        target = parsed(url)
        answer = _get(target, _checked(target, limits, resolve, budget), budget)
        if answer.status not in _REDIRECTS or "location" not in answer.headers:
            return answer
        url = _joined(target, answer.headers["location"])
    raise ToolError(f"The address leads on more than {limits.redirects} times.", hint=ELSEWHERE)


def addresses(host: str, port: int, resolve: Resolve, seconds: float) -> list[str]:
    """The addresses of a host; numbers in any form that a system takes (127.1, 0x7f000001) are no names.

    Raises:
        ToolError: there are none, or not in time.
    """
    if number := _number(host):
        return [number]
    try:
        found = in_time(lambda: list(resolve(host, port)), seconds)
    except (OSError, ValueError):  # TimeoutError is an OSError; ValueError: a label longer than names may have
        found = []
    if not found:
        raise ToolError(
            f"The name {host[:80]} cannot be found: there is no such site, or no connection to the internet.",
            hint=GIVE_UP,
        )
    return found


def in_time(work: Callable[[], T], seconds: float) -> T:
    """Run what has no time limit of its own; after `seconds` it is left behind in its thread.

    Raises:
        TimeoutError: it took longer.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            done.put((None, error))

    threading.Thread(target=run, daemon=True, name="phireside-in-time").start()
    try:
        result, error = done.get(timeout=max(0.0, seconds))
    except queue.Empty:
        raise TimeoutError(f"It took longer than {seconds:g} s.") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public net; one inside another (mapped, 6to4, NAT64) counts for both."""
    try:
        ip = _inner(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and (ip not in _UNICAST or ip.scope_id is not None):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved and ip != CLOUD_HOST


def _inner(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address, or the IPv4 address within it."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


def _number(host: str) -> str:
    """A host that is a number, in its usual form; empty for a name."""
    host = host.rstrip(".")
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))
    except (OSError, ValueError):
        return ""


def parsed(text: str) -> httpx.URL:
    """An address as a URL.

    Raises:
        ToolError: it is none, or one that is read differently by different programs.
    """
    text = text.strip()
    if len(text) > _LONGEST_URL:
        raise ToolError(f"The address has {len(text)} characters; at most {_LONGEST_URL} are read.", hint=ELSEWHERE)
    try:
        url = httpx.URL(text)
        host = url.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as error:
        raise ToolError(f"{text[:200]!r} is not an address: {error}.", hint=ELSEWHERE) from error
    if url.scheme not in ("http", "https"):
        raise ToolError(f"{text[:200]!r} is not an address that begins with http:// or https://.", hint=ELSEWHERE)
    if not _HOST.fullmatch(host) or "\\" in text or url.userinfo or not 0 < _port(url) < 65536:
        raise ToolError(
            f"{text[:200]!r} is not a plain address: only a host, a port and a path may be in it.", hint=ELSEWHERE
        )
    return url


def _port(url: httpx.URL) -> int:
    return url.port if url.port is not None else {"http": 80, "https": 443}[url.scheme]


def _joined(url: httpx.URL, location: str) -> str:
    """Where a redirect leads."""
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise ToolError(f"{url.host} leads to {location[:200]!r}, which is no address.", hint=ELSEWHERE) from error


def _checked(url: httpx.URL, limits: Limits, resolve: Resolve, budget: "_Budget") -> list[str]:
    """The addresses of a URL's host, if a connection may be made to every one of them."""
    port = _port(url)
    found = addresses(url.raw_host.decode("ascii"), port, resolve, budget.left())
    for address in found:
        if not is_public(address) and not _allowed(address, port, limits):
            raise ToolError(
                f"{url.host} is at {address[:50]}, which is not a public address: nothing was sent there.",
                hint=ELSEWHERE,
            )
    return found


def _allowed(address: str, port: int, limits: Limits) -> bool:
    try:
        return (str(_inner(address)), port) in limits.allow
    except ValueError:
        return False


def _get(url: httpx.URL, found: list[str], budget: "_Budget") -> Fetched:
    """One request, to one of the addresses found for its host."""
    target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
    tls = _certificates() if url.scheme == "https" else None
    headers = {**_HEADERS, "Host": url.netloc.decode("ascii")}
    try:
        with (
            httpcore.ConnectionPool(ssl_context=tls, network_backend=_Backend(found, budget)) as pool,
            pool.stream("GET", target, headers=headers) as response,
        ):
            received = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
            body = b"".join(_unpacked(response.iter_stream(), received, budget)) if response.status // 100 == 2 else b""
            return Fetched(str(url), response.status, received, body)
    except httpcore.TimeoutException:
        raise budget.late() from None
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol) as error:
        raise ToolError(
            f"{url.host} cannot be read: {str(error)[:200] or type(error).__name__}.", hint=ELSEWHERE
        ) from error


def _certificates() -> SSLContext:
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # an SSLError is one
        raise ToolError(
            f"The certificates of SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error.strerror or error}.",
            hint=GIVE_UP,
        ) from error


def _unpacked(chunks: Iterable[bytes], headers: Mapping[str, str], budget: "_Budget") -> Iterator[bytes]:
    """A body piece by piece, unpacked, as far as the limit of bytes."""
    packed = headers.get("content-encoding", "").strip().lower()
    if packed not in ("", "identity", "gzip", "x-gzip"):
        raise ToolError(f"The page is packed as {packed[:40]!r}, which was not asked for.", hint=ELSEWHERE)
    announced = headers.get("content-length", "")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > budget.limits.max_bytes:
        raise budget.large()
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16) if packed.endswith("gzip") else None
    left = budget.limits.max_bytes
    for chunk in chunks:
        try:
            piece = unpack.decompress(chunk, left + 1) if unpack else chunk
        except zlib.error as error:
            raise ToolError(f"The page is packed in a damaged way: {error}.", hint=ELSEWHERE) from error
        left -= len(piece)
        if left < 0:
            raise budget.large()
        yield piece


class _Budget:
    """The seconds and bytes that are left of a fetch."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._end = time.monotonic() + limits.seconds
        self._bytes = 0

    def left(self) -> float:
        """Seconds."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.late()
        return left

    def took(self, count: int) -> None:
        """Bytes have arrived."""
        self._bytes += count
        if self._bytes > self.limits.max_bytes:
            raise self.large()

    def late(self) -> ToolError:
        return ToolError(f"The page took longer than {self.limits.seconds:g} s.", hint=ELSEWHERE)

    def large(self) -> ToolError:
        return ToolError(f"The page has more than {self.limits.max_bytes:,} bytes.", hint=ELSEWHERE)


class _Backend(httpcore.NetworkBackend):
    """Connects to the addresses that were checked, whatever the name is by now."""

    def __init__(self, found: list[str], budget: _Budget) -> None:
        self._found, self._budget, self._system = found, budget, httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Try the addresses one after another, each for its share of the seconds that are left."""
        for at, address in enumerate(self._found):
            rest = len(self._found) - at
            try:
                stream = self._system.connect_tcp(
                    address, port, self._budget.left() / rest, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if rest == 1:
                    raise
            else:
                return _Stream(stream, self._budget)
        raise httpcore.ConnectError("there is no address")


class _Stream(httpcore.NetworkStream):
    """A connection that ends with the budget; a limit for each read would let a slow server go on for ever."""

    def __init__(self, stream: httpcore.NetworkStream, budget: _Budget) -> None:
        self._stream, self._budget = stream, budget

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, self._budget.left())
        self._budget.took(len(data))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._budget.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, self._budget.left()), self._budget)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

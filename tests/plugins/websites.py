"""Web servers on loopback addresses, well-behaved and hostile ones, and resolvers that say what a test wants."""

import gzip
import itertools
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext

Answer = tuple[int, dict[str, str], bytes] | Callable[["Visit"], Iterable[bytes]]
HTML = {"Content-Type": "text/html; charset=utf-8"}
SENTENCE = "The hearth has been burning since the morning, and the kettle sings quietly beside it. "
PAGE = f"<html><head><title>A fire</title></head><body><article>{f'<p>{SENTENCE * 3}</p>' * 5}</article></body></html>"


class Site:
    """A server. `hits` are the paths asked for, `hosts` the Host of each, `sent` the bytes that went out."""

    def __init__(self, routes: dict[str, Answer], address: str, port: int, tls: SSLContext | None) -> None:
        self.routes, self.ended = routes, threading.Event()
        self.hits: list[str] = []
        self.hosts: list[str] = []
        self.sent = 0
        self.server = ThreadingHTTPServer((address, port), type("Handler", (Visit,), {"site": self}))
        self.server.daemon_threads = True
        self.address, self.port = address, self.server.server_address[1]
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{self.port}"

    @property
    def allowed(self) -> frozenset[tuple[str, int]]:
        """For `Limits.allow`."""
        return frozenset({(self.address, self.port)})


class Visit(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        site = self.site
        site.hits.append(self.path)
        site.hosts.append(self.headers.get("Host", ""))
        answer = site.routes.get(self.path.partition("?")[0], site.routes.get("*", (404, {}, b"")))
        self.close_connection = True
        try:
            for piece in answer(self) if callable(answer) else plain(*answer):
                self.wfile.write(piece)
                site.sent += len(piece)
                if site.ended.is_set():
                    return
        except OSError:
            return  # the client has gone, as it should


def plain(status: int, headers: dict[str, str], body: bytes) -> Iterator[bytes]:
    head = {"Content-Length": str(len(body))} | headers
    yield f"HTTP/1.1 {status} X\r\n".encode() + b"".join(f"{k}: {v}\r\n".encode() for k, v in head.items())
    yield b"\r\n" + body


def slow_body(visit: Visit) -> Iterator[bytes]:
    """One byte, again and again."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    yield from _slowly(visit, itertools.repeat(b"a"))


def slow_head(visit: Visit) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    yield from _slowly(visit, itertools.repeat(b"a"))


def _slowly(visit: Visit, pieces: Iterator[bytes]) -> Iterator[bytes]:
    while not visit.site.ended.wait(0.05):
        yield next(pieces)


def endless_body(visit: Visit) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    yield from itertools.repeat(b"hello " * 2000)


def endless_head(visit: Visit) -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from (b"X-%d: %s\r\n" % (n, b"a" * 500) for n in itertools.count())


def endless_informational(visit: Visit) -> Iterator[bytes]:
    yield from itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")


def bomb(megabytes: int = 100) -> Answer:
    packed = gzip.compress(b"0" * 1_000_000 * megabytes, 9)
    return 200, {**HTML, "Content-Encoding": "gzip"}, packed


def onward(visit: Visit) -> Iterator[bytes]:
    """A redirect to the next number."""
    number = int(visit.path.partition("=")[2] or 0)
    return plain(302, {"Location": f"/onward?n={number + 1}"}, b"")


@contextmanager
def site(
    routes: dict[str, Answer], address: str = "127.0.0.1", port: int = 0, tls: SSLContext | None = None
) -> Iterator[Site]:
    """A server for as long as the block runs. A route is a path, or "*" for all others."""
    here = Site(routes, address, port, tls)
    thread = threading.Thread(target=here.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield here
    finally:
        here.ended.set()
        here.server.shutdown()
        here.server.server_close()
        thread.join()


def closed_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class Names:
    """A resolver. Each name has its answers, one after another; the last one stays. `asked` are the names in order."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(each) for name, each in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self.answers.get(host)
        if not answers:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]

"""The plainest balancer: one address for several processes. It passes bytes on, and of HTTP knows one cookie."""

import re
import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from threading import Thread

END = b"\r\n\r\n"  # of the head of a request or an answer
ROUTE = re.compile(rb"\r\ncookie:[^\r\n]*\broute=(\d+)", re.IGNORECASE)


@contextmanager
def balanced(addresses: list[str], *, sticky: bool = False) -> Iterator[str]:
    """One address for all of them: each connection goes to the next process that takes it.

    Args:
        addresses: of the processes, `http://127.0.0.1:PORT`.
        sticky: each request, or WebSocket, goes to the process that its cookie `route` names, as long as that one takes
            it. The answer of another one gives out the cookie.
    """
    ports = [int(address.rpartition(":")[2]) for address in addresses]
    turn = count()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            head = head_of(self.request) if sticky else b""
            if sticky and not head:  # browsers open connections that they may need
                return
            head = head.replace(b"Connection: keep-alive", b"Connection: close")  # each request is on one of its own
            named = ROUTE.search(head)
            first = int(named[1]) if named else next(turn)
            for number in range(first, first + len(ports)):
                number %= len(ports)
                with suppress(OSError), socket.create_connection(("127.0.0.1", ports[number])) as process:
                    process.sendall(head)
                    is_new = sticky and not (named and int(named[1]) == number)
                    cookie = f"set-cookie: route={number}; Path=/; HttpOnly\r\n" if is_new else ""
                    back = Thread(target=copy, args=(process, self.request, cookie))
                    back.start()
                    copy(self.request, process)
                    back.join()
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True  # a browser keeps its connections longer than the test
        Thread(target=server.serve_forever, args=(0.05,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def copy(source: socket.socket, target: socket.socket, cookie: str = "") -> None:
    """What comes, until nothing more does; a cookie goes with the first answer."""
    with suppress(OSError):
        if cookie and (head := head_of(source)):
            status, _, rest = head.partition(b"\r\n")
            target.sendall(status + b"\r\n" + cookie.encode() + rest)
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def head_of(source: socket.socket) -> bytes:
    """What comes, until the end of a head is among it."""
    read = b""
    with suppress(OSError):
        while END not in read and (data := source.recv(65_536)):
            read += data
    return read

"""An MCP server for tests: a program without libraries that is spoken to through its pipes, or (`--http`) on 127.0.0.1.

    mcp_server.py [--http] [--begin die|hang|talk] [--mark TEXT] [--tools FILE] [--calls FILE]

Its tools do what their names say. `--tools` names a JSON file with other tools, which is read whenever they are asked
for; `--calls` a file that gets the name of each tool that is called; `--mark` is for whoever looks for its processes.
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOOLS = (
    "echo",
    "fail",
    "refuse",
    "die",
    "hang",
    "deaf",
    "flood",
    "big",
    "endless",
    "bad",
    "strange",
    "child",
    "packed",
)
FAULTS = ("die", "hang", "deaf", "big", "endless", "bad", "strange", "child")  # what no server should do
LONG = "x" * 10_000_000
Send = Callable[[bytes], None]


def tool(name: str, **other: Any) -> dict[str, Any]:
    """A tool as servers describe them."""
    return {"name": name, "description": f"Does {name}.", "inputSchema": {"type": "object", "properties": {}}} | other


def answer(asked: dict[str, Any], result: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()


def said(text: str, **other: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], **other}


def handle(asked: dict[str, Any], send: Send, options: argparse.Namespace) -> None:
    """Answer a message."""
    if asked.get("method") == "initialize":
        version = asked["params"]["protocolVersion"]
        about = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
        send(answer(asked, about))
    elif asked.get("method") == "tools/list":
        offered = json.loads(Path(options.tools).read_text()) if options.tools else [tool(each) for each in TOOLS]
        send(answer(asked, {"tools": offered}))
    elif asked.get("method") == "tools/call":
        name = asked["params"]["name"]
        if options.calls:
            with Path(options.calls).open("a") as file:
                file.write(f"{name}\n")
        call(name, asked, send, options)


def call(name: str, asked: dict[str, Any], send: Send, options: argparse.Namespace) -> None:
    """Run a tool."""
    if name == "die":
        sys.exit("I am gone")
    if name == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if name in ("hang", "deaf"):
        time.sleep(1000)
    if name == "flood":
        for _ in range(20_000):
            print("warning " * 100, file=sys.stderr)
    if name == "big":
        send(answer(asked, said(LONG)))
    if name == "endless":
        while True:
            send(LONG[:100_000].encode())
    if name == "bad":
        send(b'{"jsonrpc": "2.0", "id": 3, ')
    if name == "strange":
        send(answer(asked, {"content": 7}))
    if name == "child":  # it keeps the pipes, and its name the mark
        import subprocess

        subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)", options.mark])
        os._exit(3)
    if name == "refuse":
        error = {"code": -32000, "message": "not today"}
        send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}).encode())
    given = json.dumps(asked["params"].get("arguments"))
    send(answer(asked, said(given, isError=name == "fail", **asked["params"]["arguments"].get("more", {}))))


def over_pipes(options: argparse.Namespace) -> None:
    def send(line: bytes) -> None:
        endless = line == LONG[:100_000].encode()
        sys.stdout.buffer.write(line if endless else line + b"\n")
        sys.stdout.buffer.flush()

    print("Welcome to this server!", flush=True)  # many programs do
    for line in sys.stdin:
        handle(json.loads(line), send, options)


def over_http(options: argparse.Namespace) -> None:
    import gzip  # it is started often, and mostly without these
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Say nothing."""

        def do_GET(self) -> None:
            self.send_error(405)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked.get("params", {}).get("name")
            self.close_connection = True
            if "id" not in asked:
                self.send_response(202)
                self.end_headers()
                return
            if name in ("die", "child"):
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream" if name == "endless" else "application/json")
            if name == "packed":
                self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            write = self.wfile.write
            try:
                handle(asked, (lambda body: write(gzip.compress(body))) if name == "packed" else write, options)
            except OSError:
                return  # the client has gone, as it should

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("begin", "mark", "tools", "calls"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--http", action="store_true")
    options = parser.parse_args()
    if options.begin == "die":
        sys.exit("no key")
    if options.begin == "hang":
        time.sleep(1000)
    if options.begin == "talk":
        print(LONG, flush=True)
    (over_http if options.http else over_pipes)(options)


if __name__ == "__main__":
    main()

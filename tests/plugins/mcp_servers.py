"""MCP servers for tests: files that name them, one that runs over HTTP, and what is left of them."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from langchain_core.tools import BaseTool

from phireside.tools import mcp_tools

SCRIPT = Path(__file__).with_name("mcp_server.py")


def program(*arguments: object) -> dict[str, Any]:
    """The server as a program, as a file names it."""
    return {"command": sys.executable, "args": ["-I", "-S", *map(str, (SCRIPT, *arguments))]}


def servers_file(folder: Path, **servers: dict[str, Any]) -> Path:
    path = folder / "servers.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    return path


def tools_of(path: Path, **options: Any) -> dict[str, BaseTool]:
    """The tools by name, all approved."""
    return {tool.name: tool for tool in mcp_tools(path, **{"approve": lambda offer: True, "seconds": 60.0} | options)}


@contextmanager
def over_http(*arguments: object, script: Path = SCRIPT) -> Iterator[dict[str, Any]]:
    """The server on an address of this machine, as a file names it."""
    command = [sys.executable, str(script), "--http", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout
        yield {"url": f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"}
    finally:
        process.kill()
        process.communicate()


def left(mark: str) -> list[int]:
    """Processes that have the mark in their command."""
    running = psutil.process_iter(["cmdline"])
    return [each.pid for each in running if any(mark in part for part in each.info["cmdline"] or ())]


def until(happens: Callable[[], bool], seconds: float = 60) -> bool:
    """Whether something happens, sooner or later."""
    end = time.monotonic() + seconds
    while not happens():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True

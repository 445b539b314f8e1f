"""The guard of tests/conftest.py holds: no test reaches anything but this machine. (Nothing here could leave it.)"""

import asyncio
import os
import socket
from pathlib import Path

import pytest
from pytest_socket import SocketBlockedError, SocketConnectBlockedError

from phireside.settings import Settings


def test_a_fast_test_can_open_no_socket() -> None:
    with pytest.raises(SocketBlockedError):
        socket.socket()
    with pytest.raises(SocketBlockedError):
        socket.getaddrinfo("localhost", 80)


async def test_an_event_loop_runs_all_the_same() -> None:
    assert await asyncio.to_thread(lambda: 1) == 1


def test_the_fixture_loopback_opens_loopback_and_nothing_else(loopback: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()
    with pytest.raises(SocketConnectBlockedError):
        socket.socket().connect(("255.255.255.255", 9))
    with pytest.raises(socket.gaierror, match=r"tried to look up 'phireside\.invalid'"):
        socket.create_connection(("phireside.invalid", 80))


def test_a_test_finds_nothing_of_the_person_who_runs_it(settings: Settings, tmp_path: Path) -> None:
    assert "phireside-tests-" in str(Path.home())
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert settings.data_dir.is_relative_to(tmp_path)
    assert Settings(data_dir=settings.data_dir) == settings

"""Several `phireside serve` behind one address: any may answer any request, as the API keeps nothing between two."""

import re
import time
from itertools import cycle
from pathlib import Path

import httpx
import pytest
from balancing import balanced
from openai import OpenAI
from serving import serving

LONG = 90  # seconds

pytestmark = pytest.mark.real


def asked(address: str, *said: str) -> str:
    """The streamed answer to what was said in turn, by a client and a connection of its own."""
    roles = cycle(("user", "assistant"))
    messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]
    with OpenAI(base_url=f"{address}/v1", api_key="none", timeout=LONG, max_retries=0) as client:
        stream = client.chat.completions.create(model="chat", messages=messages, max_tokens=8, stream=True)  # type: ignore[call-overload]
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def answers_of(address: str, count: int) -> int:
    """How many chat requests a process has counted, as soon as they are so many: it counts when all is sent."""
    limit = time.monotonic() + LONG
    while True:
        text = httpx.get(f"{address}/metrics", timeout=LONG).text
        found = re.findall(r"phireside_requests_total{.*chat/completions.*} ([\d.]+)", text)
        if (counted := sum(int(float(each)) for each in found)) >= count or time.monotonic() > limit:
            return counted
        time.sleep(0.05)


def test_a_chat_goes_on_at_whichever_process_and_when_one_is_killed(tiny_chatml: Path, tmp_path: Path) -> None:
    with (
        serving(tiny_chatml, tmp_path) as (first, process),
        serving(tiny_chatml, tmp_path) as (second, _),
        balanced([first, second]) as address,
    ):
        said = ["Hello!"]
        for number in range(4):
            said += [asked(address, *said), f"And {number}?"]
        assert all(said)
        assert [answers_of(each, 2) for each in (first, second)] == [2, 2]
        process.kill()
        process.wait(LONG)
        assert all(asked(address, *said) for _ in range(2))
        assert answers_of(second, 4) == 4

"""One process serves pages and API: both answer at one port, and neither takes the other's addresses."""

from pathlib import Path

import httpx
import pytest
from browsing import app_process
from calling import CHAT, HELLO, events

pytestmark = pytest.mark.real
KEY = "key-of-the-tests-0123"
LONG = 60  # seconds


def test_pages_and_api_answer_at_one_port(tmp_path: Path) -> None:
    with (
        app_process(tmp_path, PHIRESIDE_MODEL="starter", PHIRESIDE_API_KEY=KEY) as address,
        httpx.Client(base_url=address, timeout=LONG, headers={"authorization": f"Bearer {KEY}"}) as client,
    ):
        response = client.post(CHAT, json=HELLO | {"max_tokens": 4, "stream": True})
        assert response.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in response.headers  # compressed, a stream would be held back
        assert events(response.text)[-1] == "[DONE]"
        page = client.get("/chains", headers={"accept": "text/html"})
        assert "<title>Streamlit" in page.text
        assert client.get("/chains").json()["object"] == "list"
        assert client.get("/_stcore/health").status_code == 200
        assert client.get("/v1/models", headers={"host": "evil.example"}).status_code in (400, 403)
        client.headers["authorization"] = ""
        assert client.post(CHAT, json=HELLO).status_code == 401

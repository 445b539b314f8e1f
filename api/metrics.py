"""What the server counts, in Prometheus's form, and `GET /metrics`. What strangers send is no label.

Knows nothing of what is counted.
"""

import time
from collections import Counter as Sum
from collections.abc import Iterator

from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from phireside.chains import Cost
from phireside.models.runtime import runtimes

router = APIRouter(tags=["server"])
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
_GONE = 499  # nginx's status for a client that went away
_ENGINE = {
    "running": "Answers that are being written.",
    "waiting": "Requests in the engine's queue.",
    "parked": "Sequences that are kept for prompts with the same beginning.",
    "cells": "Tokens that the KV cache holds.",
    "cells_used": "Tokens in the KV cache.",
}


class Metrics:
    """The counters of one app."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "phireside_requests", "Requests that ended.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "phireside_request_seconds", "Until a request ended.", ["path"], buckets=_SECONDS, registry=self.registry
        )
        self.first_piece = Histogram(
            "phireside_first_piece_seconds", "Until an answer began.", buckets=_SECONDS, registry=self.registry
        )
        self.tokens = Counter("phireside_tokens", "Tokens, by what became of them.", ["kind"], registry=self.registry)
        self.open = Gauge("phireside_requests_open", "Requests that have not ended.", registry=self.registry)
        self.registry.register(_Engines())

    def count_tokens(self, cost: Cost) -> None:
        """An answer has cost so much."""
        self.tokens.labels("evaluated").inc(cost.evaluated_tokens)
        self.tokens.labels("cached").inc(cost.cached_tokens)
        self.tokens.labels("generated").inc(cost.generated_tokens)


class _Engines(Collector):
    """What the engines of this process are doing at this moment."""

    def collect(self) -> Iterator[Metric]:
        """A gauge for each figure, with a value for each model."""
        stats = [(each.engine.path.stem, each.engine.stats()) for each in runtimes()]
        for name, text in _ENGINE.items():
            gauge = GaugeMetricFamily(f"phireside_engine_{name}", text, labels=["model"])
            sums = Sum[str]()  # one file may be loaded twice, with other settings: Prometheus takes a label once
            for model, now in stats:
                sums[model] += getattr(now, name)
            for model, value in sums.items():
                gauge.add_metric([model], value)
            yield gauge


class Counted:
    """ASGI middleware that counts requests.

    Args:
        app: that answers.
        metrics: its counters.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; count it when it has ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = _GONE, time.monotonic()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._metrics.open.track_inprogress():
            try:
                await self._app(scope, receive, note)
            except Exception:
                status = 500
                raise
            finally:
                path = getattr(scope.get("route"), "path", "other")  # as declared, so that there are few
                self._metrics.requests.labels(path, str(status)).inc()
                self._metrics.seconds.labels(path).observe(time.monotonic() - began)


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
async def metrics(request: Request) -> Response:
    """Requests, tokens, seconds, and what the engines are doing."""
    own: Metrics = request.app.state.parts.metrics
    return Response(generate_latest(own.registry), headers={"content-type": CONTENT_TYPE_LATEST})

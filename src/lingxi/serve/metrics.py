"""`/metrics` for Prometheus: text-embeddings-inference's names, so that its dashboards work, and our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from lingxi.serve.account import Account
from lingxi.serve.ledger import Family, Ledger, Place
from lingxi.serve.watch import Dropped, Kind, Spent

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKENS = tuple(2.0**i for i in range(16))
_SIZES = tuple(2.0**i for i in range(13))
_STEPS = ("", "tokenization_", "queue_", "inference_")
# text-embeddings-inference's word for the work of each kind of model, and for each kind of failure.
_WORK: dict[Kind, str] = {"embedder": "embed", "reranker": "predict"}
_FAILED = {"overloaded": "overloaded", "unready": "unhealthy", "backend": "inference"}
_OF_STATUS = {
    400: "invalid_input", 401: "unauthorized", 403: "unauthorized", 404: "not_found", 405: "not_found",
    408: "late", 413: "too_large", 415: "invalid_input", 422: "invalid_input", 424: "backend",
    429: "overloaded", 500: "backend", 503: "unready", 504: "late",
}  # fmt: skip
KINDS = tuple(dict.fromkeys(_OF_STATUS.values()))
_STATUSES = tuple(str(status) for status in (200, 204, 307, *_OF_STATUS))


class Metrics:
    """What is counted of one server; a `Watch`, in any thread."""

    def __init__(self, models: Sequence[str], paths: Sequence[str], place: Place | None = None) -> None:
        self.ledger = book = Ledger(place or Place())
        method = ("single", "batch")
        self._count = book.counter("te_request_count", "requests for vectors and scores", method=method)
        self._success = book.counter("te_request_success", "those answered with 200", method=method)
        self._failure = book.counter(
            "te_request_failure", "those answered with an error", err=("validation", *_FAILED.values())
        )
        self._request = _durations(book, "request", "a request")
        self._length = book.histogram("te_request_input_length", "tokens of a text", _TOKENS)
        self._work = {kind: _Work(book, name) for kind, name in _WORK.items()}
        self._size = book.histogram("te_batch_next_size", "texts in a batch", _SIZES)
        self._tokens = book.histogram("te_batch_next_tokens", "tokens in a batch", _TOKENS)
        self._queue = book.gauge("te_queue_size", "texts that wait")
        self._waiting = book.gauge("lingxi_waiting_tokens", "tokens that wait")
        self._open = book.gauge("lingxi_open_requests", "requests under way")
        self._requests = book.counter(
            "lingxi_requests",
            "requests by path and status",
            path=(*paths, "other"),
            status=(*_STATUSES, "other"),
        )
        self._refused = book.counter("lingxi_refused", "requests refused, by kind", kind=KINDS)
        self._gone = book.counter("lingxi_client_gone", "requests whose client left before the answer")
        self._dropped = book.counter(
            "lingxi_dropped_texts", "texts that left the queue unanswered", why=("gone", "late", "failed")
        )
        self._batches = book.counter("lingxi_batches", "batches computed", model=models)
        self._batch_texts = book.counter("lingxi_texts", "texts computed", model=models)
        self._batch_tokens = book.counter("lingxi_tokens", "tokens computed", model=models)
        self._batch_seconds = book.counter("lingxi_compute_seconds", "seconds of computing", model=models)
        self._paths = frozenset(paths)

    def waiting(self, texts: int, tokens: int) -> None:
        """As `Watch`."""
        self.ledger.put(self._queue, value=texts)
        self.ledger.put(self._waiting, value=tokens)

    def batch(self, model: str, texts: int, tokens: int, seconds: float) -> None:
        """As `Watch`."""
        book = self.ledger
        book.observe(self._size, texts)
        book.observe(self._tokens, tokens)
        book.add(self._batches, model)
        book.add(self._batch_texts, model, by=texts)
        book.add(self._batch_tokens, model, by=tokens)
        book.add(self._batch_seconds, model, by=seconds)

    def spent(self, spent: Spent) -> None:
        """As `Watch`; a request's own durations are counted when it ends."""
        self.ledger.observe(self._length, spent.lengths)

    def dropped(self, why: Dropped, texts: int) -> None:
        """As `Watch`."""
        self.ledger.add(self._dropped, why, by=texts)

    def opened(self, by: int) -> None:
        """A request came (1) or ended (-1)."""
        self.ledger.add(self._open, by=by)

    def answered(self, account: Account) -> None:
        """Count one request that ended."""
        book, status = self.ledger, str(account.status)
        path = account.path if account.path in self._paths else "other"
        if account.gone:
            book.add(self._gone)
            return
        book.add(self._requests, path, status if status in _STATUSES else "other")
        if account.status >= 400:
            kind = _OF_STATUS.get(account.status, "invalid_input" if account.status < 500 else "backend")
            book.add(self._refused, kind)
            if kind not in ("unauthorized", "not_found"):
                book.add(self._failure, _FAILED.get(kind, "validation"))
        for spent in account.spent:
            self._count_work(spent, account)

    def _count_work(self, spent: Spent, account: Account) -> None:
        book, texts, good = self.ledger, len(spent.lengths), account.status < 400
        method = "single" if texts == 1 else "batch"
        book.add(self._count, method)
        if good:
            book.add(self._success, method)
        seconds = (account.seconds, spent.tokenized, spent.waited, spent.computed)
        for family, value in zip(self._request, seconds, strict=True):
            book.observe(family, value)
        self._work[spent.kind].done(book, texts, seconds, good)


class _Work:
    """What text-embeddings-inference counts of each text that is embedded, or each pair that is judged."""

    def __init__(self, book: Ledger, name: str) -> None:
        self._count = book.counter(f"te_{name}_count", f"texts of {name} requests")
        self._success = book.counter(f"te_{name}_success", "those that came back")
        self._durations = _durations(book, name, "a text's request")

    def done(self, book: Ledger, texts: int, seconds: Sequence[float], good: bool) -> None:
        """Count the texts of a account."""
        book.add(self._count, by=texts)
        if good:
            book.add(self._success, by=texts)
        for family, value in zip(self._durations, seconds, strict=True):
            book.observe(family, value, times=texts)


def _durations(book: Ledger, name: str, says: str) -> list[Family]:
    return [book.histogram(f"te_{name}_{step}duration", f"seconds of {says}", _SECONDS) for step in _STEPS]


class Shown:
    """What a scrape shows: the ledger, and what the service and its workers are now."""

    def __init__(self, metrics: Metrics, service: Any) -> None:
        self._metrics, self._service = metrics, service

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from self._metrics.ledger.collect()
        yield from self._now()

    def _now(self) -> Iterator[Metric]:
        state, book = self._service.state(), self._metrics.ledger
        yield GaugeMetricFamily("lingxi_ready", "whether requests are taken", value=float(state.ready))
        yield GaugeMetricFamily(
            "lingxi_draining", "whether the server is on its way out", value=float(state.draining)
        )
        yield GaugeMetricFamily("lingxi_workers", "worker processes that are up", value=book.ups())
        yield CounterMetricFamily("lingxi_worker_restarts", "workers started again", value=book.restarts())
        labels = ("model", "kind", "dim", "max_length", "weights")
        models = GaugeMetricFamily("lingxi_model", "the models served", labels=labels)
        for card in self._service.cards():
            models.add_metric((card.name, card.kind, str(card.dim), str(card.max_length), card.weights), 1)
        yield models


def exposition(metrics: Metrics, service: Any) -> bytes:
    """The text of `/metrics`; raises nothing."""
    text = generate_latest(Shown(metrics, service))
    for family in metrics.ledger.families:
        # The names of text-embeddings-inference do not end in _total, as Prometheus' clients would have it.
        if family.kind == "counter" and family.name.startswith("te_"):
            text = text.replace(f"{family.name}_total".encode(), family.name.encode())
    return text

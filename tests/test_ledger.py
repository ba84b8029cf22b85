"""Counts of several workers in one memory, and what Prometheus reads of them."""

from dataclasses import dataclass
from multiprocessing import get_context

import pytest

pytest.importorskip("prometheus_client")

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from lingxi.errors import InputError
from lingxi.serve import ledger
from lingxi.serve.account import Account
from lingxi.serve.ledger import Ledger, Place, shared
from lingxi.serve.metrics import KINDS, Metrics, exposition
from lingxi.serve.watch import Spent


@dataclass
class Card:
    name: str = "nano"
    kind: str = "embedder"
    dim: int = 8
    max_length: int = 64
    weights: str = "int8"


@dataclass
class State:
    ready: bool = True
    draining: bool = False


class Service:
    def cards(self):
        return (Card(),)

    def state(self):
        return State()


def places(total):
    memory = shared(get_context("spawn"), total)
    return [Place(number, total, memory) for number in range(total)]


def metrics(place=None):
    return Metrics(("nano",), ("/embed",), place)


def read(found):
    """(name, values of its labels) -> value, by Prometheus' own parser, which adds _total to counters."""
    text = exposition(found, Service()).decode()
    return {
        (
            sample.name.removesuffix("_total") if sample.name.startswith("te_") else sample.name,
            *sorted(sample.labels.values()),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def asked(status=200, lengths=(3, 5)):
    spent = [Spent("embedder", "nano", lengths, 0.001, 0.02, 0.3)] if status == 200 else []
    return Account("r", "POST", {}, 0, path="/embed", status=status, seconds=0.33, spent=spent)


def test_counts_of_workers_are_added_and_outlive_them():
    one, two = (metrics(place) for place in places(2))
    for found in (one, two):
        found.answered(asked())
        found.waiting(4, 40)
    assert read(one)["te_request_count", "batch"] == 2
    assert read(one)["te_queue_size",] == 8 and read(one)["lingxi_workers",] == 2
    # The second dies: what it counted stays, what waited there does not.
    two.ledger.row[ledger.UP] = 0
    assert read(one)["te_request_count", "batch"] == 2
    assert read(one)["te_queue_size",] == 4 and read(one)["lingxi_workers",] == 1
    again = metrics(two.ledger.place)
    again.answered(asked())
    assert read(one)["te_request_count", "batch"] == 3 and read(one)["te_queue_size",] == 4


def test_the_names_are_those_of_text_embeddings_inference():
    found = metrics()
    found.answered(asked())
    assert b'\nte_request_count{method="batch"} 1.0\n' in exposition(found, Service())
    found.answered(asked(429))
    found.answered(asked(lengths=(7,)))
    found.spent(Spent("embedder", "nano", (3, 5), 0, 0, 0))
    found.batch("nano", 2, 8, 0.3)
    found.waiting(1, 9)
    values = read(found)
    assert values["te_request_count", "batch"] == values["te_request_count", "single"] == 1
    assert values["te_request_success", "batch"] == 1 and values["te_request_failure", "overloaded"] == 1
    assert values["te_embed_count",] == values["te_embed_success",] == 3
    for step, mean in (("", 0.33), ("tokenization_", 0.001), ("queue_", 0.02), ("inference_", 0.3)):
        assert values[f"te_request_{step}duration_sum",] / 2 == pytest.approx(mean)
        assert values[f"te_embed_{step}duration_count",] == 3
        assert values[f"te_predict_{step}duration_count",] == 0
    assert (
        values["te_request_input_length_sum",] == 8 and values["te_request_input_length_bucket", "4.0"] == 1
    )
    assert values["te_batch_next_size_sum",] == 2 and values["te_batch_next_tokens_sum",] == 8
    assert values["te_queue_size",] == 1


def test_our_own_names():
    found = metrics()
    for status in (200, 400, 401, 404, 413, 429, 500, 503, 504, 418):
        found.answered(asked(status))
    found.answered(asked(499))
    found.dropped("late", 3)
    found.batch("nano", 2, 8, 0.25)
    found.batch("another, not foreseen", 2, 8, 0.25)
    found.opened(2)
    found.opened(-1)
    values = read(found)
    assert (
        values["lingxi_requests_total", "/embed", "200"]
        == values["lingxi_requests_total", "/embed", "other"]
        == 1
    )
    assert {key[1] for key in values if key[0] == "lingxi_refused_total"} == set(KINDS)
    assert values["lingxi_client_gone_total",] == 1 and values["lingxi_dropped_texts_total", "late"] == 3
    assert values["lingxi_batches_total", "nano"] == 1 and values["lingxi_tokens_total", "nano"] == 8
    assert values["lingxi_compute_seconds_total", "nano"] == 0.25
    assert values["lingxi_open_requests",] == values["lingxi_ready",] == 1
    assert values["lingxi_model", *sorted(("nano", "embedder", "8", "64", "int8"))] == 1


@given(st.lists(st.floats(0, 100), max_size=30), st.integers(1, 5))
def test_a_histogram_counts_as_prometheus_does(values, times):
    from prometheus_client import CollectorRegistry, Histogram

    bounds = (0.5, 1.0, 2.5, 10.0)
    book, registry = Ledger(Place()), CollectorRegistry()
    ours = book.histogram("h", "says", bounds)
    theirs = Histogram("h", "says", registry=registry, buckets=bounds)
    book.observe(ours, values, times=times)
    for value in values * times:
        theirs.observe(value)
    for bound in (*map(str, bounds), "+Inf"):
        [mine] = [s.value for m in book.collect() for s in m.samples if s.labels.get("le") == bound]
        assert mine == registry.get_sample_value("h_bucket", {"le": bound})
    [total] = [s.value for m in book.collect() for s in m.samples if s.name == "h_sum"]
    assert total == pytest.approx(registry.get_sample_value("h_sum"))


def test_too_many_labels_are_said():
    with pytest.raises(InputError, match="too many labels"):
        Ledger(Place()).counter("c", "says", model=[str(i) for i in range(100_000)])

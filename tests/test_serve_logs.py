"""What is written of requests and failures, and the spans of a trace."""

import json
import logging

import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")

from lingxi.serve.account import Account
from lingxi.serve.logs import fields, request_lines
from lingxi.serve.watch import Spent
from operating import logged

SPENT = Spent("embedder", "toy", (3, 5), 0.01, 0.02, 0.03)


def account(**values):
    given = {"client": "shop", "path": "/embed", "status": 200, "seconds": 0.1, "spent": [SPENT]}
    return Account("r1", "POST", values.pop("headers", {}), 10**18, **{**given, **values})


def test_a_request_is_a_line():
    with logged() as written:
        request_lines()(account(received=7, sent=9))
    line = json.loads(written.getvalue())
    assert line["event"] == "request" and line["level"] == "info" and line["time"].endswith("+00:00")
    assert {key: line[key] for key in ("request", "client", "path", "texts", "tokens", "waited")} == {
        "request": "r1", "client": "shop", "path": "/embed", "texts": 2, "tokens": 8, "waited": 0.02,
    }  # fmt: skip
    assert "body" not in line and fields(account(body=b"hi"), texts=True)["body"] == "hi"


def test_probes_are_quiet_until_they_fail():
    with logged() as written:
        tell = request_lines(quiet=frozenset({"/ready"}))
        tell(account(path="/ready"))
        assert not written.getvalue()
        tell(account(path="/ready", status=503))
        assert json.loads(written.getvalue())["status"] == 503


def fails():
    raise ValueError("planted secret in /planted/path")


@pytest.mark.parametrize("name", ["asyncio", "uvicorn.error", "some.library", "lingxi.serve"])
def test_an_exception_shows_its_kind_and_place_but_not_its_words(name):
    with logged() as written:
        try:
            fails()
        except ValueError:
            logging.getLogger(name).exception(
                "it failed\n%s", "planted argument" if name != "lingxi.serve" else ""
            )
    line = json.loads(written.getvalue())
    assert line["error"] == "ValueError" and line["in"][-1].startswith("test_serve_logs.fails:")
    assert "planted" not in written.getvalue() and line["event"].startswith("it failed")


def test_messages_are_whole_where_texts_are_asked_for():
    with logged(texts=True) as written:
        logging.getLogger("some.library").warning("about %s", "planted")
    assert json.loads(written.getvalue())["event"] == "about planted"


def test_uvicorn_is_quiet():
    with logged() as written:
        logging.getLogger("uvicorn.error").info("Started server process [%d]", 1)
        logging.getLogger("uvicorn.access").info("GET /secret")
    assert not written.getvalue()


def test_spans_continue_the_trace_that_was_sent():
    sdk = pytest.importorskip("opentelemetry.sdk.trace")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    from lingxi.serve.traces import spans

    exporter, provider = InMemorySpanExporter(), sdk.TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    sent = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"
    spans(provider)(account(headers={b"traceparent": sent}, status=500))
    spans(provider)(account(headers={b"traceparent": b"nonsense"}, spent=[]))
    *steps, request, alone = exporter.get_finished_spans()
    assert [step.name for step in steps] == ["tokenized", "waited", "computed"]
    assert f"{request.context.trace_id:x}" == "a" * 32 and f"{request.parent.span_id:x}" == "b" * 16
    assert all(step.parent.span_id == request.context.span_id for step in steps)
    assert request.name == "POST /embed" and request.attributes["http.response.status_code"] == 500
    assert not request.status.is_ok and alone.status.is_ok and alone.parent is None
    assert request.end_time - request.start_time == 10**8
    assert [step.end_time - step.start_time for step in steps] == [10**7, 2 * 10**7, 3 * 10**7]
    assert steps[0].start_time >= request.start_time and steps[-1].end_time == request.end_time
    assert "planted" not in repr([dict(span.attributes) for span in (request, alone)])


def test_an_exporter_is_made_for_an_endpoint():
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    from lingxi.serve.traces import exporting

    provider = exporting("http://127.0.0.1:9/v1/traces")
    assert provider.resource.attributes["service.name"] == "lingxi"
    provider.shutdown()

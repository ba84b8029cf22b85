"""What the OpenAPI document says is what the server does: schemathesis looks for where it is not."""

import pytest

pytest.importorskip("fastapi", reason="the server needs fastapi: pip install 'lingxi[serve]'")
pytest.importorskip("schemathesis", reason="pip install schemathesis")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings

from lingxi import Embedder, Reranker
from operating import KEY, running

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_schema_conformance", "response_headers_conformance", "negative_data_rejection",
)  # fmt: skip


@pytest.fixture(scope="module")
def server(embedder_directory, reranker_directory):
    with running({"toy": Embedder(embedder_directory)}, {"judge": Reranker(reranker_directory)}) as found:
        yield found


def look(server, examples):
    """Try so many requests of every operation, in a fixed order; raises what is found."""
    schema = schemathesis.openapi.from_dict(server.app.openapi())
    schema.config.update(base_url=f"http://127.0.0.1:{server.port}", headers={"x-api-key": KEY})
    checks = [getattr(schemathesis.checks, name) for name in CHECKS]
    found, operations = [], 0
    for result in schema.get_all_operations():
        operation = result.ok()
        operations += 1

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def try_one(case):
            case.call_and_validate(checks=checks, headers={"x-api-key": KEY}, timeout=20)

        try:
            try_one()
        except BaseExceptionGroup as group:
            found += [f"{operation.label}: {error}" for error in group.exceptions]
        except AssertionError as error:
            found.append(f"{operation.label}: {error}")
    assert operations > 10
    assert not found, "\n".join(found)


def test_a_few_requests_of_every_operation(server):
    look(server, 5)


@pytest.mark.slow
def test_many_requests_of_every_operation(server):
    look(server, 100)

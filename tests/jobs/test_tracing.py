"""Traces, off and on: nothing is imported before they are wanted; then a request, its job and its trainer are one trace."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from jobs import tracing
from support.receivers import Receiver, receiver

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Receiver]:
    """An OTLP/HTTP receiver, and this process's spans on their way to it."""
    with receiver(lambda _: 200) as there:
        assert tracing.start("test", there.url)
        yield there
        tracing.stop()


def spans(there: Receiver) -> dict[str, Any]:
    """By name, as decoded with OpenTelemetry's own protobuf."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    tracing.stop()
    found = {}
    for received in there.received:
        assert received.path == "/v1/traces" and received.headers["content-type"] == "application/x-protobuf"
        for resource in ExportTraceServiceRequest.FromString(received.body).resource_spans:
            assert {each.key: each.value.string_value for each in resource.resource.attributes}["service.name"] == "test"
            found |= {span.name: span for scope in resource.scope_spans for span in scope.spans}
    return found


def test_off_it_is_one_shared_nothing() -> None:
    assert not tracing.on() and tracing.start("test", "") is False
    assert tracing.span("a") is tracing.span("b", kind="server", parent=PARENT)
    with tracing.span("a") as made:
        assert made is None and tracing.traceparent() is None
    tracing.lasting("a", 0, 1)
    tracing.failed(None, "why")


def test_off_nothing_of_it_is_imported() -> None:
    program = (
        "import sys; from jobs import tracing; import api.main, worker.tasks; assert not tracing.start('x', '');"
        "tracing.span('x').__enter__();"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    subprocess.run([sys.executable, "-P", "-c", program], check=True, env=env)


def test_without_the_packages_it_is_said_and_goes_on() -> None:
    program = "import sys; sys.modules['opentelemetry'] = None; from jobs import tracing; print(tracing.start('x', 'http://x'))"
    found = subprocess.run([sys.executable, "-P", "-c", program], check=True, capture_output=True, text=True)
    assert found.stdout == "False\n" and "pip install 'imprint[otel]'" in found.stderr


def test_spans_are_children_of_the_parent_that_is_given(collector: Receiver) -> None:
    with tracing.span("outer", kind="consumer", parent=PARENT, imprint__job="job_1", none=None):
        carried = tracing.traceparent()
        with tracing.span("inner") as inner:
            tracing.failed(inner, "oh")
        tracing.lasting("past", 1_700_000_000.0, 1_700_000_001.5)
    assert carried is not None and carried.startswith("00-0af7651916cd43dd8448eb211c80319c-")
    found = spans(collector)
    outer, inner, past = (found[name] for name in ("outer", "inner", "past"))
    assert outer.trace_id.hex() == PARENT[3:35] and outer.parent_span_id.hex() == PARENT[36:52]
    assert carried[36:52] == outer.span_id.hex() == inner.parent_span_id.hex() == past.parent_span_id.hex()
    assert past.end_time_unix_nano - past.start_time_unix_nano == 1_500_000_000
    assert (inner.status.code, inner.status.message) == (2, "oh") and outer.kind == 5
    assert [(each.key, each.value.string_value) for each in outer.attributes] == [("imprint.job", "job_1")]


def test_a_parent_that_is_none_begins_a_trace(collector: Receiver) -> None:
    with tracing.span("outer", parent="rubbish"):
        pass
    assert spans(collector)["outer"].parent_span_id == b""


def test_the_standard_variables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver(lambda _: 200) as there:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", there.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "test")
        assert tracing.start("imprint-api", "")
        with tracing.span("one"):
            pass
        assert set(spans(there)) == {"one"}


def test_a_receiver_that_is_away_costs_nobody_anything(caplog: pytest.LogCaptureFixture) -> None:
    assert tracing.start("test", "http://127.0.0.1:1")
    with tracing.span("lost"):
        pass
    tracing.stop()
    assert not tracing.on()

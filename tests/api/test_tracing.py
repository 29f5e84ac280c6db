"""From a request to the trainer's environment: one trace."""

from __future__ import annotations

import threading

from jobs import tracing
from support.processes import eventually
from support.receivers import receiver
from support.workplace import COMMAND
from worker.supervisor import Supervisor

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_request_its_job_and_its_trainer_are_one_trace(start, tmp_path):
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    with receiver(lambda _: 200) as there, start(tmp_path, otel_endpoint=there.url, poll_seconds=0.05) as running:
        body = {"data": {"source": "digits"}}
        job = running.http.post("/jobs", json=body, headers={"traceparent": PARENT}).json()["id"]
        assert running.http.get(f"/jobs/{job}").json()["id"] == job
        assert running.http.get("/jobs/nonsense").status_code == 404
        settings = running.services.settings.model_copy(update={"trainer_command": COMMAND})
        thread = threading.Thread(target=Supervisor(running.repository, settings).run, args=[job])
        thread.start()
        thread.join(30)
        assert running.repository.get(job).status == "succeeded"
        facts = (running.home / "jobs" / job / "1" / "facts.json").read_text()
    assert not tracing.on()
    eventually(lambda: there.received, "spans")
    found = {}
    for received in there.received:
        for resource in ExportTraceServiceRequest.FromString(received.body).resource_spans:
            found |= {span.name: span for scope in resource.scope_spans for span in scope.spans}
    assert {"POST /jobs", "GET /jobs/{job_id}", "run pretrain", "trainer", "preparing", "training"} <= set(found)
    request, run, trainer, phase = (found[name] for name in ("POST /jobs", "run pretrain", "trainer", "training"))
    assert request.parent_span_id.hex() == PARENT[36:52] and run.parent_span_id == request.span_id
    assert trainer.parent_span_id == run.span_id and phase.parent_span_id == trainer.span_id
    assert {each.trace_id.hex() for each in (request, run, trainer, phase)} == {PARENT[3:35]}
    assert f'"TRACEPARENT": "00-{PARENT[3:35]}-{trainer.span_id.hex()}-01"' in facts
    told = {each.key: each.value.string_value or each.value.int_value for each in run.attributes}
    assert told == {"imprint.job": job, "imprint.kind": "pretrain", "imprint.attempt": 1, "imprint.end": "succeeded"}
    http = {each.key: each.value.string_value or each.value.int_value for each in request.attributes}
    assert http["http.route"] == "/jobs" and http["http.response.status_code"] == 202 and http["imprint.request_id"]


def test_off_a_job_has_no_trace(service):
    job = service.http.post("/jobs", json={"data": {"source": "digits"}}, headers={"traceparent": PARENT}).json()["id"]
    claim = service.repository.claim(job, "w", 60)
    assert claim is not None and claim.traceparent is None

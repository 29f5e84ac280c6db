"""What people's tools hear of a job, from processes as they run in an installation: webhooks, TensorBoard, figures, traces."""

from __future__ import annotations

import re
from typing import Any

import httpx
from standardwebhooks import Webhook as Oracle
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from imprint import cli
from support.composed import free_port
from support.journeys import spec
from support.receivers import receiver
from support.service import Service


def command(service: Service, *words: str) -> str:
    """`imprint webhooks …`, and what it printed."""
    result = CliRunner().invoke(cli.app, ["webhooks", *words, "--server", service.address])
    assert result.exit_code == 0, (words, result.output, result.exception)
    return str(result.stdout)


def spans(bodies: list[bytes]) -> list[Any]:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    resources = [each for body in bodies for each in ExportTraceServiceRequest.FromString(body).resource_spans]
    return [span for each in resources for scope in each.scope_spans for span in scope.spans]


def test_a_job_is_heard_of_everywhere(service: Service) -> None:
    """Fifteen seconds: a worker that is set so, and a job."""
    metrics = f"127.0.0.1:{free_port()}"
    with receiver() as hook, receiver(lambda _: 200) as collector:
        settings = {"outbound_private": "127.0.0.0/8", "worker_metrics": metrics, "otel_endpoint": collector.url}
        service.stop(service.worker)
        service.start_worker(**settings)
        # This API lets in public addresses only, so the webhook of the test has a name; the worker's rule is what counts.
        secret, told = _webhook(service, hook.url)
        job = service.client.submit(**spec(max_epochs=2), tracking={"tensorboard": True})
        done = service.succeeded(job.id)
        assert 'imprint_worker_runs_total{end="succeeded",kind="pretrain"} 1.0' in httpx.get(f"http://{metrics}/metrics").text

        def trackers() -> list[dict[str, Any]]:
            return list(service.http.get(f"/jobs/{job.id}/tracking").json()["data"])

        service.until(lambda: all(each["settled"] for each in trackers()), "the trackers know it all")
        service.until(lambda: not any(each["status"] == "pending" for each in service.client.deliveries(told)), "all is sent")
        command(service, "test", told)
        log = command(service, "log", told)
        assert "webhook.test" in log and "job.succeeded" in log and "delivered" in log
        command(service, "delete", told)
        service.stop(service.worker)  # which sends its last spans
        service.start_worker()

    bodies = [Oracle(secret).verify(each.body, each.headers) for each in hook.received]
    states = [body["type"] for body in bodies if body["type"] != "job.health"]
    wanted = ["queued", "running", "succeeded"]
    assert states == [*(f"job.{state}" for state in wanted), "webhook.test"]
    assert bodies[-2]["data"]["job"]["encoder"] == done.encoder

    board = EventAccumulator(str(service.home / "tensorboard" / job.id), size_guidance={"scalars": 0})
    board.Reload()
    for name in ("train_loss", "knn_top1", "learning_rate"):
        stored = [point.step for point in service.client.metrics(job.id, name)]
        assert [each.step for each in board.Scalars(name)] == stored and len(stored) > 1, name

    runs = [each for each in spans([each.body for each in collector.received]) if each.name == "run pretrain"]
    ends = [next(each.value.string_value for each in run.attributes if each.key == "imprint.end") for run in runs]
    assert ends == ["succeeded"]
    page = service.http.get("/metrics").text
    assert re.search(r'imprint_jobs_finished_total\{kind="pretrain",status="succeeded"\} [1-9]', page)


def _webhook(service: Service, url: str) -> tuple[str, str]:
    """The secret and the id of a webhook whose address the API would refuse: made by a name, then given its port."""
    from sqlalchemy import text

    from jobs.database import connect

    secret = command(service, "add", "https://example.org/hook").strip()
    found = next(service.client.webhooks())["id"]
    assert found in command(service, "list")
    database = connect(f"sqlite:///{service.home}/imprint.db")
    with database.write() as session:
        session.execute(text("UPDATE webhooks SET url = :url WHERE id = :id"), {"url": url, "id": found})
    database.engine.dispose()
    return secret, str(found)

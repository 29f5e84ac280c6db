"""What a user may ask of a job: to end, to halt, to go on."""

from __future__ import annotations

import time

from support.journeys import Undisturbed, assert_same_weights, spec
from support.service import Service

CANCEL = 10.0  # seconds until a running job has ended, at most


def test_cancel_while_queued_and_while_running(service: Service) -> None:
    running = service.client.submit(name="running", **spec(max_epochs=5000)).id
    queued = service.client.submit(name="queued", **spec()).id
    service.until(lambda: service.job(running).progress.step, "the first step")

    answer = service.http.post(f"/jobs/{queued}/cancel")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["attempt"], body["started_at"]) == ("cancelled", 0, None), "what does not run ends at once"
    assert body["finished_at"] is not None

    trainer = service.trainer(running)
    began = time.monotonic()
    answer = service.http.post(f"/jobs/{running}/cancel")
    assert answer.status_code == 202 and answer.json()["requested"] == "cancel"
    service.until(lambda: service.job(running).status == "cancelled" and trainer not in service.trainers(), "the end", CANCEL)
    print(f"\ncancelled within {time.monotonic() - began:.1f} s")
    job = service.job(running)
    assert job.encoder is None and job.error is None and job.raw["requested"] is None
    assert service.client.cancel(running).status == "cancelled", "asking twice is no mistake"
    (stopped,) = service.said(running, type_="stopped")
    assert [each["step"] for each in service.http.get(f"/jobs/{running}/checkpoints").json()["data"]].count(stopped["step"]) == 1

    # The wake-up of the queued one was still on its way: the worker is free now, takes it, and leaves the job alone.
    service.until(lambda: f"{queued} is not queued" in service.worker.log.read_text(), "the wake-up is passed over")
    assert service.job(queued).status == "cancelled" and not service.attempt(queued).parent.exists()


def test_pause_and_resume(service: Service, undisturbed: Undisturbed) -> None:
    job_id = service.client.submit(**spec()).id
    service.past_checkpoint(job_id)
    trainer = service.trainer(job_id)
    assert service.client.pause(job_id).raw["requested"] == "pause"
    service.until(lambda: service.job(job_id).status == "paused", "the job is paused")
    assert trainer not in service.trainers()
    paused = service.job(job_id)
    assert paused.attempt == 1 and paused.finished_at is None and not paused.final
    (stopped,) = service.said(job_id, type_="stopped")
    assert 0 < stopped["step"] < (paused.progress.steps_total or 0)

    time.sleep(2)  # several sweeps
    assert service.job(job_id).status == "paused", "nobody but the user takes it up again"
    assert service.client.resume(job_id).status == "queued"
    ended = service.succeeded(job_id)
    assert ended.attempt == 2
    (resumed,) = service.history(job_id, "resumed")
    assert resumed.data["step"] == stopped["step"], "not one step is done twice"
    assert_same_weights(service, ended, undisturbed)

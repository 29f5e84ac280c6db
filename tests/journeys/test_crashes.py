"""What must not be lost when something dies: the job, its progress, and the encoder that it would have given."""

from __future__ import annotations

import signal
import time

from support.journeys import INTERVAL, Undisturbed, assert_same_weights, spec
from support.processes import eventually
from support.service import Service, at

LEASE = 3.0  # seconds


def losses(service: Service, job_id: str, attempt: int) -> dict[int, float]:
    points = service.said(job_id, attempt, "metrics")
    return {point["step"]: point["values"]["train_loss"] for point in points if "train_loss" in point["values"]}


def assert_continued(service: Service, job_id: str) -> None:
    """The second attempt went on from the newest checkpoint of the first, and what it did again came to the same."""
    (resumed,) = service.history(job_id, "resumed")
    step = resumed.data["step"]
    assert resumed.data["attempt"] == 2 and step >= service.said(job_id, 1, "checkpoint")[-1]["step"]
    done = {event["step"]: at(event) for event in service.said(job_id, 1, "metrics")}
    lost = (max(done.values()) - done[step]).total_seconds()
    assert lost <= INTERVAL + 2, f"{lost:.1f} s of work were done twice"  # and the writing, and the step in which it was due
    first, second = (losses(service, job_id, attempt) for attempt in (1, 2))
    assert min(second) == step + 1
    assert {each: second[each] for each in first if each > step} == {each: first[each] for each in first if each > step}


def test_the_trainer_is_killed(service: Service, undisturbed: Undisturbed) -> None:
    job_id = service.client.submit(**spec()).id
    service.past_checkpoint(job_id)
    service.kill_trainer(job_id)
    ended = service.succeeded(job_id)
    assert ended.attempt == 2 and ended.error is None
    (queued,) = service.history(job_id, "queued")
    assert queued.data["why"] == "crashed" and "SIGKILL" in queued.data["error"]["message"]
    assert_continued(service, job_id)
    assert_same_weights(service, ended, undisturbed)


def test_the_worker_is_told_to_stop(service: Service, undisturbed: Undisturbed) -> None:
    job_id = service.client.submit(**spec()).id
    service.past_checkpoint(job_id)
    began = time.monotonic()
    assert service.stop(service.worker) == 0
    print(f"\nstopped within {time.monotonic() - began:.1f} s")
    assert service.trainers() == []
    job = service.job(job_id)
    (stopped,) = service.said(job_id, type_="stopped")
    assert (job.status, job.attempt) == ("queued", 1) and stopped["step"] > 0
    assert job.progress.step and job.progress.step <= stopped["step"], "its progress is kept"
    assert [event.data["why"] for event in service.history(job_id, "queued")] == ["shutdown"]

    service.start_worker()
    ended = service.succeeded(job_id)
    assert ended.attempt == 2
    assert [event.data["step"] for event in service.history(job_id, "resumed")] == [stopped["step"]]
    assert_same_weights(service, ended, undisturbed)


def test_the_worker_is_killed(service: Service, undisturbed: Undisturbed) -> None:
    """Nobody is left to say so: the trainer ends by itself, and the job goes on once the lease has run out."""
    service.stop(service.worker)
    service.start_worker(lease_seconds=LEASE, heartbeat_seconds=0.5)
    job_id = service.client.submit(**spec()).id
    service.past_checkpoint(job_id)
    (trainer,) = service.trainers(job_id)
    service.worker.kill()
    assert service.worker.exit_code == -signal.SIGKILL
    eventually(lambda: trainer not in service.trainers(), "the orphan's end", 2)
    assert service.job(job_id).status == "running"

    service.start_worker()
    ended = service.succeeded(job_id)
    assert ended.attempt == 2 and ended.error is None
    (queued,) = service.history(job_id, "queued")
    assert queued.data["error"]["code"] == "worker_lost"
    heard = at(service.said(job_id, 1)[-1])
    assert (queued.at - heard).total_seconds() > LEASE - 1, "not before its lease had run out"
    assert_continued(service, job_id)
    assert_same_weights(service, ended, undisturbed)

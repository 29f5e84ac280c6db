"""Linear probes and finetuning with real parts: results, what is compared, and what must not be lost when something dies.

Each test takes longer than others: it starts one or two trainers, which import torch and train for some seconds.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from imprint.records import Job
from support.journeys import PICTURES, Undisturbed
from support.processes import eventually
from support.service import Service

DATA = {"source": "folder", "path": "pictures", "held_out": 0.2}
LONG = {"augment": "none", "batch_size": 16, "epochs": 60, "lr": 0.01, "checkpoint_every_seconds": 0.2, "label_fraction": 0.5}


def finetuned(service: Service, undisturbed: Undisturbed) -> str:
    """The id of a finetuning of some seconds, whose checkpoints come every 0.2 s."""
    return service.client.finetune(undisturbed.job.id, data=DATA, **LONG).id


@pytest.fixture(scope="session")
def whole(running: Service, undisturbed: Undisturbed) -> Job:
    """A finetuning that nothing disturbed. Needs a worker: ask for `service` first."""
    return running.succeeded(finetuned(running, undisturbed))


def comparable(job: Job) -> dict[str, Any]:
    return {name: value for name, value in job.result.items() if name != "links"}


def test_a_linear_probe(service: Service, undisturbed: Undisturbed) -> None:
    job = service.succeeded(service.client.linear_probe(undisturbed.job.id, data=DATA).id)
    made = job.result
    assert (made["protocol"], made["split"], made["classes"]) == ("lbfgs", "stratified", ["flat", "striped"])
    assert made["train_images"] + made["held_out_images"] == PICTURES and made["held_out_images"] == 16
    right = sum(made["confusion"][at][at] for at in range(2))
    assert made["top1"] == job.metrics["top1"] == 100 * right / 16 and made["top5"] is None
    assert job.raw["data"]["unreadable"] == 1 and job.progress.fraction == 1.0
    assert [event.data["phase"] for event in service.history(job.id, "phase")] == ["preparing", "extracting", "training"]
    whole = service.client.measurement(job.id)
    assert whole["confusion"] == made["confusion"] and sum(map(sum, whole["confusion"])) == 16
    assert not list((service.home / "jobs" / job.id).glob("*/features")), "what only a later attempt would have needed"
    assert (service.home / "results" / f"{job.id}.1" / "result.json").is_file()


def test_the_trainer_is_killed(service: Service, whole: Job, undisturbed: Undisturbed) -> None:
    job_id = finetuned(service, undisturbed)
    eventually(lambda: len(service.said(job_id, type_="checkpoint")) >= 2, "two checkpoints", 60)
    assert not service.said(job_id, type_="finished"), "the run is too short for this test"
    service.kill_trainer(job_id)
    ended = service.succeeded(job_id)
    assert ended.attempt == 2 and service.history(job_id, "resumed")[0].data["step"] > 0
    assert comparable(ended) == comparable(whole), "as if nothing had happened"
    assert [each.name for each in (service.home / "results").glob(f"*{job_id}*")] == [f"{job_id}.2"]


def test_the_worker_is_killed(service: Service, whole: Job, undisturbed: Undisturbed) -> None:
    service.stop(service.worker)
    service.start_worker(lease_seconds=3, heartbeat_seconds=0.5)
    job_id = finetuned(service, undisturbed)
    eventually(lambda: service.said(job_id, type_="checkpoint"), "a checkpoint", 60)
    service.worker.kill()
    assert service.worker.exit_code == -signal.SIGKILL
    eventually(lambda: not service.trainers(job_id), "the orphan's end", 5)
    service.start_worker()
    ended = service.succeeded(job_id)
    assert ended.attempt == 2 and comparable(ended) == comparable(whole)


def test_pause_resume_and_cancel(service: Service, whole: Job, undisturbed: Undisturbed) -> None:
    job_id = finetuned(service, undisturbed)
    eventually(lambda: service.said(job_id, type_="checkpoint"), "a checkpoint", 60)
    service.client.pause(job_id)
    service.until(lambda: service.job(job_id).status == "paused", "it pauses")
    assert service.http.get(f"/jobs/{job_id}/result").status_code == 409
    service.client.resume(job_id)
    assert comparable(service.succeeded(job_id)) == comparable(whole)
    other = finetuned(service, undisturbed)
    eventually(lambda: service.said(other, type_="checkpoint"), "a checkpoint", 60)
    service.client.cancel(other)
    assert service.ended(other).status == "cancelled" and not list((service.home / "results").glob(f"*{other}*"))


def test_pretraining_with_a_file_of_labels_and_a_comparison(service: Service, undisturbed: Undisturbed, pictures: Path) -> None:
    """kNN of a folder's labelled part, and the encoder beside the other by a probe on that part."""
    from support.journeys import spec

    files = sorted((pictures / "pictures").rglob("*.png"))[::2]
    lines = [f"{file.relative_to(pictures / 'pictures')},{file.parent.name}" for file in files]
    (pictures / "some.csv").write_text("\n".join(["path,label", *lines]))
    body = spec(max_epochs=2)
    body["evaluate"] = {"labels": "some.csv", "every_epochs": 1}
    job = service.succeeded(service.client.submit(**body).id)
    assert job.raw["data"]["classes"] == 2 and 0 <= job.metrics["knn_top1"] <= 100
    assert job.raw["data"]["held_out"] > len(files) // 2 - 2, "half of the labelled ones, and of the others a fifth"
    for encoder in (job.id, undisturbed.job.id):
        service.succeeded(service.client.linear_probe(encoder, data=DATA, label_file="some.csv").id)
    made = service.client.compare(job.id, undisturbed.job.id)
    probe = made["data"][0]
    assert probe["kind"] == "linear_probe" and all(figure["count"] == 1 for figure in probe["metrics"]["top1"])

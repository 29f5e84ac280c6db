"""The journey that all others are about: a job goes in, an encoder comes out, and answers with embeddings."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ssl_core.embedder import Embedder
from support.journeys import BATCH, EPOCHS, PICTURES, Undisturbed
from support.service import Service

FIRST_STEP = 10.0  # seconds on a quiet machine with two cores; four times that where others compute


def test_a_job_succeeds_and_says_what_it_measured(
    service: Service, undisturbed: Undisturbed, record_property: Callable[[str, object], None]
) -> None:
    job = undisturbed.job
    print(f"\nfrom POST to the first step: {undisturbed.to_first_step:.1f} s")
    record_property("seconds_to_first_step", round(undisturbed.to_first_step, 1))
    assert undisturbed.to_first_step < 4 * FIRST_STEP

    assert (job.name, job.labels, job.error, job.phase) == ("undisturbed", {"team": "a"}, None, None)
    (data,) = service.history(job.id, "data")
    assert data.data["images"] + data.data["held_out"] == PICTURES and data.data["classes"] == 2
    steps = data.data["images"] // BATCH * EPOCHS
    assert job.progress.step == job.progress.steps_total == steps and job.progress.fraction == 1.0
    assert job.progress.epoch == EPOCHS
    assert job.created_at is not None and job.started_at is not None and job.finished_at is not None
    assert job.created_at <= job.started_at < job.finished_at
    assert {"train_loss", "knn_top1", "linear_top1", "effective_rank", "learning_rate"} <= job.metrics.keys()
    assert all(math.isfinite(value) for value in job.metrics.values())
    assert 0 <= job.metrics["knn_top1"] <= 100 and 0 <= job.metrics["linear_top1"] <= 100
    assert job.metrics["effective_rank"] > 1
    assert job.health["verdict"] in ("healthy", "plateaued"), job.health

    happened = [event.type for event in service.client.events(job.id)]
    assert happened[:2] == ["created", "running"] and happened[-1] == "succeeded"
    assert happened.count("running") == 1 and "resumed" not in happened


def test_metrics_and_log_over_http(service: Service, undisturbed: Undisturbed) -> None:
    job, steps = undisturbed.job, undisturbed.job.progress.steps_total
    assert steps is not None and steps % EPOCHS == 0
    losses = list(service.client.metrics(job.id, "train_loss"))
    assert [point.step for point in losses] == list(range(1, steps + 1))
    assert losses[-1].value == job.metrics["train_loss"]
    said = {e["step"]: e["values"]["train_loss"] for e in service.said(job.id, type_="metrics") if "train_loss" in e["values"]}
    assert {point.step: point.value for point in losses} == said
    accuracies = list(service.client.metrics(job.id, "knn_top1"))
    assert [point.step for point in accuracies] == [0, *range(steps // 2, steps + 1, steps // 2)], "random weights first"

    answer = service.http.get(f"/jobs/{job.id}/metrics", params={"name": "train_loss", "after_step": 50, "limit": 5}).json()
    assert (answer["object"], answer["has_more"]) == ("list", True)
    assert [point["step"] for point in answer["data"]] == [51, 52, 53, 54, 55]
    assert set(answer["data"][0]) == {"step", "epoch", "name", "value", "at"}

    found = job.raw["data"]
    assert (found["images"] + found["held_out"], found["classes"]) == (80, 2)
    assert found["unreadable"] == 1 and found["unreadable_examples"][0][0].endswith("flat/broken.jpg")
    assert isinstance(job.raw["notes"], list)

    log = service.client.logs(job.id)
    assert "images/s" in log and "Traceback" not in log and "Warning" not in log
    assert service.client.logs(job.id, tail=1) == log.splitlines(keepends=True)[-1]


def test_the_encoder_is_listed_and_lies_where_it_was_published(service: Service, undisturbed: Undisturbed) -> None:
    answer = service.http.get("/encoders", params={"limit": 100}).json()
    assert answer["object"] == "list" and answer["has_more"] is False
    (listed,) = [each for each in answer["data"] if each["job_id"] == undisturbed.job.id]
    assert set(listed) == {
        "id", "job_id", "arch", "dim", "method", "created_at", "metrics", "aliases", "sha256", "size_bytes", "owner", "shared",
    }  # fmt: skip
    assert (listed["arch"], listed["dim"], listed["method"]) == ("shufflenet_v2_x0_5", 1024, "moco")
    assert listed["id"] == undisturbed.job.encoder
    assert listed["metrics"]["knn_top1"] == undisturbed.job.metrics["knn_top1"]
    assert service.published(listed["id"]) == [undisturbed.folder]
    embedder = Embedder.load(undisturbed.folder)
    assert (embedder.manifest["sha256"], embedder.manifest["size_bytes"]) == (listed["sha256"], listed["size_bytes"])


def test_embeddings_are_those_of_the_published_encoder(service: Service, undisturbed: Undisturbed, pictures: Path) -> None:
    """In the order of the images, whatever the encoder is called, and in every form."""
    files = sorted(pictures.rglob("*.png"))[30:50]
    expected = Embedder.load(undisturbed.folder).embed_images(files)
    apart = np.abs(expected[:, None] - expected[None]).max(-1) + np.eye(len(files))
    assert apart.min() > 1e-3, "two images look the same to this encoder: their order could not be told"

    vectors = service.client.embed(files, undisturbed.job.id)
    assert vectors.shape == (20, 1024) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(service.client.embed(files[::-1], undisturbed.job.id), expected[::-1], rtol=1e-4, atol=1e-5)

    job = undisturbed.job
    assert job.encoder is not None
    service.client.set_alias("ours", job.encoder)
    newest = max(service.client.encoders(), key=lambda each: str(each.raw["created_at"]))
    images = [base64.b64encode(file.read_bytes()).decode() for file in files[:2]]
    for name, encoder in {job.encoder: job.encoder, job.id: job.encoder, "ours": job.encoder, "latest": newest.id}.items():
        answer = service.http.post("/embed", json={"encoder": name, "images": images}).raise_for_status().json()
        assert (answer["object"], answer["encoder"], answer["dim"]) == ("list", encoder, 1024), name
        assert [each["index"] for each in answer["data"]] == [0, 1]
        own = expected[:2] if encoder == job.encoder else Embedder.load(service.published(encoder)[0]).embed_images(files[:2])
        np.testing.assert_allclose([each["embedding"] for each in answer["data"]], own, rtol=1e-4, atol=1e-5, err_msg=name)
    assert "ours" in service.client.encoder(job.encoder).aliases

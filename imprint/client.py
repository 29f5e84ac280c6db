"""The service from Python: submit a job, follow it, embed images. Speaks HTTP only.

client = Client()
job = client.submit(data={"source": "folder", "path": "photos"}, preset="byol")
client.wait(job.id, on_update=lambda job: print(job.progress.epoch, job.metrics.get("train_loss")))
vectors = client.embed(Path("photos").glob("*.jpg"), encoder=job.id)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from imprint import calls, leaving
from imprint.bulk import BulkCalls
from imprint.datasets import DatasetCalls
from imprint.embedding import EmbedCalls
from imprint.flow import Flow, iterate, part, run
from imprint.index import Index
from imprint.maps import MapCalls
from imprint.measures import MeasureCalls
from imprint.records import Encoder, Event, Job, Metric, Validation
from imprint.results import Results
from imprint.transport import Transport
from imprint.webhooks import WebhookCalls

DEFAULT_SERVER = "http://127.0.0.1:8000"
T = TypeVar("T")


class Client(EmbedCalls, BulkCalls, MeasureCalls, DatasetCalls, WebhookCalls, MapCalls):
    """A connection to one Imprint server. Safe to use from several threads; usable as a context manager."""

    def __init__(self, base_url: str | None = None, api_key: str | None = None, *, timeout: float = 90.0) -> None:
        """Defaults: IMPRINT_SERVER, then http://127.0.0.1:8000; IMPRINT_API_KEY. `timeout` in seconds, for one answer."""
        base_url = base_url or os.environ.get("IMPRINT_SERVER") or DEFAULT_SERVER
        self._transport = Transport(base_url, api_key or os.environ.get("IMPRINT_API_KEY") or None, timeout)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Jobs

    def submit(self, *, idempotency_key: str | None = None, **spec: Any) -> Job:
        """Queue a training job. `spec` holds the fields of POST /jobs; only `data` is required.

        Sending is repeated when the connection breaks; the key makes sure that this creates one job only.
        Raises Rejected, whose `problems` name each wrong field.
        """
        return self._run(calls.submit(spec, idempotency_key))

    def validate(self, **spec: Any) -> Validation:
        """Run every check of `submit`, create nothing. Raises Rejected as submit would."""
        return self._run(calls.validate(spec))

    def job(self, job_id: str) -> Job:
        return self._run(calls.job(job_id))

    def jobs(
        self,
        *,
        status: str | None = None,
        method: str | None = None,
        labels: dict[str, str] | None = None,
        limit: int | None = None,
        mine: bool = False,
    ) -> Results[Job]:
        """Jobs, newest first; pages are fetched as they are needed. `limit`: how many in all; `mine`: none that others share."""
        return self._iterate(calls.jobs(status, method, labels, limit, mine))

    def cancel(self, job_id: str) -> Job:
        """Ask for an end. Takes effect within seconds; the last checkpoint stays. Raises Conflict if it has ended already."""
        return self._run(calls.control(job_id, "cancel"))

    def pause(self, job_id: str) -> Job:
        """Ask for a checkpoint and a halt until `resume`."""
        return self._run(calls.control(job_id, "pause"))

    def resume(self, job_id: str) -> Job:
        """Queue a paused, failed or cancelled job again; it goes on from its last checkpoint."""
        return self._run(calls.control(job_id, "resume"))

    def share(self, job_id: str, shared: bool = True) -> Job:
        """Let every key see a job and use its encoder, or its owner's keys only."""
        return self._run(calls.share(job_id, shared))

    def updates(self, job_id: str, *, every: float = 1.0) -> Results[Job]:
        """The job's state every `every` seconds, until it is final. Survives a restart of the server of up to a minute."""
        return self._iterate(calls.updates(job_id, every))

    def wait(
        self,
        job_id: str,
        *,
        on_update: Callable[[Job], None] | None = None,
        timeout: float | None = None,
        every: float = 1.0,
        check: bool = True,
    ) -> Job:
        """Return the job once it has ended; `on_update` sees each state on the way.

        Raises JobFailed when it ended as failed or cancelled (unless check=False), TimeoutError after `timeout` seconds.
        A paused job has not ended: waiting goes on.
        """
        return self._run(calls.wait(job_id, on_update, timeout, every, check))

    def metrics(self, job_id: str, name: str | None = None, *, after_step: int | None = None) -> Results[Metric]:
        """Measured values in order of their steps; all names, or one."""
        return self._iterate(calls.metrics(job_id, name, after_step))

    def events(self, job_id: str, *, after: int | None = None) -> Results[Event]:
        """What has happened to the job so far, oldest first."""
        return self._iterate(calls.events(job_id, after))

    def follow_events(self, job_id: str, *, after: int | None = None) -> Results[Event]:
        """The same, and what happens from now on, as it happens, until the job ends or pauses. Survives as `updates` does."""
        return self._iterate(calls.follow_events(job_id, after))

    def logs(self, job_id: str, *, tail: int | None = None) -> str:
        """What the newest attempt's trainer wrote: the last `tail` lines, or as much as the server gives (about a megabyte)."""
        return self._run(calls.logs(job_id, tail))

    def preview(self, job_id: str | None = None, *, images: int = 8, **spec: Any) -> bytes:
        """A PNG of pictures beside the views that training draws of them: of a `spec` as for `submit`, or a job's own sheet."""
        return self._run(calls.preview(job_id, images, spec))

    # Encoders and embeddings

    def encoders(self, *, limit: int | None = None, mine: bool = False) -> Results[Encoder]:
        """Trained encoders, newest first; `mine`: without what others share."""
        return self._iterate(calls.encoders(limit, mine))

    def encoder(self, encoder: str = "latest") -> Encoder:
        """One encoder by its id, its job's id, an alias, or `latest`. `raw` holds its manifest."""
        return self._run(calls.encoder(encoder))

    def download(self, encoder: str, to: str | Path) -> Path:
        """Save an encoder (weights and manifest, a zip file) as the file `to`."""
        return self._run(leaving.saved(encoder, to))

    def export(self, encoder: str, form: str, to: str | Path) -> Path:
        """Save an encoder in a form that other programs load: onnx, torchscript, safetensors, timm or hf; as a new folder, or,
        where `to` ends in .zip, as that file. The server compares it with the encoder first. Raises Rejected and Conflict."""
        return self._run(leaving.export(encoder, form, to))

    def card(self, encoder: str = "latest", form: str = "onnx") -> str:
        """An encoder's model card, as Markdown, with the program that loads it in this form."""
        return self._run(leaving.card(encoder, form))

    def import_encoder(self, path: str | Path, *, on_progress: Callable[[int], object] | None = None, **fields: Any) -> Job:
        """Send a file of weights; the job makes an encoder of it, whose id it then has. `fields`: arch, size, … as for
        POST /encoders; a checkpoint of the reference implementation says most itself. Raises Rejected."""
        return self._run(calls.import_encoder(Path(path), fields, on_progress))

    def set_alias(self, name: str, encoder: str) -> None:
        """Let `name` stand for an encoder; a name in use is moved."""
        self._run(calls.set_alias(name, encoder))

    def index(self, encoder: str = "latest") -> Index:
        """The index of an encoder, to build and search; named as for `encoder`."""
        return Index(self._transport, part(self._encoder_id(encoder)))

    def ready(self) -> bool:
        """Whether the server is up and has all it needs."""
        return self._run(calls.ready())

    # Plumbing

    def _run(self, flow: Flow[T]) -> T:
        return run(flow, self._transport.performer())

    def _iterate(self, flow: Flow[None]) -> Results[Any]:
        return Results(iterate(flow, self._transport.performer()))

    def _encoder_id(self, name: str) -> str:
        return self._run(calls.encoder_id(name))

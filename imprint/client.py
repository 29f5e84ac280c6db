"""The service from Python: submit a job, follow it, embed images. Speaks HTTP only.

client = Client()
job = client.submit(data={"source": "folder", "path": "photos"}, preset="byol")
client.wait(job.id, on_update=lambda job: print(job.progress.epoch, job.metrics.get("train_loss")))
vectors = client.embed(Path("photos").glob("*.jpg"), encoder=job.id)
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from imprint.bulk import BulkCalls
from imprint.embedding import EmbedCalls
from imprint.errors import ConnectionFailed, ImprintError, JobFailed, ServiceError, Unavailable, UsageError
from imprint.index import Index
from imprint.maps import MapCalls
from imprint.measures import MeasureCalls
from imprint.records import Encoder, Event, Job, Json, Metric, Validation
from imprint.transport import Transport

DEFAULT_SERVER = "http://127.0.0.1:8000"
OUTAGE = 60.0  # seconds of silence that following a job survives: long enough for a restart of the server


class Client(EmbedCalls, BulkCalls, MeasureCalls, MapCalls):
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
        key = idempotency_key or str(uuid.uuid4())
        answer = self._transport.request("POST", "/jobs", json=spec, headers={"Idempotency-Key": key}, repeatable=True)
        return Job.parse(answer.json())

    def validate(self, **spec: Any) -> Validation:
        """Run every check of `submit`, create nothing. Raises Rejected as submit would."""
        answer = self._transport.request("POST", "/jobs", params={"validate_only": "true"}, json=spec, repeatable=True)
        return Validation.parse(answer.json())

    def job(self, job_id: str) -> Job:
        return Job.parse(self._get(f"/jobs/{_part(job_id)}"))

    def jobs(
        self,
        *,
        status: str | None = None,
        method: str | None = None,
        labels: dict[str, str] | None = None,
        limit: int | None = None,
        mine: bool = False,
    ) -> Iterator[Job]:
        """Jobs, newest first; pages are fetched as they are needed. `limit`: how many in all; `mine`: none that others share."""
        params = {
            "mine": "true" if mine else None,
            "status": status,
            "method": method,
            **{f"label.{key}": value for key, value in (labels or {}).items()},
        }
        return (Job.parse(body) for body in self._pages("/jobs", params, limit))

    def cancel(self, job_id: str) -> Job:
        """Ask for an end. Takes effect within seconds; the last checkpoint stays. Raises Conflict if it has ended already."""
        return self._control(job_id, "cancel")

    def pause(self, job_id: str) -> Job:
        """Ask for a checkpoint and a halt until `resume`."""
        return self._control(job_id, "pause")

    def resume(self, job_id: str) -> Job:
        """Queue a paused, failed or cancelled job again; it goes on from its last checkpoint."""
        return self._control(job_id, "resume")

    def share(self, job_id: str, shared: bool = True) -> Job:
        """Let every key see a job and use its encoder, or its owner's keys only."""
        return Job.parse(
            self._transport.request("PATCH", f"/jobs/{_part(job_id)}", json={"shared": shared}, repeatable=True).json()
        )

    def updates(self, job_id: str, *, every: float = 1.0) -> Iterator[Job]:
        """The job's state every `every` seconds, until it is final. Survives a restart of the server of up to a minute."""
        lost_since: float | None = None
        while True:
            try:
                job = self.job(job_id)
            except (ConnectionFailed, Unavailable):
                lost_since = lost_since if lost_since is not None else time.monotonic()
                if time.monotonic() - lost_since > OUTAGE:
                    raise
            else:
                lost_since = None
                yield job
                if job.final:
                    return
            time.sleep(every)

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
        start = time.monotonic()
        for job in self.updates(job_id, every=every):
            if on_update is not None:
                on_update(job)
            if job.final:
                break
            if timeout is not None and time.monotonic() - start > timeout:
                raise TimeoutError(f"job {job_id} is still {job.status} after {timeout:g} s")
        if check and job.status != "succeeded":
            raise JobFailed(job)
        return job

    def metrics(self, job_id: str, name: str | None = None, *, after_step: int | None = None) -> Iterator[Metric]:
        """Measured values in order of their steps; all names, or one."""
        path, params = f"/jobs/{_part(job_id)}/metrics", {"name": name, "after_step": after_step}
        # Pages never cut a step in two, so the last step is where the next one begins.
        return (Metric.parse(body) for body in self._pages(path, params, None, page=1000, cursor="after_step", field="step"))

    def events(self, job_id: str, *, after: int | None = None) -> Iterator[Event]:
        """What has happened to the job so far, oldest first."""
        return (Event.parse(body) for body in self._pages(f"/jobs/{_part(job_id)}/events", {"after": after}, None))

    def logs(self, job_id: str, *, tail: int | None = None) -> str:
        """What the newest attempt's trainer wrote: the last `tail` lines, or as much as the server gives (about a megabyte)."""
        return self._transport.request("GET", f"/jobs/{_part(job_id)}/logs", params={"tail": tail or 100_000}).text

    def preview(self, job_id: str | None = None, *, images: int = 8, **spec: Any) -> bytes:
        """A PNG of pictures beside the views that training draws of them: of a `spec` as for `submit`, or a job's own sheet."""
        if job_id is not None and spec:
            raise UsageError("give a job's id or the fields of a job, not both")
        if job_id is not None:
            return self._transport.request("GET", f"/jobs/{_part(job_id)}/preview").content
        return self._transport.request("POST", "/preview", params={"images": images}, json=spec, repeatable=True).content

    # Encoders and embeddings

    def encoders(self, *, limit: int | None = None, mine: bool = False) -> Iterator[Encoder]:
        """Trained encoders, newest first; `mine`: without what others share."""
        params = {"mine": "true" if mine else None}
        return (Encoder.parse(body) for body in self._pages("/encoders", params, limit))

    def encoder(self, encoder: str = "latest") -> Encoder:
        """One encoder by its id, its job's id, an alias, or `latest`. `raw` holds its manifest."""
        return Encoder.parse(self._get(f"/encoders/{_part(self._encoder_id(encoder))}"))

    def download(self, encoder: str, to: str | Path) -> Path:
        """Save an encoder (weights and manifest, a zip file) as the file `to`."""
        content = self._transport.request("GET", f"/encoders/{_part(self._encoder_id(encoder))}/download").content
        path = Path(to)
        path.write_bytes(content)
        return path

    def set_alias(self, name: str, encoder: str) -> None:
        """Let `name` stand for an encoder; a name in use is moved."""
        self._transport.request("PUT", f"/aliases/{_part(name)}", json={"encoder": encoder})

    def index(self, encoder: str = "latest") -> Index:
        """The index of an encoder, to build and search; named as for `encoder`."""
        return Index(self._transport, _part(self._encoder_id(encoder)))

    def ready(self) -> bool:
        """Whether the server is up and has all it needs."""
        try:
            self._transport.request("GET", "/readyz", repeatable=False)
        except (ConnectionFailed, ServiceError):
            return False
        return True

    # Plumbing

    def _get(self, path: str) -> Json:
        body: Json = self._transport.request("GET", path).json()
        return body

    def _control(self, job_id: str, what: str) -> Job:
        return Job.parse(self._transport.request("POST", f"/jobs/{_part(job_id)}/{what}").json())

    def _encoder_id(self, name: str) -> str:
        """POST /embed takes any name of an encoder; the encoders' own addresses take their ids."""
        if name.startswith("enc_"):
            return name
        if name.startswith("job_"):
            found = self.job(name).encoder
        elif name == "latest":
            found = next((encoder.id for encoder in self.encoders(limit=1, mine=True)), None)
        else:
            found = next((alias["encoder"] for alias in self._get("/aliases")["data"] if alias["name"] == name), None)
        if found is None:
            raise ImprintError(f"there is no encoder {name!r}", "see them with: imprint encoders")
        return found

    def _pages(
        self, path: str, params: dict[str, Any], limit: int | None, *, page: int = 100, cursor: str = "after", field: str = "id"
    ) -> Iterator[Json]:
        """Items of a list; while there are more, the next page begins after the last item's `field`."""
        left = limit if limit is not None else float("inf")
        params = {**params}
        while left > 0:
            answer = self._transport.request("GET", path, params={**params, "limit": int(min(left, page))}).json()
            for item in answer["data"]:
                yield item
                left -= 1
            if not answer.get("has_more") or not answer["data"]:
                return
            params[cursor] = answer["data"][-1][field]


def _part(name: str) -> str:
    """One segment of a path: an id with a slash must not reach another route."""
    from urllib.parse import quote

    if not name or name in (".", ".."):
        raise UsageError(f"{name!r} is not an id")
    return quote(name, safe="")

"""What can be asked of jobs and encoders, as flows (see flow.py). Names and meanings are those of `imprint.Client`'s methods."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from imprint.errors import ConnectionFailed, ImprintError, JobFailed, NotFound, ServiceError, Unavailable, UsageError
from imprint.flow import Call, Flow, Item, Next, Open, Pause, Upload, get, pages, parsed, part
from imprint.records import Encoder, Event, Job, Json, Metric, Validation

OUTAGE = 60.0  # seconds of silence that following a job survives: long enough for a restart of the server
RECONNECT = 2.0  # seconds until an event stream is opened again, unless the server says otherwise


def submit(spec: Json, key: str | None) -> Flow[Job]:
    headers = {"Idempotency-Key": key or str(uuid.uuid4())}
    answer = yield Call("POST", "/jobs", json=spec, headers=headers, repeatable=True)
    return Job.parse(answer.json())


def validate(spec: Json) -> Flow[Validation]:
    answer = yield Call("POST", "/jobs", params={"validate_only": "true"}, json=spec, repeatable=True)
    return Validation.parse(answer.json())


def job(job_id: str) -> Flow[Job]:
    return Job.parse((yield from get(f"/jobs/{part(job_id)}")))


def jobs(status: str | None, method: str | None, labels: dict[str, str] | None, limit: int | None, mine: bool) -> Flow[None]:
    of_labels = {f"label.{key}": value for key, value in (labels or {}).items()}
    params = {"mine": "true" if mine else None, "status": status, "method": method, **of_labels}
    return parsed(pages("/jobs", params, limit), Job.parse)


def control(job_id: str, what: str) -> Flow[Job]:
    answer = yield Call("POST", f"/jobs/{part(job_id)}/{what}")
    return Job.parse(answer.json())


def share(job_id: str, shared: bool) -> Flow[Job]:
    answer = yield Call("PATCH", f"/jobs/{part(job_id)}", json={"shared": shared}, repeatable=True)
    return Job.parse(answer.json())


def updates(job_id: str, every: float) -> Flow[None]:
    lost_since: float | None = None
    while True:
        try:
            found = yield from job(job_id)
        except (ConnectionFailed, Unavailable):
            lost_since = lost_since if lost_since is not None else time.monotonic()
            if time.monotonic() - lost_since > OUTAGE:
                raise
        else:
            lost_since = None
            yield Item(found)
            if found.final:
                return
        yield Pause(every)


def wait(job_id: str, on_update: Callable[[Job], None] | None, timeout: float | None, every: float, check: bool) -> Flow[Job]:
    start = time.monotonic()
    following, answer, failed = updates(job_id, every), None, None
    while True:
        step = following.send(answer) if failed is None else following.throw(failed)
        answer = failed = None
        if not isinstance(step, Item):
            try:
                answer = yield step
            except ImprintError as error:
                failed = error
            continue
        last: Job = step.value
        if on_update is not None:
            on_update(last)
        if last.final:
            break
        if timeout is not None and time.monotonic() - start > timeout:
            raise TimeoutError(f"job {job_id} is still {last.status} after {timeout:g} s")
    if check and last.status != "succeeded":
        raise JobFailed(last)
    return last


def metrics(job_id: str, name: str | None, after_step: int | None) -> Flow[None]:
    path, params = f"/jobs/{part(job_id)}/metrics", {"name": name, "after_step": after_step}
    # Pages never cut a step in two, so the last step is where the next one begins.
    return parsed(pages(path, params, None, page=1000, cursor="after_step", field="step"), Metric.parse)


def events(job_id: str, after: int | None) -> Flow[None]:
    return parsed(pages(f"/jobs/{part(job_id)}/events", {"after": after}, None), Event.parse)


def follow_events(job_id: str, after: int | None) -> Flow[None]:
    """Server-sent events; the stream is opened again where it was when it breaks, until the server says that it is over."""
    path, last, retry = f"/jobs/{part(job_id)}/events", after, RECONNECT
    lost_since: float | None = None
    while True:
        headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": str(last)})
        try:
            opened = yield Open(path, headers=headers, lines=True)
            kind, data = "message", ""
            while (line := (yield Next(opened))) is not None:
                lost_since = None
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if line and field == "event":
                    kind = value
                elif line and field == "data":
                    data += value
                elif line and field == "retry" and value.isdecimal():
                    retry = int(value) / 1000
                elif not line and kind == "end":
                    return
                elif not line and data:
                    event = Event.parse(json.loads(data))
                    last = event.id
                    yield Item(event)
                if not line:
                    kind, data = "message", ""
        except (ConnectionFailed, Unavailable):
            lost_since = lost_since if lost_since is not None else time.monotonic()
            if time.monotonic() - lost_since > OUTAGE:
                raise
        yield Pause(retry)


def logs(job_id: str, tail: int | None) -> Flow[str]:
    answer = yield Call("GET", f"/jobs/{part(job_id)}/logs", params={"tail": tail or 100_000})
    return str(answer.text)


def preview(job_id: str | None, images: int, spec: Json) -> Flow[bytes]:
    if job_id is not None and spec:
        raise UsageError("give a job's id or the fields of a job, not both")
    if job_id is not None:
        answer = yield Call("GET", f"/jobs/{part(job_id)}/preview")
    else:
        answer = yield Call("POST", "/preview", params={"images": images}, json=spec, repeatable=True)
    return bytes(answer.content)


def encoders(limit: int | None, mine: bool) -> Flow[None]:
    return parsed(pages("/encoders", {"mine": "true" if mine else None}, limit), Encoder.parse)


def encoder_id(name: str) -> Flow[str]:
    """POST /embed takes any name of an encoder; the encoders' own addresses take their ids."""
    if name.startswith("enc_"):
        return name
    if name.startswith("job_"):
        found = (yield from job(name)).encoder
    elif name == "latest":
        body = yield from get("/encoders", mine="true", limit=1)
        found = next((each["id"] for each in body["data"]), None)
    else:
        body = yield from get("/aliases")
        found = next((alias["encoder"] for alias in body["data"] if alias["name"] == name), None)
    if found is None:
        raise NotFound(f"there is no encoder {name!r}", status=404, hint="see them with: imprint encoders")
    return str(found)


def encoder(name: str) -> Flow[Encoder]:
    found = yield from encoder_id(name)
    return Encoder.parse((yield from get(f"/encoders/{part(found)}")))


def import_encoder(path: Path, fields: Json, told: Callable[[int], object] | None) -> Flow[Job]:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r}: {error.strerror}") from error
    headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
    params = {"filename": path.name, **fields}
    answer = yield Call("POST", "/encoders", params=params, content=Upload(path, told), headers=headers, timeout=600)
    return Job.parse(answer.json())


def set_alias(name: str, of: str) -> Flow[None]:
    yield Call("PUT", f"/aliases/{part(name)}", json={"encoder": of})


def ready() -> Flow[bool]:
    try:
        yield Call("GET", "/readyz", repeatable=False)
    except (ConnectionFailed, ServiceError):
        return False
    return True


def compare(names: tuple[str, ...]) -> Flow[Json]:
    return (yield from get("/encoders", compare=",".join(names)))

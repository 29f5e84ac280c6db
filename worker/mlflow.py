"""MLflow by its REST API (mlflow.org/docs/latest/rest-api.html): one run for each job, whatever its attempts. Needs no MLflow.

What the run holds already is asked of the server when it is opened: so nothing is sent twice, whoever told it before.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from jobs.addresses import Network
from jobs.records import JobRecord, Point
from worker.outbound import send

SECONDS = 10.0
MOST_BYTES = 8 * 2**20  # of an answer
BATCH = 1000  # metrics in a request, MLflow's limit; for params and tags it is 100
SOME = 100
LONGEST = 500  # letters of a param's value that every version takes
TAG = "imprint.job"
_STATUS = {
    "queued": "SCHEDULED",
    "paused": "SCHEDULED",
    "running": "RUNNING",
    "succeeded": "FINISHED",
    "failed": "FAILED",
    "cancelled": "KILLED",
}


class Refused(Exception):
    """The server answered with an error; `code` is MLflow's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}"[:300])
        self.code = code


class Server:
    """One MLflow server."""

    def __init__(self, uri: str, private: Sequence[Network], headers: Mapping[str, str] | None = None) -> None:
        """headers: with the credentials, if it wants some."""
        self.uri, self._private = uri.rstrip("/"), private
        self._headers = {"Content-Type": "application/json", **(headers or {})}

    def get(self, call: str, **query: str) -> dict[str, Any]:
        """Raises Refused, Unsent."""
        return self._ask("GET", f"{call}?{urlencode(query)}", b"")

    def post(self, call: str, **body: Any) -> dict[str, Any]:
        """Raises Refused, Unsent."""
        return self._ask("POST", call, json.dumps(body).encode())

    def _ask(self, method: str, call: str, body: bytes) -> dict[str, Any]:
        url = f"{self.uri}/api/2.0/mlflow/{call}"
        answer = send(method, url, self._headers, body, private=self._private, seconds=SECONDS, most=MOST_BYTES)
        try:
            said = json.loads(answer.body)
        except ValueError:
            said = None
        if not isinstance(said, dict):
            raise Refused(f"HTTP {answer.status}", "no JSON object; is it an MLflow server?")
        if not answer.ok:
            raise Refused(str(said.get("error_code", f"HTTP {answer.status}")), str(said.get("message", "")))
        return said


def credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """The header that MLflow's own client would send, by MLFLOW_TRACKING_TOKEN, or _USERNAME and _PASSWORD."""
    if token := environment.get("MLFLOW_TRACKING_TOKEN"):
        return {"Authorization": f"Bearer {token}"}
    if user := environment.get("MLFLOW_TRACKING_USERNAME"):
        pair = f"{user}:{environment.get('MLFLOW_TRACKING_PASSWORD', '')}"
        return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}
    return {}


class MLflow:
    """The run of one job, open for writing."""

    def __init__(self, server: Server, experiment: str, job: JobRecord, run: str | None) -> None:
        """Find the job's run, or make it; and see how far it is. run: its id, if it is known. Raises Refused, Unsent."""
        self._server = server
        found = self._known(run) if run else None
        if found is None:
            found = self._found(self._experiment(experiment), job)
        self.run = str(found["info"]["run_id"])
        data = found.get("data", {})
        self.cursor = {each["key"]: int(each.get("step", 0)) for each in data.get("metrics", [])}
        self._params = {each["key"] for each in data.get("params", [])}
        self._tags = {each["key"]: each["value"] for each in data.get("tags", [])}
        self._status: str | None = None
        self.link: str | None = f"{server.uri}/#/experiments/{found['info']['experiment_id']}/runs/{self.run}"

    def write(self, points: Sequence[Point]) -> None:
        """Add values."""
        for begin in range(0, len(points), BATCH):
            metrics = [
                {
                    "key": point.name,
                    "value": "NaN" if point.value is None else point.value,
                    "timestamp": int(point.at.timestamp() * 1000),
                    "step": point.step,
                }
                for point in points[begin : begin + BATCH]
            ]
            self._server.post("runs/log-batch", run_id=self.run, metrics=metrics)

    def tell(self, job: JobRecord, address: str) -> None:
        """The spec as params; status, verdict, encoder and the like as tags; what has changed of them since it was last told."""
        params = [{"key": key, "value": value} for key, value in flat(job.spec).items() if key not in self._params]
        for begin in range(0, len(params), SOME):
            self._server.post("runs/log-batch", run_id=self.run, params=params[begin : begin + SOME])
        self._params |= {each["key"] for each in params}
        wanted = {
            TAG: job.id,
            "imprint.kind": job.kind,
            "imprint.status": job.status,
            "imprint.link": address,
            "imprint.verdict": str((job.health or {}).get("verdict") or ""),
            "imprint.encoder": job.encoder_id or "",
            "imprint.error": str((job.error or {}).get("message") or ""),
            **{f"label.{key}": value for key, value in job.labels.items()},
        }
        tags = [
            {"key": key, "value": value[:LONGEST]} for key, value in wanted.items() if value[:LONGEST] != self._tags.get(key, "")
        ]
        for begin in range(0, len(tags), SOME):
            self._server.post("runs/log-batch", run_id=self.run, tags=tags[begin : begin + SOME])
        self._tags |= {each["key"]: each["value"] for each in tags}
        if job.status != self._status:
            ended = {} if job.finished_at is None else {"end_time": int(job.finished_at.timestamp() * 1000)}
            self._server.post("runs/update", run_id=self.run, status=_STATUS[job.status], **ended)
            self._status = job.status

    def close(self) -> None:
        """Nothing is kept open."""

    abandon = close

    def _known(self, run: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._server.get("runs/get", run_id=run)["run"]
        except Refused as refused:
            if refused.code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return None if found["info"].get("lifecycle_stage") == "deleted" else found

    def _experiment(self, name: str) -> str:
        for _ in range(2):
            try:
                return str(self._server.get("experiments/get-by-name", experiment_name=name)["experiment"]["experiment_id"])
            except Refused as refused:
                if refused.code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            try:
                return str(self._server.post("experiments/create", name=name)["experiment_id"])
            except Refused as refused:
                if refused.code != "RESOURCE_ALREADY_EXISTS":  # another job was first
                    raise
        raise Refused("RESOURCE_DOES_NOT_EXIST", f"the experiment {name!r} is neither there nor can it be made")

    def _found(self, experiment: str, job: JobRecord) -> dict[str, Any]:
        which = f"tags.`{TAG}` = '{job.id}'"
        runs = self._server.post("runs/search", experiment_ids=[experiment], filter=which, max_results=1).get("runs")
        if runs:
            found: dict[str, Any] = runs[0]
            return found
        began = int((job.started_at or job.created_at).timestamp() * 1000)
        tags = [{"key": TAG, "value": job.id}]
        made = self._server.post(
            "runs/create", experiment_id=experiment, run_name=job.name or job.id, start_time=began, tags=tags
        )
        created: dict[str, Any] = made["run"]
        return created


def flat(spec: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """A spec as params: method.name, optim.lr, …"""
    found: dict[str, str] = {}
    for name, value in spec.items():
        key = f"{before}{name}"[:250]
        if isinstance(value, dict) and value:
            found |= flat(value, f"{key}.")
        else:
            found[key] = (value if isinstance(value, str) else json.dumps(value))[:LONGEST]
    return found

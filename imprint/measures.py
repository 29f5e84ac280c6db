"""What encoders are worth on labelled pictures: linear probes, finetuning, and encoders side by side. Speaks HTTP only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imprint import calls
from imprint.flow import get, part, run
from imprint.records import Job, Json
from imprint.transport import Transport


class MeasureCalls:
    """The part of `imprint.Client` that deals with jobs of kind linear_probe and finetune."""

    _transport: Transport
    if TYPE_CHECKING:  # the client's own

        def submit(self, *, idempotency_key: str | None = None, **spec: Any) -> Job: ...

    def linear_probe(self, encoder: str = "latest", *, data: Json, **fields: Any) -> Job:
        """Queue a linear classifier on an encoder's frozen features. Then `wait(job.id)`, whose `result` has the accuracies.

        data: labelled pictures, such as {"source": "folder", "path": "pets"}. `fields`: protocol, label_file, label_fraction,
        seed, name, labels, …, as for POST /jobs. Raises Rejected.
        """
        return self.submit(kind="linear_probe", encoder=encoder, data=data, **fields)

    def finetune(self, encoder: str = "latest", *, data: Json, **fields: Any) -> Job:
        """Queue the training of the whole network on labels, to see what it reaches; the network is not kept. As linear_probe."""
        return self.submit(kind="finetune", encoder=encoder, data=data, **fields)

    def measurement(self, job_id: str) -> Json:
        """All that such a job has found: with confusion and per_class, however many classes there are."""
        return run(get(f"/jobs/{part(job_id)}/result"), self._transport.performer())

    def compare(self, *encoders: str) -> Json:
        """Encoders (ids, jobs' ids or aliases) side by side: `encoders`, and `data`, a list of what was measured on the same
        data by the same protocol, each with `metrics` {name: [figure or None for each encoder]}."""
        return run(calls.compare(encoders), self._transport.performer())

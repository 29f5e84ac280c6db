"""The kinds of jobs, as far as the API has to tell them apart: from a body to what would be queued.

Adding a kind is a function (body, services) -> Planned, a line in KINDS, and its schema in openapi.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from api.bulk import plan_embed
from api.continuing import put_encoders
from api.deps import Services
from api.errors import invalid
from api.indexing import plan_index
from api.mapping import plan_map
from api.measuring import plan_measure
from api.planned import Planned, measured, taken_out
from api.planning import path_of, plan
from api.tracking import tracked
from jobs.records import JobRecord
from ssl_core.spec.base import nearest

Body = dict[str, Any]


def planned(body: Body, services: Services) -> Planned:
    """Check a body of POST /jobs, of whatever kind. Raises Problem 422 with everything that is wrong."""
    body, shared = taken_out(body)
    body, tracking = tracked(body, services.settings)
    kind = body.get("kind", "pretrain")
    if not isinstance(kind, str) or kind not in KINDS:
        hint = nearest(kind, list(KINDS)) if isinstance(kind, str) else "it must be a string"
        raise invalid([("/kind", f"{kind!r:.100} is not a kind of job; {hint} (valid: {', '.join(KINDS)})")])
    return replace(KINDS[kind](body, services), shared=shared, tracking=tracking)


def _pretrain(body: Body, services: Services) -> Planned:
    made = plan(body, services.settings.data_root, path_of(services), partial(put_encoders, services))
    spec = made.spec.model_dump(mode="json")

    def alike(earlier: JobRecord) -> bool:
        return bool(earlier.spec["encoder"] == spec["encoder"] and earlier.spec["data"]["size"] == spec["data"]["size"])

    def estimate() -> dict[str, Any]:
        images = made.estimate["steps_total"] * made.estimate["batch_size"]
        return {**made.estimate, **measured(images, alike, services.repository, method=made.spec.method.name)}

    return Planned(
        kind="pretrain",
        method=made.spec.method.name,
        name=made.create.name,
        labels=dict(made.create.labels),
        spec=spec,
        recipe=made.recipe,
        notes=made.notes,
        warnings=made.warnings,
        data=made.found(),
        estimate=estimate,
    )


KINDS: dict[str, Callable[[Body, Services], Planned]] = {
    "pretrain": _pretrain,
    "embed": plan_embed,
    "index": plan_index,
    "linear_probe": plan_measure,
    "finetune": plan_measure,
    "map": plan_map,
}


FILTERS = (*KINDS, "import")  # kinds that there are; jobs of the last are made by POST /encoders

__all__ = ["FILTERS", "KINDS", "Planned", "planned"]

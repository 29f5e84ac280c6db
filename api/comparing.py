"""Encoders side by side: figures stand in one line only where data and protocol are the same."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

from api.deps import Services
from api.errors import Problem
from api.measure_schemas import Compared, Comparison, Figure
from api.schemas import EncoderBody
from jobs.records import EncoderRecord, JobRecord
from ssl_core.spec.probe import PROTOCOLS

MOST = 20  # encoders
PRETRAIN_METRICS = ("knn_top1", "linear_top1", "effective_rank", "embedding_std")
MEASURED = ("top1", "top5")


@dataclass
class _Group:
    """Jobs that measured the same, by encoder: the newest of each seed."""

    kind: str
    fingerprint: str
    data: dict[str, Any]
    settings: dict[str, Any]
    found: dict[str, dict[int, tuple[str, dict[str, float]]]] = field(default_factory=dict)  # encoder: seed: (job, figures)

    def add(self, encoder: str, seed: int, job: str, figures: dict[str, float]) -> None:
        """Jobs come newest first: an older one of the same seed is passed over."""
        self.found.setdefault(encoder, {}).setdefault(seed, (job, figures))


def compare(services: Services, given: str) -> Comparison:
    """The encoders named in `given`, with commas between them. Raises Problem 422, NotFound, Conflict."""
    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    if not 2 <= len(names) <= MOST or not given.isprintable():
        detail = f"compare = {given[:200]!r} must name 2 to {MOST} encoders, with commas between them"
        raise Problem("validation", detail, parameter="compare")
    encoders = [services.repository.resolve_encoder(name) for name in names]
    encoders = list({each.id: each for each in encoders}.values())
    if len(encoders) < 2:
        raise Problem("validation", f"compare = {given[:200]!r} names {encoders[0].id} only", parameter="compare")
    return Comparison(
        encoders=[EncoderBody.model_validate({**vars(each), "owner": each.owner or None}) for each in encoders],
        data=figures(services, encoders),
    )


def figures(services: Services, encoders: list[EncoderRecord]) -> list[Compared]:
    """All that was measured of these encoders, or of this one; what more of them have in common comes first."""
    groups: dict[str, _Group] = {}
    for encoder in encoders:
        _pretrained(groups, encoder, services.repository.get(encoder.job_id))
    for job in services.repository.measurements([each.id for each in encoders], list(PROTOCOLS)):
        _measured(groups, job)
    order = sorted(groups.values(), key=lambda group: -len(group.found))  # stable: pretraining first, then the newest
    return [_row(group, encoders) for group in order]


def _pretrained(groups: dict[str, _Group], encoder: EncoderRecord, job: JobRecord) -> None:
    """What was measured at the end of pretraining."""
    fingerprint, spec = (job.data or {}).get("fingerprint"), job.spec
    figures = {name: value for name, value in encoder.metrics.items() if name in PRETRAIN_METRICS and value is not None}
    if not fingerprint or not figures:
        return
    evaluate, data = spec.get("evaluate", {}), spec.get("data", {})
    names = ("knn_k", "knn_temperature", "linear", "max_images", "labels")
    settings = {**{name: evaluate[name] for name in names if name in evaluate}, "held_out": data.get("held_out")}
    group = _group(groups, "pretrain", fingerprint, data, settings)
    group.add(encoder.id, 0, job.id, figures)


def _measured(groups: dict[str, _Group], job: JobRecord) -> None:
    made = job.result or {}
    figures = {name: made[name] for name in MEASURED if isinstance(made.get(name), int | float)}
    group = _group(groups, job.kind, str(made.get("fingerprint")), job.spec["data"], made.get("settings", {}))
    group.add(job.spec["encoder"], int(job.spec["seed"]), job.id, figures)


def _group(groups: dict[str, _Group], kind: str, fingerprint: str, data: dict[str, Any], settings: dict[str, Any]) -> _Group:
    key = json.dumps([kind, fingerprint, settings], sort_keys=True)
    where = {name: value for name, value in data.items() if name in ("source", "path")}
    return groups.setdefault(key, _Group(kind, fingerprint, where, settings))


def _row(group: _Group, encoders: Iterable[EncoderRecord]) -> Compared:
    runs = [list(group.found.get(each.id, {}).values()) for each in encoders]
    names = list(dict.fromkeys(name for each in runs for _, figures in each for name in figures))
    ordered = [name for name in (*PRETRAIN_METRICS, *MEASURED) if name in names]
    return Compared(
        kind=group.kind,
        name=_name(group),
        fingerprint=group.fingerprint,
        data=group.data,
        settings=group.settings,
        metrics={name: [_figure([figures[name] for _, figures in each if name in figures]) for each in runs] for name in ordered},
        jobs=[[job for job, _ in each] for each in runs],
    )


def _figure(values: list[float]) -> Figure | None:
    if not values:
        return None
    return Figure(mean=mean(values), std=stdev(values) if len(values) > 1 else None, count=len(values))


def _name(group: _Group) -> str:
    """'linear_probe lbfgs', 'finetune simclr, epochs 5, 10 % of the labels': the protocol, and what differs from it."""
    if group.kind == "pretrain":
        return "at the end of pretraining"
    settings = group.settings
    protocol = PROTOCOLS[group.kind].get(str(settings.get("protocol")), {})
    changed = [f"{name} {settings[name]}" for name in protocol if name in settings and settings[name] != protocol[name]]
    share = settings.get("label_fraction", 1.0)
    some = [] if share == 1.0 else [f"{100 * share:g} % of the labels"]
    return ", ".join([f"{group.kind} {settings.get('protocol')}", *changed, *some])

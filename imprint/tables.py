"""Lists for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from rich.table import Table
from rich.text import Text

from imprint import words
from imprint.datasets import Dataset
from imprint.progress import COLOURS
from imprint.records import Encoder, Job, Json

# What may be cut short where a line is full. Ids are for copying and always whole.
ELASTIC = frozenset({"name", "from", "aliases", "arch", "owner", "url", "events", "error"})


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, no_wrap=column not in ELASTIC, overflow="ellipsis")
    return table


def _elastic(text: str | None) -> Text:
    # rich shrinks the columns that may wrap before it shrinks others; the cell itself then refuses to wrap.
    return Text(text or "", no_wrap=True, overflow="ellipsis")


def jobs(found: Iterable[Job]) -> Table:
    table = _table("id", "name", "status", "method", "kNN", "age")
    for job in found:
        share = f" {100 * job.progress.fraction:.0f} %" if job.status == "running" and job.progress.fraction is not None else ""
        status = Text(job.status + share, style=COLOURS.get(job.status, "cyan"))
        accuracy = words.percent(job.metrics.get("knn_top1"))
        what = job.method or f"({job.raw.get('kind', '')})"
        table.add_row(job.id, _elastic(job.name), status, what, accuracy, words.ago(job.created_at))
    return table


def encoders(found: Iterable[Encoder]) -> Table:
    table = _table("id", "aliases", "arch", "dim", "method", "kNN", "age")
    for encoder in found:
        table.add_row(
            encoder.id,
            _elastic(", ".join(encoder.aliases)),
            _elastic(encoder.arch),
            str(encoder.dim or ""),
            encoder.method or "",
            words.percent(encoder.metrics.get("knn_top1")),
            words.ago(encoder.created_at),
        )
    return table


def datasets(found: Iterable[Dataset]) -> Table:
    table = _table("id", "name", "from", "pictures", "classes", "age")
    for each in found:
        pictures = f"{(each.images or 0) + (each.held_out or 0):,}"
        where = "upload" if each.path is None else each.path
        table.add_row(
            each.id, _elastic(each.name), _elastic(where), pictures, str(each.classes or ""), words.ago(each.created_at)
        )
    return table


def comparison(body: Json) -> Table:
    """Encoders as columns, a line for each figure; what was measured in the same way on the same data stands together."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", overflow="fold")
    for encoder in body["encoders"]:
        name = ", ".join(encoder["aliases"]) or encoder["id"]
        table.add_column(f"{name}\n{encoder['method']} {encoder['arch']}", justify="right", overflow="fold")
    for row in body["data"]:
        where = " ".join(str(row["data"][part]) for part in ("source", "path") if part in row["data"])
        table.add_row(Text(f"{row['name']} on {where}", style="bold"))
        for name, figures in row["metrics"].items():
            table.add_row(f"  {name}", *(_figure(name, figure) for figure in figures))
    return table


def _figure(name: str, figure: Json | None) -> str:
    """'88.1 ± 0.2 % (3)', of three seeds; '41.2' where it is no percentage."""
    if figure is None:
        return "–"
    spread = "" if figure["std"] is None else f" ± {words.number(figure['std'])}"
    unit = " %" if "top" in name else ""
    value = f"{figure['mean']:.1f}" if unit else words.number(figure["mean"])
    return value + spread + unit + (f" ({figure['count']})" if figure["count"] > 1 else "")


def keys(found: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("name", "owner", "scopes", "key", "state", "used", "age")
    for key in found:
        used, created = (datetime.fromisoformat(key[name]) if key[name] else None for name in ("used_at", "created_at"))
        state = Text(key["state"], style="green" if key["state"] == "valid" else "dim")
        scopes, age = ",".join(key["scopes"]), words.ago(created)
        table.add_row(
            _elastic(key["name"]), _elastic(key["owner"] or "everybody"), scopes, f"{key['shown']}…", state, words.ago(used), age
        )
    return table


def webhooks(found: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("id", "url", "events", "state", "took", "age")
    for hook in found:
        state = Text("enabled", style="green") if hook["enabled"] else Text("disabled", style="red")
        url, events = Text(hook["url"], no_wrap=True, overflow="ellipsis"), ", ".join(hook["events"])
        age = words.ago(datetime.fromisoformat(hook["created_at"]))
        table.add_row(hook["id"], url, _elastic(events), state, str(hook["delivered"]), age)
    return table


def deliveries(found: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("type", "job", "status", "tries", "answer", "error", "age")
    for each in found:
        status = Text(each["status"], style={"delivered": "green", "failed": "red"}.get(each["status"], "cyan"))
        age = words.ago(datetime.fromisoformat(each["created_at"]))
        error = Text(each["error"] or "", no_wrap=True, overflow="ellipsis")
        table.add_row(each["type"], each["job"] or "–", status, str(each["attempts"]), str(each["answer"] or "–"), error, age)
    return table

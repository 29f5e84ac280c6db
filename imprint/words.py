"""How numbers, times and states are written for people. Plain text; knows no terminal."""

from __future__ import annotations

from datetime import UTC, datetime

from imprint.records import Job


def clock(seconds: float | None) -> str:
    """3725 -> '1:02:05', 42 -> '0:42', None -> '–'."""
    if seconds is None or seconds != seconds or seconds < 0:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"


def number(value: float | None) -> str:
    """Four significant digits, without an exponent where that reads well."""
    if value is None:
        return "–"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def ago(moment: datetime | None) -> str:
    """'5 s', '12 min', '3 h', '4 d' since then."""
    if moment is None:
        return "–"
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86400:.0f} d"


def size(count: int | None) -> str:
    """Bytes for people."""
    if count is None:
        return "–"
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def duration(job: Job) -> float | None:
    """Seconds from its start to its end, or until now."""
    if job.started_at is None:
        return None
    return ((job.finished_at or datetime.now(UTC)) - job.started_at).total_seconds()


def stage(job: Job) -> str:
    """One word: the phase of a running job, else its status."""
    if job.status != "running":
        return job.status
    return job.phase or ("training" if job.progress.step else "preparing")


def epoch(job: Job) -> str | None:
    """'epoch 3/20', counting the epoch in progress from 1."""
    if job.progress.epoch is None or stage(job) == "preparing":
        return None
    total = job.epochs
    done = job.progress.epoch if job.status == "succeeded" else job.progress.epoch + 1
    return f"epoch {min(done, total)}/{total}" if total else f"epoch {done}"


def facts(job: Job, speed_unit: str = "images/s") -> list[str]:
    """What is known about a run in progress, most interesting first."""
    progress, metrics = job.progress, job.metrics
    known: list[str] = []
    under_way = job.status == "running" and bool(progress.step or stage(job) == "preparing")
    if stage(job) == "preparing" and progress.images_total:
        known.append(f"{progress.images_prepared or 0:,} of {progress.images_total:,} pictures decoded")
    if "train_loss" in metrics:
        known.append(f"loss {number(metrics['train_loss'])}")
    if under_way and progress.images_per_second:
        known.append(f"{progress.images_per_second:.0f} {speed_unit}")
    if under_way and progress.eta_seconds is not None:
        known.append(f"ETA {clock(progress.eta_seconds)}")
    if "knn_top1" in metrics:
        known.append(f"kNN {percent(metrics['knn_top1'])}")
    if "top1" in metrics:
        known.append(f"top-1 {percent(metrics['top1'])}")
    return known


_ALARMS = ("collapsing", "collapsed", "diverged")


def alarm(job: Job) -> str | None:
    """'collapsed: all images of a batch …' while a job's health is bad, else None."""
    verdict = job.health.get("verdict")
    if verdict not in _ALARMS:
        return None
    return f"{verdict}: {'; '.join(str(reason) for reason in job.health.get('reasons') or [])}"


def suggestions(job: Job) -> str:
    """What to try, in one line; empty where nothing is wrong."""
    return "; ".join(str(each) for each in job.health.get("suggestions") or [])


def measured(job: Job) -> list[tuple[str, str]]:
    """What a linear probe or finetuning found, as rows of (name, text); nothing for other jobs."""
    made = job.result
    if "top1" not in made:
        return []
    share = f", {100 * made['label_fraction']:g} % of the labels" if made.get("label_fraction", 1.0) < 1 else ""
    rows = [
        ("protocol", f"{made['kind']} {made['protocol']}{share}, seed {made['seed']}, last epoch {made['last_epoch']}"),
        ("top-1", f"{percent(made['top1'])} of {made['held_out_images']:,} held-out images ({made['split']} split)"),
    ]
    if made.get("top5") is not None:
        rows.append(("top-5", percent(made["top5"])))
    rows.append(("learned from", f"{made['train_images']:,} images"))
    known = [each for each in made.get("per_class") or [] if each["top1"] is not None]
    if len(known) > 1:
        worst = sorted(known, key=lambda each: each["top1"])[:3]
        rows.append(("hardest", ", ".join(f"{each['class']} {percent(each['top1'])}" for each in worst)))
    return rows


_STAGES = {
    "forward_backward": "forward and backward",
    "augment": "drawing views",
    "optimizer": "optimiser",
    "ema": "moving average",
    "data_wait": "waiting for data",
    "other": "the rest",
}


def step_shares(job: Job) -> str | None:
    """'forward and backward 91 %, drawing views 6 %, …' of the newest steps: what is at least a percent, or None."""
    shares = {name: job.metrics.get(f"{key}_share") or 0.0 for key, name in _STAGES.items()}
    largest = sorted(shares, key=lambda name: -shares[name])
    return ", ".join(f"{name} {100 * shares[name]:.0f} %" for name in largest if shares[name] >= 0.005) or None

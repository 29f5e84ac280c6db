"""An example for every body, shown by /docs and /openapi.json. Tests send the requests among them."""

from __future__ import annotations

from typing import Any

_JOB = "job_01JZ8X3M6Q4T9V2B7C5D8E1F0G"
_ENC = "enc_01JZ8X3M6Q4T9V2B7C5D8E1F0G"
_PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNoaGgAAAMEAYFL09IQAAAAAElFTkSuQmCC"

JOB_CREATE: dict[str, dict[str, Any]] = {
    "smallest": {"data": {"source": "digits"}},
    "preset_with_overrides": {
        "name": "first",
        "preset": "moco_v2",
        "data": {"source": "digits"},
        "encoder": {"arch": "resnet18"},
        "optim": {"name": "sgd", "lr": 0.06},
        "trainer": {"max_epochs": 5, "batch_size": 128, "precision": "auto", "devices": "auto", "seed": 0},
        "labels": {"team": "a"},
    },
    "with_trackers": {
        "data": {"source": "digits"},
        "tracking": {"tensorboard": True},
    },
    "method_of_your_own": {
        "data": {"source": "digits", "held_out": 0.2},
        "method": {"name": "byol", "loss_scale": 2.0},
        "trainer": {"max_epochs": 5, "batch_size": 64},
    },
}

EMBED_CREATE: dict[str, Any] = {
    "kind": "embed",
    "encoder": "latest",
    "data": {"source": "folder", "path": "photos"},
    "normalize": True,
}

MEASURE_CREATE: dict[str, dict[str, Any]] = {
    "linear_probe": {"kind": "linear_probe", "encoder": "latest", "data": {"source": "digits"}},
    "finetune": {
        "kind": "finetune",
        "encoder": "latest",
        "data": {"source": "digits"},
        "label_fraction": 0.1,
        "epochs": 20,
        "seed": 1,
    },
}

VECTORS_PART: dict[str, Any] = {
    "file": "part-00000.parquet",
    "images": 16384,
    "errors": 3,
    "size_bytes": 33751041,
    "href": f"/jobs/{_JOB}/vectors/part-00000.parquet",
}

PREVIEW: dict[str, dict[str, Any]] = {
    "smallest": JOB_CREATE["smallest"],
    "stronger_crops": {"data": {"source": "digits"}, "augment": {"crop_scale": [0.3, 1.0], "blur": 0.5}},
}

JOB: dict[str, Any] = {
    "id": _JOB,
    "name": "first",
    "kind": "pretrain",
    "status": "running",
    "phase": "training",
    "requested": None,
    "attempt": 1,
    "created_at": "2025-07-01T12:00:00Z",
    "started_at": "2025-07-01T12:00:02Z",
    "finished_at": None,
    "progress": {
        "epoch": 2,
        "step": 24,
        "steps_total": 55,
        "fraction": 0.436,
        "images_per_second": 812.5,
        "eta_seconds": 4.9,
    },
    "metrics": {"train_loss": 3.41, "knn_top1": 91.7, "effective_rank": 38.2},
    "health": {
        "verdict": "healthy",
        "reasons": ["embeddings are spread: effective rank 38.2, std × √d 0.81", "kNN 91.7 %, at the beginning 78.1 %"],
        "suggestions": [],
        "step": 22,
    },
    "spec": {"data": {"source": "digits"}, "encoder": {"arch": "resnet18"}},
    "encoder": None,
    "error": None,
    "labels": {"team": "a"},
    "notes": ["method.queue_size = 512: at most half of the 1437 images"],
    "data": {"images": 1437, "held_out": 360, "classes": 10, "unreadable": 0, "unreadable_examples": []},
    "owner": "alice",
    "shared": False,
    "links": {"self": f"/jobs/{_JOB}", "metrics": f"/jobs/{_JOB}/metrics", "cancel": f"/jobs/{_JOB}/cancel"},
}

VALIDATED: dict[str, Any] = {
    "valid": True,
    "spec": {"data": {"source": "digits"}, "encoder": {"arch": "resnet18"}},
    "recipe": "auto",
    "notes": ["trainer.max_epochs = 209: chosen for 1,437 images at 0.037 GFLOP a view on a CPU"],
    "warnings": [],
    "data": {"images": 1437, "held_out": 360, "classes": 10},
    "estimate": {},
}

ENCODER: dict[str, Any] = {
    "id": _ENC,
    "job_id": _JOB,
    "arch": "resnet18",
    "dim": 512,
    "method": "moco",
    "created_at": "2025-07-01T12:00:09Z",
    "metrics": {"knn_top1": 97.2, "effective_rank": 41.0},
    "aliases": ["product-photos"],
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "size_bytes": 44730000,
}

_OTHER = "enc_01JZ9A4C8R6W1X5Y3Z7B9D2E4F"
COMPARISON: dict[str, Any] = {
    "object": "comparison",
    "encoders": [ENCODER, {**ENCODER, "id": _OTHER, "method": "simclr", "aliases": []}],
    "data": [
        {
            "kind": "linear_probe",
            "name": "linear_probe lbfgs",
            "fingerprint": "sha256:1b2f…",
            "data": {"source": "folder", "path": "photos"},
            "settings": {"protocol": "lbfgs", "solver": "lbfgs", "l2": 1.0},
            "metrics": {"top1": [{"mean": 88.1, "std": 0.2, "count": 3}, {"mean": 86.4, "std": None, "count": 1}]},
            "jobs": [["job_01JZ9B0000000000000000000A", "job_01JZ9B0000000000000000000B"], ["job_01JZ9B0000000000000000000C"]],
        }
    ],
}
JOB_PATCH: dict[str, Any] = {"shared": True}
ALIAS_PUT: dict[str, Any] = {"encoder": _ENC}
DATASET_CREATE: dict[str, Any] = {"name": "holiday photos", "path": "photos"}
EMBED: dict[str, Any] = {"encoder": "latest", "images": [f"data:image/png;base64,{_PIXEL}"], "encoding_format": "float"}
EMBEDDED: dict[str, Any] = {
    "object": "list",
    "encoder": _ENC,
    "dim": 4,
    "data": [{"index": 0, "embedding": [0.12, -0.4, 0.88, 0.05]}],
}
OPENAI: dict[str, Any] = {"model": "latest", "input": [f"data:image/png;base64,{_PIXEL}"]}
READY: dict[str, Any] = {"status": "ok", "components": {"database": "ok", "broker": "ok", "disk": "ok"}}
PROBLEM: dict[str, Any] = {
    "type": "/docs#validation",
    "title": "The request is not valid",
    "status": 422,
    "detail": "/preset: preset 'mocov2' is not known; did you mean 'moco_v2'?",
    "errors": [{"pointer": "/preset", "detail": "preset 'mocov2' is not known; did you mean 'moco_v2'?"}],
    "request_id": "req_5f2a9c01d4e7b368",
}
INDEX_CREATE: dict[str, Any] = {"vectors": _JOB}
INDEX_JOB: dict[str, Any] = {"kind": "index", "vectors": _JOB}
_INDEXED: dict[str, Any] = {
    "vectors": _JOB,
    "data": {"source": "folder", "path": "photos"},
    "count": 49998,
    "left_out": 2,
    "dim": 512,
    "dimensions": None,
    "dtype": "f16",
    "library": "usearch 2.26.6",
    "size_bytes": 63200000,
    "created_at": "2025-07-01T12:30:00Z",
    "seconds": 21.4,
}
INDEX: dict[str, Any] = {"object": "index", "encoder": _ENC, "status": "ready", "index": _INDEXED, "job": None}
SEARCH: dict[str, Any] = {"image": f"data:image/png;base64,{_PIXEL}", "k": 2}
FOUND: dict[str, Any] = {
    "object": "list",
    "encoder": _ENC,
    "index": _INDEXED,
    "data": [
        {"path": "cats/0017.jpg", "score": 0.9312, "thumbnail": None},
        {"path": "cats/0212.jpg", "score": 0.8847, "thumbnail": None},
    ],
}
_MEMBERS: list[dict[str, Any]] = [{"path": "cats/0017.jpg", "score": 0.9991}, {"path": "cats/0017 (1).jpg", "score": 0.9991}]
REPORT: dict[str, Any] = {
    "object": "report",
    "encoder": _ENC,
    "index": _INDEXED,
    "duplicates": {
        "threshold": 0.95,
        "count": 1,
        "extra": 1,
        "data": [{"size": 2, "lowest": 0.9991, "highest": 0.9991, "data": _MEMBERS}],
        "has_more": False,
    },
    "outliers": {"count": 49998, "data": [{"path": "scans/blank.png", "distance": 0.71}], "has_more": True},
}

_WH, _MSG = "wh_01JZ8X3M6Q4T9V2B7C5D8E1F0G", "msg_01JZ8X3M6Q4T9V2B7C5D8E1F0G"
WEBHOOK_CREATE: dict[str, Any] = {"url": "https://example.org/imprint", "events": ["job.succeeded", "job.failed"]}
WEBHOOK_PATCH: dict[str, Any] = {"enabled": True}
WEBHOOK_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD1dSDEkGD0Zw="
WEBHOOK: dict[str, Any] = {
    "id": _WH,
    **WEBHOOK_CREATE,
    "enabled": True,
    "disabled_why": None,
    "created_at": "2026-07-01T09:00:00Z",
    "delivered_at": "2026-07-01T10:30:00Z",
    "delivered": 12,
    "failed": 0,
    "owner": "alice",
}
DELIVERY: dict[str, Any] = {
    "id": _MSG,
    "type": "job.succeeded",
    "job": _JOB,
    "status": "pending",
    "attempts": 2,
    "created_at": "2026-07-01T10:30:00Z",
    "tried_at": "2026-07-01T10:30:06Z",
    "next_at": "2026-07-01T10:30:27Z",
    "answer": 503,
    "error": "answered 503: try again later",
}
TRACKING: dict[str, Any] = {"tensorboard": True, "mlflow": {"uri": "https://mlflow.example.org", "experiment": "photos"}}
TRACKER: dict[str, Any] = {
    "tracker": "mlflow",
    "run": "6f1c2a0b9d8e4f7a8b3c5d6e7f809112",
    "link": "https://mlflow.example.org/#/experiments/3/runs/6f1c2a0b9d8e4f7a8b3c5d6e7f809112",
    "told_at": "2026-07-01T10:30:00Z",
    "settled": False,
    "error": None,
}
MAP_CREATE: dict[str, Any] = {"kind": "map", "vectors": _JOB}
MAP: dict[str, Any] = {
    "object": "map",
    "job": "job_01JZ9C0000000000000000000A",
    "encoder": _ENC,
    "vectors": _JOB,
    "data": {"source": "folder", "path": "photos"},
    "count": 49998,
    "left_out": 2,
    "dim": 512,
    "landmarks": 49998,
    "clusters": 23,
    "unclustered": 4120,
    "seconds": 61.2,
    "size_bytes": 6900000,
    "folders": [{"folder": "cats", "count": 25012}, {"folder": "dogs", "count": 24986}],
    "folders_count": 2,
    "links": {"points": "/jobs/job_01JZ9C0000000000000000000A/map/points"},
}
_POINT: dict[str, Any] = {
    "row": 17, "path": "cats/0017.jpg", "folder": "cats", "x": 3.21, "y": -0.87, "cluster": 4, "outlier": 0.0831
}  # fmt: skip
MAP_POINTS: dict[str, Any] = {"object": "list", "count": 25012, "data": [_POINT], "has_more": True}
MAP_PICTURE: dict[str, Any] = {**_POINT, "nearest": [{"row": 212, "path": "cats/0212.jpg", "score": 0.9471}]}
MAP_GROUPS: dict[str, Any] = {
    "object": "list",
    "threshold": 0.95,
    "count": 1,
    "extra": 1,
    "data": [
        {"size": 2, "lowest": 0.9991, "highest": 0.9991, "data": [_POINT, {**_POINT, "row": 18, "path": "cats/0017 (1).jpg"}]}
    ],
    "has_more": False,
}
MAP_EXPORT: dict[str, Any] = {"rows": [17, 212], "format": "csv", "name": "tabby cats"}

"""The whole of training: what it says, what it leaves behind, and that a stopped run goes on as if it never had stopped."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ssl_core import checkpoints
from ssl_core.embedder import Embedder
from ssl_core.events import Events, Stopped
from ssl_core.loop import Diverged
from ssl_core.spec import TrainSpec
from ssl_core.train import train

HEAD = {"layers": 2, "hidden_dim": 32, "out_dim": 16, "norm": "bn"}
METHODS: dict[str, dict[str, Any]] = {
    "moco": {"queue_size": 40, "branches": {"projector": HEAD, "shuffle_bn": True, "bn_splits": 2}},
    "simclr": {"branches": {"projector": HEAD, "target": "shared"}},
    "byol": {"branches": {"projector": HEAD, "predictor": HEAD, "momentum_schedule": "cosine"}},
    "vicreg": {"branches": {"projector": HEAD, "target": "shared", "normalize": False}},
    "simsiam": {"branches": {"projector": HEAD, "predictor": HEAD, "target": "stop_gradient"}},
    "barlow_twins": {"branches": {"projector": HEAD, "target": "shared", "normalize": False}},
    "nnclr": {"branches": {"projector": HEAD, "predictor": HEAD, "target": "stop_gradient"}, "queue_size": 40},
    "swav": {"queue_size": 40, "queue_start_epochs": 1, "prototypes": 20, "branches": {"projector": HEAD, "target": "shared"}},
    "dino": {"prototypes": 20, "teacher_temperature": 0.07, "teacher_warmup_epochs": 2, "branches": {"projector": HEAD}},
    "mocov3": {"branches": {"projector": HEAD, "predictor": HEAD}},
    "lejepa": {"slices": 32, "branches": {"projector": HEAD, "target": "shared", "normalize": False}},
    "mae": {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2},
}
LOCAL = {"augment": {"local_views": {"count": 2}}}
SECTIONS: dict[str, dict[str, Any]] = {
    "swav": LOCAL,
    "dino": {**LOCAL, "optim": {"name": "adamw", "lr": 0.002, "weight_decay": 0.04, "final_weight_decay": 0.4}},
    "mae": {  # four patches
        "data": {"source": "folder", "path": "pictures", "size": 32, "held_out": 0.2},
        "encoder": {"arch": "timm/vit_tiny_patch16_224"},
    },
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 pictures of two kinds, flat and striped, in class folders; two files that are no pictures."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    for index in range(80):
        kind = index % 2
        pixels = np.full((16, 16, 3), generator.integers(40, 220, 3), np.uint8)
        if kind:
            pixels[:: 2 + index % 3] = generator.integers(0, 255, 3)
        folder = root / "pictures" / ("striped" if kind else "flat")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    (root / "pictures" / "flat" / "broken.png").write_bytes(b"not a picture")
    (root / "pictures" / "striped" / "empty.jpg").write_bytes(b"")
    return root


def spec(method: str, **trainer: Any) -> TrainSpec:
    return TrainSpec.model_validate(
        {
            "data": {"source": "folder", "path": "pictures", "size": 16, "held_out": 0.2},
            "encoder": {"arch": "shufflenet_v2_x0_5"},
            "method": {"name": method, **METHODS[method]},
            "optim": {"name": "sgd", "lr": 0.05, "warmup_epochs": 1},
            "trainer": {"max_epochs": 3, "batch_size": 16, "precision": "fp32", "log_every_steps": 2, **trainer},
            **SECTIONS.get(method, {}),
        }
    )


def run(
    spec: TrainSpec, out: Path, root: Path, stop_at: int | None = None, resume: list[Path] | None = None
) -> list[dict[str, Any]]:
    """Train in this process; returns the events. stop_at: ask to stop once that many steps were polled."""
    polled = 0

    def asked() -> bool:
        nonlocal polled
        polled += 1
        return stop_at is not None and polled > stop_at

    out.mkdir(parents=True)
    events = Events(out / "events.jsonl")
    try:
        train(spec, out, data_root=root, events=events, resume=resume or [], asked_to_stop=asked)
    finally:
        events.close()
    return read(out)


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def test_a_run_says_what_it_does_and_leaves_an_encoder(tmp_path: Path, root: Path) -> None:
    events = run(spec("simclr"), tmp_path / "1", root)
    kinds = [event["type"] for event in events]
    data = next(event for event in events if event["type"] == "data")
    assert data["unreadable"] == 2 and {path.split("/")[-1] for path, _ in data["unreadable_examples"]} == {
        "broken.png",
        "empty.jpg",
    }
    assert data["images"] + data["held_out"] == 80 and data["classes"] == 2
    steps = data["images"] // 16 * 3
    progress = [event for event in events if event["type"] == "progress"]
    assert progress[-1]["step"] == progress[-1]["steps_total"] == steps and progress[-1]["fraction"] == 1.0
    values: dict[str, float] = {}
    for event in events:
        if event["type"] == "metrics":
            values |= event["values"]
    assert {
        "train_loss", "positive_cosine", "negative_cosine", "contrast_top1", "contrast_top5", "learning_rate",
        "knn_top1", "linear_top1", "embedding_std", "effective_rank", "data_wait_share",
    } <= set(values)  # fmt: skip
    baseline = [event for event in events if event["type"] == "metrics" and "knn_top1" in event["values"]]
    assert baseline[0]["step"] == 0 and baseline[-1]["step"] == steps, "random weights first, the last epoch at the end"
    assert "health" in kinds and kinds[-1] == "encoder"
    embedder = Embedder.load(tmp_path / "1" / "encoder")
    assert embedder.manifest["method"] == "simclr" and embedder.manifest["metrics"]["knn_top1"] == values["knn_top1"]
    kept = sorted(each.name for each in (tmp_path / "1" / "checkpoints").glob("step-*.ckpt"))
    assert kept[-1] == f"step-{steps:08}.ckpt" and len(kept) <= checkpoints.KEEP
    best = checkpoints.AtomicCheckpointIO().load_checkpoint(tmp_path / "1" / "checkpoints" / "best.ckpt")
    accuracy = {each["step"]: each["values"]["knn_top1"] for each in baseline if each["step"]}
    assert accuracy[best["global_step"]] == max(accuracy.values()), "the weights of the best evaluation themselves"


def test_without_held_out_images_spread_and_rank_are_measured_all_the_same(tmp_path: Path, root: Path) -> None:
    alone = spec("simclr", max_epochs=1)
    events = run(alone.changed(data={**alone.data.model_dump(), "held_out": 1e-9}), tmp_path / "1", root)
    measured = {name for event in events if event["type"] == "metrics" for name in event["values"]}
    assert {"embedding_std", "effective_rank"} <= measured and "knn_top1" not in measured
    assert any(event["type"] == "health" for event in events)


def test_a_stop_before_the_first_step_keeps_the_baseline_and_the_best_is_carried_on(tmp_path: Path, root: Path) -> None:
    with pytest.raises(Stopped) as stopped:
        run(spec("simclr"), tmp_path / "1", root, stop_at=_polls_before_training(tmp_path, root))
    assert stopped.value.step == 0 and checkpoints.newest([tmp_path / "1" / "checkpoints"]) is not None
    events = run(spec("simclr"), tmp_path / "2", root, resume=[tmp_path / "1"])
    assert any(event["type"] == "metrics" and event["step"] == 0 and "knn_top1" in event["values"] for event in events)
    run(spec("simclr"), tmp_path / "3", root, resume=[tmp_path / "2"])
    assert checkpoints.verifies(tmp_path / "3" / "checkpoints" / "best.ckpt")


def _polls_before_training(tmp_path: Path, root: Path) -> int:
    """How often a run asks whether to stop while it prepares."""
    polls = 0
    while True:
        with pytest.raises(Stopped):
            run(spec("simclr"), tmp_path / f"probe-{polls}", root, stop_at=polls)
        if (tmp_path / f"probe-{polls}" / "checkpoints").exists():
            return polls
        polls += 1


def test_unreadable_files_met_while_streaming_are_told(tmp_path: Path, root: Path) -> None:
    streamed = spec("simclr", max_epochs=1).changed(evaluate={"max_images": 20})
    streamed = streamed.changed(data={**streamed.data.model_dump(), "in_memory": "never", "workers": 0})
    events = run(streamed, tmp_path / "1", root)
    told = [event for event in events if "unreadable" in event]
    assert sum(event["unreadable"] for event in told) >= 1
    named = [path for event in told for path, _ in event["unreadable_examples"]]
    assert len(named) == len(set(named)) and {Path(path).name for path in named} <= {"broken.png", "empty.jpg"}


@pytest.mark.parametrize("method", METHODS)
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, root: Path, method: str) -> None:
    """Weights, moving average, queue and pointer, optimiser, schedule, random state and position, stopped within an epoch."""
    whole = run(spec(method), tmp_path / "whole", root)
    with pytest.raises(Stopped):
        run(spec(method), tmp_path / "1", root, stop_at=7)
    with pytest.raises(Stopped):
        run(spec(method), tmp_path / "2", root, stop_at=3, resume=[tmp_path / "1"])
    resumed = run(spec(method), tmp_path / "3", root, resume=[tmp_path / "2", tmp_path / "1"])
    assert any(event["type"] == "resumed" for event in resumed)

    weights, again = (load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("whole", "3"))
    assert weights.keys() == again.keys()
    for name in weights:
        assert torch.equal(weights[name], again[name]), name
    last, last_again = (checkpoints.newest([tmp_path / name / "checkpoints"]) for name in ("whole", "3"))
    assert last is not None and last_again is not None and last.step == last_again.step
    states = [checkpoints.AtomicCheckpointIO().load_checkpoint(found.path) for found in (last, last_again)]
    for name, tensor in states[0]["state_dict"].items():  # the target, the heads and the queue as well
        assert torch.equal(tensor, states[1]["state_dict"][name]), name

    def losses(events: list[dict[str, Any]]) -> dict[int, float]:
        return {e["step"]: e["values"]["train_loss"] for e in events if e["type"] == "metrics" and "train_loss" in e["values"]}

    common = losses(whole).keys() & losses(resumed).keys()
    assert common and all(losses(whole)[step] == losses(resumed)[step] for step in common)


def test_a_finished_run_that_lost_its_export_only_exports(tmp_path: Path, root: Path) -> None:
    run(spec("moco"), tmp_path / "1", root)
    events = run(spec("moco"), tmp_path / "2", root, resume=[tmp_path / "1"])
    assert not [event for event in events if event["type"] == "progress"]
    first, second = (load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("1", "2"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_damaged_last_checkpoint_costs_one_interval(tmp_path: Path, root: Path) -> None:
    with pytest.raises(Stopped):
        run(spec("byol", checkpoint_every_seconds=0.001), tmp_path / "1", root, stop_at=7)
    newest = sorted((tmp_path / "1" / "checkpoints").glob("step-*.ckpt"))[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    run(spec("byol"), tmp_path / "2", root, resume=[tmp_path / "1"])
    run(spec("byol"), tmp_path / "whole", root)
    first, second = (load_file(tmp_path / name / "encoder" / "model.safetensors") for name in ("whole", "2"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_divergence_is_told_and_not_retried(tmp_path: Path, root: Path) -> None:
    hot = spec("byol").changed(optim={"name": "sgd", "lr": 1000.0, "exclude": "none", "weight_decay": 1.0, "warmup_epochs": 0})
    with pytest.raises(Diverged, match=r"train_loss is (nan|inf)"):
        run(hot.changed(trainer={**hot.trainer.model_dump(), "max_epochs": 60}), tmp_path / "1", root)


def test_embeddings_that_overflow_are_divergence_not_a_crash(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss looks at normalised values and can stay finite while the features do not."""
    monkeypatch.setattr("ssl_core.evaluation.extract", lambda encoder, store, data, device: torch.full((len(store), 8), math.inf))
    with pytest.raises(Diverged, match="embeddings are not finite numbers after step 0"):
        run(spec("simclr", max_epochs=1), tmp_path / "1", root)


def start(arguments: list[str], root: Path, **popen: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "ssl_core", *arguments, "--data-root", str(root)]
    return subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, **popen)


def wait_for(out: Path, kind: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if (out / "events.jsonl").exists() and f'"type": "{kind}"' in (out / "events.jsonl").read_text():
            return
        time.sleep(0.02)
    raise AssertionError(f"no {kind} event within {seconds} s")


def test_the_command_line(tmp_path: Path, root: Path) -> None:
    """SIGTERM leaves a checkpoint and exit status 3; SIGKILL costs at most the last interval; --resume finishes; then 0."""
    file = tmp_path / "spec.json"
    long = spec("moco", max_epochs=40, checkpoint_every_seconds=0.2)
    file.write_text(long.model_dump_json())
    stopped = start([str(file), "--out", str(tmp_path / "1")], root)
    wait_for(tmp_path / "1", "progress")
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate(timeout=20)
    assert stopped.returncode == 3
    assert read(tmp_path / "1")[-1]["type"] == "stopped"

    killed = start([str(file), "--out", str(tmp_path / "2"), "--resume", str(tmp_path / "1")], root)
    wait_for(tmp_path / "2", "checkpoint")
    killed.kill()
    killed.communicate(timeout=20)

    last = start(
        [str(file), "--out", str(tmp_path / "3"), "--resume", str(tmp_path / "2"), "--resume", str(tmp_path / "1")], root
    )
    _, log = last.communicate(timeout=120)
    assert last.returncode == 0, log.decode()
    assert read(tmp_path / "3")[-1]["type"] == "finished"
    assert "images/s" in log.decode() and "Warning" not in log.decode(), log.decode()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"data": {"source": "folder", "path": "nowhere"}}, "nowhere"),
        ({"data": {"source": "digits"}, "method": {"name": "mocco"}}, "did you mean 'moco'"),
        ({"data": {"source": "folder", "path": "a" * 300}}, "there is no folder"),
        ([1], "must be a JSON object"),
        ({"data": {"source": "digits"}, "encoder": {"arch": "inception_v3"}, "trainer": {"max_epochs": 1}}, "inception_v3"),
    ],
)
def test_what_would_fail_again_exits_with_4_and_says_why(tmp_path: Path, root: Path, body: dict[str, Any], words: str) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(body))
    process = start([str(tmp_path / "spec.json"), "--out", str(tmp_path / "out")], root)
    process.communicate(timeout=60)
    assert process.returncode == 4
    error = read(tmp_path / "out")[-1]
    assert error["type"] == "error" and words in error["message"] + error["hint"], error


def test_without_its_supervisor_the_trainer_ends(tmp_path: Path, root: Path) -> None:
    (tmp_path / "spec.json").write_text(spec("simclr", max_epochs=400).model_dump_json())
    process = start([str(tmp_path / "spec.json"), "--out", str(tmp_path / "out"), "--parent-pipe"], root, stdin=subprocess.PIPE)
    wait_for(tmp_path / "out", "progress")
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)

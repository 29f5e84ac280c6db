"""Whole measurements on tiny pictures: every protocol, resume from the middle, and the parts between."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssl_core.data.labelled import labelled_folder
from ssl_core.embedder import Embedder
from ssl_core.events import Events, Stopped
from ssl_core.probing.data import label_subset
from ssl_core.probing.loop import rate_at
from ssl_core.probing.run import measure
from ssl_core.spec import FolderData
from ssl_core.spec.probe import SPECS, FinetuneSpec, LinearProbeSpec

COLOURS = {"source": "folder", "path": "colours", "held_out": 0.3}


def spec_of(kind: str, **fields: Any) -> LinearProbeSpec | FinetuneSpec:
    return SPECS[kind].model_validate({"encoder": "enc_1", "data": COLOURS, **fields})


SGD = {"protocol": "moco", "augment": "none", "batch_size": 8, "epochs": 4, "lr": 0.5}
CROPPED = {"protocol": "simclr", "batch_size": 16, "epochs": 4, "lr": 0.05}
TUNED = {"batch_size": 14, "epochs": 3, "lr": 0.01, "checkpoint_every_seconds": 1e-3}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "lbfgs": ("linear_probe", {}),
    "sgd on features": ("linear_probe", SGD),
    "sgd on views": ("linear_probe", CROPPED),
    "finetune": ("finetune", TUNED),
    "finetune adamw": ("finetune", {**TUNED, "protocol": "adamw", "head_lr": 0.02, "label_fraction": 0.5}),
}


class Told:
    """The events of runs, in order."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def of(self, type_: str) -> list[dict[str, Any]]:
        return [event for event in self.all if event["type"] == type_]


def run(spec: Any, encoder: Path, out: Path, root: Path, **more: Any) -> tuple[dict[str, Any], Told]:
    out.mkdir(parents=True, exist_ok=True)
    told = Told()
    events = Events(out / "events.jsonl", told.all.append)
    try:
        folder = measure(spec, encoder, out, data_root=root, events=events, **more)
    finally:
        events.close()
    return json.loads((folder / "result.json").read_text()), told


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same sums in the same order, and fp32 wherever the tests run."""
    monkeypatch.setattr("ssl_core.probing.run.choose_precision", lambda asked: "32-true")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("kind", "fields"), RUNS.values(), ids=RUNS)
def test_every_protocol_tells_what_it_found(kind: str, fields: dict[str, Any], encoder: Path, root: Path, tmp_path: Path) -> None:
    spec = spec_of(kind, **fields)
    made, told = run(spec, encoder, tmp_path, root)
    assert (made["kind"], made["encoder"], made["classes"]) == (kind, "enc_1", ["blue", "green", "red"])
    assert made["held_out_images"] == 18 and made["train_images"] == {1.0: 42, 0.5: 21}[spec.label_fraction]
    assert np.sum(made["confusion"]) == 18 and made["top1"] == pytest.approx(100 * np.trace(made["confusion"]) / 18)
    assert made["top5"] is None and [each["images"] for each in made["per_class"]] == [6, 6, 6]
    assert made["settings"]["protocol"] == spec.protocol and "encoder" not in made["settings"]
    assert told.of("data")[-1]["unreadable"] == 1 and told.of("data")[-1]["unreadable_examples"][0][0] == "red/broken.jpg"
    steps = [event["step"] for event in told.of("progress")]
    assert steps == sorted(steps) and told.of("progress")[-1]["fraction"] == 1.0
    assert told.of("metrics")[-1]["values"]["top1"] == made["top1"]
    assert told.of("phase")[0]["phase"] == "preparing" and told.of("phase")[1]["phase"] in ("preparing", "extracting", "training")


def test_lbfgs_finds_what_scikit_learn_finds(encoder: Path, root: Path, tmp_path: Path) -> None:
    """On the vectors that POST /embed gives, of the same pictures: the same answer for each held-out picture."""
    made, _ = run(spec_of("linear_probe"), encoder, tmp_path, root)
    index = labelled_folder(FolderData(**COLOURS), None, root, 0).index  # type: ignore[arg-type]
    embedder = Embedder.load(encoder)
    sides = []
    for paths, labels in ((index.train, index.train_labels), (index.held_out, index.held_out_labels)):
        good = [(path, label) for path, label in zip(paths, labels or (), strict=True) if not path.endswith(".jpg")]
        sides.append((embedder.embed_images([root / "colours" / path for path, _ in good]), [label for _, label in good]))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000, tol=1e-8)).fit(*sides[0])
    assert made["top1"] == pytest.approx(100 * model.score(*sides[1])) and made["top1"] > 60, "tints are told apart"


def test_a_csv_file_of_the_same_labels_finds_the_same(encoder: Path, root: Path, tmp_path: Path) -> None:
    by_folder, _ = run(spec_of("linear_probe"), encoder, tmp_path / "a", root)
    by_file, told = run(spec_of("linear_probe", label_file="labels.csv"), encoder, tmp_path / "b", root)
    assert told.of("data")[-1]["unreadable"] == 0, "what is not labelled is not looked at"
    assert by_folder["fingerprint"] != by_file["fingerprint"]
    assert [made["held_out_images"] + made["train_images"] for made in (by_folder, by_file)] == [60, 60]


def last_checkpoint(out: Path) -> dict[str, Any]:
    """What the newest checkpoint of an attempt holds."""
    state: dict[str, Any] = torch.load(sorted((out / "checkpoints").glob("*.ckpt"))[-1], weights_only=True)
    return state


def after(count: int) -> Callable[[], bool]:
    """Asks to stop at the time it is polled that often."""
    polled = iter(range(10**9))
    return lambda: next(polled) >= count


@pytest.mark.parametrize(
    ("name", "polls"), [("lbfgs", 4), ("sgd on features", 12), ("sgd on views", 8), ("finetune", 6), ("finetune adamw", 5)]
)
def test_stopped_and_resumed_equals_undisturbed(name: str, polls: int, encoder: Path, root: Path, tmp_path: Path) -> None:
    kind, fields = RUNS[name]
    spec = spec_of(kind, **fields)
    whole, _ = run(spec, encoder, tmp_path / "whole", root)
    with pytest.raises(Stopped) as stopped:
        run(spec, encoder, tmp_path / "1", root, asked_to_stop=after(polls))
    assert stopped.value.step > 0
    found, told = run(spec, encoder, tmp_path / "2", root, resume=[tmp_path / "1"])
    assert found == whole
    if name != "lbfgs":
        assert told.of("resumed")[0]["step"] > 0
        ours, theirs = (last_checkpoint(tmp_path / attempt) for attempt in ("2", "whole"))
        assert ours["step"] == theirs["step"] and ours["trained"].keys() == theirs["trained"].keys()
        assert all(torch.equal(value, theirs["trained"][key]) for key, value in ours["trained"].items()), "to the bit"
    if (tmp_path / "1" / "features").is_dir():
        assert not list((tmp_path / "2" / "features").glob("*.npy")), "features are taken once"


def test_features_are_taken_up_after_the_last_whole_shard(
    encoder: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shards of 16 pictures, stopped in the third; a shard of something else is not taken up."""
    monkeypatch.setattr("ssl_core.probing.features.SHARD", 16)
    spec = spec_of("linear_probe")
    whole, _ = run(spec, encoder, tmp_path / "whole", root)
    with pytest.raises(Stopped) as stopped:
        run(spec, encoder, tmp_path / "1", root, asked_to_stop=after(3))
    kept = sorted(each.name for each in (tmp_path / "1" / "features").glob("*.npy"))
    assert kept == ["train-00000.npy", "train-00001.npy"] and stopped.value.step == 32
    found, _ = run(spec, encoder, tmp_path / "2", root, resume=[tmp_path / "1"])
    made = sorted(each.name for each in (tmp_path / "2" / "features").glob("*.npy"))
    assert found == whole and made == ["held_out-00000.npy", "held_out-00001.npy", "train-00002.npy"]
    run(spec_of("linear_probe", seed=1), encoder, tmp_path / "3", root, resume=[tmp_path / "1"])
    assert len(list((tmp_path / "3" / "features").glob("*.npy"))) == 5


def test_a_frozen_encoder_stays_and_a_finetuned_one_learns(encoder: Path, root: Path, tmp_path: Path) -> None:
    state = {}
    for name in ("sgd on views", "finetune"):
        kind, fields = RUNS[name]
        run(spec_of(kind, **fields), encoder, tmp_path / name, root)
        state[name] = last_checkpoint(tmp_path / name)["trained"]
    assert set(state["sgd on views"]) == {"weight", "bias"}
    assert any(key.startswith("network.") for key in state["finetune"])


def test_finetuning_learns_what_it_is_shown(encoder: Path, root: Path, tmp_path: Path) -> None:
    """With the last layer's rate so small that it stays at its random start, only the network can have learned."""
    fields = {"augment": "none", "batch_size": 14, "epochs": 20, "lr": 0.05, "head_lr": 1e-9}
    learned, _ = run(spec_of("finetune", **fields), encoder, tmp_path / "a", root)
    still, _ = run(spec_of("finetune", **{**fields, "lr": 1e-9}), encoder, tmp_path / "b", root)
    assert learned["top1"] > 70 > still["top1"]


class TestSubset:
    @pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 1.0])
    def test_each_class_has_its_share(self, fraction: float) -> None:
        labels = torch.randint(0, 7, (2000,), generator=torch.Generator().manual_seed(3))
        chosen = label_subset(labels, fraction, seed=5)
        counts, of = torch.bincount(labels[chosen], minlength=7), torch.bincount(labels, minlength=7)
        assert counts.tolist() == [max(1, round(fraction * int(all_))) for all_ in of]
        assert torch.equal(chosen, torch.unique(chosen)), "in order, none twice"

    def test_a_function_of_the_seed_and_nested(self) -> None:
        labels = torch.arange(400) % 4
        one, ten = label_subset(labels, 0.01, 0), label_subset(labels, 0.1, 0)
        assert set(one.tolist()) < set(ten.tolist())
        assert torch.equal(ten, label_subset(labels, 0.1, 0)) and not torch.equal(ten, label_subset(labels, 0.1, 1))


def test_the_rate_falls_at_60_and_80_percent() -> None:
    rates = [rate_at(step, peak=30.0, schedule="steps", warmup_steps=0, total_steps=10) for step in range(10)]
    assert rates == pytest.approx([30.0] * 6 + [3.0] * 2 + [0.3] * 2)
    warm = [rate_at(step, peak=1.0, schedule="steps", warmup_steps=4, total_steps=100) for step in range(5)]
    assert warm == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


class TestSpec:
    @pytest.mark.parametrize(
        ("fields", "field", "said"),
        [
            ({"augment": "crop"}, "solver", "use augment 'none', or solver 'sgd'"),
            ({"protocol": "moco", "features": "standardised"}, "features", "use augment 'none', or features 'raw'"),
            ({"data": {"source": "digits"}, "label_file": "x.csv"}, "label_file", "digits has its own labels"),
            ({"label_fraction": 0.0}, "label_fraction", "greater than 0"),
            ({"label_file": "../x.csv"}, "label_file", "below the data root"),
            ({"protocol": "mocco"}, "protocol", "'moco'"),
        ],
    )
    def test_refused(self, fields: dict[str, Any], field: str, said: str) -> None:
        from ssl_core.spec import ValidationError, explain_all

        with pytest.raises(ValidationError) as error:
            spec_of("linear_probe", **fields)
        assert any(pointer == f"/{field}" and said in text for pointer, text in explain_all(error.value))

    def test_the_protocol_fills_what_is_open(self) -> None:
        moco = spec_of("linear_probe", protocol="moco", epochs=7)
        assert (moco.lr, moco.epochs, moco.schedule, moco.augment) == (30.0, 7, "steps", "crop_flip")
        assert spec_of("finetune").epochs == 30 and spec_of("finetune", label_fraction=0.01).epochs == 60
        assert spec_of("finetune", data={"source": "digits"}).augment == "none"

    def test_complete_specs_stay_as_they_are(self) -> None:
        for kind, fields in RUNS.values():
            spec = spec_of(kind, **fields)
            assert type(spec).model_validate(spec.model_dump(mode="json")) == spec

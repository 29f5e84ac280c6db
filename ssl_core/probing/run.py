"""measure(spec, encoder, out, …) -> out/result/result.json: the one place where the parts of a measurement are put together.

A linear probe without augmentation takes the features once, as POST /embed gives them, and fits a classifier on them. With
augmentation, and when the whole network is finetuned, every step runs the network on new views. One process, one device.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssl_core.data.batch import RawBatch
from ssl_core.data.batches import TrainBatches, worker_count
from ssl_core.data.cache import Cache
from ssl_core.data.errors import DataError
from ssl_core.data.load import LISTED
from ssl_core.data.store import FileStore, on_device
from ssl_core.durable import write_atomically
from ssl_core.embedder import Embedder
from ssl_core.encoders import Encoder
from ssl_core.events import Events
from ssl_core.hardware import choose_precision
from ssl_core.inference.load_torch import load_encoder
from ssl_core.manifest import Manifest, read_manifest
from ssl_core.preparing import preparing
from ssl_core.probing.data import Labelled, in_order, labels_of, load_labelled
from ssl_core.probing.features import Features, FeatureStore
from ssl_core.probing.logistic import Standardised, fit_logistic
from ssl_core.probing.loop import Diverged, Fit, build
from ssl_core.probing.progress import Said
from ssl_core.probing.score import scores
from ssl_core.probing.views import Views
from ssl_core.spec.probe import FinetuneSpec, LinearProbeSpec

RESULT = "result"
BATCH = 256  # held-out images at once
HEAD_STD = 0.01  # of the first weights of the classifier (MoCo's)


def measure(
    spec: LinearProbeSpec | FinetuneSpec,
    encoder: Path,
    out: Path,
    *,
    data_root: Path,
    events: Events,
    cache: Cache | None = None,
    resume: Sequence[Path] = (),
    asked_to_stop: Callable[[], bool] = lambda: False,
    files_root: Path | None = None,
) -> Path:
    """Measure the encoder in the folder `encoder` on the labelled pictures of the spec; returns the folder of the result.

    resume: folders of earlier attempts, newest first. files_root: what a label_file is relative to (default: the data root).
    Raises DataError, EncoderError, Diverged, Stopped.
    """
    manifest = read_manifest(encoder)
    stored = manifest.preprocessing.resize.short_side
    with preparing(events, asked_to_stop) as progress:
        data = load_labelled(spec, data_root, stored, cache, progress, files_root)
    for note in data.notes:
        events.emit("warning", message=note)
    run = _Run(spec, manifest, encoder, data, out, Said(events, 1, asked_to_stop), resume)
    run.tell()
    torch.manual_seed(spec.seed)
    frozen = isinstance(spec, LinearProbeSpec) and spec.augment == "none"
    logits, labels, latest = run.on_features() if frozen else run.on_images()
    if not bool(logits.isfinite().all()):
        raise Diverged("what the classifier makes of the held-out pictures is not finite")
    run.tell()
    found = scores(logits, labels, data.classes)
    values = {name: found[name] for name in ("top1", "top5") if found[name] is not None}
    events.emit("metrics", epoch=run.iterations, step=run.said.total, values={**latest, **values})
    folder = out / RESULT
    folder.mkdir(exist_ok=True)
    content = json.dumps({**run.about(len(labels)), **found}, indent=1).encode()
    write_atomically(folder / "result.json", lambda file: file.write(content))
    return folder


Outcome = tuple[Tensor, Tensor, dict[str, float]]  # logits (M, C) and labels (M,) of held-out images; training figures


class _Run:
    """One measurement."""

    def __init__(
        self,
        spec: LinearProbeSpec | FinetuneSpec,
        manifest: Manifest,
        encoder: Path,
        data: Labelled,
        out: Path,
        said: Said,
        resume: Sequence[Path],
    ) -> None:
        self.spec, self.manifest, self.encoder, self.data = spec, manifest, encoder, data
        self.out, self.said, self.resume = out, said, resume
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.views = Views(manifest.preprocessing, self.device)
        self.learned_from = len(data.train)
        self.iterations = spec.epochs

    def tell(self) -> None:
        """What is known of the data by now."""
        bad = dict(self.data.unreadable)
        for store in (self.data.train, self.data.held_out):
            if isinstance(store, FileStore):
                bad |= {store.paths[number]: reason for number, reason in store.unreadable.items()}
        self.said.events.emit(
            "data",
            images=len(self.data.train),
            held_out=len(self.data.held_out),
            unreadable=len(bad),
            unreadable_examples=[list(each) for each in list(bad.items())[:LISTED]],
            classes=len(self.data.classes),
            fingerprint=self.data.fingerprint,
        )

    def on_features(self) -> Outcome:
        """A classifier on features that are taken once."""
        spec, said = self.spec, self.said
        assert isinstance(spec, LinearProbeSpec)
        train, held = self._features()
        if spec.features == "standardised":
            scale = Standardised.of(train.features)
            train, held = (FeatureStore(scale(each.features), each.labels) for each in (train, held))  # type: ignore[arg-type]
        labels, queries = (labels_of(each).to(self.device) for each in (train, held))
        pictures = len(self.data.train) + len(self.data.held_out)
        if spec.solver == "sgd":
            batches = self._batches(train)
            head = self._head(train.size)
            said.total = pictures + len(batches) * spec.epochs
            fit = Fit(head, build(spec, head, None), batches, labels, lambda batch, _: head(batch.images), pictures)
            latest = fit.run(spec, self.out, self.resume, said)
            with torch.no_grad():
                return head(held.features), queries, latest
        said.begin("training", pictures)

        def report(iteration: int, loss: float) -> None:
            said.checked(pictures)
            if said.done(pictures + iteration, len(train), iteration):
                said.events.emit("metrics", epoch=iteration, step=pictures + iteration, values={"train_loss": loss})

        weight, bias, self.iterations = fit_logistic(
            train.features, labels, len(self.data.classes), l2=spec.l2, max_iterations=spec.epochs, report=report
        )
        said.done(said.total, 0, self.iterations)
        return held.features @ weight.T + bias, queries, {}

    def on_images(self) -> Outcome:
        """A classifier behind the network, which stays as it is or learns too, on new views in every epoch."""
        spec, said, device = self.spec, self.said, self.device
        network = load_encoder(self.encoder, self.manifest).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        head = self._head(network.dim)
        tuned = isinstance(spec, FinetuneSpec)
        network.train(tuned).requires_grad_(tuned)
        batches = self._batches(on_device(self.data.train, device))
        said.total = len(batches) * spec.epochs
        bf16 = torch.autocast(device.type, torch.bfloat16, enabled=choose_precision("auto") == "bf16-mixed")

        def logits(batch: RawBatch, epoch: int) -> Tensor:
            with bf16:
                with torch.set_grad_enabled(tuned):
                    features = network(self.views.drawn(batch, spec.augment, spec.seed, epoch))
                result: Tensor = head(features)
            return result

        trained = nn.ModuleDict({"network": network, "head": head}) if tuned else head
        labels = labels_of(self.data.train).to(device)
        fit = Fit(trained, build(spec, head, network if tuned else None), batches, labels, logits, 0)
        latest = fit.run(spec, self.out, self.resume, said)
        with bf16:
            return (*self._predict(network, head), latest)

    @torch.no_grad()
    def _predict(self, network: Encoder, head: nn.Module) -> tuple[Tensor, Tensor]:
        self.said.events.emit("phase", phase="evaluating")
        network.eval()
        found, labels = [], labels_of(self.data.held_out)
        numbers = []
        for batch in in_order(self.data.held_out, 0, len(self.data.held_out), BATCH):
            self.said.checked(self.said.total)
            found.append(head(network(self.views.plain(batch))).float().cpu())
            numbers.append(batch.index)
        return torch.cat(found), labels[torch.cat(numbers)]

    def _features(self) -> tuple[FeatureStore, FeatureStore]:
        """Of both sides, on the device."""
        data, said, spec = self.data, self.said, self.spec
        per_epoch = 1 if getattr(spec, "solver", "sgd") == "lbfgs" else ceil(len(data.train) / spec.batch_size)
        said.total = len(data.train) + len(data.held_out) + per_epoch * spec.epochs
        said.begin("extracting", 0)
        about = {
            "encoder": self.manifest.sha256,
            "fingerprint": data.fingerprint,
            "images": [len(data.train), len(data.held_out)],
            "chosen": [spec.seed, spec.label_fraction, getattr(spec.data, "held_out", None)],
        }
        kept = Features(self.out / "features", [each / "features" for each in self.resume], about)
        embedder = Embedder.load(self.encoder)
        step = whole = 0

        def done(images: int) -> None:
            nonlocal step
            said.checked(whole)
            step += images
            said.done(step, images)

        def written(file: str, rows: int) -> None:
            nonlocal whole
            whole = step
            said.events.emit("checkpoint", file=f"features/{file}", epoch=0, step=step)

        sides = []
        for name, store in (("train", data.train), ("held_out", data.held_out)):
            values, labels = kept.take(name, store, embedder, written, done)
            if not len(values):
                raise DataError("/data", "no picture of one side gave a vector.", "Look at the unreadable files.")
            sides.append(FeatureStore(values.to(self.device), labels))
        self.learned_from = len(sides[0])
        return sides[0], sides[1]

    def _batches(self, store: Any) -> TrainBatches:
        workers = worker_count(self.spec.data.workers)
        return TrainBatches(store, self.spec.batch_size, self.spec.seed, drop_last=False, workers=workers)

    def _head(self, dim: int) -> nn.Linear:
        head = nn.Linear(dim, len(self.data.classes))
        nn.init.normal_(head.weight, std=HEAD_STD)
        nn.init.zeros_(head.bias)
        return head.to(self.device)

    def about(self, measured_on: int) -> dict[str, Any]:
        """What was measured, on what, and how."""
        spec = self.spec
        return {
            "format_version": 1,
            "kind": spec.kind,
            "protocol": spec.protocol,
            "settings": spec.settings(),
            "encoder": spec.encoder,
            "sha256": self.manifest.sha256,
            "fingerprint": self.data.fingerprint,
            "split": self.data.split,
            "seed": spec.seed,
            "label_fraction": spec.label_fraction,
            "last_epoch": self.iterations,
            "train_images": self.learned_from,
            "held_out_images": measured_on,
            "classes": list(self.data.classes),
        }

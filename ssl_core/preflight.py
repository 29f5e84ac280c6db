"""Look at a complete spec and its data before anything is queued. Knows no torch (timm/ names load it, to ask timm).

    check(spec, data_root) -> Preflight(facts, warnings, problems, estimate)

Problems forbid the run, and each names its field. Warnings are sentences for the person who asked for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypedDict

from ssl_core.data.errors import DataError
from ssl_core.data.labelled import with_labels
from ssl_core.data.machine import fits_in_memory, memory_bytes, store_bytes
from ssl_core.data.sources import SourceFacts, describe, index_folder, resolve_data, stored_size
from ssl_core.spec import (
    BYOLConfig,
    DistillConfig,
    FolderData,
    ImageNetData,
    MoCoConfig,
    MoCoV3Config,
    SimCLRConfig,
    SimSiamConfig,
    SwAVConfig,
    TrainSpec,
)
from ssl_core.spec.arch_names import TORCHVISION
from ssl_core.spec.base import nearest
from ssl_core.spec.encoder import PUBLISHED, is_encoder_id
from ssl_core.spec.patches import resizable_patch
from ssl_core.spec.training import AUTO_BATCH
from ssl_core.takeover import weights_file

FEW_IMAGES = 1000


class Problem(NamedTuple):
    """Why a run cannot start: the JSON pointer of the field, and a sentence with its value and what would be right."""

    pointer: str
    detail: str


class Estimate(TypedDict, total=False):
    """What the run would take."""

    images: int
    batch_size: int  # images a step; a guess where it is found when the run begins
    size: int  # side of the square the network sees, pixels
    stored_bytes: int  # all training images decoded
    in_memory: bool  # whether they are all kept so in memory
    disk_bytes: int  # of the cache: all images of a folder, decoded, those held out too; 0 where nothing is prepared
    memory_bytes: int  # decoded images that are held at once: all, or some batches
    steps_per_epoch: int
    steps_total: int


@dataclass(frozen=True)
class Preflight:
    """What was found. `facts` is None if the source could not be described; a problem says why."""

    facts: SourceFacts | None
    warnings: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    estimate: Estimate = field(default_factory=Estimate)

    @property
    def ok(self) -> bool:
        return not self.problems


def check(spec: TrainSpec, data_root: Path, facts: SourceFacts | None = None, files_root: Path | None = None) -> Preflight:
    """Every check that needs the data, or packages, but no network. `facts`: what `describe` said, if it was asked already;
    files_root: what files of weights and labels are relative to (default: the data root)."""
    files_root = files_root or data_root
    problems = [
        *_arch_problems(spec.encoder.arch, "/encoder/arch"),
        *_file_problems(spec.encoder.weights, files_root, "/encoder/weights"),
    ]
    problems += _teacher_problems(spec, files_root)
    if facts is None:
        try:
            facts = describe(spec.data, data_root)
        except DataError as error:
            return Preflight(None, problems=[*problems, Problem(error.pointer, f"{error.message} {error.hint}".strip())])
    problems += _size_problems(spec)
    problems += _data_problems(spec, facts) + _label_problems(spec, data_root, files_root)
    estimate = _estimate(spec, facts)
    warnings = [*facts.problems, *_data_warnings(spec, facts, estimate), *_method_warnings(spec, facts)]
    return Preflight(facts, warnings, problems, estimate)


def _arch_problems(arch: str, pointer: str) -> list[Problem]:
    if not arch.startswith("timm/"):
        return []
    try:
        import timm
    except ImportError:
        return [Problem(pointer, f"'{arch}' needs the package timm, which is not installed: pip install timm")]
    name = arch.removeprefix("timm/")
    if timm.is_model(name):
        return []
    return [Problem(pointer, f"timm has no model '{name}'; {_nearest_model(name, timm.list_models())}")]


def _teacher_problems(spec: TrainSpec, data_root: Path) -> list[Problem]:
    method = spec.method
    if not isinstance(method, DistillConfig):
        return []
    if method.teacher is None:
        why = "is required: an encoder (enc_…), or a file of weights below the data root, timm or torchvision with teacher_arch"
        return [Problem("/method/teacher", why)]
    arch = [] if method.teacher_arch is None else _arch_problems(method.teacher_arch, "/method/teacher_arch")
    return arch + _file_problems(method.teacher, data_root, "/method/teacher")


def _file_problems(weights: str | None, data_root: Path, pointer: str) -> list[Problem]:
    """Of a file of weights, as far as it can be told without reading it."""
    if weights is None or weights in PUBLISHED or is_encoder_id(weights):
        return []
    try:
        weights_file(data_root, weights, pointer)
    except DataError as error:
        return [Problem(error.pointer, str(error))]
    return []


# px; found by `ssl_core.encoders`, which is asked when training begins and knows all others too
_SMALLEST = {"alexnet": 63, "inception_v3": 75}


def _size_problems(spec: TrainSpec) -> list[Problem]:
    """Sizes and stems that the best-known restricted networks refuse, told before anything is queued."""
    arch, size = spec.encoder.arch, spec.data.size
    if spec.encoder.stem == "cifar" and arch.startswith(("vit_", "swin_", "convnext_", "vgg", "timm/vit_")):
        return [Problem("/encoder/stem", f"stem 'cifar' is for ResNets, and {arch} is none: use 'auto' or 'imagenet'")]
    if size is None:
        return []
    step = 32 if arch == "maxvit_t" else int(arch.rsplit("_", 1)[1]) if arch in TORCHVISION and arch.startswith("vit_") else 1
    if spec.augment.local_views.count:  # see `build_encoder(sizes="several")`
        step = resizable_patch(arch) or step
    if size % step:
        nearest_sizes = " or ".join(str(each) for each in (size // step * step, (size // step + 1) * step) if each)
        return [Problem("/data/size", f"{arch} needs a multiple of {step} px, not {size}: use {nearest_sizes}")]
    if size < _SMALLEST.get(arch, 1):
        return [Problem("/data/size", f"{arch} cannot take images of {size} px; the smallest that works is {_SMALLEST[arch]}")]
    return []


def _nearest_model(name: str, models: list[str]) -> str:
    """`nearest`, which compares with all 1,300 names only if none begins alike."""
    alike = [model for model in models if model[:3] == name[:3]]
    return nearest(name, alike or models)


def _label_problems(spec: TrainSpec, data_root: Path, files_root: Path) -> list[Problem]:
    """Of the file that evaluate.labels names, if it names one."""
    data, file = spec.data, spec.evaluate.labels
    if file == "folder":
        return []
    if not isinstance(data, FolderData | ImageNetData):
        return [Problem("/evaluate/labels", f"the images of '{data.source}' are no files that '{file}' could name: leave it out")]
    try:
        with_labels(index_folder(data, data_root)[0], file, files_root, getattr(data, "held_out", 0.1))
    except DataError as error:
        return [Problem(error.pointer, f"{error.message} {error.hint}".strip())]
    return []


def _data_problems(spec: TrainSpec, facts: SourceFacts) -> list[Problem]:
    problems = []
    downloads = getattr(spec.data, "download", False)
    if not facts.readable and not downloads:
        problems.append(
            Problem("/data/path", "none of the sampled images can be opened; they may be damaged or of another format.")
        )
    batch = spec.trainer.batch_size
    if batch != "auto" and batch > facts.images:
        most = f"use at most {facts.images:,}" if facts.images >= 2 else "training needs at least 2 images"
        problems.append(
            Problem("/trainer/batch_size", f"batch_size = {batch:,} is larger than the {facts.images:,} training images; {most}.")
        )
    return problems


def _data_warnings(spec: TrainSpec, facts: SourceFacts, estimate: Estimate) -> list[str]:
    warnings = []
    if facts.classes is None:
        warnings.append("There are no labels (no class folders): kNN and linear accuracy are not available; spread and rank are.")
    elif facts.held_out == 0:
        warnings.append("No labelled image is held out: kNN and linear accuracy are not available.")
    elif len(facts.classes) > facts.images / 2:
        warnings.append(
            f"{len(facts.classes):,} class folders for {facts.images:,} images: they may not be classes; see data.labels."
        )
    if facts.images < FEW_IMAGES:
        warnings.append(f"{facts.images:,} images are few to learn from: expect an encoder that knows little beyond them.")
    if facts.typical_size and estimate["size"] > 2 * min(facts.typical_size) and facts.source == "folder":
        width, height = facts.typical_size
        warnings.append(
            f"Images of typically {width}×{height} px are scaled up to {estimate['size']} px; a smaller data.size is faster."
        )
    if spec.data.in_memory == "always" and estimate["stored_bytes"] > 0.8 * memory_bytes():
        gigabytes, all_of_it = estimate["stored_bytes"] / 2**30, memory_bytes() / 2**30
        warnings.append(
            f"in_memory = 'always' takes {gigabytes:.1f} GiB of {all_of_it:.1f} GiB of memory; 'auto' maps them from the disk."
        )
    return warnings


def _method_warnings(spec: TrainSpec, facts: SourceFacts) -> list[str]:
    warnings = []
    method, batch = spec.method, _batch(spec, facts)
    if isinstance(method, MoCoConfig) and method.queue_size > facts.images:
        warnings.append(
            f"queue_size {method.queue_size:,} is larger than the {facts.images:,} images: "
            "an image's own past keys are among its negatives."
        )
    if isinstance(method, SimCLRConfig) and batch < 64:
        warnings.append(f"SimCLR takes its negatives from the batch, and batch_size {batch} gives few.")
    if isinstance(method, MoCoV3Config) and batch < 64:
        warnings.append(f"MoCo v3 takes its negatives from the batch, and batch_size {batch} gives few.")
    if isinstance(method, SwAVConfig) and (rows := batch + method.queue_size) < method.prototypes:
        warnings.append(
            f"SwAV shares {method.prototypes:,} prototypes out over {rows:,} rows (batch_size and queue_size): "
            "most of them get less than one image; use fewer prototypes, or a longer queue."
        )
    if method.branches.shuffle_bn and batch < 2 * method.branches.bn_splits:
        warnings.append(f"shuffle_bn splits a batch of {batch} into {method.branches.bn_splits} parts of less than 2 images.")
    if isinstance(method, BYOLConfig) and method.branches.predictor.layers == 0 and method.branches.target == "shared":
        warnings.append("BYOL without a predictor and without a target network collapses.")
    if isinstance(method, SimSiamConfig) and (method.branches.predictor.layers == 0 or method.branches.target == "shared"):
        warnings.append("SimSiam without a predictor, or with a shared target (no stop-gradient), collapses.")
    if spec.optim.warmup_epochs >= spec.trainer.max_epochs:
        warnings.append(
            f"warmup_epochs {spec.optim.warmup_epochs:g} leaves none of the {spec.trainer.max_epochs} epochs "
            "at the full learning rate."
        )
    return warnings


def _batch(spec: TrainSpec, facts: SourceFacts) -> int:
    """The batch size, or a guess at what `auto` will come to."""
    given = spec.trainer.batch_size
    return min(AUTO_BATCH, max(2, facts.images // 4)) if given == "auto" else given


def _estimate(spec: TrainSpec, facts: SourceFacts) -> Estimate:
    data = resolve_data(spec.data, facts)
    assert data.size is not None
    side, batch = stored_size(data), _batch(spec, facts)
    folder = isinstance(data, FolderData | ImageNetData)  # prepared on the disk, unless it is to be streamed
    kept = data.in_memory == "always" if folder else fits_in_memory(data.in_memory, facts.images, side)
    full, rest = divmod(facts.images, batch)
    steps = full + (not data.drop_last and rest >= 2)
    return Estimate(
        images=facts.images,
        batch_size=batch,
        size=data.size,
        stored_bytes=store_bytes(facts.images, side),
        in_memory=kept,
        disk_bytes=store_bytes(facts.images + facts.held_out, side) if folder and data.in_memory != "never" else 0,
        memory_bytes=store_bytes(facts.images if kept else min(facts.images, 4 * batch), side),
        steps_per_epoch=steps,
        steps_total=steps * spec.trainer.max_epochs,
    )

"""train(spec, out, …): the only place where the parts are put together."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch

from ssl_core import checkpoints
from ssl_core.assembly import method_of
from ssl_core.clock import StepClock
from ssl_core.compiling import Compiler
from ssl_core.data.batches import TrainBatches, worker_count
from ssl_core.data.cache import Cache
from ssl_core.data.load import LISTED, Data, load_data
from ssl_core.data.sources import describe, resolve_data
from ssl_core.data.store import FileStore, choose, on_device
from ssl_core.durable import write_atomically
from ssl_core.evaluation import EvaluationData
from ssl_core.events import Events
from ssl_core.export import export_encoder
from ssl_core.fitting import OutOfMemory, fitting_below, is_out_of_memory, with_batch_size
from ssl_core.hardware import choose_devices, choose_precision, multiplies_bf16
from ssl_core.inference.base import Images
from ssl_core.inference.prepare import PROJECTION_IMAGES
from ssl_core.loop import BetweenSteps, StoppedEarly
from ssl_core.manifest import read_manifest
from ssl_core.methods.base import Method
from ssl_core.parts.teacher import Teacher
from ssl_core.preparing import Progress, preparing
from ssl_core.preview import sheet_of
from ssl_core.ranks import launched, local_rank, rank
from ssl_core.recompute import kept
from ssl_core.spec import LocalViewsConfig, TrainSpec
from ssl_core.stream import Stream, ViewModule
from ssl_core.teaching import load_teacher
from ssl_core.weights import load_start


def train(
    spec: TrainSpec,
    out: Path,
    *,
    data_root: Path,
    files_root: Path | None = None,
    events: Events,
    cache: Cache | None = None,
    weights: Path | None = None,
    teacher: Path | None = None,
    resume: Sequence[Path] = (),
    asked_to_stop: Callable[[], bool] = lambda: False,
) -> Path:
    """Pretrain an encoder and export it; returns the folder with model.safetensors and manifest.json.

    resume: folders of earlier attempts at the same spec; the newest checkpoint in them (or in `out`) that verifies is
    continued, bit for bit on the CPU. asked_to_stop is polled between steps. cache: where decoded images are kept for later
    runs; without it they are kept in memory. weights: folder of the encoder that an id in `encoder.weights` stands for.
    teacher: folder of the encoder that an id in `method.teacher` stands for. files_root: what other files in the spec, of weights
    and labels, are relative to (default: the data root).
    Raises DataError (nothing to read), Stopped (after a checkpoint), Diverged, Collapsed, OutOfMemory, ValueError (devices,
    weights that do not fit), EncoderError (a damaged folder).
    """
    out.mkdir(parents=True, exist_ok=True)
    _quiet()
    files_root = files_root or data_root
    with preparing(events, asked_to_stop) as progress:
        spec = _resolved(spec, data_root)
        taught_by = load_teacher(spec, files_root, teacher)
        data = _prepare(spec, data_root, files_root, cache, events, progress)

    if rank() == 0:
        _draw_sheet(spec, data, out, events)
    if spec.trainer.precision == "bf16" and not multiplies_bf16():
        events.emit("warning", message="This machine has no bf16 arithmetic and emulates it, at a tenth of the speed of fp32.")
    spec = _with_batch_size(spec, len(data.train), out, resume, events, taught_by)
    started, parts = launched(), spec.trainer.accumulate
    accelerator, devices = choose_devices(spec.trainer.devices, spec.trainer.batch // parts, started)
    nodes = started.nodes if started else 1
    pl.seed_everything(spec.trainer.seed, verbose=False)
    assert spec.data.size and spec.data.mean and spec.data.std
    method = method_of(spec, lambda encoder: load_start(encoder, spec.encoder.weights, files_root, weights), taught_by)
    device = torch.device("cuda", local_rank()) if accelerator == "gpu" else torch.device("cpu")
    method.clock = StepClock(device)
    batches = TrainBatches(
        on_device(data.train, device),
        spec.trainer.batch,
        spec.trainer.seed,
        rank=rank(),
        world_size=devices * nodes,
        drop_last=spec.data.drop_last,
        workers=worker_count(spec.data.workers, devices),
    )
    found = checkpoints.newest([*(folder / "checkpoints" for folder in (out, *resume))])
    method.steps_per_epoch = len(batches)
    stream = Stream(batches, spec.trainer.max_epochs, found.step if found else 0, method.clock, parts)
    global_views = spec.augment.model_copy(update={"local_views": LocalViewsConfig()})
    evaluation = EvaluationData(data.bank, data.queries, spec.data.size, spec.data.mean, spec.data.std, global_views)
    encoders = [each for each in (method.branches.encoder, method.branches.target_encoder) if each is not None]
    compiler = Compiler(spec.trainer.compile, encoders, on_gpu=device.type == "cuda")
    between = BetweenSteps(spec, events, out, stream, evaluation, compiler, asked_to_stop)
    if found is not None:
        if rank() == 0:
            checkpoints.carry_best(found.path.parent, out / "checkpoints")
        events.emit("resumed", file=found.path.name, step=found.step)

    state = checkpoints.AtomicCheckpointIO().load_checkpoint(found.path) if found and _may_be_over(found, stream, spec) else None
    own = state["callbacks"][between.state_key] if state is not None else {}
    if state is not None and found is not None and (found.step >= stream.steps or own.get("over")):  # only the export was missing
        method.load_state_dict(state["state_dict"])
        between.load_state_dict(own)
    else:
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy="ddp" if devices * nodes > 1 else "auto",
            precision=choose_precision(spec.trainer.precision),
            max_epochs=1,  # one stream, see stream.py
            accumulate_grad_batches=parts,
            gradient_clip_val=spec.trainer.gradient_clip,
            callbacks=[between],
            plugins=[checkpoints.AtomicCheckpointIO()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            default_root_dir=out,
        )
        views = ViewModule(stream, spec.augment, spec.data.size, spec.data.mean, spec.data.std, spec.trainer.seed)
        too_much = None
        try:
            trainer.fit(method, datamodule=views, ckpt_path=found.path if found else None)
        except StoppedEarly:
            pass
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            too_much = str(error).splitlines()[0]
        if too_much is not None:  # outside of the handler, which holds what the failed step had made
            del trainer, views
            raise OutOfMemory(spec.trainer.batch, too_much, fitting_below(spec, device, taught_by))
        _tell_unreadable(data, batches, events)
    return _export(method, spec, data, between, out, events)


def _may_be_over(found: checkpoints.Found, stream: Stream, spec: TrainSpec) -> bool:
    """Whether the checkpoint could be that of the end of the run."""
    return found.step >= stream.steps or spec.trainer.early_stop.measure != "off"


def _with_batch_size(
    spec: TrainSpec, images: int, out: Path, resume: Sequence[Path], events: Events, teacher: Teacher | None
) -> TrainSpec:
    """See fitting.py. Ranks above 0 are started later, and read what the first has found."""
    if spec.trainer.batch_size != "auto":
        return spec
    accelerator, devices = choose_devices(spec.trainer.devices, 2**16)  # of GPUs a power of two
    device = torch.device("cuda", local_rank()) if accelerator == "gpu" else torch.device("cpu")
    spec, note = with_batch_size(spec, images, devices, device, out, resume, teacher)
    events.emit("note", message=note)
    return spec


def _resolved(spec: TrainSpec, data_root: Path) -> TrainSpec:
    """Sizes and normalisation filled in, for specs that did not come through `presets.complete`."""
    if not (spec.data.size and spec.data.mean and spec.data.std):
        facts = describe(spec.data, data_root)
        spec = spec.changed(data=resolve_data(spec.data, facts, has_gpu=torch.cuda.is_available()).model_dump())
    return spec.with_local_side()


def _prepare(
    spec: TrainSpec,
    data_root: Path,
    files_root: Path,
    cache: Cache | None,
    events: Events,
    progress: Progress,
) -> Data:
    data = load_data(
        spec.data,
        data_root,
        progress=progress,
        max_eval_images=spec.evaluate.max_images,
        seed=spec.trainer.seed,
        cache=cache,
        labels=spec.evaluate.labels,
        files_root=files_root,
    )
    if data.unreadable_count:
        first, reason = data.unreadable[0]
        what = f"{data.unreadable_count:,} of the images cannot be read and are left out; the first, {first}: {reason}"
        events.emit("warning", message=what)
    for note in data.notes:
        events.emit("warning", message=note)
    events.emit(
        "data",
        images=len(data.train),
        held_out=data.held_out,
        unreadable=data.unreadable_count,
        unreadable_examples=[list(each) for each in data.unreadable],
        classes=len(data.classes) if data.classes else None,
        fingerprint=data.fingerprint,
    )
    return data


def _draw_sheet(spec: TrainSpec, data: Data, out: Path, events: Events) -> None:
    """Pictures beside their views, for people. A run does not end because of it."""
    try:
        sheet = sheet_of(data.train, spec)
        write_atomically(out / "views.png", lambda file: file.write(sheet))
    except Exception as error:
        events.emit("warning", message=f"the sheet of views could not be drawn: {type(error).__name__}: {error}")


def _tell_unreadable(data: Data, batches: TrainBatches, events: Events) -> None:
    """Streaming meets its unreadable files as it goes; those that the `data` event could not know of are told at the end."""
    known = {path for path, _ in data.unreadable}
    paths = data.train.paths if isinstance(data.train, FileStore) else ()
    later = [(paths[number], reason) for number, reason in sorted(batches.unreadable.items()) if paths[number] not in known]
    if later:
        message = f"{len(later):,} more files could not be read and others took their places; the first is {later[0][0]}"
        events.emit(
            "warning", message=message, unreadable=len(later), unreadable_examples=[list(each) for each in later[:LISTED]]
        )


def _export(method: Method, spec: TrainSpec, data: Data, between: BetweenSteps, out: Path, events: Events) -> Path:
    folder = out / "encoder"
    if rank() != 0:
        return folder
    events.emit("phase", phase="exporting")
    facts = {"source": spec.data.source, "images": len(data.train), "fingerprint": data.fingerprint}
    with kept(method.serving_encoder()):
        folder = export_encoder(method.serving_encoder(), spec, facts, between.latest, out, _some_images(data, spec))
    for name, backend in read_manifest(folder).backends.items():
        if not backend.used:
            events.emit("warning", message=f"{name} will not be used to serve this encoder: {backend.reason}")
    events.emit("encoder", folder=folder.name)
    return folder


def _some_images(data: Data, spec: TrainSpec) -> Images | None:
    """Of the training part, as the network is served: uint8 (N, size, size, 3)."""
    assert spec.data.size
    some = choose(data.train, PROJECTION_IMAGES, spec.data.size, spec.trainer.seed, any_label=True)
    return None if some is None else some.images.permute(0, 2, 3, 1).contiguous().numpy()


def _quiet() -> None:
    """Lightning's advice is for people who write loops; ours is in the events."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")

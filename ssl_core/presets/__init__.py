"""How a user's partial spec becomes a complete one. Knows no torch.

Layers, later ones win: the recipe, what the data asks for, what the user wrote. What neither a paper nor the user fixed
(all of `auto`, which runs when nothing is named; a batch or queue larger than the data) follows the images and the machine.
Every such choice is a note, so that the job's owner reads what was chosen and why.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_core.data.sources import SourceFacts, resolve_data
from ssl_core.presets.auto import Choice, Situation, choose
from ssl_core.presets.recipe import Recipe
from ssl_core.presets.recipes import PRESETS, default
from ssl_core.spec import TrainSpec, nearest
from ssl_core.spec.training import AUTO_BATCH

# The recipe behind `"method": {"name": …}` when no preset is named.
_BY_METHOD = {
    "moco": "moco_v2",
    "simclr": "default",
    "byol": "byol",
    "vicreg": "vicreg",
    "simsiam": "simsiam",
    "barlow_twins": "barlow_twins",
    "nnclr": "nnclr",
    "swav": "swav",
    "dino": "dino",
    "mocov3": "moco_v3",
    "lejepa": "lejepa",
    "mae": "mae",
    "distill": "distill",
}

# Digits are not symmetric and have no colour: affine and contrast views, whatever the recipe would do to photographs.
# The standard stem is four times as fast as the CIFAR stem and enough for strokes that were 8×8 pixels.
_DIGITS: dict[str, Any] = {
    "encoder": {"stem": "imagenet"},
    "augment": {
        "crop_scale": [0.6, 1.0],
        "flip": 0.0,
        "degrees": 15.0,
        "translate": 0.1,
        "shear": 10.0,
        "jitter": 0.8,
        "brightness": 0.4,
        "contrast": 0.8,
        "saturation": 0.0,
        "hue": 0.0,
        "grayscale": 0.0,
        "blur": 0.0,
    },
}
_SMALL_IMAGE = 64  # px: a blur of σ up to 2 px leaves little of it (the reference turns it off for CIFAR-10, too)


class UnknownPreset(ValueError):
    """The name is not among PRESETS. `hint` names the nearest."""

    def __init__(self, name: str) -> None:
        self.hint = nearest(name, list(PRESETS))
        super().__init__(f"preset {name!r} is not known; {self.hint}")


@dataclass(frozen=True)
class Completed:
    """A complete spec, the name of the recipe under it, and what was chosen for the user, in words."""

    spec: TrainSpec
    recipe: str
    notes: list[str]


def complete(
    sections: Mapping[str, Any], preset: str | None = None, facts: SourceFacts | None = None, gpu: bool | None = None
) -> Completed:
    """Fill in what `sections` (a partial TrainSpec as JSON) leaves open.

    facts: what is known of the data; without it nothing is adapted to the number of images. gpu: whether the machine that
    trains has one; None looks at this machine.
    Raises UnknownPreset, and pydantic's ValidationError for everything that is wrong in the sections.
    """
    gpu = has_gpu() if gpu is None else gpu
    name, recipe = _recipe(sections, preset)
    user = {key: value for key, value in sections.items() if value is not None}
    why: list[str] = []
    if name == "auto" and facts is not None:
        choice = _chosen(recipe, user, facts, gpu)
        recipe, why = choice.recipe, _told(choice, user, facts)
    layer = recipe.layer()
    named = _method_name(user)
    if named is not None and named != layer["method"]["name"]:
        # Another method than the preset's: what is left open in it is that method's own recipe's, not the bare parts'.
        layer["method"] = recipe_of(named).method.model_dump()
    if recipe.data and "data" not in user:
        user["data"] = recipe.data
    spec = TrainSpec.model_validate(_merge(_data_layer(layer, user), user))
    if facts is None:
        return Completed(spec, name, [])
    spec = spec.changed(data=resolve_data(spec.data, facts, has_gpu=gpu).model_dump()).with_local_side()
    if (spec.data.size or 0) <= _SMALL_IMAGE and spec.data.source != "digits":
        spec = _without_blur(spec, user)
    done = _fit(spec, name, recipe, user, facts, gpu)
    return Completed(done.spec, name, [*why, *done.notes])


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA GPU, without importing torch."""
    return Path("/proc/driver/nvidia/gpus").exists() or Path("/dev/nvidia0").exists()


def recipe_of(method: str) -> Recipe:
    """The recipe of a method when no preset is named."""
    return PRESETS[_BY_METHOD[method]]()


def _recipe(sections: Mapping[str, Any], preset: str | None) -> tuple[str, Recipe]:
    if preset is not None:
        if preset not in PRESETS:
            raise UnknownPreset(preset)
        return preset, PRESETS[preset]()
    named = _method_name(sections)
    name = "auto" if named is None else _BY_METHOD[named]
    return name, PRESETS[name]()


def _chosen(recipe: Recipe, user: Mapping[str, Any], facts: SourceFacts, gpu: bool) -> Choice:
    """What `auto` takes, once the size of the images and the backbone are known. `recipe`: as a stand-in until then."""
    layer = recipe.layer()
    if (named := _method_name(user)) is not None:
        layer["method"] = recipe_of(named).method.model_dump()
    spec = TrainSpec.model_validate(_merge(_data_layer(layer, user), user))
    size = resolve_data(spec.data, facts, has_gpu=gpu).size
    assert size is not None
    situation = Situation(facts.images, size, spec.encoder.arch, spec.encoder.stem, gpu)
    return choose(situation, None if named is None else PRESETS[_BY_METHOD[named]])


def _told(choice: Choice, user: Mapping[str, Any], facts: SourceFacts) -> list[str]:
    """A note for each field that was chosen and neither the user nor the digits' own views have replaced."""
    chosen = choice.recipe.model_dump(mode="json")
    digits = facts.source == "digits"
    return [
        f"{section}.{field} = {chosen[section][field]}: {sentence}"
        for (section, field), sentence in choice.why.items()
        if not _given(user, section, field) and not (digits and section == "augment")
    ]


def _method_name(sections: Mapping[str, Any]) -> str | None:
    """The method that a user's sections name, if it is one of ours; what is wrong with it is told when it is validated."""
    method = sections.get("method")
    name = method.get("name") if isinstance(method, Mapping) else None
    return name if isinstance(name, str) and name in _BY_METHOD else None


def _data_layer(layer: dict[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    data = user.get("data")
    if isinstance(data, Mapping) and data.get("source") == "digits":
        return {**_merge(layer, {"encoder": _DIGITS["encoder"]}), "augment": _DIGITS["augment"]}
    return layer


def _merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge; a method of another name, or data of another source, replaces the whole section."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            other = any(tag in value and value[tag] != below.get(tag) for tag in _TAGS.get(key, ()))
            merged[key] = dict(value) if other else _merge(below, value)
        else:
            merged[key] = value
    return merged


_TAGS = {"method": ("name",), "data": ("source",)}


def _given(user: Mapping[str, Any], section: str, field: str) -> bool:
    part = user.get(section)
    return isinstance(part, Mapping) and field in part


def _without_blur(spec: TrainSpec, user: Mapping[str, Any]) -> TrainSpec:
    if _given(user, "augment", "blur") or _given(user, "augment", "second_view"):
        return spec
    second = {**spec.augment.model_dump()["second_view"], "blur": None}
    return spec.changed(augment={**spec.augment.model_dump(), "blur": 0.0, "second_view": second})


def _fit(spec: TrainSpec, name: str, recipe: Recipe, user: Mapping[str, Any], facts: SourceFacts, gpu: bool) -> Completed:
    notes: list[str] = []
    trainer, optim, method = spec.trainer.model_dump(), spec.optim.model_dump(), spec.method.model_dump()

    # Where the trainer is to find the number, the learning rate is for AUTO_BATCH images.
    batch = AUTO_BATCH if spec.trainer.batch_size == "auto" else spec.trainer.batch_size
    if not _given(user, "trainer", "batch_size") and batch > max(2, facts.images // 4):
        # At least four steps in an epoch, and a power of two.
        trainer["batch_size"] = batch = max(2, 2 ** int(math.log2(max(2, facts.images // 4))))
        notes.append(f"trainer.batch_size = {batch}: {spec.trainer.batch_size} is too large for {facts.images} images")
    if not _given(user, "optim", "lr") and batch != recipe.trainer.batch:
        factor = batch / recipe.trainer.batch
        optim["lr"] = optim["lr"] * factor
        optim["final_lr"] = min(optim["final_lr"] * factor, optim["lr"])
        notes.append(f"optim.lr = {optim['lr']:.4g}: the recipe's, scaled with the batch size")

    if name == "default" and not _given(user, "trainer", "max_epochs"):
        trainer["max_epochs"] = _default_epochs(facts.images, gpu)
        notes.append(
            f"trainer.max_epochs = {trainer['max_epochs']}: chosen for {facts.images} images on a {'GPU' if gpu else 'CPU'}"
        )
    if not _given(user, "optim", "warmup_epochs") and optim["warmup_epochs"] > trainer["max_epochs"] / 10:
        optim["warmup_epochs"] = trainer["max_epochs"] / 10
        notes.append(f"optim.warmup_epochs = {optim['warmup_epochs']:g}: a tenth of the run")

    if "queue_size" in method and not _given(user, "method", "queue_size") and method["queue_size"] > facts.images // 2:
        # A queue that holds the image itself many times over has false negatives: at most half of the images.
        method["queue_size"] = max(batch, 2 ** int(math.log2(max(2, facts.images // 2))))
        notes.append(f"method.queue_size = {method['queue_size']}: at most half of the {facts.images} images")
    return Completed(spec.changed(trainer=trainer, optim=optim, method=method), name, notes)


def _default_epochs(images: int, gpu: bool) -> int:
    """Enough epochs to show a CPU about 300,000 images (half an hour at 200 images/s), a GPU ten million; 5 to 800."""
    shown = 10_000_000 if gpu else 300_000
    return max(5, min(800, round(shown / max(1, images))))


__all__ = ["PRESETS", "Completed", "Recipe", "UnknownPreset", "complete", "default", "has_gpu", "recipe_of"]

"""The forms in which an encoder leaves, and for each a short program that loads it. Knows no torch.

The programs are part of the model card; tests run them as they are printed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from ssl_core.manifest import Manifest

Form = Literal["onnx", "torchscript", "safetensors", "timm", "hf"]
FORMS: tuple[Form, ...] = get_args(Form)
VERSION = 1  # of what an export holds: raised with every change to it, so that none of before is handed out
ABOUT_FILE, CARD_FILE, CURVES_FILE = "imprint.json", "README.md", "curves.svg"
ONNX_FILE, SCRIPT_FILE, WEIGHTS_FILE, CONFIG_FILE = "model.onnx", "model.pt", "model.safetensors", "config.json"
CODE_FILE = "modeling_imprint.py"


class NoSuchForm(ValueError):
    """This encoder cannot leave in that form; the message says why, and what to take instead."""


@dataclass(frozen=True)
class Recipe:
    """needs: what must be installed to load it. what: one sentence."""

    needs: str
    what: str


RECIPES: dict[Form, Recipe] = {
    "onnx": Recipe("onnxruntime numpy pillow", "A graph from pixels (uint8) to vectors, the normalisation in it."),
    "torchscript": Recipe("torch numpy pillow", "The same as a TorchScript archive: no code of ours is needed to run it."),
    "safetensors": Recipe(
        "torch torchvision safetensors numpy pillow",
        "The weights, named as in torchvision or timm, and the network's code in one file.",
    ),
    "timm": Recipe("timm", "Weights and configuration that `timm.create_model` loads."),
    "hf": Recipe("torch torchvision safetensors numpy pillow", "A folder as the Hugging Face hub has them."),
}


def is_timm(manifest: Manifest) -> bool:
    """Whether timm itself knows this very network."""
    return manifest.arch.startswith("timm/") and manifest.stem != "cifar"


def check_form(form: str, manifest: Manifest) -> Form:
    """The form, if this encoder can leave in it. Raises NoSuchForm."""
    if form not in FORMS:
        raise NoSuchForm(f"format = {form!r} is not known; valid: {', '.join(FORMS)}")
    if form == "timm" and not is_timm(manifest):
        why = "has another stem than timm's" if manifest.arch.startswith("timm/") else "is not one of timm's networks"
        raise NoSuchForm(f"format = 'timm': {manifest.arch} {why}; take safetensors, hf, onnx or torchscript")
    return form


def needs(form: Form, manifest: Manifest) -> str:
    """Packages that the program of this form imports."""
    return RECIPES["timm"].needs if form == "hf" and is_timm(manifest) else RECIPES[form].needs + _timm_too(form, manifest)


def _timm_too(form: Form, manifest: Manifest) -> str:
    return " timm" if form in ("safetensors", "hf") and manifest.arch.startswith("timm/") else ""


def program(form: Form, manifest: Manifest) -> str:
    """About ten lines of Python that turn picture.jpg into a vector, run in the folder of the export."""
    if form in ("timm", "hf") and is_timm(manifest):
        return _TIMM
    if form in ("safetensors", "hf"):
        return _CODE
    preprocessing = manifest.preprocessing
    short, size = preprocessing.resize.short_side, preprocessing.size
    inset = (short - size) // 2
    box = f"({inset}, {inset}, {inset + size}, {inset + size})"
    return (_ONNX if form == "onnx" else _SCRIPT).format(short=short, box=box, size=size, dim=manifest.dim)


_ONNX = """\
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
square = ImageOps.fit(picture, ({short}, {short}), Image.Resampling.BILINEAR).crop({box})
pixels = np.asarray(square)[None]  # uint8 (1, {size}, {size}, 3)
session = onnxruntime.InferenceSession("model.onnx")
(vectors,) = session.run(["vectors"], {{"images": pixels}})  # float32 (1, {dim})
print(vectors.shape)
"""

_SCRIPT = """\
import numpy as np
import torch
from PIL import Image, ImageOps

picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGB")
square = ImageOps.fit(picture, ({short}, {short}), Image.Resampling.BILINEAR).crop({box})
pixels = torch.from_numpy(np.array(square))[None]  # uint8 (1, {size}, {size}, 3)
with torch.inference_mode():
    vectors = torch.jit.load("model.pt")(pixels)  # float32 (1, {dim})
print(tuple(vectors.shape))
"""

_CODE = """\
import torch
from PIL import Image

from modeling_imprint import load, prepare  # the file beside this one

network, preprocessing = load(".")
pixels = prepare(Image.open("picture.jpg"), preprocessing)  # float32 (1, 3, size, size)
with torch.inference_mode():
    vectors = network(pixels)
print(tuple(vectors.shape))
"""

_TIMM = """\
import timm
import torch
from PIL import Image

network = timm.create_model("local-dir:.", pretrained=True, num_classes=0).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
pixels = transform(Image.open("picture.jpg").convert("RGB"))[None]
with torch.inference_mode():
    vectors = network(pixels)
print(tuple(vectors.shape))
"""

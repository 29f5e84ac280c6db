"""A writer and a reader for each form: what is written is read back as its users will read it, and then compared.

FORMATS[form](encoder, manifest, folder) -> Run      writes into `folder`; gives a function from images to vectors
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import safetensors.torch
import torch
from torch import Tensor, nn

from ssl_core.encoders import Encoder
from ssl_core.export import weights
from ssl_core.inference.base import Images, Vectors
from ssl_core.inference.network import ServedNetwork
from ssl_core.manifest import Manifest
from ssl_core.portable import modeling_imprint
from ssl_core.portable.check import Run
from ssl_core.portable.forms import CODE_FILE, CONFIG_FILE, ONNX_FILE, SCRIPT_FILE, WEIGHTS_FILE, Form, NoSuchForm, is_timm

ONNX_OPSET = 17  # of 2022: read by every runtime of today


class PixelsToVectors(nn.Module):
    """uint8 (N, size, size, 3) -> float32 (N, dim): what a graph is made of, the normalisation in it."""

    def __init__(self, encoder: Encoder, manifest: Manifest) -> None:
        super().__init__()
        preprocessing = manifest.preprocessing
        self.network = ServedNetwork(encoder, preprocessing.mean, preprocessing.std)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.network.vectors(images)


def encoder_run(encoder: Encoder, manifest: Manifest) -> Run:
    """fp32 torch: what every form is compared with."""
    network = PixelsToVectors(encoder, manifest)
    return lambda images: _vectors(network, torch.from_numpy(images))


def _onnx(encoder: Encoder, manifest: Manifest, folder: Path) -> Run:
    """Raises NoSuchForm where onnx or onnxruntime is not installed, or the network cannot be written."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise NoSuchForm(f"format = 'onnx' needs the package {error.name}, which is not installed where this runs") from error
    path, names = folder / ONNX_FILE, {"images": {0: "n"}, "vectors": {0: "n"}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, of networks that look at shapes; the check tells whether that matters
        torch.onnx.export(
            PixelsToVectors(encoder, manifest), (_example(manifest),), path, dynamo=False, opset_version=ONNX_OPSET,
            input_names=["images"], output_names=["vectors"], dynamic_axes=names,
        )  # fmt: skip
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"imprint.preprocessing": manifest.preprocessing.model_dump_json()})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: cast(Vectors, session.run(["vectors"], {"images": images})[0])


def _torchscript(encoder: Encoder, manifest: Manifest, folder: Path) -> Run:
    path = folder / SCRIPT_FILE
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # as above, and that TorchScript is not what torch goes on with
        traced = torch.jit.trace(PixelsToVectors(encoder, manifest), _example(manifest))  # type: ignore[no-untyped-call]
        extra = {"preprocessing.json": manifest.preprocessing.model_dump_json()}
        torch.jit.save(traced, str(path), _extra_files=extra)
        network = torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    return lambda images: _vectors(network, torch.from_numpy(images))


def _safetensors(encoder: Encoder, manifest: Manifest, folder: Path) -> Run:
    """Weights named as in torchvision or timm, and the code beside them."""
    return _with_code(encoder, manifest, folder, "", {})


def _hf(encoder: Encoder, manifest: Manifest, folder: Path) -> Run:
    """timm's networks as timm's own on the hub, which transformers knows; others with their code (`trust_remote_code`)."""
    if is_timm(manifest):
        return _timm(encoder, manifest, folder)
    known = {"AutoConfig": f"{Path(CODE_FILE).stem}.ImprintConfig", "AutoModel": f"{Path(CODE_FILE).stem}.ImprintModel"}
    return _with_code(encoder, manifest, folder, "backbone.", {"architectures": ["ImprintModel"], "auto_map": known})


def _with_code(encoder: Encoder, manifest: Manifest, folder: Path, prefix: str, more: dict[str, Any]) -> Run:
    named = {prefix + name: value for name, value in weights(encoder).items()}
    safetensors.torch.save_file(named, folder / WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / CODE_FILE).write_text(inspect.getsource(modeling_imprint), encoding="utf-8")
    preprocessing = manifest.preprocessing.model_dump(mode="json")
    network = {"arch": manifest.arch, "size": manifest.size, "stem": manifest.stem, "dim": manifest.dim}
    config = {"model_type": "imprint", **more, **network, "preprocessing": preprocessing}
    _write_json(folder / CONFIG_FILE, config)
    found, wanted = _code_of(folder / CODE_FILE).load(str(folder))
    return lambda images: _vectors(found, _normalised(images, wanted))


def _timm(encoder: Encoder, manifest: Manifest, folder: Path) -> Run:
    """config.json as timm writes it for the hub; read back as timm reads it."""
    import timm

    name = manifest.arch.removeprefix("timm/")
    safetensors.torch.save_file(weights(encoder), folder / WEIGHTS_FILE, metadata={"format": "pt"})
    _write_json(folder / CONFIG_FILE, _timm_config(name, encoder, manifest))
    network = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    wanted = manifest.preprocessing.model_dump()
    return lambda images: _vectors(network, _normalised(images, wanted))


def _timm_config(name: str, encoder: Encoder, manifest: Manifest) -> dict[str, Any]:
    preprocessing, backbone = manifest.preprocessing, cast(Any, encoder.backbone)
    own: dict[str, Any] = {}  # num_classes must not be in it: transformers gives that itself
    if hasattr(getattr(backbone, "patch_embed", None), "img_size"):
        own["img_size"] = manifest.size  # how many places its positional embeddings have
    size = [3, manifest.size, manifest.size]
    return {
        "architecture": name,
        "num_classes": 0,
        "num_features": manifest.dim,
        "model_args": own,
        "pretrained_cfg": {
            "num_classes": 0,
            "input_size": size,
            "fixed_input_size": "img_size" in own,
            "interpolation": preprocessing.resize.interpolation,
            "crop_pct": manifest.size / preprocessing.resize.short_side,
            "crop_mode": "center",
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            **{field: backbone.pretrained_cfg[field] for field in ("first_conv", "classifier", "pool_size")
               if backbone.pretrained_cfg.get(field) is not None},
        },
    }  # fmt: skip


def _example(manifest: Manifest) -> Tensor:
    return torch.zeros(2, manifest.size, manifest.size, 3, dtype=torch.uint8)  # two: one could be folded into the graph


def _normalised(images: Images, preprocessing: dict[str, Any]) -> Tensor:
    mean, std = (torch.tensor(preprocessing[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std


@torch.inference_mode()
def _vectors(network: Any, images: Tensor) -> Vectors:
    return cast(Vectors, network(images).float().numpy())


def _code_of(path: Path) -> Any:
    """The file as a module of its own: what is checked is what goes out. Not imported, which would leave bytecode beside it."""
    module = ModuleType("modeling_imprint_written")
    exec(compile(path.read_text(encoding="utf-8"), path, "exec"), module.__dict__)
    return module


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


FORMATS: dict[Form, Callable[[Encoder, Manifest, Path], Run]] = {
    "onnx": _onnx,
    "torchscript": _torchscript,
    "safetensors": _safetensors,
    "timm": _timm,
    "hf": _hf,
}

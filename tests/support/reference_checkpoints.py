"""Checkpoints as the reference implementation leaves them, made here: its hyper-parameters, its names of networks."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
import torchvision
from lightning_fabric.utilities.data import AttributeDict
from pytorch_lightning.callbacks import ModelCheckpoint

from ssl_core.ws_resnet import ws_resnet

NEW, OLD = b"clightning_fabric.utilities.data\nAttributeDict\n", b"cpytorch_lightning.utilities.parsing\nAttributeDict\n"
HYPER = {
    "encoder_arch": "resnet18", "shuffle_batch_norm": False, "embedding_dim": 512, "dataset_name": "stl10", "batch_size": 256,
    "K": 65536, "dim": 128, "m": 0.996, "T": 0.2, "loss_type": "ip", "use_negative_examples_from_batch": False,
    "use_negative_examples_from_queue": False, "use_lagging_model": True, "use_vicreg_loss": False, "max_epochs": 320,
    "exclude_matching_parameters_from_lars": [".bias", ".bn"], "mlp_normalization": None,
}  # fmt: skip


def network(arch: str, seed: int, stem: str = "imagenet") -> torch.nn.Module:
    """As there: torchvision's, or the one with standardised weights, with the identity as its head."""
    torch.manual_seed(seed)
    model = ws_resnet(arch) if arch.startswith("ws_") else torchvision.models.get_model(arch, weights=None)
    if stem == "cifar":
        model.conv1 = torch.nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=2, bias=False)
        model.maxpool = torch.nn.Identity()
    model.fc = torch.nn.Identity()
    return model.eval()


def contents(arch: str = "resnet18", stem: str = "imagenet", **hyper: Any) -> tuple[dict[str, Any], torch.nn.Module]:
    """What its checkpoints hold, and the network that learned."""
    online, average = network(arch, 0, stem), network(arch, 1, stem)
    state = {f"model.{name}": value for name, value in online.state_dict().items()}
    state |= {f"lagging_model.{name}": value for name, value in average.state_dict().items()}
    state |= {
        "projection_model.net.0.weight": torch.randn(4, 4),
        "queue": torch.randn(128, 8),
        "queue_ptr": torch.zeros(1).long(),
    }
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
    content = {
        "epoch": 319, "global_step": 1000, "pytorch-lightning_version": "1.1.8", "state_dict": state,
        "callbacks": {ModelCheckpoint: {"best_model_path": "x"}}, "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [], "hparams_name": "hparams",
        "hyper_parameters": AttributeDict({**HYPER, "encoder_arch": arch, **hyper}),
    }  # fmt: skip
    return content, online


def save(content: dict[str, Any], path: Path) -> Path:
    """With torch.save, and then the names that things had in Lightning 1."""
    torch.save(content, path.with_suffix(".new"))
    with zipfile.ZipFile(path.with_suffix(".new")) as new, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as old:
        for name in new.namelist():
            data = new.read(name)
            if name.endswith("data.pkl"):
                assert NEW in data
                data = data.replace(NEW, OLD)
            old.writestr(name, data)
    path.with_suffix(".new").unlink()
    return path

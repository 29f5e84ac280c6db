"""Whole pipelines of others, from JPEG files in class folders to optimiser steps, on ResNets. All fp32, NCHW.

    python benchmarks/peers.py '{"peer": "lightly", "method": "moco_v2", …}'     prints {"images_per_second": …}

reference           the reference implementation as it stands, its stem included: DataLoader workers, PIL transforms, optimiser
                    and moving average one parameter after the other
same architecture   the same with the encoder that Imprint trains
lightly             lightly's transforms, dataset, heads, losses and moving average, put together as in its documentation, with
                    the encoder that Imprint trains

Left out in the reference's favour: Lightning, what it logs, and BYOL's LARS, a loop there that waits for the device at each
parameter; SGD stands in.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torchvision
from measure import answer, images_per_second
from reference import ReferenceImages, reference_ema, reference_loader, reference_stem, reference_transform
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

PEERS = ("reference", "same architecture", "lightly")
_SMALL = 64  # px: up to here there is no blur, and the reference has its CIFAR stem
_MEMORY = 96  # px: up to here the reference's data sets, CIFAR-10 and STL-10, are arrays in memory; ImageNet is files
HIDDEN, OUT = 512, 128  # ModelParams: mlp_hidden_dim, dim

Step = Callable[[Any], None]


def head(layers: int, in_dim: int, norm: bool) -> nn.Module:
    """The reference's MLP for `layers` of 0 or 2."""
    if layers == 0:
        return nn.Identity()
    middle = [nn.BatchNorm1d(HIDDEN)] if norm else []
    return nn.Sequential(nn.Linear(in_dim, HIDDEN), *middle, nn.ReLU(), nn.Linear(HIDDEN, OUT))


class Reference:
    """One step of the reference (moco.py `training_step`), with the values of its ModelParams, SimCLRParams and BYOLParams.

    Its SimCLR is no shared network: keys come from a copy with m = 0, without gradient, in both directions.
    """

    MOMENTUM: dict[str, float] = {"moco_v2": 0.996, "simclr": 0.0, "byol": 0.996}  # noqa: RUF012

    def __init__(self, method: str, encoder: nn.Module, dim: int, queue_size: int, device: torch.device) -> None:
        byol = method == "byol"
        self.method = method
        self.online = nn.Sequential(encoder, head(2, dim, norm=byol)).to(device)
        self.lagging = copy.deepcopy(self.online).requires_grad_(False)
        self.predictor = head(2 if byol else 0, OUT, norm=True).to(device)
        self.queue = F.normalize(torch.randn(OUT, queue_size, device=device), dim=0) if method == "moco_v2" else None
        self.at = 0
        parameters = [*self.online.parameters(), *self.predictor.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=0.06, momentum=0.9, weight_decay=1e-4, foreach=False)
        self.device = device

    def __call__(self, batch: tuple[list[Tensor], Tensor]) -> None:
        view_a, view_b = (view.to(self.device) for view in batch[0])
        loss, keys = self._loss(view_a, view_b)
        if self.method != "moco_v2":  # use_both_augmentations_as_queries
            loss = loss + self._loss(view_b, view_a)[0]
        reference_ema(self.lagging, self.online, self.MOMENTUM[self.method])
        if self.queue is not None:
            self.queue[:, self.at : self.at + len(keys)] = keys.T[:, : self.queue.shape[1] - self.at]
            self.at = (self.at + len(keys)) % self.queue.shape[1]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _loss(self, query_view: Tensor, key_view: Tensor) -> tuple[Tensor, Tensor]:
        query = F.normalize(self.predictor(self.online(query_view)), dim=1)
        with torch.no_grad():
            keys = F.normalize(self.lagging(key_view), dim=1)
        positive = (query * keys).sum(dim=1, keepdim=True)
        if self.method == "byol":
            return 2 * (1 - positive).mean(), keys
        labels = torch.zeros(len(query), dtype=torch.long, device=self.device)
        if self.queue is None:
            return F.cross_entropy(query @ keys.T / 0.2, labels + torch.arange(len(query), device=self.device)), keys
        logits = torch.cat([positive, query @ self.queue.clone()], dim=1)
        return F.cross_entropy(logits / 0.2, labels), keys


class Lightly:
    """One step of lightly's documented examples (MoCo, SimCLR, BYOL in plain PyTorch), with the widths of the recipe's heads."""

    def __init__(self, method: str, encoder: nn.Module, dim: int, queue_size: int, device: torch.device) -> None:
        from lightly.loss import NegativeCosineSimilarity, NTXentLoss
        from lightly.models.modules import BYOLPredictionHead, BYOLProjectionHead, MoCoProjectionHead, SimCLRProjectionHead
        from lightly.models.utils import deactivate_requires_grad, update_momentum

        projections = {"moco_v2": MoCoProjectionHead, "simclr": SimCLRProjectionHead, "byol": BYOLProjectionHead}
        self.method, self.device, self.update = method, device, update_momentum
        self.online = nn.Sequential(encoder, projections[method](dim, HIDDEN, OUT)).to(device)
        self.target = copy.deepcopy(self.online)
        deactivate_requires_grad(self.target)
        self.predictor = (BYOLPredictionHead(OUT, HIDDEN, OUT) if method == "byol" else nn.Identity()).to(device)
        self.criterion: nn.Module = NTXentLoss(temperature=0.2, memory_bank_size=(queue_size, OUT) if method == "moco_v2" else 0)
        if method == "byol":
            self.criterion = NegativeCosineSimilarity()
        self.criterion = self.criterion.to(device)
        self.optimizer = torch.optim.SGD([*self.online.parameters(), *self.predictor.parameters()], lr=0.06)

    def __call__(self, batch: Any) -> None:
        view_a, view_b = (view.to(self.device) for view in batch[0])
        if self.method != "simclr":
            self.update(self.online, self.target, m=0.996)
        loss = self._loss(view_a, view_b)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _loss(self, view_a: Tensor, view_b: Tensor) -> Tensor:
        loss: Tensor
        if self.method == "simclr":
            loss = self.criterion(self.online(view_a), self.online(view_b))
        elif self.method == "moco_v2":
            loss = self.criterion(self.online(view_a), self.target(view_b).detach())
        else:
            predicted_a, predicted_b = (self.predictor(self.online(view)) for view in (view_a, view_b))
            target_a, target_b = (self.target(view).detach() for view in (view_a, view_b))
            loss = 0.5 * (self.criterion(predicted_a, target_b) + self.criterion(predicted_b, target_a))
        return loss


def lightly_loader(method: str, folder: Path, size: int, batch: int, workers: int) -> DataLoader[Any]:
    """lightly's transform of the method's name; without blur for small images, as its documentation does for CIFAR-10."""
    from lightly.data import LightlyDataset
    from lightly.transforms import BYOLTransform, MoCoV2Transform, SimCLRTransform
    from lightly.transforms.byol_transform import BYOLView1Transform, BYOLView2Transform

    options: dict[str, Any] = {"input_size": size, **({"gaussian_blur": 0.0} if size <= _SMALL else {})}
    transforms: dict[str, Callable[[], Any]] = {
        "moco_v2": lambda: MoCoV2Transform(**options),
        "simclr": lambda: SimCLRTransform(**options),
        "byol": lambda: BYOLTransform(BYOLView1Transform(**options), BYOLView2Transform(**options)),
    }
    dataset = LightlyDataset(str(folder), transform=transforms[method]())
    return DataLoader(dataset, batch_size=batch, shuffle=True, drop_last=True, num_workers=workers)


def their_encoder(arch: str, size: int) -> tuple[nn.Module, int]:
    """The reference's: torchvision's ResNet, up to 64 px with its CIFAR stem; and the width of its features."""
    resnet = torchvision.models.get_model(arch, weights=None)
    dim = int(resnet.fc.in_features)
    resnet.fc = nn.Identity()
    return (reference_stem(resnet) if size <= _SMALL else resnet), dim


def our_encoder(arch: str, size: int, stem: Any) -> tuple[nn.Module, int]:
    """The encoder that Imprint trains."""
    from ssl_core.encoders import build_encoder

    encoder = build_encoder(arch, size, stem)
    return encoder, encoder.dim


def endless(loader: DataLoader[Any]) -> Iterator[Any]:
    """Epoch after epoch."""
    while True:
        yield from loader


def measure(
    peer: str,
    method: str,
    arch: str,
    stem: str,
    size: int,
    folder: str,
    batch: int,
    queue_size: int,
    workers: int,
    seed: int,
    seconds: float,
    steps: int | None = None,
) -> dict[str, Any]:
    """Images/s of a peer."""
    torch.manual_seed(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder, dim = their_encoder(arch, size) if peer == "reference" else our_encoder(arch, size, stem)
    if peer == "lightly":
        step: Step = Lightly(method, encoder, dim, queue_size, device)
        loader = lightly_loader(method, Path(folder), size, batch, workers)
    else:
        step = Reference(method, encoder, dim, queue_size, device)
        transform = reference_transform(size, blur=size > _SMALL)
        images = ReferenceImages(Path(folder), transform, read="arrays" if size <= _MEMORY else "files")
        loader = reference_loader(images, batch, workers)
    if len(loader) == 0:
        raise ValueError(f"batch = {batch} is larger than the images in {folder}: take a smaller batch, or more images")
    return {"images_per_second": images_per_second(step, endless(loader), batch, seconds, steps)}


if __name__ == "__main__":
    answer(measure)

"""A tiny encoder, a batch of random views, a builder of methods on them, and the reference's losses worked out by hand."""

import warnings
from typing import NamedTuple

import pytest
import pytorch_lightning as pl
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ssl_core.methods import build_method
from ssl_core.parts.teacher import Teacher
from ssl_core.spec import OptimConfig

DIM = 16


class Batch(NamedTuple):
    """As ssl_core.data.batch.Batch; a method asks no more of it than this."""

    views: tuple[Tensor, Tensor]
    index: Tensor


def _encoder(norm: bool = True) -> nn.Module:
    norms = [nn.BatchNorm2d(DIM)] if norm else []
    return nn.Sequential(nn.Conv2d(3, DIM, 3), *norms, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _transformer() -> nn.Module:
    """For images of 6×6 pixels: nine patches, one block."""
    return VisionTransformer(6, 2, num_classes=0, embed_dim=DIM, depth=1, num_heads=2, global_pool="avg", fc_norm=False)


@pytest.fixture
def make_encoder():
    """make_encoder(norm=True): conv, batch norm, ReLU, pool → 16 features."""
    return _encoder


@pytest.fixture
def make_batch():
    """make_batch(n=8, seed=1): two independent random views of n images of 6×6 pixels."""

    def make(n: int = 8, seed: int = 1) -> Batch:
        generator = torch.Generator().manual_seed(seed)
        a, b = (torch.randn(n, 3, 6, 6, generator=generator) for _ in range(2))
        return Batch((a, b), torch.arange(n))

    return make


@pytest.fixture
def build():
    """build(config, norm=True, seed=0, optim=…): the method on a tiny encoder, with weights drawn by the seed.

    MAE's is a vision transformer; the teacher of `distill` is another one, always the same.
    """

    def make(config, norm: bool = True, seed: int = 0, optim: OptimConfig | None = None):
        torch.manual_seed(99)
        teacher = Teacher(_encoder(), DIM) if config.name == "distill" else None
        torch.manual_seed(seed)
        encoder = _transformer() if config.name == "mae" else _encoder(norm)
        return build_method(encoder, DIM, config, optim or OptimConfig(), teacher)

    return make


@pytest.fixture
def loss_by_hand():
    """loss_by_hand(flags, networks, queue, views): the first step's loss by the reference's flags, all of them given.

    networks: float64 copies of encoder, projector, predictor; queue: (K, D) or None. Plain tensor algebra, written from the
    formulas and sharing no code with ssl_core.
    """
    return _loss_by_hand


def _mlp_by_hand(x, head, norm, standardised):
    """Linear, norm and ReLU on the parameters of `head`, a sequence of modules; its last layer is bare."""
    stages = [module for module in head if not isinstance(module, torch.nn.ReLU)]
    hidden = len(stages) > 1
    while stages:
        linear = stages.pop(0)
        weight = linear.weight
        if stages and standardised:
            spread = ((weight - weight.mean(1, keepdim=True)) ** 2).sum(1, keepdim=True) / (weight.shape[1] - 1)
            weight = (weight - weight.mean(1, keepdim=True)) / (spread.sqrt() + 1e-5)
        x = x @ weight.T + linear.bias
        if not stages:
            return x
        if hidden and norm is not None:
            x = _norm_by_hand(x, norm) * stages[0].weight + stages[0].bias
            stages.pop(0)
        x = x * (x > 0)
    return x


def _norm_by_hand(x, norm):
    def standard(values, dim):
        mean = values.mean(dim, keepdim=True)
        variance = ((values - mean) ** 2).mean(dim, keepdim=True)
        return (values - mean) / (variance + 1e-5).sqrt()

    if norm == "bn":
        return standard(x, 0)
    if norm == "ln":
        return standard(x, 1)
    if norm == "gn":
        return standard(x.view(len(x), 32, -1), 2).view(len(x), -1)
    mean = x.mean(0)  # batch renormalisation, whose first steps have r = 1 and d = 0
    return (x - mean) / (((x - mean) ** 2).mean(0).sqrt() + 1e-3)


def _loss_by_hand(flags, networks, queue, views):
    encoder, projector, predictor = networks
    same = flags["prediction_mlp_normalization"] == "same"
    norm = flags["mlp_normalization"]
    predictor_norm = norm if same else flags["prediction_mlp_normalization"]
    standardised = flags["use_mlp_weight_standardization"]

    def project(view):
        return _mlp_by_hand(encoder(view), projector, norm, standardised)

    def predict(view):
        return _mlp_by_hand(project(view), predictor, predictor_norm, standardised)

    def sphere(z):
        return z / z.norm(dim=1, keepdim=True) if flags["use_unit_sphere_projection"] else z

    def one_way(a, b):
        q = sphere(predict(a))
        k = sphere(project(b) if flags["use_lagging_model"] else predict(b))  # at the first step, target = online
        return _vicreg_by_hand(flags, q, k) if flags["use_vicreg_loss"] else _contrast_by_hand(flags, q, k, queue)

    loss = one_way(*views)
    if flags["use_both_augmentations_as_queries"] and not flags["use_vicreg_loss"]:
        loss = loss + one_way(*reversed(views))
    return loss * flags["loss_constant_factor"]


def _contrast_by_hand(flags, q, k, queue):
    """Row by row: the positive's similarity is a number, the negatives' are a vector."""
    total = 0.0
    for i, query in enumerate(q):
        positive = query @ k[i]
        if flags["use_negative_examples_from_batch"]:
            negative, count = k[torch.arange(len(k)) != i] @ query, len(k)
        elif flags["use_negative_examples_from_queue"]:
            negative, count = queue @ query, len(queue)
        else:
            negative, count = q.new_zeros(0), 0
        if flags["loss_type"] == "ip":
            total += (1 - positive) + (1 + negative).sum()
            continue
        positive, negative = positive / flags["T"], negative / flags["T"]
        if flags["loss_type"] == "bce":
            total += -torch.log(1 / (1 + torch.exp(-positive))) - torch.log(1 - 1 / (1 + torch.exp(-negative))).sum()
        else:
            factor = flags["eqco_alpha"] / count if flags["use_eqco_margin"] else 1.0
            total += -torch.log(positive.exp() / (positive.exp() + factor * negative.exp().sum()))
    return total / len(q)


def _vicreg_by_hand(flags, a, b):
    n, d = a.shape
    loss = flags["invariance_loss_weight"] * ((a - b) ** 2).sum() / (n * d)
    for z in (a, b):
        centred = z - z.mean(0)
        covariance = centred.T @ centred / (n - 1)
        deviation = (covariance.diagonal() + flags["variance_loss_epsilon"]).sqrt()
        loss = loss + flags["variance_loss_weight"] * (1 - deviation).clamp(min=0).sum() / d
        squares = (covariance - torch.diag(covariance.diagonal())) ** 2
        loss = loss + flags["covariance_loss_weight"] * squares.sum() / d
    return loss


@pytest.fixture
def fit(make_batch):
    """fit(method, epochs, after_epoch): a plain Trainer on four batches an epoch; after_epoch(method) is called after each."""

    def run(method, epochs, after_epoch):
        class After(pl.Callback):
            def on_train_epoch_end(self, trainer, pl_module):
                after_epoch(pl_module)

        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            max_epochs=epochs,
            callbacks=[After()],
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="pytorch_lightning")  # its advice about workers and loggers
            trainer.fit(method, DataLoader([make_batch(seed=seed) for seed in range(4)], batch_size=None))

    return run

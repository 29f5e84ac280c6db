"""The optimiser, the loop and the evaluation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ssl_core.spec.base import Config
from ssl_core.spec.data import relative


class OptimConfig(Config):
    """SGD, LARS or AdamW with warm-up and a schedule that runs per step."""

    name: Literal["sgd", "lars", "adamw"] = Field("sgd", description="adamw is what vision transformers are trained with.")
    lr: float = Field(0.06, gt=0, le=1000, description="Peak learning rate for the whole batch; not rescaled by the batch size.")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd and lars; the first beta of adamw.")
    beta2: float = Field(0.999, ge=0, lt=1, description="Of adamw: the decay of the mean squared gradient.")
    weight_decay: float = Field(5e-4, ge=0, le=1, description="Added to the gradient; of adamw, taken off the weights.")
    final_weight_decay: float | None = Field(
        None, ge=0, le=1, description="Weight decay of the last step, reached along half a cosine per step; null: it is constant."
    )
    exclude: Literal["none", "norm_and_bias"] = Field(
        "norm_and_bias", description="norm_and_bias: parameters of one dimension get neither weight decay nor LARS scaling."
    )
    lars_eta: float = Field(1e-3, gt=0, description="LARS trust coefficient η.")
    lars_denominator: Literal["sum_of_norms", "norm_of_sum"] = Field(
        "sum_of_norms",
        description="sum_of_norms: ‖g‖ + wd·‖w‖ (You et al. 2017). norm_of_sum: ‖g + wd·w‖ (the BYOL and SimCLR code).",
    )
    warmup_epochs: float = Field(0.0, ge=0, description="Epochs of linear warm-up from 0, counted in steps.")
    schedule: Literal["cosine", "constant"] = Field("cosine", description="Of the learning rate after warm-up, per step.")
    final_lr: float = Field(0.0, ge=0, description="Learning rate at the end of the cosine.")

    @model_validator(mode="after")
    def _falls(self) -> OptimConfig:
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr = {self.final_lr:g} must not be above lr = {self.lr:g}")
        return self


AUTO_BATCH = 256  # images, that optim.lr is for where batch_size is "auto"


class EarlyStopConfig(Config):
    """End a run well before its last epoch when a measure that needs no labels does not move any more. Off by default."""

    measure: Literal["off", "effective_rank", "uniformity", "alignment", "embedding_std", "alpha_req"] = Field(
        "off", description="What is looked at, at every evaluation; effective_rank is what we would choose."
    )
    patience: int = Field(3, ge=1, le=1000, description="Evaluations, beside the newest, over which it must not have moved.")
    min_change: float = Field(
        0.02, gt=0, lt=1, description="As a share of its range since random weights: less counts as no movement."
    )


class TrainerConfig(Config):
    """How long and on what."""

    max_epochs: int = Field(100, ge=1, le=100_000, description="How often each picture is seen.")
    batch_size: Annotated[int, Field(ge=2, le=65536)] | Literal["auto"] = Field(
        256,
        description="Images per optimiser step, over all devices. auto: the largest power of two that fits into memory, found "
        "when the run begins; optim.lr is then for 256 images and follows in proportion.",
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=1024,
        description="Parts of a batch that go through the network one after the other, their gradients added up: for batches "
        "that do not fit into memory. Batch norm, negatives in the batch and covariances see one part at a time.",
    )
    activations: Literal["keep", "recompute"] = Field(
        "keep",
        description="recompute: drop what is inside the encoder's blocks and make it again for the gradients; "
        "half of the memory or less, for about a third more time.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the hardware multiplies it fast, else fp32."
    )
    compile: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Compile the encoder (torch.compile). auto: on a GPU, once the run turns out to be long enough for it.",
    )
    devices: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        "auto", description="GPUs (or, without any, CPU processes) of one machine; auto: all GPUs, or one process."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Of everything random: first weights, order, views.")
    log_every_steps: int = Field(10, ge=1, description="Steps from report to report.")
    checkpoint_every_seconds: float = Field(60.0, gt=0, description="At most this much work is repeated after a crash.")
    gradient_clip: float | None = Field(None, gt=0, description="Largest gradient norm.")
    on_collapse: Literal["warn", "stop"] = Field(
        "warn", description="stop: a run whose verdict is collapsed ends as failed, with the code collapsed and what to try."
    )
    early_stop: EarlyStopConfig = EarlyStopConfig()

    @model_validator(mode="after")
    def _shared_out(self) -> TrainerConfig:
        if self.batch_size == "auto":
            if self.accumulate > 1:
                raise ValueError(f"batch_size = 'auto' finds what fits at once; leave accumulate = {self.accumulate} out")
            return self
        devices = self.devices if isinstance(self.devices, int) else 1
        parts = devices * self.accumulate
        if self.batch_size % parts or self.batch_size < 2 * parts:
            what = f"devices = {devices}" if self.accumulate == 1 else f"devices × accumulate = {devices} × {self.accumulate}"
            raise ValueError(f"batch_size = {self.batch_size} must be a multiple of {what}, with at least 2 images for each")
        return self

    @property
    def batch(self) -> int:
        """batch_size, which is a number by the time a run begins."""
        assert self.batch_size != "auto", "the trainer puts a number in its place first"
        return self.batch_size


class EvaluateConfig(Config):
    """Measured on frozen features of held-out images while training runs."""

    every_epochs: Annotated[int, Field(ge=1)] | Literal["auto"] = Field(
        "auto",
        description="auto: about ten times in a run, for no more than a twentieth of its time, and always at its end.",
    )
    knn_k: int = Field(
        20, ge=1, le=1000, description="Neighbours that vote, weighted by exp(similarity / temperature) (Wu et al. 2018)."
    )
    knn_temperature: float = Field(0.07, gt=0, description="Of kNN: the smaller, the more the nearest count.")
    linear: Literal["logistic", "off"] = Field(
        "logistic", description="A logistic regression on the features of the labelled part."
    )
    max_images: int = Field(5000, ge=20, description="At most so many images on each side, bank and queries.")
    labels: str = Field(
        "folder",
        max_length=1000,
        description="folder: class folders, if there are any. Or a CSV file below the data root with the header path,label, for "
        "a labelled part of the folder (paths relative to data.path): data.held_out of each class, of few a half, is then held "
        "out of training, and kNN and linear are measured on that.",
    )

    @field_validator("labels")
    @classmethod
    def _below(cls, value: str) -> str:
        return relative(value)

"""What every method owes: a place in METHODS, a step without waiting, a run in a plain Trainer, momentum to exactly 1."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from ssl_core.methods import BYOL, METHODS, build_method
from ssl_core.methods.base import Method
from ssl_core.parts.ema import momentum_at
from ssl_core.spec import (
    METHOD_NAMES,
    BarlowTwinsConfig,
    BranchesConfig,
    BYOLConfig,
    ContrastLossConfig,
    DINOConfig,
    DistillConfig,
    HeadConfig,
    LeJEPAConfig,
    MAEConfig,
    MoCoConfig,
    MoCoV3Config,
    NNCLRConfig,
    OptimConfig,
    SimCLRConfig,
    SimSiamConfig,
    SwAVConfig,
    VICRegConfig,
)

HEAD = HeadConfig(hidden_dim=32, out_dim=8, norm="bn")
EMA = BranchesConfig(projector=HEAD)
SHARED = BranchesConfig(projector=HEAD, target="shared")
COSINE = EMA.changed(predictor=HEAD, momentum=0.9, momentum_schedule="cosine")
STOPPED = BranchesConfig(projector=HEAD.changed(final_norm="bn_plain"), predictor=HEAD, target="stop_gradient")

CONFIGS = {
    "moco": MoCoConfig(branches=EMA, queue_size=20),
    "moco split": MoCoConfig(branches=EMA.changed(shuffle_bn=True, bn_splits=2), queue_size=20, symmetric=True),
    "moco shared bce": MoCoConfig(branches=SHARED, queue_size=20, loss=ContrastLossConfig(kind="bce")),
    "moco renorm": MoCoConfig(branches=EMA.changed(projector=HEAD.changed(norm="br")), queue_size=20, gather_keys=True),
    "simclr": SimCLRConfig(branches=SHARED),
    "simclr cross": SimCLRConfig(branches=SHARED, negatives="cross_view", loss=ContrastLossConfig(eqco_alpha=64)),
    "simclr ema ip": SimCLRConfig(branches=EMA, loss=ContrastLossConfig(kind="ip")),
    "byol": BYOLConfig(branches=COSINE),
    "vicreg": VICRegConfig(branches=SHARED.changed(normalize=False)),
    "lejepa": LeJEPAConfig(branches=SHARED.changed(normalize=False), slices=64),
    "vicreg ema": VICRegConfig(branches=EMA.changed(normalize=False)),
    "simclr dclw": SimCLRConfig(branches=SHARED, decoupled="dclw"),
    "simsiam": SimSiamConfig(branches=STOPPED),
    "barlow_twins": BarlowTwinsConfig(branches=SHARED.changed(normalize=False)),
    "nnclr": NNCLRConfig(branches=STOPPED, queue_size=20),
    "nnclr nt_xent": NNCLRConfig(branches=STOPPED, queue_size=20, negatives="nt_xent"),
    "swav": SwAVConfig(branches=SHARED, prototypes=12),
    "swav queue": SwAVConfig(branches=SHARED, prototypes=12, queue_size=20, queue_start_epochs=0.0),
    "dino": DINOConfig(branches=EMA.changed(momentum=0.9, momentum_schedule="cosine"), prototypes=12),
    "mocov3": MoCoV3Config(branches=COSINE),
    "mae": MAEConfig(positions="learned", decoder_depth=1, decoder_width=16, decoder_heads=2),
    "distill": DistillConfig(branches=SHARED),
    "distill similarity": DistillConfig(branches=SHARED, loss="similarity", past_features=20),
}
IN_HALF = ["moco", "simclr", "vicreg", "swav", "dino", "mocov3", "mae", "distill"]
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


class TestRegistry:
    def test_has_a_method_for_every_config_of_the_spec(self):
        assert tuple(METHODS) == METHOD_NAMES
        assert all(issubclass(method, Method) for method in METHODS.values())

    def test_builds_by_name(self, make_encoder):
        method = build_method(make_encoder(), 16, CONFIGS["byol"], OptimConfig())
        assert type(method) is BYOL and method.config is CONFIGS["byol"]


class Waits(TorchDispatchMode):
    """Collects the operations that make the host wait for an accelerator."""

    NAMES = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "_unique", "equal.default", "repeat_interleave")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        boolean_index = "aten.index" in str(func) and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool for i in (args[1] if isinstance(args[1], (list, tuple)) else ())
        )
        if any(name in str(func) for name in self.NAMES) or boolean_index:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


class TestStep:
    def test_the_detector_detects(self):
        for wait in (lambda x: x.sum().item(), lambda x: bool(x.any()), lambda x: x[x > 0], lambda x: x.nonzero(), torch.unique):
            with Waits() as waits:
                wait(torch.tensor([1.0, -1.0]))
            assert waits.found

    @every_config
    def test_never_waits_for_the_accelerator(self, config, build, make_batch):
        method, batch = build(config), make_batch()
        with Waits() as waits:
            method.training_step(batch, 0).backward()
            method.branches.update_target(0.5)
        assert waits.found == []

    @every_config
    def test_gradient_reaches_every_trainable_parameter_and_nothing_else(self, config, build, make_batch):
        method = build(config)
        method.training_step(make_batch(), 0).backward()
        assert all((p.grad is not None) == p.requires_grad for p in method.parameters())
        assert all(p.requires_grad == (not name.startswith("branches.target_")) for name, p in method.named_parameters())

    @every_config
    def test_latest_holds_detached_scalars_and_the_very_loss(self, config, build, make_batch):
        method = build(config.changed(loss_scale=1.7))
        loss = method.training_step(make_batch(), 0)
        assert method.latest["train_loss"].item() == loss.item()
        assert loss.item() == pytest.approx(
            1.7 * build(config.changed(loss_scale=1.0)).training_step(make_batch(), 0).item(), rel=1e-5
        )
        for value in method.latest.values():
            assert value.shape == () and not value.requires_grad and value.isfinite()
        assert ({"positive_cosine", "negative_cosine"} < method.latest.keys()) == (config.name != "mae")  # which compares nothing
        assert ("contrast_top1" in method.latest) == (config.name in ("moco", "simclr", "nnclr", "mocov3"))

    @every_config
    def test_the_loss_falls_on_a_fixed_batch(self, config, build, make_batch):
        """Twenty small steps against the gradient; queue and centre stand still, so that only the network can help."""
        method, batch = build(config), make_batch(n=16)
        keys = {name: buffer.clone() for name, buffer in method.named_buffers() if name.startswith(("queue", "center"))}
        optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.02)
        losses = []
        for step in range(20):
            torch.manual_seed(0)  # the same shuffle every time
            method.load_state_dict(keys, strict=False)
            loss = method.training_step(batch, step)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < losses[0]

    @every_config
    def test_state_dict_carries_all_that_the_next_step_needs(self, config, build, make_batch):
        method = build(config)
        method.training_step(make_batch(), 0)
        twin = build(config, seed=5)
        twin.load_state_dict(copy.deepcopy(method.state_dict()))
        losses = []
        for each in (method, twin):
            torch.manual_seed(0)
            losses.append(each.training_step(make_batch(seed=2), 1).item())
        assert losses[0] == losses[1]

    @pytest.mark.parametrize("config", [CONFIGS[name] for name in IN_HALF], ids=IN_HALF)
    def test_in_bfloat16_the_loss_is_float32_and_near(self, config, build, make_batch):
        exact = build(config).training_step(make_batch(), 0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = build(config).training_step(make_batch(), 0)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(exact.item(), rel=0.05)


class Momenta(pl.Callback):
    """Notes the momentum after each batch, and whether the target moved."""

    def __init__(self):
        self.seen = []
        self.moved = []
        self.before = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before = [p.clone() for p in pl_module.branches.target_encoder.parameters()]

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append(pl_module.latest.get("target_momentum", torch.tensor(float("nan"))).item())
        now = pl_module.branches.target_encoder.parameters()
        self.moved.append(any(not torch.equal(a, b) for a, b in zip(self.before, now, strict=True)))


class Rates(pl.Callback):
    """Notes the learning rate of each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


class SaveAfter(pl.Callback):
    """Saves a checkpoint at the end of an epoch."""

    def __init__(self, path, epoch):
        self.path, self.epoch = path, epoch

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            trainer.save_checkpoint(self.path)


def fit(method, make_batch, batches=4, callbacks=(), resume=None, **options):
    """A few epochs in a plain Trainer, with four fixed batches each."""
    loader = DataLoader([make_batch(seed=seed) for seed in range(batches)], batch_size=None)
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(method, loader, ckpt_path=resume, weights_only=False)
    return trainer


@pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning")  # its advice about workers and loggers
class TestInPlainLightning:
    @pytest.mark.parametrize(
        "name",
        [
            "moco",
            "simclr",
            "byol",
            "vicreg",
            "simsiam",
            "barlow_twins",
            "nnclr",
            "swav queue",
            "dino",
            "mocov3",
            "mae",
            "distill",
        ],
    )
    def test_trains(self, name, build, make_batch):
        method = build(CONFIGS[name])
        before = [p.clone() for p in method.serving_encoder().parameters()]
        trainer = fit(method, make_batch, max_epochs=3)
        assert trainer.global_step == 12
        assert all(not torch.equal(a, b) for a, b in zip(before, method.serving_encoder().parameters(), strict=True))
        assert method.latest["train_loss"].isfinite()

    def test_momentum_follows_the_cosine_per_step_and_ends_at_exactly_1(self, build, make_batch):
        """T = 12 steps: m(k / 11) for k = 0 … 11, so 0.9 first; the last update changes nothing."""
        watch = Momenta()
        fit(build(CONFIGS["byol"]), make_batch, callbacks=[watch], max_epochs=3)
        assert watch.seen == pytest.approx([momentum_at(0.9, "cosine", k / 11) for k in range(12)], abs=1e-7)
        assert watch.seen[0] == pytest.approx(0.9) and watch.seen[-1] == 1.0
        assert watch.moved == [True] * 11 + [False]

    def test_the_target_moves_per_optimiser_step_not_per_batch(self, build, make_batch):
        """Gradients of two batches make a step: 4 batches, 2 steps, momenta 0.9 and 1."""
        watch = Momenta()
        fit(build(CONFIGS["byol"]), make_batch, callbacks=[watch], max_epochs=1, accumulate_grad_batches=2)
        assert watch.moved == [False, True, False, False]
        assert watch.seen[1] == pytest.approx(0.9) and watch.seen[3] == 1.0

    def test_the_target_follows_the_weights_after_the_step(self, build, make_batch):
        """One step: target = m·start + (1 - m)·stepped, at m = 0.9 of a constant schedule."""
        method = build(MoCoConfig(branches=EMA.changed(momentum=0.9), queue_size=20))
        start = [p.clone() for p in method.branches.encoder.parameters()]
        fit(method, make_batch, batches=1, max_epochs=1)
        pairs = zip(start, method.branches.encoder.parameters(), method.branches.target_encoder.parameters(), strict=True)
        for first, stepped, target in pairs:
            assert not torch.equal(first, stepped)
            assert torch.allclose(target, 0.9 * first + 0.1 * stepped, atol=1e-7)

    @pytest.mark.parametrize("name", ["simsiam", "barlow_twins", "nnclr", "simclr dclw", "distill similarity"])
    def test_one_network_resumes_exactly_too(self, name, build, make_batch, tmp_path):
        """Weights, batch statistics and queue, bit for bit."""
        whole, resumed = build(CONFIGS[name]), build(CONFIGS[name], seed=1)
        fit(whole, make_batch, callbacks=[SaveAfter(tmp_path / "one.ckpt", epoch=0)], max_epochs=3)
        fit(resumed, make_batch, max_epochs=3, resume=tmp_path / "one.ckpt")
        for key, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[key]), key

    def test_a_resumed_run_ends_where_an_uninterrupted_one_does(self, build, make_batch, tmp_path):
        """Weights, target, queue and the momentum's schedule, bit for bit."""
        config = CONFIGS["moco"].changed(branches=EMA.changed(momentum=0.9, momentum_schedule="cosine"))
        whole, resumed, watch = build(config), build(config, seed=1), Momenta()
        fit(whole, make_batch, callbacks=[SaveAfter(tmp_path / "one.ckpt", epoch=0)], max_epochs=3)
        fit(resumed, make_batch, callbacks=[watch], max_epochs=3, resume=tmp_path / "one.ckpt")
        assert watch.seen == pytest.approx([momentum_at(0.9, "cosine", k / 11) for k in range(4, 12)], abs=1e-7)
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name

    @pytest.mark.parametrize(("steps_per_epoch", "warmup"), [(None, 4), (2, 2)])
    def test_warm_up_counts_epochs_of_the_trainer_or_of_the_data(self, build, make_batch, steps_per_epoch, warmup):
        """The rate rises for one epoch, 4 batches (or as many as `steps_per_epoch` says), and falls from there on."""
        method, rates = build(CONFIGS["simclr"], optim=OptimConfig(name="lars", lr=0.5, warmup_epochs=1)), Rates()
        method.steps_per_epoch = steps_per_epoch
        fit(method, make_batch, callbacks=[rates], max_epochs=3)
        top = max(rates.seen)
        assert top == pytest.approx(0.5)
        assert warmup - 1 <= rates.seen.index(top) <= warmup
        assert rates.seen[rates.seen.index(top) :] == sorted(rates.seen[rates.seen.index(top) :], reverse=True)
        assert rates.seen[-1] < 0.05

    def test_the_schedule_needs_a_length(self, build, make_batch):
        class Endless(torch.utils.data.IterableDataset):
            def __iter__(self):
                yield make_batch()

        method = build(CONFIGS["simclr"])
        trainer = pl.Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False)
        with pytest.raises(ValueError, match="length of the run"):
            trainer.fit(method, DataLoader(Endless(), batch_size=None))

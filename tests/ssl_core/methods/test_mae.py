"""MAE: the loss by hand, patches there and back, what the encoder must not see, what it refuses."""

import re

import pytest
import torch
from lightly.models import utils as lightly
from pydantic import ValidationError
from timm.models.vision_transformer import VisionTransformer

from ssl_core.encoders import build_encoder
from ssl_core.methods import build_method
from ssl_core.methods.mae import masked_loss, random_masking
from ssl_core.parts.patches import PatchDecoder, patchify, select, sincos_positions, unpatchify
from ssl_core.presets import PRESETS
from ssl_core.spec import BranchesConfig, MAEConfig, OptimConfig, TrainSpec, explain_all
from ssl_core.vitals import spread_of_the_batch

CONFIG = MAEConfig(decoder_depth=1, decoder_width=16, decoder_heads=2)
VIT = "timm/vit_tiny_patch16_224"


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestPatches:
    @pytest.mark.parametrize(("channels", "patch", "grid"), [(3, 2, (3, 3)), (1, 4, (2, 5)), (4, 1, (3, 2))])
    def test_there_and_back(self, channels, patch, grid):
        images = drawn(2, channels, grid[0] * patch, grid[1] * patch)
        patches = patchify(images, patch)
        assert patches.shape == (2, grid[0] * grid[1], patch**2 * channels)
        assert torch.equal(unpatchify(patches, patch, grid), images)

    def test_equal_lightlys(self):
        images = drawn(2, 3, 8, 8)
        assert torch.equal(patchify(images, 4), lightly.patchify(images, 4))

    def test_by_hand(self):
        """4×4 numbers 0 to 15, row by row: the second patch is the upper right corner."""
        assert patchify(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 1].tolist() == [2, 3, 6, 7]

    @pytest.mark.parametrize(("side", "width"), [(3, 8), (14, 64)])
    def test_positions_equal_lightlys(self, side, width):
        theirs = torch.from_numpy(lightly.get_2d_sine_cosine_positional_embedding(width, side, cls_token=False)).float()
        assert torch.allclose(sincos_positions((side, side), width), theirs, atol=1e-6)

    def test_positions_by_hand(self):
        """Three rows, two columns; frequencies 1 and 10000^(-1/2)."""
        places, angle = sincos_positions((3, 2), 8), torch.tensor([1.0, 0.01])
        here, there = torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.cat([angle.sin(), angle.cos()])
        assert torch.allclose(places[:3], torch.stack([torch.cat(each) for each in ((here, here), (there, here), (here, there))]))


class TestMasking:
    @pytest.mark.parametrize(
        ("patches", "ratio", "seen"), [(196, 0.75, 49), (4, 0.75, 1), (2, 0.9, 1), (9, 0.01, 8), (10, 0.5, 5)]
    )
    def test_every_patch_is_seen_or_hidden(self, patches, ratio, seen):
        """int(L·(1 - ratio)) are seen, at least one, and one is hidden."""
        kept, hidden = random_masking(torch.rand(3, patches), ratio)
        assert kept.shape == (3, seen)
        assert torch.equal(torch.cat([kept, hidden], dim=1).sort(dim=1).values, torch.arange(patches).expand(3, -1))

    def test_the_least_noise_is_seen(self):
        kept, hidden = random_masking(torch.tensor([[0.3, 0.1, 0.9, 0.2]]), 0.5)
        assert (kept.tolist(), hidden.tolist()) == ([[1, 3]], [[0, 2]])

    def test_all_patches_are_hidden_alike(self):
        """Of 4,000 draws each of 8 patches is hidden in 75 %, give or take five standard deviations."""
        torch.manual_seed(0)
        hidden = random_masking(torch.rand(4000, 8), 0.75)[1]
        assert ((hidden.flatten().bincount() / 4000 - 0.75).abs() < 5 * (0.75 * 0.25 / 4000) ** 0.5).all()


class TestLoss:
    def test_by_hand(self):
        """Patch 1 of three, [0, 2]: guessed [1, 1], pixels as they are: (1 + 1) / 2. Its mean is 1 and its standard deviation
        (with D - 1) √2, so that normalised it is [-1, 1] / √2, of which [0, 0] misses ½ each.
        """
        patches, hidden = torch.tensor([[[7.0, 7.0], [0.0, 2.0], [5.0, 9.0]]]), torch.tensor([[1]])
        assert masked_loss(torch.ones(1, 1, 2), patches, hidden, normalize=False).item() == pytest.approx(1.0)
        assert masked_loss(torch.zeros(1, 1, 2), patches, hidden).item() == pytest.approx(0.5, rel=1e-5)

    def test_only_hidden_patches_count(self):
        patches, hidden, guesses = drawn(2, 6, 4).requires_grad_(), torch.tensor([[0, 5], [2, 3]]), drawn(2, 2, 4, seed=1)
        masked_loss(guesses, patches, hidden).backward()
        moved = patches.grad.abs().sum(dim=2) > 0
        expected = torch.zeros(2, 6, dtype=torch.bool).scatter(1, hidden, True)
        assert torch.equal(moved, expected)

    def test_normalised_it_does_not_mind_brightness_and_contrast_of_a_patch(self):
        patches, hidden, guesses = drawn(2, 6, 48), torch.tensor([[0, 5], [2, 3]]), drawn(2, 2, 48, seed=1)
        changed = patches * torch.linspace(1, 3, 6).view(1, 6, 1) + drawn(2, 6, 1, seed=2)
        for normalize, same in ((True, True), (False, False)):
            losses = [masked_loss(guesses, each, hidden, normalize).item() for each in (patches, changed)]
            assert (losses[0] == pytest.approx(losses[1], rel=1e-4)) == same

    def test_nothing_but_the_mean_comes_to_nearly_1(self):
        """(D - 1) / D, because the deviation is that of D - 1 degrees of freedom."""
        assert masked_loss(torch.zeros(4, 3, 48), drawn(4, 9, 48), torch.arange(3).expand(4, -1)).item() == pytest.approx(47 / 48)


def hidden_in(seed, n, patches):
    """What the next step hides, by the generator that it draws from."""
    torch.manual_seed(seed)
    seen, hidden = random_masking(torch.rand(n, patches), CONFIG.mask_ratio)
    torch.manual_seed(seed)
    return seen, hidden


class TestStep:
    def test_the_encoder_never_sees_hidden_patches(self, build, make_batch):
        """The gradient of the loss with respect to their pixels is 0: they are targets, and targets carry none."""
        method, batch = build(CONFIG), make_batch()
        view = batch.views[0].requires_grad_()
        _, hidden = hidden_in(3, 8, 9)
        method.training_step(batch._replace(views=(view, view)), 0).backward()
        moved = patchify(view.grad, 2).abs().sum(dim=2) > 0
        assert torch.equal(moved, torch.ones(8, 9, dtype=torch.bool).scatter(1, hidden, False))

    def test_other_hidden_pixels_change_the_targets_and_not_the_guesses(self, build, make_batch):
        method, batch = build(CONFIG), make_batch()
        view, guesses, losses = batch.views[0], [], []
        _, hidden = hidden_in(3, 8, 9)
        method.decoder.register_forward_hook(lambda module, given, output: guesses.append(output.detach()))
        shown = patchify(view, 2).scatter(1, hidden.unsqueeze(2).expand(-1, -1, 12), 5.0)
        for other in (view, unpatchify(shown, 2, (3, 3))):
            torch.manual_seed(3)
            losses.append(method.training_step(batch._replace(views=(other, other)), 0).item())
        assert torch.equal(guesses[0], guesses[1]) and losses[0] != losses[1]

    def test_the_loss_is_that_of_the_guesses(self, build, make_batch):
        method, batch = build(CONFIG.changed(normalize_pixels=False, loss_scale=2.0)), make_batch()
        seen, hidden = hidden_in(3, 8, 9)
        loss = method.training_step(batch, 0)
        guesses = method.decoder(*method.encode(batch.views[0], seen), seen, hidden)
        targets = lightly.get_at_index(lightly.patchify(batch.views[0], 2), hidden)
        assert loss.item() == pytest.approx(2 * torch.nn.functional.mse_loss(guesses, targets).item(), rel=1e-5)

    def test_the_second_view_is_not_looked_at(self, build, make_batch):
        batch, losses = make_batch(), []
        for second in batch.views:
            torch.manual_seed(3)
            method = build(CONFIG)
            losses.append(method.training_step(batch._replace(views=(batch.views[0], second)), 0).item())
        assert losses[0] == losses[1]

    def test_new_patches_are_hidden_in_each_step_and_the_generators_state_brings_them_back(self, build, make_batch):
        method, batch = build(CONFIG), make_batch()
        state = torch.get_rng_state()
        first, second = (method.training_step(batch, step).item() for step in (0, 1))
        torch.set_rng_state(state)
        assert first != second and method.training_step(batch, 7).item() == first

    @pytest.mark.parametrize("positions", ["sincos", "learned"])
    def test_positions(self, build, make_batch, positions):
        method = build(CONFIG.changed(positions=positions))
        method.training_step(make_batch(), 0).backward()
        found = method.branches.encoder.pos_embed
        assert (found.grad is not None) == found.requires_grad == (positions == "learned")
        expected = torch.cat([torch.zeros(1, 16), sincos_positions((3, 3), 16)])
        assert torch.equal(found[0], expected) == (positions == "sincos")

    def test_all_patches_seen_is_the_encoder_that_is_served(self, build, make_batch):
        """Whatever their order; what health watches is what is served."""
        method, view = build(CONFIG).eval(), make_batch().views[0]
        order = torch.stack([torch.randperm(9) for _ in range(8)])
        with torch.no_grad():
            method.encode(view, order)
            assert torch.allclose(method.branches.seen, method(view), atol=1e-5)

    def test_health_sees_images_that_differ_and_such_that_do_not(self, build, make_batch):
        method, batch = build(CONFIG), make_batch()
        spreads = []
        for view in (batch.views[0], batch.views[0][:1].expand(8, -1, -1, -1)):
            torch.manual_seed(3)
            method.encode(view, torch.arange(9).expand(8, -1))
            spreads.append(spread_of_the_batch(method))
        assert spreads[0]["batch_std"] > 0.1 and spreads[0]["batch_rank"] > 2
        assert spreads[1]["batch_std"] < 0.01

    def test_the_decoder_does_not_mind_the_order_of_hidden_patches(self):
        torch.manual_seed(0)
        decoder = PatchDecoder(dim=6, grid=(3, 3), pixels=12, depth=2, width=16, heads=2)
        seen, hidden = random_masking(torch.rand(2, 9), 0.5)
        prefix, tokens, order = drawn(2, 1, 6), drawn(2, 4, 6, seed=1), torch.tensor([[3, 1, 0, 4, 2]]).expand(2, -1)
        guesses = decoder(prefix, tokens, seen, hidden)
        again = decoder(prefix, tokens, seen, hidden.gather(1, order))
        assert torch.allclose(select(guesses, order), again, atol=1e-6)
        assert (guesses[:, 0] - guesses[:, 1]).abs().max() > 1e-3, "places differ"


class TestNetworks:
    @pytest.mark.parametrize("sizes", ["one", "several"])
    @pytest.mark.parametrize(
        "arch", [VIT, "timm/deit_tiny_distilled_patch16_224", "timm/deit3_small_patch16_224", "timm/vit_base_patch32_clip_224"]
    )
    def test_trains_all_of_the_encoder(self, arch, sizes):
        """With a class token, a teacher's too, without positions for it, with a norm before the blocks. About a second each."""
        encoder = build_encoder(arch, 64, sizes=sizes)
        self._trains_all(encoder, encoder.dim, 64)

    def test_trains_the_norm_after_the_pool(self):
        options = {"global_pool": "avg", "class_token": False, "reg_tokens": 2}
        encoder = VisionTransformer(32, 16, num_classes=0, embed_dim=32, depth=1, num_heads=2, **options)
        assert isinstance(encoder.norm, torch.nn.Identity) and isinstance(encoder.fc_norm, torch.nn.LayerNorm)
        self._trains_all(encoder, 32, 32)

    @staticmethod
    def _trains_all(encoder, dim, side):
        method = build_method(encoder, dim, CONFIG.changed(positions="learned"), OptimConfig())
        method.training_step(_Batch((drawn(2, 3, side, side),) * 2), 0).backward()
        assert [name for name, each in method.named_parameters() if each.grad is None] == []
        assert not method.branches.seen.requires_grad

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"pos_embed": "none"}, "adds no positions"),
            ({"global_pool": "map"}, "pools by an attention"),
        ],
    )
    def test_refuses_transformers_whose_patches_cannot_be_hidden(self, options, words):
        encoder = VisionTransformer(32, 16, num_classes=0, embed_dim=32, depth=1, num_heads=2, **options)
        with pytest.raises(ValueError, match=f"encoder.arch = 'VisionTransformer' {words}.*use timm/vit_small_patch16_224"):
            build_method(encoder, 32, CONFIG, OptimConfig())

    @pytest.mark.parametrize("arch", ["resnet18", "timm/vit_tiny_r_s16_p8_224"])
    def test_and_other_networks(self, arch):
        encoder = build_encoder(arch, 64)
        with pytest.raises(
            ValueError, match=f"encoder.arch = '{arch}' (is no plain vision|does not project square patches one by one)"
        ):
            build_method(encoder, encoder.dim, CONFIG, OptimConfig())


class _Batch:
    def __init__(self, views):
        self.views = views


class TestSpec:
    @pytest.mark.parametrize(
        ("change", "place", "words"),
        [
            ({"encoder": {"arch": "resnet18"}}, "/encoder/arch", "encoder.arch = 'resnet18': mae hides patches"),
            ({"data": {"source": "digits", "size": 40}}, "/data/size", "data.size = 40: .* use 32 or 48"),
            ({"data": {"source": "digits", "size": 16}}, "/data/size", "data.size = 16: .* use 32$"),
            ({"augment": {"local_views": {"count": 2}}}, "/augment/local_views/count", "mae looks at one view"),
            ({"encoder": {"arch": VIT, "weights": "timm"}}, "/method/positions", "encoder.weights = 'timm'; use 'learned'"),
            ({"method": {"name": "mae", "decoder_heads": 3}}, "/method/decoder_heads", "decoder_heads = 3 must divide"),
            ({"method": {"name": "mae", "branches": {"target": "ema"}}}, "/method/branches", "leave branches out"),
        ],
    )
    def test_what_cannot_be_is_refused_with_its_place(self, change, place, words):
        body = {"data": {"source": "digits", "size": 32}, "encoder": {"arch": VIT}, "method": {"name": "mae"}}
        TrainSpec.model_validate(body)
        with pytest.raises(ValidationError) as caught:
            TrainSpec.model_validate(body | change)
        found = dict(explain_all(caught.value))
        assert set(found) == {place}
        assert re.search(words, found[place]), found[place]

    def test_branches_that_say_nothing_are_accepted(self):
        """As a spec that was written down has them."""
        assert MAEConfig.model_validate(MAEConfig().model_dump()) == MAEConfig()
        assert isinstance(MAEConfig().branches, BranchesConfig)

    def test_values_of_the_paper(self):
        """Table 8: a base rate of 1.5e-4 for 256 images, β₂ 0.95; section 4: a decoder of 8 blocks and 512, 75 % hidden."""
        recipe = PRESETS["mae"]()
        optim, method = recipe.optim, recipe.method
        assert (optim.lr, optim.momentum, optim.beta2) == (1.5e-4 * recipe.trainer.batch_size / 256, 0.9, 0.95)
        assert (optim.weight_decay, optim.warmup_epochs, recipe.trainer.batch_size) == (0.05, 40, 4096)
        assert (method.mask_ratio, method.decoder_depth, method.decoder_width, method.normalize_pixels) == (0.75, 8, 512, True)

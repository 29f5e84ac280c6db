"""Vision transformers that take local views: positional embeddings interpolated, and the same network at its own size."""

import pytest
import torch
from pydantic import ValidationError
from torch.nn import functional as F

from ssl_core.data.sources import SourceFacts
from ssl_core.encoders import build_encoder
from ssl_core.methods import build_method
from ssl_core.presets import complete
from ssl_core.spec import BranchesConfig, DINOConfig, HeadConfig, OptimConfig, TrainSpec, explain_all
from ssl_core.spec.patches import resizable_patch, takes_one_size

VIT = "timm/vit_tiny_patch16_224"
FOLDER = {"source": "folder", "path": "photos"}


def body(arch, side, **local):
    return {"data": {**FOLDER, "size": side}, "encoder": {"arch": arch}, "augment": {"local_views": {"count": 2, **local}}}


def pair(arch, size):
    """The same weights in both."""
    torch.manual_seed(0)
    one, several = build_encoder(arch, size), build_encoder(arch, size, sizes="several")
    several.backbone.load_state_dict(one.backbone.state_dict())
    return one.eval(), several.eval()


class TestNetwork:
    @pytest.mark.parametrize("arch", [VIT, "timm/deit_tiny_patch16_224", "timm/deit_tiny_distilled_patch16_224"])
    def test_is_the_same_at_its_own_size(self, arch):
        """Bit for bit: what is served is built for one size, from these weights."""
        one, several = pair(arch, 64)
        images = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            assert torch.equal(one(images), several(images))

    def test_at_a_smaller_one_positions_are_interpolated(self):
        """As a network that is built for the smaller size and has the embeddings of positions, of the 4×4 patches, resized to
        2×2 (bicubic); that of the class token stays."""
        large, several = pair(VIT, 64)
        small = build_encoder(VIT, 32).eval()
        state = large.backbone.state_dict()
        grid = state["pos_embed"][:, 1:].view(1, 4, 4, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(grid, (2, 2), mode="bicubic", antialias=True).permute(0, 2, 3, 1).reshape(1, 4, -1)
        small.backbone.load_state_dict({**state, "pos_embed": torch.cat([state["pos_embed"][:, :1], resized], dim=1)})
        images = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            assert torch.allclose(several(images), small(images), atol=1e-5)
            with pytest.raises(AssertionError, match="doesn't match model"):
                large(images)

    def test_a_size_that_patches_do_not_fill_is_refused(self):
        with pytest.raises(ValueError, match=r"cannot take images of 40 px; the smallest that works is \d+ px"):
            build_encoder(VIT, 40, sizes="several")

    def test_one_step_of_dino_reaches_every_parameter(self):
        torch.manual_seed(0)
        encoder = build_encoder(VIT, 32, sizes="several")
        head = HeadConfig(layers=3, hidden_dim=32, out_dim=16, activation="gelu")
        config = DINOConfig(branches=BranchesConfig(projector=head), prototypes=24)
        method = build_method(encoder, encoder.dim, config, OptimConfig(name="adamw"))
        views = (*torch.randn(2, 4, 3, 32, 32), *torch.randn(2, 4, 3, 16, 16))
        loss = method.training_step(Batch(views), 0)
        loss.backward()
        assert loss.isfinite()
        assert all((each.grad is not None) == each.requires_grad for each in method.parameters())


class Batch:
    def __init__(self, views):
        self.views = views


class TestNames:
    @pytest.mark.parametrize(
        ("arch", "patch", "one_size"),
        [
            ("timm/vit_small_patch16_224", 16, False),
            ("timm/vit_small_patch14_dinov2", 14, False),
            ("timm/vit_base_patch8_224", 8, False),
            ("timm/deit3_base_patch16_224", 16, False),
            ("timm/vit_relpos_small_patch16_224", None, True),
            ("timm/vit_srelpos_small_patch16_224", None, True),
            ("timm/vit_base_r50_s16_224", None, True),
            ("timm/swin_tiny_patch4_window7_224", None, True),
            ("vit_b_16", None, True),
            ("resnet18", None, False),
            ("timm/resnet10t", None, False),
        ],
    )
    def test_say_which_sizes_a_network_takes(self, arch, patch, one_size):
        assert (resizable_patch(arch), takes_one_size(arch)) == (patch, one_size)

    @pytest.mark.parametrize(
        "arch", ["timm/vit_small_patch14_dinov2", "timm/vit_base_patch8_224", "timm/deit3_small_patch16_224"]
    )
    def test_timm_agrees(self, arch):
        """On the meta device: shapes without values."""
        patch = resizable_patch(arch)
        with torch.device("meta"):
            encoder = build_encoder(arch, 4 * patch, sizes="several")
            assert encoder(torch.empty(2, 3, 2 * patch, 2 * patch)).shape == (2, encoder.dim)


class TestSpec:
    def test_local_views_are_multiples_of_the_patch(self):
        """96 px for 224 px in proportion: 55 px for 128 px, to the nearest multiple of 16 (of 8 for other networks)."""
        sizes = {
            (arch, size): TrainSpec.model_validate(body(arch, size)).with_local_side().augment.local_views.size
            for arch in (VIT, "resnet18")
            for size in (32, 128, 224)
        }
        assert sizes == {
            (VIT, 32): 16, (VIT, 128): 48, (VIT, 224): 96,
            ("resnet18", 32): 16, ("resnet18", 128): 56, ("resnet18", 224): 96,
        }  # fmt: skip

    def test_completion_writes_their_size_down(self):
        facts = SourceFacts("folder", 50_000, 1000, None, (500, 375), 3, True, "sha256:0", ())
        assert complete({"data": FOLDER}, "dino", facts, gpu=False).spec.augment.local_views.size == 48
        given = {"data": FOLDER, "augment": {"local_views": {"size": 64}}}
        assert complete(given, "dino", facts, gpu=False).spec.augment.local_views.size == 64

    @pytest.mark.parametrize(
        ("arch", "local", "pointer", "words"),
        [
            (VIT, {"size": 40}, "/augment/local_views/size", f"40 is not a multiple of the 16 px patches of {VIT}; use 32 or 48"),
            (VIT, {"size": 8}, "/augment/local_views/size", f"8 is not a multiple of the 16 px patches of {VIT}; use 16"),
            ("vit_b_16", {}, "/augment/local_views/count", "a vision transformer of timm (timm/vit_small_patch16_224)"),
            ("timm/vit_relpos_small_patch16_224", {}, "/augment/local_views/count", "takes images of one size only"),
        ],
    )  # fmt: skip
    def test_what_does_not_fit_is_refused_with_what_would(self, arch, local, pointer, words):
        with pytest.raises(ValidationError) as caught:
            TrainSpec.model_validate(body(arch, 64, **local))
        assert words in dict(explain_all(caught.value))[pointer]

"""Query and key branches: gradient, sharing, the unit sphere, split batch norm, the target's update."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ssl_core.parts.branches import Branches
from ssl_core.spec.parts import IDENTITY, BranchesConfig, HeadConfig

HEAD = HeadConfig(layers=2, hidden_dim=16, out_dim=6, norm="bn")


def encoder():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def build(**options):
    torch.manual_seed(0)
    return Branches(encoder(), 8, BranchesConfig(**{"projector": HEAD, **options}))


def views(n=16):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, 6, 6, generator=generator), torch.randn(n, 3, 6, 6, generator=generator)


class TestMovingAverage:
    def test_starts_as_a_copy_without_gradient(self):
        branches = build()
        for target, online in ((branches.target_encoder, branches.encoder), (branches.target_projector, branches.projector)):
            pairs = list(zip(target.parameters(), online.parameters(), strict=True))
            assert all(torch.equal(t, o) and t is not o and o.requires_grad and not t.requires_grad for t, o in pairs)

    def test_keys_carry_no_gradient_and_skip_the_predictor(self):
        branches = build(predictor=HEAD)
        _, b = views()
        keys = branches.key(b)
        assert not keys.requires_grad
        twin = copy.deepcopy(branches)
        assert torch.allclose(keys, F.normalize(twin.projector(twin.encoder(b)), dim=1), atol=1e-6)

    def test_update_moves_encoder_and_projector_and_leaves_the_predictor(self):
        branches = build(predictor=HEAD, momentum=0.9)
        with torch.no_grad():
            for parameter in branches.parameters():
                parameter.add_(torch.randn_like(parameter))
        before = {name: p.clone() for name, p in branches.named_parameters()}
        assert branches.update_target(0.3) == 0.9
        for name, parameter in branches.named_parameters():
            if name.startswith("target_"):
                wanted = 0.9 * before[name] + 0.1 * before[name.removeprefix("target_")]
                assert torch.allclose(parameter, wanted, atol=1e-6), name
            else:
                assert torch.equal(parameter, before[name]), name

    def test_cosine_momentum_ends_at_exactly_one(self):
        branches = build(momentum=0.9, momentum_schedule="cosine")
        assert branches.update_target(0.0) == pytest.approx(0.9)
        assert branches.update_target(1.0) == 1.0

    def test_target_keeps_batch_norm_statistics_of_its_own_forward_passes(self):
        branches = build()
        branches.key(views()[1] + 5)
        assert branches.encoder[1].num_batches_tracked == 0
        assert branches.target_encoder[1].num_batches_tracked == 1
        branches.update_target(0.0)
        assert not torch.equal(branches.target_encoder[1].running_mean, branches.encoder[1].running_mean)

    def test_predictor_must_end_where_the_target_does(self):
        """The config refuses it where both heads have layers; without a projector only the encoder's dimension tells."""
        with pytest.raises(ValueError, match=r"predictor.out_dim = 5 must equal projector.out_dim = 6"):
            build(predictor=HeadConfig(layers=1, out_dim=5))
        with pytest.raises(ValueError, match=r"predictor's output \(5\).*projection \(\d+\)"):
            build(projector=HeadConfig(layers=0), predictor=HeadConfig(layers=1, out_dim=5))


class TestShared:
    def test_keys_go_through_the_predictor_with_gradient(self):
        branches = build(target="shared", predictor=HEAD)
        assert branches.target_encoder is None and branches.update_target(0.5) is None
        _, b = views()
        keys = branches.key(b)
        keys[:, 0].sum().backward()
        assert all(p.grad is not None for p in branches.parameters())
        assert torch.equal(keys, branches.query(b).query)
        assert branches.key_dim == 6

    def test_a_predictor_of_another_size_is_fine(self):
        assert build(target="shared", predictor=HeadConfig(layers=1, out_dim=5)).key(views()[1]).shape == (16, 5)

    def test_both_directions_share_their_forward_passes(self):
        branches = build(target="shared")
        first, second = branches.directions(*views(), symmetric=True)
        assert first.out.query is second.keys and second.out.query is first.keys
        assert branches.encoder[1].num_batches_tracked == 2


class TestStopGradient:
    def test_keys_are_the_projection_without_predictor_and_gradient(self):
        branches = build(target="stop_gradient", predictor=HEAD)
        twin = copy.deepcopy(branches)
        assert branches.target_encoder is None and branches.update_target(0.5) is None
        _, b = views()
        keys = branches.key(b)
        assert not keys.requires_grad
        assert torch.equal(keys, F.normalize(twin.projector(twin.encoder(b)), dim=1))
        assert branches.predictor[1].num_batches_tracked == 0, "the predictor's batch norm has seen no key"

    def test_both_directions_share_their_forward_passes(self):
        branches = build(target="stop_gradient", predictor=HEAD)
        for out, keys in branches.directions(*views(), symmetric=True):
            assert out.query.requires_grad and not keys.requires_grad
        assert branches.encoder[1].num_batches_tracked == 2

    def test_the_predictor_must_end_where_the_projector_does(self):
        with pytest.raises(ValueError, match=r"predictor.out_dim = 5 must equal projector.out_dim = 6"):
            build(target="stop_gradient", predictor=HeadConfig(layers=1, out_dim=5))

    def test_there_is_no_target_network_whose_batch_norm_could_be_shuffled(self):
        with pytest.raises(ValueError, match=r"with target 'stop_gradient' there is none"):
            build(target="stop_gradient", shuffle_bn=True)


class TestDirections:
    @pytest.mark.parametrize("target", ["ema", "shared", "stop_gradient"])
    def test_pair_each_view_with_the_other(self, target):
        branches = build(target=target)
        twin = copy.deepcopy(branches)
        a, b = views()
        directions = branches.directions(a, b, symmetric=True)
        for (out, keys), (x, y) in zip(directions, [(a, b), (b, a)], strict=True):
            assert torch.allclose(out.query, twin.query(x).query, atol=1e-6)
            assert torch.allclose(keys, twin.key(y), atol=1e-6)
            assert torch.allclose(out.features, twin.encoder(x), atol=1e-6)
            assert torch.allclose(out.query, F.normalize(out.projection, dim=1), atol=1e-6)
        assert len(branches.directions(a, b, symmetric=False)) == 1


class TestSphere:
    def test_normalised_or_not(self):
        a, b = views()
        on, off = build(normalize=True), build(normalize=False)
        assert torch.allclose(on.query(a).query.norm(dim=1), torch.ones(16), atol=1e-6)
        assert torch.allclose(on.key(b).norm(dim=1), torch.ones(16), atol=1e-6)
        assert torch.equal(off.query(a).query, off.query(a).projection)
        assert off.key(b).norm(dim=1).std() > 1e-3

    def test_float32_under_autocast(self):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = build().query(views()[0])
        assert out.projection.dtype == torch.bfloat16 and out.query.dtype == torch.float32
        assert torch.allclose(out.query.norm(dim=1), torch.ones(16), atol=1e-6)

    def test_identity_heads_leave_the_features(self):
        branches = build(projector=IDENTITY, normalize=False)
        out = branches.query(views()[0])
        assert torch.equal(out.query, out.features) and branches.key_dim == 8


class TestSplitBatchNorm:
    """Batch norm lets a network tell which key was normalised together with the query; see He et al., section 3.3."""

    def test_each_part_is_normalised_apart_and_order_is_kept(self):
        """In each of 4 parts of 4 images, batch norm's output has mean 0: the parts' sums vanish one by one."""
        branches = build(shuffle_bn=True, bn_splits=4, projector=IDENTITY, normalize=False)
        branches.target_encoder = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(108, affine=False))
        torch.manual_seed(5)
        x = views()[1]
        keys = branches.key(x)
        torch.manual_seed(5)
        dealt = torch.randperm(16).view(4, 4)
        flat = x.flatten(1)
        for part in dealt:
            mean, variance = flat[part].mean(0), flat[part].var(0, correction=0)
            assert torch.allclose(keys[part], (flat[part] - mean) / (variance + 1e-5).sqrt(), atol=1e-5)
        whole = (flat - flat.mean(0)) / (flat.var(0, correction=0) + 1e-5).sqrt()
        assert not torch.allclose(keys, whole, atol=0.1)

    def test_without_batch_norm_nothing_changes(self):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        config = BranchesConfig(projector=HeadConfig(layers=1, out_dim=6))
        plain = Branches(net, 8, config)
        split = copy.deepcopy(plain)
        split.config = config.changed(shuffle_bn=True, bn_splits=4)
        assert torch.allclose(plain.key(views()[1]), split.key(views()[1]), atol=1e-6)

    @pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
    def test_no_part_has_a_single_image_unless_the_batch_has(self, n):
        """Batch norm over one row is an error (1d) or a zero: parts hold at least two."""
        branches = build(shuffle_bn=True, bn_splits=8, projector=IDENTITY)
        sizes = []
        branches.target_encoder.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        assert branches.key(views(n)[1]).shape == (n, 8)
        assert sum(sizes) == n and min(sizes) >= min(n, 2)

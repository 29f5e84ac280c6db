"""Heads: their layers, sizes and norms; weight standardisation; batch renormalisation."""

import pytest
import torch
from torch import nn

from ssl_core.parts.batchrenorm import BatchRenorm1d
from ssl_core.parts.heads import build_head, head_out_dim
from ssl_core.parts.ws import WSConv2d, WSLinear, standardize
from ssl_core.spec.parts import HeadConfig


class TestLayers:
    def test_none_is_the_identity(self):
        x = torch.randn(4, 7)
        head = build_head(HeadConfig(layers=0), 7)
        assert torch.equal(head(x), x)
        assert list(head.parameters()) == []
        assert head_out_dim(HeadConfig(layers=0), 7) == 7

    def test_one_is_a_plain_linear_layer(self):
        head = build_head(HeadConfig(layers=1, out_dim=5, norm="bn", weight_standardization=True), 7)
        assert [type(m) for m in head] == [nn.Linear]
        assert head(torch.randn(4, 7)).shape == (4, 5)

    def test_three_repeat_linear_norm_relu_and_end_bare(self):
        head = build_head(HeadConfig(layers=3, hidden_dim=64, out_dim=5, norm="bn", weight_standardization=True), 7)
        kinds = [WSLinear, nn.BatchNorm1d, nn.ReLU, WSLinear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
        assert [type(m) for m in head] == kinds  # the last is neither normalised nor standardised
        assert [(m.in_features, m.out_features) for m in head if isinstance(m, nn.Linear)] == [(7, 64), (64, 64), (64, 5)]

    @pytest.mark.parametrize(("final", "affine"), [("bn", True), ("bn_plain", False)])
    def test_a_final_norm_takes_the_place_of_the_last_bias(self, final, affine):
        """With bn_plain every column has mean 0 and deviation 1, so the output can not collapse to one dimension."""
        head = build_head(HeadConfig(layers=2, hidden_dim=64, out_dim=5, norm="ln", final_norm=final), 7)
        assert [type(m) for m in head] == [nn.Linear, nn.LayerNorm, nn.ReLU, nn.Linear, nn.BatchNorm1d]
        assert head[0].bias is not None and head[-2].bias is None and head[-1].affine is affine
        out = head(torch.randn(64, 7))
        assert torch.allclose(out.mean(0), torch.zeros(5), atol=1e-5)
        assert torch.allclose(out.std(0, correction=0), torch.ones(5), atol=1e-3)

    def test_a_final_norm_needs_a_layer(self):
        with pytest.raises(ValueError, match=r"final_norm = 'bn' comes after the last layer, and layers = 0 has none"):
            HeadConfig(layers=0, final_norm="bn")

    @pytest.mark.parametrize(
        ("norm", "kind"),
        [("bn", nn.BatchNorm1d), ("ln", nn.LayerNorm), ("gn", nn.GroupNorm), ("br", BatchRenorm1d), (None, None)],
    )
    def test_norms_by_name(self, norm, kind):
        config = HeadConfig(layers=2, hidden_dim=64, out_dim=5, norm=norm)
        head = build_head(config, 7)
        assert [type(m) for m in head] == [nn.Linear, *([kind] if kind else []), nn.ReLU, nn.Linear]
        assert head(torch.randn(4, 7)).shape == (4, head_out_dim(config, 7))
        if norm == "gn":
            assert head[1].num_groups == 32


class TestWeightStandardisation:
    def test_rows_have_mean_0_and_unbiased_deviation_1(self):
        """With w = (1, 2, 3): mean 2, unbiased deviation 1, so standardised (-1, 0, 1)."""
        assert torch.allclose(standardize(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[-1.0, 0.0, 1.0]]), atol=1e-4)

    def test_output_ignores_shift_and_scale_of_the_weights(self):
        torch.manual_seed(0)
        layer, x = WSConv2d(3, 4, 3, bias=False), torch.randn(2, 3, 6, 6)
        before = layer(x)
        with torch.no_grad():
            layer.weight.mul_(5).add_(0.3)
        assert torch.allclose(layer(x), before, atol=1e-3)

    def test_constant_weights_become_0_with_a_finite_gradient(self):
        layer = WSLinear(4, 2)
        nn.init.constant_(layer.weight, 0.5)
        out = layer(torch.randn(3, 4))
        out.sum().backward()
        assert torch.equal(out, layer.bias.expand(3, 2))
        assert layer.weight.grad.isfinite().all()


class TestBatchRenorm:
    def test_first_steps_are_batch_norm(self):
        """r_max = 1 and d_max = 0: (x - mean) / (std + epsilon), whatever the running statistics."""
        torch.manual_seed(0)
        x = torch.randn(32, 5, dtype=torch.float64) * 3 + 7
        layer = BatchRenorm1d(5).double()
        expected = (x - x.mean(0)) / (x.var(0, correction=0).sqrt() + 1e-3)
        assert torch.allclose(layer(x), expected, atol=1e-12)

    @pytest.mark.parametrize(
        ("step", "r_max", "d_max"),
        [(0, 1, 0), (5_000, 1, 0), (15_000, 1 + 4 / 7, 2.5), (25_000, 1 + 8 / 7, 5), (40_000, 3, 5), (10**6, 3, 5)],
    )
    def test_limits_loosen_as_in_the_paper(self, step, r_max, d_max):
        layer = BatchRenorm1d(1)
        layer.num_batches_tracked.fill_(step)
        assert [float(limit) for limit in layer.limits()] == pytest.approx([r_max, d_max], abs=1e-5)

    def test_within_the_limits_training_normalises_as_evaluation_does(self):
        """(x - m)/s · s/S + (m - M)/S = (x - M)/S: with wide limits the batch's own statistics cancel."""
        torch.manual_seed(0)
        layer = BatchRenorm1d(4)
        layer.num_batches_tracked.fill_(50_000)
        layer.running_mean.fill_(0.3)
        layer.running_std.fill_(1.2)
        x = torch.randn(64, 4)
        expected = (x - 0.3) / 1.2
        assert torch.allclose(layer(x), expected, atol=1e-5)
        layer.eval()
        layer.running_mean.fill_(0.3)
        layer.running_std.fill_(1.2)
        assert torch.allclose(layer(x), expected, atol=1e-6)

    def test_r_and_d_are_clipped_and_constant_to_the_gradient(self):
        """With std 10 and mean 100 against running 1 and 0, r = 3 and d = 5: y = 3·x̂ + 5, and dy/dx is that of 3·x̂."""
        torch.manual_seed(0)
        base = torch.randn(16, 1, dtype=torch.float64)
        x = ((base - base.mean()) / base.std(correction=0) * 10 + 100).requires_grad_()
        layer = BatchRenorm1d(1, epsilon=0.0).double()
        layer.num_batches_tracked.fill_(50_000)
        weights = torch.randn(16, 1, dtype=torch.float64)
        y = layer(x)
        (y * weights).sum().backward()
        again = x.detach().clone().requires_grad_()
        plain = (again - again.mean(0)) / again.std(0, correction=0)
        (3 * plain * weights).sum().backward()
        assert torch.allclose(y, 3 * plain + 5)
        assert torch.allclose(x.grad, again.grad)

    def test_running_statistics_move_by_the_momentum(self):
        layer = BatchRenorm1d(1, epsilon=0.0, momentum=0.1)
        layer(torch.tensor([[1.0], [3.0]]))  # mean 2, deviation 1
        assert layer.running_mean.item() == pytest.approx(0.2)
        assert layer.running_std.item() == pytest.approx(1.0)
        assert layer.num_batches_tracked.item() == 1

    def test_a_dead_column_stays_finite_and_half_precision_keeps_its_type(self):
        layer = BatchRenorm1d(2)
        x = torch.ones(8, 2, dtype=torch.bfloat16, requires_grad=True)
        y = layer(x)
        y.sum().backward()
        assert y.dtype == torch.bfloat16
        assert y.isfinite().all() and x.grad.isfinite().all()

    def test_wrong_shape_is_named(self):
        with pytest.raises(ValueError, match=r"expected shape \(N, 3\), got \(2, 4\)"):
            BatchRenorm1d(3)(torch.randn(2, 4))

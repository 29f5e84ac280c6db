import pytest
import torch
import torchvision.models
from torch import nn

from ssl_core.encoders import build_encoder
from ssl_core.parts.ws import WSConv2d, WSLinear, standardize
from ssl_core.spec.arch_names import WS_RESNETS
from ssl_core.ws_resnet import ws_resnet


@pytest.mark.parametrize("name", WS_RESNETS)
def test_parameters_are_those_of_torchvisions_resnet(name):
    """Names and shapes, so also their number; only the running statistics are gone."""
    with torch.device("meta"):
        ours = dict(ws_resnet(name).named_parameters())
        theirs = dict(torchvision.models.get_model(name.removeprefix("ws_"), weights=None).named_parameters())
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in theirs.values())


def test_every_convolution_and_norm_is_replaced():
    model = ws_resnet("ws_resnet50")
    assert all(type(each) is WSConv2d for each in model.modules() if isinstance(each, nn.Conv2d))
    assert not any(isinstance(each, nn.BatchNorm2d) for each in model.modules())
    assert {each.num_groups for each in model.modules() if isinstance(each, nn.GroupNorm)} == {32}
    assert list(model.buffers()) == []
    assert all(parameter.device.type == "cpu" for parameter in model.parameters())


def test_an_image_is_encoded_alone():
    """No statistics of the batch: what an image becomes does not depend on its neighbours, in training mode too."""
    torch.manual_seed(0)
    encoder = build_encoder("ws_resnet18", 32).train()
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(encoder(images)[1:2], encoder(images[1:2]), atol=1e-4, rtol=1e-4)


def test_unknown_name():
    with pytest.raises(ValueError, match="valid: ws_resnet18, ws_resnet34"):
        ws_resnet("ws_resnet20")


class TestStandardize:
    def test_mean_0_and_deviation_1(self):
        weight = standardize(torch.randn(5, 4, 3, 3, dtype=torch.float64) * 3 + 2)
        torch.testing.assert_close(weight.mean(dim=(1, 2, 3)), torch.zeros(5, dtype=torch.float64))
        torch.testing.assert_close(weight.flatten(1).std(dim=1), torch.ones(5, dtype=torch.float64), atol=1e-5, rtol=0)

    def test_is_the_papers_formula(self):
        """(w - mean) / (std + 1e-5), with the deviation of a sample (n - 1)."""
        weight = torch.randn(5, 4, 3, 3) * 0.01
        mean, std = weight.flatten(1).mean(1).view(5, 1, 1, 1), weight.flatten(1).std(1).view(5, 1, 1, 1)
        torch.testing.assert_close(standardize(weight), (weight - mean) / (std + 1e-5))

    @pytest.mark.parametrize("layer", [WSConv2d(3, 6, 3, padding=1), WSLinear(3, 6)])
    def test_output_ignores_scale_and_shift_of_the_weights(self, layer):
        inputs = torch.randn(2, 3, 8, 8) if isinstance(layer, nn.Conv2d) else torch.randn(2, 3)
        before = layer(inputs)
        with torch.no_grad():
            scale = torch.rand(6).add(0.5).view(6, *[1] * (layer.weight.ndim - 1))
            layer.weight.mul_(scale).add_(torch.randn(6).view_as(scale))
        torch.testing.assert_close(layer(inputs), before, atol=1e-3, rtol=1e-3)
        with torch.no_grad():
            layer.weight.mul_(-1)
        assert not torch.allclose(layer(inputs), before, atol=1e-2)

    def test_gradient_is_orthogonal_to_weight_and_to_shifts(self):
        """What follows from both invariances: no gradient along 1 nor (but for epsilon) along the centred weight."""
        weight = torch.randn(5, 40, dtype=torch.float64, requires_grad=True)
        (standardize(weight) * torch.randn(5, 40, dtype=torch.float64)).sum().backward()
        centred = weight.detach() - weight.detach().mean(1, keepdim=True)
        torch.testing.assert_close(weight.grad.sum(1), torch.zeros(5, dtype=torch.float64))
        torch.testing.assert_close((weight.grad * centred).sum(1), torch.zeros(5, dtype=torch.float64), atol=1e-3, rtol=0)

    @pytest.mark.parametrize("weight", [torch.zeros(3, 4), torch.full((3, 4), 0.3), torch.ones(3, 1)])
    def test_constant_weights_give_0_with_finite_gradient(self, weight):
        weight = weight.requires_grad_()
        standard = standardize(weight)
        (standard * torch.randn_like(standard)).sum().backward()
        assert standard.abs().max() < 1e-2 and weight.grad.isfinite().all()

    def test_half_precision_keeps_its_dtype(self):
        weight = torch.randn(4, 2048)
        half = standardize(weight.bfloat16())
        assert half.dtype == torch.bfloat16
        torch.testing.assert_close(half.float(), standardize(weight), atol=0.05, rtol=0.02)

    def test_one_dimension_is_refused(self):
        with pytest.raises(ValueError, match=r"shape \(4,\)"):
            standardize(torch.ones(4))

import pytest
import torch
import torchvision.models
from torch import nn

from ssl_core.encoders import build_encoder
from ssl_core.parts.ws import WSConv2d


# The smallest of each family, at a size it can take on the way down to 1×1 maps.
@pytest.mark.parametrize(
    ("arch", "size", "dim"),
    [
        ("squeezenet1_1", 32, 512),
        ("convnext_tiny", 32, 768),
        ("densenet121", 32, 1024),
        ("efficientnet_b0", 32, 1280),
        ("googlenet", 32, 1024),
        ("inception_v3", 75, 2048),
        ("maxvit_t", 64, 512),
        ("mnasnet0_5", 32, 1280),
        ("mobilenet_v2", 32, 1280),
        ("mobilenet_v3_small", 32, 1024),
        ("regnet_y_400mf", 32, 440),
        ("resnet18", 32, 512),
        ("resnext50_32x4d", 32, 2048),
        ("shufflenet_v2_x0_5", 32, 1024),
        ("swin_t", 32, 768),
        ("swin_v2_t", 32, 768),
        ("vit_b_32", 32, 768),
        ("ws_resnet18", 32, 512),
        ("timm/resnet18", 32, 512),
        ("timm/vit_tiny_patch16_224", 32, 192),
        ("timm/mobilenetv4_conv_small", 32, 1280),
    ],
)
def test_images_become_vectors(arch, size, dim):
    """In training mode, where auxiliary heads would turn the output into a tuple, and with a gradient to every parameter."""
    encoder = build_encoder(arch, size)
    features = encoder.train()(torch.randn(2, 3, size, size))
    assert features.shape == (2, dim) and encoder.dim == dim and features.dtype == torch.float32
    features.square().sum().backward()
    assert [name for name, parameter in encoder.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("arch", "dim"), [("alexnet", 4096), ("vgg11", 4096)])
def test_the_ones_with_wide_heads_keep_the_layer_before_the_last(arch, dim):
    with torch.device("meta"):  # half a gigabyte of weights each
        encoder = build_encoder(arch, 64)
        assert encoder(torch.empty(2, 3, 64, 64)).shape == (2, dim)


class TestHead:
    def test_features_are_what_the_classifier_read(self):
        """The same weights give the same logits when the classifier is put behind our features."""
        original = torchvision.models.resnet18(num_classes=7).eval()
        encoder = build_encoder("resnet18", 64, "imagenet").eval()
        missing = encoder.backbone.load_state_dict(original.state_dict(), strict=False)
        assert missing.missing_keys == [] and missing.unexpected_keys == ["fc.weight", "fc.bias"]
        images = torch.randn(2, 3, 64, 64)
        torch.testing.assert_close(original.fc(encoder(images)), original(images))

    def test_convnext_and_vit_keep_their_final_norm(self):
        """A layer norm ends both, so each vector has mean 0 and standard deviation 1."""
        for arch, size in (("convnext_tiny", 32), ("vit_b_32", 32)):
            features = build_encoder(arch, size).eval()(torch.randn(2, 3, size, size))
            torch.testing.assert_close(features.mean(dim=1), torch.zeros(2), atol=1e-4, rtol=0)
            torch.testing.assert_close(features.std(dim=1, correction=0), torch.ones(2), atol=1e-2, rtol=0)

    def test_maxvit_is_torchvisions_at_224(self):
        with torch.device("meta"):
            ours = build_encoder("maxvit_t", 224).backbone.state_dict()
            theirs = torchvision.models.maxvit_t().state_dict()
        del theirs["classifier.5.weight"]
        assert {name: value.shape for name, value in ours.items()} == {name: value.shape for name, value in theirs.items()}

    def test_vit_takes_the_size_it_was_built_for(self):
        with torch.device("meta"):
            encoder = build_encoder("vit_b_16", 96)
        assert encoder.backbone.encoder.pos_embedding.shape == (1, 1 + 6 * 6, 768)


class TestStem:
    @pytest.mark.parametrize("arch", ["resnet18", "ws_resnet18", "timm/resnet18"])
    def test_cifar_keeps_32_px(self, arch):
        encoder = build_encoder(arch, 32, "cifar")
        seen = []
        encoder.backbone.layer1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
        encoder(torch.randn(2, 3, 32, 32))
        assert seen == [(2, 64, 32, 32)]
        assert (type(encoder.backbone.conv1) is WSConv2d) == arch.startswith("ws_")

    @pytest.mark.parametrize(
        ("arch", "size", "stem"),
        [
            ("resnet18", 64, "cifar"),
            ("resnet18", 65, "imagenet"),
            ("ws_resnet18", 32, "cifar"),
            ("squeezenet1_1", 32, "imagenet"),
        ],
    )
    def test_auto(self, arch, size, stem):
        encoder = build_encoder(arch, size, "auto")
        assert encoder.stem == stem
        again = build_encoder(arch, size, encoder.stem)
        assert [(name, each.shape) for name, each in again.state_dict().items()] == [
            (name, each.shape) for name, each in encoder.state_dict().items()
        ]

    @pytest.mark.parametrize("arch", ["squeezenet1_1", "googlenet", "shufflenet_v2_x0_5", "vit_b_32", "timm/resnet18d"])
    def test_cifar_is_for_resnets(self, arch):
        with pytest.raises(ValueError, match=rf"'cifar' is for ResNets; {arch} has no"), torch.device("meta"):
            build_encoder(arch, 96, "cifar")

    def test_imagenet_is_the_network_as_it_is(self):
        encoder = build_encoder("resnet18", 32, "imagenet")
        assert encoder.backbone.conv1.kernel_size == (7, 7) and isinstance(encoder.backbone.maxpool, nn.MaxPool2d)


class TestRefused:
    @pytest.mark.parametrize(
        ("arch", "size", "message"),
        [
            ("inception_v3", 64, "smallest that works is 75 px"),
            ("alexnet", 32, "smallest that works is 63 px"),
            ("vit_b_16", 100, "multiple of 16 px, not 100; the nearest is 96 or 112"),
            ("vit_h_14", 12, "multiple of 14 px, not 12; the nearest is 14"),
            ("maxvit_t", 100, "multiple of 32 px, not 100; the nearest is 96 or 128"),
        ],
    )
    def test_sizes(self, arch, size, message):
        with pytest.raises(ValueError, match=message), torch.device("meta"):
            build_encoder(arch, size)

    @pytest.mark.parametrize(("arch", "smallest"), [("alexnet", 63), ("squeezenet1_1", 17)])
    def test_the_size_that_is_named_works_and_one_less_does_not(self, arch, smallest):
        with torch.device("meta"):
            assert build_encoder(arch, smallest).size == smallest
            with pytest.raises(ValueError, match="cannot take images"):
                build_encoder(arch, smallest - 1)

    @pytest.mark.parametrize(
        ("arch", "message"),
        [
            ("resnet19", "did you mean 'resnet1"),
            ("timm/resnet_18", "did you mean 'resnet"),
            ("timm/hf-hub:someone/model", "unknown architecture"),
            ("timm/local-dir:/tmp/model", "unknown architecture"),
        ],
    )
    def test_names(self, arch, message):
        with pytest.raises(ValueError, match=message):
            build_encoder(arch, 32)


def test_the_seed_decides_the_weights():
    def state(seed):
        torch.manual_seed(seed)
        return build_encoder("squeezenet1_1", 32).state_dict()

    first, again, other = state(1), state(1), state(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_building_leaves_batch_statistics_and_the_mode_alone():
    """The run that finds `dim` must not count as training."""
    encoder = build_encoder("resnet18", 32)
    assert encoder.training and encoder.backbone.bn1.training
    assert encoder.backbone.bn1.num_batches_tracked == 0 and not encoder.backbone.bn1.running_mean.any()

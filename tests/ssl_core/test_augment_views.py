"""Views of a batch: what they depend on and what they do not, any number of channels, local views, and no waiting."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import functional as F

from ssl_core.augment import geometry, make_view, make_views, normalise, views
from ssl_core.augment.cpu import in_chunks
from ssl_core.augment.draw import Purpose
from ssl_core.augment.random import uniforms
from ssl_core.spec import AugmentConfig, ViewConfig

PLAIN = ViewConfig(crop_scale=(1, 1), crop_ratio=(1, 1), flip=0, jitter=0, grayscale=0, blur=0)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def pictures(count: int = 40, side: int = 36, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)


def drawn(images: Tensor, index: Tensor, epoch: int = 2, size: int = 32, **fields: object) -> tuple[Tensor, ...]:
    config = AugmentConfig.model_validate({"degrees": 10, "solarize": 0.2, **fields})
    return make_views(images, config, size, MEAN, STD, 7, epoch, index)


def assert_same(views: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> None:
    """As drawn in chunks of other sizes: a few roundings apart, or a thousandth of the values where solarise inverts 0.5."""
    for view, other in zip(views, others, strict=True):
        assert ((view - other).abs() > 5e-5).float().mean() < 1e-3


class TestViews:
    def test_shapes_memory_and_range(self) -> None:
        for view in drawn(pictures(), torch.arange(40)):
            assert view.shape == (40, 3, 32, 32) and view.dtype == torch.float32
            assert view.is_contiguous(memory_format=torch.channels_last)
            pixels = view * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
            assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5

    @pytest.mark.parametrize("fields", [{}, {"degrees": 0}, {"degrees": 0, "crop_scale": (0.05, 0.2)}], ids=str)
    def test_an_image_has_the_same_views_in_any_batch(self, fields: dict[str, object]) -> None:
        images, index = pictures(side=80), torch.arange(40) + 1000
        whole = drawn(images, index, size=70, **fields)
        order = torch.randperm(40, generator=torch.Generator().manual_seed(1))[:11]
        assert_same(tuple(view[order] for view in whole), drawn(images[order], index[order], size=70, **fields))

    @pytest.mark.parametrize("cached", [1, 9 * 3 * 32 * 32, 2**30])
    def test_in_chunks_of_any_size(self, monkeypatch: pytest.MonkeyPatch, cached: int) -> None:
        """One by one, nine at once, all at once: each has its own way from the chunk into the batch."""
        images, index = pictures(side=70), torch.arange(40)
        whole = drawn(images, index, degrees=0)
        monkeypatch.setattr("ssl_core.augment.cpu.CACHED", cached)
        assert_same(whole, drawn(images, index, degrees=0))

    @pytest.mark.parametrize("scale", [(0.05, 0.2), (0.2, 1.0)])
    def test_of_large_images_what_is_looked_at_is_enough(
        self, monkeypatch: pytest.MonkeyPatch, scale: tuple[float, float]
    ) -> None:
        images, index = pictures(side=110), torch.arange(40)
        cut_first = drawn(images, index, size=96, crop_scale=scale, degrees=0)
        monkeypatch.setattr("ssl_core.augment.cpu.LARGE", 1000)
        assert_same(cut_first, drawn(images, index, size=96, crop_scale=scale, degrees=0))

    def test_the_same_again_and_different_otherwise(self) -> None:
        images, index = pictures(), torch.arange(40)
        first = drawn(images, index)
        assert all(torch.equal(a, b) for a, b in zip(first, drawn(images, index), strict=True))
        for other in (first[1], drawn(images, index, epoch=3)[0], drawn(images, index + 40)[0]):
            assert ((first[0] - other).flatten(1).abs().mean(1) > 0.05).all()

    def test_the_images_are_left_alone(self) -> None:
        images = pictures()
        drawn(images, torch.arange(40))
        assert torch.equal(images, pictures())

    def test_autocast_changes_nothing(self) -> None:
        images, index = pictures(), torch.arange(40)
        expected = drawn(images, index)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert all(torch.equal(a, b) for a, b in zip(expected, drawn(images, index), strict=True))

    def test_the_second_view_has_its_own_distribution(self) -> None:
        plain = {name: getattr(PLAIN, name) for name in ViewConfig.model_fields}
        config = AugmentConfig.model_validate({**plain, "second_view": {"solarize": 1.0}})
        images = pictures(side=32)
        first, second = make_views(images, config, 32, (0,) * 3, (1,) * 3, 0, 0, torch.arange(40))
        torch.testing.assert_close(first, images / 255, atol=1e-5, rtol=0)
        torch.testing.assert_close(second, torch.where(images >= 128, 255 - images, images) / 255, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("field", ["flip", "vertical_flip", "jitter", "grayscale", "blur", "solarize"])
    def test_probabilities_are_per_image(self, field: str) -> None:
        """A share of 0.3 of the images is changed, to 5 standard errors, 0.05: neither 0.2 nor 0.4."""
        images = pictures(2000, 12)
        random = uniforms(0, 0, torch.arange(2000), 0, Purpose.COUNT)
        untouched = make_view(images, PLAIN, 12, random)
        changed = (make_view(images, PLAIN.changed(**{field: 0.3}), 12, random) - untouched).flatten(1).abs().amax(1) > 1e-3
        assert abs(changed.float().mean() - 0.3) < 5 * (0.3 * 0.7 / 2000) ** 0.5

    def test_jitter_strengths_are_uniform(self) -> None:
        """Brightness on a dark gray image can be read off: factors of 0.6 to 1.4, uniform."""
        random = uniforms(0, 0, torch.arange(4000), 0, Purpose.COUNT)
        only = PLAIN.changed(jitter=1, brightness=0.4, contrast=0, saturation=0, hue=0)
        factors = make_view(torch.full((4000, 3, 8, 8), 0.2), only, 8, random)[:, 0, 0, 0] / 0.2
        at = torch.linspace(0, 1, 21)
        torch.testing.assert_close(factors.quantile(at), 0.6 + 0.8 * at, atol=0.025, rtol=0)

    def test_affine_moves_leave_zeros_outside(self) -> None:
        random = uniforms(0, 0, torch.arange(50), 0, Purpose.COUNT)
        moved = make_view(torch.ones(50, 3, 16, 16), PLAIN.changed(translate=0.4), 16, random)
        assert 0.2 < moved.mean() < 0.95 and ((moved == 0) | (moved > 1 - 1e-6)).all()
        cropped = make_view(torch.ones(50, 3, 16, 16), PLAIN.changed(crop_scale=(0.1, 1.0)), 16, random)
        assert (cropped > 1 - 1e-6).all(), "a crop alone must not darken at the edge"

    def test_any_generator_will_do(self) -> None:
        """A batch drawn by a torch.Generator: reproducible, different for another seed, and of the same distribution."""
        images = pictures(400, 12)
        seen = []
        for seed in (0, 0, 1):
            random = torch.rand(Purpose.COUNT, 400, generator=torch.Generator().manual_seed(seed))
            seen.append(make_view(images, PLAIN.changed(flip=0.5), 12, random))
        assert torch.equal(seen[0], seen[1])
        flipped = [(view - images / 255).flatten(1).abs().amax(1) > 1e-4 for view in seen]
        assert (flipped[0] != flipped[2]).any()
        assert all(abs(each.float().mean() - 0.5) < 4 * (0.25 / 400) ** 0.5 for each in flipped)

    def test_uint8_and_float_images_give_the_same(self) -> None:
        random = uniforms(0, 0, torch.arange(40), 0, Purpose.COUNT)
        for config in (ViewConfig(), ViewConfig(degrees=10)):
            bytes_, floats = (make_view(each, config, 32, random) for each in (pictures(), pictures() / 255))
            torch.testing.assert_close(bytes_, floats, atol=2e-6, rtol=0)

    def test_purposes_have_rows_of_their_own(self) -> None:
        assert Purpose.RATIO - Purpose.AREA == Purpose.COUNT - Purpose.RATIO == geometry.TRIES
        assert len(Purpose) == Purpose.COUNT - 2 * geometry.TRIES + 3


class TestChannels:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
    def test_any_number(self, channels: int) -> None:
        """All views of all channels, with as many means as channels, or one for all."""
        images = pictures(12, 80, channels)
        config = AugmentConfig.model_validate({"solarize": 0.5, "local_views": {"count": 2}})
        mean = tuple(0.3 + 0.02 * number for number in range(channels))
        several = make_views(images, config, 64, mean, (0.5,) * channels, 0, 0, torch.arange(12))
        one_for_all = make_views(images, config, 64, (0.0,), (0.5,), 0, 0, torch.arange(12))
        assert [view.shape for view in several] == [(12, channels, size, size) for size in (64, 64, 24, 24)]
        for view, bare in zip(several, one_for_all, strict=True):
            shift = torch.tensor(mean).view(1, -1, 1, 1) / 0.5
            torch.testing.assert_close(view + shift, bare, atol=1e-5, rtol=0)
            assert view.std() > 0.1 and (view[0] - view[1]).abs().mean() > 0.05
        evaluated = normalise(images, 64, mean, (0.5,) * channels)
        torch.testing.assert_close(evaluated, F.normalize(images[..., 8:72, 8:72] / 255, mean, (0.5,) * channels))

    def test_what_is_defined_for_colours_leaves_other_channels_alone(self) -> None:
        """Infrared as the fourth channel, or opacity: neither grayscale nor saturation may mix it with the others."""
        images, random = pictures(40, 32, 4), uniforms(0, 0, torch.arange(40), 0, Purpose.COUNT)
        colourful = PLAIN.changed(jitter=1, brightness=0, contrast=0, saturation=0.9, hue=0.5, grayscale=1)
        torch.testing.assert_close(make_view(images, colourful, 32, random), images / 255, atol=1e-5, rtol=0)
        assert (make_view(images[:, :3], colourful, 32, random) - images[:, :3] / 255).abs().mean() > 0.1

    @pytest.mark.parametrize("name", ["mean", "std"])
    def test_wrong_statistics_are_named(self, name: str) -> None:
        statistics = {"mean": (0.5,), "std": (0.5,), name: (0.5,) * 3}
        with pytest.raises(ValueError, match=f"{name} has 3 numbers for images of 4 channels: give 4, or 1 for all"):
            make_views(pictures(2, 32, 4), AugmentConfig(), 32, **statistics, seed=0, epoch=0, index=torch.arange(2))
        with pytest.raises(ValueError, match=f"{name} has 3 numbers"):
            normalise(pictures(2, 32, 4), 32, **statistics)


class TestLocalViews:
    def test_come_after_the_global_ones_which_stay_as_they_are(self) -> None:
        images, index = pictures(), torch.arange(40)
        two, many = drawn(images, index), drawn(images, index, local_views={"count": 3})
        assert [view.shape[-1] for view in many] == [32, 32, 16, 16, 16]
        assert all(torch.equal(a, b) for a, b in zip(two, many, strict=False))
        assert all(torch.equal(a, b) for a, b in zip(many, drawn(images, index, local_views={"count": 2}), strict=False))
        assert (many[2] - many[3]).flatten(1).abs().amax(1).min() > 0.1

    def test_show_a_small_part(self) -> None:
        """On a ramp from 0 to 1 the range of a view is the width of its crop: 5 to 20 % of the area, of ratio 1."""
        ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 1, 256).expand(200, 3, 256, 256).contiguous()
        plain = {name: getattr(PLAIN, name) for name in ViewConfig.model_fields}
        config = AugmentConfig.model_validate({**plain, "local_views": {"count": 1, "size": 96}})
        view = make_views(ramp, config, 224, (0,), (1,), 0, 0, torch.arange(200))[2]
        rows = view[:, 0, 0]
        widths = (rows.amax(1) - rows.amin(1)) * 96 / 95  # from the first pixel's centre to the last's
        torch.testing.assert_close(widths.square().aminmax(), torch.aminmax(torch.tensor([0.05, 0.2])), atol=0.004, rtol=0)

    def test_have_their_own_distribution(self) -> None:
        config = AugmentConfig.model_validate({"blur": 0.3, "local_views": {"count": 2, "blur": 0.0, "flip": 1.0, "size": 20}})
        first, second, *local = config.views()
        assert len(local) == 2 and local[0] == first.changed(crop_scale=(0.05, 0.2), blur=0.0, flip=1.0)
        assert second == first and config.local_views.side(224) == 20


class Watch(TorchDispatchMode):
    """Collects copies from the host to the device, here "meta"; waiting for one of its values is an error by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = func(*args, **(kwargs or {}))
        numbers = [each for each in args if isinstance(each, Tensor) and each.dim() > 0]
        if isinstance(out, Tensor) and out.is_meta and any(not each.is_meta for each in numbers):
            self.copies.append(str(func))
        return out


class TestOnAccelerators:
    """Their path, run where there is none: on CPU tensors for its values, on meta tensors for what it asks of the host."""

    @pytest.mark.parametrize("channels", [1, 3, 4])
    @pytest.mark.parametrize("fields", [{}, {"degrees": 15.0, "shear": 5.0}, {"crop_scale": (0.05, 0.2)}], ids=str)
    def test_the_same_views(self, fields: dict[str, object], channels: int) -> None:
        images, random = pictures(60, 80, channels), uniforms(0, 0, torch.arange(60), 0, Purpose.COUNT)
        config = ViewConfig.model_validate({"solarize": 0.3, **fields})
        finish = partial(views._finish, mean=(0.5,), std=(0.25,))
        for size in (70, 36):
            seen = [draw(images, config, size, random, finish) for draw in (views.at_once, in_chunks)]
            assert_same((seen[0],), (seen[1],))

    def test_nothing_is_asked_of_the_host(self) -> None:
        images, index = (each.to("meta") for each in (pictures(8, 80), torch.arange(8)))
        configs = (ViewConfig(solarize=0.3), ViewConfig(degrees=5.0))
        finish = partial(views._finish, mean=MEAN, std=STD)

        def run() -> list[torch.Size]:
            random = uniforms(0, 0, index, 0, Purpose.COUNT)
            return [views.at_once(images, config, size, random, finish).shape for config in configs for size in (70, 32)]

        run()  # constants are sent once
        with Watch() as watch:
            shapes = run()
        assert shapes == [(8, 3, 70, 70), (8, 3, 32, 32)] * 2
        assert watch.copies == []
        with Watch() as watch:
            torch.tensor([1.0, 2.0]).to("meta")
        assert watch.copies, "the watch must see a copy"
        with pytest.raises((RuntimeError, NotImplementedError)):
            images.sum().item()


def test_normalise_cuts_the_centre() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 37, 37), dtype=np.uint8))
    expected = F.normalize(images[..., 2:34, 2:34] / 255, MEAN, STD)
    torch.testing.assert_close(normalise(images, 32, MEAN, STD), expected, atol=1e-5, rtol=0)

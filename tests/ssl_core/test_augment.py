"""Views: each operation against torchvision's, and the distributions against torchvision's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F
from torchvision.transforms.functional import InterpolationMode

from ssl_core.augment import colour, geometry, make_view, make_views, normalise
from ssl_core.augment.random import uniforms
from ssl_core.augment.views import Purpose
from ssl_core.spec import AugmentConfig, ViewConfig

PLAIN = ViewConfig(crop_scale=(1, 1), crop_ratio=(1, 1), flip=0, jitter=0, grayscale=0, blur=0)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def photos() -> Tensor:
    """Pieces of the two photographs that come with scikit-learn: float (16, 3, 48, 48) in [0, 1]."""
    pieces = []
    for photo in load_sample_images().images:
        small = F.resize(torch.from_numpy(photo.copy()).permute(2, 0, 1), 200, antialias=True)
        pieces += [F.crop(small, top, left, 48, 48) for top in (20, 120) for left in (10, 80, 150, 220)]
    return torch.stack(pieces).float() / 255


def spread(low: float, high: float, count: int = 16) -> Tensor:
    return torch.linspace(low, high, count)


class TestColour:
    def each(self, function, photos: Tensor, strengths: Tensor) -> Tensor:
        return torch.stack([function(photo, float(strength)) for photo, strength in zip(photos, strengths, strict=True)])

    @pytest.mark.parametrize("name", ["brightness", "contrast", "saturation"])
    def test_as_torchvision(self, photos: Tensor, name: str) -> None:
        factors = spread(0, 2)
        expected = self.each(getattr(F, f"adjust_{name}"), photos, factors)
        torch.testing.assert_close(getattr(colour, name)(photos, factors), expected, atol=2e-6, rtol=0)

    def test_hue(self, photos: Tensor) -> None:
        shifts = spread(-0.5, 0.5)
        torch.testing.assert_close(colour.hue(photos, shifts), self.each(F.adjust_hue, photos, shifts), atol=1e-5, rtol=0)

    def test_hue_of_pure_colours_and_grays(self) -> None:
        colours = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0.5, 0.5, 0.5], [0, 0, 0], [1, 1, 1]]).float()
        images = colours.view(1, 7, 3).permute(2, 0, 1)[None]
        turned = colour.hue(images, torch.tensor([1 / 3]))[0, :, 0].T
        expected = torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 1], [0.5, 0.5, 0.5], [0, 0, 0], [1, 1, 1]]).float()
        torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)

    def test_grayscale_and_solarize_are_per_image(self, photos: Tensor) -> None:
        chosen = torch.arange(16) % 3 == 0
        for name, expected in (("grayscale", F.rgb_to_grayscale(photos, 3)), ("solarize", F.solarize(photos, 0.5))):
            done = getattr(colour, name)(photos, chosen)
            torch.testing.assert_close(done[chosen], expected[chosen], atol=1e-6, rtol=0)
            assert torch.equal(done[~chosen], photos[~chosen])

    @pytest.mark.parametrize("largest", [1.0, 2.0])
    def test_blur(self, photos: Tensor, largest: float) -> None:
        sigmas = spread(0.1, largest)
        width = 2 * math.ceil(3 * largest) + 1
        expected = self.each(lambda photo, sigma: F.gaussian_blur(photo, [width, width], [sigma, sigma]), photos, sigmas)
        torch.testing.assert_close(colour.gaussian_blur(photos, sigmas, largest), expected, atol=2e-6, rtol=0)

    def test_blur_of_an_image_smaller_than_the_kernel(self) -> None:
        flat = colour.gaussian_blur(torch.full((1, 3, 4, 4), 0.3), torch.tensor([2.0]), 2.0)
        torch.testing.assert_close(flat, torch.full((1, 3, 4, 4), 0.3))

    def test_inputs_are_left_alone(self, photos: Tensor) -> None:
        before, strengths = photos.clone(), spread(0.1, 0.5)
        for name in ("brightness", "contrast", "saturation", "hue"):
            getattr(colour, name)(photos, strengths)
        colour.gaussian_blur(photos, strengths, 0.5)
        assert torch.equal(photos, before)


class TestGeometry:
    def look(self, photos: Tensor, maps: Tensor, size: int = 48, fill: bool = False) -> Tensor:
        return geometry.sample(photos, maps.expand(len(photos), 2, 3), size, fill)

    def boxes(self, left: int, top: int, width: int, height: int) -> Tensor:
        return torch.tensor([[left, top, width, height]]) / 48

    def test_identity(self, photos: Tensor) -> None:
        no = torch.tensor([False])
        torch.testing.assert_close(self.look(photos, geometry.box_maps(self.boxes(0, 0, 48, 48), no, no)), photos)

    def test_flips(self, photos: Tensor) -> None:
        for x, y in ((True, False), (False, True), (True, True)):
            maps = geometry.box_maps(self.boxes(0, 0, 48, 48), torch.tensor([x]), torch.tensor([y]))
            expected = photos.flip([axis for axis, do in ((3, x), (2, y)) if do])
            torch.testing.assert_close(self.look(photos, maps), expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("box", [(0, 0, 32, 32), (16, 16, 32, 32), (5, 9, 20, 30), (30, 2, 18, 40)])
    def test_crops_that_are_enlarged_equal_torchvision(self, photos: Tensor, box: tuple[int, int, int, int]) -> None:
        left, top, width, height = box
        no = torch.tensor([False])
        expected = F.resized_crop(photos, top, left, height, width, [48, 48], antialias=True)
        seen = self.look(photos, geometry.box_maps(self.boxes(*box), no, no))
        inside = (slice(None), slice(None), slice(3, -3), slice(3, -3))  # at a crop's edge torchvision sees nothing beyond it
        torch.testing.assert_close(seen[inside], expected[inside], atol=1e-4, rtol=0)
        assert (seen - expected).abs().mean() < 0.01

    @pytest.mark.parametrize("change", [(20, (0, 0), 0), (0, (6, -3), 0), (0, (0, 0), 15), (-35, (2, 5), 10)])
    def test_affine_equals_torchvision(self, photos: Tensor, change: tuple[float, tuple[int, int], float]) -> None:
        degrees, (x, y), shear = change
        numbers = (torch.tensor([value]) for value in (degrees * 1.0, x / 48, y / 48, shear * 1.0))
        seen = self.look(photos, geometry.affine_maps(*numbers), fill=True)
        expected = F.affine(photos, degrees, [x, y], 1.0, [shear, 0.0], InterpolationMode.BILINEAR)
        ones = F.affine(torch.ones_like(photos), degrees, [x, y], 1.0, [shear, 0.0], InterpolationMode.BILINEAR)
        torch.testing.assert_close(seen * (ones > 0.999), expected * (ones > 0.999), atol=1e-4, rtol=0)
        assert (seen[ones == 0] == 0).all()

    def test_crop_flip_and_affine_in_one_pass(self, photos: Tensor) -> None:
        """The composed map equals doing it one after the other, up to the smoothing of the extra passes."""
        maps = geometry.box_maps(self.boxes(8, 4, 36, 36), torch.tensor([True]), torch.tensor([False]))
        turn = geometry.affine_maps(*(torch.tensor([value]) for value in (10.0, 0.05, -0.05, 5.0)))
        together = self.look(photos, geometry.after(maps, turn))
        apart = self.look(self.look(photos, maps, 144), turn, 144)
        inside = (slice(None), slice(None), slice(8, -8), slice(8, -8))
        assert (together - torch.nn.functional.avg_pool2d(apart, 3))[inside].abs().mean() < 0.015
        backwards = self.look(photos, geometry.after(turn, maps))
        assert (backwards - torch.nn.functional.avg_pool2d(apart, 3))[inside].abs().mean() > 0.03

    def test_large_images_are_halved_first(self) -> None:
        board = torch.zeros(1, 3, 64, 64)
        board[..., ::2] = 1  # stripes of one pixel: anything but gray is aliasing
        no = torch.tensor([False])
        maps = geometry.box_maps(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), no, no)
        torch.testing.assert_close(geometry.sample(board, maps, 32, False), torch.full((1, 3, 32, 32), 0.5))

    @pytest.mark.parametrize(
        "scale,ratio", [((0.2, 1.0), (3 / 4, 4 / 3)), ((0.08, 1.0), (3 / 4, 4 / 3)), ((0.5, 1.0), (0.5, 2.0))]
    )
    def test_crops_are_distributed_as_torchvisions(self, scale: tuple[float, float], ratio: tuple[float, float]) -> None:
        """Left, top, width, height, area and ratio: quantiles of 20,000 boxes each, on an image of 1000×1000 px."""
        torch.manual_seed(0)
        image = torch.empty(3, 1000, 1000)
        drawn = [RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(20_000)]
        theirs = torch.tensor(drawn, dtype=torch.float64)[:, [1, 0, 3, 2]] / 1000
        random = uniforms(0, 0, torch.arange(20_000), 0, 2 * geometry.TRIES + 2)
        tries = geometry.TRIES
        ours = geometry.crop_boxes(random[:tries], random[tries : 2 * tries], random[-2], random[-1], scale, ratio).double()
        assert (ours >= 0).all() and (ours[:, :2] + ours[:, 2:] <= 1 + 1e-6).all()

        def looked_at(boxes: Tensor) -> Tensor:
            left, top, width, height = boxes.unbind(1)
            return torch.stack([left, top, width, height, width * height, (width / height).log()])

        at = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
        apart = (looked_at(ours).quantile(at, dim=1) - looked_at(theirs).quantile(at, dim=1)).abs()
        assert apart.max() < 0.02

    def test_crops_that_never_fit(self) -> None:
        """Twice as wide as high, of nearly the whole area: the largest box of an allowed ratio, in the centre."""
        half = torch.full((geometry.TRIES, 1), 0.5)
        box = geometry.crop_boxes(half, half, half[0], half[0], (0.9, 1.0), (2.0, 2.0))
        torch.testing.assert_close(box, torch.tensor([[0.0, 0.25, 1.0, 0.5]]))


class TestViews:
    def images(self, count: int = 40, side: int = 36) -> Tensor:
        return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def views(self, images: Tensor, index: Tensor, epoch: int = 2, **fields: object) -> tuple[Tensor, Tensor]:
        config = AugmentConfig.model_validate({"degrees": 10, "solarize": 0.2, **fields})
        return make_views(images, config, 32, MEAN, STD, 7, epoch, index)

    def test_shapes_and_range(self) -> None:
        for view in self.views(self.images(), torch.arange(40)):
            assert view.shape == (40, 3, 32, 32) and view.dtype == torch.float32 and view.is_contiguous()
            pixels = view * torch.tensor(STD).view(1, 3, 1, 1) + torch.tensor(MEAN).view(1, 3, 1, 1)
            assert pixels.min() > -1e-5 and pixels.max() < 1 + 1e-5

    def test_an_image_has_the_same_views_in_any_batch(self) -> None:
        images, index = self.images(), torch.arange(40) + 1000
        whole = self.views(images, index)
        order = torch.randperm(40, generator=torch.Generator().manual_seed(1))[:11]
        for all_of_them, some in zip(whole, self.views(images[order], index[order]), strict=True):
            torch.testing.assert_close(some, all_of_them[order], atol=2e-5, rtol=0)

    def test_in_pieces_as_in_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = self.views(self.images(), torch.arange(40))
        monkeypatch.setattr("ssl_core.augment.views.CACHED", 9 * 32 * 32)
        for one, pieces in zip(whole, self.views(self.images(), torch.arange(40)), strict=True):
            torch.testing.assert_close(one, pieces, atol=2e-5, rtol=0)

    def test_the_same_again_and_different_otherwise(self) -> None:
        images, index = self.images(), torch.arange(40)
        first = self.views(images, index)
        assert all(torch.equal(a, b) for a, b in zip(first, self.views(images, index), strict=True))
        different = (first[1], self.views(images, index, epoch=3)[0], self.views(images, index + 40)[0])
        for other in different:
            assert ((first[0] - other).flatten(1).abs().mean(1) > 0.05).all()

    def test_the_images_are_left_alone(self) -> None:
        images = self.images()
        self.views(images, torch.arange(40))
        assert torch.equal(images, self.images())

    def test_autocast_changes_nothing(self) -> None:
        images, index = self.images(), torch.arange(40)
        expected = self.views(images, index)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert all(torch.equal(a, b) for a, b in zip(expected, self.views(images, index), strict=True))

    def test_the_second_view_has_its_own_distribution(self) -> None:
        plain = {name: getattr(PLAIN, name) for name in ViewConfig.model_fields}
        config = AugmentConfig.model_validate({**plain, "second_view": {"solarize": 1.0}})
        images = self.images(side=32)
        first, second = make_views(images, config, 32, (0,) * 3, (1,) * 3, 0, 0, torch.arange(40))
        torch.testing.assert_close(first, images / 255, atol=1e-5, rtol=0)
        torch.testing.assert_close(second, torch.where(images >= 128, 255 - images, images) / 255, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("field", ["flip", "vertical_flip", "jitter", "grayscale", "blur", "solarize"])
    def test_probabilities_are_per_image(self, field: str) -> None:
        """A share of 0.3 of the images is changed, whatever else is on or off."""
        pixels = self.images(2000, 12).float()
        random = uniforms(0, 0, torch.arange(2000), 0, Purpose.COUNT)
        untouched = make_view(pixels, PLAIN, 12, random)
        changed = (make_view(pixels, PLAIN.changed(**{field: 0.3}), 12, random) - untouched).flatten(1).abs().amax(1) > 1e-3
        assert abs(changed.float().mean() - 0.3) < 5 * (0.3 * 0.7 / 2000) ** 0.5

    def test_jitter_strengths_are_uniform(self) -> None:
        """Brightness on a dark gray image can be read off: factors of 0.6 to 1.4, uniform."""
        random = uniforms(0, 0, torch.arange(4000), 0, Purpose.COUNT)
        only = PLAIN.changed(jitter=1, brightness=0.4, contrast=0, saturation=0, hue=0)
        factors = make_view(torch.full((4000, 3, 8, 8), 51.0), only, 8, random)[:, 0, 0, 0] / 0.2
        at = torch.linspace(0, 1, 21)
        torch.testing.assert_close(factors.quantile(at), 0.6 + 0.8 * at, atol=0.025, rtol=0)

    def test_affine_moves_leave_zeros_outside(self) -> None:
        random = uniforms(0, 0, torch.arange(50), 0, Purpose.COUNT)
        moved = make_view(torch.full((50, 3, 16, 16), 255.0), PLAIN.changed(translate=0.4), 16, random)
        assert 0.2 < moved.mean() < 0.95 and ((moved == 0) | (moved > 1 - 1e-6)).all()
        cropped = make_view(torch.full((50, 3, 16, 16), 255.0), PLAIN.changed(crop_scale=(0.1, 1.0)), 16, random)
        assert (cropped > 1 - 1e-6).all(), "a crop alone must not darken at the edge"

    def test_purposes_have_rows_of_their_own(self) -> None:
        assert Purpose.RATIO - Purpose.AREA == Purpose.COUNT - Purpose.RATIO == geometry.TRIES
        assert len(Purpose) == Purpose.COUNT - 2 * geometry.TRIES + 3


def test_normalise_cuts_the_centre() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 37, 37), dtype=np.uint8))
    expected = F.normalize(images[..., 2:34, 2:34] / 255, MEAN, STD)
    torch.testing.assert_close(normalise(images, 32, MEAN, STD), expected, atol=1e-5, rtol=0)

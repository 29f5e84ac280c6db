"""Each operation of a view against torchvision's function of the same name, on photographs."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.datasets import load_sample_images
from torch import Tensor
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F
from torchvision.transforms.functional import InterpolationMode

from ssl_core.augment import colour, geometry, separable
from ssl_core.augment.blur import blur_by_bands, gaussian_blur, gaussian_kernels
from ssl_core.augment.random import uniforms
from ssl_core.augment.separable import linear_taps


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
        kernels = gaussian_kernels(sigmas, largest, 48)
        for blur in (gaussian_blur, blur_by_bands):
            torch.testing.assert_close(blur(photos, kernels), expected, atol=2e-6, rtol=0)
        wide = photos[..., :30, :]
        expected = self.each(lambda photo, sigma: F.gaussian_blur(photo, [width, width], [sigma, sigma]), wide, sigmas)
        for blur in (gaussian_blur, blur_by_bands):
            torch.testing.assert_close(blur(wide, kernels), expected, atol=2e-6, rtol=0)

    def test_blur_of_an_image_smaller_than_the_kernel(self) -> None:
        kernels = gaussian_kernels(torch.tensor([2.0]), 2.0, 4)
        assert kernels.shape == (1, 7)
        for blur in (gaussian_blur, blur_by_bands):
            torch.testing.assert_close(blur(torch.full((1, 3, 4, 4), 0.3), kernels), torch.full((1, 3, 4, 4), 0.3))

    @pytest.mark.parametrize("channels", [1, 2, 4, 13])
    def test_channels_other_than_three(self, channels: int) -> None:
        """One channel as torchvision; of more, contrast turns around the mean of all; what is of red, green and blue is left."""
        images = torch.rand(16, channels, 9, 9, generator=torch.Generator().manual_seed(0))
        factors = spread(0, 2)
        mean = images.mean((1, 2, 3), keepdim=True)
        each = factors.view(-1, 1, 1, 1)
        expected = (each * images + (1 - each) * mean).clamp(0, 1)
        torch.testing.assert_close(colour.contrast(images, factors), expected, atol=2e-6, rtol=0)
        torch.testing.assert_close(colour.brightness(images, factors), (each * images).clamp(0, 1), atol=2e-6, rtol=0)
        if channels == 1:
            torch.testing.assert_close(expected, self.each(F.adjust_contrast, images, factors), atol=2e-6, rtol=0)
        for untouched in (
            colour.saturation(images, factors),
            colour.hue(images, factors / 4),
            colour.grayscale(images, factors > 1),
        ):
            assert torch.equal(untouched, images)

    def test_inputs_are_left_alone(self, photos: Tensor) -> None:
        before, strengths = photos.clone(), spread(0.1, 0.5)
        for name in ("brightness", "contrast", "saturation", "hue"):
            getattr(colour, name)(photos, strengths)
        gaussian_blur(photos, gaussian_kernels(strengths, 0.5, 48))
        separable.resample(photos, *[linear_taps(strengths, strengths, strengths > 0.3, 48, 20)] * 2)
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
        times = geometry.halvings(64, 32, (0.2, 1.0), (3 / 4, 4 / 3))
        seen = geometry.sample(geometry.halved(board, times), maps, 32, False)
        torch.testing.assert_close(seen, torch.full((1, 3, 32, 32), 0.5))

    def test_halvings_leave_the_largest_crop_as_large_as_the_view(self) -> None:
        """Of 256 px, crops of at most a fifth of the area (at 4:3, 0.52 of the side, 132 px) are made 96 px from all pixels."""
        ratios = (3 / 4, 4 / 3)
        assert [geometry.halvings(side, 32, (0.2, 1.0), ratios) for side in (32, 63, 64, 127, 128)] == [0, 0, 1, 1, 2]
        assert [geometry.halvings(256, size, (0.05, 0.2), ratios) for size in (96, 67, 66, 33)] == [0, 0, 1, 2]
        assert geometry.halvings(256, 96, (0.05, 1.0), ratios) == 1

    @pytest.mark.parametrize("size", [20, 48, 61])
    def test_sums_of_rows_see_what_grid_sample_sees(self, photos: Tensor, size: int) -> None:
        """Two ways to the same view: boxes anywhere, mirrored or not, down to the outermost half pixel."""
        random = torch.rand(6, 16, generator=torch.Generator().manual_seed(0))
        width, height = 0.2 + 0.8 * random[0], 0.2 + 0.8 * random[1]
        left, top = random[2] * (1 - width), random[3] * (1 - height)
        left[:4], width[:4] = 0, 1
        flip_x, flip_y = random[4] < 0.5, random[5] < 0.5
        maps = geometry.box_maps(torch.stack([left, top, width, height], 1), flip_x, flip_y)
        down, across = linear_taps(top, height, flip_y, 48, size), linear_taps(left, width, flip_x, 48, size)
        expected = geometry.sample(photos, maps, size, fill=False)
        torch.testing.assert_close(separable.resample(photos, down, across), expected, atol=2e-5, rtol=0)

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

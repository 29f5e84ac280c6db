"""Bytes to RGB squares: every pixel format as a person would see it, and everything else refused with a reason."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import functional as F

from ssl_core.data import images
from ssl_core.data.errors import BadImage
from ssl_core.data.images import decode, from_array, header, load_square, to_square


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    """Something like a photograph: smooth colours with edges and a little noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(coarse).astype(int) + rng.integers(-12, 13, (height, width, 1))
    pixels[height // 3 : height // 2, width // 4 : width // 2] = (200, 40, 90)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(decode(data)).astype(int)


class TestPixelFormats:
    def test_rgb_is_untouched(self) -> None:
        image = photo(30, 20)
        for format in ("PNG", "BMP", "TIFF"):
            assert np.array_equal(pixels(encoded(image, format)), np.asarray(image))
        assert np.array_equal(pixels(encoded(image, "WEBP", lossless=True)), np.asarray(image))

    def test_avif(self) -> None:
        image = photo(64, 48)
        assert np.abs(pixels(encoded(image, "AVIF", quality=95)) - np.asarray(image).astype(int)).mean() < 4

    def test_heic(self) -> None:
        """White above, red on the left, blue on the right."""
        file = Path(__file__).with_name("three-colours.heic")
        found = pixels(file.read_bytes())
        assert found.shape == (48, 64, 3) and header(file) == ((64, 48), 3)
        for (row, column), colour in {(5, 30): (240, 240, 240), (40, 10): (220, 30, 30), (40, 55): (30, 60, 200)}.items():
            assert np.abs(found[row, column] - colour).max() < 12

    def test_heic_without_its_reader(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(images, "_reads_heif", lambda: False)
        with pytest.raises(BadImage, match="known format"):
            decode(Path(__file__).with_name("three-colours.heic"))

    def test_grayscale_is_repeated(self) -> None:
        gray = photo(20, 20).convert("L")
        assert np.array_equal(pixels(encoded(gray)), np.asarray(gray)[..., None].repeat(3, 2))

    def test_one_bit(self) -> None:
        image = Image.new("1", (4, 2))
        image.putpixel((1, 0), 1)
        assert pixels(encoded(image))[0, :, 0].tolist() == [0, 255, 0, 0]

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
    def test_transparency_is_over_white(self, mode: str) -> None:
        image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
        image.putpixel((1, 0), (0, 0, 0, 0))  # black, but unseen
        image = image.convert(mode) if mode != "PA" else image.quantize()
        assert pixels(encoded(image))[0, :, 0].tolist() == [0, 255, 0]

    def test_half_transparent_is_mixed(self) -> None:
        seen = pixels(encoded(Image.new("RGBA", (1, 1), (100, 0, 255, 128))))[0, 0]
        assert np.abs(seen - [177, 127, 255]).max() <= 1

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_a_transparent_colour_without_alpha_channel(self, mode: str) -> None:
        image = Image.new(mode, (2, 1), 0)
        image.putpixel((1, 0), 9 if mode == "L" else (9, 9, 9))
        data = encoded(image, transparency=0 if mode == "L" else (0, 0, 0))
        assert pixels(data)[0, :, 0].tolist() == [255, 9]

    def test_palette_with_transparency(self) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 40, 50, 60])
        image.putpixel((1, 0), 1)
        assert pixels(encoded(image))[0].tolist() == [[10, 20, 30], [40, 50, 60]]
        assert pixels(encoded(image, transparency=0))[0].tolist() == [[255, 255, 255], [40, 50, 60]]

    def test_cmyk(self) -> None:
        image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
        red, green, blue = pixels(encoded(image, "JPEG", quality=100))[8, 8]
        assert red > 240 and green < 15 and blue < 15

    @pytest.mark.parametrize("format", ["PNG", "TIFF"])
    def test_sixteen_bits_are_scaled_and_not_clipped(self, format: str) -> None:
        ramp = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
        assert np.array_equal(pixels(encoded(Image.fromarray(ramp), format))[..., 0].ravel(), np.arange(256))

    def test_sixteen_bits_big_endian(self) -> None:
        values = np.array([[0, 257 * 3, 65535]], ">u2")
        raw = struct.pack(">IIBBBBB", 3, 1, 16, 0, 0, 0, 0)
        chunks = ((b"IHDR", raw), (b"IDAT", zlib.compress(b"\0" + values.tobytes())), (b"IEND", b""))
        data = b"\x89PNG\r\n\x1a\n"
        for name, body in chunks:
            data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        assert pixels(data)[0, :, 0].tolist() == [0, 3, 255]

    def test_floats_and_wide_integers(self) -> None:
        tiff = lambda array: pixels(encoded(Image.fromarray(array), "TIFF"))[0, :, 0].tolist()  # noqa: E731
        assert tiff(np.array([[0, 0.5, 1]], np.float32)) == [0, 128, 255]
        assert tiff(np.array([[0, 100, 255]], np.float32)) == [0, 100, 255]
        assert tiff(np.array([[0, 257 * 7, 65535]], np.int32)) == [0, 7, 255]
        assert tiff(np.array([[-1000, 0, 1000]], np.int32)) == [0, 128, 255]
        assert tiff(np.array([[np.nan, 0.25, np.inf]], np.float32))[:2] == [64, 64]
        with pytest.raises(BadImage, match="no finite value"):
            tiff(np.array([[np.nan]], np.float32))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, orientation: int) -> None:
        undo = [None, None, 0, 3, 1, 5, 2, 6, 4][orientation]  # the transposition that stores it that way
        upright = Image.new("RGB", (48, 32), "white")
        upright.paste((255, 0, 0), (0, 0, 16, 16))  # red in the upper left corner
        upright.paste((0, 0, 255), (32, 0, 48, 16))  # blue in the upper right one
        stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
        exif = Image.Exif()
        exif[0x0112] = orientation
        seen = decode(encoded(stored, "JPEG", quality=95, exif=exif))
        assert seen.size == (48, 32)
        assert np.abs(np.asarray(seen).astype(int) - np.asarray(upright)).mean() < 3

    def test_first_frame_of_a_gif(self) -> None:
        frames = [Image.new("P", (8, 8), i) for i in (0, 1)]
        for frame in frames:
            frame.putpalette([255, 0, 0, 0, 255, 0])
        data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
        assert pixels(data)[4, 4].tolist() == [255, 0, 0]

    def test_arrays(self) -> None:
        gray = np.arange(12, dtype=np.uint8).reshape(3, 4)
        for array in (gray, gray[..., None], gray[..., None].repeat(3, 2)):
            assert np.array_equal(np.asarray(from_array(array)), gray[..., None].repeat(3, 2))
        assert np.asarray(from_array(gray.astype(np.uint16) * 257))[2, 3, 0] == 11
        for shape in ((3,), (3, 4, 2), (0, 4), (2, 3, 4, 3)):
            with pytest.raises(BadImage, match="not a picture"):
                from_array(np.zeros(shape, np.uint8))


class TestRefused:
    def test_not_an_image(self) -> None:
        for data in (b"", b"hello", b"%PDF-1.4 ...", b"\xff\xd8\xff"):
            with pytest.raises(BadImage):
                decode(data)

    @pytest.mark.parametrize("format", ["PPM", "ICO", "TGA", "PCX"])
    def test_formats_outside_of_the_list(self, format: str) -> None:
        with pytest.raises(BadImage, match="known format"):
            decode(encoded(photo(16, 16), format))

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF"])
    def test_truncated(self, format: str) -> None:
        data = encoded(photo(120, 90), format)
        with pytest.raises(BadImage):
            decode(data[: len(data) // 2])

    def test_too_many_pixels_without_decoding_them(self) -> None:
        data = encoded(photo(200, 100))
        assert decode(data, max_pixels=20_000).size == (200, 100)
        with pytest.raises(BadImage, match="200×100"):
            decode(data, max_pixels=19_999)

    def test_a_bomb(self) -> None:
        data = encoded(Image.new("1", (20_000, 20_000)))  # 400 million pixels in 50 kB
        assert len(data) < 100_000
        with pytest.raises(BadImage, match="pixels"):
            decode(data)

    def test_a_file_that_is_gone(self, tmp_path) -> None:
        with pytest.raises(BadImage, match="gone"):
            decode(tmp_path / "no.png")

    def test_broken_exif_does_not_matter(self) -> None:
        data = encoded(photo(32, 32), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
        assert decode(data).size == (32, 32)


class TestSquare:
    @pytest.mark.parametrize("size", [(300, 200), (120, 333), (64, 64), (50, 20), (33, 1000)])
    def test_equals_torchvision(self, size: tuple[int, int]) -> None:
        image = photo(*size)
        resized = F.resize(image, 64, antialias=True)
        if (max(resized.size) - 64) % 2:  # an odd rest: torchvision rounds half to even
            resized = resized.crop((0, 0, resized.width - (resized.width > 64), resized.height - (resized.height > 64)))
        expected = np.asarray(F.center_crop(resized, [56, 56])).astype(int)
        assert np.abs(to_square(image, 64, 56) - expected).max() <= 1

    @pytest.mark.parametrize("short_side,size", [(64, 64), (64, 57), (65, 50), (20, 20), (37, 20)])
    @pytest.mark.parametrize("shape", [(100, 80), (81, 100), (64, 64), (40, 91)])
    def test_cutting_later_gives_the_same_pixels(self, shape: tuple[int, int], short_side: int, size: int) -> None:
        image = photo(*shape)
        kept, inset = to_square(image, short_side, short_side), (short_side - size) // 2
        assert np.array_equal(kept[inset : inset + size, inset : inset + size], to_square(image, short_side, size))

    def test_extreme_proportions_take_no_memory(self) -> None:
        assert to_square(Image.new("RGB", (1_000_000, 1), "red"), 256, 224).tolist()[0][0] == [255, 0, 0]

    def test_size_above_short_side(self) -> None:
        with pytest.raises(ValueError, match="size = 65"):
            to_square(photo(100, 100), 64, 65)

    def test_jpegs_decoded_small_look_the_same(self) -> None:
        data = encoded(photo(1300, 1000), "JPEG", quality=90)
        assert decode(data, at_least=128).size == (163, 125) or min(decode(data, at_least=128).size) >= 128
        assert min(decode(data, at_least=128).size) < 300
        whole = to_square(decode(data), 64, 64).astype(int)
        small = load_square(data, 64, 64).astype(int)
        assert np.abs(whole - small).mean() < 2

    def test_bytes_path_and_array_agree(self, tmp_path) -> None:
        image = photo(90, 70)
        data = encoded(image)
        (tmp_path / "a.png").write_bytes(data)
        squares = [load_square(each, 32, 40) for each in (data, tmp_path / "a.png", str(tmp_path / "a.png"), np.asarray(image))]
        assert squares[0].shape == (32, 32, 3) and squares[0].dtype == np.uint8
        assert all(np.array_equal(squares[0], other) for other in squares[1:])


def test_header(tmp_path) -> None:
    photo(31, 17).save(tmp_path / "a.jpg")
    photo(31, 17).convert("L").save(tmp_path / "b.png")
    assert header(tmp_path / "a.jpg") == ((31, 17), 3)
    assert header(tmp_path / "b.png") == ((31, 17), 1)
    with pytest.raises(BadImage):
        header(tmp_path / "c.png")

"""Pictures of a few megabytes that would keep Pillow busy for minutes before the first pixel."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ssl_core.data.errors import BadImage
from ssl_core.data.heads import must_be_short
from ssl_core.data.images import header, load_square

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 17, 3), dtype=np.uint8)


def picture(form: str, **more: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, form, **more)
    return file.getvalue()


def chunk(kind: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiff(strips: int, order: str = "<") -> bytes:
    """Of one column, a strip for each row, without the pixels."""
    tags = [(256, 3, 1, 1), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1), (278, 3, 1, 1)]
    begin = 8 + 2 + 12 * (len(tags) + 2) + 4
    tags = sorted([*tags, (273, 4, strips, begin), (279, 4, strips, begin)])
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return (
        head + b"".join(struct.pack(order + "HHII", *tag) for tag in tags) + bytes(4) + struct.pack(order + "I", begin) * strips
    )


JPEG, PNG, GIF = picture("JPEG"), picture("PNG"), picture("GIF")
FRAME = 13 + (3 * 2 ** ((GIF[10] & 7) + 1) if GIF[10] & 0x80 else 0)
HOSTILE = {
    "EXIF in thousands of pieces": JPEG[:2] + (b"\xff\xe1\0\x12Exif\0\0" + b"x" * 10) * 300_000 + JPEG[2:],
    "EXIF of megabytes": JPEG[:2] + (b"\xff\xe1\xff\xffExif\0\0" + b"x" * 65527) * 400 + JPEG[2:],
    "a million empty segments": JPEG[:2] + b"\xff\xe5\0\2" * 2**20 + JPEG[2:],
    "megabytes between segments": JPEG[:2] + bytes(2**22) + JPEG[2:],
    "megabytes of filling": JPEG[:2] + b"\xff" * 2**22 + JPEG[2:],
    "a million escapes": JPEG[:2] + b"\xff\0" * 2**20 + JPEG[2:],
    "empty chunks": PNG[:33] + chunk(b"teSt") * 2**19 + PNG[33:],
    "empty chunks of pixels": PNG[:33] + chunk(b"IDAT") * 2**19 + PNG[33:],
    "EXIF of a PNG": PNG[:33] + chunk(b"eXIf", bytes(2**21)) + PNG[33:],
    "a comment in single bytes": GIF[:FRAME] + b"!\xfe" + b"\1x" * 2**20 + b"\0" + GIF[FRAME:],
    "a million strips": tiff(2**20),
    "a million strips, the other way": tiff(2**20, ">"),
    "a million strips, wrongly marked": b"II\0*" + tiff(2**20)[4:],
    "a million strips, both": b"MM*\0" + tiff(2**20, ">")[4:],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_is_refused_before_it_is_read(tmp_path, monkeypatch, name):
    def opened(*given: object, **more: object) -> None:
        raise AssertionError("Pillow was asked")

    monkeypatch.setattr(Image, "open", opened)
    with pytest.raises(BadImage, match="needs"):
        load_square(HOSTILE[name], 16, 16)
    (tmp_path / "x").write_bytes(HOSTILE[name])
    with pytest.raises(BadImage, match="needs"):
        header(tmp_path / "x")


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP"])
def test_honest_ones_are_not_touched(form):
    data = picture(form)
    file = io.BytesIO(data)
    must_be_short(file)
    assert file.tell() == 0 and load_square(data, 16, 16).shape == (16, 16, 3)


def test_profiles_and_exif_as_cameras_write_them():
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    profile = np.random.default_rng(0).bytes(900_000)
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        data = picture(form, icc_profile=profile, exif=exif)
        assert load_square(data, 16, 16).shape == (16, 16, 3), form


def test_what_is_cut_off_is_left_to_the_decoder():
    for data in (JPEG, PNG, GIF, picture("TIFF"), tiff(10), tiff(10, ">")):
        for end in range(0, min(len(data), 200), 3):
            must_be_short(io.BytesIO(data[:end]))

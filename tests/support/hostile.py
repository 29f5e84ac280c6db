"""Files that somebody might send to do harm, all named like pictures: `hostile(count, seed)`, always the same.

Kinds follow each other in turn, so any beginning of the sequence has some of each. Few of them are pictures that can be shown.
"""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from support.archives import zipped

HEIC = Path(__file__).resolve().parents[1] / "ssl_core" / "data" / "three-colours.heic"
ENDINGS = {
    "JPEG": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "TIFF": ".tif",
    "BMP": ".bmp",
    "GIF": ".gif",
    "AVIF": ".avif",
    "HEIC": ".heic",
}
VECTOR = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch /tmp/pwned) (w) file\n",
    "ps": b"%!PS\nsystemdict /run known { (/etc/passwd) run } if\nshowpage\n",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "mvg": b"push graphic-context\nfill 'url(https://127.0.0.1/\"|touch \"/tmp/pwned)'\npop graphic-context\n",
    "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n",
    "html": b"<html><script>alert(1)</script></html>",
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(100),
    "ico": b"\0\0\1\0\1\0" + bytes(60),
    "pickle": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x11touch /tmp/pwned\x94\x85\x94R\x94.",
}

Dice = random.Random


def hostile(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    """(file name, kind, content) of `count` files; a function of the seed."""
    kinds = list(KINDS)
    for number in range(count):
        dice = Dice(f"{seed}/{number}")
        kind = kinds[number % len(kinds)]
        ending, content = KINDS[kind](dice)
        yield f"{number:04}-{kind}{ending}", kind, content


@cache
def valid(form: str, side: int = 64, seed: int = 0) -> bytes:
    """A whole picture in one of the formats that are read."""
    if form == "HEIC":
        return HEIC.read_bytes()
    pixels = np.random.default_rng(seed).integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
    image, file = Image.fromarray(pixels).resize((side, side)), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    image.save(file, form, **({"exif": exif} if form in ("JPEG", "PNG", "WEBP", "AVIF") else {}))
    return file.getvalue()


def _truncated(dice: Dice) -> tuple[str, bytes]:
    form = dice.choice(list(ENDINGS))
    content = valid(form)
    return ENDINGS[form], content[: dice.randrange(1, len(content))]


def _fuzzed(dice: Dice) -> tuple[str, bytes]:
    """Some bytes changed, more often near the beginning, where the structure is."""
    form = dice.choice(list(ENDINGS))
    content = bytearray(valid(form))
    for _ in range(dice.choice((1, 2, 4, 16, 64))):
        reach = dice.choice((64, 512, len(content)))
        content[dice.randrange(min(reach, len(content)))] = dice.choice((0, 255, 127, 128, dice.randrange(256)))
    return ENDINGS[form], bytes(content)


def _shuffled(dice: Dice) -> tuple[str, bytes]:
    """A piece of one picture within another."""
    form, other = dice.choice(list(ENDINGS)), dice.choice(list(ENDINGS))
    content, piece = bytearray(valid(form)), valid(other)
    begin, length = dice.randrange(len(content)), dice.randrange(1, 400)
    content[begin : begin + dice.choice((0, length))] = piece[:length]
    return ENDINGS[form], bytes(content)


def _huge_header(dice: Dice) -> tuple[str, bytes]:
    """A small file that says it is huge."""
    form = dice.choice(list(ENDINGS))
    content = bytearray(valid(form))
    wide, high = dice.choice([(65535, 65535), (2**31 - 1, 1), (1, 2**31 - 1), (100_000, 100_000), (2**30, 2**30), (9999, 9999)])
    small = min(wide, 65535), min(high, 65535)
    if form == "PNG":
        content[16:24] = struct.pack(">2I", wide, high)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    elif form == "JPEG":
        at = content.index(b"\xff\xc0")
        content[at + 5 : at + 9] = struct.pack(">2H", small[1], small[0])
    elif form == "GIF":
        content[6:10] = struct.pack("<2H", *small)
        at = content.index(b"\x2c", 13)
        content[at + 5 : at + 9] = struct.pack("<2H", *small)
    elif form == "BMP":
        content[18:26] = struct.pack("<2i", wide if wide < 2**31 else -1, dice.choice((1, -1)) * min(high, 2**31 - 1))
    elif form == "TIFF":
        _tiff_sizes(content, wide, high)
    elif form == "WEBP":
        at = content.find(b"VP8X")
        content[at + 12 : at + 18] = struct.pack("<I", small[0])[:3] + struct.pack("<I", small[1])[:3]
    else:  # the box that says the size of a HEIC or an AVIF
        at = content.index(b"ispe")
        content[at + 8 : at + 16] = struct.pack(">2I", wide, high)
    return ENDINGS[form], bytes(content)


def _tiff_sizes(content: bytearray, wide: int, high: int) -> None:
    (at,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        tag = struct.unpack_from("<H", content, entry)[0]
        if tag in (256, 257):
            struct.pack_into("<2HII", content, entry, tag, 4, 1, wide if tag == 256 else high)


def _bomb(dice: Dice) -> tuple[str, bytes]:
    """Little to send, much to unpack: within what a picture may be, at its edge, and beyond."""
    side = dice.choice((3000, 6000, 9900, 15_000))
    which = dice.choice(("PNG", "PNG16", "PNGA", "GIF", "TIFF", "BMP", "WEBP", "JPEG"))
    return ENDINGS.get(which[:3] if which.startswith("PNG") else which, ".png"), bomb(which, side)


@cache
def bomb(which: str, side: int) -> bytes:
    """One colour, or none, of side × side px."""
    if which.startswith("PNG"):
        colour, bits, channels = {"PNG": (2, 8, 3), "PNG16": (0, 16, 2), "PNGA": (6, 8, 4)}[which]
        packer, row = zlib.compressobj(9), bytes(side * channels + 1)
        body = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
        head = struct.pack(">2I5B", side, side, bits, colour, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in ((b"IHDR", head), (b"IDAT", body), (b"IEND", b"")))
    file = io.BytesIO()
    if which == "TIFF":
        Image.new("1", (side, side)).save(file, "TIFF", compression="tiff_deflate")
    elif which == "BMP":
        head = struct.pack("<I2i2H6I", 40, side, side, 1, 8, 1, 0, 0, 0, 256, 0)  # run lengths
        file.write(
            struct.pack("<2sI2HI", b"BM", 0, 0, 0, 14 + 40 + 1024)
            + head
            + bytes(1024)
            + (b"\xff\0" * (side // 255) + b"\0\0") * side
        )
    elif which == "WEBP":
        side = min(side * 14 // 15, 7000)
        Image.new("RGB", (side, side)).save(file, "WEBP", lossless=True, method=0)
    elif which == "GIF":
        Image.new("P", (side, side)).save(file, "GIF")
    else:
        side = min(side, 9900)
        Image.new("L", (side, side)).save(file, "JPEG", progressive=True)
    return file.getvalue()


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _metadata_bomb(dice: Dice) -> tuple[str, bytes]:
    """A small picture with a profile, a text or a directory that is none of that."""
    which = dice.choice(("icc", "text", "itxt", "exif loop", "exif count", "many segments", "xmp"))
    if which in ("icc", "text", "itxt"):
        packed = zlib.compress(bytes(dice.choice((10, 200)) * 2**20), 9)
        lead = {"icc": b"x\0\0", "text": b"Comment\0\0", "itxt": b"Comment\0\1\0\0\0"}[which]
        name = {"icc": b"iCCP", "text": b"zTXt", "itxt": b"iTXt"}[which]
        content = valid("PNG")
        return ".png", content[:33] + _chunk(name, lead + packed) * dice.choice((1, 5)) + content[33:]
    if which == "many segments":
        return ".jpg", b"\xff\xd8" + (b"\xff\xe2\xff\xffICC_PROFILE\0\1\xff" + bytes(65_519)) * 300 + valid("JPEG")[2:]
    if which == "xmp":
        text = b"<x:xmpmeta>" + b"<a>" * 20_000 + b'tiff:Orientation="6"'
        return ".jpg", b"\xff\xd8\xff\xe1" + struct.pack(">H", len(text) + 31) + b"http://ns.adobe.com/xap/1.0/\0" + text + valid(
            "JPEG"
        )[2:]
    if which == "exif loop":  # a directory that follows itself, and sub-directories that are it
        entries = (
            struct.pack("<2HII", 0x8769, 4, 1, 8) + struct.pack("<2HII", 0x8825, 4, 1, 8) + struct.pack("<2HII", 0x0112, 3, 1, 6)
        )
        body = b"II*\0\x08\0\0\0" + struct.pack("<H", 3) + entries + struct.pack("<I", 8)
    else:  # four thousand million values
        tag = dice.choice((0x0112, 0x010E, 0x927C))
        body = (
            b"II*\0\x08\0\0\0"
            + struct.pack("<H", 1)
            + struct.pack("<2HII", tag, dice.choice((2, 5, 12)), 2**32 - 1, 8)
            + bytes(4)
        )
    exif = b"Exif\0\0" + body
    return ".jpg", b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + valid("JPEG")[2:]


def _scans(dice: Dice) -> tuple[str, bytes]:
    """A progressive JPEG whose last scan comes again and again: each is a pass over all that it has."""
    content = many_scans(dice.choice((1000, 4000)), dice.choice((50, 500, 2000)))
    return ".jpg", content


@cache
def many_scans(side: int, count: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), 128).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + b"\xff\xd9"


def _polyglot(dice: Dice) -> tuple[str, bytes]:
    """A picture that is something else besides."""
    form = dice.choice(("JPEG", "GIF", "PNG", "BMP", "TIFF"))
    more = dice.choice((zipped({"evil.png": b"x"}), VECTOR["html"], VECTOR["pickle"], VECTOR["pdf"], VECTOR["eps"]))
    if form == "JPEG" and dice.random() < 0.5:  # within, as a comment
        return ".jpg", b"\xff\xd8\xff\xfe" + struct.pack(">H", len(more) + 2) + more + valid("JPEG")[2:]
    return ENDINGS[form], valid(form) + more if dice.random() < 0.7 else more + valid(form)


def _renamed(dice: Dice) -> tuple[str, bytes]:
    return dice.choice(list(ENDINGS.values())), VECTOR[dice.choice(list(VECTOR))]


def _noise(dice: Dice) -> tuple[str, bytes]:
    """Bytes of chance, behind nothing or behind the beginning of a format."""
    form = dice.choice(list(ENDINGS))
    return ENDINGS[form], valid(form)[: dice.choice((0, 4, 12, 40))] + dice.randbytes(dice.choice((0, 1, 100, 10_000)))


KINDS: dict[str, Callable[[Dice], tuple[str, bytes]]] = {
    "truncated": _truncated,
    "fuzzed": _fuzzed,
    "huge-header": _huge_header,
    "polyglot": _polyglot,
    "fuzzed-more": _fuzzed,
    "renamed": _renamed,
    "metadata-bomb": _metadata_bomb,
    "shuffled": _shuffled,
    "truncated-more": _truncated,
    "noise": _noise,
    "fuzzed-again": _fuzzed,
    "bomb": _bomb,
    "scans": _scans,
    "fuzzed-once-more": _fuzzed,
}

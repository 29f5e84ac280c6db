"""What stands before a picture's pixels, counted before Pillow reads it.

Pillow walks over segments, chunks and tags in Python, one by one, and joins some to what it has found before: a file of a few
megabytes can keep it busy for minutes, or make a gigabyte of itself. Knows no torch and no Pillow.
"""

from __future__ import annotations

import struct
from io import SEEK_CUR, SEEK_END
from typing import BinaryIO

from ssl_core.data.errors import BadImage

MOST = 100_000  # strips or tiles of a TIFF: one a row, in a picture as high as pictures may be
SEGMENTS = 2_000  # of a JPEG; a colour profile has 255 at most, and cameras write some dozen others
CHUNKS = 2_000  # of a PNG, beside one a kilobyte
BLOCKS = 65_536  # of a GIF before its first frame, of 255 bytes each
EXIF = 2**20  # bytes
JUNK = 2**16  # bytes between the segments of a JPEG
VALUES = 65_536  # of a TIFF's tag

_ALONE = frozenset({0x01, *range(0xD0, 0xDA)})  # markers of a JPEG that nothing follows
_EXIF, _SCAN = 0xE1, 0xDA
_STRIPS = frozenset({273, 279, 324, 325})  # tags of a TIFF: where strips and tiles are, and how long
_TIFF = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")  # Pillow reads the two wrong ones as well
_BYTES = frozenset({1, 2, 6, 7})  # types of a TIFF that are read in one piece


def must_be_short(file: BinaryIO, most: int = MOST) -> None:
    """Raises BadImage where the head of a JPEG, PNG, TIFF or GIF has more parts than a picture needs; of strips or tiles more
    than `most`. Leaves the file at its beginning; what is damaged is left to the decoder.
    """
    begin = file.read(8)
    try:
        if begin.startswith(b"\xff\xd8"):
            _jpeg(file)
        elif begin == b"\x89PNG\r\n\x1a\n":
            _png(file)
        elif begin[:4] in _TIFF:
            _tiff(file, begin, most)
        elif begin.startswith((b"GIF87a", b"GIF89a")):
            _gif(file)
    except struct.error:  # it is cut off
        pass
    finally:
        file.seek(0)


def _jpeg(file: BinaryIO) -> None:
    file.seek(2)
    segments = exif = junk = 0
    while byte := file.read(1):
        if byte != b"\xff":
            junk += 1
        elif (marker := file.read(1)) in (b"\xff", b"\0"):
            junk += 1
            if marker == b"\xff":
                file.seek(-1, SEEK_CUR)
        elif marker:
            segments += 1
            if marker[0] == _SCAN:
                return
            if marker[0] not in _ALONE:
                (length,) = struct.unpack(">H", file.read(2))
                begin = file.tell()
                if marker[0] == _EXIF and file.read(6) == b"Exif\0\0":  # the others are XMP, which phones write depths into
                    exif += length
                file.seek(begin + max(0, length - 2))
        if segments > SEGMENTS or exif > EXIF or junk > JUNK:
            raise BadImage("it has more in front of its pixels than a JPEG needs")


def _png(file: BinaryIO) -> None:
    size = file.seek(0, SEEK_END)
    at, chunks = 8, 0
    while at + 8 <= size:
        file.seek(at)
        length, kind = struct.unpack(">I4s", file.read(8))
        chunks += 1
        if chunks > CHUNKS + size // 1024 or (kind == b"eXIf" and length > EXIF):
            raise BadImage("it has more chunks, or longer EXIF data, than a PNG needs")
        if kind == b"IEND":
            return
        at += 12 + length


def _tiff(file: BinaryIO, begin: bytes, most: int) -> None:
    order, big = "<" if begin[:2] == b"II" else ">", begin[2:4] in (b"+\0", b"\0+")
    if big:
        file.seek(8)
        (at,) = struct.unpack(order + "Q", file.read(8))
    else:
        (at,) = struct.unpack(order + "I", begin[4:8])
    file.seek(min(at, 2**62))
    (tags,) = struct.unpack(order + ("Q" if big else "H"), file.read(8 if big else 2))
    if tags > 4096:
        raise BadImage("it has more tags than a TIFF needs")
    entry = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    for _ in range(tags):
        tag, kind, count = entry.unpack(file.read(entry.size))
        if kind not in _BYTES and count > (most if tag in _STRIPS else VALUES):
            raise BadImage(f"its tag {tag} has {count:,} values, more than a TIFF needs")


def _gif(file: BinaryIO) -> None:
    file.seek(10)
    (flags,) = file.read(1) or b"\0"
    file.seek(13 + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0))
    blocks = 0
    while file.read(1) == b"!":
        file.seek(1, SEEK_CUR)
        while (length := file.read(1)) and length != b"\0":
            blocks += 1
            if blocks > BLOCKS:
                raise BadImage("it has more in front of its first frame than a GIF needs")
            file.seek(length[0], SEEK_CUR)

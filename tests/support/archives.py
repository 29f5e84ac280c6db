"""ZIP archives for tests: good ones, and ones that no honest program writes."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image


def png(seed: int, side: int = 24) -> bytes:
    """The file of a small picture."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def pictures(count: int = 8, classes: Iterable[str] = ("cat", "dog")) -> dict[str, bytes]:
    """{path: content} of `count` pictures in each class folder."""
    return {f"{name}/{number}.png": png(number) for name in classes for number in range(count)}


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive as zipfile writes it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


class Entry:
    """One entry of an archive written by hand: whatever is not said is as it should be."""

    def __init__(self, name: bytes | str, content: bytes = b"", **lies: int) -> None:
        """content: the bytes as they stand in the archive. lies: flags, method, sum, packed, size, attributes, offset, of the
        directory; the same with local_ before it, of what stands before the bytes."""
        self.name = name.encode() if isinstance(name, str) else name
        self.content = content
        self.lies = lies
        self.extra = b""

    def fields(self, local: bool) -> tuple[int, ...]:
        import zlib

        told = {"flags": 0, "method": 0, "sum": zlib.crc32(self.content), "packed": len(self.content), "size": len(self.content)}
        told |= {key: value for key, value in self.lies.items() if key in told}
        if local:
            told |= {key.removeprefix("local_"): value for key, value in self.lies.items() if key.startswith("local_")}
        return tuple(told[key] for key in ("flags", "method", "sum", "packed", "size"))


def written(entries: Iterable[Entry], before: bytes = b"", after: bytes = b"", count: int | None = None) -> bytes:
    """An archive of these entries. `before`, `after`: bytes around it; `count`: what the last record says."""
    body, directory, number = bytearray(before), bytearray(), 0
    for entry in entries:
        number += 1
        flags, method, crc, packed, size = entry.fields(local=True)
        offset = entry.lies.get("offset", len(body))
        name = entry.name
        body += struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, method, 0, 33, crc, packed, size, len(name), 0)
        body += name + entry.content
        flags, method, crc, packed, size = entry.fields(local=False)
        attributes = entry.lies.get("attributes", 0o100644 << 16)
        directory += struct.pack(
            "<4s6H3I5H2I", b"PK\1\2", 0x314, 20, flags, method, 0, 33, crc, packed, size, len(name), len(entry.extra), 0, 0, 0,
            attributes, offset,
        )  # fmt: skip
        directory += name + entry.extra
    told = number if count is None else count
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, told, told, len(directory), len(body), 0)
    return bytes(body + directory + end + after)

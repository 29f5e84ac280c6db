"""The pictures of an archive that has been read (archive.py), as files below a folder. Knows no torch.

Every byte that comes out of an entry is counted: what the directory said of its size is a promise, and the entry that breaks it
ends the whole. Only files that are named like a picture and begin like one are kept; others are counted, the first named.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from ssl_core.data.archive import STORED, Archive, BadArchive, Limits, TooLarge, local_begin
from ssl_core.data.limits import MAX_FILE_BYTES
from ssl_core.data.scan import EXTENSIONS

PIECE = 2**18  # bytes that are read, and at most written, at a time
EXAMPLES = 20
BEGINNING = 12  # bytes that tell a picture
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BRANDS = frozenset({b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})

Check = Callable[[int], None]  # hears how many bytes are about to be written; may raise


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive."""

    kept: int  # files
    size_bytes: int  # of these
    left_out: int  # files that are no pictures
    examples: tuple[str, ...]  # their first names


def looks_like_picture(beginning: bytes) -> bool:
    """Whether a file that begins so (BEGINNING bytes) is in one of the formats of `images.FORMATS`, or HEIC."""
    if beginning[4:8] == b"ftyp":
        return beginning[8:12] in _BRANDS
    return beginning.startswith(_BEGINNINGS) or (beginning[:4] == b"RIFF" and beginning[8:12] == b"WEBP")


def unpack(file: BinaryIO, archive: Archive, folder: Path, limits: Limits, before_writing: Check = lambda size: None) -> Unpacked:
    """Write the pictures below `folder`, which is there and empty. Raises BadArchive, and OSError when the disk is full."""
    kept = size = left_out = 0
    examples: list[str] = []
    end, made = 0, {""}
    for number in sorted(range(len(archive.offsets)), key=archive.offsets.__getitem__):
        name = archive.names[number]
        begin = local_begin(file, archive, number)
        if archive.offsets[number] < end:
            raise BadArchive(f"{name!r:.200} lies in another entry's place")
        end = begin + archive.packed[number]
        if end > archive.directory:
            raise BadArchive(f"{name!r:.200} would reach into the archive's directory")
        wrote = None
        if _wanted(name):
            if size + archive.sizes[number] > limits.unpacked:
                raise TooLarge(f"the archive unpacks to more than the {limits.unpacked // 2**20:,} MiB allowed")
            if archive.sizes[number] > MAX_FILE_BYTES:
                raise TooLarge(f"{name!r:.200} has more than the {MAX_FILE_BYTES // 2**20:,} MiB of a picture")
            parent = name.rpartition("/")[0]
            if parent not in made:
                (folder / parent).mkdir(parents=True, exist_ok=True)
                made.add(parent)
            file.seek(begin)
            wrote = _write(folder / name, _content(file, archive, number), before_writing)
        if wrote is None:
            left_out += 1
            examples += [name] if len(examples) < EXAMPLES else []
        else:
            kept, size = kept + 1, size + wrote
    return Unpacked(kept, size, left_out, tuple(examples))


def _wanted(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _write(path: Path, pieces: Iterator[bytes], before_writing: Check) -> int | None:
    """Its size, or None for what is no picture, of which nothing is left."""
    begin = b""
    while len(begin) < BEGINNING and (piece := next(pieces, b"")):
        begin += piece
    if not looks_like_picture(begin[:BEGINNING]):
        return None
    size = 0
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666), "wb") as to:
        for piece in chain((begin,), pieces):
            before_writing(len(piece))
            size += to.write(piece)
    return size


def _content(file: BinaryIO, archive: Archive, number: int) -> Iterator[bytes]:
    """The entry's bytes, in pieces, as many as it says, with the sum that it says. Raises BadArchive."""
    name, size = archive.names[number], archive.sizes[number]
    found = total = 0
    packed = _raw(file, archive.packed[number], name)
    for piece in packed if archive.methods[number] == STORED else _inflated(packed, size, name):
        total += len(piece)
        if total > size:
            raise BadArchive(f"{name!r:.200} holds more than the {size:,} bytes that it says")
        found = zlib.crc32(piece, found)
        yield piece
    if total != size:
        raise BadArchive(f"{name!r:.200} holds {total:,} bytes, and says {size:,}")
    if found != archive.sums[number]:
        raise BadArchive(f"{name!r:.200} is damaged: its checksum is another")


def _raw(file: BinaryIO, left: int, name: str) -> Iterator[bytes]:
    while left:
        piece = file.read(min(PIECE, left))
        if not piece:
            raise BadArchive(f"{name!r:.200} is cut off")
        left -= len(piece)
        yield piece


def _inflated(packed: Iterator[bytes], size: int, name: str) -> Iterator[bytes]:
    """At most PIECE bytes at a time, whatever a piece would come to."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        for piece in packed:
            rest = piece
            while rest and not inflater.eof:
                yield inflater.decompress(rest, PIECE)
                rest = inflater.unconsumed_tail
            if rest or inflater.unused_data:
                raise BadArchive(f"{name!r:.200} goes on after its end")
        while not inflater.eof:
            more = inflater.decompress(b"", PIECE)
            if not more:
                raise BadArchive(f"{name!r:.200} is cut off")
            yield more
    except zlib.error as error:
        raise BadArchive(f"{name!r:.200} is damaged: {error}") from None

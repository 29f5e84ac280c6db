"""What a ZIP from a stranger says that it holds: read strictly, and refused at the first thing that could be read in two ways.

    archive = read_archive(file, limits)      then ssl_core.data.unpack.unpack(file, archive, folder, limits)

The format tells everything twice (in the directory at the end, and before each entry), with offsets that may point anywhere. Here
both must say the same, no two entries may share a byte (bombs do), and each must be a regular file whose name is a plain relative
path. The directory is read in pieces; of an entry some 60 bytes are kept. Knows no torch.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from io import SEEK_END
from typing import BinaryIO
from unicodedata import normalize

from ssl_core.data.paths import Paths

STORED, DEFLATED = 0, 8
SLACK = 16 * 2**20  # bytes that no ratio is asked of
_END, _END64, _LOCATOR = struct.Struct("<4s4H2IH"), struct.Struct("<4sQ2H2I4Q"), struct.Struct("<4sIQI")
_CENTRAL, _LOCAL = struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s5H3I2H")
_LONGEST_COMMENT = 0xFFFF
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _LATER, _UTF8 = 0x2041, 0x0008, 0x0800  # bits of flags; of the first: encrypted, strongly, or the directory is
_METHODS = {1: "shrink", 6: "implode", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz", 98: "ppmd", 99: "AES"}
_DRIVE, _CONTROL = re.compile(r"[A-Za-z]:"), re.compile(r"[\x00-\x1f\x7f-\x9f]")


class BadArchive(Exception):
    """An archive that is not taken; a sentence for the person who sent it."""


class TooLarge(BadArchive):
    """It, or what is in it, is beyond a limit, which the sentence says."""


@dataclass(frozen=True)
class Limits:
    """What an archive may hold."""

    unpacked: int = 40 * 2**30  # bytes, of all that is kept
    entries: int = 2_000_000
    folders: int = 500_000
    all_names: int = 128 * 2**20  # bytes of all paths: they are kept in memory
    depth: int = 16  # folders above a file
    name: int = 255  # bytes of each part of a path, and
    path: int = 1000  # of all of it
    ratio: int = 200  # bytes unpacked for each packed one, beyond SLACK


@dataclass
class Archive:
    """Its files, in the order of the directory: names, and where and how large they are said to be."""

    names: Paths = field(default_factory=Paths)
    offsets: array[int] = field(default_factory=lambda: array("Q"))  # of what stands before the file
    packed: array[int] = field(default_factory=lambda: array("Q"))  # bytes
    sizes: array[int] = field(default_factory=lambda: array("Q"))  # bytes, unpacked
    sums: array[int] = field(default_factory=lambda: array("I"))  # CRC-32
    flags: array[int] = field(default_factory=lambda: array("H"))
    methods: bytearray = field(default_factory=bytearray)
    directory: int = 0  # where it begins: the end of everything else


def read_archive(file: BinaryIO, limits: Limits) -> Archive:
    """The directory of an archive. Raises BadArchive."""
    count, begin, size = end_of(file)
    if count > limits.entries:
        raise TooLarge(f"the archive has {count:,} entries; at most {limits.entries:,} are taken")
    archive, names = Archive(directory=begin), _Names(limits)
    joined, ends = bytearray(), array("Q", [0])
    total = 0
    for raw, entry in _directory(file, count, begin, size):
        name = _name(raw, entry.flags)
        kind = stat.S_IFMT(entry.attributes >> 16)
        is_folder = name.endswith("/") or kind == stat.S_IFDIR
        _must_be_plain(name, entry, kind, is_folder)
        names.add(name, is_folder)
        if is_folder:
            continue
        if entry.size > limits.ratio * entry.packed + SLACK:
            raise TooLarge(f"{name!r} unpacks to more than {limits.ratio} times its {entry.packed:,} bytes")
        total += entry.size
        joined += os.fsencode(name)
        if len(joined) > limits.all_names:
            raise TooLarge(f"the names in the archive have more than {limits.all_names:,} bytes")
        ends.append(len(joined))
        archive.offsets.append(entry.offset)
        archive.packed.append(entry.packed)
        archive.sizes.append(entry.size)
        archive.sums.append(entry.sum)
        archive.flags.append(entry.flags)
        archive.methods.append(entry.method)
    archive.names = Paths.of_bytes(bytes(joined), ends)
    if total > limits.ratio * begin + SLACK:
        raise TooLarge(f"the archive unpacks to more than {limits.ratio} times its own size")
    return archive


def local_begin(file: BinaryIO, archive: Archive, number: int) -> int:
    """Where the bytes of an entry begin, after what stands before them, which must say the same as the directory.

    Raises BadArchive.
    """
    name, offset = archive.names[number], archive.offsets[number]
    file.seek(offset)
    head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or head[:4] != b"PK\3\4":
        raise BadArchive(f"{name!r} is not where the directory says")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(head)
    same = (flags & (_ENCRYPTED | _LATER | _UTF8), method) == (
        archive.flags[number] & (_ENCRYPTED | _LATER | _UTF8),
        archive.methods[number],
    )
    told = ((crc, archive.sums[number]), (packed, archive.packed[number]), (size, archive.sizes[number]))
    for here, there in told:
        same &= here in (there, _FULL32) or (here == 0 and bool(flags & _LATER))
    if not same or _name(file.read(name_length), flags) != name:
        raise BadArchive(f"{name!r} is one thing in the directory and another in its place")
    return int(offset + _LOCAL.size + name_length + extra_length)


@dataclass(frozen=True, slots=True)
class _Entry:
    flags: int
    method: int
    sum: int
    packed: int
    size: int
    offset: int
    attributes: int


def end_of(file: BinaryIO) -> tuple[int, int, int]:
    """(entries, where the directory begins, its bytes), as the archive's last record says. Raises BadArchive."""
    length = file.seek(0, SEEK_END)
    begin = max(0, length - _END.size - _LONGEST_COMMENT)
    file.seek(begin)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    while at >= 0 and (len(tail) - at < _END.size or at + _END.size + _END.unpack_from(tail, at)[7] != len(tail)):
        at = tail.rfind(b"PK\5\6", 0, at)
    if at < 0:
        raise BadArchive("this is no ZIP archive, or one that is cut off: its end has no directory")
    _, disk, first_disk, here, count, size, offset, _ = _END.unpack_from(tail, at)
    end = begin + at
    if disk or first_disk or here != count:
        raise BadArchive("the archive is one part of several")
    locator = tail[at - _LOCATOR.size : at] if at >= _LOCATOR.size else b""
    if locator[:4] == b"PK\6\7":
        _, _, end64, _ = _LOCATOR.unpack(locator)
        file.seek(end64)
        head = file.read(_END64.size)
        if len(head) < _END64.size or head[:4] != b"PK\6\6":
            raise BadArchive("the archive's ZIP64 record is not where it says")
        _, rest, _, _, disk, first_disk, here64, count64, size64, offset64 = _END64.unpack(head)
        small = ((count, count64, _FULL16), (size, size64, _FULL32), (offset, offset64, _FULL32))
        if disk or first_disk or here64 != count64 or any(a not in (b, full) for a, b, full in small):
            raise BadArchive("the archive's ZIP64 record says other things than its last one")
        if end64 + 12 + rest != end - _LOCATOR.size:
            raise BadArchive("the archive's ZIP64 record does not end where it says")
        count, size, offset, end = count64, size64, offset64, end64
    if offset + size != end:
        raise BadArchive("the archive's directory is not where it says: something stands before the archive, or it is cut off")
    return count, offset, size


def _directory(file: BinaryIO, count: int, begin: int, size: int) -> Iterator[tuple[bytes, _Entry]]:
    """(name as it is written, what is said of it) of every entry. Raises BadArchive."""
    at = begin
    for _ in range(count):
        file.seek(at)
        head = file.read(_CENTRAL.size)
        if at + _CENTRAL.size > begin + size or len(head) < _CENTRAL.size or head[:4] != b"PK\1\2":
            raise BadArchive("the archive's directory ends before its last entry")
        _, _, _, flags, method, _, _, crc, packed, unpacked, *lengths, disk, _, attributes, offset = _CENTRAL.unpack(head)
        raw, extra = file.read(lengths[0]), file.read(lengths[1])
        at += _CENTRAL.size + sum(lengths)
        if disk not in (0, _FULL16):
            raise BadArchive("the archive is one part of several")
        wide = iter(_wide(extra))
        try:
            unpacked, packed, offset = (next(wide) if each == _FULL32 else each for each in (unpacked, packed, offset))
        except (StopIteration, RuntimeError):
            raise BadArchive(f"{raw!r:.100} has sizes that are said nowhere") from None
        if offset + _LOCAL.size + packed > begin:
            raise BadArchive(f"{raw!r:.100} would reach beyond the end of the archive")
        yield raw, _Entry(flags, method, crc, packed, unpacked, offset, attributes)
    if at != begin + size:
        raise BadArchive("the archive's directory holds more than its entries")


def _wide(extra: bytes) -> tuple[int, ...]:
    """The 64-bit numbers of an entry's ZIP64 field, if it has one."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            return struct.unpack_from(f"<{min(length, len(extra) - at - 4) // 8}Q", extra, at + 4)
        at += 4 + length
    return ()


def _name(raw: bytes, flags: int) -> str:
    """UTF-8 where it is said to be or is, else the code page of the first PCs, as the format wants it. Raises BadArchive."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        if flags & _UTF8:
            raise BadArchive(f"the name {raw!r:.100} is said to be UTF-8 and is not") from None
        return raw.decode("cp437")


def _must_be_plain(name: str, entry: _Entry, kind: int, is_folder: bool) -> None:
    """Raises BadArchive for whatever is neither a regular file nor a folder, or cannot be read."""
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a symbolic link" if kind == stat.S_IFLNK else "a device, a pipe or a socket"
        raise BadArchive(f"{name!r:.200} is {what}; only regular files are taken")
    if entry.flags & _ENCRYPTED:
        raise BadArchive(f"{name!r:.200} is encrypted")
    if is_folder:
        if entry.size or not name.endswith("/"):
            raise BadArchive(f"{name!r:.200} is a folder with content")
    elif entry.method not in (STORED, DEFLATED):
        how = _METHODS.get(entry.method, f"method {entry.method}")
        raise BadArchive(f"{name!r:.200} is compressed by {how}; store or deflate it")
    elif entry.method == STORED and entry.packed != entry.size:
        raise BadArchive(f"{name!r:.200} is stored, and has two sizes")


class _Names:
    """That every path is plain, and none is there twice, nor in two spellings that some system would take for one."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        # Hashes: of two million paths these take 200 MB less.
        self.files: set[int] = set()
        self.folders: dict[int, int] = {}  # as compared: as first written
        self._last = ""  # folder: most entries lie in that of the one before

    def add(self, name: str, is_folder: bool) -> None:
        """Raises BadArchive."""
        path = name.removesuffix("/") if is_folder else name
        parts = path.split("/")
        if path.startswith("/") or _DRIVE.match(path) or "\\" in path or any(part in ("", ".", "..") for part in parts):
            raise BadArchive(f"{name!r:.200} is no plain path below the archive's root")
        if _CONTROL.search(path):
            raise BadArchive(f"{name!r:.200} has control characters in its name")
        limits = self.limits
        if len(parts) - 1 > limits.depth:
            raise BadArchive(f"{name!r:.200} lies in more than {limits.depth} folders")
        if len(path.encode()) > limits.path or any(len(part.encode()) > limits.name for part in parts):
            raise BadArchive(f"{name!r:.100} is too long: {limits.name} bytes for each part, {limits.path} in all")
        folded = [_folded(part) for part in parts]
        within = path if is_folder else path.rpartition("/")[0]
        if within != self._last:
            for depth in range(1, len(parts) + is_folder):
                self._folder("/".join(folded[:depth]), "/".join(parts[:depth]))
            self._last = within
        if is_folder:
            return
        key = _hash("/".join(folded))
        if key in self.files or key in self.folders:
            raise BadArchive(f"{name!r:.200} is there twice, or in two spellings that are one name to some systems")
        self.files.add(key)

    def _folder(self, folded: str, written: str) -> None:
        key, first = _hash(folded), _hash(written)
        if key in self.files or self.folders.setdefault(key, first) != first:
            raise BadArchive(f"{written!r:.200} is there twice, or in two spellings that are one name to some systems")
        if len(self.folders) > self.limits.folders:
            raise TooLarge(f"the archive has more than {self.limits.folders:,} folders")


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def _folded(part: str) -> str:
    return normalize("NFC", normalize("NFD", part).casefold())

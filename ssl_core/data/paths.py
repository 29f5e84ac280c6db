"""A million relative paths in little memory. Knows no torch.

Paths(["a/1.jpg", …])    a sequence of str
paths.select(numbers)    some of them, over the same bytes
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload


class Paths(Sequence[str]):
    """Relative paths, compact: the bytes of all of them in one `bytes`, 8 bytes of offset each, and the numbers of those meant.

    A million paths of 40 characters take 48 MB; a list of str would take 105 MB, and would be copied page by page into
    every forked worker as reference counts change. A selection shares the bytes and adds its numbers, 4 bytes a path.
    """

    numbers: range | array[int]  # among all that share the bytes: of FolderIndex.train, the positions in Scan.paths

    def __init__(self, paths: Iterable[str] = ()) -> None:
        ends, joined = array("Q", [0]), bytearray()
        for path in paths:
            joined += os.fsencode(path)
            ends.append(len(joined))
        self._joined, self._ends, self.numbers = bytes(joined), ends, range(len(ends) - 1)

    @classmethod
    def of_bytes(cls, joined: bytes, ends: array[int]) -> Paths:
        """From paths in the file system's encoding, one after the other; `ends` (N + 1 offsets, typecode Q) begins with 0."""
        paths = cls()
        paths._joined, paths._ends, paths.numbers = joined, ends, range(len(ends) - 1)
        return paths

    def select(self, numbers: range | array[int]) -> Paths:
        """Those with these numbers, in this order."""
        paths = Paths.of_bytes(self._joined, self._ends)
        paths.numbers = numbers
        return paths

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Paths: ...
    def __getitem__(self, at: int | slice) -> str | Paths:
        if isinstance(at, slice):
            return self.select(self.numbers[at])
        return os.fsdecode(self._bytes(self.numbers[at]))

    def __iter__(self) -> Iterator[str]:
        return map(os.fsdecode, self.encoded())

    def encoded(self) -> Iterator[bytes]:
        """Each path in the encoding of the file system."""
        return map(self._bytes, self.numbers)

    def _bytes(self, number: int) -> bytes:
        return self._joined[self._ends[number] : self._ends[number + 1]]

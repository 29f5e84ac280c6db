"""What torch.save wrote, read without running anything (pickles.py): tensors and plain values, and nothing else.

Tensors stay in the file until they are asked for.
"""

from __future__ import annotations

import math
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssl_core.data.archive import end_of
from ssl_core.importing.pickles import MOST_INT, Inert, Lazy, Reader, Refused

MOST_PICKLE = 8 * 2**20  # bytes of data.pkl; that of a ResNet-152 with its optimiser has 300,000
MOST_ENTRIES = 200_000
MOST_PLAIN = 10_000  # values of hyper-parameters, and
MOST_TOLD = 2**18  # letters of them; of one text
LONGEST_TOLD = 1000
MOST_DIRECTORY = 64 * 2**20  # bytes of the zip's
MOST_READ = 8  # times the size of the file: tensors may share memory, but not without end


class Checkpoint:
    """An open file. `content`: what was saved, with Lazy in the place of tensors."""

    def __init__(self, path: Path) -> None:
        """Raises Refused."""
        self._left = MOST_READ * path.stat().st_size
        try:
            with path.open("rb") as file:
                count, _, size = end_of(file)
            if count > MOST_ENTRIES or size > MOST_DIRECTORY:
                raise Refused("it is a zip, but none that torch.save wrote")
            self._zip = zipfile.ZipFile(path)
            self.content = self._unpickled()
        except Refused:
            raise
        except Exception as error:  # a damaged zip or pickle fails in as many ways as there are instructions
            said = (str(error) or type(error).__name__).splitlines()[0]
            raise Refused(f"it is damaged, or no file of torch.save: {said[:200]}") from error

    def _unpickled(self) -> Any:
        names = self._zip.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl") and name.count("/") == 1]
        if len(pickles) != 1 or len(names) > MOST_ENTRIES:
            raise Refused("it is a zip, but none that torch.save wrote")
        self._folder = pickles[0].removesuffix("data.pkl")
        for each in self._zip.infolist():
            if each.compress_type != zipfile.ZIP_STORED or each.flag_bits & 1:
                raise Refused(f"its entry {each.filename[:100]!r} is compressed or encrypted, which torch.save never does")
        if self._zip.getinfo(pickles[0]).file_size > MOST_PICKLE:
            raise Refused(f"its description has more than {MOST_PICKLE:,} bytes")
        if self._folder + "byteorder" in names and self._zip.read(self._folder + "byteorder") != b"little":
            raise Refused("it was saved on a big-endian machine")
        with self._zip.open(pickles[0]) as file:
            return Reader(file, encoding="utf-8").load()

    def tensor(self, lazy: Lazy) -> Tensor:
        """Read one, contiguous. Raises Refused."""
        self._left -= lazy.storage.count * lazy.storage.dtype.itemsize
        if self._left < 0:
            raise Refused("its tensors share their memory so often that reading them would take too long")
        try:
            data = bytearray(self._zip.read(f"{self._folder}data/{lazy.storage.key}"))
        except (KeyError, zipfile.BadZipFile, OSError) as error:
            raise Refused(f"it lacks the memory of a tensor: {error}") from error
        dtype = lazy.storage.dtype
        if len(data) != lazy.storage.count * dtype.itemsize:
            raise Refused("the memory of a tensor has another size than its description says")
        if not math.prod(lazy.size):
            return torch.empty(lazy.size, dtype=dtype)
        memory = torch.frombuffer(data, dtype=dtype)
        return memory.as_strided(lazy.size, lazy.stride, lazy.offset).clone(memory_format=torch.contiguous_format)

    def close(self) -> None:
        self._zip.close()


def plain(value: Any) -> Any:
    """Hyper-parameters as JSON: numbers, texts, lists and dicts; anything else as the text of its kind, as are those that lie
    deep, and all beyond the first ten thousand (a list may hold another a thousand times, and that one a third)."""
    left, letters = MOST_PLAIN, MOST_TOLD

    def text(value: str) -> str:
        nonlocal letters
        cut = value[: max(0, min(LONGEST_TOLD, letters))]
        letters -= len(cut)
        return cut if cut == value else cut + "…"

    def told(value: Any, depth: int) -> Any:
        nonlocal left
        left -= 1
        if isinstance(value, Inert):
            return told(value.state, depth - 1) if depth and isinstance(value.state, dict) else f"({value.name})"
        if isinstance(value, str):
            return text(value)
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int):
            return value if -MOST_INT < value < MOST_INT else "(int)"
        if isinstance(value, float):
            return value if math.isfinite(value) else None
        if depth and left > 0 and isinstance(value, dict):
            return {text(_text(key)): told(each, depth - 1) for key, each in islice(value.items(), max(0, min(1000, left)))}
        if depth and left > 0 and isinstance(value, list | tuple | set | frozenset):
            return [told(each, depth - 1) for each in islice(value, max(0, min(1000, left)))]
        return f"({type(value).__name__})"

    return told(value, 7)


def _text(key: Any) -> str:
    return str(key) if isinstance(key, str | int | float) else f"({type(key).__name__})"


def lazies(value: Any) -> dict[str, Lazy]:
    """The tensors of a state dict, by name."""
    return {str(name): each for name, each in value.items() if isinstance(each, Lazy)} if isinstance(value, dict) else {}

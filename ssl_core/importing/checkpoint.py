"""What torch.save wrote, read without running anything: tensors and plain values, and nothing else.

A file of torch.save is a zip with a pickle in it, and a pickle is a program. This reader carries out the part of pickle's
instructions that makes dicts, lists, numbers and texts; whatever the program wants to *call* is looked up in one table of our own
functions, and a name that is not there ends the reading with a sentence that has the name. So a file can neither import nor call
anything. (torch's own `weights_only` is as safe, but refuses what every Lightning checkpoint has beside its tensors.)

Tensors stay in the file until they are asked for.
"""

from __future__ import annotations

import math
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

MOST_PICKLE = 16 * 2**20  # bytes of data.pkl; that of a ResNet-152 with its optimiser has 300,000
MOST_ENTRIES = 200_000
MOST_READ = 8  # times the size of the file: tensors may share memory, but not without end
_DTYPES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16, "CharStorage": torch.int8,
    "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


class Refused(ValueError):
    """A file that is no checkpoint, or holds what is not read."""


@dataclass(frozen=True)
class Stored:
    """Where a storage lies in the file."""

    key: str
    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class Lazy:
    """A tensor that has not been read."""

    storage: Stored
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class Inert:
    """Something of a class that plays no part here; `state` is what it was made of, where that is plain."""

    def __init__(self, name: str = "") -> None:
        self.name, self.state = name, None


@dataclass(frozen=True)
class _Name:
    """What a pickle gets when it names something: not the thing, but what we make when it is called."""

    name: str
    make: Callable[..., Any]


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Lazy:
    plain = (offset, *size, *stride)
    if (
        not isinstance(storage, Stored)
        or not all(type(value) is int and value >= 0 for value in plain)
        or len(size) != len(stride)
    ):
        raise Refused("it holds a tensor whose description is damaged")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.count or (math.prod(size) and last >= storage.count):
        raise Refused("it holds a tensor that reaches beyond its memory")
    return Lazy(storage, offset, tuple(size), tuple(stride))


def _dict(*given: Any) -> dict[Any, Any]:
    return dict(*given)


def _first(value: Any, *_: Any) -> Any:
    return value


_CALLABLE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.Size": tuple,
    "torch.device": lambda *given: str(given),
    # Dicts with attributes, in which Lightning keeps hyper-parameters, by the names of its versions.
    "pytorch_lightning.utilities.parsing.AttributeDict": _dict,
    "pytorch_lightning.utilities.AttributeDict": _dict,
    "lightning_fabric.utilities.data.AttributeDict": _dict,
    "lightning.fabric.utilities.data.AttributeDict": _dict,
}
_INERT = ("argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath", "numpy.dtype", "numpy.core.multiarray.scalar",
          "numpy._core.multiarray.scalar")  # fmt: skip
_INERT_BELOW = (
    "pytorch_lightning.callbacks.",
    "lightning.pytorch.callbacks.",
)  # old versions name a callback's state by its class


class _Reader(pickle._Unpickler):  # the one in Python: its instructions can be replaced
    """Pickle's machine with the instructions that call anything replaced."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if bytes([code]) not in (pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID)
    }

    def find_class(self, module: str, name: str) -> Any:
        whole = f"{module}.{name}"
        if whole in _CALLABLE:
            return _Name(whole, _CALLABLE[whole])
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if whole in _INERT or whole.startswith(_INERT_BELOW):
            return _Name(whole, lambda *given: Inert(whole))
        raise Refused(f"it wants to load {whole}, and only tensors and plain values are read; save the state dict alone")

    def persistent_load(self, pid: Any) -> Stored:
        match pid:
            case ("storage", torch.dtype() as dtype, str(key), _, int(count)) if count >= 0 and key.isalnum():
                return Stored(key, dtype, count)
        raise Refused("it holds a tensor whose description is damaged")

    def load_reduce(self) -> None:
        given = self.stack.pop()
        self.stack[-1] = self._called(self.stack[-1], given)

    def load_newobj(self) -> None:
        given = self.stack.pop()
        self.stack[-1] = self._called(self.stack[-1], given)

    def load_newobj_ex(self) -> None:
        self.stack.pop()
        self.load_newobj()

    def load_build(self) -> None:
        """The attributes of an object: of interest where they are hyper-parameters, dropped elsewhere."""
        state = self.stack.pop()
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state

    @staticmethod
    def _called(what: Any, given: Any) -> Any:
        if not isinstance(what, _Name) or not isinstance(given, tuple):
            raise Refused("its pickle calls something that is not a name")
        return what.make(*given)

    for _code, _method in (
        (pickle.REDUCE, load_reduce),
        (pickle.NEWOBJ, load_newobj),
        (pickle.NEWOBJ_EX, load_newobj_ex),
        (pickle.BUILD, load_build),
    ):
        dispatch[_code[0]] = _method


class Checkpoint:
    """An open file. `content`: what was saved, with Lazy in the place of tensors."""

    def __init__(self, path: Path) -> None:
        """Raises Refused."""
        self._left = MOST_READ * path.stat().st_size
        try:
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
            return _Reader(file, encoding="utf-8").load()

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


def plain(value: Any, depth: int = 6) -> Any:
    """Hyper-parameters as JSON: numbers, texts, lists and dicts; anything else as the text of its kind."""
    if isinstance(value, Inert):
        return plain(value.state, depth) if isinstance(value.state, dict) else f"({value.name})"
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth and isinstance(value, dict):
        return {str(key): plain(each, depth - 1) for key, each in list(value.items())[:1000]}
    if depth and isinstance(value, list | tuple | set):
        return [plain(each, depth - 1) for each in list(value)[:1000]]
    return f"({type(value).__name__})"


def lazies(value: Any) -> dict[str, Lazy]:
    """The tensors of a state dict, by name."""
    return {str(name): each for name, each in value.items() if isinstance(each, Lazy)} if isinstance(value, dict) else {}

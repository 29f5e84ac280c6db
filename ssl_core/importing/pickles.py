"""A pickle as torch.save writes it, read without running anything.

A pickle is a program. This reader carries out the part of its instructions that makes dicts, lists, numbers and texts; whatever
the program wants to *call* is looked up in one table of our own functions, and a name that is not there ends the reading with a
sentence that has the name. So it can neither import nor call anything; what could take memory or time without end is bounded.
(torch's own `weights_only` calls nothing either, but refuses what every Lightning checkpoint has beside its tensors.)
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

MOST_COPIED = 2_000_000  # values that a pickle may have put into new tuples and dicts by what it calls; real ones: some thousand
MOST_INT = 2**63
MOST_DIMENSIONS = 64
MOST_MADE = 500_000  # lists, dicts, sets and marks
LONGEST_NAME = 200  # of what a pickle wants to load
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
        or not all(type(value) is int and 0 <= value < MOST_INT for value in plain)
        or not len(size) == len(stride) <= MOST_DIMENSIONS
    ):
        raise Refused("it holds a tensor whose description is damaged")
    last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.count or (math.prod(size) and last >= storage.count):
        raise Refused("it holds a tensor that reaches beyond its memory")
    return Lazy(storage, offset, tuple(size), tuple(stride))


def _size(values: Any) -> tuple[Any, ...]:
    if not isinstance(values, list | tuple):
        raise Refused("it holds a tensor whose description is damaged")
    return tuple(values)


def _dict(*given: Any) -> dict[Any, Any]:
    return dict(*given)


def _first(value: Any, *_: Any) -> Any:
    return value


_CALLABLE: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.Size": _size,
    "torch.device": lambda *given: "device",
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


_NEVER = (
    *(pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID),
    *(pickle.BYTEARRAY8, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
)


_KEYS = (str, bytes, float, type(None), torch.dtype, _Name, Inert)


def _must_be_keys(keys: list[Any]) -> None:
    """Raises Refused for what may take long: endless numbers, and tuples, which may lie in each other or all have one hash."""
    for key in keys:
        if not (-MOST_INT < key < MOST_INT if isinstance(key, int) else isinstance(key, _KEYS)):
            raise Refused(f"it holds a dict or set with a {type(key).__name__} as a key, which is not read")


class Reader(pickle._Unpickler):  # the one in Python: its instructions can be replaced
    """Pickle's machine with the instructions that call anything replaced, and those by which a few bytes can take memory or time
    without end: a length is believed before anything is read, lists are copied for two bytes each, a hash of tuples in tuples."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]
    append: Callable[[Any], None]
    copied = made = 0
    dispatch: ClassVar[dict[int, Any]] = {
        code: method for code, method in pickle._Unpickler.dispatch.items() if bytes([code]) not in _NEVER
    }

    def find_class(self, module: str, name: str) -> Any:
        if len(module) + len(name) > LONGEST_NAME:
            raise Refused("it wants to load something of an endless name")
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
            case ("storage", torch.dtype() as dtype, str(key), _, int(count)) if 0 <= count < MOST_INT and key.isalnum():
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

    def _called(self, what: Any, given: Any) -> Any:
        if not isinstance(what, _Name) or not isinstance(given, tuple):
            raise Refused("its pickle calls something that is not a name")
        self.copied += sum(len(each) for each in given if isinstance(each, list | tuple | dict | set | frozenset))
        if self.copied > MOST_COPIED:
            raise Refused("its pickle copies more than any checkpoint needs")
        if what.make is _dict and given:
            _must_be_keys([pair[0] for pair in given[0]] if isinstance(given[0], list | tuple) else list(given[0]))
        return what.make(*given)

    def load_dict(self) -> None:
        items = self.pop_mark()
        _must_be_keys(items[::2])
        self.append(dict(zip(items[::2], items[1::2], strict=True)))

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _must_be_keys([key])
        self.stack[-1][key] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()
        _must_be_keys(items[::2])
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def load_additems(self) -> None:
        items = self.pop_mark()
        _must_be_keys(items)
        self.stack[-1].update(items)

    def load_frozenset(self) -> None:
        items = self.pop_mark()
        _must_be_keys(items)
        self.append(frozenset(items))

    def _counted(method: Callable[[Any], None]) -> Callable[[Any], None]:  # type: ignore[misc]
        """Each is one byte of a pickle, and up to 216 of memory."""

        def counted(self: Reader) -> None:
            self.made += 1
            if self.made > MOST_MADE:
                raise Refused("it holds more lists, dicts and sets than any checkpoint does")
            method(self)

        return counted

    for _instruction in (pickle.EMPTY_LIST, pickle.EMPTY_DICT, pickle.EMPTY_SET, pickle.MARK):
        dispatch[_instruction[0]] = _counted(dispatch[_instruction[0]])
    for _code, _method in (
        (pickle.REDUCE, load_reduce),
        (pickle.NEWOBJ, load_newobj),
        (pickle.NEWOBJ_EX, load_newobj_ex),
        (pickle.BUILD, load_build),
        (pickle.DICT, load_dict),
        (pickle.SETITEM, load_setitem),
        (pickle.SETITEMS, load_setitems),
        (pickle.ADDITEMS, load_additems),
        (pickle.FROZENSET, load_frozenset),
    ):
        dispatch[_code[0]] = _method

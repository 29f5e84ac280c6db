"""Answers as tables: what lists give can be made a list of dicts, an Arrow table or a pandas DataFrame.

client.jobs(status="succeeded").to_pandas()[["id", "metrics.knn_top1"]]
client.embed_each(paths).to_arrow()                      # name, vector, error
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from imprint.errors import UsageError

if TYPE_CHECKING:
    import pandas
    import pyarrow

T = TypeVar("T")
_LEFT_OUT = ("raw", "spec")  # the body again, and hundreds of columns


def to_dicts(records: Iterable[Any]) -> list[dict[str, Any]]:
    """A flat dict each: what lies in sections has names with dots (progress.epoch, metrics.knn_top1)."""
    return [_flat(record) for record in records]


def to_arrow(records: Iterable[Any]) -> pyarrow.Table:
    """Vectors become fixed-size lists of float32. A column that some have and others not is null where it is missing."""
    import numpy as np
    import pyarrow as pa

    rows = to_dicts(records)
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row.get(name) for row in rows]
        vectors = [value for value in values if isinstance(value, np.ndarray)]
        if vectors:
            columns[name] = pa.array([None if v is None else v.tolist() for v in values], pa.list_(pa.float32(), len(vectors[0])))
        else:
            columns[name] = pa.array(values)
    return pa.table(columns)


def to_pandas(records: Iterable[Any]) -> pandas.DataFrame:
    """Raises UsageError where pandas is not installed."""
    try:
        import pandas as pd
    except ImportError as error:
        raise UsageError("pandas is not installed", "pip install pandas; or use to_dicts() or to_arrow()") from error
    return pd.DataFrame(to_dicts(records))


def _flat(record: Any) -> dict[str, Any]:
    if isinstance(record, Mapping):  # a body of the API as it came
        fields = dict(record)
    else:
        fields = {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}
    row: dict[str, Any] = {}
    for name, value in fields.items():
        if name in _LEFT_OUT:
            continue
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.name not in _LEFT_OUT}
        if isinstance(value, Mapping):
            row |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            row[name] = value
    return row


class _Tabular(Iterable[Any]):
    """What records have in common."""

    def to_dicts(self) -> list[dict[str, Any]]:
        """All of them, or the rest; see `imprint.results`."""
        return to_dicts(self)

    def to_arrow(self) -> pyarrow.Table:
        return to_arrow(self)

    def to_pandas(self) -> pandas.DataFrame:
        return to_pandas(self)


class Results(_Tabular, Iterator[T], Generic[T]):
    """An iterator over records, fetched as they are needed."""

    def __init__(self, records: Iterable[T]) -> None:
        self._records = iter(records)

    def __iter__(self) -> Results[T]:
        return self

    def __next__(self) -> T:
        return next(self._records)


class Rows(list[T], _Tabular):
    """A list of records."""


class AsyncResults(AsyncIterator[T], Generic[T]):
    """The same for `async for`."""

    def __init__(self, records: AsyncIterator[T]) -> None:
        self._records = records

    def __aiter__(self) -> AsyncResults[T]:
        return self

    async def __anext__(self) -> T:
        return await anext(self._records)

    async def all(self) -> Rows[T]:
        """The rest of them."""
        return Rows([record async for record in self])

    async def to_dicts(self) -> list[dict[str, Any]]:
        return await asyncio.to_thread(to_dicts, await self.all())

    async def to_arrow(self) -> pyarrow.Table:
        return await asyncio.to_thread(to_arrow, await self.all())

    async def to_pandas(self) -> pandas.DataFrame:
        return await asyncio.to_thread(to_pandas, await self.all())

"""The parts of `imprint.AsyncClient` that deal with datasets, webhooks and maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from imprint import datasets, maps, webhooks
from imprint.datasets import Dataset, Progress
from imprint.flow import Flow
from imprint.records import Job, Json
from imprint.results import AsyncResults

T = TypeVar("T")


class AsyncParts:
    """What each method does is said at the method of the same name of `imprint.Client`."""

    if TYPE_CHECKING:  # the client's own

        async def submit(self, *, idempotency_key: str | None = None, **spec: Any) -> Job: ...

        async def _run(self, flow: Flow[T]) -> T: ...

        def _iterate(self, flow: Flow[None]) -> AsyncResults[Any]: ...

    # Datasets

    async def upload_dataset(self, path: str | Path, name: str | None = None, *, on_progress: Progress | None = None) -> Dataset:
        return await self._run(datasets.uploaded(path, name, on_progress))

    async def dataset(self, dataset_id: str) -> Dataset:
        return await self._run(datasets.dataset(dataset_id))

    def datasets(self, *, limit: int | None = None) -> AsyncResults[Dataset]:
        return self._iterate(datasets.listed(limit))

    async def delete_dataset(self, dataset_id: str) -> None:
        await self._run(datasets.deleted(dataset_id))

    # Webhooks

    async def add_webhook(self, url: str, events: Sequence[str] | None = None) -> Json:
        return await self._run(webhooks.added(url, events))

    def webhooks(self) -> AsyncResults[Json]:
        return self._iterate(webhooks.listed())

    async def enable_webhook(self, webhook_id: str, enabled: bool = True) -> Json:
        return await self._run(webhooks.enable(webhook_id, enabled))

    async def delete_webhook(self, webhook_id: str) -> None:
        await self._run(webhooks.deleted(webhook_id))

    async def test_webhook(self, webhook_id: str) -> Json:
        return await self._run(webhooks.tested(webhook_id))

    def deliveries(self, webhook_id: str, *, limit: int | None = None) -> AsyncResults[Json]:
        return self._iterate(webhooks.deliveries(webhook_id, limit))

    # Maps

    async def make_map(self, vectors: str, **fields: Any) -> Job:
        return await self.submit(kind="map", vectors=vectors, **fields)

    async def map(self, job_id: str) -> Json:
        return await self._run(maps.summary(job_id))

    async def map_points(self, job_id: str, **params: Any) -> Json:
        return await self._run(maps.points(job_id, params))

    async def map_picture(self, job_id: str, row: int) -> Json:
        return await self._run(maps.picture(job_id, row))

    async def save_map(self, job_id: str, to: str | Path) -> Path:
        return await self._run(maps.saved(job_id, to))

    async def export_rows(self, job_id: str, rows: Sequence[int], name: str | None = None, format: str = "csv") -> bytes:
        return await self._run(maps.exported(job_id, rows, name, format))

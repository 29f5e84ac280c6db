"""The service from asyncio: `imprint.Client`'s methods, awaited; what lists things is for `async for`.

async with AsyncClient() as client:
    job = await client.submit(data={"source": "digits"})
    async for event in client.follow_events(job.id):
        print(event.type, event.data)
    vectors = await client.embed(["a.png", "b.png"], encoder=job.id)

What each method does is said at the method of the same name of `imprint.Client`; both carry out the same flows (`imprint.flow`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from imprint import bulk, calls, embedding, leaving
from imprint import index as indexes
from imprint.aio_parts import AsyncParts
from imprint.aio_transport import AsyncTransport
from imprint.client import DEFAULT_SERVER
from imprint.flow import Flow, get, iterate_async, part, run_async
from imprint.images import Image
from imprint.records import Embedded, Encoder, Event, Job, Json, Metric, Validation
from imprint.results import AsyncResults, Rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")


class AsyncClient(AsyncParts):
    """A connection to one Imprint server, of one event loop; an asynchronous context manager."""

    def __init__(self, base_url: str | None = None, api_key: str | None = None, *, timeout: float = 90.0) -> None:
        base_url = base_url or os.environ.get("IMPRINT_SERVER") or DEFAULT_SERVER
        self._transport = AsyncTransport(base_url, api_key or os.environ.get("IMPRINT_API_KEY") or None, timeout)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    async def close(self) -> None:
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    # Jobs

    async def submit(self, *, idempotency_key: str | None = None, **spec: Any) -> Job:
        return await self._run(calls.submit(spec, idempotency_key))

    async def validate(self, **spec: Any) -> Validation:
        return await self._run(calls.validate(spec))

    async def job(self, job_id: str) -> Job:
        return await self._run(calls.job(job_id))

    def jobs(
        self,
        *,
        status: str | None = None,
        method: str | None = None,
        labels: dict[str, str] | None = None,
        limit: int | None = None,
        mine: bool = False,
    ) -> AsyncResults[Job]:
        return self._iterate(calls.jobs(status, method, labels, limit, mine))

    async def cancel(self, job_id: str) -> Job:
        return await self._run(calls.control(job_id, "cancel"))

    async def pause(self, job_id: str) -> Job:
        return await self._run(calls.control(job_id, "pause"))

    async def resume(self, job_id: str) -> Job:
        return await self._run(calls.control(job_id, "resume"))

    async def share(self, job_id: str, shared: bool = True) -> Job:
        return await self._run(calls.share(job_id, shared))

    def updates(self, job_id: str, *, every: float = 1.0) -> AsyncResults[Job]:
        return self._iterate(calls.updates(job_id, every))

    async def wait(
        self,
        job_id: str,
        *,
        on_update: Callable[[Job], None] | None = None,
        timeout: float | None = None,
        every: float = 1.0,
        check: bool = True,
    ) -> Job:
        return await self._run(calls.wait(job_id, on_update, timeout, every, check))

    def metrics(self, job_id: str, name: str | None = None, *, after_step: int | None = None) -> AsyncResults[Metric]:
        return self._iterate(calls.metrics(job_id, name, after_step))

    def events(self, job_id: str, *, after: int | None = None) -> AsyncResults[Event]:
        return self._iterate(calls.events(job_id, after))

    def follow_events(self, job_id: str, *, after: int | None = None) -> AsyncResults[Event]:
        return self._iterate(calls.follow_events(job_id, after))

    async def logs(self, job_id: str, *, tail: int | None = None) -> str:
        return await self._run(calls.logs(job_id, tail))

    async def preview(self, job_id: str | None = None, *, images: int = 8, **spec: Any) -> bytes:
        return await self._run(calls.preview(job_id, images, spec))

    # Encoders

    def encoders(self, *, limit: int | None = None, mine: bool = False) -> AsyncResults[Encoder]:
        return self._iterate(calls.encoders(limit, mine))

    async def encoder(self, encoder: str = "latest") -> Encoder:
        return await self._run(calls.encoder(encoder))

    async def download(self, encoder: str, to: str | Path) -> Path:
        return await self._run(leaving.saved(encoder, to))

    async def export(self, encoder: str, form: str, to: str | Path) -> Path:
        return await self._run(leaving.export(encoder, form, to))

    async def card(self, encoder: str = "latest", form: str = "onnx") -> str:
        return await self._run(leaving.card(encoder, form))

    async def import_encoder(self, path: str | Path, *, on_progress: Callable[[int], object] | None = None, **fields: Any) -> Job:
        return await self._run(calls.import_encoder(Path(path), fields, on_progress))

    async def set_alias(self, name: str, encoder: str) -> None:
        await self._run(calls.set_alias(name, encoder))

    async def index(self, encoder: str = "latest") -> AsyncIndex:
        return AsyncIndex(self, part(await self._run(calls.encoder_id(encoder))))

    async def ready(self) -> bool:
        return await self._run(calls.ready())

    # Embedding and measuring

    async def embed(
        self,
        images: Iterable[Image],
        encoder: str = "latest",
        *,
        normalize: bool = False,
        dimensions: int | None = None,
        layer: embedding.Layer = "pooled",
        batch_size: int = embedding.BATCH,
    ) -> NDArray[np.float32]:
        return await self._run(embedding.vectors(images, encoder, normalize, dimensions, layer, batch_size))

    def embed_each(
        self,
        images: Iterable[Image],
        encoder: str = "latest",
        *,
        normalize: bool = False,
        dimensions: int | None = None,
        batch_size: int = embedding.BATCH,
    ) -> AsyncResults[Embedded]:
        return self._iterate(embedding.each(images, encoder, normalize, dimensions, batch_size))

    async def embed_folder(self, path: str, encoder: str = "latest", **fields: Any) -> Job:
        return await self.submit(kind="embed", encoder=encoder, data={"source": "folder", "path": path}, **fields)

    async def vectors(self, job_id: str) -> list[Json]:
        return await self._run(bulk.listed(job_id))

    async def save_vectors(self, job_id: str, to: str | Path) -> Path:
        return await self._run(bulk.saved(job_id, to))

    async def linear_probe(self, encoder: str = "latest", *, data: Json, **fields: Any) -> Job:
        return await self.submit(kind="linear_probe", encoder=encoder, data=data, **fields)

    async def finetune(self, encoder: str = "latest", *, data: Json, **fields: Any) -> Job:
        return await self.submit(kind="finetune", encoder=encoder, data=data, **fields)

    async def measurement(self, job_id: str) -> Json:
        return await self._run(get(f"/jobs/{part(job_id)}/result"))

    async def compare(self, *encoders: str) -> Json:
        return await self._run(calls.compare(encoders))

    # Plumbing

    async def _run(self, flow: Flow[T]) -> T:
        return await run_async(flow, self._transport.performer())

    def _iterate(self, flow: Flow[None]) -> AsyncResults[Any]:
        return AsyncResults(iterate_async(flow, self._transport.performer()))


class AsyncIndex:
    """`imprint.index.Index`, awaited."""

    def __init__(self, client: AsyncClient, encoder: str) -> None:
        self.encoder = encoder
        self._client = client
        self._here = f"/encoders/{encoder}"

    async def build(self, vectors: str) -> Job:
        return await self._client._run(indexes.build(self._here, vectors))

    async def status(self) -> Json:
        return await self._client._run(get(f"{self._here}/index"))

    async def remove(self) -> None:
        await self._client._run(indexes.remove(self._here))

    async def search(self, what: Image | indexes.Vector, k: int = 10, *, thumbnails: bool = False) -> Rows[indexes.Found]:
        return await self._client._run(indexes.search(self._here, what, k, thumbnails))

    async def report(self, threshold: float = 0.95, *, limit: int = 100, skip: int = 0) -> Json:
        return await self._client._run(get(f"{self._here}/report", threshold=threshold, limit=limit, skip=skip))

    async def report_csv(self, threshold: float = 0.95) -> bytes:
        return await self._client._run(indexes.report_csv(self._here, threshold))

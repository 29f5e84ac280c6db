"""The index of an encoder from Python: build it, search it, ask for its report. Speaks HTTP only.

index = client.index("latest")
client.wait(index.build("job_…").id)      # an embed job
for found in index.search("cat.jpg", k=5):
    print(found.score, found.path)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imprint import images as image_files
from imprint.errors import UsageError
from imprint.images import Image
from imprint.records import Job, Json
from imprint.transport import Transport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Found:
    """A picture near to what was asked for. score: the cosine; thumbnail: a data URI, or None."""

    path: str
    score: float
    thumbnail: str | None = None


class Index:
    """One encoder's."""

    def __init__(self, transport: Transport, encoder: str) -> None:
        self.encoder = encoder
        self._transport = transport
        self._here = f"/encoders/{encoder}"

    def build(self, vectors: str) -> Job:
        """Queue a job that indexes the vectors of an embed job; `client.wait(job.id)` waits for its end. Until then the index
        before is searched.

        Raises Rejected for a job without vectors of this encoder.
        """
        return Job.parse(self._transport.request("POST", f"{self._here}/index", json={"vectors": vectors}).json())

    def status(self) -> Json:
        """What is searched, and the newest job that builds it. Raises NotFound if there is neither."""
        body: Json = self._transport.request("GET", f"{self._here}/index").json()
        return body

    def remove(self) -> None:
        """And cancel the jobs that build another."""
        self._transport.request("DELETE", f"{self._here}/index")

    def search(
        self, what: Image | Sequence[float] | NDArray[np.float32], k: int = 10, *, thumbnails: bool = False
    ) -> list[Found]:
        """The k nearest pictures, best first. what: a path, the bytes of an image file, a PIL image, or a vector (dim,)."""
        options: dict[str, Any] = {"k": k, "thumbnails": thumbnails}
        if isinstance(what, str | Path | bytes) or hasattr(what, "save"):
            ((_, content),) = next(iter(image_files.batches([what], 1, 1)))
            if isinstance(content, UsageError):
                raise content
            fields = {"k": str(k), "thumbnails": str(thumbnails).lower()}
            answer = self._transport.request(
                "POST", f"{self._here}/search", data=fields, files=[("image", ("image", content))], repeatable=True
            )
        else:
            vector = [float(value) for value in what]
            answer = self._transport.request("POST", f"{self._here}/search", json={**options, "vector": vector}, repeatable=True)
        return [Found(each["path"], each["score"], each.get("thumbnail")) for each in answer.json()["data"]]

    def report(self, threshold: float = 0.95, *, limit: int = 100, skip: int = 0) -> Json:
        """Near-duplicates and outliers, a page of each, as GET /encoders/{id}/report answers."""
        params = {"threshold": threshold, "limit": limit, "skip": skip}
        body: Json = self._transport.request("GET", f"{self._here}/report", params=params).json()
        return body

    def report_csv(self, threshold: float = 0.95) -> bytes:
        """Every picture, a row each: path, group, nearest, distance."""
        params = {"threshold": threshold, "format": "csv"}
        return self._transport.request("GET", f"{self._here}/report", params=params).content

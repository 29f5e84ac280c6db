"""The index of an encoder from Python: build it, search it, ask for its report. Speaks HTTP only.

index = client.index("latest")
client.wait(index.build("job_…").id)      # an embed job
for found in index.search("cat.jpg", k=5):
    print(found.score, found.path)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imprint import images as image_files
from imprint.flow import Call, Flow, Work, get, run
from imprint.images import Image
from imprint.records import Job, Json
from imprint.results import Rows
from imprint.transport import Transport

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = Sequence[float] | NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Found:
    """A picture near to what was asked for. score: the cosine; thumbnail: a data URI, or None."""

    path: str
    score: float
    thumbnail: str | None = None


def build(here: str, vectors: str) -> Flow[Job]:
    answer = yield Call("POST", f"{here}/index", json={"vectors": vectors})
    return Job.parse(answer.json())


def search(here: str, what: Image | Vector, k: int, thumbnails: bool) -> Flow[Rows[Found]]:
    if isinstance(what, str | Path | bytes) or hasattr(what, "save"):
        _, content = yield Work(partial(image_files.read, what, 0))
        fields = {"k": str(k), "thumbnails": str(thumbnails).lower()}
        call = Call("POST", f"{here}/search", data=fields, files=[("image", ("image", content))], repeatable=True)
    else:
        asked: dict[str, Any] = {"k": k, "thumbnails": thumbnails, "vector": [float(value) for value in what]}
        call = Call("POST", f"{here}/search", json=asked, repeatable=True)
    answer = yield call
    return Rows(Found(each["path"], each["score"], each.get("thumbnail")) for each in answer.json()["data"])


def report_csv(here: str, threshold: float) -> Flow[bytes]:
    answer = yield Call("GET", f"{here}/report", params={"threshold": threshold, "format": "csv"})
    return bytes(answer.content)


def remove(here: str) -> Flow[None]:
    yield Call("DELETE", f"{here}/index")


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
        return run(build(self._here, vectors), self._transport.performer())

    def status(self) -> Json:
        """What is searched, and the newest job that builds it. Raises NotFound if there is neither."""
        return run(get(f"{self._here}/index"), self._transport.performer())

    def remove(self) -> None:
        """And cancel the jobs that build another."""
        run(remove(self._here), self._transport.performer())

    def search(self, what: Image | Vector, k: int = 10, *, thumbnails: bool = False) -> Rows[Found]:
        """The k nearest pictures, best first. what: a path, the bytes of an image file, a PIL image, or a vector (dim,)."""
        return run(search(self._here, what, k, thumbnails), self._transport.performer())

    def report(self, threshold: float = 0.95, *, limit: int = 100, skip: int = 0) -> Json:
        """Near-duplicates and outliers, a page of each, as GET /encoders/{id}/report answers."""
        asked = get(f"{self._here}/report", threshold=threshold, limit=limit, skip=skip)
        return run(asked, self._transport.performer())

    def report_csv(self, threshold: float = 0.95) -> bytes:
        """Every picture, a row each: path, group, nearest, distance."""
        return run(report_csv(self._here, threshold), self._transport.performer())

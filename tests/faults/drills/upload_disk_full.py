"""The disk of the home gets full while pictures are uploaded: while they arrive, or while they are unpacked."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import httpx

from faults.bench import Bench, bench
from faults.drill import Drill
from faults.drills.disk_full import mounted
from support.archives import png, zipped
from support.journeys import draw_pictures

MIB = 2**20


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Bench]:
    """An API whose uploaded datasets lie on a disk of 64 MiB."""
    draw_pictures(folder / "data")
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(bench(folder, workers=0, api=True, pictures=folder / "data"))
        stack.enter_context(mounted(place.home / "datasets"))
        yield place


def archive(dice: random.Random, size: int) -> bytes:
    """Pictures of noise, `size` bytes of them, which a ZIP makes no smaller."""
    one = png(dice.randrange(2**31), 590)  # about a MiB
    return zipped({f"{number:03}.png": one for number in range(size // len(one))})


def trial(place: Bench, dice: random.Random, number: int) -> None:
    arriving = number % 2 == 0
    data = archive(dice, (70 if arriving else 36) * MIB)  # with the unpacked pictures twice as much
    headers = {"Content-Type": "application/zip", "Idempotency-Key": f"drill-{number}-{dice.randrange(10**9)}"}

    def pieces() -> Iterator[bytes]:  # of unknown length, so that nothing is refused before it comes
        for start in range(0, len(data), MIB):
            yield data[start : start + MIB]

    with contextlib.suppress(httpx.WriteError, httpx.RemoteProtocolError):  # an answer that came while the client still wrote
        answer = place.http.post("/datasets", params={"name": "drill"}, content=pieces(), headers=headers)
        assert answer.status_code == 507, answer.text
        assert "disk" in answer.json()["detail"]
    datasets = place.home / "datasets"

    def empty() -> bool:
        return not [each for each in datasets.rglob("*") if each.name != ".uploads"]

    place.until(empty, "nothing half is left", 20)
    assert place.http.get("/datasets", params={"limit": 1}).json()["data"] == []
    kind = {"Content-Type": "application/zip"}
    small = place.http.post("/datasets", params={"name": "small"}, content=archive(dice, 4 * MIB), headers=kind)
    assert small.status_code == 201, small.text
    assert place.http.delete(f"/datasets/{small.json()['id']}").status_code == 204
    assert empty()


DRILL = Drill(
    "upload_disk_full",
    "disk of uploaded datasets full while an archive arrives, or is unpacked",
    "507 that says so; nothing half is left; a smaller archive is taken at once",
    small_disk,
    trial,
    2,
)

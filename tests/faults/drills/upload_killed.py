"""SIGKILL of the API at a random moment of an upload: while it arrives, is unpacked, published or recorded."""

from __future__ import annotations

import contextlib
import random
import threading
import time

import httpx

from faults.bench import PATIENCE, Bench
from faults.drill import Drill
from faults.drills.api_killed import only_an_api
from imprint import Client
from jobs.uploads import LEFTOVER_SECONDS, Uploads
from support.archives import png, zipped

PICTURES = 400


def trial(place: Bench, dice: random.Random, number: int) -> None:
    file = place.folder / f"upload-{number}.zip"
    files = {f"{name}/{each:03}.png": png(each) for name in ("cat", "dog") for each in range(PICTURES // 2)}
    file.write_bytes(zipped({**files, "noise.png": png(dice.randrange(2**31), 1200)}))
    made: list[str] = []
    failures: list[str] = []
    given_up = threading.Event()

    def client() -> None:
        with Client(f"http://127.0.0.1:{place.port}") as connection:
            while not given_up.is_set():
                try:
                    made.append(connection.upload_dataset(file, f"drill {number}").id)
                    return
                except Exception as error:  # each is what a person would see, and would try again after
                    failures.append(f"{type(error).__name__}: {error}")
                    time.sleep(0.1)

    thread = threading.Thread(target=client)
    thread.start()
    for _ in range(dice.choice((1, 2))):
        time.sleep(dice.uniform(0, 1.5))
        place.api.kill()
        place.start_api()
    thread.join(PATIENCE)
    given_up.set()
    thread.join(PATIENCE)
    assert made, failures[-3:]
    mine = [each for each in place.http.get("/datasets").json()["data"] if each["name"] == f"drill {number}"]
    assert [each["id"] for each in mine] == made, "one dataset for one file, however often it was sent"
    assert mine[0]["images"] + mine[0]["held_out"] == PICTURES + 1
    uploads = Uploads(place.home / "datasets")
    kept = uploads.place_of(made[0])
    assert len(list(kept.rglob("*.png"))) == PICTURES + 1
    uploads.remove_leftovers(place.repository.dataset_ids(), time.time() + 30 * LEFTOVER_SECONDS)
    left = {each.name for each in uploads.folder.iterdir()} - {".uploads"}
    assert left == place.repository.dataset_ids(), "what the dead left is swept, and nothing else"
    assert list(uploads.arriving.iterdir()) == []
    with contextlib.suppress(httpx.HTTPError):
        place.http.delete(f"/datasets/{made[0]}")
    file.unlink()


DRILL = Drill(
    "upload_killed",
    "SIGKILL of the API while an archive arrives, is unpacked, published or recorded; the client sends it again",
    "one dataset, whole; what was left half is swept",
    only_an_api,
    trial,
)

"""What the pictures of the pages show, from a real run: a service of its own, two encoders of the handwritten digits, a map of
them, and jobs in the states that people meet. It takes some minutes.
"""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from imprint import Client
from imprint.records import Job

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SHELLS = ("conch", "cowrie", "whelk")


def prepare(client: Client, data: Path) -> dict[str, str]:
    """Everything that the pictures need to be there; gives ids."""
    _draw_shells(data / "shells")
    _draw_digits(data / "digits")
    dataset = httpx.post(f"{client.base_url}/datasets", json={"name": "Shells, drawn", "path": "shells"}, timeout=60).json()
    shells = {"source": "dataset", "id": dataset["id"]}
    small = {"encoder": {"arch": "shufflenet_v2_x0_5"}, "evaluate": {"every_epochs": 1}}
    digits = {"data": {"source": "digits", "size": 16}, **small}
    often = {"log_every_steps": 1}

    jobs = {}
    for name, epochs in (("vicreg", 4), ("simclr", 40)):
        run = {"max_epochs": epochs, **often}
        jobs[name] = client.submit(name=f"digits, {name}", method={"name": name}, labels={"team": "a"}, **digits, trainer=run).id
    encoders = {name: str(client.wait(job).encoder) for name, job in jobs.items()}
    client.set_alias("digits", encoders["simclr"])
    vectors = client.wait(client.embed_folder("digits", encoders["simclr"], name="digits, embedded").id).id
    client.wait(client.index(encoders["simclr"]).build(vectors).id)
    made = client.wait(client.make_map(vectors, name="Handwritten digits").id)

    client.cancel(client.submit(name="shells, first try", data=shells).id)
    run = {"max_epochs": 60, **often}
    running = client.submit(name="digits, for longer", method={"name": "simclr"}, labels={"team": "a"}, **digits, trainer=run)
    client.submit(name="shells, larger network", data=shells, encoder={"arch": "resnet50"})
    while not _well_under_way(client.job(running.id)):
        time.sleep(1)
    ids = {"map": made.id, "encoder": encoders["simclr"], "other": encoders["vicreg"]}
    return {**ids, "running": running.id, "job": jobs["simclr"], "with": jobs["vicreg"]}


def _well_under_way(job: Job) -> bool:
    """Past its first epochs, in which kNN is below that of random weights for a while."""
    return job.final or ((job.progress.epoch or 0) >= 3 and job.health.get("verdict") == "healthy")


def digit(number: int) -> bytes:
    """A handwritten digit as a PNG file of 64 px."""
    file = io.BytesIO()
    pixels = (255 - load_digits().images[number] * 15.9).astype(np.uint8)
    Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


def _draw_digits(folder: Path) -> None:
    """All 1,797 of them, each in the folder of its name."""
    for number, kind in enumerate(load_digits().target):
        place = folder / NAMES[kind]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:04}.png").write_bytes(digit(number))


def _draw_shells(folder: Path) -> None:
    """60 spirals in three colours, each in its own folder."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    for number in range(60):
        turns = np.sin(angle * (1 + number % 3) + radius * random.uniform(6, 14) + random.uniform(0, 6))
        shade = (0.55 + 0.45 * turns) * np.clip(1.25 - radius, 0, 1)
        colour = np.array([(235, 150, 110), (120, 170, 210), (150, 190, 130)][number % 3]) + random.integers(-20, 20, 3)
        pixels = 245 - (245 - colour) * shade[..., None]
        place = folder / SHELLS[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(place / f"{number:02}.png")


@contextmanager
def service() -> Iterator[tuple[Client, Path]]:
    """`imprint up` on a free port and a home of its own; gives a client and the data root."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="imprint-pictures-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        command = [sys.executable, "-m", "imprint", "up", "--home", f"{folder}/home", "--data", str(data), "--port", str(port)]
        running = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            client = Client(f"http://127.0.0.1:{port}")
            _until_ready(client.base_url)
            yield client, data
            client.close()
        finally:
            running.send_signal(signal.SIGTERM)
            running.wait(90)


def _until_ready(address: str) -> None:
    for _ in range(240):
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{address}/readyz").status_code == 200:
                return
        time.sleep(0.5)
    raise TimeoutError(f"{address} did not answer within two minutes")

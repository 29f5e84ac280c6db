"""Takes the pictures of the pages in docs/pictures/, from a real run: `python docs/screenshots.py [NAME …]`.

Starts the service on a home of its own, registers some pictures, trains on the digits, and looks at it with Chromium. Needs
playwright and a Chromium on the PATH. A new picture is a line in SHOTS; what it needs to be there first is made in `prepare`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from imprint import Client

PICTURES = Path(__file__).parent / "pictures"
MOST_BYTES = 200_000
WIDE, PHONE = {"width": 1280, "height": 820}, {"width": 390, "height": 844}


@dataclass(frozen=True)
class Shot:
    """One picture: the address ({names} are those of `prepare`), how it is looked at, and what is done before."""

    name: str
    path: str
    scheme: str = "light"
    viewport: dict[str, int] = field(default_factory=lambda: WIDE)
    before: Callable[[Page], Any] = lambda page: None


def _drawn(page: Page) -> None:
    page.locator(".chart canvas").first.wait_for()


def _checked(page: Page) -> None:
    page.get_by_text("Ready to go.").wait_for()
    page.wait_for_timeout(500)  # thumbnails


def _previewed(page: Page) -> None:
    _checked(page)
    page.get_by_role("button", name="See the views").click()
    page.locator("img.sheet").wait_for(timeout=120_000)


SHOTS = (
    Shot("jobs", "/"),
    Shot("jobs-dark", "/", "dark"),
    Shot("jobs-phone", "/", viewport=PHONE),
    Shot("job", "/ui/jobs/{job}", before=_drawn),
    Shot("job-dark", "/ui/jobs/{job}?with={other}", "dark", before=_drawn),
    Shot("job-phone", "/ui/jobs/{job}", "dark", PHONE, _drawn),
    Shot("new", "/ui/new?source=digits", before=_previewed),
    Shot("new-phone", "/ui/new", viewport=PHONE, before=_checked),
    Shot("api", "/docs", "dark"),
)


def prepare(client: Client, data: Path) -> dict[str, str]:
    """What the pictures show: a dataset, jobs in every state that takes no longer than minutes. Gives ids."""
    _draw(data / "shells")
    dataset = httpx.post(f"{client.base_url}/datasets", json={"name": "Shells, drawn", "path": "shells"}, timeout=60).json()
    small = {"encoder": {"arch": "shufflenet_v2_x0_5"}, "evaluate": {"every_epochs": 1}}
    digits = {"source": "digits", "size": 16}
    run = {"max_epochs": 3, "batch_size": 128, "log_every_steps": 1}
    other = client.submit(name="digits, moco", method={"name": "moco"}, data=digits, optim={"lr": 0.06}, **small, trainer=run)
    while not client.job(other.id).final:
        time.sleep(1)
    cancelled = client.submit(name="shells, first try", data={"source": "dataset", "id": dataset["id"]})
    client.cancel(cancelled.id)
    job = client.submit(
        name="digits, simclr",
        data=digits,
        method={"name": "simclr"},
        labels={"team": "a"},
        **small,
        trainer={"max_epochs": 40, "batch_size": 128, "log_every_steps": 1},
    )
    client.submit(name="shells, larger network", data={"source": "dataset", "id": dataset["id"]}, encoder={"arch": "resnet50"})
    while (client.job(job.id).progress.epoch or 0) < 5:
        time.sleep(1)
    return {"job": job.id, "other": other.id}


def _draw(folder: Path) -> None:
    """60 spirals in three colours, each in its own folder."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:96j, -1:1:96j]
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    for number in range(60):
        kind = ("conch", "cowrie", "whelk")[number % 3]
        turns = np.sin(angle * (1 + number % 3) + radius * random.uniform(6, 14) + random.uniform(0, 6))
        shade = (0.55 + 0.45 * turns) * np.clip(1.25 - radius, 0, 1)
        colour = np.array([(235, 150, 110), (120, 170, 210), (150, 190, 130)][number % 3]) + random.integers(-20, 20, 3)
        pixels = 245 - (245 - colour) * shade[..., None]
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / kind / f"{number:02}.png")


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


def main(names: list[str]) -> int:
    """Take the pictures of these names, or all; says which are too large."""
    PICTURES.mkdir(exist_ok=True)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with service() as (client, data), sync_playwright() as playwright:
        ids = prepare(client, data)
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        large = []
        for shot in SHOTS:
            if names and shot.name not in names:
                continue
            context = browser.new_context(base_url=client.base_url, viewport=shot.viewport, color_scheme=shot.scheme)
            page = context.new_page()
            page.goto(shot.path.format(**ids))
            page.wait_for_load_state("load")
            shot.before(page)
            page.wait_for_timeout(1200)
            file = PICTURES / f"{shot.name}.png"
            page.screenshot(path=file)
            context.close()
            print(f"{file}: {file.stat().st_size // 1000} kB")
            large += [shot.name] * (file.stat().st_size > MOST_BYTES)
        browser.close()
    if large:
        print(f"larger than {MOST_BYTES // 1000} kB: {', '.join(large)}")
    return bool(large)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

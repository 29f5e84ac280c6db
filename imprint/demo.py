"""`make demo`: the whole of Imprint in four minutes, on digits that come with scikit-learn.

Starts the service in a temporary home, trains an encoder without labels, embeds images over HTTP, and measures what a nearest
neighbour makes of the vectors when it knows only 1 or 5 labels per class. It uses the service as anyone would; ssl_core
provides the images, and the same encoder with random weights to compare with.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from imprint import progress, words
from imprint.child import die_with_parent
from imprint.client import Client
from imprint.errors import ImprintError
from imprint.plan import child_environment
from imprint.records import Job

if TYPE_CHECKING:
    from imprint.fewshot import Labels, Vectors

EPOCHS = 40
JOB: dict[str, Any] = {
    "name": "digits-demo",
    "data": {"source": "digits"},
    "method": {"name": "simclr"},
    "trainer": {"max_epochs": EPOCHS, "log_every_steps": 2},
}
SHOTS = (1, 5)


def main() -> int:
    """0 if the trained encoder beats the same encoder with random weights."""
    screen = Console(highlight=False)
    start = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        with service(screen) as client:
            better = show(client, screen)
        what_next(screen, time.monotonic() - start)
    except KeyboardInterrupt:
        screen.print("\nstopped")
        return 130
    except ImprintError as error:
        screen.print(f"[bold red]The demo failed:[/bold red] {error}", soft_wrap=True)
        if error.hint:
            screen.print(error.hint, soft_wrap=True)
        return 1
    return 0 if better else 1


def show(client: Client, screen: Console) -> bool:
    """Train, embed, compare. Whether training was worth it."""
    job = client.submit(**JOB)
    screen.print("\n[bold]Training[/bold] an encoder on 1,437 handwritten digits. No labels are used.\n")
    last = progress.follow(client.updates(job.id, every=0.5), screen)
    if last.status != "succeeded":
        screen.print(client.logs(job.id, tail=30), markup=False)
        reason = last.error.message if last.error else "see above"
        raise ImprintError(f"the job {last.status}: {reason}")
    screen.print()
    screen.print(progress.summary(last))
    screen.print(
        "\n[bold]Embedding[/bold] 360 digits that it has never seen, and a bank of known ones, through POST /embed …",
        soft_wrap=True,
    )
    return compare(client, last, screen)


def compare(client: Client, job: Job, screen: Console) -> bool:
    """Print the table of accuracies for the trained encoder, random weights and raw pixels."""
    from imprint.fewshot import accuracy

    assert job.encoder
    digits = Digits.load()
    start = time.monotonic()
    kinds = {"the trained encoder": (client.embed(digits.bank, job.encoder), client.embed(digits.queries, job.encoder))}
    seconds = time.monotonic() - start
    count = len(digits.bank) + len(digits.queries)
    dim = kinds["the trained encoder"][0].shape[1]
    screen.print(f"{count} images, {dim} numbers each, in {seconds:.1f} s ({count / seconds:.0f} images/s)\n")
    kinds["the same encoder, random weights"] = random_weights(client, job.encoder, digits)
    kinds["raw pixels"] = digits.pixels

    table = Table(title="Right answers of a nearest neighbour that knows only …", title_justify="left", title_style="bold")
    table.add_column("features")
    for shots in SHOTS:
        table.add_column("1 label per class" if shots == 1 else f"{shots} labels per class", justify="right")
    scores = {}
    for name, (bank, queries) in kinds.items():
        scores[name] = [accuracy(bank, digits.bank_labels, queries, digits.query_labels, shots) for shots in SHOTS]
        style = "bold green" if name == "the trained encoder" else ""
        table.add_row(name, *(words.percent(score) for score in scores[name]), style=style)
    screen.print(table)
    screen.print("[dim]Held-out digits, nearest by cosine, mean of 20 random choices of the known ones.[/dim]")
    trained, random = scores["the trained encoder"], scores["the same encoder, random weights"]
    better = all(a > b for a, b in zip(trained, random, strict=True))
    if not better:
        screen.print("[bold red]Training did not help: that is not as it should be.[/bold red]")
    return better


def random_weights(client: Client, encoder: str, digits: Digits) -> tuple[Vectors, Vectors]:
    """(bank, queries) features of the encoder as it was before training, from the downloaded architecture."""
    from ssl_core.embedder import random_like

    with tempfile.TemporaryDirectory(prefix="imprint-demo-") as folder:
        with zipfile.ZipFile(client.download(encoder, Path(folder) / "encoder.zip")) as archive:
            archive.extractall(folder)
        manifest = next(Path(folder).rglob("manifest.json"))
        embedder = random_like(manifest.parent)
        return embed_here(embedder, digits.bank), embed_here(embedder, digits.queries)


def embed_here(embedder: Any, images: list[bytes], batch: int = 128) -> Vectors:
    import numpy as np

    return np.concatenate([embedder.embed_images(images[start : start + batch]) for start in range(0, len(images), batch)])


@dataclass(frozen=True, slots=True)
class Digits:
    """The demo's images as PNG files in memory, in the split that training used."""

    bank: list[bytes]
    bank_labels: Labels
    queries: list[bytes]
    query_labels: Labels
    pixels: tuple[Vectors, Vectors]
    """(bank, queries) as vectors of gray values in [0, 1]."""

    @classmethod
    def load(cls) -> Digits:
        from ssl_core.data.load import load_data
        from ssl_core.spec import DigitsData

        data = load_data(DigitsData(), Path.cwd())
        assert data.bank and data.queries and data.bank.labels is not None and data.queries.labels is not None
        bank, queries = data.bank.images.numpy(), data.queries.images.numpy()  # uint8 (N, 3, 32, 32)
        return cls(
            [png(image) for image in bank],
            data.bank.labels.numpy(),
            [png(image) for image in queries],
            data.queries.labels.numpy(),
            (gray(bank), gray(queries)),
        )


def png(image: Any) -> bytes:
    """uint8 (3, S, S) as the bytes of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def gray(images: Any) -> Vectors:
    """uint8 (N, 3, S, S), gray -> float32 (N, S·S) in [0, 1]."""
    import numpy as np

    return np.asarray(images[:, 0].reshape(len(images), -1) / 255, dtype=np.float32)


@contextlib.contextmanager
def service(screen: Console) -> Iterator[Client]:
    """`imprint up` in a temporary home on a free port; stopped and removed at the end, whatever happens."""
    home = Path(tempfile.mkdtemp(prefix="imprint-demo-"))
    log = home / "up.log"
    process: subprocess.Popen[bytes] | None = None
    try:
        port = free_port()
        command = [sys.executable, "-P", "-m", "imprint", "up", "--home", str(home), "--port", str(port)]
        screen.print(f"[bold]Starting[/bold] the service (imprint up --port {port}) …")
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=_without_settings(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches only us; we stop it in order
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        with Client(f"http://127.0.0.1:{port}") as client:
            wait_for(client, process, log)
            screen.print(f"ready at {client.base_url}")
            yield client
    finally:
        if process is not None:
            stop(process)
        shutil.rmtree(home, ignore_errors=True)


def _without_settings() -> dict[str, str]:
    """The environment for a demo that must not touch the user's own Imprint."""
    return {name: value for name, value in child_environment({}).items() if not name.startswith("IMPRINT_")}


def wait_for(client: Client, process: subprocess.Popen[bytes], log: Path, seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not client.ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise ImprintError(f"the service did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.2)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Politely, and for certain."""
    for number, patience in ((signal.SIGTERM, 60.0), (signal.SIGKILL, 10.0)):
        if process.poll() is None:
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(patience)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def what_next(screen: Console, seconds: float) -> None:
    screen.print(f"\nThat was all of it, in {words.clock(seconds)}. [bold]Now your own pictures:[/bold]\n")
    for line in (
        "  .venv/bin/imprint up --data ~/Pictures       # the service, at http://127.0.0.1:8000",
        "  .venv/bin/imprint train ~/Pictures           # in another terminal; no labels needed",
        "  .venv/bin/imprint embed ~/Pictures -o pictures.npy",
        "",
        "API, with an example for every call: http://127.0.0.1:8000/docs",
    ):
        screen.print(line, markup=False, soft_wrap=True)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

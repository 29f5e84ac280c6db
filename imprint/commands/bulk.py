"""`imprint embed … -o vectors.parquet`: by a job where the server can see the folder, else picture by picture through /embed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from imprint.commands.options import console, stack_of

if TYPE_CHECKING:
    from imprint.client import Client
    from imprint.records import Embedded


def to_parquet(client: Client, paths: list[Path], output: Path, encoder: str) -> None:
    """Embed and write `output`. `encoder`: its id. Raises ImprintError."""
    place = seen_by_server(client, paths)
    if place is not None:
        _by_job(client, place, output, encoder)
    else:
        _by_requests(client, paths, output, encoder)


def seen_by_server(client: Client, paths: list[Path]) -> str | None:
    """The one folder's path below the server's data root, or None if the server cannot read it, or is on another machine."""
    stack = stack_of(client)
    if stack is None or len(paths) != 1 or not paths[0].is_dir():
        return None
    folder, root = paths[0].resolve(), Path(stack.data_root).resolve()
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else None


def _by_job(client: Client, place: str, output: Path, encoder: str) -> None:
    from imprint import progress
    from imprint.errors import ImprintError, JobFailed

    screen = console()
    job = client.embed_folder(place, encoder, name=f"embed {place}"[:200])
    screen.print(f"job {job.id}", markup=False)
    job = progress.follow(client.updates(job.id), screen)
    if job.status == "paused":
        raise ImprintError(f"job {job.id} is paused", f"go on with: imprint resume {job.id}")
    if job.status != "succeeded":
        raise JobFailed(job)
    client.save_vectors(job.id, output)
    result = job.raw["result"]
    _say(output, result["images"] - result["errors"], result["errors"], result["dim"], encoder)


def _by_requests(client: Client, paths: list[Path], output: Path, encoder: str) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from imprint import images
    from imprint.bulk import write_parquet

    facts = client.encoder(encoder)
    base = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    files = images.find(paths)
    if base is not None:
        files.sort(key=lambda file: file.relative_to(base).as_posix())  # the order of a job's rows
    names = [str(file) if base is None else file.relative_to(base).as_posix() for file in files]
    about = {"encoder": encoder, "sha256": facts.sha256 or "", "dimension": str(facts.dim), "normalize": "false"}
    screen = console()
    columns = (BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress("embedding", *columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=len(files))

        def answers() -> Iterator[tuple[str, Embedded]]:
            for name, answer in zip(names, client.embed_each(files, encoder), strict=True):
                yield name, answer
                bar.advance(task)

        good, bad = write_parquet(output, answers(), about)
    _say(output, good, len(bad), facts.dim or 0, encoder)


def _say(output: Path, good: int, bad: int, dim: int, encoder: str) -> None:
    screen = console()
    screen.print(f"{good:,} vectors of {dim} numbers from {encoder}: {output}", markup=False, soft_wrap=True)
    if bad:
        screen.print(f"{bad:,} pictures could not be read; the column `error` says why", soft_wrap=True)

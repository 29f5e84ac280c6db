"""`imprint embed … -o vectors.parquet`: by a job where the server can see the folder, else picture by picture through /embed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imprint.commands.options import console, stack_of

if TYPE_CHECKING:
    from imprint.client import Client
    from imprint.records import Embedded


@dataclass(frozen=True)
class Wishes:
    """encoder: its id. dimensions: None for all."""

    encoder: str
    normalize: bool = False
    dimensions: int | None = None


def to_parquet(client: Client, paths: list[Path], output: Path, wishes: Wishes, as_json: bool = False) -> None:
    """Embed and write `output`. Raises ImprintError."""
    place = seen_by_server(client, paths)
    if place is not None:
        _by_job(client, place, output, wishes, as_json)
    else:
        _by_requests(client, paths, output, wishes, as_json)


def seen_by_server(client: Client, paths: list[Path]) -> str | None:
    """The one folder's path below the server's data root, or None if the server cannot read it, or is on another machine."""
    stack = stack_of(client)
    if stack is None or len(paths) != 1 or not paths[0].is_dir():
        return None
    folder, root = paths[0].resolve(), Path(stack.data_root).resolve()
    return folder.relative_to(root).as_posix() if folder.is_relative_to(root) else None


def _by_job(client: Client, place: str, output: Path, wishes: Wishes, as_json: bool) -> None:
    from imprint import progress

    job = progress.succeed(
        client, client.embed_folder(place, name=f"embed {place}"[:200], **asdict(wishes)), console(stderr=as_json)
    )
    client.save_vectors(job.id, output)
    result = job.raw["result"]
    _say(output, result["images"] - result["errors"], result["errors"], result["dim"], wishes.encoder, as_json)


def _by_requests(client: Client, paths: list[Path], output: Path, wishes: Wishes, as_json: bool) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    from imprint import images
    from imprint.bulk import write_parquet

    facts = client.encoder(wishes.encoder)
    dim = wishes.dimensions or facts.dim or 0
    base = paths[0] if len(paths) == 1 and paths[0].is_dir() else None
    files = images.find(paths)
    if base is not None:
        files.sort(key=lambda file: file.relative_to(base).as_posix())  # the order of a job's rows
    names = [str(file) if base is None else file.relative_to(base).as_posix() for file in files]
    about = {"encoder": facts.id, "sha256": facts.sha256 or "", "dimension": str(dim)}
    about["normalize"] = str(wishes.normalize).lower()
    screen = console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress("embedding", *columns, console=screen, disable=not screen.is_terminal) as bar:
        task = bar.add_task("", total=len(files))

        def answers() -> Iterator[tuple[str, Embedded]]:
            for name, answer in zip(names, client.embed_each(files, **asdict(wishes)), strict=True):
                yield name, answer
                bar.advance(task)

        good, bad = write_parquet(output, answers(), about)
    _say(output, good, len(bad), dim, facts.id, as_json)


def _say(output: Path, good: int, bad: int, dim: int, encoder: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"files": [str(output)], "encoder": encoder, "dim": dim, "images": good, "errors": bad}))
        return
    screen = console()
    screen.print(f"{good:,} vectors of {dim} numbers from {encoder}: {output}", markup=False, soft_wrap=True)
    if bad:
        screen.print(f"{bad:,} pictures could not be read; the column `error` says why", soft_wrap=True)

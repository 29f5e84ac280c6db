"""Benches that several drills share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from faults.bench import Bench, bench
from faults.drill import Impossible
from support.servers import NoServer, cluster


@contextlib.contextmanager
def one_worker(folder: Path) -> Iterator[Bench]:
    with bench(folder) as made:
        yield made


@contextlib.contextmanager
def two_workers(folder: Path) -> Iterator[Bench]:
    with bench(folder, workers=2) as made:
        yield made


@contextlib.contextmanager
def on_postgres(folder: Path) -> Iterator[Bench]:
    """An API and a worker on a PostgreSQL of their own, over tiny pictures. Raises Impossible."""
    from support.journeys import draw_pictures

    draw_pictures(folder / "data")
    try:
        with cluster(folder) as server, bench(folder, cluster=server, api=True, pictures=folder / "data") as made:
            yield made
    except NoServer as reason:
        raise Impossible(str(reason)) from None

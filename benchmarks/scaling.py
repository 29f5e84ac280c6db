"""Time per image and memory against the number of files, and against the number of processes that train.

    python benchmarks/scaling.py --folder SCRATCH [--counts 1000,100000,1000000] [--ranks 1,2] [--batch 256] [--batches 40]
                                 [--steps 20] [--workers auto] [--copies] [--keep] [--seed 0]

Makes the files itself, below SCRATCH: 500 JPEGs of 32 px, and hard links to them in up to 1,000 class folders. With --copies each
is a file of its own (4 KiB of disk and an inode each), as in real data; the caches of the system, warm from making them, are
left as they are. Then, each in a process of its own:

1. Scan: find the files, split them, number the classes, fingerprint. Memory is above that of the idle process.
2. Training data: prepared in the cache (decoded, or found there), or streamed from files by workers; then --batches batches, read
   only and with both views. Memory is that of all processes, pages that they share counted once.
3. Real training, `python -m ssl_core`, of a ResNet-18 by SimCLR on the first count, with trainer.devices = 1, 2, …: the same
   batch, shared out. Without GPUs these are processes on the CPU.

What was made is removed at the end, unless --keep; what is there from an earlier --keep is used. A million files take a minute or
two to make, some minutes to decode, and 3 GB of cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

from images import jpegs, write_jpegs
from machine import describe
from measure import Failed, in_child, say, table
from training_run import Run, complete_spec

PICTURES = 500  # different ones; a file system allows some 65,000 links to each
SIZE = 32  # px
PER_FOLDER = 100  # images in a class folder, or more: there are at most MOST_FOLDERS
MOST_FOLDERS = 1000
SOURCES = ("decoded into the cache", "found in the cache", "streamed from files")

Rows = list[list[str]]


def make_files(folder: Path, pictures: list[Path], count: int, copies: bool) -> None:
    """`count` files in class folders, unless they are there. Whole from the moment that `folder` is."""
    if folder.exists():
        return
    say(f"making {count:,} files")
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    classes = max(2, min(MOST_FOLDERS, count // PER_FOLDER))
    source = cycle(pictures)
    for number in range(classes):
        place = partial / f"class-{number:04}"
        place.mkdir(parents=True)
        for image in range(number * count // classes, (number + 1) * count // classes):
            _link_or_copy(next(source), place / f"image-{image:07}.jpg", copies)
    partial.rename(folder)


def _link_or_copy(source: Path, target: Path, copy: bool) -> None:
    if not copy:
        try:
            return os.link(source, target)
        except OSError:  # a file system without hard links
            pass
    shutil.copyfile(source, target)


def scan(folder: Path) -> Rows:
    """A row of the first table."""
    got = in_child("scaling_child.py", {"what": "scan", "folder": str(folder)})
    sizes = [f"{got['peak_mb']:.1f}", f"{got['kept_mb']:.1f}"]
    return [[f"{got['images']:,}", f"{got['seconds']:.2f}", f"{got['seconds'] / got['images'] * 1e6:.1f}", *sizes]]


def training_data(folder: Path, source: str, cache: Path, arguments: argparse.Namespace) -> Rows:
    """A row of the second table."""
    task: dict[str, Any] = {"what": "training_data", "folder": str(folder), "size": SIZE, "seed": arguments.seed}
    task |= {"cache": None if source == SOURCES[2] else str(cache), "workers": arguments.workers}
    got = in_child("scaling_child.py", {**task, "batch_size": arguments.batch, "batches": arguments.batches})
    figures = ("read_us", "read_and_views_us", "anonymous_mb", "mapped_mb")
    return [[f"{got['images']:,}", source, f"{got['prepared_seconds']:.2f}", *(f"{got[name]:.0f}" for name in figures)]]


def training(folder: Path, ranks: int, cache: Path, arguments: argparse.Namespace) -> Rows:
    """A row of the third table: a real run with so many processes."""
    sections: dict[str, Any] = {
        "data": {"source": "folder", "path": folder.name, "size": SIZE},
        "encoder": {"arch": arguments.arch, "stem": "imagenet"},
        "trainer": {"batch_size": arguments.batch, "devices": ranks, "seed": arguments.seed},
    }
    root = folder.parent
    spec = complete_spec(sections, "simclr", root)
    with tempfile.TemporaryDirectory(prefix="run-", dir=root) as out, Run(spec, Path(out) / "run", root, cache) as run:
        speed = run.speed(seconds=0, steps=arguments.steps)
        run.stop()
    return [[str(ranks), f"{speed:,.0f}", f"{1000 / speed:.2f}"]]


def measure_all(place: Path, arguments: argparse.Namespace) -> dict[str, Rows]:
    """The rows of the three tables. A measurement that fails is told of, and the others go on."""
    rows: dict[str, Rows] = {"scan": [], "data": [], "training": []}

    def attempt(name: str, measure: Callable[..., Rows], *given: Any) -> None:
        try:
            rows[name] += measure(*given)
        except Failed as why:
            say(f"  failed: {why}")

    pictures, cache = place / f"pictures-seed{arguments.seed}", place / "cache"
    if not pictures.exists():
        write_jpegs(pictures, PICTURES, SIZE, arguments.seed, classes=1)
    try:
        for count in arguments.counts:
            folder = place / f"{count}-{'copies' if arguments.copies else 'links'}-seed{arguments.seed}"
            make_files(folder, jpegs(pictures), count, arguments.copies)
            say(f"{count:,} files: scan")
            attempt("scan", scan, folder)
            for source in SOURCES:
                say(f"{count:,} files: {source}")
                attempt("data", training_data, folder, source, cache, arguments)
            for ranks in arguments.ranks if count == arguments.counts[0] else []:
                say(f"training with {ranks} processes")
                attempt("training", training, folder, ranks, cache, arguments)
            shutil.rmtree(cache, ignore_errors=True)
            if not arguments.keep:
                shutil.rmtree(folder)
    except KeyboardInterrupt:
        say("stopped")
    return rows


def report(rows: dict[str, Rows]) -> str:
    """Three tables for RESULTS.md."""
    headers = {
        "scan": ["files", "scan, s", "µs/file", "peak memory, MB", "kept memory, MB"],
        "data": ["images", "source", "prepared in, s", "read, µs/image", "read and two views, µs/image",
                 "peak anonymous memory, MB", "peak mapped files, MB"],
        "training": ["processes", "images/s", "ms/image"],
    }  # fmt: skip
    return "\n\n".join(table(headers[name], found) for name, found in rows.items() if found)


def parse() -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(number) for number in text.split(",") if number]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--folder", type=Path, required=True, help="for files, cache and runs; on the disk that is to be measured"
    )
    parser.add_argument("--counts", type=numbers, default=[1000, 100_000, 1_000_000])
    parser.add_argument("--ranks", type=numbers, default=[1, 2], help="'' for none")
    parser.add_argument("--batch", type=int, default=256, help="images, over all processes")
    parser.add_argument("--batches", type=int, default=40, help="of each pass over the training data")
    parser.add_argument("--steps", type=int, default=20, help="of each training run, after the first")
    parser.add_argument(
        "--workers", type=lambda text: text if text == "auto" else int(text), default="auto", help="to stream with"
    )
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--copies", action="store_true", help="files of their own in place of hard links")
    parser.add_argument("--keep", action="store_true", help="leave the files, for the next time")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    place = arguments.folder.absolute() / "imprint-scaling"
    place.mkdir(parents=True, exist_ok=True)
    try:
        rows = measure_all(place, arguments)
    finally:
        if not arguments.keep:
            shutil.rmtree(place)
    kind = "files of their own" if arguments.copies else "hard links"
    print(describe(arguments.seed))
    print(f"JPEGs of {SIZE} px, {kind}, batch {arguments.batch}, {arguments.workers} workers, {arguments.arch}\n\n{report(rows)}")


if __name__ == "__main__":
    main()

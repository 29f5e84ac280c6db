"""Which library finds nearest neighbours well: recall@k against exact search, latency, build time, size, memory.

    python benchmarks/ann.py                          # 1,000,000 x 512, a table when all have been measured
    python benchmarks/ann.py --count 100000 --only usearch

Vectors look like embeddings: clusters in 32 dimensions, lifted to `--dim`, with a little noise in all of them, of length 1.
Queries are held out. Each library builds in one process and searches in another, so that no memory is counted twice; a build
that takes longer than `--minutes` is given up, and said so. CPU seconds tell more than seconds where
other work shares the processors. Libraries that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from ann_libraries import CHUNK, LIBRARIES, exact

LATENT, CLUSTERS = 32, 10_000
HEADER = "| index | build (s) | its CPU (s) | file (MB) | open (s) | memory (MB) | effort | recall@{k} | p50 (ms) | p99 (ms) |"


def write_vectors(folder: Path, count: int, dim: int, queries: int, seed: int) -> None:
    """vectors.npy (count, dim) and queries.npy, float32 of length 1."""
    rng = np.random.default_rng(seed)
    latent = min(LATENT, dim)
    centres = _unit(rng.standard_normal((min(CLUSTERS, max(1, count // 20)), latent)))
    lift = np.linalg.qr(rng.standard_normal((dim, latent)))[0].T.astype(np.float32)

    def draw(number: int) -> Any:
        inner = centres[rng.integers(0, len(centres), number)] + 0.5 / latent**0.5 * rng.standard_normal((number, latent))
        noise = 0.1 / dim**0.5 * rng.standard_normal((number, dim), dtype=np.float32)
        return _unit(inner.astype(np.float32) @ lift + noise)

    np.save(folder / "queries.npy", draw(queries))
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (count, dim))
    for begin in range(0, count, CHUNK):
        vectors[begin : begin + CHUNK] = draw(min(CHUNK, count - begin))
    vectors.flush()


def _unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def recall(found: Any, true: Any) -> float:
    """The share of the true neighbours that were found; both (Q, k)."""
    hits = sum(len(np.intersect1d(one, other)) for one, other in zip(found, true, strict=True))
    return hits / true.size


def build(name: str, folder: Path, threads: int) -> dict[str, Any]:
    """In a process of its own: write the index of a library."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    began, worked = time.perf_counter(), time.process_time()
    LIBRARIES[name][1].build(vectors, folder / "index", threads)
    return {"build": time.perf_counter() - began, "cpu": time.process_time() - worked, "bytes": (folder / "index").stat().st_size}


def search(name: str, folder: Path, k: int) -> dict[str, Any]:
    """In another: open it and ask one query after the other. Memory: what that added to the process, mapped pages included."""
    library = LIBRARIES[name][1]
    queries, true = np.load(folder / "queries.npy"), np.load(folder / "true.npy")
    if name.startswith("exact"):
        queries, true = queries[:30], true[:30]
    before = _resident()
    began = time.perf_counter()
    library.open(folder / "index", queries.shape[1])
    opened = time.perf_counter() - began
    for query in queries[:50]:
        library.search(query[None], k, max(library.efforts))  # what is on the disk only costs once
    efforts = []
    for effort in library.efforts:
        found, took = [], []
        for query in queries:
            began = time.perf_counter()
            found.append(library.search(query[None], k, effort)[0])
            took.append(1000 * (time.perf_counter() - began))
        p50, p99 = np.percentile(took, [50, 99])
        efforts.append({"effort": effort, "recall": recall(found, true), "p50": p50, "p99": p99})
    return {"open": opened, "memory": _resident() - before, "efforts": efforts}


def _resident() -> int:
    """Bytes (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def in_child(what: str, name: str, folder: Path, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What `build` or `search` gives, from a process of its own. Raises TimeoutExpired, RuntimeError with its last words."""
    command = [sys.executable, __file__, f"--{what}", name, "--folder", str(folder), "--k", str(options.k)]
    threads = str(options.threads if what == "build" else 1)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
    ended = subprocess.run([*command, "--threads", threads], capture_output=True, text=True, timeout=seconds, env=environment)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"ended with {ended.returncode}: {last}")
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


def rows(name: str, folder: Path, options: argparse.Namespace) -> list[str]:
    """The lines of the table for one library."""
    if importlib.util.find_spec(LIBRARIES[name][0]) is None:
        return [f"| {name} | not installed | | | | | | | | |"]
    try:
        built = in_child("build", name, folder, options, 60 * options.minutes)
        found = in_child("search", name, folder, options, 60 * options.minutes)
    except subprocess.TimeoutExpired:
        return [f"| {name} | not within {options.minutes:g} min | | | | | | | | |"]
    except RuntimeError as error:
        return [f"| {name} | {error} | | | | | | | | |"]
    finally:
        (folder / "index").unlink(missing_ok=True)
    sizes = f"{built['build']:.0f} | {built['cpu']:.0f} | {built['bytes'] / 1e6:,.0f}"
    sizes += f" | {found['open']:.2f} | {found['memory'] / 1e6:,.0f}"
    lines = []
    for at, each in enumerate(found["efforts"]):
        first = f"| {name} | {sizes} " if at == 0 else "| | | | | | "
        lines.append(f"{first}| {each['effort'] or ''} | {each['recall']:.3f} | {each['p50']:.2f} | {each['p99']:.2f} |")
    return lines


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2, help="of a build; searches take one")
    parser.add_argument("--minutes", type=float, default=20, help="most that one build may take")
    parser.add_argument(
        "--only", action="append", default=[], metavar="WORDS", help="libraries whose name holds this; repeatable"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="where files of a few GB may lie meanwhile")
    parser.add_argument("--build", help=argparse.SUPPRESS)
    parser.add_argument("--search", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print, or do a child's part."""
    options = parse()
    if options.build:
        print(json.dumps(build(options.build, options.folder, options.threads)))
        return
    if options.search:
        print(json.dumps(search(options.search, options.folder, options.k)))
        return
    from machine import describe

    print(describe(options.seed, ("usearch", "faiss-cpu", "hnswlib")), flush=True)
    print(f"\n{options.count:,} x {options.dim}, {options.queries:,} queries, {options.threads} threads build\n")
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        folder = Path(temporary)
        write_vectors(folder, options.count, options.dim, options.queries, options.seed)
        vectors, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
        np.save(folder / "true.npy", exact(vectors, queries, options.k))
        del vectors
        print(HEADER.format(k=options.k) + "\n|" + "---|" * 10, flush=True)
        for name in LIBRARIES:
            if not options.only or any(words in name for words in options.only):
                print("\n".join(rows(name, folder, options)), flush=True)


if __name__ == "__main__":
    main()

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
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ann_libraries import CHUNK, LIBRARIES, exact
from machine import describe
from measure import Failed, in_child

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


def _child(what: str, name: str, folder: Path, options: argparse.Namespace, threads: int, more: dict[str, int]) -> dict[str, Any]:
    task = {"what": what, "name": name, "folder": str(folder), **more}
    environment = {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    return in_child("ann_child.py", task, environment, 60 * options.minutes)


def rows(name: str, folder: Path, options: argparse.Namespace) -> list[str]:
    """The lines of the table for one library."""
    if importlib.util.find_spec(LIBRARIES[name][0]) is None:
        return [f"| {name} | not installed | | | | | | | | |"]
    try:
        built = _child("build", name, folder, options, options.threads, {"threads": options.threads})
        found = _child("search", name, folder, options, 1, {"k": options.k})
    except subprocess.TimeoutExpired:
        return [f"| {name} | not within {options.minutes:g} min | | | | | | | | |"]
    except Failed as error:
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
    return parser.parse_args(arguments)


def main() -> None:
    """Measure and print."""
    options = parse()
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

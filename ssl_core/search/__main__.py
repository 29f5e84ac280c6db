"""python -m ssl_core.search VECTORS --out DIR: build an index, without any service.

DIR must not exist. Progress: lines on the terminal, and a JSON object in --progress FILE, which is replaced as it goes on.
Exit status: 0 the index is there; 2 usage; 4 it would fail again in the same way, and the last line says why; else a crash.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from ssl_core.__main__ import HOPELESS, die_with_parent
from ssl_core.search.build import build_index
from ssl_core.search.facts import SearchError

SAY_SECONDS = 0.5


def main() -> int:
    """Build as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ssl_core.search", description="Index the vectors of an embed job.")
    parser.add_argument("vectors", type=Path, help="a folder with result.json and part-*.parquet")
    parser.add_argument("--out", type=Path, required=True, help="a folder that does not exist yet")
    parser.add_argument("--job", default="", help="the job that made the vectors, for index.json")
    parser.add_argument("--data", type=json.loads, default={}, help="JSON: which pictures they are of, for index.json")
    parser.add_argument("--progress", type=Path, help="a file that says how far it is")
    parser.add_argument("--parent-pipe", action="store_true", help="end when stdin ends: the supervisor holds the other end")
    arguments = parser.parse_args()
    if arguments.parent_pipe:
        die_with_parent()
    said = (0.0, "")

    def report(phase: str, done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if phase == said[1] and done < total and now - said[0] < SAY_SECONDS:
            return
        said = (now, phase)
        print(f"{phase} {done:,} of {total:,}", flush=True)
        if arguments.progress is not None:
            temporary = arguments.progress.with_suffix(".tmp")
            temporary.write_text(json.dumps({"phase": phase, "done": done, "total": total}))
            temporary.replace(arguments.progress)

    try:
        build_index(arguments.vectors, arguments.out, job=arguments.job, data=arguments.data, report=report)
    except (SearchError, FileExistsError) as error:
        print(error, flush=True)
        return HOPELESS
    return 0


if __name__ == "__main__":
    sys.exit(main())

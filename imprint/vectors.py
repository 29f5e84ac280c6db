"""Embeddings as files: .npy with the files' names beside it, or one .json."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from imprint.errors import UsageError
from imprint.records import Embedded


def check_output(path: Path) -> None:
    """Before any work: can it be written, and in which form? Raises UsageError."""
    if path.suffix not in (".npy", ".json", ".parquet"):
        raise UsageError(f"--output {str(path)!r} must end in .npy, .json or .parquet")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {str(path.parent)!r} to write {path.name} into")


def names_file(path: Path) -> Path:
    """cats.npy -> cats.names.txt."""
    return path.with_suffix(".names.txt")


def write(path: Path, good: Sequence[Embedded], bad: Sequence[Embedded], encoder: str) -> list[Path]:
    """Write the vectors of `good`, in order, and return the files written, the vectors first.

    .npy: (len(good), dim) float32, and a text file with the name of each row's image.
    .json: {"encoder", "dim", "data": [{"file", "embedding"}], "errors": [{"file", "error"}]}.
    """
    import numpy as np

    matrix = np.stack([answer.vector for answer in good if answer.vector is not None])
    if path.suffix == ".json":
        body = {
            "encoder": encoder,
            "dim": matrix.shape[1],
            "data": [{"file": answer.name, "embedding": row.tolist()} for answer, row in zip(good, matrix, strict=True)],
            "errors": [{"file": answer.name, "error": answer.error} for answer in bad],
        }
        path.write_text(json.dumps(body))
        return [path]
    temporary = path.with_name(path.name + ".partial")
    with temporary.open("wb") as file:
        np.save(file, matrix)
    os.replace(temporary, path)
    names = names_file(path)
    # A file's name may hold a line break; escaped, a line stays a row.
    names.write_text("".join(answer.name.replace("\\", "\\\\").replace("\n", "\\n") + "\n" for answer in good))
    return [path, names]

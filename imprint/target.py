"""What `imprint train TARGET` means: a bundled dataset, a spec file, a registered dataset or a folder of pictures."""

from __future__ import annotations

import json
import shlex
from pathlib import Path, PurePosixPath
from typing import Any

from imprint.errors import UsageError
from imprint.running import Running

DATASETS = ("digits", "cifar10", "stl10", "imagenet")


def body(target: str, stack: Running | None) -> dict[str, Any]:
    """The job's body that the target alone gives. `stack`: the service, if it runs on this machine and its data root is known.

    A word of DATASETS is that dataset; `./digits` is a folder of that name.
    """
    if target in DATASETS:
        return {"data": {"source": target}}
    if target.startswith("ds_") and "/" not in target:
        return {"data": {"source": "dataset", "id": target}}
    if target.endswith(".json") and not Path(target).is_dir():
        return read_spec(Path(target))
    return {"data": {"source": "folder", "path": folder(target, stack)}}


def read_spec(path: Path) -> dict[str, Any]:
    """A job's body from a file."""
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot read the spec file {str(path)!r}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path} must hold a JSON object", 'the smallest: {"data": {"source": "digits"}}')
    return content


def file(name: str, stack: Running | None) -> str:
    """A file's path below the server's data root; a name that is no file here is taken to be one already."""
    local = Path(name).expanduser()
    if stack is None or not local.is_file():
        return name
    root, here = Path(stack.data_root).resolve(), local.resolve()
    if not here.is_relative_to(root):
        raise UsageError(f"{here} is not below the folder that the server reads, {root}", "copy it there")
    return here.relative_to(root).as_posix()


def folder(target: str, stack: Running | None) -> str:
    """The folder's path below the server's data root, with forward slashes."""
    local = Path(target).expanduser()
    if stack is None:
        if local.is_absolute() or ".." in PurePosixPath(target).parts:
            raise UsageError(
                f"{target!r} cannot be named from here: the server reads folders below its own data root",
                "give the path relative to the data root (IMPRINT_DATA_ROOT of the server)",
            )
        return PurePosixPath(target).as_posix()

    root = Path(stack.data_root).resolve()
    if local.is_dir() and local.resolve().is_relative_to(root):
        return local.resolve().relative_to(root).as_posix()
    if not local.is_absolute() and ".." not in local.parts and (root / local).is_dir():
        return local.as_posix()
    if local.is_dir():
        here = local.resolve()
        raise UsageError(
            f"{here} is not below the folder that the server reads pictures from, {root}",
            f"stop the server and start it with that folder: imprint up --data {shlex.quote(str(here))} "
            f"(or IMPRINT_DATA_ROOT={shlex.quote(str(here))})",
        )
    if local.exists():
        raise UsageError(f"{target!r} is neither a folder nor a .json spec file")
    words = ", ".join(DATASETS)
    raise UsageError(f"there is no folder {target!r}, neither here nor below {root}", f"datasets known by name: {words}")

"""Files to squares of pixels, in processes of their own.

Python decodes small pictures on one processor at a time however many threads there are (measured: 3,400 CIFAR-sized JPEGs
a second in one thread, 3,300 in two, 6,500 in two processes), and a decoder that crashes on a hostile file must not take the
trainer along. So each `Decoder` is a child process that is handed chunks of files and writes their pixels into a prepared file
itself; only what it learnt about them comes back. It ends when its stdin does, so it never outlives whoever started it.

    python -m ssl_core.data.decoder IMAGES SIDE SHORT_SIDE LAYOUT BOUNDS      requests and answers are JSON, one a line

A request that takes long says every second how many of its files are done.

Knows no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from ssl_core.data.errors import BadImage
from ssl_core.data.images import load_square
from ssl_core.data.limits import MAX_FILE_BYTES, bound_this_process, within_seconds
from ssl_core.data.reading import open_below

PACKAGE = Path(__file__).resolve().parents[2]
UNKNOWN = 0  # the hash of a file that could not be read
SAY_SECONDS = 1.0
Layout = Literal["planar", "packed"]  # rows of (3, side, side), as training reads them, or (side, side, 3), as encoders do


@dataclass(frozen=True)
class Seen:
    """What was true of a file when it was read."""

    size: int  # bytes
    mtime: int  # ns
    hash: int  # of its content, 64 bits
    reason: str | None  # why it is no picture, or None


class Crashed(RuntimeError):
    """The child ended in the middle of a request."""


class Decoder:
    """One child. `decode` is called from one thread at a time."""

    def __init__(
        self, images: Path | int, side: int, short_side: int | None = None, layout: Layout = "planar", *, bounds: str
    ) -> None:
        """`images`: the file to write into, by its path or as an open file's descriptor. Pictures are cut to `side` after their
        short side was resized to `short_side` (default: the same). No file outside of `bounds` is read, see reading.py."""
        self.far = 0  # files of the request under way that are done, a second ago; others may read it meanwhile
        path = os.pathsep.join([str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])])
        # A stop is SIGTERM to the whole process group; a decoder that obeyed it would look like one that a file has killed.
        # A child inherits what its starter's thread blocks, so there is no moment at which it is not protected.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ssl_core.data.decoder", str(images), str(side), str(short_side or side), layout, bounds],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                cwd=images.parent if isinstance(images, Path) else None,
                pass_fds=() if isinstance(images, Path) else (images,),
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def decode(self, first: int, root: Path, paths: Sequence[str]) -> list[Seen]:
        """Decode files into rows `first`, `first` + 1, … Raises Crashed, and OSError when the pixels cannot be written."""
        assert self._process.stdin is not None and self._process.stdout is not None
        request = json.dumps({"first": first, "root": os.fsdecode(root), "paths": list(paths)})
        try:
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
            while (answer := json.loads(self._process.stdout.readline() or b"null")) and "far" in answer:
                self.far = answer["far"]
        except (BrokenPipeError, ValueError):  # ended before it read, or in the middle of its answer
            answer = None
        self.far = 0
        if answer is None:
            raise Crashed(f"the decoder ended with status {self._process.wait()}")
        if "errno" in answer:
            raise OSError(answer["errno"], os.strerror(answer["errno"]))
        return [Seen(*each) for each in answer["seen"]]

    def close(self) -> None:
        """End the child at once; what it is at is of no use any more."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def content_hash(data: bytes | BinaryIO) -> int:
    """64 bits of BLAKE2b of bytes, or of what an open file has left, never UNKNOWN."""
    digest = blake2b(digest_size=8)
    if isinstance(data, bytes):
        digest.update(data)
    else:
        while piece := data.read(2**20):
            digest.update(piece)
    return int.from_bytes(digest.digest(), "little") or 1


def decode_each(
    decoder: Decoder | None, start: Callable[[], Decoder], first: int, root: Path, paths: Sequence[str]
) -> tuple[Decoder | None, list[Seen | Crashed]]:
    """`Decoder.decode`, where a file on which the decoder dies is found by giving it one at a time, and is told as Crashed.

    decoder: None has one started. Returns the one to go on with, if it still lives.
    """
    decoder = decoder or start()
    try:
        return decoder, [*decoder.decode(first, root, paths)]
    except Crashed as crash:
        decoder.close()
        if len(paths) == 1:
            return None, [crash]
    fresh: Decoder | None = None
    seen: list[Seen | Crashed] = []
    for at, path in enumerate(paths):
        fresh, one = decode_each(fresh, start, first + at, root, [path])
        seen += one
    return fresh, seen


def hash_of(path: Path, bounds: str) -> int:
    """`content_hash` of a file below `bounds`, UNKNOWN if it cannot be read."""
    try:
        with open_below(path, bounds) as file:
            return content_hash(file)
    except OSError:
        return UNKNOWN


def _decode(path: Path, side: int, short_side: int, bounds: str) -> tuple[Seen, np.ndarray | None]:
    try:
        with open_below(path, bounds) as file:
            status = os.fstat(file.fileno())
            if status.st_size > MAX_FILE_BYTES:
                reason = f"{status.st_size:,} bytes are more than the {MAX_FILE_BYTES:,} of a picture"
                return Seen(status.st_size, status.st_mtime_ns, content_hash(file), reason), None
            data = file.read()
    except OSError as error:
        reason = "the file is gone" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        return Seen(0, 0, UNKNOWN, reason), None
    known = status.st_size, status.st_mtime_ns, content_hash(data)
    try:
        with within_seconds():
            return Seen(*known, None), load_square(data, side, short_side)
    except BadImage as error:
        return Seen(*known, error.reason), None
    except MemoryError:
        return Seen(*known, "it needs more memory than a picture may"), None


def main() -> None:
    """Serve requests until stdin ends."""
    bound_this_process()
    images = int(sys.argv[1]) if sys.argv[1].isdigit() else os.open(sys.argv[1], os.O_WRONLY)
    side, short_side, planar, bounds = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "planar", sys.argv[5]
    shape = (3, side, side) if planar else (side, side, 3)
    row_bytes = 3 * side * side
    for line in sys.stdin.buffer:
        request = json.loads(line)
        rows = np.zeros((len(request["paths"]), *shape), np.uint8)
        seen: list[Seen] = []
        said = time.monotonic()
        for at, path in enumerate(request["paths"]):
            if time.monotonic() - said >= SAY_SECONDS:
                said = time.monotonic()
                _say({"far": at})
            file, pixels = _decode(Path(request["root"], path), side, short_side, bounds)
            seen.append(file)
            if pixels is not None:
                rows[at] = pixels.transpose(2, 0, 1) if planar else pixels
        answer: dict[str, object] = {"seen": [[each.size, each.mtime, each.hash, each.reason] for each in seen]}
        try:
            write_rows(images, rows.data.cast("B"), request["first"] * row_bytes)
        except OSError as error:
            answer = {"errno": error.errno}
        _say(answer)


def _say(answer: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
    sys.stdout.buffer.flush()


def write_rows(file: int, data: memoryview, offset: int) -> None:
    """All of `data` at `offset`: one call may write less than it was given, and a full disk is an OSError, not a signal."""
    while data:
        written = os.pwrite(file, data, offset)
        data, offset = data[written:], offset + written


if __name__ == "__main__":
    main()

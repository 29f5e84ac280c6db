"""How much memory and time one picture may take, whoever made it. Knows no torch.

    with room_for(image, data): image.load()      in a process with threads: waits until there is memory, refuses what is too much
    bound_this_process()                          in a process of its own: the system refuses more memory
    with within_seconds(): …                      and ends the process that is too long at it

A header of 50 bytes can promise a billion pixels, and a JPEG of a megabyte can have a thousand scans, each of which is a pass
over all of its pixels. So what a picture will take is worked out from its header before anything is decoded.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from PIL import Image

from ssl_core.data.errors import BadImage

MIB = 2**20
MAX_PIXELS = 100_000_000
MAX_PICTURE_BYTES = 512 * MIB  # of memory while one picture is decoded; and of all that a process decodes at a time
MAX_FILE_BYTES = 512 * MIB
MAX_SCANNED_PIXELS = 1_500_000_000  # of a progressive JPEG: scans times pixels; cameras write about ten scans
CPU_SECONDS = 60  # in a process of its own
DATA_BYTES = 2048 * MIB  # the same: of memory, all told
SMALL = 8 * MIB  # of what takes less, any number may be decoded at a time

# Bytes of memory that a pixel takes at the worst moment of decoding: measured, and rounded up. WebP keeps several canvases.
_BY_FORMAT = {"JPEG": 4, "PNG": 4, "BMP": 4, "GIF": 6, "TIFF": 8, "WEBP": 21, "AVIF": 11, "HEIF": 10}
_PLAIN = frozenset({"RGB", "L", "1"})  # of the modes; others are converted, which makes a second image
_ORIENTATION, _UPRIGHT = 0x0112, (None, 1)
_START_OF_SCAN = b"\xff\xda"


def cost(image: Image.Image, data: bytes) -> int:
    """Bytes of memory that decoding an opened, not yet loaded picture to upright RGB will take at the worst moment."""
    width, height = image.size
    each = _BY_FORMAT.get(image.format or "", 21)
    if image.format == "JPEG" and image.info.get("progressive"):
        each = 10 if image.mode not in ("L", "1") else 4  # all coefficients are kept, at any scale
    if image.mode not in _PLAIN or "transparency" in image.info:
        each += 4
    if _turned(image):
        each += 4
    return width * height * each + len(data)


def check(image: Image.Image, data: bytes, max_pixels: int) -> int:
    """`cost`, if the picture may be decoded. Raises BadImage."""
    width, height = image.size
    if width * height > max_pixels:
        raise BadImage(f"{width}×{height} px is more than the {max_pixels:,} pixels allowed")
    if image.format == "JPEG" and image.info.get("progressive"):
        scans = data.count(_START_OF_SCAN)
        if scans > 10 and scans * width * height > MAX_SCANNED_PIXELS:
            raise BadImage(f"{scans} scans of {width}×{height} px are more work than a picture may be")
    return cost(image, data)


class Room:
    """Memory that threads share: what is taken beyond it waits."""

    def __init__(self, size: int = MAX_PICTURE_BYTES) -> None:
        self.size, self._taken, self._changed = size, 0, threading.Condition()

    @contextlib.contextmanager
    def take(self, amount: int) -> Iterator[None]:
        """Hold `amount` bytes. Raises BadImage for more than there are at all."""
        if amount > self.size:
            raise BadImage(f"it needs {amount // MIB:,} MiB of memory to be decoded, more than the {self.size // MIB:,} allowed")
        if amount <= SMALL:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._taken + amount <= self.size)
            self._taken += amount
        try:
            yield
        finally:
            with self._changed:
                self._taken -= amount
                self._changed.notify_all()


ROOM = Room()  # of this process


def bound_this_process() -> None:
    """Let the system refuse this process more than DATA_BYTES of memory, where it can."""
    with contextlib.suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, hard))


@contextlib.contextmanager
def within_seconds(seconds: float = CPU_SECONDS) -> Iterator[None]:
    """The process dies of SIGPROF if the block takes it more processor time. For a process that decodes and does nothing else:
    no code in C listens to anything gentler."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _turned(image: Image.Image) -> bool:
    """Whether the picture has to be turned upright, as far as its header tells."""
    if not ("exif" in image.info or "xmp" in image.info or image.format == "TIFF"):
        return False
    try:
        return image.getexif().get(_ORIENTATION) not in _UPRIGHT
    except Exception:  # broken EXIF data turn nothing
        return False

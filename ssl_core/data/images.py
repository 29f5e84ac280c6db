"""From the bytes of a picture to a square of uint8 RGB: the one path that training, evaluation and serving share.

    load_square(bytes or path or array, size, short_side) -> (size, size, 3) uint8

Formats are an allow-list, huge pictures and truncated files are refused (limits.py says how much one may take), and every pixel
format becomes RGB in the way a person would see it: EXIF orientation applied, transparency over white (as a page shows it), 16
bits scaled by 257. Knows no torch.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_core.data.errors import BadImage
from ssl_core.data.heads import must_be_short
from ssl_core.data.limits import MAX_FILE_BYTES, MAX_PIXELS, ROOM, check
from ssl_core.data.reading import open_below

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")  # those of Pillow
HEIF = "HEIF"  # read by pi-heif, where it is installed: HEIC as telephones write it
_ISO_MEDIA = b"ftyp"  # from the fifth byte on in HEIC and AVIF

Pixels = NDArray[np.uint8]
Array = NDArray[Any]
ROWS = 256  # of a picture that are worked on at a time, where more would need the memory of the whole again

# Pillow warns of what is larger than this, wherever a size comes up in it, and raises at twice as much. Here both are errors.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def load_square(data: bytes | Path | str | Array, size: int, short_side: int, *, max_pixels: int = MAX_PIXELS) -> Pixels:
    """The picture as (size, size, 3) uint8 RGB: short side resized to `short_side`, then the centre.

    `data` is the content of a file (bytes), the path of one, or an array as in `from_array`. Requires size <= short_side.
    JPEGs of at least four times `short_side` are decoded at a half, a quarter or an eighth (libjpeg's DCT scaling), never
    below twice `short_side`. Raises BadImage.
    """
    if isinstance(data, np.ndarray):
        return to_square(from_array(data), short_side, size)
    return to_square(decode(data, max_pixels=max_pixels, at_least=2 * short_side), short_side, size)


def decode(data: bytes | Path | str, *, max_pixels: int = MAX_PIXELS, at_least: int | None = None) -> Image.Image:
    """The first frame of a picture as upright 8-bit RGB. Raises BadImage with a reason.

    `at_least`: the caller needs no more than this many pixels a side, so a JPEG may be decoded at a half, a quarter or an
    eighth as long as both of its sides stay that large. The choice depends on the file alone, so it is the same everywhere.
    """
    data = data if isinstance(data, bytes) else _content(data, None)
    file = io.BytesIO(data)
    must_be_short(file)
    try:
        with _open(file) as image:
            need = check(image, data, max_pixels)
            if at_least is not None and image.format == "JPEG":
                full = image.size
                image.draft(None, (at_least, at_least))
                need = need if image.info.get("progressive") else need * (image.size[0] * image.size[1]) // (full[0] * full[1])
            with ROOM.take(need):
                image.load()  # Pillow refuses a truncated file here
                return _rgb(_upright(image))
    except (BadImage, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"more pixels than the {max_pixels:,} allowed") from error
    except UnidentifiedImageError as error:
        raise BadImage(f"not a picture in a known format ({', '.join((*FORMATS, HEIF))})") from error
    except Exception as error:  # decoders raise anything on bad input: SyntaxError, struct.error, KeyError, …
        raise BadImage(f"cannot be decoded: {_short(error)}") from error


def load_file(path: Path, side: int, bounds: str | None) -> Pixels:
    """`load_square(side, side)` of a file that lies below `bounds`, see reading.py. Raises BadImage."""
    return load_square(_content(path, bounds), side, side)


def header(path: Path | str, bounds: str | None = None) -> tuple[tuple[int, int], int]:
    """((width, height), channels 1 or 3) from a file's header alone, if that is a short one. Raises BadImage."""
    try:
        with open_below(path, bounds) as file:
            must_be_short(file, 10_000)
            with _open(file) as image:
                return image.size, 1 if image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;") else 3
    except Exception as error:
        raise BadImage(f"cannot be opened: {_short(error)}") from error


def from_array(array: Array) -> Image.Image:
    """RGB of an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4 with alpha).

    uint8 as it is; uint16 divided by 257; bool black and white; other numbers as in `_to_uint8`. Raises BadImage.
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise BadImage(f"an array of shape {array.shape} is not a picture: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    return _rgb(Image.fromarray(np.ascontiguousarray(_to_uint8(array))))


def to_square(image: Image.Image, short_side: int, size: int) -> Pixels:
    """The centre of a picture as (size, size, 3) uint8.

    The short side is resized to `short_side` (bilinear, with antialiasing when it shrinks; the long side in proportion,
    rounded down), the central square of `short_side` is cut out, and of that the central `size`. Cutting in two steps
    makes it equal, to the pixel, to keeping the square and cutting it later. An odd rest is cut one more on the right and
    below. torchvision's Resize(short_side) and CenterCrop give the same pixels, but for where they put an odd rest.
    """
    if not 1 <= size <= short_side:
        raise ValueError(f"size = {size} must be between 1 and short_side = {short_side}")
    width, height = image.size
    short = min(width, height)
    wide, high = int(short_side * width / short), int(short_side * height / short)
    left, top = (wide - short_side) // 2, (high - short_side) // 2
    if (wide, high) != (width, height):
        # Only the part that is kept is computed: Pillow's filter reads beyond `box`, so this equals resizing everything
        # and cutting, without a picture of 1×1,000,000 pixels becoming one of 256×256,000,000.
        sx, sy = width / wide, height / high
        box = (left * sx, top * sy, min((left + short_side) * sx, width), min((top + short_side) * sy, height))
        image = image.resize((short_side, short_side), Image.Resampling.BILINEAR, box=box)
        left = top = 0
    inset = (short_side - size) // 2
    left, top = left + inset, top + inset
    return np.asarray(image.crop((left, top, left + size, top + size)))


def _content(path: Path | str, bounds: str | None) -> bytes:
    """The bytes of a file. Raises BadImage."""
    try:
        with open_below(path, bounds) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise BadImage("the file is gone") from error
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise BadImage(f"more than the {MAX_FILE_BYTES:,} bytes of a picture")
    return data


def _open(file: BinaryIO) -> Image.Image:
    """The picture in an open file, its header read. Raises what Pillow raises."""
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError:
        file.seek(0)
        if not (file.read(8)[4:] == _ISO_MEDIA and _reads_heif()):
            raise
        file.seek(0)
        return Image.open(file, formats=[HEIF])


@cache
def _reads_heif() -> bool:
    """Whether HEIC can be read; importing what reads it takes a fifth of a second, so only those wait who send such a file."""
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener(thumbnails=False)
    return True


def _upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation wants it shown. Broken EXIF data does not make a picture unreadable."""
    with suppress(Exception):
        ImageOps.exif_transpose(image, in_place=True)  # else the picture is copied even where there is nothing to turn
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = Image.fromarray(_to_uint8(np.asarray(image)))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    """RGB, with white behind what is transparent; some rows at a time."""
    made = Image.new("RGB", image.size)
    width, height = image.size
    white = Image.new("RGBA", (width, ROWS), (255, 255, 255, 255))
    for top in range(0, height, ROWS):
        part = image.crop((0, top, width, min(top + ROWS, height))).convert("RGBA")
        made.paste(Image.alpha_composite(white.crop((0, 0, *part.size)), part).convert("RGB"), (0, top))
    return made


def _to_uint8(array: Array) -> Pixels:
    """Values as 0 to 255. uint16: /257, the same for every picture. Wider numbers carry no such convention, so the smallest
    of these ranges that holds them is taken: [0, 1] (floats only), [0, 255], [0, 65535], else from their minimum to their
    maximum. Not-a-number counts as the minimum."""
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * np.uint8(255)
    parts = [array[top : top + ROWS] for top in range(0, len(array), ROWS)]
    low, high = _range(parts)
    made = np.empty(array.shape, np.uint8)
    for number, part in enumerate(parts):
        values = part.astype(np.float64)
        values = np.clip(np.where(np.isnan(values), low, values), low, high)
        if array.dtype == np.uint16:
            values = values / 257
        elif low < 0 or high > 65535:
            values = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
        elif np.issubdtype(array.dtype, np.floating) and high <= 1:
            values = values * 255
        elif high > 255:
            values = values / 257
        made[number * ROWS : number * ROWS + len(part)] = np.rint(values).astype(np.uint8)
    return made


def _range(parts: Sequence[Array]) -> tuple[float, float]:
    """The smallest and the largest finite value. Raises BadImage if there is none."""
    finite = (part[np.isfinite(part)] for part in parts)
    ends = [(float(each.min()), float(each.max())) for each in finite if each.size]
    if not ends:
        raise BadImage("holds no finite value")
    return min(low for low, _ in ends), max(high for _, high in ends)


def _short(error: Exception) -> str:
    """One line of an exception, without the addresses of in-memory files."""
    text = str(error).split(" <_io", 1)[0].splitlines()
    return (text[0] if text and text[0] else type(error).__name__)[:200]

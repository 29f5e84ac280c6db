"""TensorBoard's event files, written without TensorBoard: home/tensorboard/<job>/events.out.tfevents.…

A file is a row of records: length (uint64), its masked CRC-32C, the bytes of a protobuf `Event`, and their masked CRC-32C
(tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto). Of a message's fields only those are written that a
scalar and a text need. Each session of writing begins a file of its own, after reading those that there are: so a record that
was cut off harms nothing, and no step is written twice.
"""

from __future__ import annotations

import json
import math
import os
import struct
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from jobs.records import JobRecord, Point

_MASK = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78  # CRC-32C (Castagnoli), reflected
_STRING = 7  # DT_STRING
JOB, SPEC, OUTCOME = "imprint/job", "imprint/spec", "imprint/outcome"  # tags of texts


def _table() -> tuple[int, ...]:
    rows = []
    for row in range(256):
        for _ in range(8):
            row = row >> 1 ^ (_POLYNOMIAL if row & 1 else 0)
        rows.append(row)
    return tuple(rows)


_ROWS = _table()


def crc32c(data: bytes) -> int:
    """The checksum of RFC 3720."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _ROWS[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + _MASK) & 0xFFFFFFFF)


def record(event: bytes) -> bytes:
    """An event as it stands in a file."""
    length = struct.pack("<Q", len(event))
    return length + _masked(length) + event + _masked(event)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _event(seconds: float, step: int, field: int, content: bytes) -> bytes:
    return b"\x09" + struct.pack("<d", seconds) + _number(2, step) + _bytes(field, content)


def begin_event(seconds: float) -> bytes:
    """The first of every file."""
    return _event(seconds, 0, 3, b"brain.Event:2")


def scalar_event(seconds: float, step: int, tag: str, value: float) -> bytes:
    """summary { value { tag, simple_value } }"""
    return _event(seconds, step, 5, _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", _float(value))))


def _float(value: float) -> float:
    """Within what 32 bits hold."""
    try:
        struct.pack("<f", value)
    except OverflowError:
        return math.copysign(math.inf, value)
    return value


def text_event(seconds: float, step: int, tag: str, text: str) -> bytes:
    """summary { value { tag, metadata { plugin_data { plugin_name: "text" } }, tensor of one string } }"""
    metadata = _bytes(1, _bytes(1, b"text"))
    tensor = _number(1, _STRING) + _bytes(2, _bytes(2, _number(1, 1))) + _bytes(8, text.encode())
    return _event(seconds, step, 5, _bytes(1, _bytes(1, tag.encode()) + _bytes(8, tensor) + _bytes(9, metadata)))


def events(path: Path) -> Iterator[bytes]:
    """The whole events of a file; a torn end is passed over."""
    with path.open("rb") as file:
        while len(head := file.read(12)) == 12:
            (length,) = struct.unpack("<Q", head[:8])
            if head[8:] != _masked(head[:8]):
                return
            event, check = file.read(length), file.read(4)
            if len(check) < 4:
                return
            yield event


def tag_and_step(event: bytes) -> tuple[str, int] | None:
    """Of a value that `scalar_event` or `text_event` has written."""
    step, at = _read_varint(event, 10)  # after wall_time and the key of step
    key, at = _read_varint(event, at)
    if key != 5 << 3 | 2:
        return None
    _, at = _read_varint(event, at)  # of the summary
    _, at = _read_varint(event, at + 1)  # of the value
    length, at = _read_varint(event, at + 1)  # of the tag
    return event[at : at + length].decode(), step


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


class TensorBoard:
    """The folder of one job, open for writing."""

    link: str | None = None

    def __init__(self, folder: Path, job: JobRecord) -> None:
        """Read how far it is, and begin a file. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.run = job.id
        self.cursor: dict[str, int] = {}
        for path in sorted(folder.glob("events.out.tfevents.*")):
            for event in events(path):
                if (found := tag_and_step(event)) is not None:
                    self.cursor[found[0]] = max(found[1], self.cursor.get(found[0], -1))
        now = time.time()
        # TensorBoard reads a folder's files in the order of their names.
        self._file = (folder / f"events.out.tfevents.{now:017.6f}.{os.getpid()}.imprint").open("xb")
        self._file.write(record(begin_event(now)))

    def write(self, points: Iterable[Point]) -> None:
        """Add values."""
        for point in points:
            value = math.nan if point.value is None else point.value
            self._file.write(record(scalar_event(point.at.timestamp(), point.step, point.name, value)))
        self._file.flush()

    def tell(self, job: JobRecord, address: str) -> None:
        """What it is, once; and when it rests, how it ended."""
        told = {"id": job.id, "name": job.name, "kind": job.kind, "method": job.method, "labels": job.labels, "link": address}
        if JOB not in self.cursor:
            self._text(JOB, 0, told)
            self._text(SPEC, 0, job.spec)
        step = int((job.progress or {}).get("step") or 0)
        if job.status not in ("queued", "running") and step > self.cursor.get(OUTCOME, -1):
            outcome = {"status": job.status, "health": job.health, "encoder": job.encoder_id, "error": job.error}
            self._text(OUTCOME, step, outcome)
        self._file.flush()

    def close(self) -> None:
        """Make what was written durable."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _text(self, tag: str, step: int, value: object) -> None:
        shown = "    " + json.dumps(value, indent=1, ensure_ascii=False).replace("\n", "\n    ")  # Markdown's way of code
        self._file.write(record(text_event(time.time(), step, tag, shown)))
        self.cursor[tag] = step

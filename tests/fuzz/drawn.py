"""What the properties share: how many draws, and bytes that were damaged on the way."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_MORE = os.environ.get("IMPRINT_FUZZ_EXAMPLES", "")  # of each property, new ones each time; else a hundred, always the same ones
quietly = settings(
    deadline=None,
    database=None,
    derandomize=not _MORE,
    max_examples=int(_MORE or 100),
    suppress_health_check=list(HealthCheck),
)
Cuts = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=6)), max_size=4)


def damaged(whole: bytes, cuts: list[tuple[float, bytes]], end: float) -> bytes:
    """With some bytes replaced at some places, and cut off."""
    data = bytearray(whole)
    for place, new in cuts:
        at = int(place * len(data))
        data[at : at + len(new)] = new
    return bytes(data[: int(len(data) * end)])

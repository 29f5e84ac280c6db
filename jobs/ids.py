"""Identifiers that sort by the time of their making: a prefix and a ULID (48 bits of milliseconds, 80 of chance)."""

from __future__ import annotations

import secrets
import threading
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
_RANDOM_BITS = 80

_lock = threading.Lock()
_last = 0


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters; within a process each is greater than the one before."""
    global _last
    with _lock:
        fresh = (time.time_ns() // 1_000_000) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
        _last = max(fresh, _last + 1)
        value = _last
    digits = [_ALPHABET[(value >> shift) & 31] for shift in range(125, -5, -5)]
    return f"{prefix}_{''.join(digits)}"


def encoder_id(job_id: str) -> str:
    """The id of a job's encoder: the same ULID. A job has at most one encoder, so publishing twice cannot make two."""
    return "enc_" + job_id.removeprefix("job_")

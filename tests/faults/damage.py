"""What can become of a checkpoint on a disk."""

from __future__ import annotations

import random
from pathlib import Path

HOW = ("bit flipped", "truncated", "empty", "no checksum", "another's checksum")


def damage(older: Path, newest: Path, dice: random.Random, number: int) -> str:
    """Do one of these to `newest`, in turn by the number; says which."""
    checksum = newest.with_name(newest.name + ".sha256")
    how, content = HOW[number % len(HOW)], bytearray(newest.read_bytes())
    if how == "bit flipped":
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        newest.write_bytes(content)
    elif how == "truncated":
        newest.write_bytes(content[: dice.randrange(1, len(content))])
    elif how == "empty":
        newest.write_bytes(b"")
    elif how == "no checksum":
        checksum.unlink()
    else:
        checksum.write_text(older.with_name(older.name + ".sha256").read_text().replace(older.name, newest.name))
    return how

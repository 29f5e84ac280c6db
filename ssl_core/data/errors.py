"""What can be wrong with data. Knows no torch.

DataError   a dataset cannot be used: where in the spec, what, and what would be right
BadImage    one picture cannot be read: why
"""

from __future__ import annotations


class DataError(Exception):
    """A dataset is missing, unreadable, or lies where it must not.

    `pointer` is the JSON pointer of the field in the spec, `message` names the value, `hint` says what would be right.
    """

    def __init__(self, pointer: str, message: str, hint: str = "") -> None:
        super().__init__(f"{message} {hint}".strip())
        self.pointer = pointer
        self.message = message
        self.hint = hint


class BadImage(ValueError):
    """Bytes that are not a picture we read; `reason` is a sentence for the person who sent them."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

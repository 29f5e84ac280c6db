"""API keys as text: `imp_`, 32 random letters and digits, `_`, and a checksum of six.

The checksum lets a client tell a mistyped key without asking anybody; it protects nothing. What is stored is the SHA-256 of
the whole: with 190 bits of chance in it, nothing slower is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
import zlib

PREFIX = "imp_"
SHOWN = 8  # of the random characters: they tell keys apart in a list, and find the row to compare with
_ALPHABET = string.digits + string.ascii_letters
_RANDOM, _CHECK = 32, 6  # 62**6 is more than 2**32
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{_RANDOM}}}_[0-9A-Za-z]{{{_CHECK}}}")


def new_secret() -> str:
    """A key that has never been one."""
    body = PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{body}_{_checksum(body)}"


def well_formed(text: str) -> bool:
    """Whether this can be a key: its form, and its checksum."""
    body, _, check = text.rpartition("_")
    return _FORM.fullmatch(text) is not None and check == _checksum(body)


def mistyped(text: str) -> bool:
    """Whether this was meant to be a key of ours and is none. Keys of the settings, which have any form, are not."""
    return text.startswith(PREFIX) and not well_formed(text)


def shown(secret: str) -> str:
    """The beginning of a well-formed key, which is no secret."""
    return secret[: len(PREFIX) + SHOWN]


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal."""
    try:
        return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
    except UnicodeEncodeError:  # the rest of what no key can hold
        return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def same(one: str, other: str) -> bool:
    """Whether two digests are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one, other)


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = []
    for _ in range(_CHECK):
        value, digit = divmod(value, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))

"""The session of a browser: a signed cookie that says which key logged in, never the key itself.

`<key id>.<when it ends>.<its id>.<HMAC-SHA256>`. The HMAC is over all of it and the digest of the key, so that a session ends
with its key: when that is revoked, expires or, in the settings, is changed. One that is logged out ends wherever its cookie has
been copied to; nothing else of sessions is stored. The secret of the signature is a file in the home, which all processes of the
API share. What a cookie may do is what its key may do: the same scopes, owner and limits.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import cookie_parser

from api.errors import Problem
from api.keyring import Keyring
from jobs.access import Caller
from jobs.secret import same

SECONDS = 7 * 24 * 3600  # from the login to its end
PROOF = "x-imprint-page"  # the header that a form of another site cannot send
_FILE = "session.secret"
_FORM = re.compile(r"(([A-Za-z0-9_-]{1,64})\.(\d{1,12})\.([0-9a-f]{32}))\.([0-9a-f]{64})")
_BYTES = 32


class Sessions:
    """Cookies, made and read."""

    def __init__(self, home: Path, keyring: Keyring) -> None:
        self._secret = _kept_secret(home / _FILE)
        self._keyring = keyring
        # A browser sends cookies to every port of a machine: two services there must not overwrite each other's.
        self.cookie = f"imprint_{hashlib.sha256(self._secret).hexdigest()[:8]}"

    async def begin(self, key: str) -> str:
        """The cookie's value for whoever has this key. Raises Problem 401 for one that is not valid."""
        caller = await self._keyring.caller(f"Bearer {key}")
        said = f"{caller.key}.{int(time.time()) + SECONDS}.{secrets.token_hex(16)}"
        found = await self._keyring.by_id(caller.key, "")
        return "" if found is None else f"{said}.{self._sign(said, found[1])}"

    async def caller(self, headers: Mapping[str, str]) -> Caller | None:
        """Whose session a request belongs to; None where it has none, or one that has ended."""
        given = self._given(headers)
        if given is None or int(given[3]) < time.time():
            return None
        found = await self._keyring.by_id(given[2], given[4])
        if found is None or not same(self._sign(given[1], found[1]), given[5]):
            return None
        return replace(found[0], session=given[4])

    async def end(self, headers: Mapping[str, str]) -> None:
        """Let the session of a request be worth nothing, here and wherever its cookie has been copied to. Raises JobsError."""
        given = self._given(headers)
        if given is not None and await self.caller(headers) is not None:
            await self._keyring.end_session(given[4], int(given[3]))

    def _given(self, headers: Mapping[str, str]) -> re.Match[str] | None:
        return _FORM.fullmatch(cookie_parser(headers.get("cookie", "")).get(self.cookie, ""))

    def _sign(self, said: str, digest: str) -> str:
        return hmac.new(self._secret, f"{said}.{digest}".encode(), hashlib.sha256).hexdigest()


def same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a page of this very service sent the request, as the browser says, which pages cannot change.

    Browsers send Sec-Fetch-Site over https and to this machine; elsewhere there is Origin, compared with Host.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = headers.get("origin", "")
    try:
        return bool(origin) and urlsplit(origin).netloc == headers.get("host", "")
    except ValueError:  # no address at all
        return False


def must_be_ours(headers: Mapping[str, str]) -> None:
    """Raise Problem 403 for a change with a cookie that a page of another site may have sent."""
    if not same_origin(headers):
        raise Problem("forbidden", "A page of another site may not change anything here.")
    if not headers.get(PROOF):
        raise Problem("forbidden", f"A change with a session's cookie needs the header {PROOF.title()}: 1.")


def _kept_secret(file: Path) -> bytes:
    """The file's bytes; the first process makes them, whole or not at all."""
    if not file.exists():
        mine = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        try:
            with open(os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(secrets.token_bytes(_BYTES))
                stream.flush()
                os.fsync(stream.fileno())
            os.link(mine, file)
        except FileExistsError:  # another process was quicker
            pass
        finally:
            mine.unlink()
    return file.read_bytes()

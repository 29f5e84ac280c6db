"""Servers by names of one's own: addresses and keys in one file that only its user can read.

$XDG_CONFIG_HOME/imprint/profiles.json (default ~/.config): {"current": "lab", "profiles": {"lab": {"url": …, "api_key": …}}}
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imprint.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Profile:
    """A server. api_key: never printed."""

    name: str
    url: str
    api_key: str | None = field(default=None, repr=False)


def path() -> Path:
    """Where the file is."""
    home = os.environ.get("XDG_CONFIG_HOME") or ""
    base = Path(home) if os.path.isabs(home) else Path.home() / ".config"
    return base / "imprint" / "profiles.json"


class Profiles:
    """The file's content; `save` writes it."""

    def __init__(self, file: Path | None = None) -> None:
        """Raises UsageError for a file that others can read, or that is damaged."""
        self.file = file or path()
        self.current: str | None = None
        self.profiles: dict[str, Profile] = {}
        try:
            with self.file.open(encoding="utf-8") as opened:
                if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                    raise UsageError(f"{self.file} holds keys and others can read it", f"chmod 600 {self.file}")
                body: Any = json.load(opened)
            self.profiles = {name: Profile(name, each["url"], each.get("api_key")) for name, each in body["profiles"].items()}
            self.current = body.get("current")
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{self.file} cannot be read: {error}", "mend it, or remove it and add the profiles again"
            ) from error

    def get(self, name: str) -> Profile:
        """Raises UsageError."""
        if name not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none yet"
            raise UsageError(f"there is no profile {name!r}", f"known: {known}; add one with: imprint profile add {name} URL")
        return self.profiles[name]

    def put(self, profile: Profile) -> None:
        """Add it, or let it take the place of the one of its name. The first becomes the one in use. Raises UsageError."""
        if not _NAME.fullmatch(profile.name):
            raise UsageError(f"{profile.name!r} is not a name for a profile", "1 to 64 letters, digits and ._-")
        if not re.fullmatch(r"https?://[^\s/@]+(/\S*)?", profile.url):
            raise UsageError(f"{profile.url!r} is not a server's address", "for example http://lab:8000, without a key in it")
        self.profiles[profile.name] = profile
        self.current = self.current or profile.name

    def remove(self, name: str) -> None:
        """Raises UsageError."""
        del self.profiles[self.get(name).name]
        if self.current == name:
            self.current = None

    def save(self) -> None:
        """The whole file, replaced at once, 0600 in a folder of 0700 from its first byte on."""
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        body = {
            "current": self.current,
            "profiles": {
                each.name: {"url": each.url, **({"api_key": each.api_key} if each.api_key else {})}
                for each in self.profiles.values()
            },
        }
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(body, file, indent=1)
            temporary.replace(self.file)
        finally:
            temporary.unlink(missing_ok=True)

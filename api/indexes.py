"""The indexes that are open. A search asks for the current one; a swap is noticed by the name in its pointer."""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.indexes import IndexPlace
from ssl_core.search.facts import IndexCorrupt

if TYPE_CHECKING:
    from ssl_core.search.index import PictureIndex

MOST = 16  # open at a time; memory maps, so that what they take is given back when it is needed
TRIES = 10  # of opening a folder that may be swapped away meanwhile


class OpenIndexes:
    """By encoder id. Everything here is called in threads."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._open: OrderedDict[str, tuple[str, PictureIndex | IndexCorrupt]] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}

    def get(self, encoder_id: str) -> PictureIndex | None:
        """The current index, or None. The first call after a swap verifies and maps it. Raises IndexCorrupt."""
        place = IndexPlace(self._home, encoder_id)
        for _ in range(TRIES):
            folder = place.current()
            if folder is None:
                self.forget(encoder_id)
                return None
            known = self._known(encoder_id, folder.name)
            if known is None:
                with self._lock:
                    opening = self._opening.setdefault(encoder_id, threading.Lock())
                with opening:
                    known = self._known(encoder_id, folder.name) or self._read(encoder_id, folder)
            if isinstance(known, IndexCorrupt):
                raise known
            if known is not None:
                return known
        raise IndexCorrupt("the index was swapped again and again while it was opened; try again")

    def forget(self, encoder_id: str) -> None:
        """Close it, for those who come from now on."""
        with self._lock:
            self._open.pop(encoder_id, None)

    def _known(self, encoder_id: str, name: str) -> PictureIndex | IndexCorrupt | None:
        with self._lock:
            found = self._open.get(encoder_id)
            if found is None or found[0] != name:
                return None
            self._open.move_to_end(encoder_id)
            return found[1]

    def _read(self, encoder_id: str, folder: Path) -> PictureIndex | IndexCorrupt | None:
        from ssl_core.search.index import PictureIndex  # the library is imported with the first search

        try:
            made: PictureIndex | IndexCorrupt = PictureIndex.open(folder)
        except FileNotFoundError:
            return None  # swapped away
        except IndexCorrupt as error:
            if not folder.is_dir():
                return None
            made = error  # kept, so that it is not read whole again for every search
        with self._lock:
            self._open[encoder_id] = (folder.name, made)
            while len(self._open) > MOST:
                self._open.popitem(last=False)
        return made

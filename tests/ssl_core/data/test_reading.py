"""Nothing outside of the data root is read, whatever is swapped between two looks: a folder, or a file, for a link to outside."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from PIL import Image

from ssl_core.data.decoder import hash_of
from ssl_core.data.errors import BadImage, DataError
from ssl_core.data.images import header
from ssl_core.data.reading import LeadsOut, bounds_of, lies_below, open_below, open_folder_below, read_below
from ssl_core.data.scan import scan
from ssl_core.data.sources import every_file
from ssl_core.data.store import FileStore
from ssl_core.spec import FolderData

INSIDE, OUTSIDE = (200, 0, 0), (0, 0, 200)
TRIALS = 1000


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """A data root with pictures in one colour, and a folder beside it with pictures of the same names in another."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    for folder, colour in ((root / "photos", INSIDE), (outside, OUTSIDE)):
        folder.mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (16, 16), colour).save(folder / f"{number}.png")
    (outside / "secret.png").write_bytes((outside / "0.png").read_bytes())
    return root, outside


class TestOpen:
    def test_what_lies_below(self, places):
        root, _ = places
        (root / "linked").symlink_to(root / "photos")
        bounds = bounds_of(root)
        for path in ("photos/0.png", "linked/0.png"):
            assert read_below(root / path, bounds).startswith(b"\x89PNG")
        os.close(open_folder_below(root / "linked", bounds))
        os.close(open_folder_below(root, bounds))

    def test_what_does_not(self, places):
        root, outside = places
        (root / "file.png").symlink_to(outside / "0.png")
        (root / "folder").symlink_to(outside)
        for path in ("file.png", "folder/0.png", "../outside/0.png"):
            with pytest.raises(LeadsOut):
                open_below(root / path, bounds_of(root))
            assert hash_of(root / path, bounds_of(root)) == 0
            with pytest.raises(BadImage, match="leads out of the data root"):
                header(root / path, bounds_of(root))
        with pytest.raises(LeadsOut):
            open_folder_below(root / "folder", bounds_of(root))

    def test_a_neighbour_whose_name_begins_alike(self, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data-of-others").mkdir()
        (tmp_path / "data-of-others/a").write_bytes(b"x")
        with pytest.raises(LeadsOut):
            open_below(tmp_path / "data-of-others/a", bounds_of(tmp_path / "data"))
        assert lies_below("/data/a", "/") and lies_below("/", "/") and not lies_below("/data2", "/data")

    def test_nothing_but_files(self, tmp_path):
        """A pipe without a writer would keep whoever opens it waiting."""
        os.mkfifo(tmp_path / "a.png")
        (tmp_path / "b.png").mkdir()
        for name in ("a.png", "b.png"):
            with pytest.raises(OSError, match="not a regular file"):
                open_below(tmp_path / name, bounds_of(tmp_path))


class Swapper:
    """Puts a link to outside in the place of what lies inside, and back: in turn, as fast as it can, until the block ends."""

    def __init__(self, place: Path, outside: Path) -> None:
        self.place, self.aside, self.outside = place, place.with_name(".aside"), outside
        self.link = place.with_name(".link")
        self.over, self.swaps = threading.Event(), 0
        self.thread = threading.Thread(target=self.run)

    def swap(self) -> None:
        os.symlink(self.outside, self.link)
        os.rename(self.place, self.aside)
        os.rename(self.link, self.place)

    def back(self) -> None:
        os.unlink(self.place)
        os.rename(self.aside, self.place)
        self.swaps += 1

    def run(self) -> None:
        while not self.over.is_set():
            self.swap()
            self.back()

    def __enter__(self) -> Swapper:
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.thread.join(20)


@pytest.fixture
def at_the_worst_moment(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Path], Swapper]:
    """swapper(place, outside): from here on every file or folder is opened while the link is there, whatever was seen before."""
    really = os.open

    def arrange(place: Path, outside: Path) -> Swapper:
        swapper = Swapper(place, outside)

        def swapped_open(path: str, *words: int) -> int:
            swapper.swap()
            try:
                return really(path, *words)
            finally:
                swapper.back()

        monkeypatch.setattr(os, "open", swapped_open)
        return swapper

    return arrange


class TestSwappedBetweenTheCheckAndTheOpening:
    """A thousand times each, at exactly that moment. The first test shows that without the check afterwards, outside is read."""

    def test_the_swap_is_one(self, places, at_the_worst_moment):
        root, outside = places
        at_the_worst_moment(root / "photos", outside)
        assert read_below(root / "photos/secret.png", None) == (outside / "secret.png").read_bytes()
        with pytest.raises(LeadsOut):
            read_below(root / "photos/0.png", bounds_of(root))

    def test_a_folder(self, places, at_the_worst_moment):
        root, outside = places
        found, _ = every_file(FolderData(path="photos"), root)
        swapper = at_the_worst_moment(root / "photos", outside)
        store = FileStore(found.root, found.paths, 16, bounds=found.bounds)
        for _ in range(TRIALS // 4):
            assert list(scan(root / "photos", root).paths) == []
            assert hash_of(root / "photos/0.png", found.bounds) == 0
            with pytest.raises(BadImage, match="leads out"):
                header(root / "photos/0.png", found.bounds)
            with pytest.raises(DataError, match="unreadable"):
                store.batch(torch.tensor([0]))
            store.unreadable.clear()
        assert swapper.swaps >= TRIALS

    def test_a_folder_below(self, places, at_the_worst_moment):
        root, outside = places
        (root / "photos/sub").mkdir()
        swapper = at_the_worst_moment(root / "photos/sub", outside)
        for _ in range(TRIALS):
            assert list(scan(root / "photos", root).paths) == ["0.png", "1.png", "2.png"]
        assert swapper.swaps >= 2 * TRIALS

    def test_a_file(self, places, at_the_worst_moment):
        root, outside = places
        swapper = at_the_worst_moment(root / "photos/0.png", outside / "0.png")
        for _ in range(TRIALS):
            with pytest.raises(LeadsOut):
                read_below(root / "photos/0.png", bounds_of(root))
        assert swapper.swaps == TRIALS


class TestRace:
    """A thousand looks while another thread swaps without a pause: whenever something is read, it is of inside."""

    def test_a_folder(self, places):
        root, outside = places
        with Swapper(root / "photos", outside) as swapper:
            for _ in range(TRIALS):
                try:
                    found, _ = every_file(FolderData(path="photos"), root)
                    assert "secret.png" not in list(found.paths)
                    store = FileStore(found.root, found.paths, 16, bounds=found.bounds)
                    images = store.batch(torch.arange(min(2, len(store)))).numpy()
                except (DataError, OSError):
                    continue
                assert (images[:, 0] == INSIDE[0]).all() and (images[:, 2] == INSIDE[2]).all(), "a picture of outside"
        assert swapper.swaps > 0

    def test_a_file(self, places):
        root, outside = places
        place = root / "photos/0.png"
        inside = place.read_bytes()
        with Swapper(place, outside / "0.png") as swapper:
            for _ in range(TRIALS):
                with suppress(OSError):
                    assert read_below(place, bounds_of(root)) == inside
        assert swapper.swaps > 0

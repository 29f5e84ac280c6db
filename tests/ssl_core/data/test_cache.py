"""The prepared cache, with real files, real decoder processes and real kills."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_core.data import prepare
from ssl_core.data.cache import Cache, NoRoom
from ssl_core.data.load import load_data
from ssl_core.data.scan import scan
from ssl_core.data.store import InMemoryStore, PreparedStore
from ssl_core.spec import FolderData
from support.prepared import SIDE, Calls, expected, picture, pictures, rows


class TestPreparing:
    def test_every_row_is_its_file_decoded(self, tmp_path: Path) -> None:
        found = scan(pictures(tmp_path / "photos", 300), tmp_path)  # more than two chunks
        calls = Calls()
        prepared = Cache(tmp_path / "cache").prepared(found, "sha256:a", SIDE, calls)
        pixels = rows(prepared)
        assert all(np.array_equal(pixels[row], expected(found.root, path)) for row, path in enumerate(found.paths))
        assert calls.seen[-1] == (300, 300)
        assert prepared.unreadable == {}

    def test_the_second_time_nothing_is_decoded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = scan(pictures(tmp_path / "photos", 10), tmp_path)
        first = rows(Cache(tmp_path / "cache").prepared(found, "sha256:a", SIDE, Calls()))
        monkeypatch.setattr(prepare, "Decoder", None)  # would fail
        assert np.array_equal(rows(Cache(tmp_path / "cache").prepared(found, "sha256:a", SIDE, Calls())), first)

    def test_unreadable_files_are_told_and_black(self, tmp_path: Path) -> None:
        root = pictures(tmp_path / "photos", 6)
        (root / "0" / "0001.png").write_bytes(b"no picture")
        found = scan(root, tmp_path)
        prepared = Cache(tmp_path / "cache").prepared(found, "sha256:a", SIDE, Calls())
        bad = list(found.paths).index("0/0001.png")
        assert "not a picture" in prepared.unreadable[bad]
        assert rows(prepared)[bad].max() == 0
        assert rows(prepared)[bad + 1].max() > 0

    def test_a_file_that_kills_its_decoder_is_unreadable_and_its_neighbours_are_not(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The decoder of this test kills itself when it meets a file of that name, as a bug in a C library would."""
        root = pictures(tmp_path / "photos", 40)
        picture(root / "1" / "deadly.png", 99)
        hook = tmp_path / "hook"
        hook.mkdir()
        (hook / "sitecustomize.py").write_text(
            "import os, sys\n"
            "def audit(event, args):\n"
            "    if event == 'open' and str(args[0]).endswith('deadly.png'): os.kill(os.getpid(), 9)\n"
            "sys.addaudithook(audit)\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(hook))
        found = scan(root, tmp_path)
        prepared = Cache(tmp_path / "cache").prepared(found, "sha256:a", SIDE, Calls())
        deadly = list(found.paths).index("1/deadly.png")
        assert list(prepared.unreadable) == [deadly]
        assert "ended with status -9" in prepared.unreadable[deadly]
        assert all(
            np.array_equal(rows(prepared)[row], expected(root, path)) for row, path in enumerate(found.paths) if row != deadly
        )


class TestNoticing:
    def entry(self, tmp_path: Path) -> tuple[Path, Cache]:
        root = pictures(tmp_path / "photos", 30)
        cache = Cache(tmp_path / "cache")
        cache.prepared(scan(root, tmp_path), "sha256:a", SIDE, Calls())
        return root, cache

    def test_a_file_rewritten_in_its_size(self, tmp_path: Path) -> None:
        """Name and size stay, so the fingerprint of a large folder could miss it; the time does not stay."""
        root = tmp_path / "photos"
        for number in range(3):
            root.mkdir(exist_ok=True)
            Image.fromarray(np.full((24, 24, 3), 10 * number, np.uint8)).save(root / f"{number}.bmp")  # no compression
        cache = Cache(tmp_path / "cache")
        cache.prepared(scan(root, tmp_path), "sha256:a", SIDE, Calls())
        Image.fromarray(np.full((24, 24, 3), 200, np.uint8)).save(root / "1.bmp")
        os.utime(root / "1.bmp", ns=(1, 1))
        again = rows(cache.prepared(scan(root, tmp_path), "sha256:a", SIDE, Calls()))
        assert [row.mean() for row in again] == [0, 200, 20]

    def test_a_touched_file_is_hashed_and_not_decoded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root, cache = self.entry(tmp_path)
        os.utime(root / "0" / "0000.png", ns=(1, 1))
        monkeypatch.setattr(prepare, "Decoder", None)
        cache.prepared(scan(root, tmp_path), "sha256:a", SIDE, Calls())
        monkeypatch.setattr("ssl_core.data.cache.hash_of", None)  # its new time was noted
        cache.prepared(scan(root, tmp_path), "sha256:a", SIDE, Calls())

    def test_a_copy_of_the_folder_is_the_same_data(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root, cache = self.entry(tmp_path)
        shutil.copytree(root, tmp_path / "copy", copy_function=shutil.copyfile)
        monkeypatch.setattr(prepare, "Decoder", None)
        cache.prepared(scan(tmp_path / "copy", tmp_path), "sha256:a", SIDE, Calls())

    def test_only_new_files_of_a_grown_folder_are_decoded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root, cache = self.entry(tmp_path)
        picture(root / "0" / "aaa.png", 77)
        picture(root / "2" / "zzz.png", 78)
        (root / "1" / "0001.png").unlink()
        decoded: list[str] = []

        class Counting(prepare.Decoder):
            def decode(self, first: int, root: Path, paths: list[str]) -> list[object]:
                decoded.extend(paths)
                return super().decode(first, root, paths)

        monkeypatch.setattr(prepare, "Decoder", Counting)
        found = scan(root, tmp_path)
        pixels = rows(cache.prepared(found, "sha256:grown", SIDE, Calls()))
        assert sorted(decoded) == ["0/aaa.png", "2/zzz.png"]
        assert all(np.array_equal(pixels[row], expected(root, path)) for row, path in enumerate(found.paths))

    def test_a_file_that_became_readable(self, tmp_path: Path) -> None:
        root = pictures(tmp_path / "photos", 3)
        cache = Cache(tmp_path / "cache")
        found = scan(root, tmp_path)
        target, hidden = root / "1" / "0001.png", tmp_path / "hidden.png"
        target.rename(hidden)  # gone between the scan and the decoding
        assert list(cache.prepared(found, "sha256:a", SIDE, Calls()).unreadable.values()) == ["the file is gone"]
        hidden.rename(target)
        assert cache.prepared(found, "sha256:a", SIDE, Calls()).unreadable == {}

    def test_a_damaged_entry_is_made_anew(self, tmp_path: Path) -> None:
        root, cache = self.entry(tmp_path)
        (place,) = (each for each in cache.folder.iterdir() if each.is_dir())
        (place / "entry.json").write_text("{")
        found = scan(root, tmp_path)
        assert np.array_equal(rows(cache.prepared(found, "sha256:a", SIDE, Calls()))[0], expected(root, found.paths[0]))


class TestRoom:
    def entries(self, cache: Cache) -> set[str]:
        return {json.loads(each.read_bytes())["root"][-1] for each in cache.folder.glob("*/entry.json")}

    def test_what_was_unused_for_longest_goes_first(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path / "cache", limit=2 * 200 * 3 * SIDE**2 + 100_000)  # room for two
        for name in "ab":
            cache.prepared(scan(pictures(tmp_path / name, 200), tmp_path), f"sha256:{name}", SIDE, Calls())
        time.sleep(0.01)
        cache.prepared(scan(tmp_path / "a", tmp_path), "sha256:a", SIDE, Calls())  # used again
        cache.prepared(scan(pictures(tmp_path / "c", 200), tmp_path), "sha256:c", SIDE, Calls())
        assert self.entries(cache) == {"a", "c"}

    def test_what_is_not_ours_stays(self, tmp_path: Path) -> None:
        """A folder may be shared with other programs' caches."""
        cache = Cache(tmp_path / "cache", limit=200 * 3 * SIDE**2 + 100_000)
        (cache.folder / "huggingface").mkdir(parents=True)
        (cache.folder / "huggingface" / "weights").write_bytes(bytes(300_000))
        for name in "ab":
            cache.prepared(scan(pictures(tmp_path / name, 200), tmp_path), f"sha256:{name}", SIDE, Calls())
        assert (cache.folder / "huggingface" / "weights").exists()

    def test_what_is_in_use_stays(self, tmp_path: Path) -> None:
        cache = Cache(tmp_path / "cache", limit=200 * 3 * SIDE**2 + 100_000)  # room for one
        held = cache.prepared(scan(pictures(tmp_path / "a", 200), tmp_path), "sha256:a", SIDE, Calls())
        with pytest.raises(NoRoom, match="beside what is in use"):
            cache.prepared(scan(pictures(tmp_path / "b", 200), tmp_path), "sha256:b", SIDE, Calls())
        assert self.entries(cache) == {"a"}
        del held
        cache.prepared(scan(tmp_path / "b", tmp_path), "sha256:b", SIDE, Calls())
        assert self.entries(cache) == {"b"}

    def test_data_larger_than_the_limit_are_streamed_with_a_word(self, tmp_path: Path) -> None:
        pictures(tmp_path / "photos", 40)
        data = FolderData(path="photos", size=SIDE)
        loaded = load_data(data, tmp_path, cache=Cache(tmp_path / "cache", limit=1000))
        assert "may hold" in loaded.notes[0]
        assert isinstance(loaded.train, InMemoryStore)  # small enough for that
        assert not (tmp_path / "cache").exists()

    def test_a_full_disk_is_no_room_and_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        cache = Cache(tmp_path / "cache")
        with pytest.raises(NoRoom, match="full"):
            cache.prepared(scan(pictures(tmp_path / "a", 5), tmp_path), "sha256:a", SIDE, Calls())
        assert not [each for each in cache.folder.iterdir() if each.is_dir()]


class TestStores:
    @pytest.mark.parametrize("bad", [(), ("0/0003.png", "1/0007.png")])
    def test_the_same_images_and_labels_as_decoded_into_memory(self, tmp_path: Path, bad: tuple[str, ...]) -> None:
        root = pictures(tmp_path / "photos", 60)
        for path in bad:
            (root / path).write_bytes(b"")
        data = FolderData(path="photos", size=SIDE)
        plain = load_data(data, tmp_path)
        cached = load_data(data, tmp_path, cache=Cache(tmp_path / "cache"))
        assert isinstance(plain.train, InMemoryStore)
        assert isinstance(cached.train, PreparedStore)
        every = torch.arange(len(plain.train))
        assert torch.equal(cached.train.batch(every), plain.train.batch(every))
        assert torch.equal(cached.train.labels, plain.train.labels)
        assert torch.equal(cached.queries.images, plain.queries.images)
        assert torch.equal(cached.bank.images, plain.bank.images)
        assert sorted(cached.unreadable) == sorted(plain.unreadable)
        assert (cached.held_out, cached.classes, cached.fingerprint) == (plain.held_out, plain.classes, plain.fingerprint)

    def test_other_labels_and_another_share_held_out_find_it_ready(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pictures(tmp_path / "photos", 60)
        cache = Cache(tmp_path / "cache")
        load_data(FolderData(path="photos", size=SIDE), tmp_path, cache=cache)
        monkeypatch.setattr(prepare, "Decoder", None)
        other = load_data(FolderData(path="photos", size=SIDE, held_out=0.3, labels="none"), tmp_path, cache=cache)
        assert other.train.labels is None
        assert other.held_out > 10

    def test_files_beside_train_and_test_are_not_decoded(self, tmp_path: Path) -> None:
        for part, count in (("train", 12), ("test", 5), ("raw", 4)):
            for number in range(count):
                picture(tmp_path / "photos" / part / f"{number % 2}" / f"{number}.png", number)
        cache = Cache(tmp_path / "cache")
        loaded = load_data(FolderData(path="photos", size=SIDE), tmp_path, cache=cache)
        (place,) = (each for each in cache.folder.iterdir() if each.is_dir())
        assert json.loads((place / "entry.json").read_bytes())["count"] == 17
        assert (len(loaded.train), loaded.held_out) == (12, 5)
        whole = load_data(FolderData(path="photos", size=SIDE), tmp_path)
        assert torch.equal(loaded.train.batch(torch.arange(12)), whole.train.batch(torch.arange(12)))

    def test_streaming_is_still_to_be_had(self, tmp_path: Path) -> None:
        pictures(tmp_path / "photos", 30)
        loaded = load_data(FolderData(path="photos", size=SIDE, in_memory="never"), tmp_path, cache=Cache(tmp_path / "cache"))
        assert type(loaded.train).__name__ == "FileStore"
        assert not (tmp_path / "cache").exists()

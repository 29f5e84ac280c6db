"""How much one picture may take: worked out before it is decoded, waited for, refused; what ends a process that takes more."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import threading
import time

import pytest
from PIL import Image

from ssl_core.data.errors import BadImage
from ssl_core.data.images import decode, load_square
from ssl_core.data.limits import MAX_PICTURE_BYTES, SMALL, Room, check, cost
from support.hostile import bomb, many_scans


def saved(form: str, mode: str = "RGB", side: int = 100, **options) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (side, side)).save(file, form, **options)
    return file.getvalue()


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


class TestCost:
    @pytest.mark.parametrize(
        ("data", "each"),
        [
            (saved("PNG"), 4),
            (saved("PNG", "RGBA"), 8),
            (saved("PNG", exif=turned()), 8),
            (saved("JPEG"), 4),
            (saved("JPEG", progressive=True), 10),
            (saved("WEBP"), 21),
            (saved("GIF"), 10),
        ],
    )
    def test_by_hand(self, data, each):
        """Bytes for each of 10,000 pixels, and the file."""
        with Image.open(io.BytesIO(data)) as image:
            assert cost(image, data) == 10_000 * each + len(data)

    def test_a_bomb_is_refused_before_it_is_decoded(self):
        """9,900 × 9,900 px with transparency: 784 MB, out of a few hundred kilobytes."""
        data, began = bomb("PNGA", 9900), time.process_time()
        assert MAX_PICTURE_BYTES < 9900 * 9900 * 8 and len(data) < 10**6
        with pytest.raises(BadImage, match=r"needs 748 MiB of memory to be decoded, more than the 512 allowed"):
            decode(data)
        assert time.process_time() - began < 0.2

    def test_a_large_picture_is_not(self):
        """Without transparency the same size is half of that; and of a JPEG that is wanted small, less is decoded."""
        with Image.open(io.BytesIO(bomb("PNG", 9900))) as image:
            assert check(image, b"", 100_000_000) < MAX_PICTURE_BYTES
        assert load_square(saved("JPEG", side=4000), 32, 32).shape == (32, 32, 3)


class TestScans:
    def test_a_thousand_passes_are_refused(self):
        data, began = many_scans(4000, 500), time.process_time()
        with pytest.raises(BadImage, match="scans of 4000×4000 px are more work"):
            decode(data)
        assert time.process_time() - began < 0.2

    def test_what_cameras_write_is_not(self):
        assert decode(saved("JPEG", side=2000, progressive=True)).size == (2000, 2000)


class TestRoom:
    def test_more_than_there_is(self):
        with pytest.raises(BadImage, match="20 MiB"), Room(16 * 2**20).take(20 * 2**20):
            pass

    def test_others_wait_their_turn(self):
        """Ten threads that need a half each: never more than two at a time, and all come to an end."""
        room, inside, most = Room(4 * SMALL), [], []

        def work() -> None:
            with room.take(2 * SMALL):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.01)
                inside.pop()

        threads = [threading.Thread(target=work) for _ in range(10)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(10)
        assert len(most) == 10 and max(most) == 2

    def test_given_back_after_a_failure(self):
        room = Room(4 * SMALL)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError), room.take(3 * SMALL):
                raise ZeroDivisionError


def run(code: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)


@pytest.mark.skipif(sys.platform != "linux", reason="the limits are Linux's")
class TestOwnProcess:
    def test_too_much_memory_is_refused(self):
        code = "from ssl_core.data.limits import *; bound_this_process(); x = bytearray({} * MIB)"
        assert run(code.format(512)).returncode == 0
        assert b"MemoryError" in run(code.format(3000)).stderr

    def test_too_long_is_the_end(self):
        """Even in C, where no handler of Python's would be heard: a sum over a range is one instruction to the interpreter."""
        code = "from ssl_core.data.limits import *\nwith within_seconds(0.2): sum(range(10**11))"
        assert run(code).returncode == -signal.SIGPROF
        code = "from ssl_core.data.limits import *\nimport time\nwith within_seconds(0.2): pass\nsum(range(10**7))"
        assert run(code).returncode == 0


def test_pillows_warning_of_bombs_is_an_error():
    with pytest.raises(BadImage, match="more pixels than the 100,000,000 allowed"):
        decode(bomb("PNG", 15_000))
    code = "import ssl_core.data.images; from PIL import Image; Image._decompression_bomb_check((12_000, 12_000))"
    assert b"DecompressionBombWarning" in run(code).stderr and run(code).returncode != 0

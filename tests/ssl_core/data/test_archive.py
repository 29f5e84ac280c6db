"""Archives of strangers: what honest programs write is taken, whole; what could be read in two ways is refused, with a reason."""

from __future__ import annotations

import io
import random
import shutil
import struct
import subprocess
import zipfile
import zlib

import pytest

from ssl_core.data.archive import BadArchive, Limits, TooLarge, read_archive
from ssl_core.data.unpack import looks_like_picture, unpack
from support.archives import Entry, pictures, png, written, zipped

PNG = png(0)
PACKED = zlib.compress(PNG, wbits=-15)


def unpacked(data, folder, limits=Limits()):  # noqa: B008 (frozen)
    """{path: content} of what is kept of an archive, and what `unpack` said."""
    folder.mkdir()
    said = unpack(io.BytesIO(data), read_archive(io.BytesIO(data), limits), folder, limits)
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}, said


class TestHonest:
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_all_pictures_are_there(self, tmp_path, method):
        files = pictures()
        found, said = unpacked(zipped(files, method), tmp_path / "out")
        assert found == files
        assert (said.kept, said.left_out, said.size_bytes) == (16, 0, sum(map(len, files.values())))

    def test_written_as_a_stream(self, tmp_path):
        """Sizes then come after the bytes, and are 0 before them."""

        class Pipe(io.BytesIO):
            def seekable(self):
                return False

            def tell(self):
                raise OSError

        pipe = Pipe()
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in pictures(2).items():
                archive.writestr(name, content)
        assert unpacked(pipe.getvalue(), tmp_path / "out")[0] == pictures(2)

    def test_zip64(self, tmp_path):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive, archive.open("a.png", "w", force_zip64=True) as entry:
            entry.write(PNG)
        assert unpacked(file.getvalue(), tmp_path / "out")[0] == {"a.png": PNG}

    def test_zip64_of_many_entries(self, tmp_path):
        """More than 65,535: the last record cannot say how many."""
        files = {f"{number}.txt": b"" for number in range(65_600)} | {"a.png": PNG}
        found, said = unpacked(zipped(files, zipfile.ZIP_STORED), tmp_path / "out")
        assert found == {"a.png": PNG} and said.left_out == 65_600

    @pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP's zip is not installed")
    def test_info_zip(self, tmp_path):
        """With folders as entries, permissions, and times in extra fields; a pipe as its output; names beyond ASCII."""
        source = tmp_path / "source"
        for name, content in {**pictures(2), "Größe/ж.png": PNG}.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content)
        for number, words in enumerate((["-r", "../plain.zip", "."], ["-r", "-", "."])):
            done = subprocess.run(["zip", "-q", *words], cwd=source, check=True, capture_output=True)
            data = done.stdout or (tmp_path / "plain.zip").read_bytes()
            assert unpacked(data, tmp_path / f"out{number}")[0] == {**pictures(2), "Größe/ж.png": PNG}

    def test_a_comment(self, tmp_path):
        file = io.BytesIO(zipped({"a.png": PNG}))
        with zipfile.ZipFile(file, "a") as archive:
            archive.comment = b"PK\5\6 said the archive" + bytes(100)
        assert unpacked(file.getvalue(), tmp_path / "out")[0] == {"a.png": PNG}

    def test_other_files_are_left_out_and_told(self, tmp_path):
        files = {
            "a.png": PNG,
            "labels.csv": b"path,label\n",
            "__MACOSX/._a.png": b"x",
            ".hidden/b.png": PNG,
            "drawing.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "page.png": b"%!PS-Adobe-3.0 EPSF-3.0\n",
            "empty.gif": b"",
            "canary.pt": b"\x80\x04.",
        }
        found, said = unpacked(zipped(files), tmp_path / "out")
        assert found == {"a.png": PNG} and said.left_out == 7
        assert set(said.examples) == set(files) - {"a.png"}
        assert {each.name for each in (tmp_path / "out").iterdir()} == {"a.png"}, "not even their folders"


def folder_entry(name):
    return Entry(name, attributes=0o040755 << 16)


deflated_zeros = zlib.compress(bytes(2**20), 9, wbits=-15)
REFUSED = {
    "above": ([Entry("../a.png", PNG)], "plain path"),
    "above within": ([Entry("b/../../a.png", PNG)], "plain path"),
    "here": ([Entry("./a.png", PNG)], "plain path"),
    "nothing between": ([Entry("b//a.png", PNG)], "plain path"),
    "absolute": ([Entry("/etc/a.png", PNG)], "plain path"),
    "drive": ([Entry("C:/a.png", PNG)], "plain path"),
    "drive without a slash": ([Entry("c:a.png", PNG)], "plain path"),
    "backslash": ([Entry("..\\a.png", PNG)], "plain path"),
    "nothing": ([Entry("", PNG)], "plain path"),
    "nul": ([Entry("a.png\0.txt", PNG)], "control characters"),
    "newline": ([Entry("a\n.png", PNG)], "control characters"),
    "no UTF-8": ([Entry(b"\xff\xfe.png", PNG, flags=0x800)], "UTF-8"),
    "deep": ([Entry("/".join("a" * 17) + "/b.png", PNG)], "16 folders"),
    "long part": ([Entry("a" * 252 + ".png", PNG)], "255 bytes"),
    "long path": ([Entry("/".join(["a" * 200] * 6) + ".png", PNG)], "1000 in all"),
    "link": ([Entry("a.png", b"/etc/passwd", attributes=0o120777 << 16)], "symbolic link"),
    "link to a folder": ([Entry("a", b"/etc", attributes=0o120777 << 16), Entry("a/b.png", PNG)], "symbolic link"),
    "device": ([Entry("a.png", attributes=0o020666 << 16)], "device"),
    "pipe": ([Entry("a.png", attributes=0o010666 << 16)], "pipe"),
    "folder with content": ([Entry("a/", PNG)], "folder with content"),
    "twice": ([Entry("a.png", PNG), Entry("a.png", PNG)], "twice"),
    "twice by case": ([Entry("a.png", PNG), Entry("A.PNG", PNG)], "twice"),
    "twice by normalisation": ([Entry("\u00e9.png", PNG), Entry("e\u0301.png", PNG)], "twice"),
    "twice by folding": ([Entry("stra\u00dfe.png", PNG), Entry("STRASSE.png", PNG)], "twice"),
    "folders by case": ([Entry("cat/1.png", PNG), Entry("Cat/2.png", PNG)], "twice"),
    "file and folder": ([Entry("a.png", PNG), Entry("a.png/b.png", PNG)], "twice"),
    "folder and file": ([folder_entry("a.png/"), Entry("a.png", PNG)], "twice"),
    "encrypted": ([Entry("a.png", PNG, flags=1)], "encrypted"),
    "strongly encrypted": ([Entry("a.png", PNG, flags=0x40)], "encrypted"),
    "masked directory": ([Entry("a.png", PNG, flags=0x2000)], "encrypted"),
    "lzma": ([Entry("a.png", PNG, method=14)], "lzma"),
    "unknown method": ([Entry("a.png", PNG, method=77)], "method 77"),
    "stored with two sizes": ([Entry("a.png", PNG, size=len(PNG) + 1)], "two sizes"),
    "sum": ([Entry("a.png", PNG, sum=1)], "checksum"),
    "more than it says": ([Entry("a.png", PACKED, method=8, size=len(PNG) - 1, sum=0)], "more than"),
    "less than it says": ([Entry("a.png", PACKED, method=8, size=len(PNG) + 1, sum=0)], "and says"),
    "no deflate": ([Entry("a.png", PNG, method=8)], "damaged"),
    "goes on": (
        [Entry("a.png", zlib.compress(PNG, wbits=-15) + b"more", method=8, size=len(PNG), sum=zlib.crc32(PNG))],
        "goes on",
    ),
    "cut off": (
        [Entry("a.png", zlib.compress(PNG, wbits=-15)[:-4], method=8, size=len(PNG), sum=zlib.crc32(PNG))],
        "cut off|says",
    ),
    "another name there": ([Entry("a.png", PNG, local_flags=0, offset=0), Entry("b.png", PNG, offset=0)], "another in its place"),
    "another sum there": ([Entry("a.png", PNG, local_sum=7)], "another in its place"),
    "another size there": ([Entry("a.png", PNG, local_size=7)], "another in its place"),
    "another method there": ([Entry("a.png", PNG, local_method=8)], "another in its place"),
    "offset into the file": ([Entry("a.png", PNG, offset=5)], "not where"),
    "offset beyond": ([Entry("a.png", PNG, offset=10**6)], "beyond"),
    "packed beyond": ([Entry("a.png", PNG, packed=10**6, size=10**6)], "beyond"),
    "sizes that are nowhere": ([Entry("a.png", PNG, size=0xFFFFFFFF)], "said nowhere"),
}


class TestRefused:
    @pytest.mark.parametrize("name", REFUSED)
    def test_with_a_reason_and_nothing_outside(self, tmp_path, name):
        entries, reason = REFUSED[name]
        with pytest.raises(BadArchive, match=reason):
            unpacked(written([Entry("good.png", PNG), *entries] if name != "another name there" else entries), tmp_path / "out")
        assert {each.name for each in tmp_path.iterdir()} == {"out"}

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"", "no ZIP"),
            (b"PK\3\4" + bytes(100), "no ZIP"),
            (zipped({"a.png": PNG})[:-1], "no ZIP"),
            (written([Entry("a.png", PNG)], before=b"#!/bin/sh\n")[10:], "not where it says"),
            (b"#!/bin/sh\n" + written([Entry("a.png", PNG)]), "not where it says"),
            (written([Entry("a.png", PNG)], after=b"more"), "no ZIP"),
            (written([Entry("a.png", PNG)], count=2), "ends before its last entry"),
            (written([Entry("a.png", PNG), Entry("b.png", PNG)], count=1), "more than its entries"),
        ],
    )
    def test_as_a_whole(self, tmp_path, data, reason):
        with pytest.raises(BadArchive, match=reason):
            unpacked(data, tmp_path / "out")

    def test_the_tests_own_writer_is_right(self, tmp_path):
        """Else all of the above could be refused for another reason."""
        data = written([Entry("a.png", PNG), folder_entry("b/"), Entry("b/c.png", PNG)])
        assert unpacked(data, tmp_path / "out")[0] == {"a.png": PNG, "b/c.png": PNG}
        assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None


class TestBombs:
    def test_one_entry(self, tmp_path):
        """A gigabyte of zeros, said to be one: refused by what it says."""
        size = 2**30
        entry = Entry("a.png", deflated_zeros, method=8, size=size, sum=0)
        with pytest.raises(TooLarge, match="200 times"):
            unpacked(written([entry]), tmp_path / "out")

    def test_that_lies_about_its_size(self, tmp_path):
        """Said to be as small as it is packed; begins like a picture. What is written ends where it said that it would."""
        content = b"\x89PNG\r\n\x1a\n" + bytes(64 * 2**20)
        entry = Entry("a.png", zlib.compress(content, wbits=-15), method=8, size=1000, sum=0)
        with pytest.raises(BadArchive, match="more than the 1,000 bytes"):
            unpacked(written([entry]), tmp_path / "out")
        assert sum(each.stat().st_size for each in (tmp_path / "out").iterdir()) <= 1000

    def test_entries_that_overlap(self, tmp_path):
        """David Fifield's construction: many entries over the same bytes, each with a quoted header before them."""
        kernel = Entry("a.png", PNG)
        data = written([kernel, Entry("a.png", PNG, offset=0)])
        with pytest.raises(BadArchive, match="twice"):
            unpacked(data, tmp_path / "same name")
        inner = written([Entry("b.png", PNG)])[: 30 + 5 + len(PNG)]  # a whole entry, as the content of another
        outer = Entry("a.png", inner, method=0)
        data = written([outer, Entry("b.png", PNG, offset=30 + 5)])
        with pytest.raises(BadArchive, match="another entry's place"):
            unpacked(data, tmp_path / "nested")

    def test_many_that_are_too_much_together(self, tmp_path):
        entries = [Entry(f"{number}.png", zlib.compress(bytes(2**23), wbits=-15), method=8, size=2**23) for number in range(40)]
        with pytest.raises(TooLarge, match="its own size"):
            unpacked(written(entries), tmp_path / "out")

    @pytest.mark.parametrize(
        ("limits", "reason"),
        [
            (Limits(entries=15), "16 entries; at most 15"),
            (Limits(folders=1), "more than 1 folders"),
            (Limits(all_names=100), "names in the archive have more than 100 bytes"),
            (Limits(unpacked=20_000), "unpacks to more"),
            (Limits(depth=0), "0 folders"),
        ],
    )
    def test_limits(self, tmp_path, limits, reason):
        with pytest.raises(BadArchive, match=reason):
            unpacked(zipped(pictures()), tmp_path / "out", limits)

    def test_a_directory_said_to_be_huge(self, tmp_path):
        """4 GiB of directory, 65,535 entries: nothing is read for that."""
        end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, 0xFFFFFFFE, 0, 0)
        with pytest.raises(BadArchive):
            read_archive(io.BytesIO(b"PK\3\4" + end), Limits())


def test_whatever_bytes_are_changed(tmp_path):
    """400 archives with some bytes changed: taken with the same pictures, or refused; never another exception, never outside."""
    good, dice = zipped(pictures(2)), random.Random(0)
    taken = 0
    for number in range(400):
        data = bytearray(good)
        for _ in range(dice.choice((1, 2, 8))):
            data[dice.choice((dice.randrange(len(data)), len(data) - 1 - dice.randrange(300)))] = dice.randrange(256)
        out = tmp_path / str(number)
        try:
            found, _ = unpacked(bytes(data), out)
        except BadArchive:
            pass
        else:
            taken += 1
            assert set(found.values()) <= set(pictures(2).values())
        assert all(each.resolve().is_relative_to(out) for each in out.rglob("*"))
    assert 0 < taken < 400


@pytest.mark.parametrize(
    ("beginning", "is_one"),
    [
        (PNG, True),
        (b"\xff\xd8\xff\xe0", True),
        (b"RIFF\0\0\0\0WEBP", True),
        (b"RIFF\0\0\0\0WAVE", False),
        (b"", False),
        (b"\0\0\0\x20ftypavif", True),
        (b"\0\0\0\x20ftypisom", False),
        (b"II*\0", True),
        (b"PK\3\4", False),
        (b"\x80\x04\x95", False),
    ],
)
def test_what_looks_like_a_picture(beginning, is_one):
    assert looks_like_picture(beginning[:12]) == is_one

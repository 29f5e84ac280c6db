"""Pictures of one's own: a folder or a ZIP becomes a dataset, which the pages call by its name. Its map: test_explore.py."""

from __future__ import annotations

import base64
import io
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from support.pages import until

# A ZIP of so many files, "n/<number>.png" with the number as its bytes, packed as the page packs a folder.
_PACKED = """async ([module, count]) => {
  const { zip } = await import(module);
  const entries = Array.from({length: count}, (_, at) => {
    const bytes = new TextEncoder().encode(String(at)); // as a file has them; so many Blobs take a minute to make
    return {name: `n/${at}ü.png`, file: Object.assign(bytes, {size: bytes.length, arrayBuffer: async () => bytes})};
  });
  let last = 0;
  const made = await zip(entries, (done) => { last = done; });
  const reader = new FileReader();
  await new Promise((done) => { reader.onload = done; reader.readAsDataURL(made); });
  return [last, reader.result.split(",")[1]];
}"""


@pytest.fixture
def folder(web: Any, pictures_of: Any, tmp_path: Path) -> Path:
    """80 pictures in two folders, with what else lies about in people's folders."""
    copied = tmp_path / "flowers"
    shutil.copytree(pictures_of(web) / "pictures", copied)
    (copied / "flat" / "broken.jpg").unlink(missing_ok=True)
    (copied / "notes.txt").write_text("not a picture")
    (copied / ".hidden").mkdir()
    shutil.copy(next(copied.rglob("*.png")), copied / ".hidden" / "copy.png")
    return copied


def test_a_folder_is_uploaded_and_called_by_its_name(browse: Any, web: Any, folder: Path, shelf: Any) -> None:
    page = browse("/ui/new")
    page.get_by_text("Ready to go.").wait_for()
    page.get_by_label("Choose a folder").set_input_files(folder)
    card = page.get_by_role("radio", name=re.compile("flowers"))
    card.wait_for()
    assert card.is_checked() and "80 pictures, 2 classes" in page.locator(".source:has(:checked)").inner_text()
    page.get_by_text("flowers is ready: 80 pictures.").wait_for()
    page.get_by_text("Ready to go.").wait_for()
    until(lambda: page.locator(".strip img").count(), "some of its pictures are shown")
    dataset = next(each for each in web.client().datasets() if each.name == "flowers")

    fields = {"source": "folder", "path": ".", "dataset": dataset.id}
    job = shelf("alice", "of the flowers", "failed", data=fields)
    page.goto(f"/ui/jobs/{job}")
    page.locator("#about").get_by_text("· flowers ·").wait_for()
    page.goto("/")
    page.locator("#jobs > li").filter(has_text="of the flowers").get_by_text("· flowers ·").wait_for()


def test_a_zip_and_what_is_none(browse: Any, folder: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    page = browse("/ui/new")
    page.get_by_text("Ready to go.").wait_for()
    chosen = page.get_by_label("Choose pictures or a ZIP")
    chosen.set_input_files(folder / "notes.txt")
    page.locator(".upload").get_by_text("There is no picture in that.").wait_for()
    chosen.set_input_files(archive)
    page.locator(".upload").get_by_text(re.compile(r"packed is ready: 80 pictures, without \d+ files that are none")).wait_for()


@pytest.mark.parametrize("count", [3, 70_000], ids=["few", "more than two bytes can count"])
def test_what_the_browser_packs_is_a_zip(browse: Any, count: int) -> None:
    """As Python reads it; with names beyond ASCII, and with the second form of the end where there are many."""
    page = browse("/ui/new")
    module = page.locator("link[href$='/js/zip.js']").get_attribute("href")
    told, packed = page.evaluate(_PACKED, [module, count])
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(packed))) as archive:
        names = archive.namelist()
        assert told == count and names == [f"n/{at}ü.png" for at in range(count)]
        for at in (0, 1, count - 1):
            assert archive.read(names[at]) == str(at).encode()
        assert count > 100 or archive.testzip() is None

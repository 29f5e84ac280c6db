"""Maps and encoders in a browser: from uploaded pictures to their map, what hands and keys do on it, a picture that is dropped.

The map is made once, through the page itself. That, and the encoders before it, takes half a minute: a job compiles for 10 s.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from support.pages import until

COUNT = 80
FIELD = "document.querySelector('#points').field"


@pytest.fixture(scope="module")
def encoders(web: Any, tiny: dict[str, Any]) -> list[str]:
    """Two encoders of alice's."""
    jobs = [web.client().submit(**tiny, name=f"digits {number}").id for number in range(2)]
    return [str(web.client().wait(job, every=0.2).encoder) for job in jobs]


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """What the first test leaves for those after it."""
    return {}


@pytest.fixture
def job(web: Any, encoders: list[str], made: dict[str, str]) -> str:
    """A map of the 80 pictures: the page's own, or where that test was not run, one of the API's."""
    if "map" not in made:
        client = web.client()
        vectors = client.wait(client.embed_folder("pictures", encoders[-1]).id, every=0.2).id
        made["map"] = client.wait(client.make_map(vectors, name="<b>two kinds</b>").id, every=0.2).id
    return made["map"]


@pytest.fixture
def page(browse: Any, job: str) -> Any:
    opened = browse(f"/ui/explore/{job}")
    opened.wait_for_selector("#whole:not([hidden])")
    return opened


def place_of(page: Any, row: int) -> tuple[float, float]:
    """Where on the page a picture's point is."""
    box = page.locator("#points").bounding_box()
    left, top = page.evaluate(f"(row) => {FIELD}.view.toScreen({FIELD}.points.x[row], {FIELD}.points.y[row])", row)
    return box["x"] + left, box["y"] + top


def top_of(page: Any, row: int) -> int:
    """The row that a click there means: another may lie nearer to the pixel."""
    return int(
        page.evaluate(f"(row) => {FIELD}.under(...{FIELD}.view.toScreen({FIELD}.points.x[row], {FIELD}.points.y[row]))", row)
    )


@pytest.mark.timeout(900)  # it ends with its jobs; other work may keep the machine busy
def test_from_uploaded_pictures_to_their_map(
    browse: Any, web: Any, encoders: list[str], made: dict[str, str], pictures_of: Any, tmp_path: Path
) -> None:
    """First wrongly, with a folder that is not there; then by the link of an encoder's page, with the newest dataset."""
    archive = shutil.make_archive(str(tmp_path / "kinds"), "zip", pictures_of(web) / "pictures")
    dataset = web.client().upload_dataset(archive)
    page = browse(f"/ui/encoders/{encoders[-1]}")
    page.get_by_role("link", name="Map pictures with it").click()
    pictures, encoder = page.get_by_label("Pictures"), page.get_by_label("Encoder")
    path = page.get_by_role("textbox", name="Folder below the data root")
    pictures.wait_for()
    assert encoder.input_value() == encoders[-1]
    pictures.select_option("")
    path.fill("nowhere")
    page.get_by_label("Name").fill("<b>two kinds</b>")
    page.get_by_role("button", name="Make the map").click()
    wrong = page.locator("[data-problem=path]")
    wrong.filter(has_text="nowhere").wait_for()
    assert path.get_attribute("aria-invalid") == "true"
    pictures.select_option(label=f"kinds: {COUNT} pictures")
    assert pictures.input_value() == dataset.id and path.is_hidden()
    page.get_by_role("button", name="Make the map").click()
    page.wait_for_selector("#waiting:not([hidden])")
    page.wait_for_selector("#whole:not([hidden])", timeout=150_000)
    made["map"] = page.url.rpartition("/")[2].partition("?")[0]
    assert page.locator("h1").inner_text() == "<b>two kinds</b>"
    about = page.locator("#about").inner_text()
    assert about.startswith(f"{COUNT} pictures ·") and "without a vector" not in about, "the broken one is not in the dataset"
    page.goto("/ui/explore")
    page.locator("#maps").get_by_text("kinds by enc_").wait_for()
    page.get_by_role("link", name="<b>two kinds</b>").click()
    page.wait_for_selector("#whole:not([hidden])")
    page.goto(f"/ui/explore?encoder={encoders[-1]}&dataset={dataset.id}")
    pictures.wait_for()
    assert "by enc_" in pictures.locator(":checked").inner_text(), "they are embedded already, and not once more"


def test_colours_and_their_legend(page: Any) -> None:
    legend = page.locator("#legend")
    until(lambda: re.sub(r"\s+", " ", legend.inner_text()) == "flat 40 + striped 40 +", "the legend of the folders")
    page.get_by_role("button", name="flat", exact=False).first.click()
    until(lambda: page.locator(".pictures tbody tr").count() == 25, "a page of pictures")
    bright = page.evaluate(f"[...{FIELD}.painter.tints].filter((value, at) => at % 4 === 3 && value > 200).length")
    assert bright == 40 or page.evaluate(f"{FIELD}.painter.kind") == "canvas"
    page.get_by_role("radio", name="Outlier score").check()
    assert "apart" in legend.inner_text() and page.url.endswith("?colour=outlier")
    page.get_by_role("radio", name="Cluster").check()
    assert "cluster" in legend.inner_text()


def test_the_nearest_of_what_is_clicked(page: Any, web: Any, job: str) -> None:
    row = top_of(page, 40)
    page.mouse.move(*place_of(page, row))
    hover = page.locator("#hover")
    hover.wait_for()
    page.mouse.click(*place_of(page, row))
    page.locator("#picture .thumb").first.wait_for()
    path = web.client().map_points(job, rows=str(row))["data"][0]["path"]
    assert page.locator("#picture .path").inner_text() == path == hover.inner_text()
    nearest = [int(each.get_attribute("data-row")) for each in page.locator("#picture .thumb").all()]
    expected = [each["row"] for each in web.client().map_picture(job, row)["nearest"]]
    assert nearest == expected and len(nearest) == 10
    page.locator("#picture .thumb").nth(2).click()
    until(lambda: page.evaluate(f"{FIELD}.marked.picked") == expected[2], "the picture is marked")
    image = page.locator("#picture .picked img")
    until(lambda: page.evaluate("document.querySelector('#picture .picked img')?.naturalWidth > 0"), "the picture is there")
    assert image.get_attribute("alt")


def test_a_lasso_to_files(page: Any, web: Any, tmp_path: Path) -> None:
    """Drawn around the whole, then one picture is taken away in the list; what is exported is what is left."""
    box = page.locator("#points").bounding_box()
    page.get_by_role("button", name="Lasso").click()
    corners = [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99)]
    for at, (right, down) in enumerate(corners):
        page.mouse.move(box["x"] + box["width"] * right, box["y"] + box["height"] * down, steps=3)
        if at == 0:
            page.mouse.down()
    page.mouse.up()
    count = page.locator("#count")
    count.filter(has_text=f"{COUNT} pictures selected").wait_for()
    page.locator(".pictures tbody input").first.uncheck()
    count.filter(has_text=f"{COUNT - 1} pictures selected").wait_for()

    page.locator("#selection-name").fill("all but one")
    with page.expect_download() as got:
        page.get_by_role("button", name="CSV").click()
    assert got.value.suggested_filename == "all-but-one.csv"
    rows = list(csv.DictReader(io.StringIO(Path(got.value.path()).read_text(encoding="utf-8"))))
    assert [int(each["row"]) for each in rows] == list(range(1, COUNT)) and rows[0]["selection"] == "all but one"
    with page.expect_download() as got:
        page.get_by_role("button", name="Parquet").click()
    got.value.save_as(tmp_path / "some.parquet")
    assert pq.read_table(tmp_path / "some.parquet").column("path").to_pylist() == [each["path"] for each in rows]

    page.get_by_role("button", name="Keep").click()
    page.reload()
    page.get_by_role("button", name="all but one").first.click()
    count.filter(has_text=f"{COUNT - 1} pictures selected").wait_for()


def test_with_keys_alone(page: Any) -> None:
    page.locator("#points").focus()
    zoom = page.evaluate(f"{FIELD}.view.zoom")
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate(f"{FIELD}.view.zoom") > zoom
    page.keyboard.press("0")
    assert page.evaluate(f"{FIELD}.view.zoom") == 1
    page.keyboard.press("Enter")
    page.locator("#picture .thumb").first.wait_for()
    page.get_by_role("tab", name="List").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("tab", name="Outliers").get_attribute("aria-selected") == "true"
    page.keyboard.press("ArrowRight")
    page.locator("#likeness").focus()
    page.keyboard.press("Home")
    page.locator(".alike").first.wait_for()
    page.get_by_role("button", name="Select all but the first").first.press("Enter")
    page.locator("#count").filter(has_text="selected").wait_for()


def test_another_owner_sees_no_map(browse: Any, job: str) -> None:
    page = browse(f"/ui/explore/{job}", who="bob")
    page.locator(".toast.bad").wait_for()
    assert page.locator("#whole").is_hidden()


def test_encoders_side_by_side_and_a_name(browse: Any, encoders: list[str]) -> None:
    page = browse("/ui/encoders")
    for encoder in encoders:
        page.locator(f"tr[data-encoder={encoder}] input").check()
    page.locator("#comparison table").wait_for()
    assert page.locator("#comparison thead th").count() == 3 and page.locator(".plot circle").count() >= 2
    assert set(page.url.partition("compare=")[2].split(",")) == set(encoders)
    page.goto(f"/ui/encoders/{encoders[0]}")
    page.get_by_label("Alias").fill("latest")
    page.get_by_role("button", name="Name", exact=True).click()
    page.locator("#alias-problem").filter(has_text="reserved").wait_for()
    page.get_by_label("Alias").fill("small-digits")
    page.get_by_role("button", name="Name", exact=True).click()
    page.locator("h1").filter(has_text="small-digits").wait_for()
    assert "encoder=small-digits" in page.locator("#calls pre").first.inner_text()
    with page.expect_download() as got:
        page.get_by_role("link", name="Weights and manifest").click()
    assert got.value.suggested_filename == f"{encoders[0]}.zip"


def test_a_dropped_picture_finds_its_like(browse: Any, web: Any, job: str, encoders: list[str], pictures_of: Any) -> None:
    """Without an index the page offers to build one, and then searches."""
    page = browse(f"/ui/encoders/{encoders[-1]}")
    page.wait_for_selector("#whole:not([hidden])")
    page.locator("#file").set_input_files(pictures_of(web) / "pictures" / "striped" / "017.png")
    page.locator(".vector svg").wait_for()
    assert re.search("Embedding of [0-9]+ numbers", page.locator(".vector svg").get_attribute("aria-label"))
    page.get_by_role("button", name="Index them").click()
    first = page.locator(".near li").first
    first.wait_for(timeout=90_000)
    assert page.locator(".near li").count() == 12 and page.locator(".near .gone").count() == 0
    scores = [float(each) for each in page.locator(".near .number").all_inner_texts()]
    assert scores == sorted(scores, reverse=True) and scores[0] > 0.999
    by_api = web.client().index(encoders[-1]).search(pictures_of(web) / "pictures" / "striped" / "017.png", 12)
    assert {each.path for each in by_api} == set(re.findall(r"\S+/\S+\.png", page.locator(".near").inner_text()))
    page.locator("#file").set_input_files(pictures_of(web) / "pictures" / "flat" / "broken.jpg")
    page.locator("#tried .wrong").wait_for()

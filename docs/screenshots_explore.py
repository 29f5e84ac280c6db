"""Takes the pictures of maps and encoders in docs/pictures/: `python docs/screenshots_explore.py [NAME …]`.

As docs/screenshots.py does, with a run of its own: an encoder of the handwritten digits, and the digits as files for it to map.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import screenshots
from PIL import Image
from playwright.sync_api import Page
from screenshots import PHONE, Shot
from sklearn.datasets import load_digits

from imprint import Client

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def _map(page: Page) -> None:
    page.wait_for_selector("#whole:not([hidden])")
    field = "document.querySelector('#points').field"
    box = page.locator("#points").bounding_box()
    assert box is not None
    left, top = page.evaluate(f"{field}.view.toScreen({field}.points.x[700], {field}.points.y[700])")
    page.mouse.click(box["x"] + left, box["y"] + top)
    page.locator("#picture .thumb").first.wait_for()


def _lasso(page: Page) -> None:
    page.wait_for_selector("#whole:not([hidden])")
    page.get_by_role("button", name="Lasso").click()
    box = page.locator("#points").bounding_box()
    assert box is not None
    for at, (right, down) in enumerate([(0.5, 0.3), (0.75, 0.35), (0.8, 0.7), (0.55, 0.75), (0.45, 0.5)]):
        page.mouse.move(box["x"] + box["width"] * right, box["y"] + box["height"] * down, steps=4)
        if at == 0:
            page.mouse.down()
    page.mouse.up()


def _tried(page: Page) -> None:
    page.wait_for_selector("#whole:not([hidden])")
    page.locator("#file").set_input_files({"name": "three.png", "mimeType": "image/png", "buffer": _three()})
    page.locator(".near li").first.wait_for()


def _three() -> bytes:
    import io

    file = io.BytesIO()
    _picture(13).save(file, "PNG")
    return file.getvalue()


SHOTS = (
    Shot("map", "/ui/explore/{map}", before=_map),
    Shot("map-dark", "/ui/explore/{map}?colour=cluster", "dark", before=_lasso),
    Shot("map-phone", "/ui/explore/{map}?colour=outlier", viewport=PHONE, before=_map),
    Shot("explore", "/ui/explore"),
    Shot("encoders", "/ui/encoders?compare={encoder},{other}", before=lambda page: page.locator("#comparison table").wait_for()),
    Shot("encoder", "/ui/encoders/{encoder}", before=_tried),
    Shot("encoder-dark", "/ui/encoders/{encoder}", "dark", before=_tried),
)


def prepare(client: Client, data: Path) -> dict[str, str]:
    """Two encoders of the digits, a map of all digits by the better one, and an index. Gives their ids."""
    digits = load_digits()
    for number, kind in enumerate(digits.target):
        folder = data / "digits" / NAMES[kind]
        folder.mkdir(parents=True, exist_ok=True)
        _picture(number).save(folder / f"{number:04}.png")
    fields = {"data": {"source": "digits"}, "encoder": {"arch": "resnet18"}, "evaluate": {"every_epochs": 5}}
    jobs = {
        name: client.submit(name=f"digits, {name}", method={"name": name}, **fields, trainer={"max_epochs": epochs}).id
        for name, epochs in (("vicreg", 5), ("simclr", 15))
    }
    encoders = {name: str(client.wait(job).encoder) for name, job in jobs.items()}
    client.set_alias("digits", encoders["simclr"])
    vectors = client.wait(client.embed_folder("digits", encoders["simclr"]).id).id
    client.wait(client.index(encoders["simclr"]).build(vectors).id)
    made = client.wait(client.make_map(vectors, name="Handwritten digits").id)
    return {"map": made.id, "encoder": encoders["simclr"], "other": encoders["vicreg"]}


def _picture(number: int) -> Image.Image:
    pixels = (255 - load_digits().images[number] * 15.9).astype(np.uint8)
    return Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    screenshots.SHOTS, screenshots.prepare = SHOTS, prepare
    sys.exit(screenshots.main(sys.argv[1:]))

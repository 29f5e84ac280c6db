"""Takes the pictures of the pages in docs/pictures/, from a real run: `python docs/screenshots.py [NAME …]`.

Starts the service on a home of its own, trains, maps (docs/screenshots_data.py), and looks at it with Chromium. Needs
playwright and a Chromium on the PATH. A new picture is a line in SHOTS.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright
from screenshots_data import digit, prepare, service

PICTURES = Path(__file__).parent / "pictures"
MOST_BYTES = 300_000
WIDE, PHONE = {"width": 1280, "height": 820}, {"width": 390, "height": 844}
TALL = {"width": 1280, "height": 1040}


@dataclass(frozen=True)
class Shot:
    """One picture: the address ({names} are those of `prepare`), how it is looked at, and what is done before."""

    name: str
    path: str
    scheme: str = "light"
    viewport: dict[str, int] = field(default_factory=lambda: WIDE)
    before: Callable[[Page], Any] = lambda page: None


def _listed(page: Page) -> None:
    page.locator("#jobs > li svg").first.wait_for()


def _drawn(page: Page) -> None:
    page.locator(".chart canvas").first.wait_for()


def _checked(page: Page) -> None:
    page.get_by_text("Ready to go.").wait_for()
    page.wait_for_timeout(500)  # thumbnails


def _previewed(page: Page) -> None:
    _checked(page)
    page.get_by_role("button", name="See the views").click()
    page.locator("img.sheet").wait_for(timeout=120_000)


def _mapped(page: Page) -> None:
    page.wait_for_selector("#whole:not([hidden])")


def _picked(page: Page) -> None:
    _mapped(page)
    field = "document.querySelector('#points').field"
    box = page.locator("#points").bounding_box()
    assert box is not None
    left, top = page.evaluate(f"{field}.view.toScreen({field}.points.x[700], {field}.points.y[700])")
    page.mouse.click(box["x"] + left, box["y"] + top)
    page.locator("#picture .thumb").first.wait_for()


def _lassoed(page: Page) -> None:
    _mapped(page)
    page.get_by_role("button", name="Lasso").click()
    box = page.locator("#points").bounding_box()
    assert box is not None
    for at, (right, down) in enumerate([(0.5, 0.3), (0.75, 0.35), (0.8, 0.7), (0.55, 0.75), (0.45, 0.5)]):
        page.mouse.move(box["x"] + box["width"] * right, box["y"] + box["height"] * down, steps=4)
        if at == 0:
            page.mouse.down()
    page.mouse.up()
    page.locator("#selected img").first.wait_for()


def _tried(page: Page) -> None:
    _mapped(page)
    page.locator("#file").set_input_files({"name": "three.png", "mimeType": "image/png", "buffer": digit(13)})
    page.locator(".near li").first.wait_for()


def _compared(page: Page) -> None:
    page.locator("#comparison table").wait_for()


SHOTS = (
    Shot("jobs", "/", before=_listed),
    Shot("jobs-dark", "/", "dark", before=_listed),
    Shot("jobs-phone", "/", viewport=PHONE, before=_listed),
    Shot("job", "/ui/jobs/{job}", viewport=TALL, before=_drawn),
    Shot("job-dark", "/ui/jobs/{job}?with={with}", "dark", TALL, _drawn),
    Shot("job-phone", "/ui/jobs/{running}", "dark", PHONE, _drawn),
    Shot("new", "/ui/new?source=digits", viewport=TALL, before=_previewed),
    Shot("new-phone", "/ui/new", viewport=PHONE, before=_checked),
    Shot("api", "/docs", "dark"),
    Shot("encoders", "/ui/encoders?compare={encoder},{other}", before=_compared),
    Shot("encoder", "/ui/encoders/{encoder}", viewport=TALL, before=_tried),
    Shot("encoder-dark", "/ui/encoders/{encoder}", "dark", TALL, _tried),
    Shot("explore", "/ui/explore?encoder={encoder}"),
    Shot("map", "/ui/explore/{map}", viewport=TALL, before=_picked),
    Shot("map-dark", "/ui/explore/{map}?colour=cluster", "dark", TALL, _lassoed),
    Shot("map-phone", "/ui/explore/{map}?colour=outlier", viewport=PHONE, before=_mapped),
)


def main(names: list[str]) -> int:
    """Take the pictures of these names, or all; says which are too large."""
    unknown = set(names) - {shot.name for shot in SHOTS}
    if unknown:
        print(f"there is no picture {', '.join(sorted(unknown))}; there are {', '.join(shot.name for shot in SHOTS)}")
        return 2
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with service() as (client, data), sync_playwright() as playwright:
        ids = prepare(client, data)
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        large = []
        for shot in SHOTS:
            if names and shot.name not in names:
                continue
            context = browser.new_context(base_url=client.base_url, viewport=shot.viewport, color_scheme=shot.scheme)
            context.set_default_timeout(90_000)
            page = context.new_page()
            page.goto(shot.path.format(**ids))
            page.wait_for_load_state("load")
            shot.before(page)
            page.wait_for_timeout(1500)
            file = PICTURES / f"{shot.name}.png"
            page.screenshot(path=file)
            context.close()
            print(f"{file}: {file.stat().st_size // 1000} kB", flush=True)
            large += [shot.name] * (file.stat().st_size > MOST_BYTES)
        browser.close()
    if large:
        print(f"larger than {MOST_BYTES // 1000} kB: {', '.join(large)}")
    return bool(large)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

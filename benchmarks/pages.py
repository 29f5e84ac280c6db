"""The pages in a browser: first paint of each, a list of 10,000 jobs, and a map of 100,000 points under the hand.

    python benchmarks/pages.py [--jobs 10000] [--points 100000] [--times 7] [--only paint|list|map]

A real API process on SQLite, headless Chromium on the same machine. Paint is the browser's own entry `first-contentful-paint`,
each time with an empty cache; frames are counted by the page itself while the pointer drags and the wheel turns. Without a
graphics card the points are drawn by the processor, which shares its cores with the service: the least favourable case.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0:1] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
from api_load import api, finish  # noqa: E402
from playwright.sync_api import Page, sync_playwright  # noqa: E402

from support.servers import valkey, valkey_socket  # noqa: E402

PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
FIELD = "document.querySelector('#points').field"
SIZE = {"width": 1280, "height": 860}


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=arguments)
        yield opened
        opened.close()


def fresh(opened: Any, address: str) -> Page:
    """A window with an empty cache."""
    page: Page = opened.new_context(base_url=address, viewport=SIZE).new_page()
    return page


def paint(opened: Any, address: str, path: str, times: int) -> list[float]:
    """Milliseconds from the navigation to the first content."""
    seen = []
    for _ in range(times):
        page = fresh(opened, address)
        page.goto(path, wait_until="load")
        deadline = time.monotonic() + 20
        while not (at := page.evaluate(PAINT)) and time.monotonic() < deadline:
            time.sleep(0.02)
        seen.append(float(at))
        page.context.close()
    return sorted(seen)


def timed(act: Callable[[], Any], until: Callable[[], Any]) -> float:
    """Milliseconds until what was done is seen."""
    begin = time.perf_counter()
    act()
    until()
    return (time.perf_counter() - begin) * 1000


def listed(opened: Any, address: str) -> list[tuple[str, float]]:
    """What people do with a long list, in milliseconds until it is shown."""
    page = fresh(opened, address)
    first = page.locator("#jobs:not([aria-busy=true]) > li").first

    def others(before: str | None) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and first.get_attribute("data-job") == before:
            time.sleep(0.01)

    told = [("opened, first page is shown", timed(lambda: page.goto("/"), first.wait_for))]
    for button in ("Older", "Older", "Newer"):
        now = first.get_attribute("data-job")
        click = page.get_by_role("button", name=button).click
        told.append((f"{button}", timed(click, lambda now=now: others(now))))  # type: ignore[misc]
    for label, value, shown in (
        ("Status", "failed", lambda: page.get_by_role("heading", name="No job is like that").wait_for()),
        ("Status", "succeeded", first.wait_for),
        ("Method", "simclr", first.wait_for),
        ("Kind", "embed", lambda: page.get_by_role("heading", name="No job is like that").wait_for()),
    ):
        choose = page.get_by_label(label).select_option
        told.append((f"{label} = {value}", timed(lambda choose=choose, value=value: choose(value), shown)))  # type: ignore[misc]
    page.get_by_role("button", name="Show all").click()
    first.wait_for()
    page.get_by_label("Label").fill("team=a")
    told.append(("Label team=a", timed(lambda: page.get_by_label("Label").press("Enter"), first.wait_for)))
    page.context.close()
    return told


def label(url: str, jobs: list[str]) -> None:
    """The rows that jobs with a label are found by."""
    from sqlalchemy import insert

    from jobs.database import connect
    from jobs.models import JobLabel

    with connect(url).write() as session:
        session.execute(insert(JobLabel), [{"job_id": job, "key": "team", "value": "a"} for job in jobs])


def put_map(home: Path, url: str, count: int) -> str:
    """The id of a job with a map of `count` points in 40 clouds."""
    from jobs.database import connect
    from jobs.records import JobDraft, ResultDraft
    from jobs.repository import Repository
    from ssl_core.mapping.table import Columns, write_map

    random = np.random.default_rng(0)
    cluster = np.sort(random.integers(0, 40, count)).astype(np.int32)
    xy = (random.normal(0, 8, (40, 2))[cluster] + random.normal(0, 0.9, (count, 2))).astype(np.float32)
    nearest = ((np.arange(count)[:, None] + np.arange(1, 11)) % count).astype(np.int32)
    paths = [f"kind{kind:02}/{row:06}.jpg" for row, kind in enumerate(cluster)]
    columns = Columns(paths, xy, cluster, random.random(count, np.float32), nearest, np.full((count, 10), 0.9, np.float32))
    folder = home / "maps" / "bench.1"
    folder.mkdir(parents=True)
    write_map(folder, columns)
    repository = Repository(connect(url))
    spec = {"kind": "map", "encoder": "enc_00000000000000000000000000", "vectors": "job_00000000000000000000000000"}
    draft = JobDraft("100,000 points", "map", "map", {**spec, "data": {"source": "folder", "path": "photos"}})
    job = repository.create(draft).id
    repository.claim(job, "bench", 60)
    facts = {"count": count, "left_out": 0, "dim": 8, "landmarks": count, "clusters": 40, "unclustered": 0}
    repository.finish(job, 1, ResultDraft("maps/bench.1", {**facts, "seconds": 1.0, "size_bytes": 1}))
    return str(job)


def handled(opened: Any, address: str, job: str, seconds: float = 4.0) -> list[tuple[str, float]]:
    """Milliseconds until the map is there; frames a second under each movement."""
    page = fresh(opened, address)
    told = []
    begin = time.perf_counter()
    page.goto(f"/ui/explore/{job}")
    page.wait_for_selector("#whole:not([hidden])")
    told.append(("opened, points are shown, ms", (time.perf_counter() - begin) * 1000))
    box = page.locator("#points").bounding_box()
    assert box is not None
    left, top = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def frames(each: Callable[[int], None]) -> float:
        before, began, number = page.evaluate(f"{FIELD}.frames"), time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            each(number)
            number += 1
        return float(page.evaluate(f"{FIELD}.frames") - before) / (time.perf_counter() - began)

    def drag(number: int) -> None:
        page.mouse.move(left + 150 * np.sin(number / 9), top + 100 * np.cos(number / 9))

    def wheel(number: int) -> None:
        page.mouse.wheel(0, -60 if number % 60 < 30 else 60)

    page.mouse.move(left, top)
    told.append(("the pointer only moves", frames(drag)))
    page.mouse.move(left, top)
    page.mouse.down()
    told.append(("panning, the whole map in sight", frames(drag)))
    page.mouse.up()
    page.mouse.move(left, top)
    told.append(("zooming with the wheel, 1 to 18 times", frames(wheel)))
    page.get_by_role("button", name="Whole map").click()
    page.mouse.move(left, top)
    page.mouse.wheel(0, -1000)
    page.mouse.down()
    told.append(("panning at 5 times", frames(drag)))
    page.mouse.up()
    told.append((f"painter: {page.evaluate(f'{FIELD}.painter.kind')}", float("nan")))
    page.context.close()
    return told


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--jobs", type=int, default=10_000)
    asked.add_argument("--points", type=int, default=100_000)
    asked.add_argument("--times", type=int, default=7)
    asked.add_argument("--only", choices=("paint", "list", "map"))
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="imprint-pages-") as name, browser() as opened:
        folder = Path(name)
        url = f"sqlite:///{folder}/imprint.db"
        with valkey(folder), api(folder, url, f"redis+socket://{valkey_socket(folder)}") as port:
            address = f"http://127.0.0.1:{port}"
            jobs = finish(url, given.jobs)
            label(url, jobs)
            job = put_map(folder, url, given.points)
            print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors, Chromium {opened.version}")
            if given.only in (None, "paint"):
                pages = ("/", "/ui/new", f"/ui/jobs/{jobs[-1]}", "/ui/encoders", "/ui/explore", f"/ui/explore/{job}", "/docs")
                for path in pages:
                    seen = paint(opened, address, path, given.times)
                    print(f"| {path} | {statistics.median(seen):.0f} | {seen[0]:.0f} | {seen[-1]:.0f} |", flush=True)
            if given.only in (None, "list"):
                for what, value in listed(opened, address):
                    print(f"| {what} | {value:.0f} |", flush=True)
            if given.only in (None, "map"):
                for what, value in handled(opened, address, job):
                    print(f"| {what} | {value:.1f} |", flush=True)
            print(f"load average {os.getloadavg()[0]:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

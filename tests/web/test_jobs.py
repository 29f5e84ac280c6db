"""The list of jobs: live, filtered, in pages; names are text, whatever is in them; everybody sees their own."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jobs.access import Caller
from jobs.database import connect
from jobs.records import JobDraft, Report
from jobs.repository import Repository
from ssl_core.spec import DigitsData, TrainSpec
from support.pages import assert_readable, until

NASTY = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;'


@pytest.fixture(scope="module")
def shelf(web: Any) -> Any:
    """Bob's jobs: 30 that are over, so that there are two pages; straight into the database, and no worker takes them."""
    database = connect(f"sqlite:///{web.service.home}/imprint.db")
    repository = Repository(database).on_behalf_of(Caller("bob", "bob", frozenset({"read", "submit"})))
    spec = TrainSpec(data=DigitsData()).model_dump(mode="json")
    for number in range(30):
        name = NASTY if number == 29 else f"old {number}"
        repository.request_cancel(repository.create(JobDraft(name, "pretrain", "simclr", spec, {"number": str(number)})).id)
    failed = repository.create(JobDraft("too large", "pretrain", "moco", spec))
    attempt = Repository(database).claim(failed.id, "w", 600)
    assert attempt is not None
    repository.record(failed.id, 1, Report(progress={"epoch": 1, "step": 9, "fraction": 0.1}), 600)
    repository.fail(
        failed.id, 1, {"code": "out_of_memory", "message": "the memory is not enough", "hint": "set trainer.batch_size to 64"}
    )
    yield repository
    database.engine.dispose()


def rows(page: Any) -> Any:
    return page.locator("#jobs > li")


def test_pages_and_filters(browse: Any, shelf: Any) -> None:
    page = browse("/", who="bob")
    rows(page).first.wait_for()
    assert rows(page).count() == 25
    failed = rows(page).first
    assert (
        "too large" in failed.inner_text()
        and "the memory is not enough. Try: set trainer.batch_size to 64" in failed.inner_text()
    )
    page.get_by_role("button", name="Older").click()
    page.get_by_text("old 0", exact=True).wait_for()
    assert rows(page).count() == 6 and page.get_by_role("button", name="Older").is_disabled()
    page.get_by_role("button", name="Newer").click()
    page.get_by_text("too large").wait_for()
    page.get_by_label("Status").select_option("failed")
    until(lambda: rows(page).count() == 1, "one job is left")
    page.reload()
    rows(page).first.wait_for()
    assert rows(page).count() == 1 and page.get_by_label("Status").input_value() == "failed", "the address keeps the filters"
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Label").fill("number=7")
    page.get_by_label("Label").press("Enter")
    until(lambda: rows(page).count() == 1, "one job is left")
    assert "old 7" in rows(page).inner_text()
    page.get_by_label("Label").fill("number=nothing")
    page.get_by_label("Label").press("Enter")
    page.get_by_role("heading", name="No job is like that").wait_for()


def test_names_are_text(browse: Any, shelf: Any) -> None:
    page = browse("/", who="bob")
    link = page.get_by_role("link", name=NASTY)
    link.wait_for()
    link.click()
    page.get_by_role("heading", level=1, name=NASTY).wait_for()
    assert page.locator("main img[src=x]").count() == 0 and NASTY in page.title()


def test_owners_see_their_own(browse: Any, web: Any, shelf: Any, tiny: Any) -> None:
    mine = web.client("alice").submit(**{**tiny, "name": "alice's own", "trainer": {**tiny["trainer"], "max_epochs": 300}})
    try:
        alice, bob = browse("/"), browse("/", who="bob")
        alice.get_by_role("link", name="alice's own").wait_for()
        rows(bob).first.wait_for()
        assert "alice's own" not in bob.locator("body").inner_text()
        assert alice.get_by_text("too large").count() == 0
        bob.goto(f"/ui/jobs/{mine.id}")
        bob.get_by_role("heading", name="There is no such job").wait_for()
        # Live, with buttons that do what they say.
        row = rows(alice).filter(has_text="alice's own")
        row.get_by_text("running").wait_for(timeout=60_000)
        row.get_by_text(re.compile(r"images/s")).wait_for(timeout=60_000)
        assert 0 <= float(row.get_by_role("progressbar").get_attribute("value")) < 1
        row.get_by_role("img", name=re.compile("^Loss, from")).wait_for(timeout=60_000)
        row.get_by_role("button", name="Pause").click()
        row.get_by_text("paused", exact=True).wait_for(timeout=60_000)
        row.get_by_role("button", name="Resume").click()
        row.get_by_text("running").wait_for(timeout=60_000)
        row.get_by_role("button", name="Cancel").click()
        alice.get_by_role("button", name="Let it go on").click()
        assert web.client("alice").job(mine.id).status == "running"
        row.get_by_role("button", name="Cancel").click()
        alice.get_by_role("button", name="Cancel the job").click()
        row.get_by_text("cancelled").wait_for(timeout=60_000)
    finally:
        web.client("alice").cancel(mine.id)


def test_nothing_yet_says_what_to_do(browse: Any, web: Any) -> None:
    page = browse("/?method=mae")
    page.get_by_role("heading", name="No job is like that").wait_for()
    other = web.service.home / "unused"
    assert not other.exists()
    page = browse("/ui/jobs/job_00000000000000000000000000")
    page.get_by_role("heading", name="There is no such job").wait_for()
    page.get_by_role("link", name="All jobs").click()
    page.get_by_role("heading", name="Jobs", level=1).wait_for()


@pytest.mark.parametrize(
    "options", [{"viewport": {"width": 360, "height": 740}}, {"color_scheme": "dark"}], ids=["phone", "dark"]
)
@pytest.mark.parametrize("path", ["/", "/ui/new", "/docs", "/ui/jobs/{job}"])
def test_nothing_is_wider_than_the_screen_and_all_can_be_read(
    browse: Any, shelf: Any, path: str, options: dict[str, Any]
) -> None:
    """No sideways scrolling, and text against its background has the contrast that WCAG 2 AA asks for (4.5)."""
    job = shelf.list(status="failed").data[0].id
    page = browse(path.replace("{job}", job), who="bob", **options)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(300)
    assert_readable(page)

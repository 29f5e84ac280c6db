"""The list of jobs: filtered, in pages; names are text, whatever is in them; everybody sees their own. Live: test_job.py."""

from __future__ import annotations

from typing import Any

import pytest

from support.pages import assert_readable, until

NASTY = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;'


@pytest.fixture(scope="module")
def bobs(shelf: Any) -> dict[str, str]:
    """30 jobs that are over, so that there are two pages, and one that failed."""
    made = {f"old {number}": shelf("bob", f"old {number}") for number in range(29)}
    return made | {NASTY: shelf("bob", NASTY), "too large": shelf("bob", "too large", "failed")}


def rows(page: Any) -> Any:
    return page.locator("#jobs > li")


def test_pages_and_filters(browse: Any, bobs: Any) -> None:
    page = browse("/", who="bob")
    failed = rows(page).filter(has_text="too large")
    failed.wait_for()
    assert rows(page).count() == 25
    assert "the memory is not enough. Try: set trainer.batch_size to 64" in failed.inner_text()
    assert "collapsing" in failed.inner_text() and "loss" in failed.inner_text()
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
    until(lambda: rows(page).count() == 25, "all are shown")
    page.get_by_label("mine only").check()
    until(lambda: page.url.endswith("?mine=true"), "the address keeps this one too")
    page.reload()
    rows(page).first.wait_for()
    assert page.get_by_label("mine only").is_checked()
    page.get_by_label("Label").fill("name=old 7")
    page.get_by_label("Label").press("Enter")
    until(lambda: rows(page).count() == 1, "one job is left")
    assert "old 7" in rows(page).inner_text()
    page.get_by_label("Label").fill("name=nothing")
    page.get_by_label("Label").press("Enter")
    page.get_by_role("heading", name="No job is like that").wait_for()


def test_names_are_text(browse: Any, bobs: Any) -> None:
    page = browse("/", who="bob")
    page.get_by_role("link", name=NASTY).click()
    page.get_by_role("heading", level=1, name=NASTY).wait_for()
    assert page.locator("main img[src=x]").count() == 0 and NASTY in page.title()


def test_owners_see_their_own(browse: Any, bobs: Any, shelf: Any) -> None:
    mine = shelf("alice", "alice's own", "running")
    alice, bob = browse("/"), browse("/", who="bob")
    alice.get_by_role("link", name="alice's own").wait_for()
    rows(bob).first.wait_for()
    assert "alice's own" not in bob.locator("body").inner_text()
    assert alice.get_by_text("too large").count() == 0
    bob.goto(f"/ui/jobs/{mine}")
    bob.get_by_role("heading", name="There is no such job").wait_for()
    bob.get_by_role("link", name="All jobs").click()
    rows(bob).first.wait_for()


def test_a_key_that_may_only_look_is_offered_nothing_else(browse: Any, bobs: Any, web: Any) -> None:
    page = browse("/", who="reader")
    page.get_by_role("link", name="too large").wait_for()
    assert page.get_by_role("button", name="Resume").count() == 0 and page.get_by_role("main").get_by_text("New job").count() == 0
    page.goto("/ui/new")
    page.get_by_text("may look, but not submit").wait_for()


@pytest.mark.parametrize(
    "options", [{"viewport": {"width": 360, "height": 740}}, {"color_scheme": "dark"}], ids=["phone", "dark"]
)
def test_nothing_is_wider_than_the_screen_and_all_can_be_read(browse: Any, bobs: Any, options: dict[str, Any]) -> None:
    page = browse("/", who="bob", **options)
    for path in ("/", "/ui/new", "/docs", f"/ui/jobs/{bobs['too large']}"):
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert_readable(page)

"""A job's page: live curves over one connection, which survives a restart of the service; its spec, events and comparison."""

from __future__ import annotations

import re
from typing import Any

import pytest

from support.pages import until

LOSS = re.compile(r"^Loss\. ")


def last_step(page: Any) -> int:
    """The last step of the loss that the page shows, as a screen reader hears it."""
    said = page.get_by_role("img", name=LOSS).first.get_attribute("aria-label")
    return int(re.findall(r"at step (\d+)", said)[-1])


@pytest.mark.timeout(600)  # it ends as soon as it has seen enough; other work may keep the machine busy
def test_a_running_job_is_followed_through_a_restart_and_controlled(browse: Any, web: Any, tiny: Any) -> None:
    """One job that trains as long as this test looks at it."""
    job = web.client().submit(**{**tiny, "name": "long", "trainer": {**tiny["trainer"], "max_epochs": 5000}})
    try:
        page = browse(f"/ui/jobs/{job.id}")
        page.get_by_role("img", name=LOSS).wait_for(timeout=300_000)
        begun = last_step(page)
        until(lambda: last_step(page) > begun, "the curve grows")
        assert page.locator("#connection").is_hidden()
        _restart(page, web)
        _control(browse("/"), web, job.id)
        page.locator("#tags").get_by_text("cancelled").wait_for()  # the job's own page has heard of it
    finally:
        web.client().cancel(job.id)


def _restart(page: Any, web: Any) -> None:
    """Say that the service is away, and go on by itself where it was when it is back."""
    requests: list[Any] = []
    page.on("request", lambda request: requests.append(request) if "/events?live" in request.url else None)
    web.service.stop(web.service.api)
    page.get_by_text("The service does not answer").wait_for()
    at_stop = last_step(page)
    web.service.start_api()
    page.locator("#connection").wait_for(state="hidden")
    until(lambda: last_step(page) > at_stop + 1, "the curve goes on")
    heard_again = [request.headers.get("last-event-id") for request in requests]
    assert any(re.fullmatch(r"\d+-\d+", last or "") for last in heard_again), heard_again


def _control(page: Any, web: Any, job: str) -> None:
    """On the list: live progress, pause, resume, and cancel, which asks first."""
    row = page.locator("#jobs > li").filter(has_text="long")
    row.get_by_text("running").wait_for()
    row.get_by_text(re.compile("images/s")).wait_for()
    assert 0 < float(row.get_by_role("progressbar").get_attribute("value")) < 1
    row.get_by_role("img", name=re.compile("^Loss, from")).wait_for()
    row.get_by_role("button", name="Pause").click()
    row.get_by_text("paused", exact=True).wait_for(timeout=60_000)
    row.get_by_role("button", name="Resume").click()
    row.get_by_text(re.compile("^(queued|running)$")).wait_for()
    row.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Let it go on").click()
    assert web.client().job(job).status in ("queued", "running")
    row.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel the job").click()
    row.get_by_text("cancelled").wait_for(timeout=60_000)


def test_a_session_that_has_ended_leads_to_the_login(browse: Any, web: Any, shelf: Any) -> None:
    job = shelf("alice", "held", "running")
    page = browse(f"/ui/jobs/{job}")
    page.get_by_role("button", name="Pause held").wait_for()
    page.context.clear_cookies()
    page.evaluate("document.querySelector('[data-verb=pause]')?.click()")  # unless the page has noticed by itself
    page.wait_for_url(f"**/ui/login?next=%2Fui%2Fjobs%2F{job}")
    assert web.client().job(job).status == "running"


def test_another_job_laid_over(browse: Any, shelf: Any) -> None:
    first, other = shelf("alice", "first", "failed"), shelf("alice", "other", "failed")
    page = browse(f"/ui/jobs/{first}")
    page.get_by_label("Lay another job").select_option(other)
    both = page.get_by_role("img", name=re.compile(r"^Loss\. first: .*; other"))
    both.wait_for()
    assert page.url.endswith(f"?with={other}") and "first" in page.locator(".key").first.inner_text()
    page.reload()
    both.wait_for()
    page.get_by_role("button", name="Take other off").click()
    both.wait_for(state="detached")
    assert page.url.endswith(first)


def test_what_went_wrong_and_everything_about_it(browse: Any, shelf: Any) -> None:
    job = shelf("alice", "whole", "failed", trainer={"max_epochs": 7})
    page = browse(f"/ui/jobs/{job}")
    trouble = page.get_by_role("alert")
    trouble.wait_for()
    assert (
        "the memory is not enough" in trouble.inner_text() and "What to try: set trainer.batch_size to 64" in trouble.inner_text()
    )
    assert "a lower learning rate" in page.locator("#health").inner_text()
    for name in ("Loss", "kNN accuracy, %", "Effective rank", r"Embedding std × √d", "Learning rate"):
        page.get_by_role("img", name=re.compile(rf"^{re.escape(name)}\. .* at step 39")).wait_for()
    page.get_by_role("tab", name="Spec").click()
    panel = page.get_by_role("tabpanel", name="Spec")
    fields = {
        name: panel.locator("dl > div").filter(has=page.get_by_text(name, exact=True)).first for name in ("max_epochs", "beta2")
    }
    assert "7" in fields["max_epochs"].inner_text() and fields["max_epochs"].get_attribute("class") is None
    assert fields["beta2"].get_attribute("class") == "default"
    panel.get_by_label("only what differs").check()
    assert fields["beta2"].count() == 0 and fields["max_epochs"].is_visible()
    page.get_by_role("tab", name="Events").click()
    events = page.get_by_role("tabpanel", name="Events").get_by_role("listitem")
    assert "failed" in events.first.inner_text() and "created" in events.last.inner_text()
    page.get_by_role("tab", name="Log").click()
    page.get_by_text("Nothing has been printed yet.").wait_for()
    page.get_by_role("tab", name="From a script").click()
    assert f"/jobs/{job}" in page.get_by_role("tabpanel", name="curl").inner_text()

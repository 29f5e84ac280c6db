"""A job's page: live curves over one connection, which survives a restart of the service; its spec, events and comparison."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from support.pages import until

LOSS = re.compile(r"^Loss\. ")


def last_step(page: Any) -> int:
    """The last step of the loss that the page shows, as a screen reader hears it."""
    said = page.get_by_role("img", name=LOSS).first.get_attribute("aria-label")
    return int(re.findall(r"at step (\d+)", said)[-1])


@pytest.fixture(scope="module")
def long(web: Any, tiny: Any) -> Iterator[Any]:
    """A job that trains for as long as these tests look at it."""
    job = web.client().submit(**{**tiny, "name": "long", "trainer": {**tiny["trainer"], "max_epochs": 5000}})
    yield job
    web.client().cancel(job.id)


def test_curves_grow_and_survive_a_restart(browse: Any, web: Any, long: Any) -> None:
    page = browse(f"/ui/jobs/{long.id}")
    page.get_by_role("img", name=LOSS).wait_for(timeout=90_000)
    begun = last_step(page)
    until(lambda: last_step(page) > begun, "the curve grows")
    assert page.locator("#connection").is_hidden()
    requests: list[Any] = []
    page.on("request", lambda request: requests.append(request) if "/events?live" in request.url else None)

    web.service.stop(web.service.api)
    page.get_by_text("The service does not answer").wait_for()
    at_stop = last_step(page)
    page.wait_for_timeout(1500)  # the worker goes on meanwhile, and what it measures is not to be missed
    web.service.start_api()
    page.locator("#connection").wait_for(state="hidden")
    until(lambda: last_step(page) > at_stop + 3, "the curve grows")
    heard_again = [request.headers.get("last-event-id") for request in requests]
    assert any(re.fullmatch(r"\d+-\d+", last or "") for last in heard_again), heard_again
    steps = page.evaluate(
        f"fetch('/jobs/{long.id}/metrics?name=train_loss&limit=1000').then(a => a.json()).then(b => b.data.length)"
    )
    assert steps >= at_stop, "none is missing: every step is logged"


def test_a_closed_key_leads_to_the_login(browse: Any, web: Any, long: Any) -> None:
    page = browse(f"/ui/jobs/{long.id}")
    page.get_by_role("heading", level=1, name="long").wait_for()
    page.context.clear_cookies()
    page.get_by_role("button", name="Pause long").click()
    page.wait_for_url(f"**/ui/login?next=/ui/jobs/{long.id}")
    assert web.client().job(long.id).status == "running"


def test_spec_events_and_another_job_laid_over(browse: Any, web: Any, tiny: Any, long: Any) -> None:
    client = web.client()
    client.cancel(long.id)
    other = client.submit(**{**tiny, "name": "other"})
    web.service.succeeded(other.id)
    page = browse(f"/ui/jobs/{long.id}")
    page.locator("#tags").get_by_text("cancelled").wait_for()
    page.get_by_label("Lay another job").select_option(other.id)
    both = page.get_by_role("img", name=re.compile(r"^Loss\. long: .*; other"))
    both.wait_for()
    assert page.url.endswith(f"?with={other.id}")
    page.reload()
    both.wait_for()
    page.get_by_role("button", name="Take other off").click()
    both.wait_for(state="detached")
    assert page.url.endswith(long.id)

    page.get_by_role("tab", name="Spec").click()
    panel = page.get_by_role("tabpanel", name="Spec")
    epochs, momentum = (
        panel.locator("dl > div").filter(has=page.get_by_text(name, exact=True)).first for name in ("max_epochs", "beta2")
    )
    assert epochs.get_attribute("class") in ("", None) and "5000" in epochs.inner_text()
    assert momentum.get_attribute("class") == "default"
    panel.get_by_label("only what differs").check()
    assert momentum.count() == 0 and epochs.is_visible()

    page.get_by_role("tab", name="Events").click()
    events = page.get_by_role("tabpanel", name="Events").get_by_role("listitem")
    assert "cancelled" in events.first.inner_text() and "created" in events.last.inner_text()
    page.get_by_role("tab", name="Log").click()
    page.get_by_label("The end of the log").wait_for()
    page.get_by_role("link", name="New job like this").count()  # only of jobs with an encoder
    page.goto(f"/ui/jobs/{other.id}")
    page.get_by_role("link", name="New job like this").click()
    page.get_by_text("Ready to go.").wait_for()
    assert page.get_by_label("arch").input_value() == "shufflenet_v2_x0_5"
    assert page.get_by_label("batch size").input_value() == "16"

"""Logging in and out in a browser: the key becomes a cookie, which no script sees."""

from __future__ import annotations

import re
from typing import Any

from support.pages import until


def test_a_key_is_asked_for_and_leads_back(browse: Any, web: Any) -> None:
    page = browse("/?status=running", who=None)
    assert page.url == f"{web.address}/ui/login?next=/%3Fstatus%3Drunning"
    until(lambda: page.evaluate("document.activeElement.id") == "key", "the focus of the field")
    page.keyboard.type(web.keys["alice"])
    page.keyboard.press("Enter")
    page.wait_for_url("**/?status=running")
    assert page.get_by_role("heading", name="Jobs").is_visible()
    assert "alice" in page.locator(".who").inner_text()
    (cookie,) = page.context.cookies()
    assert cookie["httpOnly"] and cookie["sameSite"] == "Strict" and cookie["path"] == "/"
    assert web.keys["alice"] not in cookie["value"] and page.evaluate("document.cookie") == ""

    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/ui/login")
    assert page.context.cookies() == []
    page.goto("/ui/new")
    assert page.url.endswith("/ui/login?next=/ui/new")


def test_a_wrong_key_is_told_beside_the_field(browse: Any, web: Any) -> None:
    page = browse("/ui/login", who=None)
    page.get_by_label("API key").fill("imp_wrong")
    with page.expect_navigation() as gone:
        page.get_by_role("button", name="Log in").click()
    assert gone.value.status == 401
    alert = page.get_by_role("alert")
    assert re.search("mistyped", alert.inner_text())
    assert page.get_by_label("API key").get_attribute("aria-describedby") == alert.get_attribute("id")
    assert page.get_by_label("API key").input_value() == ""

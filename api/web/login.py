"""Logging a browser in and out: two forms, no script, so that the key is never in one, nor in an address."""

from __future__ import annotations

import re
from html import escape
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import Scope

from api.body import media_type
from api.deps import Services
from api.errors import Problem
from api.web.sessions import SECONDS, same_origin
from api.web.shell import HEADERS, page

router = APIRouter(include_in_schema=False)
_PAGE = re.compile(r"/|/docs|/ui/[A-Za-z0-9_./-]*")  # where a login may lead to, and what may ask for one
_ELSEWHERE = "The form came from a page of another site; open this page itself and try again."


def asks_for_a_page(scope: Scope, headers: Headers) -> bool:
    """Whether a browser wants to show a page, not a program an answer."""
    shown = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
    return shown and _PAGE.fullmatch(scope["path"]) is not None


def to_the_login(scope: Scope, headers: Headers) -> Response:
    """Where a browser without a session is sent.

    A link on another site does not bring the cookie along (SameSite=Strict), though there may be one: the page is then asked
    for once more, from here.
    """
    address = scope["path"] + ("?" + scope["query_string"].decode("latin-1") if scope["query_string"] else "")
    if headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        again = f'<!doctype html><title>Imprint</title><meta http-equiv="refresh" content="0; url={escape(address)}">'
        return HTMLResponse(again, headers=HEADERS)
    return RedirectResponse(f"/ui/login?next={quote(address, safe='/')}", 303, headers={"Cache-Control": "no-store"})


@router.get("/ui/login", response_class=HTMLResponse)
async def form(request: Request) -> Response:
    """The form; or on to the page, where no key is needed or there is a session already."""
    onward = _onward(request.query_params.get("next", "/"))
    services = _services(request)
    try:
        known = await services.sessions.caller(request.headers) or await services.keyring.caller(None)
    except Problem:
        return page(request, "login.html", "Log in", onward=onward, problem="")
    return RedirectResponse(onward if known else "/", 303)


@router.post("/ui/login", response_class=HTMLResponse)
async def log_in(request: Request) -> Response:
    """A key for a cookie."""
    if media_type(request) != "application/x-www-form-urlencoded":
        raise Problem("unsupported-media-type", "A form comes as application/x-www-form-urlencoded.")
    sent = await request.form()
    key, onward = str(sent.get("key", "")).strip(), _onward(str(sent.get("next", "/")))
    services = _services(request)
    try:
        if not same_origin(request.headers):
            raise Problem("forbidden", _ELSEWHERE)
        if not key:
            raise Problem("unauthorized", "The API key is missing.")
        cookie = await services.sessions.begin(key)
    except Problem as problem:
        said = problem.detail.partition(";")[0].rstrip(".") + "." if problem.kind == "unauthorized" else problem.detail
        return page(request, "login.html", "Log in", problem.status, onward=onward, problem=said)
    answer = RedirectResponse(onward, 303, headers={"Cache-Control": "no-store"})
    if cookie:
        secure = request.url.scheme == "https"
        answer.set_cookie(services.sessions.cookie, cookie, SECONDS, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/ui/logout")
async def log_out(request: Request) -> Response:
    """Without the cookie, at the login again; a copy of it is worth nothing any more."""
    if not same_origin(request.headers):
        raise Problem("forbidden", _ELSEWHERE)
    await _services(request).sessions.end(request.headers)
    answer = RedirectResponse("/ui/login", 303, headers={"Cache-Control": "no-store"})
    answer.delete_cookie(_services(request).sessions.cookie, httponly=True, samesite="strict")
    return answer


def _services(request: Request) -> Services:
    found = request.app.state.services
    assert isinstance(found, Services)
    return found


def _onward(address: str) -> str:
    """One of our pages, or the first of them: never another site."""
    path, _, query = address.partition("?")
    return address if _PAGE.fullmatch(path) and "//" not in path and (query + "x").isprintable() else "/"

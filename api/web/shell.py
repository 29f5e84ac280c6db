"""How a page is made: a Jinja template in the frame of base.html, with headers that let nothing in from elsewhere.

A template gets `static(name)` (the address of a static file), `navigation`, `here` (the page's own path), `caller` and
`logged_in`. It never gets data: those come from the public API, when the page asks for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from api.access import caller_of
from api.web.assets import ASSETS
from jobs.access import SCOPES

POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
NAVIGATION: list[tuple[str, str]] = [  # (address, word), in the order in which they are shown
    ("/", "Jobs"),
    ("/ui/new", "New job"),
    ("/ui/encoders", "Encoders"),
    ("/ui/explore", "Explore"),
    ("/docs", "API"),
]
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["static"] = ASSETS.url


def page(request: Request, template: str, title: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page in its frame."""
    caller = caller_of(request)
    given = {
        "title": title,
        "here": request.url.path,
        "navigation": NAVIGATION,
        "version": request.app.version,
        "caller": caller,
        "scopes": [scope for scope in SCOPES if caller.may(scope)],
        "logged_in": getattr(request.state, "by_cookie", False),
    }
    return HTMLResponse(_templates.get_template(template).render({**given, **values}), status, headers=HEADERS)

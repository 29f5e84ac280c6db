"""The pages and their addresses. To add one: a template (a few lines), a module in static/js/, a line in PAGES, and, if people
should find it from everywhere, a line in shell.NAVIGATION.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, get_args

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse

from api.kinds import KINDS
from api.schemas import JobStatusName
from api.web.shell import page
from ssl_core.spec import METHOD_NAMES

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Page:
    """A shell without data: `path` may have parameters, which the page's module reads from its own address."""

    path: str
    template: str
    title: str
    values: dict[str, Any] = field(default_factory=dict)
    """What the template needs that is the same for everybody: names to choose among."""


_CHOICES = {"statuses": get_args(JobStatusName), "kinds": tuple(KINDS), "methods": METHOD_NAMES}

PAGES = (
    Page("/", "jobs.html", "Jobs", _CHOICES),
    Page("/ui/jobs/{job_id}", "job.html", "Job"),
    Page("/ui/new", "new.html", "New job"),
    Page("/ui/encoders", "encoders.html", "Encoders"),
    Page("/ui/encoders/{encoder_id}", "encoder.html", "Encoder"),
    Page("/ui/explore", "explore.html", "Explore"),
    Page("/ui/explore/{job_id}", "map.html", "Map"),
)


def _route(made: Page) -> Callable[[Request], HTMLResponse]:
    def show(request: Request) -> HTMLResponse:
        return page(request, made.template, made.title, **made.values)

    return show


for each in PAGES:
    router.add_api_route(each.path, _route(each), methods=["GET"], response_class=HTMLResponse)

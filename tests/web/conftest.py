"""One service, as processes of their own, and one browser for all tests of the pages. There are two owners, alice and bob.

A page given by `browse` is watched: an error on its console, an exception in its scripts, a violation of its policy, a missing
file or a request to another host fails the test, whatever else it looks at.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imprint import Client
from jobs.access import Caller
from jobs.database import connect
from jobs.keys import Keys
from jobs.records import JobDraft, Point, Report
from jobs.repository import Repository
from ssl_core.spec import DigitsData, TrainSpec
from support.composed import free_port
from support.journeys import draw_pictures
from support.service import Service

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

# What a browser writes on the console for an answer that is no success, and for a service that is away: tests expect both.
EXPECTED = ("Failed to load resource", "net::ERR_", "EventSource")


@dataclass
class Web:
    """The service and its two keys."""

    service: Service
    keys: dict[str, str]
    clients: dict[str, Client] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return self.service.address

    def client(self, who: str = "alice") -> Client:
        """The API as this owner's scripts see it."""
        return self.clients.setdefault(who, Client(self.address, self.keys[who]))


@pytest.fixture(scope="package")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Broker, API and worker; nothing of it may be left."""
    pictures = tmp_path_factory.mktemp("data")
    draw_pictures(pictures)
    service = Service(tmp_path_factory.mktemp("service"), pictures, free_port())
    try:
        service.start_broker()
        service.start_api()
        keys = Keys(connect(f"sqlite:///{service.home}/imprint.db"))
        made = Web(service, {who: keys.create(who)[0] for who in ("alice", "bob")})
        made.keys["reader"] = keys.create("reader", owner="bob", scopes=["read"])[0]
        keys.database.engine.dispose()
        service.client = made.client("alice")
        service.start_worker()
        yield made
    finally:
        for client in made.clients.values():
            client.close()
        left = service.close()
    assert left == [], "a trainer outlived its worker"


@pytest.fixture(scope="package")
def browser() -> Iterator[Any]:
    """Debian's Chromium, without a window. Closed after the last test here: it keeps an event loop running in this thread."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on the PATH (apt install chromium)")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=program, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def browse(web: Web, browser: Any) -> Iterator[Callable[..., Any]]:
    """browse("/ui/new", who="bob") opens a page in a window of its own, logged in as that owner (None: as nobody)."""
    contexts, faults = [], []

    def open_page(path: str, who: str | None = "alice", **options: Any) -> Any:
        context = browser.new_context(base_url=web.address, **options)
        contexts.append(context)
        context.set_default_timeout(60_000)
        if who is not None:
            log_in(context, web, who)
        page = context.new_page()
        page.on("console", lambda said: faults.extend(_fault(said.type, said.text)))
        page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
        page.on("request", lambda request: faults.extend(_elsewhere(request.url, web.address)))
        page.on("response", lambda answer: faults.extend(_missing(answer)))
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []


def log_in(context: Any, web: Web, who: str) -> None:
    """Exchange the owner's key for the cookie, as the form does."""
    form = {"key": web.keys[who], "next": "/"}
    answer = context.request.post("/ui/login", form=form, headers={"Origin": web.address}, max_redirects=0)
    assert answer.status == 303, answer.text()


def _fault(kind: str, text: str) -> list[str]:
    expected = kind != "error" or any(part in text for part in EXPECTED)
    return [] if expected and "Content Security Policy" not in text else [f"console: {text}"]


def _elsewhere(url: str, address: str) -> list[str]:
    return [] if url.startswith((address, "data:", "blob:")) else [f"a request to {url}"]


def _missing(answer: Any) -> list[str]:
    return [f"{answer.status} {answer.url}"] if answer.status >= 400 and "/ui/static/" in answer.url else []


@pytest.fixture(scope="session")
def tiny() -> dict[str, Any]:
    """The body of a job that a worker does in a few seconds: 80 pictures of 16 px, the smallest network."""
    return {
        "data": {"source": "folder", "path": "pictures", "size": 16, "held_out": 0.2},
        "encoder": {"arch": "shufflenet_v2_x0_5"},
        "method": {"name": "simclr", "branches": {"projector": {"layers": 2, "hidden_dim": 16, "out_dim": 8}}},
        "trainer": {"max_epochs": 1, "batch_size": 16, "log_every_steps": 1},
    }


@pytest.fixture(scope="session")
def pictures_of() -> Callable[[Web], Path]:
    """The data root of a service: 80 pictures in two class folders below `pictures`."""
    return lambda web: Path(web.service.env["IMPRINT_DATA_ROOT"])


@pytest.fixture(scope="package")
def shelf(web: Web) -> Iterator[Callable[..., str]]:
    """shelf("alice", "name", status="succeeded") puts a job with a history straight into the database; gives its id.

    A running one is held by a worker that does not exist, with a lease of an hour, so that nobody trains it.
    """
    database = connect(f"sqlite:///{web.service.home}/imprint.db")
    repository = Repository(database)

    def put(who: str, name: str | None, status: str = "cancelled", **spec: Any) -> str:
        mine = repository.on_behalf_of(Caller(who, who, frozenset({"read", "submit"})))
        complete = TrainSpec(**{"data": DigitsData(), **spec})
        draft = JobDraft(name, "pretrain", complete.method.name, complete.model_dump(mode="json"), {"name": name or ""})
        job = mine.create(draft).id
        if status == "cancelled":
            mine.request_cancel(job)
            return job
        assert repository.claim(job, "nobody", 3600) is not None
        now = datetime.now(UTC)
        curves = {"train_loss": 5.0, "knn_top1": 80.0, "effective_rank": 30.0, "embedding_std": 0.8, "learning_rate": 0.06}
        points = [Point(each, step, step // 10, value / (1 + step), now) for each, value in curves.items() for step in range(40)]
        progress = {"epoch": 4, "step": 39, "steps_total": 100, "fraction": 0.39, "images_per_second": 500.0, "eta_seconds": 61.0}
        health = {"verdict": "collapsing", "reasons": ["the rank falls"], "suggestions": ["a lower learning rate"], "step": 39}
        report = Report(points=points, phase="training", progress=progress, health=health, data={"images": 1437})
        repository.record(job, 1, report, 3600)
        if status == "failed":
            error = {"code": "out_of_memory", "message": "the memory is not enough", "hint": "set trainer.batch_size to 64"}
            repository.fail(job, 1, error)
        return job

    yield put
    database.engine.dispose()

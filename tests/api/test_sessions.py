"""A browser's session: a signed cookie that is as good as its key, no better and no longer."""

from __future__ import annotations

import re
import stat
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.web import sessions
from api.web.login import _onward
from api.web.sessions import Sessions
from jobs.access import Caller
from jobs.keys import Keys
from jobs.records import JobDraft
from ssl_core.spec import DigitsData, TrainSpec

OURS = {"Sec-Fetch-Site": "same-origin", "X-Imprint-Page": "1"}


@pytest.fixture(scope="module")
def guarded(start, tmp_path_factory):
    """A service with keys: one of the settings, and stored ones."""
    with start(tmp_path_factory.mktemp("guarded"), api_keys=("an-admin",), rate_per_second=1000) as running:
        yield running


@pytest.fixture(scope="module")
def keys(guarded) -> Keys:
    return Keys(guarded.repository.database)


def log_in(running: Any, key: str, **headers: str) -> httpx.Response:
    headers = headers or {"Sec-Fetch-Site": "same-origin"}
    answer = running.http.post("/ui/login", data={"key": key, "next": "/ui/new"}, headers=headers)
    running.http.cookies.clear()  # what a test sends is what it says
    return answer


def cookie_of(answer: httpx.Response) -> dict[str, str]:
    assert answer.status_code == 303 and answer.headers["location"] == "/ui/new", answer.text
    name, _, value = answer.headers["set-cookie"].partition(";")[0].partition("=")
    return {name: value}


def new_key(keys: Keys, name: str, **given: Any) -> str:
    secret = keys.create(name, **given)[0]
    time.sleep(0.25)  # an unknown key makes the keys be read again, five times a second at most
    return secret


def with_cookie(cookie: dict[str, str], **headers: str) -> dict[str, str]:
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookie.items()), **headers}


class TestCookie:
    def test_is_closed_to_scripts_and_other_sites(self, guarded):
        answer = log_in(guarded, "an-admin")
        said = answer.headers["set-cookie"].lower()
        assert "httponly" in said and "samesite=strict" in said and "path=/" in said and "max-age=604800" in said
        assert "secure" not in said, "over plain http a browser would drop it"
        assert "an-admin" not in said

    def test_is_secure_over_https(self, guarded, monkeypatch):
        monkeypatch.setattr("starlette.datastructures.URL.scheme", "https")
        assert "secure" in log_in(guarded, "an-admin").headers["set-cookie"].lower()

    @pytest.mark.parametrize("key", ["", "wrong", "imp_x", "an-admin2", "\x00", "é" * 300])
    def test_is_not_had_for_a_wrong_key(self, guarded, key):
        answer = log_in(guarded, key)
        assert answer.status_code == 401 and "set-cookie" not in answer.headers
        assert 'role="alert"' in answer.text and (not key.strip("\x00") or f'value="{key}"' not in answer.text)

    def test_tampered_with_is_worth_nothing(self, guarded, keys):
        (name, value), *_ = cookie_of(log_in(guarded, new_key(keys, "tampered"))).items()
        key, ends, session, mac = value.split(".")
        assert guarded.http.get("/jobs", headers=with_cookie({name: value})).status_code == 200
        for other in (
            f"settings-1.{ends}.{session}.{mac}",
            f"{key}.{int(ends) + 1}.{session}.{mac}",
            f"{key}.{ends}.{'0' * 32}.{mac}",
            f"{key}.{ends}.{session}.{'0' * 64}",
            f"{key}.{ends}.{session}",
            f"{key}.{ends}.{mac}",
            f"{key}.{ends}.{session}.{mac}.",
            "",
            "a" * 5000,
        ):
            assert guarded.http.get("/jobs", headers=with_cookie({name: other})).status_code == 401, other

    def test_ends_after_a_week(self, guarded, monkeypatch):
        monkeypatch.setattr(sessions, "SECONDS", 1)
        cookie = cookie_of(log_in(guarded, "an-admin"))
        assert guarded.http.get("/jobs", headers=with_cookie(cookie)).status_code == 200
        time.sleep(2.1 - time.time() % 1)
        assert guarded.http.get("/jobs", headers=with_cookie(cookie)).status_code == 401

    def test_ends_with_its_key(self, guarded, keys):
        cookie = cookie_of(log_in(guarded, new_key(keys, "short-lived")))
        assert guarded.http.get("/jobs", headers=with_cookie(cookie)).status_code == 200
        keys.revoke("short-lived")
        deadline = time.monotonic() + 10
        while guarded.http.get("/jobs", headers=with_cookie(cookie)).status_code != 401:
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def test_of_a_changed_key_of_the_settings_is_worth_nothing(self, start, tmp_path):
        with start(tmp_path, api_keys=("before",)) as running:
            cookie = cookie_of(log_in(running, "before"))
        with start(tmp_path, api_keys=("before",)) as running:
            assert running.http.get("/jobs", headers=with_cookie(cookie)).status_code == 200, "it survives a restart"
        with start(tmp_path, api_keys=("after",)) as running:
            assert running.http.get("/jobs", headers=with_cookie(cookie)).status_code == 401

    def test_a_header_goes_before_it(self, guarded, keys):
        cookie = cookie_of(log_in(guarded, "an-admin"))
        assert guarded.http.get("/jobs", headers=with_cookie(cookie, Authorization="Bearer wrong")).status_code == 401

    def test_other_cookies_do_not_disturb(self, guarded):
        cookie = cookie_of(log_in(guarded, "an-admin"))
        odd = with_cookie({'"; a=[': "{}", **cookie, "b": '"='})
        assert guarded.http.get("/jobs", headers=odd).status_code == 200


class TestLoggingOut:
    def log_out(self, running: Any, cookie: dict[str, str]) -> httpx.Response:
        answer = running.http.post("/ui/logout", headers=with_cookie(cookie, **{"Sec-Fetch-Site": "same-origin"}))
        running.http.cookies.clear()
        return answer

    @pytest.mark.parametrize("key", ["an-admin", "stored"])
    def test_ends_the_session_wherever_its_cookie_is_and_no_other(self, guarded, keys, key):
        secret = key if key == "an-admin" else new_key(keys, "logs-out")
        mine, elsewhere = (cookie_of(log_in(guarded, secret)) for _ in range(2))
        assert mine != elsewhere, "two sessions, though they began within one second"
        answer = self.log_out(guarded, mine)
        assert answer.status_code == 303 and "max-age=0" in answer.headers["set-cookie"].lower()
        assert guarded.http.get("/jobs", headers=with_cookie(mine)).status_code == 401
        assert guarded.http.get("/", headers=with_cookie(mine, Accept="text/html")).headers["location"].startswith("/ui/login")
        time.sleep(2.5)  # the keys have been read again since
        assert guarded.http.get("/jobs", headers=with_cookie(mine)).status_code == 401
        assert guarded.http.get("/jobs", headers=with_cookie(elsewhere)).status_code == 200
        assert self.log_out(guarded, mine).status_code == 303, "again, and nothing more happens"

    def test_is_heard_of_in_another_process_and_after_a_restart(self, start, tmp_path):
        with start(tmp_path, api_keys=("k",)) as one:
            cookie = cookie_of(log_in(one, "k"))
            with start(tmp_path, api_keys=("k",)) as other:
                assert other.http.get("/jobs", headers=with_cookie(cookie)).status_code == 200
                self.log_out(one, cookie)
                deadline = time.monotonic() + 10
                while other.http.get("/jobs", headers=with_cookie(cookie)).status_code != 401:
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
        with start(tmp_path, api_keys=("k",)) as again:
            assert again.http.get("/jobs", headers=with_cookie(cookie)).status_code == 401

    def test_a_stream_that_is_open_ends_with_it(self, guarded):
        cookie = cookie_of(log_in(guarded, "an-admin"))
        somebody = guarded.repository.on_behalf_of(Caller("somebody", "somebody"))
        job = somebody.create(JobDraft("x", "pretrain", "simclr", TrainSpec(data=DigitsData()).model_dump(mode="json")))
        headers = with_cookie(cookie, Accept="text/event-stream")
        with guarded.http.stream("GET", f"/jobs/{job.id}/events", headers=headers, timeout=10) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 2000"
            self.log_out(guarded, cookie)
            list(lines)  # would end by the time-out else

    def test_a_forged_cookie_ends_nobody_s(self, guarded):
        (name, value), *_ = cookie_of(log_in(guarded, "an-admin")).items()
        self.log_out(guarded, {name: f"{value[:-64]}{'0' * 64}"})
        assert guarded.http.get("/jobs", headers=with_cookie({name: value})).status_code == 200

    def test_what_is_over_is_not_kept(self, keys):
        keys.end_session("over", time.time() - 1)
        keys.end_session("lasts", time.time() + 60)
        keys.end_session("lasts", time.time() + 60)
        assert "lasts" in keys.ended_sessions() and "over" not in keys.ended_sessions()


class TestScopes:
    def test_are_those_of_the_key(self, guarded, keys):
        reader = cookie_of(log_in(guarded, new_key(keys, "reader", scopes=["read"])))
        assert guarded.http.get("/jobs", headers=with_cookie(reader)).status_code == 200
        refused = guarded.http.post("/jobs", json={"data": {"source": "digits"}}, headers=with_cookie(reader, **OURS))
        assert refused.status_code == 403 and "'submit'" in refused.json()["detail"]

    def test_owners_see_their_own(self, guarded, keys):
        spec = TrainSpec(data=DigitsData()).model_dump(mode="json")
        mine = {}
        for who in ("carol", "dan"):
            cookie = cookie_of(log_in(guarded, new_key(keys, who)))
            repository = guarded.repository.on_behalf_of(Caller(who, who, frozenset({"read", "submit"})))
            mine[who] = (repository.create(JobDraft(who, "pretrain", "simclr", spec)).id, cookie)
        (carols, carol), (dans, dan) = mine["carol"], mine["dan"]
        assert guarded.http.get(f"/jobs/{carols}", headers=with_cookie(carol)).json()["owner"] == "carol"
        assert guarded.http.get(f"/jobs/{carols}", headers=with_cookie(dan)).status_code == 404
        assert [each["id"] for each in guarded.http.get("/jobs", headers=with_cookie(dan)).json()["data"]] == [dans]

    def test_limits_are_those_of_the_key(self, start, tmp_path):
        with start(tmp_path, api_keys=("k",), rate_per_second=0.01, rate_burst=4) as running:
            cookie = cookie_of(log_in(running, "k"))
            answers = [running.http.get("/jobs", headers={"Authorization": "Bearer k"}).status_code for _ in range(2)]
            answers += [running.http.get("/jobs", headers=with_cookie(cookie)).status_code for _ in range(3)]
            assert answers == [200, 200, 200, 200, 429], "one bucket for both"


class TestForgery:
    """A page of another site has the browser's cookie sent along, were it not Strict: it must come to nothing all the same."""

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({}, 403),
            ({"X-Imprint-Page": "1"}, 403),
            ({"Sec-Fetch-Site": "same-origin"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "X-Imprint-Page": "1"}, 403),
            ({"Sec-Fetch-Site": "same-site", "X-Imprint-Page": "1"}, 403),
            ({"Sec-Fetch-Site": "none", "X-Imprint-Page": "1"}, 403),
            ({"Origin": "http://evil.example", "X-Imprint-Page": "1"}, 403),
            ({"Origin": "null", "X-Imprint-Page": "1"}, 403),
            ({"Sec-Fetch-Site": "same-origin", "X-Imprint-Page": "1"}, 404),
            ({"Origin": "{here}", "X-Imprint-Page": "1"}, 404),
        ],
    )
    def test_changes_need_proof_of_the_page(self, guarded, headers, status):
        cookie = cookie_of(log_in(guarded, "an-admin"))
        here = str(guarded.http.base_url).rstrip("/")
        sent = with_cookie(cookie, **{name: value.replace("{here}", here) for name, value in headers.items()})
        answer = guarded.http.post(f"/jobs/job_{'0' * 26}/cancel", headers=sent)
        assert answer.status_code == status, answer.text

    def test_scripts_with_a_key_need_none(self, guarded):
        answer = guarded.http.post(f"/jobs/job_{'0' * 26}/cancel", headers={"Authorization": "Bearer an-admin"})
        assert answer.status_code == 404

    @pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
    def test_nobody_is_logged_in_or_out_from_elsewhere(self, guarded, site):
        assert log_in(guarded, "an-admin", **{"Sec-Fetch-Site": site}).status_code == 403
        assert guarded.http.post("/ui/logout", headers={"Sec-Fetch-Site": site}).status_code == 403
        assert guarded.http.post("/ui/logout").status_code == 403


class TestPages:
    def test_lead_to_the_login_and_back(self, guarded):
        html = {"Accept": "text/html,*/*"}
        answer = guarded.http.get("/ui/new?like=job_x", headers=html)
        assert answer.status_code == 303 and answer.headers["location"] == "/ui/login?next=/ui/new%3Flike%3Djob_x"
        assert guarded.http.get("/jobs", headers=html).status_code == 401, "of the API, an answer for programs"
        form = guarded.http.get(answer.headers["location"])
        assert form.status_code == 200 and 'value="/ui/new?like=job_x"' in form.text

    def test_a_link_elsewhere_is_followed_once_more_from_here(self, guarded):
        """The cookie is Strict: the first request after a link on another site comes without it."""
        headers = {"Accept": "text/html", "Sec-Fetch-Site": "cross-site"}
        answer = guarded.http.get('/ui/new?a="><script>', headers=headers)
        assert answer.status_code == 200 and 'http-equiv="refresh"' in answer.text and "<script" not in answer.text

    @pytest.mark.parametrize(
        "to", ["//evil.example", "https://evil.example", "/\\evil", "/ui//evil", "/jobs", "javascript:1", "/ui/\n"]
    )
    def test_the_login_leads_nowhere_else(self, to):
        assert _onward(to) == "/"

    def test_without_keys_there_is_nothing_to_log_in_to(self, service):
        answer = service.http.get("/ui/login?next=/ui/new")
        assert answer.status_code == 303 and answer.headers["location"] == "/ui/new"

    def test_static_files_are_open_and_nothing_else_below_them(self, guarded):
        style = re.search(r'href="(/ui/static/[0-9a-f]{12}/css/base.css)"', guarded.http.get("/ui/login").text)
        assert style is not None
        answer = guarded.http.get(style[1])
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
        assert guarded.http.get(style[1].replace("/ui/static/", "/ui/static/0")).headers["cache-control"] == "no-store"
        for path in (
            "/ui/static/../../jobs",
            "/ui/static/x/../../../api/main.py",
            "/ui/static/x/%2e%2e/%2e%2e/shell.py",
            "/ui/static/",
        ):
            assert guarded.http.get(path).status_code in (401, 404), path

    def test_logging_out_takes_the_cookie_away(self, guarded):
        answer = guarded.http.post("/ui/logout", headers={"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 303 and "max-age=0" in answer.headers["set-cookie"].lower()


def test_the_secret_is_made_once_by_many(tmp_path: Path) -> None:
    """Eight processes' worth of threads begin at once: one file, for its owner's eyes only, and one name of the cookie."""
    made: list[str] = []
    begin = threading.Barrier(8)

    def one() -> None:
        begin.wait()
        made.append(Sessions(tmp_path, None).cookie)  # type: ignore[arg-type]

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8 and len(set(made)) == 1
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and len(file.read_bytes()) == 32

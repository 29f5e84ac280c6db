"""What is logged, in both forms: whose line it is, and never a secret."""

from __future__ import annotations

import json
import logging
import sys
import threading
from contextvars import copy_context

import pytest

from jobs import logs
from jobs.database import connect
from jobs.settings import Settings

PASSWORDS = ('da"ta/base', "broker-pass", "proxy-pass", "key-of-settings")
URL = "postgresql://imprint:da%22ta%2Fbase@db:5432/imprint"
SETTINGS = Settings(database_url=URL, redis_url="redis://:broker-pass@broker:6379/0", api_keys=("key-of-settings",))
HIDDEN = logs.secrets(SETTINGS, {"https_proxy": "http://me:proxy-pass@proxy:3128", "PATH": "/bin"})
OURS = "imp_" + "a1B2c3D4" * 5


def said(form: logs.Format, message: str, *args: object, error: BaseException | None = None, **about: object) -> str:
    info = None if error is None else (type(error), error, error.__traceback__)
    record = logging.LogRecord("worker", logging.WARNING, __file__, 1, message, args, info)
    record.about = about
    return logs.formatter(form, HIDDEN).format(record)


class TestFields:
    def test_json_is_one_object_a_line(self):
        with logs.bound(request="req_1"), logs.bound(job="job_1", attempt=2):
            line = said("json", "it\nsays %d", 3, by="alice")
        assert "\n" not in line
        found = json.loads(line)
        assert found.pop("at").endswith("+00:00")
        assert found == {
            "level": "warning", "logger": "worker", "message": "it\nsays 3",
            "request": "req_1", "job": "job_1", "attempt": 2, "by": "alice",
        }  # fmt: skip

    def test_text_names_them_in_brackets(self):
        with logs.bound(job="job_1", attempt=2):
            assert said("text", "job_1 begins").endswith("WARNING worker: job_1 begins [attempt=2]")
            assert said("text", "begins").endswith("begins [job=job_1 attempt=2]")
        assert said("text", "begins").endswith("begins"), "nothing is bound any more"

    def test_threads_have_their_own(self):
        found: list[dict[str, object]] = []
        with logs.bound(job="job_1"):
            copied = threading.Thread(target=copy_context().run, args=(lambda: found.append(logs.about()),))
            fresh = threading.Thread(target=lambda: found.append(logs.about()))
            for thread in (copied, fresh):
                thread.start()
                thread.join()
        assert found == [{"job": "job_1"}, {}]


@pytest.mark.parametrize("form", ["json", "text"])
class TestSecrets:
    def test_are_blotted_out_wherever_they_are(self, form):
        try:
            raise OSError(f"cannot reach {URL} with {PASSWORDS}")
        except OSError as failure:
            line = said(form, "%s and %s", failure, OURS, error=failure, by="proxy-pass")
        assert not [secret for secret in (*PASSWORDS, "da%22ta%2Fbase", OURS) if secret in line]
        assert logs.BLOT in line and "cannot reach postgresql://imprint:" in line

    def test_of_a_single_letter_are_not_looked_for(self, form):
        hidden = logs.secrets(Settings(database_url="postgresql://u:a@db/x"), {})
        record = logging.LogRecord("api", logging.INFO, __file__, 1, "a banana", (), None)
        assert "a banana" in logs.formatter(form, hidden).format(record)


def test_an_address_of_another_kind_is_refused_without_its_password():
    with pytest.raises(ValueError, match=r"mysql://u:\*\*\*@db/x") as refused:
        connect("mysql://u:proxy-pass@db/x")
    assert "proxy-pass" not in str(refused.value)


def test_the_whole_process_logs_that_way(capfd, monkeypatch):
    root, before = logging.getLogger(), logging.getLogger().handlers[:]
    try:
        logs.set_up(Settings(log_format="json", api_keys=("key-of-settings",)))
        logging.getLogger("anybody").warning("key-of-settings")
        print("", end="", flush=True)
        line = json.loads(capfd.readouterr().err.splitlines()[-1])
    finally:
        root.handlers = before
    assert line["message"] == "***" and line["logger"] == "anybody" and sys.stderr is not None

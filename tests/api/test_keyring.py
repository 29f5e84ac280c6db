"""Keys in a running service: when they begin and end, and that they are nowhere but in their owner's hands."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from sqlalchemy import inspect, text

from api.__main__ import refusal
from api.keyring import EVERY
from jobs.keys import Keys
from jobs.settings import Settings
from worker.child import environment


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


class TestLife:
    def test_from_the_first_key_on_everybody_is_asked(self, start, tmp_path):
        with start(tmp_path) as running:
            keys = Keys(running.repository.database)
            assert running.http.get("/jobs").status_code == 200
            secret, _ = keys.create("alice")
            assert running.http.get("/jobs", headers=bearer(secret)).status_code == 200, "at once"
            time.sleep(EVERY)
            assert running.http.get("/jobs").status_code == 401
            keys.revoke("alice")
            time.sleep(EVERY)
            answer = running.http.get("/jobs", headers=bearer(secret))
            assert answer.status_code == 401 and "revoked" in answer.json()["detail"]
            assert running.http.get("/jobs").status_code == 401, "no key that is valid is left: nobody may enter"

    def test_what_is_wrong_with_it_is_said(self, start, tmp_path):
        with start(tmp_path, api_keys=("set",)) as running:
            keys = Keys(running.repository.database)
            good, _ = keys.create("alice", seconds=0.5)
            said = {
                "is missing": {},
                "checksum": bearer(good[:-1] + "!"),
                "is not known": bearer("something else"),
                "is not sent as it should be": {"Authorization": f"Basic {good}"},
            }
            for words, headers in said.items():
                answer = running.http.get("/jobs", headers=headers)
                assert answer.status_code == 401 and words in answer.json()["detail"], words
            time.sleep(0.6)
            assert "has expired" in running.http.get("/jobs", headers=bearer(good)).json()["detail"]
            assert running.http.get("/jobs", headers=bearer("set")).status_code == 200

    def test_its_last_use_is_noted(self, start, tmp_path):
        with start(tmp_path) as running:
            keys = Keys(running.repository.database)
            secret, _ = keys.create("alice")
            for _ in range(3):
                assert running.http.get("/jobs", headers=bearer(secret)).status_code == 200
            until = time.monotonic() + 10
            while keys.all()[0].used_at is None:
                assert time.monotonic() < until
                time.sleep(0.02)

    def test_without_a_database_those_read_before_stay_in_force(self, start, tmp_path):
        with start(tmp_path) as running:
            secret, _ = Keys(running.repository.database).create("alice")
            assert running.http.get("/jobs", headers=bearer(secret)).status_code == 200
            for file in tmp_path.glob("imprint.db*"):
                file.unlink()
            (tmp_path / "imprint.db").mkdir()
            running.repository.database.engine.dispose()
            time.sleep(EVERY)
            assert running.http.get("/jobs", headers=bearer(secret)).status_code == 503
            assert running.http.get("/openapi.json", headers=bearer(secret)).status_code == 200
            assert running.http.get("/openapi.json").status_code == 401

    def test_a_stored_key_lets_the_service_listen_to_others(self, tmp_path: Path):
        settings = Settings(host="0.0.0.0", home=tmp_path)
        assert "imprint keys create" in str(refusal(settings))
        secret = subprocess.run(
            [sys.executable, "-m", "imprint", "keys", "create", "alice", "--home", str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert secret.startswith("imp_") and refusal(settings) is None


def test_a_key_leaves_no_trace(start, put_encoder, exported, picture, tmp_path, caplog, capfd):
    """A canary goes through every route, right and wrong, and is looked for in logs, answers, database, files and children."""
    caplog.set_level(logging.DEBUG)
    settings_key = "canary-in-the-settings"
    with start(tmp_path, api_keys=(settings_key,)) as running:
        stored, _ = Keys(running.repository.database).create("alice", scopes=["admin"])
        job = put_encoder(running, exported)
        wrong = "canary-that-is-wrong"
        secrets = (settings_key, stored, wrong)
        ids = {"job_id": job.id, "encoder_id": str(job.encoder_id), "name": "n", "model": "latest", "part": "x"}
        ids |= {"dataset_id": "ds_" + "0" * 26, "webhook_id": "wh_" + "0" * 26, "row": "0"}
        answers = []
        for path, operations in running.http.get("/openapi.json", headers=bearer(stored)).json()["paths"].items():
            for method in operations:
                for key in secrets:
                    headers = {**bearer(key), "Content-Type": "application/json"}
                    body = json.dumps({"data": {"source": "digits"}, "encoder": "latest", "images": ["%"]})
                    answer = running.http.request(method.upper(), path.format(**ids), headers=headers, content=body)
                    answers.append(answer.text + str(answer.headers))
        running.http.post("/jobs", headers=bearer(stored), json={"data": {"source": "digits"}})
        database = running.repository.database
        with database.read() as session:
            for table in inspect(database.engine).get_table_names():
                answers.append(str(session.execute(text(f"SELECT * FROM {table}")).all()))
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size < 2**22]
    told = caplog.text + "".join(capfd.readouterr())
    child = str(environment({**os.environ, "IMPRINT_API_KEYS": settings_key, "IMPRINT_API_KEY": stored}))
    assert answers and files
    for key in secrets:
        assert key not in told, "a log"
        assert not any(key in each for each in answers), "an answer, or the database"
        assert not any(key.encode() in each for each in files), "a file"
        assert key not in child


def test_no_address_makes_keys(service):
    assert not any("key" in path for path in service.http.get("/openapi.json").json()["paths"])

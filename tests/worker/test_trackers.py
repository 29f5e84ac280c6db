"""What trackers are told of real jobs: all of it, once, whatever dies; and that a tracker that is away slows nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.records import JobDraft
from jobs.trackings import WARN_AFTER, TrackingRecord, Trackings
from support.mlflow_server import NoMLflow, mlflow_server
from support.processes import eventually
from support.receivers import receiver
from support.workplace import Workplace
from worker.telemetry import Telemetry
from worker.trackers import Trackers

TENSORBOARD: dict[str, Any] = {"tensorboard": {}}


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Half a minute to start, once."""
    try:
        with mlflow_server(tmp_path_factory.mktemp("mlflow")) as url:
            yield url
    except NoMLflow as reason:
        pytest.skip(str(reason))


def submit(place: Workplace, tracking: dict[str, Any], **spec: Any) -> str:
    labels = {"team": "a"}
    return place.repository.create(JobDraft("first", "pretrain", "simclr", spec, labels, tracking=tracking)).id


MADE: list[Trackers] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No file stays open."""
    yield
    while MADE:
        MADE.pop().close()


def trackers(place: Workplace, **settings: Any) -> Trackers:
    changed = place.settings.model_copy(
        update={"outbound_private": "127.0.0.0/8", "public_url": "https://i.example/", **settings}
    )
    MADE.append(Trackers(place.repository, changed, Telemetry()))
    return MADE[-1]


def tell(told_by: Trackers) -> None:
    """One round of everything, due or not."""
    with told_by.repository.database.write() as session:
        session.execute(text("UPDATE trackings SET due_ms = 0"))
    while (telling := told_by.trackings.claim(told_by.holder, 60)) is not None:
        told_by.round(telling)


def steps(place: Workplace, job_id: str, name: str = "train_loss") -> list[int]:
    found = EventAccumulator(str(place.settings.home / "tensorboard" / job_id), size_guidance={"scalars": 0})
    found.Reload()
    return [each.step for each in found.Scalars(name)]


def told_all(place: Workplace, job_id: str) -> dict[str, TrackingRecord]:
    return {each.tracker: each for each in Trackings(place.repository.database).of(job_id)}


def settled(place: Workplace, job_id: str) -> bool:
    return all(each.settled for each in Trackings(place.repository.database).of(job_id))


class TestTensorBoard:
    def test_a_job_is_told_as_it_runs_and_settled_when_it_rests(self, place: Workplace) -> None:
        job_id = submit(place, TENSORBOARD, steps=40, step_seconds=0.05)
        teller = trackers(place)
        with place.running(job_id):
            tell(teller)
            early = steps(place, job_id)
            assert early and not settled(place, job_id)
        tell(teller)
        assert steps(place, job_id) == list(range(1, 41)) and steps(place, job_id)[: len(early)] == early
        [told] = teller.trackings.of(job_id)
        assert told.settled and told.run == job_id and told.error is None and told.told_at is not None
        assert teller.trackings.claim(teller.holder, 60) is None, "nothing is left to do"

    def test_attempts_and_resumes_are_one_run_without_a_step_twice(self, place: Workplace) -> None:
        """Killed at step 4 with a checkpoint at 4; resumed later by another worker after it had failed."""
        job_id = submit(place, TENSORBOARD, steps=9, die_at=[4, 7])
        one, two = trackers(place), trackers(place)
        for teller in (one, one):
            place.run(job_id)
            tell(teller)
        assert place.repository.get(job_id).status == "queued"
        place.repository.request_cancel(job_id)
        tell(one)
        assert settled(place, job_id) and len(steps(place, job_id)) == 7
        with place.repository.database.write() as session:
            session.execute(text("UPDATE trackings SET lease_ms = 0"))
        place.repository.resume(job_id)
        place.run(job_id)
        tell(two)
        assert place.repository.get(job_id).status == "succeeded" and settled(place, job_id)
        assert steps(place, job_id) == list(range(1, 10))

    def test_a_step_that_is_trained_again_is_not_told_again(self, place: Workplace) -> None:
        job_id = submit(place, TENSORBOARD, steps=6, die_at=[3], no_checkpoints=True)
        teller = trackers(place)
        for _ in range(2):
            place.run(job_id)
            tell(teller)
        assert place.repository.get(job_id).attempt == 2 and steps(place, job_id) == [1, 2, 3, 4, 5, 6]

    def test_a_worker_that_was_killed_is_followed_by_another(self, place: Workplace) -> None:
        job_id = submit(place, TENSORBOARD, steps=5)
        lost, next_one = trackers(place), trackers(place)
        place.run(job_id)
        telling = lost.trackings.claim(lost.holder, 60)
        assert telling is not None
        sink = lost._opened(telling, place.repository.get(job_id))
        sink.write(lost.trackings.values(job_id, {}, 3))  # two names a step: a step and a half, and then it is killed
        sink.abandon()
        assert next_one.trackings.claim(next_one.holder, 60) is None
        with place.repository.database.write() as session:
            session.execute(text("UPDATE trackings SET lease_ms = 0"))
        tell(next_one)
        assert steps(place, job_id) == steps(place, job_id, "odd") == [1, 2, 3, 4, 5]

    def test_a_long_history_in_portions(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("worker.trackers.POINTS", 7)
        monkeypatch.setattr("worker.trackers.MOST", 2)
        job_id = submit(place, TENSORBOARD, steps=30)
        place.run(job_id)
        rounds = trackers(place).rounds(every=0.02)
        rounds.start()
        eventually(lambda: settled(place, job_id), "it is settled")
        rounds.stop()
        assert steps(place, job_id) == list(range(1, 31))


class TestMLflow:
    """Against the real server."""

    def runs(self, url: str, experiment: str) -> list[dict[str, Any]]:
        with httpx.Client(base_url=f"{url}/api/2.0/mlflow", timeout=30, trust_env=False) as http:
            found = http.get("/experiments/get-by-name", params={"experiment_name": experiment}).json()["experiment"]
            ids = [found["experiment_id"]]
            return list(http.post("/runs/search", json={"experiment_ids": ids, "max_results": 100}).json().get("runs", []))

    def history(self, url: str, run: str, name: str) -> list[tuple[int, float]]:
        with httpx.Client(base_url=f"{url}/api/2.0/mlflow", timeout=30, trust_env=False) as http:
            found = http.get("/metrics/get-history", params={"run_id": run, "metric_key": name}).json()["metrics"]
            return [(int(each.get("step", 0)), each["value"]) for each in found]

    def test_from_the_first_step_to_the_encoder(self, place: Workplace, mlflow: str) -> None:
        spec = {"steps": 12, "die_at": [5], "method": {"name": "moco", "queue_size": 64}, "long": "x" * 9000}
        job_id = submit(place, {"mlflow": {"uri": mlflow, "experiment": "photos"}}, **spec)
        teller = trackers(place)
        place.run(job_id)
        tell(teller)
        [run] = self.runs(mlflow, "photos")
        tags = {each["key"]: each["value"] for each in run["data"]["tags"]}
        assert run["info"]["status"] == "SCHEDULED" and tags["imprint.status"] == "queued"  # after the crash
        place.run(job_id)
        tell(teller)
        job = place.repository.get(job_id)
        [run] = self.runs(mlflow, "photos")
        params, tags = ({each["key"]: each["value"] for each in run["data"][part]} for part in ("params", "tags"))
        assert run["info"]["status"] == "FINISHED" and run["info"]["run_name"] == "first" and run["info"]["end_time"]
        assert params["method.name"] == "moco" and params["method.queue_size"] == "64" and params["long"] == "x" * 500
        assert (tags["imprint.job"], tags["imprint.encoder"], tags["imprint.verdict"]) == (job_id, job.encoder_id, "learning")
        assert tags["imprint.link"] == f"https://i.example/jobs/{job_id}" and tags["label.team"] == "a"
        [told] = teller.trackings.of(job_id)
        assert told.settled and told.run == run["info"]["run_id"] and str(told.link).startswith(f"{mlflow}/#/experiments/")
        history = self.history(mlflow, str(told.run), "train_loss")
        assert [step for step, _ in history] == list(range(1, 13)) and history[3][1] == 0.25
        odd = self.history(mlflow, str(told.run), "odd")
        assert [step for step, _ in odd] == list(range(1, 13)) and {str(value) for _, value in odd} == {"NaN"}

    def test_another_worker_goes_on_in_the_same_run_without_a_step_twice(self, place: Workplace, mlflow: str) -> None:
        job_id = submit(place, {"mlflow": {"uri": mlflow, "experiment": "handed-over"}}, steps=8, die_at=[4])
        one, two = trackers(place), trackers(place)
        place.run(job_id)
        tell(one)
        with place.repository.database.write() as session:  # the first is gone, before it could say which run it was
            session.execute(text("UPDATE trackings SET lease_ms = 0, run = NULL"))
        place.run(job_id)
        tell(two)
        [run] = self.runs(mlflow, "handed-over")
        assert [step for step, _ in self.history(mlflow, run["info"]["run_id"], "train_loss")] == list(range(1, 9))

    def test_what_was_sent_and_not_noted_is_there_once(self, place: Workplace, mlflow: str) -> None:
        """The same values twice, as after an answer that was lost."""
        job_id = submit(place, {"mlflow": {"uri": mlflow, "experiment": "twice"}}, steps=3)
        place.run(job_id)
        teller = trackers(place)
        telling = teller.trackings.claim(teller.holder, 60)
        assert telling is not None
        sink = teller._opened(telling, place.repository.get(job_id))
        for _ in range(2):
            sink.write(teller.trackings.values(job_id, {}, 100))
        [run] = self.runs(mlflow, "twice")
        assert [step for step, _ in self.history(mlflow, run["info"]["run_id"], "train_loss")] == [1, 2, 3]

    def test_the_service_s_own_server(self, place: Workplace, mlflow: str) -> None:
        job_id = submit(place, {"mlflow": {}}, steps=2)
        place.run(job_id)
        tell(trackers(place, outbound_private="", mlflow_uri=mlflow))
        assert settled(place, job_id) and len(self.runs(mlflow, "imprint")) == 1


class TestAway:
    def test_a_tracker_that_hangs_slows_no_job_and_is_caught_up_with(self, place: Workplace) -> None:
        over = threading.Event()
        with receiver(lambda _: over.wait(60) and 500) as hanging:
            tracking = {"tensorboard": {}, "mlflow": {"uri": hanging.url}}
            job_id = submit(place, tracking, steps=3)
            teller = trackers(place)
            rounds = teller.rounds(every=0.02)
            rounds.start()
            eventually(lambda: hanging.received, "it is asked")
            assert place.run(job_id).status == "succeeded"
            assert not told_all(place, job_id)["mlflow"].settled
            with place.repository.database.write() as session:
                session.execute(text("UPDATE trackings SET due_ms = 0 WHERE tracker = 'tensorboard'"))
            eventually(lambda: told_all(place, job_id)["tensorboard"].settled, "TensorBoard is told all the same")
            rounds.stop()
            assert steps(place, job_id) == [1, 2, 3]
            over.set()

    def test_a_tracker_that_is_down_is_said_once_and_tried_later_and_later(self, place: Workplace) -> None:
        with receiver(lambda _: (500, {}, b"oh dear")) as broken:
            job_id = submit(place, {"mlflow": {"uri": broken.url}}, steps=2)
            teller = trackers(place)
            waits = []
            for _ in range(WARN_AFTER + 2):
                tell(teller)
                with place.repository.database.read() as session:
                    due = session.execute(text("SELECT due_ms FROM trackings")).scalar_one()
                    waits.append((due - place.repository.database.now_ms(session)) / 1000)
            assert [round(each / 5) for each in waits] == [1, 2, 4, 8, 16]
            warnings = [each.data["message"] for each in place.repository.events(job_id).data if each.type == "warning"]
            assert len(warnings) == 1 and warnings[0].startswith("mlflow cannot be told of the job: HTTP 500")
            [told] = teller.trackings.of(job_id)
            assert "is it an MLflow server?" in str(told.error) and not told.settled

    def test_given_up_a_day_after_the_end(self, place: Workplace) -> None:
        job_id = submit(place, {"mlflow": {"uri": "http://127.0.0.1:1"}}, steps=2)
        place.run(job_id)
        teller = trackers(place)
        tell(teller)
        assert not settled(place, job_id)
        with place.repository.database.write() as session:
            session.execute(text("UPDATE trackings SET failing_ms = failing_ms - 25 * 3600000"))
        tell(teller)
        assert settled(place, job_id) and teller.trackings.claim(teller.holder, 60) is None

    def test_a_private_address_is_not_reached(self, place: Workplace) -> None:
        with receiver() as inside:
            job_id = submit(place, {"mlflow": {"uri": inside.url}}, steps=2)
            tell(trackers(place, outbound_private=""))
            assert inside.received == []
        [told] = Trackings(place.repository.database).of(job_id)
        assert "is not a public address" in str(told.error)

    def test_credentials_go_to_the_operator_s_server_only(self, place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret-token")
        with receiver(lambda _: 500) as ours, receiver(lambda _: 500) as theirs:
            submit(place, {"mlflow": {}})
            submit(place, {"mlflow": {"uri": theirs.url}})
            tell(trackers(place, mlflow_uri=ours.url))
            assert ours.received[0].headers["authorization"] == "Bearer secret-token"
            assert theirs.received and all("authorization" not in each.headers for each in theirs.received)


def test_the_job_s_folder_of_the_trainer_knows_nothing_of_it(place: Workplace, tmp_path: Path) -> None:
    """Trackers are no affair of the process that decodes strangers' pictures."""
    job_id = submit(place, {"mlflow": {"uri": "https://mlflow.example.org"}}, steps=1)
    place.run(job_id)
    assert "mlflow" not in str(place.facts(job_id)["arguments"])
    assert "mlflow" not in (place.artifacts.job_folder(job_id) / "spec.json").read_text()

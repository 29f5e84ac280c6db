"""What users put in and look at, on both databases."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from jobs.access import Caller
from jobs.errors import Conflict, KeyReused, NoRoom, NotFound
from jobs.records import Claim, DatasetDraft, EncoderDraft, JobDraft, JobRecord, Point, Report
from jobs.repository import Repository

Submit = Callable[..., JobRecord]
Running = Callable[..., Claim]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ODD = 'quote " backslash \\ nul \x00 emoji 🙂 half \ud83d'


class TestCreate:
    def test_is_queued_and_complete(self, repository: Repository, submit: Submit) -> None:
        spec = {"data": {"source": "folder", "path": "grüße/🙂"}, "trainer": {"seed": 2**53, "lr": 1e-300, "none": None}}
        made = submit(name="first", spec=spec, labels={"team": "a"})
        assert made == repository.get(made.id)
        assert (made.status, made.attempt, made.spec, made.labels, made.name) == ("queued", 0, spec, {"team": "a"}, "first")
        assert (made.metrics, made.progress, made.health, made.error, made.encoder_id) == ({}, None, None, None, None)
        assert made.created_at.tzinfo is not None and abs((datetime.now(UTC) - made.created_at).total_seconds()) < 5

    def test_keeps_odd_text(self, repository: Repository, running: Running) -> None:
        """File names and messages of libraries come through; PostgreSQL and JSON both have opinions on NUL and halves."""
        claim = running()
        repository.record(claim.job_id, claim.attempt, Report(events=[("warning", {"message": ODD})]), 30)
        repository.fail(claim.job_id, claim.attempt, {"code": "data_error", "message": ODD, "hint": ""})
        assert repository.get(claim.job_id).error == {"code": "data_error", "message": ODD, "hint": ""}
        assert any(event.data.get("message") == ODD for event in repository.events(claim.job_id).data)


class TestIdempotencyKey:
    def test_replays_the_first_answer(self, repository: Repository, submit: Submit) -> None:
        first = submit(idempotency_key="k", request_hash="a")
        assert submit(idempotency_key="k", request_hash="a") == first
        assert repository.find_by_key("k", "a") == first
        assert [job.id for job in repository.list().data] == [first.id]

    def test_of_another_body_is_refused(self, repository: Repository, submit: Submit) -> None:
        submit(idempotency_key="k", request_hash="a")
        for again in (lambda: submit(idempotency_key="k", request_hash="b"), lambda: repository.find_by_key("k", "b")):
            with pytest.raises(KeyReused, match="'k'"):
                again()
        assert len(repository.list().data) == 1

    def test_is_unknown_until_it_is_used(self, repository: Repository) -> None:
        assert repository.find_by_key("k", "a") is None and repository.find_dataset_by_key("k", "a") is None

    def test_makes_one_job_of_many_requests_at_once(self, repository: Repository) -> None:
        draft = JobDraft(None, "pretrain", "byol", {}, {}, idempotency_key="k", request_hash="a")
        begin, made = threading.Barrier(8), []

        def post() -> None:
            begin.wait()
            made.append(repository.create(draft).id)

        threads = [threading.Thread(target=post) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(made) == 8 and len(set(made)) == 1 and len(repository.list().data) == 1

    def test_of_a_dataset_is_another_matter(self, repository: Repository, submit: Submit) -> None:
        submit(idempotency_key="k", request_hash="a")
        draft = DatasetDraft("d", "photos", {}, idempotency_key="k", request_hash="b")
        assert repository.create_dataset(draft) == repository.create_dataset(draft) == repository.find_dataset_by_key("k", "b")


class TestList:
    def test_newest_first_page_by_page(self, repository: Repository, submit: Submit) -> None:
        ids = [submit().id for _ in range(5)][::-1]
        seen, after = [], None
        for more in (True, True, False):
            page = repository.list(limit=2, after=after)
            assert page.has_more is more
            seen += [job.id for job in page.data]
            after = seen[-1]
        assert seen == ids

    def test_jobs_that_come_meanwhile_do_not_shift_the_pages(self, repository: Repository, submit: Submit) -> None:
        ids = [submit().id for _ in range(4)][::-1]
        first = [job.id for job in repository.list(limit=2).data]
        submit()
        assert first + [job.id for job in repository.list(limit=2, after=first[-1]).data] == ids

    def test_filters_together(self, repository: Repository, submit: Submit, running: Running) -> None:
        wanted = submit(method="byol", labels={"team": "a", "run": "1"})
        submit(method="moco", labels={"team": "a", "run": "1"})
        submit(method="byol", labels={"team": "b", "run": "1"})
        submit(method="byol", labels={"team": "a"})
        running(method="byol", labels={"team": "a", "run": "1"})
        page = repository.list(status="queued", method="byol", labels={"team": "a", "run": "1"})
        assert [job.id for job in page.data] == [wanted.id] and not page.has_more
        assert repository.list(labels={"team": "' OR 1=1 --"}).data == []


class TestShareOfTheDisk:
    def draft(self, size: int) -> DatasetDraft:
        return DatasetDraft("x", ".", {"archive": {"unpacked_bytes": size}})

    def test_of_each_owner(self, repository: Repository) -> None:
        alice, bob = (repository.on_behalf_of(Caller(name, owner=name)) for name in ("alice", "bob"))
        repository.create_dataset(DatasetDraft("a folder", "photos", {}))
        assert alice.room_for_uploads(100) == 100
        made = alice.create_dataset(self.draft(60), owner_bytes=100)
        bob.create_dataset(self.draft(100), owner_bytes=100)
        assert alice.room_for_uploads(100) == 40
        with pytest.raises(NoRoom, match="have 100 bytes together, and yours have 60"):
            alice.create_dataset(self.draft(41), owner_bytes=100)
        alice.create_dataset(self.draft(40), owner_bytes=100)
        with pytest.raises(NoRoom):
            alice.room_for_uploads(100)
        alice.delete_dataset(made.id)
        assert alice.room_for_uploads(100) == 60
        alice.create_dataset(self.draft(3 * 2**40), owner_bytes=2**42)
        assert alice.room_for_uploads(2**42) == 2**40 - 40

    def test_at_once(self, repository: Repository) -> None:
        """Many that would each fit: as many are taken as fit together."""
        gate = threading.Barrier(8)

        def create(_: int) -> bool:
            gate.wait()
            try:
                repository.create_dataset(self.draft(30), owner_bytes=100)
            except NoRoom:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(create, range(8))) == 3
        assert repository.room_for_uploads(100) == 10


class TestMetrics:
    def points(self, repository: Repository, running: Running, steps: range, names: list[str]) -> str:
        claim = running()
        points = [Point(name, step, 0, float(step), NOW) for step in steps for name in names]
        repository.record(claim.job_id, claim.attempt, Report(points=points), 30)
        return claim.job_id

    def test_of_one_name_after_a_step(self, repository: Repository, running: Running) -> None:
        job_id = self.points(repository, running, range(10), ["a", "b"])
        page = repository.metrics(job_id, name="b", after_step=6, limit=2)
        assert [(point.name, point.step) for point in page.data] == [("b", 7), ("b", 8)] and page.has_more

    @pytest.mark.parametrize("limit", [1, 2, 3, 4, 7, 100])
    def test_pages_lose_nothing_and_never_cut_a_step(self, repository: Repository, running: Running, limit: int) -> None:
        names = ["a", "b", "c"]
        job_id = self.points(repository, running, range(5), names)
        seen: list[tuple[int, str]] = []
        after = None
        for _ in range(20):
            page = repository.metrics(job_id, after_step=after, limit=limit)
            seen += [(point.step, point.name) for point in page.data]
            after = page.data[-1].step
            assert len(page.data) % 3 == 0
            if not page.has_more:
                break
        assert seen == [(step, name) for step in range(5) for name in names]


class TestEvents:
    def test_pages_by_cursor(self, repository: Repository, running: Running) -> None:
        claim, other = running(), running()
        for number in range(5):
            for each in (claim, other):
                repository.record(each.job_id, each.attempt, Report(events=[("warning", {"n": number})]), 30)
        seen, after = [], 0
        for _ in range(10):
            page = repository.events(claim.job_id, after=after, limit=3)
            seen += page.data
            after = page.data[-1].id
            if not page.has_more:
                break
        assert [event.type for event in seen] == ["created", "running", *["warning"] * 5]
        assert [event.data["n"] for event in seen[2:]] == [0, 1, 2, 3, 4]


class TestEncoders:
    @pytest.fixture
    def finished(self, repository: Repository, running: Running, draft: Callable[..., EncoderDraft]) -> Callable[[], str]:
        def make() -> str:
            claim = running()
            repository.succeed(claim.job_id, claim.attempt, draft())
            return claim.job_id

        return make

    def test_are_found_by_every_name(self, repository: Repository, finished: Callable[[], str]) -> None:
        old, new = finished(), finished()
        encoder_id = "enc_" + old.removeprefix("job_")
        assert repository.set_alias("mine", encoder_id).encoder == encoder_id
        for name in (encoder_id, old, "mine"):
            assert repository.resolve_encoder(name).id == encoder_id
        assert repository.resolve_encoder("latest").job_id == new
        assert repository.encoder(encoder_id).aliases == ["mine"]
        repository.set_alias("mine", "enc_" + new.removeprefix("job_"))  # it moves
        assert repository.resolve_encoder("mine").job_id == new and repository.encoder(encoder_id).aliases == []
        assert [(alias.name, alias.encoder) for alias in repository.aliases()] == [("mine", "enc_" + new.removeprefix("job_"))]

    def test_latest_is_the_one_published_last(
        self, repository: Repository, running: Running, draft: Callable[..., EncoderDraft]
    ) -> None:
        import time

        slow, quick = running(), running()
        repository.succeed(quick.job_id, quick.attempt, draft())
        time.sleep(0.01)
        repository.succeed(slow.job_id, slow.attempt, draft())
        assert repository.resolve_encoder("latest").job_id == slow.job_id

    def test_pages(self, repository: Repository, finished: Callable[[], str]) -> None:
        jobs = [finished() for _ in range(3)][::-1]
        first = repository.encoders(limit=2)
        rest = repository.encoders(limit=2, after=first.data[-1].id)
        assert [each.job_id for each in first.data + rest.data] == jobs and (first.has_more, rest.has_more) == (True, False)

    def test_that_are_not_there(self, repository: Repository, submit: Submit) -> None:
        for name in ("nobody", "latest", "enc_01JZ8X3M6Q4T9V2B7C5D8E1F0G", "job_01JZ8X3M6Q4T9V2B7C5D8E1F0G"):
            with pytest.raises(NotFound):
                repository.resolve_encoder(name)
        with pytest.raises(Conflict, match="is queued and has no encoder yet"):
            repository.resolve_encoder(submit().id)
        for ask in (lambda: repository.encoder("enc_x"), lambda: repository.set_alias("a", "enc_x")):
            with pytest.raises(NotFound, match="enc_x"):
                ask()


def test_datasets(repository: Repository) -> None:
    drafts = [DatasetDraft(name=f"d{number}", path=f"photos/{number}", facts={"images": number}) for number in range(3)]
    made = [repository.create_dataset(draft) for draft in drafts]
    assert repository.dataset(made[1].id) == made[1] == repository.find_dataset(made[1].id)
    assert (made[1].path, made[1].facts) == ("photos/1", {"images": 1})
    page: Any = repository.datasets(limit=2)
    assert page.data == [made[2], made[1]] and page.has_more
    assert repository.datasets(limit=2, after=made[1].id).data == [made[0]]
    assert repository.find_dataset("ds_x") is None
    with pytest.raises(NotFound, match="ds_x"):
        repository.dataset("ds_x")


def test_ping(repository: Repository) -> None:
    assert repository.ping() is True

"""Keys as text and as rows, and the filter of owners, on both databases."""

from __future__ import annotations

import hashlib
import time
import zlib
from pathlib import Path

import pytest
from sqlalchemy import text

from jobs import secret
from jobs.access import SCOPES, USER, Caller, seen_by
from jobs.database import alembic_config, connect
from jobs.errors import Conflict, NotAllowed, NotFound, TooMany
from jobs.keys import Keys, any_stored
from jobs.records import DatasetDraft, JobDraft
from jobs.repository import Repository

ALICE, BOB = (Caller(f"{name}-key", name, frozenset({"read", "submit"})) for name in ("alice", "bob"))


class TestText:
    def test_the_form_and_the_checksum_by_hand(self) -> None:
        """CRC-32 of what stands before the last underscore, in base 62 with the digits 0-9, a-z, A-Z."""
        body, _, check = secret.new_secret().rpartition("_")
        digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
        assert len(body) == 4 + 32 and body.startswith("imp_")
        assert sum(digits.index(each) * 62 ** (5 - at) for at, each in enumerate(check)) == zlib.crc32(body.encode())

    def test_every_typing_error_of_one_character_is_noticed(self) -> None:
        good = secret.new_secret()
        assert secret.well_formed(good) and not secret.mistyped(good)
        for at in range(4, len(good)):
            wrong = good[:at] + ("a" if good[at] != "a" else "b") + good[at + 1 :]
            assert not secret.well_formed(wrong) and secret.mistyped(wrong), at
            if good[at] != good[at - 1] and at > 4:
                swapped = good[: at - 1] + good[at] + good[at - 1] + good[at + 1 :]
                assert secret.mistyped(swapped), at
        assert secret.mistyped(good + "\n") and secret.mistyped(good[:-1]) and not secret.mistyped("open-sesame")

    def test_no_two_are_equal(self) -> None:
        assert len({secret.new_secret() for _ in range(1000)}) == 1000


@pytest.fixture
def keys(repository: Repository) -> Keys:
    return Keys(repository.database)


class TestRows:
    def test_only_the_digest_is_stored(self, keys: Keys) -> None:
        made, record = keys.create("alice")
        assert record.digest == hashlib.sha256(made.encode()).hexdigest() and made.startswith(record.shown)
        assert (record.owner, record.scopes, record.state) == ("alice", ("read", "submit"), "valid")
        with keys.database.read() as session:
            row = str(session.execute(text("SELECT * FROM api_keys")).mappings().one())
        assert made not in row and made[len(record.shown) :] not in row and record.digest in row
        assert record.digest not in repr(record)

    def test_ending(self, keys: Keys) -> None:
        keys.create("alice")
        with pytest.raises(Conflict, match="valid key named 'alice'"):
            keys.create("alice")
        assert keys.revoke("alice").state == "revoked"
        with pytest.raises(NotFound):
            keys.revoke("alice")
        keys.create("alice", seconds=0.05)
        time.sleep(0.06)
        _, third = keys.create("alice")
        assert [each.state for each in keys.all()] == ["valid", "expired", "revoked"]
        assert keys.revoke(third.id).id == third.id

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"name": ""}, "name = ''"),
            ({"name": "a b"}, "name = 'a b'"),
            ({"name": "a", "owner": "\x00"}, "owner ="),
            ({"name": "a", "scopes": ["root"]}, f"scope = root: choose among {', '.join(SCOPES)}"),
            ({"name": "a", "scopes": []}, "scope = none"),
            ({"name": "a", "seconds": 0}, "0 s"),
        ],
    )
    def test_what_is_malformed_is_refused(self, keys: Keys, given: dict, said: str) -> None:
        with pytest.raises(ValueError, match=said):
            keys.create(**given)
        assert keys.all() == []

    def test_the_last_use_is_written_once_a_minute(self, keys: Keys) -> None:
        _, record = keys.create("alice")
        assert record.used_at is None
        assert keys.used(record.id) and not keys.used(record.id)
        first = keys.all()[0].used_at
        assert first is not None and abs(first.timestamp() - time.time()) < 5
        with keys.database.write() as session:
            session.execute(text("UPDATE api_keys SET used_ms = used_ms - 60000"))
        assert keys.used(record.id)

    def test_whether_there_has_been_one(self, keys: Keys, url: str) -> None:
        assert not any_stored(url)
        keys.create("alice")
        keys.revoke("alice")
        assert any_stored(url), "what has asked for keys goes on asking"


class TestOwners:
    """The filter itself; what it means for each route is in tests/api/test_access.py."""

    def test_every_way_to_a_job_goes_through_it(self, repository: Repository) -> None:
        alice, bob = repository.on_behalf_of(ALICE), repository.on_behalf_of(BOB)
        job = alice.create(JobDraft(None, "pretrain", "simclr", {}, labels={"team": "a"})).id
        assert alice.get(job).owner == "alice" and [each.id for each in repository.list().data] == [job]
        assert bob.list(labels={"team": "a"}).data == [] and [each.id for each in alice.list(labels={"team": "a"}).data] == [job]
        for ask in (bob.get, bob.metrics, bob.events, bob.request_cancel, bob.request_pause, bob.resume, bob.locate_encoder):
            with pytest.raises(NotFound):
                ask(job)
        with pytest.raises(NotFound):
            bob.share(job, True)
        assert bob.list(status="queued").data == [] and len(alice.list(status="queued").data) == 1

    def test_shared_is_seen_and_changed_by_its_owner_only(self, repository: Repository) -> None:
        alice, bob = repository.on_behalf_of(ALICE), repository.on_behalf_of(BOB)
        job = alice.create(JobDraft(None, "pretrain", "simclr", {}, shared=True)).id
        assert bob.get(job).shared and [each.id for each in bob.list().data] == [job] and bob.list(mine=True).data == []
        for ask in (bob.request_cancel, bob.request_pause, bob.resume, lambda job: bob.share(job, False)):
            with pytest.raises(NotAllowed, match="shared with you"):
                ask(job)
        assert not alice.share(job, False).shared and bob.list().data == []
        assert [each.data["by"] for each in repository.events(job).data] == ["alice-key", "alice-key"]

    def test_everybody_s_is_seen_and_changed_by_all(self, repository: Repository) -> None:
        job = repository.create(JobDraft(None, "pretrain", "simclr", {})).id
        assert repository.on_behalf_of(BOB).request_cancel(job).owner == ""

    def test_datasets_and_idempotency_keys(self, repository: Repository) -> None:
        alice, bob = repository.on_behalf_of(ALICE), repository.on_behalf_of(BOB)
        draft = DatasetDraft("d", "photos", {}, idempotency_key="k", request_hash="h")
        mine, other = alice.create_dataset(draft), bob.create_dataset(draft)
        assert mine.id != other.id and alice.create_dataset(draft) == mine
        assert bob.find_dataset(mine.id) is None and [each.id for each in bob.datasets().data] == [other.id]

    def test_the_queue_of_an_owner_has_an_end(self, repository: Repository) -> None:
        alice, bob = repository.on_behalf_of(ALICE), repository.on_behalf_of(BOB)
        draft = JobDraft(None, "pretrain", "simclr", {})
        first = alice.create(draft, max_queued=2)
        alice.create(draft, max_queued=2)
        with pytest.raises(TooMany, match="2 jobs wait"):
            alice.create(draft, max_queued=2)
        bob.create(draft, max_queued=2)
        assert alice.claim(first.id, "w", 60) is not None and alice.create(draft, max_queued=2)

    def test_who_asked_is_in_the_end_that_follows(self, repository: Repository) -> None:
        job = repository.on_behalf_of(ALICE).create(JobDraft(None, "pretrain", "simclr", {})).id
        repository.claim(job, "w", 60)
        repository.on_behalf_of(ALICE).request_cancel(job)
        repository.stopped(job, 1, "cancel")
        assert repository.events(job).data[-1].data == {"attempt": 1, "by": "alice-key", "why": "cancel"}

    def test_an_admin_s_queries_have_no_filter(self) -> None:
        assert seen_by(USER) == () and len(seen_by(ALICE)) == 4


def test_rows_from_before_keys_are_kept_and_everybody_s(tmp_path: Path) -> None:
    from alembic import command

    database = connect(f"sqlite:///{tmp_path}/imprint.db")
    config = alembic_config(database.engine)
    command.upgrade(config, "0002")
    job = "job_01JZ8X3M6Q4T9V2B7C5D8E1F0G"
    with database.write() as session:
        columns = "id, kind, method, status, attempt, failures, claimed_step, checkpoint_step, created_ms, woken_ms"
        values = f"'{job}', 'pretrain', 'simclr', 'succeeded', 1, 0, 0, 0, 5, 5, '{{}}', '{{}}', '[]', '{{}}'"
        for statement in (
            f"INSERT INTO jobs ({columns}, metrics, labels, notes, spec) VALUES ({values})",
            "INSERT INTO encoders (id, job_id, arch, dim, method, created_ms, metrics, sha256, size_bytes, folder) "
            f"VALUES ('enc_01JZ8X3M6Q4T9V2B7C5D8E1F0G', '{job}', 'resnet18', 512, 'simclr', 6, '{{}}', 'x', 1, 'f')",
            "INSERT INTO aliases VALUES ('photos', 'enc_01JZ8X3M6Q4T9V2B7C5D8E1F0G', 7)",
            f"INSERT INTO idempotency_keys VALUES ('job', 'k', 'h', '{job}', 8)",
            "INSERT INTO datasets VALUES ('ds_01JZ8X3M6Q4T9V2B7C5D8E1F0G', 'd', 'photos', '{}', 9)",
        ):
            session.execute(text(statement.replace(":", r"\:")))
    command.upgrade(config, "head")
    for repository in (Repository(database), Repository(database).on_behalf_of(BOB)):
        assert repository.get(job).owner == "" and not repository.get(job).shared
        assert repository.encoder("enc_01JZ8X3M6Q4T9V2B7C5D8E1F0G").aliases == ["photos"]
        assert repository.locate_encoder("photos")[0] == repository.locate_encoder("latest")[0]
        assert repository.dataset("ds_01JZ8X3M6Q4T9V2B7C5D8E1F0G").name == "d"
    found = Repository(database).find_by_key("k", "h")
    assert found is not None and found.id == job
    command.downgrade(config, "0002")
    with database.read() as session:
        assert session.execute(text("SELECT name FROM aliases")).scalar_one() == "photos"
        assert session.execute(text("SELECT key FROM idempotency_keys")).scalar_one() == "k"
    database.engine.dispose()

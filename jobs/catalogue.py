"""Encoders, aliases and datasets: the part of the repository that finished jobs leave behind and new ones draw from."""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, cast, delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from jobs.access import USER, Caller, must_control, page
from jobs.database import Database
from jobs.errors import Conflict, NoRoom, NotFound
from jobs.ids import new_id
from jobs.models import Alias, Dataset, Encoder, IdempotencyKey, Job
from jobs.records import AliasRecord, DatasetDraft, DatasetRecord, EncoderRecord, JobRecord, Page
from jobs.rows import as_many_as, dataset_record, encoder_records, find_job, job_record, made_by_key, note, remember_key, when
from jobs.status import TERMINAL, JobStatus

LATEST = "latest"
MOST_ALIASES = 1000  # of an owner
NAMED_JOBS = 10  # that use a dataset; the rest are counted
_NEWEST = Encoder.created_ms.desc(), Encoder.id.desc()  # first


class Catalogue:
    """Reads and names encoders; registers datasets."""

    def __init__(self, database: Database, caller: Caller = USER) -> None:
        """The caller sees what `database` lets through; see `Repository.on_behalf_of`."""
        self.database = database
        self.caller = caller

    def encoders(self, *, limit: int = 20, after: str | None = None, mine: bool = False) -> Page[EncoderRecord]:
        """Published encoders, the newest job's first, beginning after the id `after`. `mine`: without what others share."""
        where: list[ColumnElement[bool]] = [Encoder.owner.in_(self.caller.own)] if mine else []
        if after is not None:
            where.append(Encoder.id < after)
        query = page(Encoder, self.caller, where, limit + 1)
        with self.database.read() as session:
            records = encoder_records(session, list(session.scalars(query)))
        return Page(records[:limit], len(records) > limit)

    def encoder(self, encoder_id: str) -> EncoderRecord:
        """One encoder. Raises NotFound."""
        with self.database.read() as session:
            row = session.get(Encoder, encoder_id)
            if row is None:
                raise NotFound(f"there is no encoder {encoder_id!r}")
            return encoder_records(session, [row])[0]

    def resolve_encoder(self, name: str) -> EncoderRecord:
        """An encoder by its id, its job's id, an alias, or "latest". Raises what `locate_encoder` raises."""
        return self.encoder(self.locate_encoder(name)[0])

    def locate_encoder(self, name: str) -> tuple[str, str]:
        """(id, folder below home) of an encoder, by its id, its job's id, an alias, or "latest" (the one published last).

        An alias and "latest" mean what is the caller's own or everybody's, and the alias of one's own comes first.

        One query for two columns, since every request to /embed asks. Raises NotFound, and Conflict when the job has no
        encoder yet; the message says what state it is in.
        """
        if not name.isprintable():  # PostgreSQL knows no NUL
            raise NotFound(f"there is no encoder {name!r}")
        query = select(Encoder.id, Encoder.folder)
        if name == LATEST:
            query = query.where(Encoder.owner.in_(self.caller.own)).order_by(*_NEWEST).limit(1)
        elif name.startswith("job_"):
            query = query.where(Encoder.job_id == name)
        elif name.startswith("enc_"):
            query = query.where(Encoder.id == name)
        else:
            named = Alias.name == name, Alias.owner.in_(self.caller.own)
            query = query.join(Alias, Alias.encoder_id == Encoder.id).where(*named).order_by(Alias.owner.desc()).limit(1)
        row = self.database.first(query)
        if row is not None:
            return row.id, row.folder
        job = self.database.first(select(Job.status, Job.kind).where(Job.id == name))
        if job is not None and job.kind not in ("pretrain", "import"):
            raise Conflict(f"job {name} is of kind {job.kind} and makes no encoder")
        if job is not None:
            raise Conflict(f"job {name} is {job.status} and has no encoder" + (" yet" if job.status != "failed" else ""))
        if name == LATEST:
            raise NotFound("there is no encoder yet: finish a job first (POST /jobs)")
        raise NotFound(f"there is no encoder, job or alias {name!r}")

    def newest_encoder(self) -> str | None:
        """The id of what `latest` stands for."""
        with self.database.read() as session:
            return session.scalar(select(Encoder.id).order_by(*_NEWEST).limit(1))

    def encoder_folders(self) -> set[str]:
        """The folders that belong to a row; all others are left over from a crash."""
        with self.database.read() as session:
            return set(session.scalars(select(Encoder.folder)))

    def result_folders(self) -> set[str]:
        """The folders of the results that jobs left behind, as `encoder_folders` for encoders."""
        with self.database.read() as session:
            results = session.scalars(select(Job.result).where(Job.result.is_not(None)))
            return {str(result["folder"]) for result in results if result}

    def index_jobs(self, encoder_id: str) -> list[JobRecord]:
        """The newest job that indexes, or indexed, an encoder's pictures, and every one that has not ended; newest first."""
        of_it = select(Job).where(Job.kind == "index", Job.spec["encoder"].as_string() == encoder_id).order_by(Job.id.desc())
        with self.database.read() as session:
            found = [*session.scalars(of_it.limit(1)), *session.scalars(of_it.where(Job.status.not_in(TERMINAL)))]
            return [job_record(job) for job in dict.fromkeys(found)]

    def measurements(self, encoder_ids: list[str], kinds: list[str], limit: int = 1000) -> list[JobRecord]:
        """Jobs of these kinds that have succeeded with these encoders, the newest first."""
        query = select(Job).where(Job.kind.in_(kinds), Job.status == JobStatus.SUCCEEDED)
        query = query.where(Job.spec["encoder"].as_string().in_(encoder_ids)).order_by(Job.id.desc()).limit(limit)
        with self.database.read() as session:
            return [job_record(job) for job in session.scalars(query)]

    def aliases(self) -> list[AliasRecord]:
        """All aliases by name; one's own before everybody's of the same name."""
        with self.database.read() as session:
            rows = session.scalars(select(Alias).order_by(Alias.name, Alias.owner.desc())).all()
            return [AliasRecord(row.name, row.encoder_id, when(row.updated_ms), row.owner) for row in rows]

    def set_alias(self, name: str, encoder_id: str) -> AliasRecord:
        """Let the name stand for this encoder from now on, for the caller's owner. Raises NotFound, Conflict."""
        owner = self.caller.owner
        with self.database.write() as session:
            encoder = session.get(Encoder, encoder_id)
            if encoder is None:
                raise NotFound(f"there is no encoder {encoder_id!r}")
            named = select(Alias.name).where(Alias.owner == owner, Alias.name != name).order_by(Alias.name)
            if as_many_as(session, named, MOST_ALIASES):
                raise Conflict(f"{MOST_ALIASES} encoders have names of yours, the most there may be; delete one")
            now = self.database.now_ms(session)
            row = session.merge(Alias(owner=owner, name=name, encoder_id=encoder_id, updated_ms=now))
            if self.caller.controls(encoder.owner):  # others' names for what is shared are no news to its owner
                note(session, find_job(session, encoder.job_id), now, "alias_set", {"by": self.caller.name, "alias": name})
            return AliasRecord(row.name, row.encoder_id, when(now), owner)

    def index_removed(self, encoder_id: str) -> None:
        """Write into the encoder's history that its index goes. Raises NotFound, NotAllowed: ask before it goes."""
        with self.database.write() as session:
            encoder = session.get(Encoder, encoder_id)
            if encoder is None:
                raise NotFound(f"there is no encoder {encoder_id!r}")
            must_control(self.caller, encoder.owner, f"encoder {encoder_id}")
            job = find_job(session, encoder.job_id)
            note(session, job, self.database.now_ms(session), "index_removed", {"by": self.caller.name})

    def create_dataset(self, draft: DatasetDraft, *, owner_bytes: int | None = None) -> DatasetRecord:
        """Register a folder; with an idempotency key that did so before, that dataset. Raises KeyReused, and NoRoom when the
        owner's uploaded pictures would be more than `owner_bytes`.
        """
        try:
            with self.database.write() as session:
                if owner_bytes is not None:
                    self.database.one_at_a_time(session, f"datasets of {self.caller.owner}")
                    self._must_fit(draft.facts["archive"]["unpacked_bytes"], self._uploaded_bytes(session), owner_bytes)
                now = self.database.now_ms(session)
                row = Dataset(
                    id=draft.id or new_id("ds"),
                    name=draft.name,
                    path=draft.path,
                    facts=draft.facts,
                    created_ms=now,
                    owner=self.caller.owner,
                )
                remember_key(session, self.caller.owner, "dataset", draft.idempotency_key, draft.request_hash, row.id, now)
                session.add(row)
                session.flush()
                return dataset_record(row)
        except IntegrityError:
            if draft.idempotency_key is None:
                raise
            found = self.find_dataset_by_key(draft.idempotency_key, draft.request_hash)
            assert found is not None
            return found

    def room_for_uploads(self, owner_bytes: int) -> int:
        """How much more the uploaded pictures of the caller's owner may have, at least one byte. Raises NoRoom."""
        with self.database.read() as session:
            used = self._uploaded_bytes(session)
        self._must_fit(1, used, owner_bytes)
        return owner_bytes - used

    @staticmethod
    def _must_fit(size: int, used: int, owner_bytes: int) -> None:
        if used + size > owner_bytes:
            may = f"one owner's uploaded pictures may have {owner_bytes:,} bytes together, and yours have {used:,}"
            raise NoRoom(f"{may}; delete a dataset that you no longer need")

    def _uploaded_bytes(self, session: Session) -> int:
        size = cast(Dataset.facts["archive", "unpacked_bytes"].as_string(), BigInteger)  # PostgreSQL's integers end at 2 GiB
        return int(session.connection().scalar(select(func.sum(size)).where(Dataset.owner == self.caller.owner)) or 0)

    def find_dataset_by_key(self, key: str, request_hash: str) -> DatasetRecord | None:
        """The dataset that this Idempotency-Key made. Raises KeyReused if the body was another."""
        with self.database.read() as session:
            made = made_by_key(session, self.caller.owner, "dataset", key, request_hash)
        return None if made is None else self.dataset(made)

    def dataset_made_by_key(self, key: str) -> str | None:
        """The id of the dataset that this Idempotency-Key made."""
        with self.database.read() as session:
            row = session.get(IdempotencyKey, (self.caller.owner, "dataset", key))
            return None if row is None else row.made_id

    def delete_dataset(self, dataset_id: str) -> DatasetRecord:
        """Forget a dataset that no unfinished job uses; the keys that made it may be used again. Raises NotFound, Conflict."""
        with self.database.write() as session:
            row = session.scalar(select(Dataset).where(Dataset.id == dataset_id).with_for_update())
            if row is None:
                raise NotFound(f"there is no dataset {dataset_id!r}")
            must_control(self.caller, row.owner, f"dataset {dataset_id}")
            busy = self._unfinished_jobs_with(session, dataset_id)
            if busy:
                raise Conflict(f"dataset {dataset_id} is used by {busy}; cancel them, or wait until they have ended")
            session.execute(delete(IdempotencyKey).where(IdempotencyKey.made_id == dataset_id))
            record = dataset_record(row)
            session.delete(row)
            return record

    def _unfinished_jobs_with(self, session: Session, dataset_id: str) -> str:
        """Those jobs in words, or "". Of what belongs to everybody, jobs of others use it too, which are counted only."""
        unfinished = (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.PAUSED)
        uses = Job.spec["data"]["dataset"].as_string() == dataset_id
        query = select(Job.id, Job.status).where(Job.status.in_(unfinished), uses)
        seen = [f"{row.id} ({row.status})" for row in session.execute(query.order_by(Job.id))]
        everybodys = session.connection().execute(select(func.count()).select_from(query.subquery())).scalar_one()
        others = [f"{everybodys - len(seen)} of other owners"] if everybodys > len(seen) else []
        shown = seen[:NAMED_JOBS] + ([f"{len(seen) - NAMED_JOBS} more"] if len(seen) > NAMED_JOBS else [])
        return ", ".join(shown + others)

    def dataset_ids(self) -> set[str]:
        """All there are; a folder of another name is left over."""
        with self.database.read() as session:
            return set(session.scalars(select(Dataset.id)))

    def find_dataset(self, dataset_id: str) -> DatasetRecord | None:
        """One dataset, or None."""
        with self.database.read() as session:
            row = session.get(Dataset, dataset_id)
            return None if row is None else dataset_record(row)

    def dataset(self, dataset_id: str) -> DatasetRecord:
        """One dataset. Raises NotFound."""
        found = self.find_dataset(dataset_id)
        if found is None:
            raise NotFound(f"there is no dataset {dataset_id!r}")
        return found

    def datasets(self, *, limit: int = 20, after: str | None = None) -> Page[DatasetRecord]:
        """Datasets, newest first, beginning after the id `after`."""
        query = select(Dataset).order_by(Dataset.id.desc()).limit(limit + 1)
        if after is not None:
            query = query.where(Dataset.id < after)
        with self.database.read() as session:
            records = [dataset_record(row) for row in session.scalars(query)]
        return Page(records[:limit], len(records) > limit)

"""From claim to encoder: starts one trainer, tells the database what it says, and makes it stop when it should.

The supervisor holds the lease. Whoever fences it off (a later attempt) makes it kill its trainer at once.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from jobs import logs
from jobs.artifacts import Artifacts
from jobs.errors import Fenced, JobsError, NotFound, Unavailable
from jobs.records import Claim, Report
from jobs.repository import Repository
from jobs.settings import Settings
from jobs.status import JobStatus
from worker.child import DEFAULT_COMMAND, Child, crash, environment, log_tail, wait
from worker.kinds import KINDS
from worker.lease import Lease
from worker.pace import Pace
from worker.pictures import DatasetGone, roots
from worker.tail import EVENTS, Tail, joined, left_behind, report
from worker.telemetry import Telemetry
from worker.watched import Run, watched

log = logging.getLogger("worker")

RECENT = 3  # attempts before this one whose last words may not have been read
LONGEST = 4000  # letters of what a trainer says is wrong: some quote what they were given
FINISHED, STOPPED, HOPELESS = 0, 3, 4  # exit statuses of `python -m ssl_core`


def worker_name() -> str:
    """host:pid, for people who read events."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Supervisor:
    """Runs jobs one after the other in the calling thread; `shutdown`, set by another, makes it give its job back."""

    def __init__(
        self,
        repository: Repository,
        settings: Settings,
        shutdown: threading.Event | None = None,
        wake: Callable[[str], object] = lambda job_id: None,
        telemetry: Telemetry | None = None,
    ) -> None:
        """wake(job_id): called for a job that is put back into the queue; without it a sweep finds the job, a little later."""
        self.repository = repository
        self.settings = settings
        self.artifacts = Artifacts(settings.home)
        self.shutdown = shutdown or threading.Event()
        self.wake = wake
        self.telemetry = telemetry or Telemetry()

    def run(self, job_id: str) -> None:
        """Claim the job and see it through; returns at once when it is not there to be claimed."""
        if self.shutdown.is_set():
            return  # the message is lost, and the sweep of another worker finds the job
        asked = time.monotonic()
        claim = self.repository.claim(job_id, worker_name(), self.settings.lease_seconds)
        if claim is None:
            log.info("%s is not queued (any more): nothing to do", job_id)
            return
        log.info("%s attempt %d begins", claim.job_id, claim.attempt)
        with watched(claim, self.telemetry) as run:
            self._see_through(claim, asked, run)

    def _see_through(self, claim: Claim, asked: float, run: Run) -> None:
        try:
            if claim.kind not in KINDS:
                message = f"this worker knows no jobs of kind {claim.kind!r}, only {', '.join(KINDS)}"
                error = {"code": "unknown_kind", "message": message, "hint": "update the worker, then resume the job"}
                self.repository.fail(claim.job_id, claim.attempt, error)
            else:
                with logs.bound(attempt=claim.attempt):
                    _Attempt(self, claim, Lease(self.settings.lease_seconds, asked), run).run()
            with contextlib.suppress(Unavailable):
                run.end = self.repository.get(claim.job_id).status
        except Fenced as fenced:
            run.end = "fenced"
            log.warning("%s", fenced)
        except Exception:
            log.exception("%s attempt %d: the supervisor failed; the lease will run out", claim.job_id, claim.attempt)


class _Attempt:
    """One claim, one trainer."""

    def __init__(self, supervisor: Supervisor, claim: Claim, lease: Lease, watching: Run) -> None:
        self.repository = supervisor.repository
        self.settings = supervisor.settings
        self.artifacts = supervisor.artifacts
        self.shutdown = supervisor.shutdown
        self.wake = supervisor.wake
        self.claim = claim
        self.watching = watching
        self.kind = KINDS[claim.kind]
        self.out = self.artifacts.attempt_folder(claim.job_id, claim.attempt)
        self.tail = Tail(self.out / EVENTS)
        self.phase: str | None = None
        self.error: dict[str, Any] | None = None
        self.why: str | None = None  # why the trainer was told to stop: cancel, pause, shutdown, lapsed
        self.kill_at = float("inf")
        self.lease = lease
        self.stalled = False
        self.requested: str | None = None
        recent = self.artifacts.earlier_attempts(claim.job_id, claim.attempt)[:RECENT]
        self.unsaid = left_behind(folder / EVENTS for folder in reversed(recent))  # what the database did not take yet
        self.pace = Pace()

    def run(self) -> None:
        child = self._start()
        if child is None:
            return
        try:
            with self.lease.enforced(lambda: self._lapsed(child)):
                while not self._over(child):
                    self._look_after(child)
            self._finish(child)
        finally:
            child.close()

    # Beginning

    def _start(self) -> Child | None:
        command = self.settings.trainer_command or DEFAULT_COMMAND
        try:
            spec = self.artifacts.write_spec(self.claim.job_id, self.claim.spec)
            resume = self.artifacts.earlier_attempts(self.claim.job_id, self.claim.attempt)
            cache, cache_bytes = self.settings.cache, self.settings.cache_bytes
            env = {**environment(os.environ), **self.watching.starts()}
            more = self.kind.arguments(self.claim, self.repository, self.settings.home)
            data_root, files = roots(self.claim, self.repository, self.settings)
            return Child.start(command, spec, self.out, data_root, resume, env, cache, cache_bytes, [*more, *files])
        except NotFound as missing:
            hint = "submit the job again, with an encoder, vectors or pictures that there are"
            code = "dataset_gone" if isinstance(missing, DatasetGone) else self.kind.missing
            error = {"code": code, "message": str(missing), "hint": hint}
            self.repository.fail(self.claim.job_id, self.claim.attempt, error)
            return None
        except OSError as error:
            text = f"the trainer could not be started: {error}"
            self._crashed(
                {"code": "not_started", "message": text, "hint": "look at the disk and the permissions of IMPRINT_HOME"}
            )
            return None

    # Meanwhile

    def _over(self, child: Child) -> bool:
        return wait(child, self.settings.poll_seconds)

    def _look_after(self, child: Child) -> None:
        try:
            self._report()
        except Fenced:
            child.kill()
            raise
        except Unavailable as error:
            log.warning("%s: %s", self.claim.job_id, error)
            if self.lease.lapsed:
                child.kill()  # someone else may run it by now
                raise
        if self.shutdown.is_set():
            self._stop(child, "shutdown", self.settings.grace_seconds)
        if time.monotonic() >= self.kill_at and not child.killed:
            log.warning("%s did not stop in time and is killed", self.claim.job_id)
            child.kill()
        elif self.why is None and self.pace.stands_still(self.settings.stall_seconds):
            log.warning("%s has not moved for %.0f s and is killed", self.claim.job_id, self.pace.idle)
            self.stalled = True
            child.kill()
        if self.requested is not None:
            grace = self.settings.cancel_grace_seconds if self.requested == "cancel" else self.settings.grace_seconds
            self._stop(child, self.requested, grace)

    def _lapsed(self, child: Child) -> None:
        """Called by another thread. If nobody has taken over when the database answers again, the job is queued again."""
        log.warning("%s: the lease was not renewed in %g s; its trainer is killed", self.claim.job_id, self.lease.seconds)
        self.why = self.why or "lapsed"
        child.kill()

    def _stop(self, child: Child, why: str, grace: float) -> None:
        """Once; but a cancel may overtake a pause or a shutdown: it waits less for the checkpoint."""
        if self.why is not None and (self.why == "cancel" or why != "cancel"):
            return
        log.info("%s is told to stop: %s", self.claim.job_id, why)
        self.why = why
        self.kill_at = min(self.kill_at, time.monotonic() + grace)
        child.ask_to_stop()

    def _report(self) -> bool:
        """Write what is new, renew the lease, see what the user asks for; whether anything was new.

        One transaction for all that is new; between two heartbeats with nothing new the database is only read.
        Raises Fenced, Unavailable.
        """
        events = self.tail.read()
        if not events and self.unsaid is None and self.lease.age < self.settings.heartbeat_seconds:
            self.requested = self.repository.requested(self.claim.job_id, self.claim.attempt)
            return False
        said = report(events, self.phase)
        self._watch(events)
        self.unsaid = said if self.unsaid is None else joined(self.unsaid, said)
        self.requested = self._record(self.unsaid)
        self.unsaid = None
        return bool(events)

    def _record(self, said: Report) -> str | None:
        asked = time.monotonic()
        requested = self.repository.record(self.claim.job_id, self.claim.attempt, said, self.lease.seconds)
        self.lease.renewed(asked)
        return requested

    def _watch(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self.pace.heard(event)
            if event["type"] == "error":
                self.error = {name: str(event.get(name, ""))[:LONGEST] for name in ("code", "message", "hint")}
            elif event["type"] == "phase":
                self.phase = event.get("phase")
                self.watching.phase(self.phase)

    # End

    def _finish(self, child: Child) -> None:
        """Read to the end and conclude; a database that is away is waited for as long as the lease may last."""
        while True:
            try:
                while self._report():  # a burst may be longer than one reading
                    pass
                return self._conclude(child)
            except Unavailable as error:
                if self.lease.lapsed:
                    raise
                log.warning("%s has ended, and that is not written yet: %s", self.claim.job_id, error)
                time.sleep(self.settings.poll_seconds)

    def _conclude(self, child: Child) -> None:
        status = child.poll()
        assert status is not None
        self.watching.exited(status)
        job_id, attempt = self.claim.job_id, self.claim.attempt
        # A system that shuts down may have told the trainer before we did.
        why = self.why or ("shutdown" if self.shutdown.is_set() else None)
        if status == FINISHED:
            self._publish()
        elif why is not None and (status == STOPPED or child.killed or status < 0):
            self._queued_again(self.repository.stopped(job_id, attempt, why))  # type: ignore[arg-type]
        elif status == HOPELESS:
            error = self.error or {"code": "failed", "message": "the trainer gave no reason", "hint": log_tail(self.out)}
            self.repository.fail(job_id, attempt, error)
            log.info("%s failed: %s", job_id, error["message"])
        elif self.stalled:
            seconds = f"{self.settings.stall_seconds:.0f} s or more"
            text = f"the trainer made no step for {seconds} and was killed"
            if self.phase == "preparing":
                text = f"nothing moved in the trainer, which was preparing, for {seconds}; it was killed"
            self._crashed({"code": "stalled", "message": text, "hint": log_tail(self.out)})
        else:
            self._crashed(crash(status, self.out))

    def _publish(self) -> None:
        self.repository.requested(self.claim.job_id, self.claim.attempt)  # raises Fenced: publish nothing then
        try:
            with self.lease.kept(self._renew, self.settings.heartbeat_seconds):  # a slow disk may take longer than a lease
                draft = self.kind.publish(self.claim, self.artifacts, self.out)
        except (OSError, ValueError, KeyError, TypeError) as error:
            text = f"the {self.kind.product} could not be published: {type(error).__name__}: {error}"
            self._crashed({"code": "not_published", "message": text, "hint": "look at the disk that holds IMPRINT_HOME"})
            return
        made = self.kind.record(self.claim, self.repository, draft)
        log.info("%s succeeded: %s", self.claim.job_id, made)
        self.kind.clear(self.claim, self.artifacts)

    def _renew(self) -> None:
        try:
            self._record(Report())
        except JobsError as error:  # what it means is for the write that follows
            log.warning("%s: %s", self.claim.job_id, error)

    def _crashed(self, error: dict[str, Any]) -> None:
        status = self.repository.crashed(self.claim.job_id, self.claim.attempt, error, self.settings.max_attempts)
        log.warning("%s: %s; the job is %s", self.claim.job_id, error["message"], status)
        self._queued_again(status)

    def _queued_again(self, status: JobStatus) -> None:
        if status == JobStatus.QUEUED:
            self.wake(self.claim.job_id)

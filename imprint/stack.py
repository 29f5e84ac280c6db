"""The whole service on one machine: `imprint up`. Starts broker, API and worker, restarts what dies, stops them in order.

    start:  broker ─► api, worker ─► ready            stop:  api ─► worker (its trainers write checkpoints) ─► broker

The state of jobs is in the database, so a child that is killed and started again loses nothing. Only one stack runs on a home.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from types import FrameType

from imprint import broker, running
from imprint import plan as planning
from imprint.child import Child
from imprint.errors import StackError
from imprint.plan import Plan
from jobs.settings import Settings

READY_WITHIN = 60.0  # seconds from the start to the first answer
QUICK = 10.0  # a child that lives shorter than this died quickly
QUICK_DEATHS = 5  # that many in a row, and we give up
DOUBLE_TAP = 0.5  # seconds in which a second signal is the same one, delivered twice (to the group, and passed on)
TICK = 0.2
FULL = 2**20  # bytes; a disk with less is full: what a child had to say about it may not have fitted

Say = Callable[[str], None]


def up(settings: Settings, say: Say, welcome: Callable[[Plan], None]) -> None:
    """Run the stack until it is asked to stop. Raises StackError when it cannot start or keep running."""
    home = planning.prepare_home(settings)
    lock = running.Lock(home)
    if not lock.acquire():
        raise StackError(
            already_running(running.read(home), str(home)),
            "use that one, stop it first, or choose another home with --home and --port",
        )
    try:
        planning.check_port(settings)
        Stack(planning.make(settings), say).run(welcome)
    finally:
        lock.release()


def already_running(note: running.Running | None, home: str) -> str:
    if note is None:
        return f"Imprint is already starting with the home {home}"
    return f"Imprint is already running with the home {home}: {note.address} (process {note.pid})"


class Stack:
    """The children of a plan, alive."""

    def __init__(self, plan: Plan, say: Say) -> None:
        self.plan = plan
        self.say = say
        self._signals: list[float] = []  # when each was received, monotonic
        self._woken = threading.Event()
        self._quick_deaths: dict[str, int] = {}
        self._start_again_at: dict[str, float] = {}

    def run(self, welcome: Callable[[Plan], None]) -> None:
        with self._listening():
            try:
                self._start()
                if not self._stopping:
                    running.write(self._note())
                    welcome(self.plan)
                while not self._stopping:
                    self._look_after_children()
                    self._woken.wait(TICK)
            finally:
                running.erase(self.plan.home)
                self._stop()

    # Starting

    def _start(self) -> None:
        self.say("starting")
        deadline = time.monotonic() + READY_WITHIN
        socket = self.plan.broker_socket
        if socket:
            broker.clear_away(socket)
        for child in self.plan.children:
            child.start()
            if child.name == "broker" and socket:
                self._wait_until(lambda: broker.answers(socket), "the broker", deadline)
        self._wait_until(self._api_answers, "the API", deadline)

    def _wait_until(self, true: Callable[[], bool], what: str, deadline: float) -> None:
        """Return when it is true or a stop was asked for. A child that dies meanwhile would die again: say so at once."""
        while not self._stopping and not true():
            for child in self.plan.children:
                if child.started_at and not child.running:
                    raise died(child)
            if time.monotonic() > deadline:
                raise StackError(f"{what} did not answer within {READY_WITHIN:g} s", f"see the logs in {self.plan.home / 'logs'}")
            self._woken.wait(0.05)

    def _api_answers(self) -> bool:
        # No proxy: the address is this machine's own.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.plan.address}/readyz", timeout=2.0) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _note(self) -> running.Running:
        return running.Running(os.getpid(), self.plan.address, str(self.plan.home), str(self.plan.data_root))

    # Running

    def _look_after_children(self) -> None:
        now = time.monotonic()
        for child in self.plan.children:
            if child.running:
                if child.age > QUICK:
                    self._quick_deaths[child.name] = 0
                continue
            if child.name not in self._start_again_at:
                deaths = self._quick_deaths.get(child.name, 0) + 1 if child.age < QUICK else 1
                if deaths > QUICK_DEATHS:
                    raise died(child, f"{deaths} times in a row, each within {QUICK:g} s of its start")
                self._quick_deaths[child.name] = deaths
                pause = 0.5 * 2 ** (deaths - 1)
                self._start_again_at[child.name] = now + pause
                self.say(f"{child.name} {how_it_ended(child)}; starting it again in {pause:g} s (log: {child.log})")
            elif now >= self._start_again_at[child.name]:
                del self._start_again_at[child.name]
                child.start()

    # Stopping

    @property
    def _stopping(self) -> bool:
        return bool(self._signals)

    @property
    def _at_once(self) -> bool:
        """Whether a second, separate signal came."""
        return bool(self._signals) and self._signals[-1] - self._signals[0] > DOUBLE_TAP

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        def note(number: int, frame: FrameType | None) -> None:
            self._signals.append(time.monotonic())
            self._woken.set()

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self) -> None:
        children = [child for child in self.plan.children if child.running]
        if not children:
            return
        if self._stopping:
            self.say("stopping; running jobs write a checkpoint and go on at the next start (Ctrl-C again: at once)")
        order = {"api": 0, "worker": 1, "broker": 2}
        for child in sorted(children, key=lambda child: order[child.name]):
            deadline = time.monotonic() + child.patience
            if not self._at_once:
                child.ask_to_stop()
            while child.running and not self._at_once and time.monotonic() < deadline:
                time.sleep(0.05)
            if child.running:
                if not self._at_once:
                    self.say(f"{child.name} did not stop within {child.patience:g} s; killing it")
                child.kill()
        if self.plan.broker_socket:
            broker.remove(self.plan.broker_socket, self.plan.home / "run")
        if self._stopping:
            self.say("stopped")


def how_it_ended(child: Child) -> str:
    code = child.exit_code
    if code is not None and code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def died(child: Child, how_often: str = "while starting") -> StackError:
    tail = "\n".join(f"    {line}" for line in child.tail().splitlines())
    full = shutil.disk_usage(child.log.parent).free < FULL
    hint = f"the disk of {child.log.parent} is full: make room there" if full else ""
    return StackError(f"{child.name} {how_it_ended(child)}, {how_often}; the end of {child.log}:\n{tail}".rstrip(), hint)

"""make faults: every drill so many times, with progress, and a table at the end for benchmarks/RESULTS.md.

make faults FAULTS_ARGS="--trials 100 --only trainer_killed --seed 1"
python tests/faults/run.py --list
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path[0:1] = [str(HERE.parents[1]), str(HERE.parent)]  # our packages, then `faults` and `support`, as pytest has them

from faults.catalogue import DRILLS  # noqa: E402
from faults.drill import Drill, Impossible, Outcome, table  # noqa: E402

Say = Callable[[str], None]


class Places:
    """One place at a time, kept while drills of the same kind follow each other and nothing has gone wrong in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made = 0
        self._kind: Any = None
        self._place: Any = None
        self._stack = contextlib.ExitStack()

    def get(self, drill: Drill) -> Any:
        """Raises Impossible."""
        if self._kind is not drill.place:
            self.leave()
            self._made += 1
            folder = self.folder / str(self._made)
            folder.mkdir(parents=True)
            self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
            self._place = self._stack.enter_context(drill.place(folder))
            self._kind = drill.place
        return self._place

    def leave(self) -> None:
        self._kind = None
        self._stack.close()


@contextlib.contextmanager
def places() -> Iterator[Places]:
    """Below the system's temporary folder, with a short name: sockets lie in it."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    made = Places(folder)
    try:
        yield made
    finally:
        made.leave()
        shutil.rmtree(folder, ignore_errors=True)


def try_out(
    drill: Drill, trials: int, seed: int, where: Places, say: Say = lambda line: None, seconds: float = float("inf")
) -> Outcome:
    """So many trials of one drill, or as many as begin within `seconds`. Trial n of a seed is always the same, whatever ran
    before."""
    outcome = Outcome(drill)
    began = time.monotonic()
    for number in range(trials):
        if outcome.trials and time.monotonic() - began > seconds:
            break
        dice = random.Random(f"{seed} {drill.name} {number}")
        try:
            drill.trial(where.get(drill), dice, number)
        except Impossible as reason:
            outcome.skipped = str(reason)
            where.leave()
            break
        except KeyboardInterrupt:
            outcome.interrupted = True
            break
        except (Exception, pytest.fail.Exception):  # of support.service; it is no Exception
            outcome.failures += 1
            text = traceback.format_exc()
            outcome.first = outcome.first or f"trial {number} of seed {seed}:\n{text}"
            say(f"{drill.name}: trial {number} failed\n{text}")
            where.leave()  # what is left of it proves nothing more
        outcome.trials += 1
        outcome.seconds = time.monotonic() - began
        left = (trials - outcome.trials) * outcome.seconds / outcome.trials
        say(f"{drill.name}: {outcome.trials} of {trials}, {outcome.failures} failed, {left:.0f} s left")
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, help="of each drill; default: as in the tests")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may be given more than once")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for each drill, at most: no trial begins after them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="names and faults")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{drill.name:20} {drill.fault}" for drill in DRILLS.values()))
        return 0
    unknown = [name for name in arguments.only if name not in DRILLS]
    if unknown:
        parser.error(f"--only {unknown[0]}: there is {', '.join(DRILLS)}")
    outcomes = []
    with places() as where:
        for name in arguments.only or DRILLS:
            drill = DRILLS[name]
            trials = arguments.trials or drill.quick
            outcomes.append(try_out(drill, trials, arguments.seed, where, _progress, arguments.seconds))
            if outcomes[-1].interrupted:  # hours may have gone into what is known by then
                break
    print(table(outcomes))
    return 1 if any(outcome.failures for outcome in outcomes) else 0


def _progress(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

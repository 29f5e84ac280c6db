"""The trainer by itself is killed at a random moment, and goes on; or it must before do without its newest checkpoint.

`trainer_killed` and `checkpoint_damaged` show the same of the whole service; these have the number.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

from faults.damage import damage
from faults.drill import Drill
from faults.drills.bare import Bare, pretraining


def killed(place: Bare, dice: random.Random) -> Path:
    """The home of a run whose first attempt was killed, or was quicker."""
    home = place.home()
    pid = place.start(home, 1)
    time.sleep(dice.uniform(0, place.seconds))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    status = place.end()
    assert status in (0, -signal.SIGKILL), (status, place.log(home, 1))
    return home


def whole(home: Path) -> list[Path]:
    """The checkpoints of the first attempt that are what their checksums were taken of, the oldest first."""
    found = []
    for path in sorted((home / "1" / "checkpoints").glob("step-*.ckpt")):
        checksum = path.with_name(path.name + ".sha256")
        if checksum.exists() and checksum.read_text().split()[0] == hashlib.sha256(path.read_bytes()).hexdigest():
            found.append(path)
    return found


def goes_on(place: Bare, home: Path, checkpoint: Path | None) -> None:
    """A second attempt begins with this checkpoint and comes to the end of an undisturbed run."""
    assert place.run(home, 2) == 0, place.log(home, 2)
    said = [json.loads(line) for line in (home / "2" / "events.jsonl").read_text().splitlines()]
    begun = [event["step"] for event in said if event["type"] == "resumed"]
    assert begun == ([] if checkpoint is None else [int(checkpoint.stem.removeprefix("step-"))]), begun
    assert place.product(home / "2") == place.expected, "not the same weights"
    shutil.rmtree(home)


def kill(place: Bare, dice: random.Random, number: int) -> None:
    home = killed(place, dice)
    goes_on(place, home, next(iter(whole(home)[::-1]), None))


def kill_and_damage(place: Bare, dice: random.Random, number: int) -> None:
    for _ in range(20):
        home = killed(place, dice)
        if len(found := whole(home)[-2:]) == 2:
            break
    else:
        raise AssertionError("never were there two checkpoints")
    damage(*found, dice, number)
    goes_on(place, home, found[0])


KILLED = Drill(
    "alone_killed",
    "the same of the trainer alone",
    "a second attempt goes on from the newest whole checkpoint; weights bit-equal to an undisturbed run's",
    pretraining,
    kill,
)
DAMAGED = Drill(
    "alone_damaged",
    "the same of the trainer alone, killed at a random moment",
    "falls back to the older one; weights bit-equal to an undisturbed run's",
    pretraining,
    kill_and_damage,
)

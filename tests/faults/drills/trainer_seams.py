"""The trainer kills itself before or after each fsync, rename, link and unlink: of checkpoints, prepared images, the export; and
of the vectors of an embed job."""

from __future__ import annotations

import random
import shutil

from faults.drill import Drill
from faults.drills.bare import Bare, embedding, pretraining


def trial(place: Bare, dice: random.Random, number: int) -> None:
    for attempt in range(5):
        if one_death(place, place.seams.names[(number + attempt) % len(place.seams.names)]):
            return
    raise AssertionError("nobody died")


def one_death(place: Bare, name: str) -> bool:
    """Whether the seam was passed: how many checkpoints there are depends on the time."""
    home = place.home()
    place.seams.arm(name)
    try:
        status, last = place.run(home, 1), 1
    finally:
        fired = place.seams.disarm()
    assert fired or status == 0, f"{name}: status {status}\n{place.log(home, 1)}"
    if status != 0:  # 0: who died was a process that works for the trainer, and it got over that
        last = 2
        assert place.run(home, last) == 0, (name, place.log(home, last))
    assert place.product(home / str(last)) == place.expected, f"{name}: not the same"
    shutil.rmtree(home)
    return fired


DRILL = Drill(
    "trainer_seams",
    "trainer kills itself before or after each fsync, rename, link, unlink",
    "a second attempt finishes; weights bit-equal to an undisturbed run's",
    pretraining,
    trial,
)
EMBED = Drill(
    "embed_seams",
    "the same of an embed job",
    "a second attempt finishes; vectors equal to an undisturbed run's",
    embedding,
    trial,
)

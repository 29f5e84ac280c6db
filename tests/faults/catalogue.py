"""Every drill, by name; those that share a place stand together."""

from __future__ import annotations

from faults.drill import Drill
from faults.drills import (
    api_killed,
    broker_attacked,
    cancel_finish,
    checkpoint_damaged,
    clock_wrong,
    commit_unseen,
    disk_full,
    group_killed,
    messages_five,
    pause_resume,
    postgres_down,
    postgres_frozen,
    runner_frozen,
    trainer_crashes,
    trainer_killed,
    trainer_seams,
    worker_seams,
)

DRILLS: dict[str, Drill] = {
    module.DRILL.name: module.DRILL
    for module in (
        trainer_killed,
        checkpoint_damaged,
        trainer_seams,
        group_killed,
        runner_frozen,
        messages_five,
        broker_attacked,
        worker_seams,
        trainer_crashes,
        cancel_finish,
        pause_resume,
        api_killed,
        postgres_down,
        postgres_frozen,
        commit_unseen,
        clock_wrong,
        disk_full,
    )
}

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
    outbound_killed,
    pause_resume,
    postgres_down,
    postgres_frozen,
    runner_frozen,
    trainer_alone,
    trainer_crashes,
    trainer_killed,
    trainer_seams,
    upload_disk_full,
    upload_killed,
    worker_seams,
)

DRILLS: dict[str, Drill] = {
    drill.name: drill
    for drill in (
        trainer_killed.DRILL,
        checkpoint_damaged.DRILL,
        trainer_alone.KILLED,
        trainer_alone.DAMAGED,
        trainer_seams.DRILL,
        trainer_seams.EMBED,
        group_killed.DRILL,
        runner_frozen.DRILL,
        messages_five.DRILL,
        broker_attacked.DRILL,
        worker_seams.DRILL,
        trainer_crashes.DRILL,
        cancel_finish.DRILL,
        pause_resume.DRILL,
        api_killed.DRILL,
        postgres_down.DRILL,
        postgres_frozen.DRILL,
        commit_unseen.DRILL,
        clock_wrong.DRILL,
        disk_full.DRILL,
        outbound_killed.DRILL,
        upload_killed.DRILL,
        upload_disk_full.DRILL,
    )
}

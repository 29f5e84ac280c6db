"""A trainer that learns nothing and speaks the protocol of `python -m ssl_core`: for tests of what supervises it.

The spec says how it behaves, all of it optional:
    steps 5, step_seconds 0.02      how long it takes
    die_at [step or null, …]        ends by SIGKILL at that step, one entry per attempt
    exit_at {"step", "status"}      ends with a status
    hang_at step                    makes no further step
    slow_at {"step", "seconds"}     takes that much longer before one step
    deaf true                       ignores SIGTERM
    no_checkpoints true             writes none
    error {"code", "message", "hint"}    says so and ends with 4
    helper true                     starts a process in its group, as DataLoader workers are
    no_pdeathsig true               relies on the pipe alone
    no_encoder true                 ends with 0 and leaves none
    burst n                         says n metrics at once, in one write
    print text                      on stderr, at the start
    crash "at_once", "segfault", "memory"    before the first step, every time
    alone true                      says so in a file of the job's folder if another trainer of the job runs already
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

LOCKS: list[object] = []  # open files, for as long as the process lives


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("spec", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--resume", type=Path, action="append", default=[])
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--cache-bytes", type=int)
    parser.add_argument("--parent-pipe", action="store_true")
    arguments = parser.parse_args()
    spec = json.loads(arguments.spec.read_text())
    attempt = int(arguments.out.name)

    if arguments.parent_pipe:
        if not spec.get("no_pdeathsig"):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        threading.Thread(target=die_with_the_pipe, daemon=True).start()
    if spec.get("crash"):
        crash(spec["crash"])
    if spec.get("alone"):
        stay_alone(arguments.out.parent)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, signal.SIG_IGN if spec.get("deaf") else lambda *_: stop.set())

    print(spec.get("print", "hello"), file=sys.stderr, flush=True)
    facts = {
        "pid": os.getpid(),
        "environment": dict(os.environ),
        "arguments": sys.argv[1:],
        "data_root": str(arguments.data_root),
    }
    if spec.get("helper"):
        facts["helper"] = subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL).pid
    (arguments.out / "facts.json").write_text(json.dumps(facts))

    with (arguments.out / "events.jsonl").open("a", encoding="utf-8") as file:

        def emit(type_: str, **fields: object) -> None:
            file.write(json.dumps({"at": "2026-01-02T03:04:05.000Z", "type": type_, **fields}) + "\n")
            file.flush()

        emit("phase", phase="preparing")
        if "error" in spec:
            emit("error", **spec["error"])
            return 4
        return train(spec, arguments, attempt, stop, emit, file)


def train(spec: dict, arguments: argparse.Namespace, attempt: int, stop: threading.Event, emit: object, file: object) -> int:
    steps, folder = spec.get("steps", 5), arguments.out / "checkpoints"
    folder.mkdir(exist_ok=True)
    found = [path for each in arguments.resume for path in (each / "checkpoints").glob("step-*.ckpt")]
    step = max((int(path.stem.removeprefix("step-")) for path in found), default=0)
    if step:
        emit("resumed", step=step)
    emit("phase", phase="training")
    if burst := spec.get("burst"):
        line = '{"at": "2026-01-02T03:04:05.000Z", "type": "metrics", "epoch": 0, "step": %d, "values": {"noise": 0.5}}\n'
        file.write("".join(line % number for number in range(1, burst + 1)) + '{"type": "metr')  # the last line is torn
        file.flush()
        time.sleep(0.2)
        file.write('ics", "epoch": 0, "step": 0, "values": {"torn": 1.0}}\n')

    die_at = (spec.get("die_at", []) + [None] * attempt)[attempt - 1]
    while step < steps:
        time.sleep(spec.get("step_seconds", 0.02))
        step += 1
        if step == spec.get("slow_at", {}).get("step"):
            time.sleep(spec["slow_at"]["seconds"])
        emit("progress", epoch=0, step=step, steps_total=steps, fraction=step / steps, images_per_second=1.0, eta_seconds=1.0)
        emit("metrics", epoch=0, step=step, values={"train_loss": 1 / step, "odd": None})
        if not spec.get("no_checkpoints"):
            (folder / f"step-{step:08}.ckpt").write_text(str(step))
            emit("checkpoint", file=f"checkpoints/step-{step:08}.ckpt", epoch=0, step=step)
        if step == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if step == spec.get("exit_at", {}).get("step"):
            return int(spec["exit_at"]["status"])
        if step == spec.get("hang_at"):
            time.sleep(600)
        if stop.is_set():
            emit("stopped", step=step)
            return 3
    if not spec.get("no_encoder"):
        export(arguments.out / "encoder", step)
        emit("encoder", folder="encoder")
    emit("health", verdict="learning", reasons=["it says so"])
    emit("finished")
    return 0


def export(folder: Path, step: int) -> None:
    folder.mkdir()
    content = b"weights after step %d" % step
    (folder / "model.safetensors").write_bytes(content)
    manifest = {"arch": "resnet18", "dim": 512, "method": "simclr", "metrics": {"knn_top1": 90.0}}
    manifest |= {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def crash(how: str) -> None:
    """End as trainers do that are ended by their surroundings."""
    if how == "segfault":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        ctypes.string_at(0)
    if how == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        bytearray(2**31)
    sys.exit("it was never going to work")


def stay_alone(folder: Path) -> None:
    """Hold the job's lock until the process ends, however it ends."""
    lock = (folder / "alone").open("a")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        (folder / "not-alone").touch()
    LOCKS.append(lock)


def die_with_the_pipe() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())

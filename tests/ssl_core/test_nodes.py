"""Two machines, each a torchrun with a process group of its own, on loopback: they train what one with two ranks does."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ssl_core.hardware import choose_devices
from ssl_core.ranks import Ranks, launched, local_rank, rank

SPEC = {
    "data": {"source": "folder", "path": "pictures", "size": 16, "held_out": 0.2},
    "encoder": {"arch": "shufflenet_v2_x0_5"},
    "method": {"name": "simclr"},
    "trainer": {"max_epochs": 2, "batch_size": 16, "precision": "fp32", "log_every_steps": 2},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "pictures"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(60):
        Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    return tmp_path


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def trained(root: Path, name: str, commands: list[list[str]]) -> dict[str, torch.Tensor]:
    """The encoder that these processes train together, with `--out` and the data added to their commands."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    words = [str(root / "spec.json"), "--out", str(root / name), "--data-root", str(root / "data")]
    started = [
        subprocess.Popen(
            [*command, *words], env=environment, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        for command in commands
    ]
    try:
        for process in started:
            said, _ = process.communicate(timeout=120)
            assert process.returncode == 0, said.decode()
    finally:
        for process in started:
            process.kill()
            process.wait()
    return load_file(root / name / "encoder" / "model.safetensors")


def test_two_machines_train_what_one_does(root: Path) -> None:
    """Takes half a minute: six processes import torch."""
    port = free_port()
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    nodes = [[*launch, f"--master-port={port}", f"--node-rank={number}", "-m", "ssl_core"] for number in range(2)]
    apart = trained(root, "apart", nodes)
    (root / "spec.json").write_text(json.dumps(SPEC | {"trainer": SPEC["trainer"] | {"devices": 2}}))
    together = trained(root, "together", [[sys.executable, "-m", "ssl_core"]])
    for name, weights in together.items():
        torch.testing.assert_close(apart[name], weights, rtol=1e-4, atol=1e-5, msg=name)
    events = [json.loads(line) for line in (root / "apart" / "events.jsonl").read_text().splitlines()]
    assert [event["type"] for event in events].count("finished") == 1, "one of them speaks for all"


def test_the_environment_of_torchrun() -> None:
    given = {"TORCHELASTIC_RUN_ID": "1", "RANK": "5", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "WORLD_SIZE": "6"}
    assert launched(given) == Ranks(2, 3) and launched(given).world_size == 6
    assert (rank(given), local_rank(given)) == (5, 1)
    assert launched({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}) is None and rank({"LOCAL_RANK": "1"}) == 1 and rank({}) == 0
    with pytest.raises(ValueError, match="5 processes, 2 of them here"):
        launched(given | {"WORLD_SIZE": "5"})


def test_what_torchrun_has_started_decides() -> None:
    assert choose_devices("auto", 12, Ranks(2, 3))[1] == choose_devices(2, 12, Ranks(2, 3))[1] == 2
    with pytest.raises(ValueError, match="devices = 4, and torchrun has started 2 processes here"):
        choose_devices(4, 12, Ranks(2, 3))
    for batch in (13, 6):
        with pytest.raises(ValueError, match=f"a part of {batch} images .* must be a multiple of the 6 processes"):
            choose_devices("auto", batch, Ranks(2, 3))

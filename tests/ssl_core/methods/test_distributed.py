"""Two real processes of a gloo group: gathering with gradient, label offsets, queues, shuffled batch norm."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("two_ranks.py")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What rank 0 and rank 1 found; one run for all tests."""
    file = tmp_path_factory.mktemp("group") / "rendezvous"
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[3]), "GLOO_SOCKET_IFNAME": "lo"}
    if not Path("/sys/class/net/lo").exists():
        del env["GLOO_SOCKET_IFNAME"]
    command = [sys.executable, str(SCRIPT)]
    processes = [
        subprocess.Popen([*command, str(rank), str(file)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, stderr) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, stderr
    return [json.loads(stdout.strip().splitlines()[-1]) for stdout, _ in outputs]


CASES = ["nt_xent", "nt_xent_eqco", "cross_view", "cross_view_ema", "vicreg"]
CASES += ["dcl", "dclw", "dclw_cross_view", "barlow_twins", "nnclr", "nnclr_nt_xent"]
CASES += ["swav", "swav_queue", "dino", "mocov3"]


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_that_of_one_process_on_the_whole_batch(ranks, case):
    """The mean over ranks of the local gradients, gathered keys included; a wrong label offset or a lost cross term shows."""
    for found in ranks:
        assert found[f"{case}_loss_error"] < 1e-5
        assert found[f"{case}_gradient_error"] < 1e-5
        assert found[f"{case}_buffer_error"] < 1e-6  # SwAV's queues and DINO's centre are those of all ranks


def test_gather_is_in_order_of_rank(ranks):
    for found in ranks:
        assert found["gathered"] == list(range(8))


def test_shuffle_deals_across_ranks_by_one_permutation_and_is_undone(ranks):
    dealt = [found["dealt"] for found in ranks]
    assert sorted(dealt[0] + dealt[1]) == list(range(8))
    assert sorted(dealt[0]) != [0, 1, 2, 3]
    assert [found["undealt"] for found in ranks] == [[0, 10, 20, 30], [40, 50, 60, 70]]


def test_shuffled_batch_norm_returns_each_images_own_key(ranks):
    for found in ranks:
        assert found["shuffle_bn_error"] < 1e-6


def test_gather_keys_pushes_the_keys_of_every_rank(ranks):
    for found in ranks:
        assert found["gathered_queue_error"] < 1e-6
        assert found["gathered_queue_pointer"] == 8
        assert found["own_queue_error"] < 1e-6
        assert found["own_queue_pointer"] == 4


def test_every_rank_holds_the_same_support_set_of_all_ranks_projections(ranks):
    for found in ranks:
        assert found["support_error"] < 1e-6 and found["support_pointer"] == 8


def test_data_parallel_does_not_overwrite_a_ranks_own_queue(ranks):
    assert [found["queue_after_ddp"] for found in ranks] == [0.0, 1.0]

"""One of two real processes of a gloo group: `python two_ranks.py RANK FILE` prints its findings as one JSON object.

The single-process answers are worked out before the group exists, on the concatenated batch.
"""

import json
import sys
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import nn

from ssl_core.methods import build_method
from ssl_core.parts import gather
from ssl_core.spec import (
    BarlowTwinsConfig,
    BranchesConfig,
    ContrastLossConfig,
    DINOConfig,
    HeadConfig,
    MoCoConfig,
    MoCoV3Config,
    NNCLRConfig,
    OptimConfig,
    SimCLRConfig,
    SwAVConfig,
    VICRegConfig,
)

N = 4  # images of each rank
HEAD = HeadConfig(layers=2, hidden_dim=16, out_dim=6)  # no batch norm: its statistics are each rank's own


class Batch(NamedTuple):
    views: tuple[torch.Tensor, torch.Tensor]
    index: torch.Tensor


def batch(rows=slice(None)):
    generator = torch.Generator().manual_seed(3)
    a, b = (torch.randn(2 * N, 3, 6, 6, generator=generator)[rows] for _ in range(2))
    return Batch((a, b), torch.arange(2 * N)[rows])


def build(config):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return build_method(encoder, 32, config, OptimConfig())


def gradients(method):
    return torch.cat([p.grad.flatten() for p in method.parameters() if p.requires_grad])


def loss_and_gradient(config, rows=slice(None)):
    """And the buffers after the step, as one vector: queues, centres."""
    method = build(config)
    method.steps_done = 100  # queues that must first be full are
    loss = method.training_step(batch(rows), 0)
    loss.backward()
    buffers = [value.flatten().float() for name, value in method.named_buffers() if name.startswith(("queue_", "center"))]
    return loss.detach(), gradients(method), torch.cat([torch.zeros(1), *buffers])


SHARED = BranchesConfig(target="shared", projector=HEAD)
STOPPED = BranchesConfig(target="stop_gradient", projector=HEAD, predictor=HEAD)
CASES = {
    "nt_xent": SimCLRConfig(branches=SHARED),
    "nt_xent_eqco": SimCLRConfig(branches=SHARED, loss=ContrastLossConfig(eqco_alpha=64)),
    "cross_view": SimCLRConfig(branches=SHARED, negatives="cross_view"),
    "cross_view_ema": SimCLRConfig(branches=BranchesConfig(projector=HEAD), negatives="cross_view"),
    "vicreg": VICRegConfig(branches=SHARED.changed(normalize=False)),
    "dcl": SimCLRConfig(branches=SHARED, decoupled="dcl"),
    "dclw": SimCLRConfig(branches=SHARED, decoupled="dclw"),
    "dclw_cross_view": SimCLRConfig(branches=SHARED, decoupled="dclw", negatives="cross_view"),
    "barlow_twins": BarlowTwinsConfig(branches=SHARED.changed(normalize=False)),
    "nnclr": NNCLRConfig(branches=STOPPED, queue_size=12),
    "nnclr_nt_xent": NNCLRConfig(branches=STOPPED, queue_size=12, negatives="nt_xent"),
    "swav": SwAVConfig(branches=SHARED, prototypes=5),
    "swav_queue": SwAVConfig(branches=SHARED, prototypes=5, queue_size=13, queue_start_epochs=0.0),
    "dino": DINOConfig(branches=BranchesConfig(projector=HEAD), prototypes=5),
    "mocov3": MoCoV3Config(branches=BranchesConfig(projector=HEAD, predictor=HEAD)),
}


def main(rank, file):
    alone = {name: loss_and_gradient(config) for name, config in CASES.items()}
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    mine = slice(rank * N, rank * N + N)
    found = {}

    for name, config in CASES.items():
        *parts, buffers = loss_and_gradient(config, mine)
        found[f"{name}_buffer_error"] = (buffers - alone[name][2]).abs().max().item()
        for value in parts:
            dist.all_reduce(value)
        means = [value / 2 for value in parts]  # what DistributedDataParallel does to gradients
        found[f"{name}_loss_error"] = (means[0] - alone[name][0]).abs().item()
        found[f"{name}_gradient_error"] = ((means[1] - alone[name][1]).norm() / alone[name][1].norm()).item()

    labels = torch.arange(8.0).view(8, 1)
    torch.manual_seed(rank)  # the ranks would draw different permutations
    dealt, inverse = gather.shuffle(labels[mine])
    found["dealt"] = dealt.flatten().tolist()
    found["undealt"] = gather.unshuffle(dealt * 10, inverse).flatten().tolist()
    found["gathered"] = gather.gather(labels[mine]).flatten().tolist()

    for name, together in (("gathered_queue", True), ("own_queue", False)):
        method = build(MoCoConfig(branches=BranchesConfig(projector=HEAD), queue_size=12, gather_keys=together))
        keys = method.branches.key(batch().views[1])
        method.training_step(batch(mine), 0)
        count = 2 * N if together else N
        expected = keys if together else keys[mine]
        found[f"{name}_error"] = (method.queue.keys[:count] - expected).abs().max().item()
        found[f"{name}_pointer"] = method.queue.pointer.item()

    method = build(CASES["nnclr"])
    projections = method.branches.key(batch().views[0])
    method.training_step(batch(mine), 0)
    found["support_error"] = (method.queue.keys[: 2 * N] - projections).abs().max().item()
    found["support_pointer"] = method.queue.pointer.item()

    shuffled = build(MoCoConfig(branches=BranchesConfig(projector=HEAD, shuffle_bn=True), queue_size=12))
    view = batch(mine).views[1]
    with torch.no_grad():
        raw = shuffled.branches.target_projector(shuffled.branches.target_encoder(view))
        plain = nn.functional.normalize(raw, dim=1)
    found["shuffle_bn_error"] = (shuffled.branches.key(view) - plain).abs().max().item()

    torch.manual_seed(10 + rank)
    queues = build(MoCoConfig(branches=BranchesConfig(projector=HEAD), queue_size=12))
    queues.queue.push(torch.full((12, 6), float(rank)))
    nn.parallel.DistributedDataParallel(queues)(view)  # broadcasts rank 0's buffers
    found["queue_after_ddp"] = queues.queue.keys.mean().item()

    dist.destroy_process_group()
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

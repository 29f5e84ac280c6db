"""LeJEPA: SIGReg against lightly and by hand, its properties, one process against two ranks."""

import json
import math
import subprocess
import sys

import pytest
import torch
from lightly.loss import LeJEPALoss
from pydantic import ValidationError

from ssl_core.methods.lejepa import invariance, random_slices, sigreg
from ssl_core.spec import BranchesConfig, HeadConfig, LeJEPAConfig

BRANCHES = BranchesConfig(projector=HeadConfig(norm="bn", hidden_dim=16, out_dim=24), target="shared", normalize=False)


def outputs(views, n, d, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(views, n, d, generator=generator, dtype=torch.float64)


class TestLoss:
    @pytest.mark.parametrize(("local", "n", "d"), [(1, 2, 3), (2, 16, 4), (6, 7, 40), (1, 64, 64)])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_equals_lightly_in_value_and_gradient(self, local, n, d, seed):
        """lightly draws its directions from the global generator: it is given ours."""
        ours, theirs = (outputs(2 + local, n, d, seed).requires_grad_() for _ in range(2))
        slices = random_slices(d, 32, 5, torch.device("cpu"))
        oracle = LeJEPALoss(lambda_param=0.05, sigreg_num_vectors=32).double()
        oracle.sigreg._generate_unit_vectors = lambda device, dtype, num_features: slices.to(dtype)
        expected = oracle(local_proj=theirs[2:], global_proj=theirs[:2])
        loss = 0.05 * sigreg(ours, slices) + 0.95 * invariance(ours, 2)
        loss.backward()
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-6)  # its frequencies are float32
        assert torch.allclose(ours.grad, theirs.grad, atol=1e-7)

    def test_sigreg_by_hand(self):
        """One view, all N rows at 0 in one dimension, two knots, 0 and 1: φ = 1 everywhere.

        The gaps are 0 and (1 - e^-½)², the weights 1 and 1 times e^(-t²/2): N·(1 - e^-½)²·e^-½.
        """
        found = sigreg(torch.zeros(1, 5, 1), torch.ones(1, 1), knots=2, t_max=1.0).item()
        assert found == pytest.approx(5 * (1 - math.exp(-0.5)) ** 2 * math.exp(-0.5), rel=1e-6)

    def test_invariance_by_hand(self):
        """Global views 0 and 2, centre 1; a local view 4: (1 + 1 + 9) / 3."""
        assert invariance(torch.tensor([0.0, 2.0, 4.0]).view(3, 1, 1), 2).item() == pytest.approx(11 / 3)


class TestProperties:
    def test_a_gaussian_costs_least(self):
        """Against a point, other scales, another mean, and a distribution of the same mean and covariance (±1)."""
        z, slices = outputs(1, 4000, 8), random_slices(8, 256, 0, torch.device("cpu"))
        best = sigreg(z, slices).item()
        assert best < 2, "about ∫ (1 - exp(-t²))·exp(-t²/2) dt = 1.06 for any number of images"
        for other in (0 * z, 0.5 * z, 2 * z, z + 0.5, z.sign()):
            assert sigreg(other, slices).item() > 2 * best

    def test_permutation_of_images_and_rotation_with_the_slices(self):
        z, slices = outputs(2, 12, 6), random_slices(6, 16, 0, torch.device("cpu")).double()
        rotation = torch.linalg.qr(outputs(1, 6, 6, seed=3)[0])[0]
        expected = sigreg(z, slices).item()
        assert sigreg(z[:, torch.randperm(12)], slices).item() == pytest.approx(expected, rel=1e-10)
        assert sigreg(z @ rotation, rotation.T @ slices).item() == pytest.approx(expected, rel=1e-10)

    def test_slices_are_unit_vectors_and_a_function_of_the_step(self):
        device = torch.device("cpu")
        first = random_slices(5, 64, 1, device)
        torch.rand(3)
        assert torch.equal(first, random_slices(5, 64, 1, device)) and not torch.equal(first, random_slices(5, 64, 2, device))
        assert torch.allclose(first.norm(dim=0), torch.ones(64))


class TestStep:
    def test_local_views_count_in_both_terms(self, build, make_batch):
        method, batch = build(LeJEPAConfig(branches=BRANCHES, slices=16)), make_batch()
        local = [torch.randn(8, 3, 4, 4) for _ in range(2)]
        loss = method.training_step(batch._replace(views=(*batch.views, *local)), 3)
        outs = [method.branches.query(view).query for view in batch.views]
        z = torch.stack([*outs, *method.branches.query(torch.cat(local)).query.chunk(2)])
        slices = random_slices(24, 16, 3, z.device)
        parts = 0.05 * sigreg(z, slices), 0.95 * invariance(z, 2)
        assert loss.item() == pytest.approx(sum(parts).item(), rel=1e-5)
        assert [method.latest[name].item() for name in ("loss_sigreg", "loss_invariance")] == pytest.approx(
            [part.item() for part in parts], rel=1e-5
        )

    @pytest.mark.parametrize("wrong", [{"target": "ema"}, {"normalize": True}])
    def test_refuses_what_the_loss_cannot_have(self, wrong):
        with pytest.raises(ValidationError, match=f"branches.{next(iter(wrong))} = .*LeJEPA has one network"):
            LeJEPAConfig(branches=BRANCHES.changed(**wrong))


RANK = """
import json, sys, torch, torch.distributed as dist
from ssl_core.methods.lejepa import random_slices, sigreg
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=2)
z = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
own = z[:, 4 * rank : 4 * rank + 4].clone().requires_grad_()
loss = sigreg(own, random_slices(5, 16, 0, torch.device("cpu")))
loss.backward()
print(json.dumps([loss.item(), (own.grad / 2).tolist()]))  # data parallel training takes the mean over ranks
dist.destroy_process_group()
"""


def test_two_ranks_equal_one_process(tmp_path):
    """About 5 s: two processes import torch."""
    command = [sys.executable, "-c", RANK]
    ranks = [subprocess.Popen([*command, rank, str(tmp_path / "store")], stdout=subprocess.PIPE) for rank in "01"]
    found = [json.loads(process.communicate(timeout=60)[0]) for process in ranks]
    z = outputs(2, 8, 5).requires_grad_()
    loss = sigreg(z, random_slices(5, 16, 0, torch.device("cpu")))
    loss.backward()
    for rank, (value, gradient) in enumerate(found):
        assert value == pytest.approx(loss.item(), rel=1e-9)
        assert torch.allclose(torch.tensor(gradient, dtype=torch.float64), z.grad[:, 4 * rank : 4 * rank + 4], atol=1e-10)

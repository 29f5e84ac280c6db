"""ce, bce, ip and EqCo on similarities: by hand, against independent formulas, and their properties."""

import math

import pytest
import torch
from torch.nn import functional as F

from ssl_core.parts.measures import contrast_accuracy, pair_cosines
from ssl_core.parts.pair_loss import cross_entropy, eqco_margin, inner_product, pair_loss
from ssl_core.parts.precision import paired_similarity, similarity_matrix

SHAPES = [(1, 2), (4, 9), (16, 16), (3, 257)]


def draw(rows, columns, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    similarities = torch.rand(rows, columns, generator=generator, dtype=dtype) * 2 - 1
    return similarities.requires_grad_(), torch.randint(columns, (rows,), generator=generator)


class TestByHand:
    def test_ce(self):
        """s = (0.6, -0.2), positive first, T = 0.5: -log(e^1.2 / (e^1.2 + e^-0.4)) = log(1 + e^-1.6)."""
        loss = pair_loss(torch.tensor([[0.6, -0.2]]), torch.tensor([0]), "ce", 0.5)
        assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.6)), rel=1e-6)

    def test_bce(self):
        """Same s and T: log(1 + e^-1.2) for the positive plus log(1 + e^-0.4) for the negative."""
        loss = pair_loss(torch.tensor([[0.6, -0.2]]), torch.tensor([0]), "bce", 0.5)
        assert loss.item() == pytest.approx(math.log(1 + math.exp(-1.2)) + math.log(1 + math.exp(-0.4)), rel=1e-6)

    def test_ip(self):
        """(1 - 0.6) + (1 - 0.2) = 1.2, and the temperature has no part in it."""
        for temperature in (0.1, 1.0):
            loss = pair_loss(torch.tensor([[0.6, -0.2]]), torch.tensor([0]), "ip", temperature)
            assert loss.item() == pytest.approx(1.2, rel=1e-6)

    def test_eqco(self):
        """s = (0.6, -0.2), T = 0.5, alpha = 3 with one negative: log(1 + 3·e^-1.6)."""
        loss = pair_loss(torch.tensor([[0.6, -0.2]]), torch.tensor([0]), "ce", 0.5, eqco_alpha=3, negatives=1)
        assert loss.item() == pytest.approx(math.log(1 + 3 * math.exp(-1.6)), rel=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", [0, 1])
class TestAgainstFormulas:
    """Values and gradients of sums written out term by term, in float64."""

    def compare(self, shape, seed, kind, formula, **options):
        similarities, labels = draw(*shape, seed=seed)
        again = similarities.detach().clone().requires_grad_()
        onehot = F.one_hot(labels, shape[1]).bool()
        positive, negative = again[onehot], again[~onehot].view(shape[0], -1)
        expected = formula(positive, negative).mean()
        loss = pair_loss(similarities, labels, kind, 0.2, **options)
        loss.backward()
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        assert torch.allclose(similarities.grad, again.grad, atol=1e-12)

    def test_ce(self, shape, seed):
        self.compare(shape, seed, "ce", lambda p, n: -(p / 0.2 - torch.log((p / 0.2).exp() + (n / 0.2).exp().sum(1))))

    def test_bce(self, shape, seed):
        self.compare(shape, seed, "bce", lambda p, n: -(p / 0.2).sigmoid().log() - (1 - (n / 0.2).sigmoid()).log().sum(1))

    def test_ip(self, shape, seed):
        self.compare(shape, seed, "ip", lambda p, n: 1 - p + (1 + n).sum(1))

    def test_eqco_is_the_reference_formula(self, shape, seed):
        """log-softmax with the negatives' exponentials multiplied by alpha / K."""
        factor = 65536 / 7
        self.compare(
            shape,
            seed,
            "ce",
            lambda p, n: -(p / 0.2 - torch.log((p / 0.2).exp() + factor * (n / 0.2).exp().sum(1))),
            eqco_alpha=65536,
            negatives=7,
        )


class TestEqCo:
    @pytest.mark.parametrize("alpha", [256, 65536])
    def test_finite_in_half_precision_at_a_low_temperature(self, alpha):
        """exp(1 / 0.07) = 1.6e6 overflows float16 (65504): the naive formula is not finite, this one is, and is right."""
        torch.manual_seed(0)
        exact = torch.cat([torch.ones(4, 1), torch.rand(4, 64) * 2 - 1], dim=1).double()
        half = exact.half().requires_grad_()
        labels = torch.zeros(4, dtype=torch.long)
        exponentials = (half / 0.07).exp()
        assert not torch.log(exponentials.sum(1)).isfinite().all()
        loss = pair_loss(half, labels, "ce", 0.07, eqco_alpha=alpha, negatives=64)
        loss.backward()
        terms = (exact.half().double() / 0.07).exp()
        expected = -torch.log(terms[:, 0] / (terms[:, 0] + alpha / 64 * terms[:, 1:].sum(1))).mean()
        assert loss.isfinite() and half.grad.isfinite().all()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)

    def test_alpha_equal_to_the_count_changes_nothing(self):
        similarities, labels = draw(4, 9)
        assert eqco_margin(8, 8) == 0
        assert pair_loss(similarities, labels, "ce", 0.2, 8, 8).item() == pair_loss(similarities, labels, "ce", 0.2).item()

    def test_alpha_weighs_k_negatives_as_alpha_copies_of_them(self):
        """Repeating each of 4 negatives 3 times is alpha = 12."""
        similarities, _ = draw(5, 5)
        labels = torch.zeros(5, dtype=torch.long)
        repeated = torch.cat([similarities[:, :1], similarities[:, 1:].repeat(1, 3)], dim=1)
        assert pair_loss(similarities, labels, "ce", 0.2, 12, 4).item() == pytest.approx(
            pair_loss(repeated, labels, "ce", 0.2).item(), rel=1e-12
        )

    def test_only_for_ce_and_only_with_negatives(self):
        similarities, labels = draw(2, 3)
        with pytest.raises(ValueError, match="margin on cross-entropy"):
            pair_loss(similarities, labels, "bce", 0.2, 8, 2)
        with pytest.raises(ValueError, match="at least one negative"):
            eqco_margin(8, 0)


class TestProperties:
    @pytest.mark.parametrize("kind", ["ce", "bce", "ip"])
    def test_order_of_rows_and_of_negatives_does_not_matter(self, kind):
        similarities, _ = draw(6, 9)
        labels = torch.zeros(6, dtype=torch.long)
        expected = pair_loss(similarities, labels, kind, 0.2).item()
        columns = torch.cat([torch.tensor([0]), torch.randperm(8) + 1])
        mixed = similarities[torch.randperm(6)][:, columns]
        assert pair_loss(mixed, labels, kind, 0.2).item() == pytest.approx(expected, rel=1e-12)

    @pytest.mark.parametrize("kind", ["ce", "bce", "ip"])
    def test_pulls_the_positive_and_pushes_every_negative(self, kind):
        similarities, labels = draw(6, 9)
        pair_loss(similarities, labels, kind, 0.2).backward()
        positive = F.one_hot(labels, 9).bool()
        assert (similarities.grad[positive] < 0).all()
        assert (similarities.grad[~positive] > 0).all()

    def test_ce_ignores_a_shift_of_all_similarities(self):
        similarities, labels = draw(6, 9)
        assert cross_entropy(similarities + 3, labels, 0.2).item() == pytest.approx(
            cross_entropy(similarities, labels, 0.2).item()
        )

    @pytest.mark.parametrize("kind", ["ce", "bce", "ip"])
    def test_half_precision_is_computed_in_float32(self, kind):
        similarities, labels = draw(4, 5000, dtype=torch.float32)
        half = similarities.detach().half()
        loss = pair_loss(half, labels, kind, 0.07)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(pair_loss(half.double(), labels, kind, 0.07).item(), rel=1e-5)

    def test_unknown_name(self):
        with pytest.raises(ValueError, match="valid: ce, bce, ip"):
            pair_loss(*draw(2, 3), "hinge")


class TestByolsQuestion:
    """The loss question: for unit vectors, 2·(1 - mean⟨q,k⟩) = 2 - 2·mean⟨q,k⟩ = mean‖q - k‖²; scale 1 is exactly half."""

    @pytest.mark.parametrize("seed", range(3))
    def test_two_is_the_papers_loss_and_one_is_half(self, seed):
        generator = torch.Generator().manual_seed(seed)
        q, k = (F.normalize(torch.randn(64, 32, generator=generator), dim=1) for _ in range(2))
        one = inner_product(paired_similarity(q, k).unsqueeze(1), torch.zeros(64, dtype=torch.long))
        assert 2 * one.item() == pytest.approx((2 - 2 * (q * k).sum(1).mean()).item(), abs=1e-6)
        assert 2 * one.item() == pytest.approx((q - k).square().sum(1).mean().item(), abs=1e-6)
        assert (2 * one / 2).item() == one.item()


class TestMeasures:
    def test_accuracy_by_hand(self):
        """Row 1 first of 7; row 2 third; row 3 last. Top 1: 1 of 3, top 5: 2 of 3."""
        row = torch.arange(7.0)
        similarities, labels = torch.stack([row, row, row]), torch.tensor([6, 4, 0])
        top1, top5 = contrast_accuracy(similarities, labels)
        assert (top1.item(), top5.item()) == pytest.approx((100 / 3, 200 / 3))

    def test_a_collapsed_network_or_nan_scores_nothing(self):
        for value in (0.5, math.nan):
            top1, top5 = contrast_accuracy(torch.full((4, 9), value), torch.zeros(4, dtype=torch.long))
            assert (top1.item(), top5.item()) == (0, 0)

    def test_cosines_are_means_of_diagonal_and_rest(self):
        torch.manual_seed(0)
        q, k = torch.randn(8, 5), torch.randn(8, 5)
        matrix = F.cosine_similarity(q.unsqueeze(1), k.unsqueeze(0), dim=2)
        positive, negative = pair_cosines(q, k)
        assert positive.item() == pytest.approx(matrix.diagonal().mean().item(), abs=1e-6)
        assert negative.item() == pytest.approx(matrix[~torch.eye(8, dtype=torch.bool)].mean().item(), abs=1e-6)

    def test_one_image_has_no_negatives(self):
        assert pair_cosines(torch.ones(1, 3), torch.ones(1, 3))[1].item() == pytest.approx(0, abs=1e-6)

    def test_similarities_stay_float32_under_autocast(self):
        torch.manual_seed(0)
        q, k = torch.randn(8, 64), torch.randn(9, 64)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(similarity_matrix(q, k), q @ k.T.float()) is False  # the plain product is in bfloat16
            inside = similarity_matrix(q, k)
        assert inside.dtype == torch.float32
        assert torch.allclose(inside, q @ k.T, atol=1e-5)

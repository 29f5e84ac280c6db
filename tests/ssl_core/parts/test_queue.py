"""The queue: nothing lost at the wrap, any size, gradient-safe, in the checkpoint."""

import pytest
import torch

from ssl_core.parts.queue import KeyQueue


def numbered(first, count, dim=3):
    return torch.arange(first, first + count, dtype=torch.float32).unsqueeze(1).expand(-1, dim).clone()


def held(queue):
    return sorted(int(value) for value in queue.keys[:, 0])


@pytest.mark.parametrize("size", [1, 2, 7, 8, 10, 13])
@pytest.mark.parametrize("batch", [1, 3, 4])
def test_holds_exactly_the_last_keys_whatever_the_sizes(size, batch):
    queue = KeyQueue(3, size)
    for step in range(12):
        queue.push(numbered(step * batch, batch))
        pushed = (step + 1) * batch
        if pushed >= size:
            assert held(queue) == list(range(pushed - size, pushed))


def test_wraps_by_hand():
    """Size 5, batches of 3: rows (3 4 5→0) after the second push, then the oldest, 1, 2, 3, make room."""
    queue = KeyQueue(3, 5)
    queue.push(numbered(0, 3))
    queue.push(numbered(3, 3))
    assert queue.keys[:, 0].tolist() == [5, 1, 2, 3, 4]
    assert queue.pointer.item() == 1
    queue.push(numbered(6, 3))
    assert queue.keys[:, 0].tolist() == [5, 6, 7, 8, 4]


def test_a_batch_larger_than_the_queue_leaves_its_last_keys_in_order():
    queue = KeyQueue(3, 4)
    queue.push(numbered(0, 11))
    assert held(queue) == [7, 8, 9, 10]
    queue.push(numbered(11, 1))
    assert held(queue) == [8, 9, 10, 11]


def test_starts_with_random_unit_vectors():
    queue = KeyQueue(16, 100)
    assert torch.allclose(queue.keys.norm(dim=1), torch.ones(100), atol=1e-6)
    assert queue.keys.std(dim=0).min() > 0.1


def test_pushing_before_the_backward_pass_leaves_the_gradient_right():
    queue, q = KeyQueue(3, 6), torch.randn(2, 3, requires_grad=True)
    before = queue.keys.clone()
    loss = (q @ queue.snapshot().T).sum()
    queue.push(numbered(0, 4))
    loss.backward()
    assert torch.allclose(q.grad, before.sum(0).expand(2, 3))


def test_holds_no_gradient_and_goes_on_from_its_state():
    queue = KeyQueue(3, 5)
    queue.push(numbered(0, 4).requires_grad_())
    assert not queue.keys.requires_grad
    copy = KeyQueue(3, 5)
    copy.load_state_dict(queue.state_dict())
    for each in (queue, copy):
        each.push(numbered(4, 3))
    assert torch.equal(queue.keys, copy.keys) and queue.pointer == copy.pointer


def test_sizes_must_be_positive():
    with pytest.raises(ValueError, match="at least 1"):
        KeyQueue(3, 0)

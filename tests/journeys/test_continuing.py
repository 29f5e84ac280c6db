"""From a finished encoder to the next job with one field, through the whole service."""

from __future__ import annotations

import pytest

from support.journeys import spec
from support.service import Service


def test_the_next_job_begins_where_the_encoder_left_off(service: Service) -> None:
    """Its figures at step 0, of held-out images, are those that the encoder was published with; random weights have others.

    About 15 s: two trainers begin and end.
    """
    body = {**spec(max_epochs=2), "evaluate": {"every_epochs": 2}}
    first = service.succeeded(service.client.submit(**body).id)
    body = {**body, "encoder": {"weights": first.encoder}}
    job = service.succeeded(service.client.submit(**body).id)
    assert job.raw["spec"]["encoder"]["arch"] == "shufflenet_v2_x0_5" and job.encoder != first.encoder
    for name in ("knn_top1", "linear_top1", "effective_rank", "embedding_std"):
        random, ended = service.client.metrics(first.id, name)
        began = next(iter(service.client.metrics(job.id, name)))
        assert began.step == 0 and began.value == pytest.approx(ended.value, rel=1e-4), name
        if name in ("effective_rank", "embedding_std"):
            assert began.value != pytest.approx(random.value, rel=1e-2), name

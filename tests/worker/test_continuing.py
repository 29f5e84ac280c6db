"""A queued job names an encoder that is gone when its turn comes: it fails, and says why."""

import pytest

from jobs.records import JobDraft
from ssl_core.spec import DigitsData, DistillConfig, EncoderConfig, TrainSpec
from worker.supervisor import Supervisor

GONE = "enc_" + "0" * 26
NAMED = {
    "encoder.weights": TrainSpec(data=DigitsData(), encoder=EncoderConfig(weights=GONE)),
    "method.teacher": TrainSpec(data=DigitsData(), method=DistillConfig(teacher=GONE)),
}


@pytest.mark.parametrize("field", NAMED)
def test_a_job_whose_encoder_is_gone_fails_with_its_name(place, field):
    spec = NAMED[field]
    draft = JobDraft(name=None, kind="pretrain", method=spec.method.name, spec=spec.model_dump(mode="json"), labels={})
    job = place.repository.create(draft)
    Supervisor(place.repository, place.settings).run(job.id)
    ended = place.repository.get(job.id)
    assert ended.status == "failed" and ended.error is not None
    assert ended.error["code"] == "encoder_error" and GONE in ended.error["message"] and field in ended.error["message"]

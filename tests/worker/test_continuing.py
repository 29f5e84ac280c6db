"""A queued job names an encoder that is gone when its turn comes: it fails, and says why."""

from jobs.records import JobDraft
from ssl_core.spec import DigitsData, EncoderConfig, TrainSpec
from worker.supervisor import Supervisor


def test_a_job_whose_encoder_is_gone_fails_with_its_name(place):
    gone = "enc_" + "0" * 26
    spec = TrainSpec(data=DigitsData(), encoder=EncoderConfig(weights=gone)).model_dump(mode="json")
    draft = JobDraft(name=None, kind="pretrain", method="simclr", spec=spec, labels={})
    job = place.repository.create(draft)
    Supervisor(place.repository, place.settings).run(job.id)
    ended = place.repository.get(job.id)
    assert ended.status == "failed" and ended.error is not None
    assert ended.error["code"] == "encoder_error" and gone in ended.error["message"]

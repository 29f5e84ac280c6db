"""encoder.weights in POST /jobs: one field suffices, and what does not fit is refused with its field."""

import pytest

DIGITS = {"source": "digits"}


def refused(answer):
    assert answer.status_code == 422, answer.text
    return {each["pointer"]: each["detail"] for each in answer.json()["errors"]}


def test_one_field_takes_over_what_is_left_open(service, published):
    body = {"data": DIGITS, "encoder": {"weights": published.encoder_id}}
    answer = service.http.post("/jobs", json=body)
    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job["spec"]["encoder"] == {"arch": "resnet18", "stem": "imagenet", "weights": published.encoder_id}
    assert (job["spec"]["data"]["size"], job["spec"]["data"]["mean"], job["spec"]["data"]["std"]) == (32, [0.5] * 3, [0.25] * 3)
    assert any("encoder.arch = resnet18" in note and "data.mean" in note for note in job["notes"])


def test_what_is_given_stays_and_a_preset_s_arch_does_not(service, published):
    body = {"preset": "imagenet_moco_v2_r50", "data": {**DIGITS, "size": 64}, "encoder": {"weights": published.encoder_id}}
    spec = service.http.post("/jobs?validate_only=true", json=body).json()["spec"]
    assert (spec["encoder"]["arch"], spec["data"]["size"]) == ("resnet18", 64)


def test_a_job_s_id_stands_for_its_encoder(service, published, submit):
    body = {"data": DIGITS, "encoder": {"weights": published.id}}
    job = service.http.post("/jobs?validate_only=true", json=body).json()
    assert job["spec"]["encoder"]["weights"] == published.encoder_id
    body["encoder"]["weights"] = submit().id
    assert service.http.post("/jobs", json=body).status_code == 409, "it has no encoder yet"


@pytest.mark.parametrize(
    ("encoder", "pointer", "hint"),
    [
        ({"weights": "enc_" + "0" * 26}, "/encoder/weights", "GET /encoders"),
        ({"weights": "nowhere.safetensors"}, "/encoder/weights", "no file 'nowhere.safetensors'"),
        ({"weights": "../secret.pt"}, "/encoder/weights", "below the data root"),
        ({"weights": "timm"}, "/encoder/weights", "timm/<name>"),
        ({"weights": "torchvision", "arch": "ws_resnet18"}, "/encoder/weights", "publishes no weights"),
        ({"weights": "mine", "arch": "resnet34"}, "/encoder/arch", "'resnet18'"),
        ({"weights": "mine", "stem": "cifar"}, "/encoder/stem", "'imagenet'"),
    ],
    ids=["unknown", "no file", "outside", "arch of another library", "not published", "another arch", "another stem"],
)
def test_refuses_what_cannot_be_continued(service, published, encoder, pointer, hint):
    given = {**encoder, "weights": published.encoder_id if encoder["weights"] == "mine" else encoder["weights"]}
    found = refused(service.http.post("/jobs", json={"data": DIGITS, "encoder": given}))
    assert list(found) == [pointer] and hint in found[pointer]


class TestTeacher:
    """method.teacher, which method distill learns from."""

    def test_an_encoder_or_its_job_will_do(self, service, published, submit):
        body = {"data": DIGITS, "method": {"name": "distill", "teacher": published.encoder_id}}
        job = service.http.post("/jobs", json=body)
        assert job.status_code == 202, job.text
        assert job.json()["spec"]["method"]["teacher"] == published.encoder_id
        assert job.json()["spec"]["encoder"]["weights"] is None, "it is learned from, not continued"
        body = {"data": DIGITS, "preset": "distill", "method": {"teacher": published.id}}
        planned = service.http.post("/jobs?validate_only=true", json=body).json()
        assert planned["spec"]["method"]["teacher"] == published.encoder_id
        assert f"method.teacher = {published.encoder_id}: the encoder of {published.id}" in planned["notes"]
        body["method"]["teacher"] = submit().id
        assert service.http.post("/jobs", json=body).status_code == 409, "it has no encoder yet"

    @pytest.mark.parametrize(
        ("method", "pointer", "hint"),
        [
            ({"teacher": "enc_" + "0" * 26}, "/method/teacher", "GET /encoders"),
            ({}, "/method/teacher", "is required"),
            ({"teacher": "a.safetensors"}, "/method/teacher_arch", "is required"),
            ({"teacher": "a.safetensors", "teacher_arch": "resnet18"}, "/method/teacher", "no file 'a.safetensors'"),
        ],
        ids=["unknown", "none", "no arch", "no file"],
    )
    def test_refuses_what_cannot_teach(self, service, method, pointer, hint):
        found = refused(service.http.post("/jobs", json={"data": DIGITS, "method": {"name": "distill", **method}}))
        assert list(found) == [pointer] and hint in found[pointer]

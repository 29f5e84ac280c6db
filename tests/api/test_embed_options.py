"""POST /embed: shorter vectors, local features, Arrow; what they refuse."""

from __future__ import annotations

import base64
import io

import numpy as np
import pyarrow as pa
import pytest

from ssl_core.embedder import Embedder

ARROW = "application/vnd.apache.arrow.stream"
NPY = "application/x-npy"


@pytest.fixture(scope="module")
def embedder(exported):
    return Embedder.load(exported, "cpu")


@pytest.fixture(scope="module")
def prepared(embedder, picture):
    return np.stack([embedder.preprocess(picture(seed)) for seed in range(3)])


@pytest.fixture
def post(service, published, picture):
    """post(accept, **fields) sends three pictures."""

    def send(accept="application/json", images=None, **fields):
        images = images or [base64.b64encode(picture(seed)).decode() for seed in range(3)]
        return service.http.post("/embed", json={"images": images, **fields}, headers={"Accept": accept})

    return send


class TestDimensions:
    def test_are_principal_components(self, post, embedder, prepared):
        body = post(dimensions=8).json()
        assert body["dim"] == 8
        assert body["explained_variance"] == pytest.approx(embedder.projection.kept(8), abs=1e-5)
        found = np.array([each["embedding"] for each in body["data"]])
        np.testing.assert_allclose(found, embedder.projection(embedder.embed(prepared), 8), rtol=1e-3, atol=1e-4)

    def test_normalised_after(self, post):
        found = np.array([each["embedding"] for each in post(dimensions=8, normalize=True).json()["data"]])
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)

    @pytest.mark.parametrize(("dimensions", "words"), [(0, "greater than or equal to 1"), (40, "1 to 39"), ("many", "integer")])
    def test_refused(self, post, dimensions, words):
        answer = post(dimensions=dimensions)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/dimensions"
        assert words in answer.json()["errors"][0]["detail"]

    def test_an_encoder_without(self, service, publish, post):
        """As those of earlier versions."""
        job = publish()
        folder = next((service.home / "encoders").glob(f"{job.encoder_id}.*"))
        text = (folder / "manifest.json").read_text()
        start = text.index(',\n  "projection"')
        (folder / "manifest.json").write_text(text[:start] + "\n}")
        answer = post(dimensions=8, encoder=job.id)
        assert answer.status_code == 422 and "without principal components" in answer.json()["detail"]
        assert post(encoder=job.id).status_code == 200


class TestPatches:
    def test_json_base64_and_npy(self, post, embedder, prepared):
        expected = embedder.grids(prepared)
        body = post(layer="patch").json()
        assert (body["dim"], body["grid"]) == (512, list(expected.shape[1:3]))
        found = np.array([each["embedding"] for each in body["data"]])
        np.testing.assert_allclose(found, expected.reshape(3, -1, 512), rtol=1e-3, atol=1e-4)
        coded = post(layer="patch", encoding_format="base64").json()["data"][1]["embedding"]
        np.testing.assert_allclose(np.frombuffer(base64.b64decode(coded), "<f4"), expected[1].reshape(-1), rtol=1e-3, atol=1e-4)
        array = np.load(io.BytesIO(post(NPY, layer="patch").content))
        np.testing.assert_allclose(array, expected, rtol=1e-3, atol=1e-4)

    def test_each_is_normalised(self, post):
        array = np.load(io.BytesIO(post(NPY, layer="patch", normalize=True).content))
        np.testing.assert_allclose(np.linalg.norm(array, axis=-1), 1, atol=1e-4)

    def test_not_with_dimensions(self, post):
        answer = post(layer="patch", dimensions=8)
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == "/dimensions"

    def test_too_many_at_once(self, post, monkeypatch):
        monkeypatch.setattr("api.embedding.MAX_PATCH_VALUES", 2 * 512)
        answer = post(layer="patch")
        assert answer.status_code == 413 and "at most 2" in answer.json()["detail"]


class TestArrow:
    def test_columns(self, post, embedder, prepared, published):
        answer = post(ARROW)
        assert answer.headers["content-type"] == ARROW
        table = pa.ipc.open_stream(answer.content).read_all()
        assert table.schema.names == ["index", "embedding", "error"]
        assert table.schema.field("embedding").type == pa.list_(pa.float32(), 512)
        assert table.schema.metadata == {b"encoder": answer.headers["x-encoder"].encode(), b"shape": b"512"}
        assert table["index"].to_pylist() == [0, 1, 2] and table["error"].null_count == 3
        found = np.array(table["embedding"].to_pylist(), np.float32)
        np.testing.assert_allclose(found, embedder.embed(prepared), rtol=1e-3, atol=1e-4)

    def test_bad_pictures_are_null(self, post, picture):
        images = ["", base64.b64encode(picture()).decode()]
        table = pa.ipc.open_stream(post(ARROW, images, on_error="null").content).read_all()
        assert [each is None for each in table["embedding"].to_pylist()] == [True, False]
        assert table["error"].to_pylist() == ["image 0: it is empty", None]

    def test_patches_lie_flat(self, post):
        table = pa.ipc.open_stream(post(ARROW, layer="patch").content).read_all()
        assert table.schema.metadata[b"shape"].startswith(b"1,1,512") or table.schema.metadata[b"shape"].endswith(b",512")


class TestTelling:
    def test_metrics(self, service, post):
        def read():
            lines = service.http.get("/metrics").text.splitlines()
            return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

        before = read()
        assert post().status_code == 200 and post(images=["?"]).status_code == 422
        after = read()

        def grew(name):
            return after[name] - before.get(name, 0.0)

        assert grew('imprint_embed_requests_total{outcome="ok"}') == 1
        assert grew('imprint_embed_requests_total{outcome="validation"}') == 1
        assert grew("imprint_embed_images_total") == 3 and grew("imprint_embed_bad_images_total") == 1
        assert grew('imprint_embed_batch_images_bucket{le="4.0"}') == 1
        assert grew("imprint_embed_queue_seconds_count") == 1 and grew("imprint_embed_infer_seconds_count") == 1
        assert after["imprint_encoders_loaded"] >= 1 and after["imprint_encoders_bytes"] > 2**20
        assert after["imprint_embed_pending_images"] == after["imprint_embed_pending_bytes"] == 0

    def test_every_answer_has_its_time(self, service, post):
        for answer in (post(), post(images=["?"]), service.http.get("/livez"), service.http.get("/nothing")):
            assert answer.headers["server-timing"].split(", ")[-1].startswith("total;dur=")


class TestBounds:
    def test_the_deadline(self, start, put_encoder, exported, picture, tmp_path):
        with start(tmp_path, embed_deadline_seconds=0.0001) as running:
            put_encoder(running, exported)
            answer = running.http.post("/embed", content=picture(), headers={"Content-Type": "image/png"})
            assert answer.status_code == 504 and int(answer.headers["retry-after"]) >= 1
            assert 'outcome="timeout"' in running.http.get("/metrics").text

    def test_draining(self, service, post):
        service.services.draining.set()
        try:
            answer = post()
        finally:
            service.services.draining.clear()
        assert answer.status_code == 503 and int(answer.headers["retry-after"]) >= 1


def test_local_features_of_nothing_but_unreadable_pictures(service, published):
    """Every picture gets null and its error; there is no row to shape."""
    body = {"images": ["YI", "%"], "layer": "patch", "on_error": "null", "encoder": published.encoder_id}
    answer = service.http.post("/embed", json=body)
    assert answer.status_code == 200, answer.text
    assert [each["embedding"] for each in answer.json()["data"]] == [None, None]

"""OpenAI's own client against /v1: it must work unchanged."""

from __future__ import annotations

import base64

import numpy as np
import openai
import pytest

from ssl_core.embedder import Embedder


@pytest.fixture
def client(service):
    """Its retries are off, so that a refusal is seen at once."""
    return openai.OpenAI(base_url=f"{service.http.base_url}/v1", api_key="any", max_retries=0)


def uri(data):
    return "data:image/png;base64," + base64.b64encode(data).decode()


class TestEmbeddings:
    def test_one_and_several(self, client, published, picture, exported):
        expected = Embedder.load(exported, "cpu").embed_images([picture(0), picture(1)])
        found = client.embeddings.create(model=published.encoder_id, input=[uri(picture(0)), uri(picture(1))])
        assert found.object == "list" and found.model == published.encoder_id and found.usage.total_tokens == 0
        assert [each.index for each in found.data] == [0, 1] and found.data[0].object == "embedding"
        np.testing.assert_allclose([each.embedding for each in found.data], expected, rtol=1e-3, atol=1e-4)
        one = client.embeddings.create(model="latest", input=uri(picture(1)), encoding_format="float")
        np.testing.assert_allclose(one.data[0].embedding, expected[1], rtol=1e-3, atol=1e-4)

    def test_dimensions(self, client, published, picture):
        found = client.embeddings.create(model=published.id, input=uri(picture()), dimensions=4)
        assert len(found.data[0].embedding) == 4

    def test_normalised_if_asked(self, client, published, picture):
        found = client.embeddings.create(model="latest", input=uri(picture()), extra_body={"normalize": True})
        assert np.linalg.norm(found.data[0].embedding) == pytest.approx(1, abs=1e-5)

    def test_asynchronous(self, service, published, picture):
        import asyncio

        async def main():
            async with openai.AsyncOpenAI(base_url=f"{service.http.base_url}/v1", api_key="any") as client:
                calls = [client.embeddings.create(model="latest", input=uri(picture(seed))) for seed in range(4)]
                return await asyncio.gather(*calls)

        assert [len(each.data[0].embedding) for each in asyncio.run(main())] == [512] * 4


class TestModels:
    def test_list_and_retrieve(self, client, service, published):
        service.http.put("/aliases/production", json={"encoder": published.id})
        found = {each.id: each for each in client.models.list()}
        assert {published.encoder_id, "production"} <= set(found) and found["production"].owned_by == "imprint"
        assert client.models.retrieve("production").id == "production"
        assert client.models.retrieve(published.encoder_id).created == found[published.encoder_id].created > 1_700_000_000


class TestErrors:
    def test_not_found(self, client, picture):
        with pytest.raises(openai.NotFoundError) as raised:
            client.embeddings.create(model="text-embedding-3-small", input=uri(picture()))
        assert raised.value.code == "model_not_found" and "text-embedding-3-small" in raised.value.message
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nobody")

    def test_text_is_not_a_picture(self, client, published):
        with pytest.raises(openai.UnprocessableEntityError, match="image 0: neither base64") as raised:
            client.embeddings.create(model="latest", input=["a cat, on a mat!"])
        assert raised.value.param == "input" and raised.value.type == "invalid_request_error"

    def test_nothing_and_too_much(self, client, published):
        with pytest.raises(openai.UnprocessableEntityError):
            client.embeddings.create(model="latest", input=[])
        with pytest.raises(openai.APIStatusError) as raised:
            client.embeddings.create(model="latest", input=["a"] * 257)
        assert raised.value.status_code == 413

    def test_the_key(self, start, exported, picture, tmp_path):
        with start(tmp_path, api_keys=("secret",)) as running:
            wrong = openai.OpenAI(base_url=f"{running.http.base_url}/v1", api_key="wrong", max_retries=0)
            with pytest.raises(openai.AuthenticationError) as raised:
                wrong.models.list()
            assert raised.value.code == "invalid_api_key"
            assert list(openai.OpenAI(base_url=f"{running.http.base_url}/v1", api_key="secret").models.list()) == []

    def test_busy(self, client, service, published, picture):
        service.services.batcher.pending += service.services.batcher.max_pending
        try:
            with pytest.raises(openai.RateLimitError) as raised:
                client.embeddings.create(model="latest", input=uri(picture()))
        finally:
            service.services.batcher.pending -= service.services.batcher.max_pending
        assert int(raised.value.response.headers["retry-after"]) >= 1

"""Several encoders at once: what is kept, what leaves, what is loaded before it is asked for."""

from __future__ import annotations

import base64
import threading
import time
import weakref

import pytest


@pytest.fixture
def ask(service, picture):
    """ask(encoder) embeds one picture; returns the answer."""
    body = {"images": [base64.b64encode(picture()).decode()]}
    return lambda encoder: service.http.post("/embed", json={"encoder": encoder, **body})


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


class TestRoom:
    def test_the_least_recently_used_leaves(self, service, publish, ask):
        embedders = service.services.embedders
        first, second, third = (publish() for _ in range(3))
        ask(first.id)
        one = embedders._loaded[first.encoder_id].size_bytes
        embedders.max_bytes, before = int(2.5 * one), embedders.max_bytes
        try:
            for job in (first, second, first, third):
                assert ask(job.id).status_code == 200
            assert list(embedders._loaded) == [first.encoder_id, third.encoder_id]
            assert ask(second.id).status_code == 200
        finally:
            embedders.max_bytes = before
        assert 'imprint_encoders_dropped_total{reason="room"}' in service.http.get("/metrics").text

    def test_never_more_than_there_is_room_for(self, service, publish, picture):
        """Eight clients ask for three encoders, with room for one: however they meet, no two are in memory at once."""
        import httpx

        embedders = service.services.embedders
        jobs = [publish() for _ in range(3)]
        answers, most = [], []
        alive = weakref.WeakSet()
        load = embedders._load

        def watched(encoder_id, folder):
            most.append(len(alive))  # of those that were loaded before, when the next one is
            loaded = load(encoder_id, folder)
            alive.add(loaded)
            return loaded

        def client(number):
            with httpx.Client(base_url=service.http.base_url, timeout=30) as http:
                for turn in range(12):
                    path = f"/embed?encoder={jobs[(number + turn) % 3].id}"
                    answers.append(http.post(path, content=picture(), headers={"Content-Type": "image/png"}).status_code)

        embedders._loaded.clear()
        embedders.max_bytes, before, embedders._load = 1, embedders.max_bytes, watched
        try:
            threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            embedders.max_bytes = before
            del embedders._load
        assert answers == [200] * 96
        assert len(most) >= 3 and max(most) == 0

    def test_idle_ones_leave(self, service, publish, ask):
        embedders = service.services.embedders
        job = publish()
        ask(job.id)
        embedders.idle_seconds, before = 0.0, embedders.idle_seconds
        try:
            embedders.drop_idle()
        finally:
            embedders.idle_seconds = before
        assert job.encoder_id not in embedders and ask(job.id).status_code == 200


class TestAliases:
    def test_swaps_under_load_fail_no_request(self, service, publish, picture):
        """Eight clients ask for a name that is swapped between two encoders; each gets one of them, and in the end the last."""
        import httpx

        jobs = [publish(), publish()]
        service.http.put("/aliases/live", json={"encoder": jobs[0].id})
        answers, stop = [], threading.Event()

        def client():
            with httpx.Client(base_url=service.http.base_url, timeout=30) as http:
                while not stop.is_set():
                    answers.append(http.post("/embed?encoder=live", content=picture(), headers={"Content-Type": "image/png"}))

        threads = [threading.Thread(target=client) for _ in range(8)]
        for thread in threads:
            thread.start()
        for turn in range(20):
            service.services.embedders._loaded.pop(jobs[turn % 2].encoder_id, None)  # as if memory had been short
            assert service.http.put("/aliases/live", json={"encoder": jobs[turn % 2].id}).status_code == 200
            now = service.http.post("/embed?encoder=live", content=picture(), headers={"Content-Type": "image/png"})
            assert now.json()["encoder"] == jobs[turn % 2].encoder_id
        stop.set()
        for thread in threads:
            thread.join()
        assert len(answers) > 20 and {each.status_code for each in answers} == {200}
        assert {each.json()["encoder"] for each in answers} == {job.encoder_id for job in jobs}

    def test_a_damaged_encoder_never_goes_live(self, service, publish, ask):
        good, bad = publish(), publish()
        service.http.put("/aliases/steady", json={"encoder": good.id})
        folder = next((service.home / "encoders").glob(f"{bad.encoder_id}.*"))
        for name in ("model.safetensors", "openvino.bin"):
            (folder / name).write_bytes(b"damaged")
        answer = service.http.put("/aliases/steady", json={"encoder": bad.id})
        assert answer.status_code == 409
        assert ask("steady").json()["encoder"] == good.encoder_id
        publish()  # the damaged one is not the latest for the tests that follow


class TestWarming:
    def test_an_encoder_is_loaded_when_it_is_published(self, start, put_encoder, exported, tmp_path, monkeypatch):
        monkeypatch.setattr("api.warming.AFTER", 0.0)
        monkeypatch.setattr("api.warming.EVERY", 0.05)
        with start(tmp_path, warm=True) as running:
            for _ in range(2):
                job = put_encoder(running, exported)
                wait_for(lambda encoder=job.encoder_id: encoder in running.services.embedders._loaded)

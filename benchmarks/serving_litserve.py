"""The encoder behind LitServe, as its documentation has it. A module of its own: LitServe's workers import the class by name."""

import base64
from pathlib import Path
from typing import Any

import litserve as ls
from fastapi import Request
from serving_peers import MAX_BATCH, Network


class Embed(ls.LitAPI):  # type: ignore[misc]
    """One request at a time."""

    def serves(self, folder: Path, threads: int) -> "Embed":
        """Itself, with what `setup` loads in the worker."""
        self.folder, self.threads = folder, threads
        return self

    def setup(self, device: str) -> None:
        self.network = Network(self.folder, self.threads)

    def decode_request(self, request: Request) -> list[Any]:
        given: Any = request["images"]  # type: ignore[index]  # LitServe gives the form or the object
        pictures = [base64.b64decode(each) for each in given] if isinstance(given, list) else [given.file.read()]
        return [self.network.decode(each) for each in pictures]

    def predict(self, images: Any) -> Any:
        return self.network.embed(images)

    def encode_response(self, output: Any) -> dict[str, Any]:
        return {"data": output}


class EmbedBatched(Embed):
    """A request with several photos is one item of a batch."""

    def predict(self, items: Any) -> Any:
        flat = iter(self.network.embed([image for item in items for image in item]))
        return [[next(flat) for _ in item] for item in items]

    def batch(self, inputs: list[Any]) -> list[Any]:
        return inputs

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output


def serve(port: int, folder: Path, threads: int, batched: bool) -> None:
    """Until killed."""
    api = EmbedBatched(max_batch_size=MAX_BATCH, batch_timeout=0.005, api_path="/embed") if batched else Embed(api_path="/embed")
    server = ls.LitServer(api.serves(folder, threads), accelerator="cpu", workers_per_device=1, timeout=120)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, log_level="warning", generate_client_file=False)

"""Other ways to serve the same encoder, each an HTTP server of its own.

    python benchmarks/serving_peers.py NAME PORT ENCODER THREADS

naive               FastAPI, PIL and torchvision's transforms, torch in fp32, all in the route, as tutorials have it
litserve            LitServe as its documentation has it, without batching
litserve, batched   the same with max_batch_size = 32 and a batch timeout of 5 ms
bare                no server: an endless loop of decoding and inference with our own parts (see `bare_loop`)

All take photos as a form (`images`) or as JSON (base64 in `images`), and answer JSON with a list of floats for each. They decode
by the manifest's preprocessing: the short side resized with antialiasing, the centre cut out, normalised.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from measure import answer

NAIVE, LITSERVE, BATCHED = "naive", "litserve", "litserve, batched"
PEERS = (NAIVE, LITSERVE, BATCHED)
MAX_BATCH = 32


class Network:
    """The encoder of a folder in plain torch: fp32, as it comes."""

    def __init__(self, folder: Path, threads: int) -> None:
        import safetensors.torch
        import torch
        from torchvision import transforms

        from ssl_core.encoders import build_encoder

        torch.set_num_threads(threads)
        manifest = json.loads((folder / "manifest.json").read_text())
        encoder = build_encoder(manifest["arch"], manifest["size"], manifest["stem"])
        encoder.backbone.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
        self.encoder = encoder.eval()
        prepared = manifest["preprocessing"]
        self.transform = transforms.Compose(
            [
                transforms.Resize(prepared["resize"]["short_side"]),
                transforms.CenterCrop(prepared["size"]),
                transforms.ToTensor(),
                transforms.Normalize(prepared["mean"], prepared["std"]),
            ]
        )

    def decode(self, data: bytes) -> Any:
        """float32 (3, size, size)."""
        from PIL import Image

        return self.transform(Image.open(io.BytesIO(data)).convert("RGB"))

    def embed(self, images: list[Any]) -> list[list[float]]:
        """One vector per image."""
        import torch

        with torch.inference_mode():
            vectors: list[list[float]] = self.encoder(torch.stack(images)).tolist()
        return vectors


def naive(port: int, folder: Path, threads: int) -> None:
    """Serve until killed."""
    import uvicorn
    from fastapi import FastAPI, Request

    network, app = Network(folder, threads), FastAPI()

    async def embed(request: Request) -> dict[str, Any]:
        if request.headers["content-type"] == "application/json":
            pictures = [base64.b64decode(each) for each in (await request.json())["images"]]
        else:
            pictures = [await each.read() for each in (await request.form()).getlist("images")]  # type: ignore[union-attr]
        return {"data": network.embed([network.decode(each) for each in pictures])}

    embed.__annotations__["request"] = Request
    app.post("/embed")(embed)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False)


def bare_loop(folder: str, photos: list[str], batch: int, seconds: float, threads: int) -> dict[str, Any]:
    """Images/s and the median seconds of a batch: decode, then infer, without any server.

    batch 1: one after the other. Larger: the next batch is decoded by `threads` threads while the network has this one, as
    any server may do; images/s is then what the machine can do at most.
    """
    from ssl_core.embedder import Embedder

    embedder = Embedder.load(Path(folder), "cpu", threads=threads)
    files = [Path(each).read_bytes() for each in photos]
    took: list[float] = []
    with ThreadPoolExecutor(threads) as pool:

        def decoded(number: int) -> list[Any]:
            return [pool.submit(embedder.preprocess, files[(number * batch + at) % len(files)]) for at in range(batch)]

        def infer(rows: list[Any]) -> None:
            embedder.embed(embedder.stacked(rows))

        for number in range(3):
            infer([each.result() for each in decoded(number)])
        began, number, ahead = time.perf_counter(), 0, decoded(0) if batch > 1 else []
        while time.perf_counter() - began < seconds:
            started = time.perf_counter()
            if batch == 1:
                infer([embedder.preprocess(files[number % len(files)])])
            else:
                now, ahead = ahead, decoded(number + 1)
                infer([each.result() for each in now])
            took.append(time.perf_counter() - started)
            number += 1
        elapsed = time.perf_counter() - began
        for each in ahead:
            each.cancel()
    return {"images_per_second": number * batch / elapsed, "seconds": took}


def main() -> None:
    name, port, folder, threads = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
    if name == NAIVE:
        naive(port, folder, threads)
    else:
        import serving_litserve

        serving_litserve.serve(port, folder, threads, batched=name == BATCHED)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        answer(bare_loop)
    else:
        main()

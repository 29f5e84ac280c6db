"""torch itself: on GPUs with bf16 and CUDA graphs, on CPUs in fp32."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ssl_core.inference.base import Grids, Images, Vectors
from ssl_core.inference.network import ServedNetwork

Call = Callable[[Tensor], Tensor]


class OnTorch:
    """A backend, see base.py.

    On a GPU, batches are filled up to the next power of two, and each such size is captured once as a CUDA graph: launching
    hundreds of small kernels costs more than computing them.
    """

    name = "torch"

    def __init__(self, network: ServedNetwork, device: torch.device, precision: str = "fp32") -> None:
        """Takes `network` over: it goes to `device`, channels last in memory."""
        self.precision = precision
        self.device = device
        self._network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._graphs: dict[int, _Graph] = {}
        self._lock = threading.Lock()

    @torch.inference_mode()
    def vectors(self, images: Images) -> Vectors:
        if self.device.type != "cuda":
            return cast(Vectors, self._compute(torch.from_numpy(images)).numpy())
        with self._lock:  # a graph reads and writes the same memory every time
            size = 1 << (len(images) - 1).bit_length() if len(images) else 1
            if size not in self._graphs:
                self._graphs[size] = _Graph(self._compute, size, self._network.encoder.size, self.device)
            return self._graphs[size](images)

    @torch.inference_mode()
    def grids(self, images: Images) -> Grids:
        with self._autocast():
            _, grids = self._network(torch.from_numpy(images).to(self.device))
        return cast(Grids, grids.float().contiguous().cpu().numpy())

    def _compute(self, images: Tensor) -> Tensor:
        with self._autocast():
            return cast(Tensor, self._network.vectors(images).float())

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False)


class _Graph:
    """One size of batch, captured: copy in, replay, copy out."""

    def __init__(self, compute: Call, count: int, size: int, device: torch.device) -> None:
        self._given = torch.zeros(count, size, size, 3, dtype=torch.uint8, device=device)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):  # libraries choose their kernels and take their memory before anything is captured
            for _ in range(3):
                compute(self._given)
        torch.cuda.current_stream(device).wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._answer = compute(self._given)

    def __call__(self, images: Images) -> Vectors:
        self._given[: len(images)].copy_(torch.from_numpy(images))
        self._graph.replay()
        return cast(Vectors, self._answer[: len(images)].cpu().numpy().astype(np.float32, copy=False))

"""OpenVINO: an encoder compiled for CPUs. Written when the encoder is exported, in the form that OpenVINO loads in a moment.

Why OpenVINO: docs/decisions/0011-serving-backends.md.
"""

from __future__ import annotations

import sys
import threading
import warnings
from functools import cache
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ssl_core.data.machine import cpus
from ssl_core.inference.base import Grids, Images, NoGrid, Vectors

if TYPE_CHECKING:
    from ssl_core.inference.network import ServedNetwork

NETWORK_FILE, WEIGHTS_FILE = "openvino.xml", "openvino.bin"
FILES = (NETWORK_FILE, WEIGHTS_FILE)
VECTORS, GRIDS = "vectors", "grids"  # names of the outputs
_PRECISION = {"fp32": "f32", "bf16": "bf16"}


def library() -> Any:
    """The package `openvino`, kept from reporting to its makers what is converted, as it does unless told not to: nothing here
    sends anything to anyone. Raises ImportError."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


@cache
def core() -> Any:
    """The process's only Core, which lives as long as the process.

    On processors with large registers it gives the thread that makes it another stack for signals, and takes that stack's memory
    back when it goes, maybe in another thread: the next signal of the first would then be the end of the process.

    With it comes the bridge to numpy's arrays, which is built when the first array crosses it. Two threads that cross it first at
    the same time wait for each other for ever: one for the interpreter's lock, the other, who has that, for the bridge.
    """
    openvino = library()
    openvino.Tensor(np.zeros(1, np.uint8), shared_memory=True)
    return openvino.Core()


def version() -> str | None:
    """OpenVINO's version, or None where it is not installed (on a machine that only trains, say)."""
    try:
        return str(library().__version__).split("-")[0]
    except ImportError:
        return None


def multiplies_bf16() -> bool:
    """Whether OpenVINO multiplies bf16 on this CPU."""
    return "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def convert(network: ServedNetwork, folder: Path) -> None:
    """Write openvino.xml and openvino.bin (float32 weights) into `folder`. Any number of images, of the encoder's size.

    Raises whatever OpenVINO raises on a network that it cannot take.
    """
    import torch

    openvino, size = library(), network.encoder.size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)  # two: a batch of one can be folded into the graph
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer's, of torch and of networks that look at shapes
        model = openvino.convert_model(network if network.has_grid else _VectorsOnly.of(network), example_input=example)
    model.reshape({0: [-1, size, size, 3]})
    model.inputs[0].set_names({"images"})
    for output, name in zip(model.outputs, (VECTORS, GRIDS), strict=False):
        output.set_names({name})
    openvino.save_model(model, str(folder / NETWORK_FILE), compress_to_fp16=False)


class OpenVino:
    """A backend, see base.py. Loading takes a tenth of a second; grids are compiled when they are first asked for."""

    name = "openvino"

    def __init__(self, folder: Path, precision: str = "fp32", threads: int | None = None, streams: int = 1) -> None:
        """`streams`: so many batches at a time, which share the threads out.

        Raises RuntimeError where the files do not fit this version of OpenVINO.
        """
        self.precision = precision
        self._core: Any = core()
        self._model: Any = self._core.read_model(str(folder / NETWORK_FILE))
        self._settings = {
            # With one stream all threads work on one batch; the batcher gathers more than one image.
            "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(threads or cpus()),
            "ENABLE_CPU_PINNING": "NO",  # threads bound to cores wait for whoever else is there: a training, another encoder
            "INFERENCE_PRECISION_HINT": _PRECISION[precision],
        }
        self._streams = streams
        self._lock = threading.Lock()  # of `_requests`
        self._requests: dict[str, SimpleQueue[Any]] = {VECTORS: self._compiled(VECTORS)}

    def vectors(self, images: Images) -> Vectors:
        return cast(Vectors, self._infer(VECTORS, images))

    def grids(self, images: Images) -> Grids:
        with self._lock:
            if GRIDS not in self._requests:
                if len(self._model.outputs) < 2:
                    raise NoGrid("this network has no features that belong to places of the picture")
                self._requests[GRIDS] = self._compiled(GRIDS)
        return cast(Grids, self._infer(GRIDS, images))

    def _compiled(self, output: str) -> SimpleQueue[Any]:
        """Requests for one output alone, one for each stream: what only the other outputs need is left out."""
        wanted = self._model.output(output).get_node()
        alone = library().Model([wanted], self._model.get_parameters(), output)
        settings = dict(self._settings)
        if output == GRIDS:  # no mean over places evens their rounding out: in bf16 they would miss the cosine that vectors keep
            settings["INFERENCE_PRECISION_HINT"] = _PRECISION["fp32"]
        network = self._core.compile_model(alone, "CPU", settings)
        idle: SimpleQueue[Any] = SimpleQueue()
        for _ in range(self._streams):
            idle.put(network.create_infer_request())
        return idle

    def _infer(self, output: str, images: Images) -> Any:
        idle = self._requests[output]
        request = idle.get()  # it belongs to one thread at a time
        try:
            return request.infer([np.ascontiguousarray(images)], share_inputs=True)[0]
        finally:
            idle.put(request)


class _VectorsOnly:
    """The network with its first output alone, for tracing."""

    @staticmethod
    def of(network: ServedNetwork) -> Any:
        from torch import nn

        class Vectors(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def forward(self, images: Any) -> Any:
                return self.network.vectors(images)

        return Vectors().eval()

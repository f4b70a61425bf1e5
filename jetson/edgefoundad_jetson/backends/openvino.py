"""OpenVINO: on most Intel and AMD processors the fastest way to run a graph."""

from __future__ import annotations

import ctypes
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord, Precision
from edgefoundad_jetson.backends.bfloat16 import parted
from edgefoundad_jetson.backends.ends import Ends, find_graph, first_line
from edgefoundad_jetson.copies import NO_COPIES

TYPES = {"u8": "uint8", "f32": "float32"}

SETTINGS = {
    # One frame at a time, each as soon as it can be had.
    "PERFORMANCE_HINT": "LATENCY",
    # Else a CPU with bfloat16 computes even fp32 in it. What is int8 in the graph stays int8.
    "INFERENCE_PRECISION_HINT": "f32",
}

BFLOAT16 = {"INFERENCE_PRECISION_HINT": "bf16"}


@cache
def _core() -> Any:
    """OpenVINO's own, one for the life of the process.

    Its CPU plugin gives the thread that loads it a stack for signals, and takes the memory back
    where the last Core goes, on whichever thread that is. The first thread's next signal, a reload
    or a stop, would then be a segmentation fault.

    Source: SigAltStackSetup of the plugin (openvinotoolkit/openvino#11894).
    """
    import openvino

    return openvino.Core()


def has_bfloat16() -> bool:
    """Whether OpenVINO is here, on a CPU that multiplies in bfloat16."""
    try:
        return "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    except (ImportError, RuntimeError):  # It is said where it is loaded.
        return False


class OpenVinoBackend:
    """Runs a bundle's graph without copying the frame or allocating an output.

    The map that `infer` returns is the backend's own memory: it holds until the next call.

    Attributes:
        name: as in `--backend`.
        device: what it runs on, for people.
        graph: what the graph takes.
        copies: none.
    """

    name = "openvino"
    copies = NO_COPIES

    def __init__(
        self,
        bundle: Bundle,
        precision: Precision = "fp32",
        *,
        safe: bool = False,
        bfloat16: bool = False,
    ) -> None:
        """Load a graph.

        Args:
            bundle: an exported one.
            precision: which of its graphs.
            safe: take the graph's variant that no fused attention kernel matches.
            bfloat16: compute what leads to the embeddings in it, but what is int8.

        Raises:
            InputError: OpenVINO is not installed, the bundle has no such graph, or OpenVINO cannot
                load it.
        """
        try:
            import openvino
            from openvino.frontend import FrontEndManager
        except ImportError as error:
            raise InputError(
                f"OpenVINO cannot be imported ({first_line(error)}): "
                "pip install 'edgefoundad[openvino]'"
            ) from None
        self.graph: GraphRecord
        self.graph, path = find_graph(bundle, precision, safe=safe)
        core = _core()
        try:
            # Named, because else every other format's reader tries a broken file too, aloud.
            reader = FrontEndManager().load_by_framework("onnx")
            model = reader.convert(reader.load(str(path)))
            first, *rest = parted(model) if bfloat16 else [model]
            settings = SETTINGS | (BFLOAT16 if bfloat16 else {})
            compiled = [core.compile_model(first, "CPU", settings)]
            compiled += [core.compile_model(one, "CPU", SETTINGS) for one in rest]
        except Exception as error:  # RuntimeErrors and classes of its own.
            reason = first_line(error)
            raise InputError(f"OpenVINO cannot load {path} ({reason}): export again") from None
        self.device = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip() or "CPU"
        self._ends = Ends.of(self.graph)
        found = {}
        for port in (*compiled[0].inputs, *compiled[-1].outputs):
            kind = port.element_type.get_type_name()
            # A dynamic shape has no sides to compare.
            shape = list(port.shape) if port.partial_shape.is_static else []
            found[port.any_name] = (TYPES.get(kind, kind), shape)
        self._ends.check(found, path)
        self._map, self._score = self._ends.outputs()
        self._tensor: Any = openvino.Tensor
        self._requests: list[Any] = [one.create_infer_request() for one in compiled]
        for name, output in (("map", self._map), ("score", self._score)):
            self._requests[-1].set_tensor(name, openvino.Tensor(output, shared_memory=True))
        for before, after in pairwise(self._requests):
            for index in range(len(before.output_tensors)):
                after.set_input_tensor(index, before.get_output_tensor(index))

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Judge one frame in place: uint8 [H, W, C], contiguous, to map [h, w] and score.

        Raises:
            InputError: the frame is laid out otherwise. Its bytes are read by address.
        """
        self._ends.check_frame(frame)
        if not frame.flags.writeable:
            frame = _unlocked(frame)
        self._requests[0].set_tensor("frame", self._tensor(frame[None], shared_memory=True))
        for request in self._requests:
            # Shared, or the outputs would be copied once more.
            request.infer(share_outputs=True)
        return self._map[0], float(self._score[0])

    def close(self) -> None:
        """Give the compiled graph's memory back."""
        self._requests = []


def _unlocked(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same bytes as an array that may be written to.

    OpenVINO only reads them, but takes no read-only array without copying it. The caller keeps the
    frame alive until `infer` is over.
    """
    bytes_there = (ctypes.c_uint8 * frame.nbytes).from_address(frame.ctypes.data)
    return np.ctypeslib.as_array(bytes_there).reshape(frame.shape)

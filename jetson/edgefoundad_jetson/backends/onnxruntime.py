"""The reference backend: onnxruntime on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgefoundad.bundle import GRAPH, Bundle
from edgefoundad.errors import InputError
from edgefoundad.images import CHANNELS
from edgefoundad.manifest import GraphRecord


class OnnxRuntimeBackend:
    """Runs a bundle's graph without copying the frame or allocating an output.

    The map that `infer` returns is the backend's own memory: it holds until the next call.

    Attributes:
        name: as shown to a person.
        graph: what the graph takes.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle) -> None:
        """Load the graph.

        Raises:
            InputError: the bundle has no graph, or onnxruntime cannot load it.
        """
        import onnxruntime

        path = bundle.file(GRAPH, advice=f"run `edgefoundad export {bundle.path}` first")
        if bundle.manifest.graph is None:
            raise InputError(f"{bundle.path} has a graph without a record: export it again")
        self.graph: GraphRecord = bundle.manifest.graph
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a class of its own for each fault.
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"onnxruntime cannot load {path} ({reason}): export again") from None
        size, cells = self.graph.frame.frame, self.graph.frame.map
        self._shape = (size.height, size.width, CHANNELS[self.graph.channels])
        expected = {
            "frame": ("tensor(uint8)", [1, *self._shape]),
            "map": ("tensor(float)", [1, cells.height, cells.width]),
            "score": ("tensor(float)", [1]),
        }
        ends = (*self._session.get_inputs(), *self._session.get_outputs())
        found = {end.name: (end.type, end.shape) for end in ends}
        if found != expected:
            # Frames and outputs are passed by address: nothing later would notice.
            raise InputError(
                f"{path} takes and gives {found}; its manifest says {expected}: export again"
            )
        self._map = np.zeros((1, cells.height, cells.width), np.float32)
        self._score = np.zeros(1, np.float32)
        self._binding: Any = self._session.io_binding()
        for name, output in (("map", self._map), ("score", self._score)):
            self._binding.bind_output(name, "cpu", 0, np.float32, output.shape, output.ctypes.data)

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Judge one frame in place: uint8 [H, W, C], contiguous, to map [h, w] and score.

        Raises:
            InputError: the frame is laid out otherwise. Its bytes are read by address.
        """
        if frame.shape != self._shape or frame.dtype != np.uint8 or not frame.flags.c_contiguous:
            raise InputError(
                f"found a frame of {frame.dtype} {frame.shape}; this graph takes contiguous uint8 "
                f"{self._shape}: use frames of the camera that it was exported for"
            )
        self._binding.bind_input("frame", "cpu", 0, np.uint8, (1, *frame.shape), frame.ctypes.data)
        self._session.run_with_iobinding(self._binding)
        return self._map[0], float(self._score[0])

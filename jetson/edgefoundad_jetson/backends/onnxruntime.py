"""The reference backend: onnxruntime, on the CPU or on a CUDA GPU."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgefoundad.bundle import Bundle
from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord, Precision
from edgefoundad_jetson.backends.ends import Ends, find_graph, first_line
from edgefoundad_jetson.copies import NO_COPIES, Copies

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
SETTINGS: dict[str, dict[str, str]] = {
    "cpu": {},
    # Else convolutions and products of an fp32 graph are computed in 19 bits.
    "cuda": {"use_tf32": "0"},
}
TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}


class OnnxRuntimeBackend:
    """Runs a bundle's graph without copying the frame or allocating an output.

    On a GPU onnxruntime itself copies the frame there and the results back. The map that `infer`
    returns is the backend's own memory: it holds until the next call.

    Attributes:
        name: as in `--backend`.
        device: what it runs on, for people.
        graph: what the graph takes.
        copies: none on the CPU; on a GPU the frame there, the map and the score back.
    """

    name = "onnxruntime"

    def __init__(
        self,
        bundle: Bundle,
        precision: Precision = "fp32",
        *,
        device: Literal["cpu", "cuda"] = "cpu",
        safe: bool = False,
    ) -> None:
        """Load a graph.

        Args:
            bundle: an exported one.
            precision: which of its graphs.
            device: where it is to run.
            safe: take the graph's variant that no fused attention kernel matches.

        Raises:
            InputError: the bundle has no such graph, onnxruntime cannot load it, or it does not run
                where it was asked to.
        """
        import onnxruntime

        self.graph: GraphRecord
        self.graph, path = find_graph(bundle, precision, safe=safe)
        self.device = "CPU" if device == "cpu" else "CUDA GPU"
        on_gpu = Copies(host_to_device=1, device_to_host=2)
        self.copies = NO_COPIES if device == "cpu" else on_gpu
        options = onnxruntime.SessionOptions()
        # Below a fatal one nothing is printed: what fails here is raised, or checked for.
        options.log_severity_level = 3 if device == "cpu" else 4
        # Threads that wait for the next frame by spinning take the cores that bring it.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            with warnings.catch_warnings():
                # "Specified provider is not available": checked below, for every cause of it.
                warnings.simplefilter("ignore", UserWarning)
                self._session: Any = onnxruntime.InferenceSession(
                    path, options, providers=[(PROVIDERS[device], SETTINGS[device])]
                )
        except Exception as error:  # onnxruntime raises a class of its own for each fault.
            reason = first_line(error)
            raise InputError(f"onnxruntime cannot load {path} ({reason}): export again") from None
        if self._session.get_providers()[0] != PROVIDERS[device]:
            # A build without it, or one for another CUDA, goes on with the CPU without a word.
            raise InputError(
                f"onnxruntime fell back to {self._session.get_providers()[0]}; expected "
                f"{PROVIDERS[device]}: install an onnxruntime-gpu that was built for this "
                "machine's CUDA, or use the CPU"
            )
        self._ends = Ends.of(self.graph)
        ends = (*self._session.get_inputs(), *self._session.get_outputs())
        found = {end.name: (TYPES.get(end.type, end.type), end.shape) for end in ends}
        self._ends.check(found, path)
        self._map, self._score = self._ends.outputs()
        self._binding: Any = self._session.io_binding()
        for name, output in (("map", self._map), ("score", self._score)):
            self._binding.bind_output(name, "cpu", 0, np.float32, output.shape, output.ctypes.data)

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        """Judge one frame in place: uint8 [H, W, C], contiguous, to map [h, w] and score.

        Raises:
            InputError: the frame is laid out otherwise. Its bytes are read by address.
        """
        self._ends.check_frame(frame)
        self._binding.bind_input("frame", "cpu", 0, np.uint8, (1, *frame.shape), frame.ctypes.data)
        self._session.run_with_iobinding(self._binding)
        return self._map[0], float(self._score[0])

    def close(self) -> None:
        """Give the session's memory and threads back."""
        self._binding = self._session = None

"""The GPU, and what speaks to it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator

from edgefoundad.machine import find_gpu
from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding

OLDEST = (10, 3)
"""TensorRT of JetPack 6.1 and 6.2."""

PRODUCTS = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
"""Modules, in the order in which `export --trt` looks for them, and what people call them."""


def examine(case: Case) -> Iterator[Finding]:
    """The driver, TensorRT and a CUDA package."""
    gpu = find_gpu()
    if gpu is None:
        yield _no_gpu(case)
        if case.l4t is None:
            return
    else:
        capability = f"compute capability {gpu.compute_capability}"
        yield Finding("gpu", "ok", f"{gpu.name}, {capability}")
    yield _tensorrt(case)
    if not any(importlib.util.find_spec(name) for name in ("cuda", "pycuda")):
        yield Finding(
            "cuda",
            "warning",
            "neither cuda-python nor pycuda is installed",
            "an engine cannot be run: the processor judges, many times slower",
            "pip install 'edgefoundad[jetson]'",
        )
    else:
        yield Finding("cuda", "ok", "a package that speaks to CUDA is installed")


def _no_gpu(case: Case) -> Finding:
    if case.l4t is None:
        return Finding("gpu", "note", "no NVIDIA GPU, or no driver: the processor judges")
    return Finding(
        "gpu",
        "fault",
        "the driver shows no GPU",
        "the processor judges, many times slower; in a container, or as a user without the groups "
        "video and render, the GPU is not to be seen",
        "sudo usermod -aG video,render $USER   (in a container: --runtime nvidia)",
    )


def _tensorrt(case: Case) -> Finding:
    module = next((name for name in PRODUCTS if importlib.util.find_spec(name)), None)
    if module is None:
        mend = "pip install 'edgefoundad[tensorrt]'"
        if case.l4t:
            mend = "sudo apt-get install tensorrt   (a venv needs --system-site-packages)"
        return Finding(
            "tensorrt",
            "warning" if case.l4t else "note",
            "TensorRT cannot be imported by this Python",
            "no engine can be built or run: onnxruntime judges, several times slower",
            mend,
        )
    version = str(importlib.import_module(module).__version__)
    if module == "tensorrt" and tuple(map(int, version.split(".")[:2])) < OLDEST:
        return Finding(
            "tensorrt",
            "warning",
            f"TensorRT {version}; expected 10.3 or later",
            "graphs are written for 10.3 and later: an engine may be refused",
            "upgrade to JetPack 6.1 or later",
        )
    return Finding("tensorrt", "ok", f"{PRODUCTS[module]} {version}")

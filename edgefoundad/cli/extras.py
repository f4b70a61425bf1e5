"""Advice for commands whose packages are not installed."""

from __future__ import annotations

import importlib.util
import os

from edgefoundad.errors import InputError


def require_training(command: str) -> None:
    """Get ready to import torch, or refuse a command where only the runtime is installed.

    Raises:
        InputError: with the command that installs what is missing.
    """
    names = ("torch", "timm", "onnxscript", "safetensors")
    if not all(importlib.util.find_spec(name) for name in names):
        raise InputError(
            f"`edgefoundad {command}` needs torch and timm, which are not installed here: "
            "pip install 'edgefoundad[train]' (a device needs only `run` and `verify`)"
        )
    # Threads that spin while they wait for each other lose far more on a machine with a busy core
    # than they win on an idle one. Seen once on 2 cores, embedding 24 images: 11.1 s spinning and
    # 3.1 s passive with one core busy, 2.1 s and 2.9 s idle. OpenMP reads this once.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def require_openvino() -> None:
    """Refuse early what only OpenVINO can do.

    Raises:
        InputError: with the command that installs what is missing.
    """
    if importlib.util.find_spec("openvino") is None:
        raise InputError(
            "this needs OpenVINO, which is not installed here: pip install 'edgefoundad[openvino]'"
        )


def require_rtx() -> None:
    """Refuse early what only TensorRT-RTX can do.

    Raises:
        InputError: with the command that installs what is missing.
    """
    if importlib.util.find_spec("tensorrt_rtx") is None:
        raise InputError(
            "--check needs TensorRT-RTX, which is not installed here: "
            "pip install 'edgefoundad[rtx]'"
        )

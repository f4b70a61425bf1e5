"""What this machine is, and which backends it has: named in every row."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad.machine import find_gpu, l4t_release
from edgefoundad_jetson.backends.openvino import has_bfloat16

FLAGS = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16",
    "asimddp", "i8mm",
)  # fmt: skip
"""Of a processor: what decides how fast fp32, int8 and bfloat16 are."""

BACKENDS = ("onnxruntime", "openvino", "openvino-bf16", "onnxruntime-cuda", "tensorrt")


def describe(root: Path = Path("/")) -> str:
    """This machine in one line: board, processor with its int8 instructions, GPU.

    Args:
        root: of the file system that is asked.
    """
    board = _read(root / "proc/device-tree/model").strip("\0 \n")
    cpu = _read(root / "proc/cpuinfo")
    name = re.search(r"^model name\s*:\s*(.+)$", cpu, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", cpu, re.MULTILINE)
    have = set(flags[1].split()) if flags else set()
    said = [board] if board else []
    said.append(name[1].strip() if name else "unknown processor")
    said.append(f"{len(os.sched_getaffinity(0))} CPUs")
    said.append("/".join(flag for flag in FLAGS if flag in have) or "no int8 instructions")
    gpu, l4t = find_gpu(), l4t_release(root / "etc/nv_tegra_release")
    if gpu:
        said.append(f"{gpu.name} (compute capability {gpu.compute_capability})")
    if l4t:
        said.append(f"Jetson Linux {l4t}")
    return ", ".join(said)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def backends() -> list[str]:
    """The backends that this machine has, of `BACKENDS`."""
    import onnxruntime

    found = ["onnxruntime"]
    if importlib.util.find_spec("openvino"):
        found.append("openvino")
        if has_bfloat16():
            found.append("openvino-bf16")
    if find_gpu() is None:
        return found
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        found.append("onnxruntime-cuda")
    from edgefoundad_export.tensorrt import load_tensorrt

    try:
        load_tensorrt()
    except InputError:
        return found
    return [*found, "tensorrt"]

"""The machines that a graph is made for: what runs it there, how fast, and in how much memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgefoundad.errors import InputError
from edgefoundad.manifest import Precision

Runner = Literal["tensorrt", "openvino", "onnxruntime"]


@dataclass(frozen=True)
class Target:
    """One kind of machine. No figure here was measured by this project.

    Attributes:
        name: what `export --target` takes.
        board: whose figures these are, for people.
        release: the JetPack that it runs; None on a PC.
        tensorrt: the TensorRT of that release; None where another is installed, or none.
        memory: that a graph can use, GB; on a Jetson the whole of it, which the CPU shares.
        reserved: of that, what the system, the desktop and CUDA take, GB. Roughly.
        tera: dense 10^12 operations per second of matrix products, by precision.
        bandwidth: of that memory, GB/s.
        precisions: the one to prefer first.
        runners: what runs the graph, the fastest first.
        frames: where frames lie: in "mapped" host memory that the GPU reads, in "pinned" host
            memory from which each is copied, or in the "host" memory that the CPU computes in.
        utilisation: of the arithmetic, lowest and highest that an estimate reckons with.
        link: GB/s of the copy from pinned memory; None where there is none.
    """

    name: str
    board: str
    release: str | None
    tensorrt: str | None
    memory: float
    reserved: float
    tera: dict[Precision, float]
    bandwidth: float
    precisions: tuple[Precision, ...]
    runners: tuple[Runner, ...]
    frames: Literal["mapped", "pinned", "host"]
    # What published latencies of ViTs on Orin come to: a ViT-B/16 at 224 px in fp16 on an Orin Nano
    # (5.7 ms) uses a third of its arithmetic.
    utilisation: tuple[float, float] = (0.25, 0.35)
    link: float | None = None

    @property
    def system(self) -> str:
        """Release and TensorRT, for people."""
        tensorrt = self.tensorrt and f"TensorRT {self.tensorrt}"
        return ", ".join(part for part in (self.release, tensorrt) if part) or "Linux"


# fp32 products run as TF32 on tensor cores unless TensorRT is told otherwise: half as fast as fp16.
def _tera(fp16: float, int8: float) -> dict[Precision, float]:
    return {"fp32": fp16 / 2, "fp16": fp16, "int8": int8}


# NVIDIA, Jetson Orin Nano Super developer kit: 67 INT8 TOPS sparse, 33 dense, 17 FP16 TFLOPS,
# 102 GB/s, 8 GB. These are of its fastest power mode (MAXN SUPER), from JetPack 6.1 (Rev. 1) on.
_ORIN_NANO = _tera(17, 33)

# NVIDIA, Jetson Orin NX 16 GB: 1,024 CUDA and 32 tensor cores at up to 1,173 MHz (MAXN SUPER,
# JetPack 6.2), 102.4 GB/s. Derived: the Nano's 8 SMs x 2,048 FP16 operations per clock, at that
# clock. The advertised 157 TOPS are sparse and count the DLAs, which are not used here.
_ORIN_NX = _tera(19, 38)

# NVIDIA, Jetson AGX Orin series technical brief: GPU 170 sparse INT8 TOPS, which is 85 dense and
# 42.5 FP16; 204.8 GB/s. The advertised 275 TOPS count the DLAs, which are not used here.
_AGX_ORIN = _tera(42.5, 85)

# NVIDIA, Jetson T5000: 2,070 FP4 TFLOPS sparse, 273 GB/s, 128 GB. Derived: sparsity, FP4 to FP8 and
# FP8 to FP16 halve each; agrees with 20 SMs x 4 tensor cores x 2,048 operations x 1.57 GHz. INT8 is
# taken to be as fast as FP8, of which no vendor figure was found.
_THOR = _tera(258, 517)

# NVIDIA, GeForce RTX 4060: 242 AI TOPS (INT8 sparse), so 121 dense; 272 GB/s, 8 GB. FP16 with FP32
# accumulation runs at a quarter of INT8 on GeForce cards (Ada whitepaper); fp32 at 15 as well.
_RTX = _tera(30, 121)

# Four cores at 3 GHz with AVX2 (two FMA units: 32 FP32 operations per clock) and VNNI (four times
# as many on INT8). Half precision is computed in fp32.
_CPU: dict[Precision, float] = {"fp32": 0.38, "fp16": 0.38, "int8": 1.5}

_GPU_FIRST: tuple[Precision, ...] = ("fp16", "int8", "fp32")
_ON_JETSON: tuple[Runner, ...] = ("tensorrt", "onnxruntime")

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target(
            name="orin-nano-jp6",
            board="Jetson Orin Nano 8 GB (Super)",
            release="JetPack 6.1 to 6.2",
            tensorrt="10.3",
            memory=8,
            reserved=3,
            tera=_ORIN_NANO,
            bandwidth=102,
            precisions=_GPU_FIRST,
            runners=_ON_JETSON,
            frames="mapped",
        ),
        Target(
            name="orin-nx-jp6",
            board="Jetson Orin NX 16 GB (Super)",
            release="JetPack 6.1 to 6.2",
            tensorrt="10.3",
            memory=16,
            reserved=3,
            tera=_ORIN_NX,
            bandwidth=102,
            precisions=_GPU_FIRST,
            runners=_ON_JETSON,
            frames="mapped",
        ),
        Target(
            name="agx-orin-jp6",
            board="Jetson AGX Orin 64 GB",
            release="JetPack 6.1 to 6.2",
            tensorrt="10.3",
            memory=64,
            reserved=3,
            tera=_AGX_ORIN,
            bandwidth=204.8,
            precisions=_GPU_FIRST,
            runners=_ON_JETSON,
            frames="mapped",
        ),
        # JetPack 7.2 serves every Orin: the smallest one's figures, so that no larger one is slower
        # than it is told to be.
        Target(
            name="orin-jp7",
            board="any Jetson Orin (figures of the Nano 8 GB, the smallest)",
            release="JetPack 7.2",
            tensorrt="10.16",
            memory=8,
            reserved=3,
            tera=_ORIN_NANO,
            bandwidth=102,
            precisions=_GPU_FIRST,
            runners=_ON_JETSON,
            frames="mapped",
        ),
        Target(
            name="thor-jp7",
            board="Jetson AGX Thor (T5000)",
            release="JetPack 7.0 to 7.2",
            tensorrt="10.13 to 10.16",
            memory=128,
            reserved=4,
            tera=_THOR,
            bandwidth=273,
            precisions=_GPU_FIRST,
            runners=_ON_JETSON,
            frames="mapped",
        ),
        Target(
            name="x86-cpu",
            board="PC, 4 cores with AVX2 and VNNI",
            release=None,
            tensorrt=None,
            memory=16,
            reserved=2,
            tera=_CPU,
            # Two channels of DDR4-3200.
            bandwidth=51,
            precisions=("int8", "fp32"),
            runners=("openvino", "onnxruntime"),
            frames="host",
            # A ViT-S/16 at 448 px took 151 ms (OpenVINO) and 189 ms (onnxruntime) on two threads of
            # a server's CPU in fp32: over a half of what such cores can compute.
            utilisation=(0.4, 0.8),
        ),
        Target(
            name="x86-rtx",
            board="PC with an NVIDIA RTX card (figures of a GeForce RTX 4060, 8 GB)",
            release=None,
            tensorrt=None,
            memory=8,
            reserved=1,
            tera=_RTX,
            bandwidth=272,
            precisions=_GPU_FIRST,
            runners=("tensorrt", "openvino", "onnxruntime"),
            frames="pinned",
            # PCIe 4.0 x8: 16 GB/s, of which copies reach three quarters.
            link=12,
        ),
    )
}


def find_target(name: str) -> Target:
    """Look a target up.

    Raises:
        InputError: there is none of that name; the message lists all.
    """
    target = TARGETS.get(name)
    if target is None:
        known = "; ".join(f"{name} ({what})" for name, what in list_targets())
        raise InputError(f"found target {name!r}; expected one of {known}")
    return target


def list_targets() -> list[tuple[str, str]]:
    """Every target's name, and in words what it is."""
    return [(target.name, f"{target.board}; {target.system}") for target in TARGETS.values()]

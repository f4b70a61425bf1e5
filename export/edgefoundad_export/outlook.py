"""What to expect of a detector on a target: time, memory, and what is known to go wrong there."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

from edgefoundad.bundle import Bundle
from edgefoundad.manifest import Manifest, Precision
from edgefoundad_export.cost import Cost, graph_cost
from edgefoundad_export.targets import Target

_FRAMES = {
    "mapped": "in mapped host memory, which the GPU reads without a copy",
    "pinned": "in pinned host memory, from which each is copied to the card",
    "host": "in host memory, where the CPU reads them",
}

_BANDWIDTH_SHARE = (0.5, 0.8)
"""Of a memory's bandwidth, what kernels reach: lowest and highest that is reckoned with."""

_WEIGHTS_WHILE_BUILDING = 4
"""Copies of the weights while an engine is built: file, parsed graph, engine, and the builder's."""

_IN_USE_WHILE_BUILDING = 2
"""Times the tensors in use: tactics are tried with buffers of their own."""


@dataclass(frozen=True)
class Estimate:
    """Milliseconds per frame, reckoned and never measured.

    Attributes:
        least: with all fused that can be, and the higher utilisation.
        most: with little fused, and the lower one.
        bound: what the time goes into, at the least.
    """

    precision: Precision
    least: float
    most: float
    bound: str

    def __str__(self) -> str:
        return (
            f"about {_short(self.least)} to {_short(self.most)} ms per frame (an estimate, not "
            f"measured; mostly {self.bound})"
        )


def estimate(target: Target, precision: Precision, cost: Cost) -> Estimate:
    """Reckon the time of one frame: arithmetic or memory, whichever takes longer, and the copy.

    Nothing is reckoned for starting kernels, for the camera, or for a hot board that slows down.
    """
    peak = sum(flops / (target.tera[p] * 1e9) for p, flops in cost.flops_by.items())
    low, high = target.utilisation
    slow, fast = _BANDWIDTH_SHARE
    memory = cost.fused_bytes / (fast * target.bandwidth * 1e6)
    copy = cost.frame / (target.link * 1e6) if target.link else 0.0
    return Estimate(
        precision=precision,
        least=max(peak / high, memory) + copy,
        most=max(peak / low, cost.bytes / (slow * target.bandwidth * 1e6)) + copy,
        bound="arithmetic" if peak / high >= memory else "memory traffic",
    )


def graph_costs(bundle: Bundle) -> dict[Precision, Cost]:
    """The cost of every graph of a bundle; empty before its export.

    Raises:
        InputError: a graph is missing or cannot be read.
    """
    return {
        precision: graph_cost(bundle.file(graph.file, advice="export again"))
        for precision, graph in bundle.manifest.graphs.items()
    }


def describe(
    target: Target, bundle: Bundle, costs: Mapping[Precision, Cost]
) -> list[tuple[str, str]]:
    """A target and what the exported graphs cost there, as rows of label and text."""
    rows = [
        ("target", f"{target.name}: {target.board}; {target.system}"),
        ("memory", _memory(target, costs)),
        ("runs on", f"{', else '.join(target.runners)}; frames lie {_FRAMES[target.frames]}"),
        (
            "precision",
            f"{', then '.join(target.precisions)}; exported: {_exported(bundle.manifest)}",
        ),
    ]
    for precision in sorted(costs, key=_order(target)):
        cost = costs[precision]
        work = f"{_short(cost.flops / 1e9)} GFLOP, {_short(cost.weights / 1e6)} MB of weights"
        rows.append((precision, f"{estimate(target, precision, cost)}: {work}"))
    return rows


def advice(target: Target, bundle: Bundle, costs: Mapping[Precision, Cost]) -> list[str]:
    """What a person should know or do before this detector runs on that target, a line each."""
    manifest = bundle.manifest
    dino = "dino" in manifest.encoder.model
    transformer = "vit_" in manifest.encoder.model
    said = []
    if dino and target.tensorrt == "10.3":
        said.append(
            f"{manifest.encoder.name} on TensorRT 10.3: that version is reported to compute "
            "transformers of the DINO family wrong without an error, even in fp32 (TensorRT#4723, "
            "#4742, #4558). `edgefoundad export --trt` on the board holds each engine against the "
            "golden frames and uses none that differs; if none passes, JetPack 7 or a "
            "convolutional encoder (--encoder efficientnet-lite0) avoids it"
        )
    if transformer and "tensorrt" in target.runners and target.release is None:
        said.append(
            f"{manifest.encoder.name} on an RTX 50 card: attention is reported to be computed "
            "wrong there through TensorRT 10.16 (TensorRT#4837). The golden frames tell: run "
            "`edgefoundad export --trt` on that machine"
        )
    if transformer and "int8" in manifest.graphs and "tensorrt" in target.runners:
        said.append(
            "int8 is not always faster than fp16 for a transformer (TensorRT#4273): time both on "
            "the board before you choose it"
        )
    said += _memory_advice(target, costs)
    said += _precision_advice(target, bundle)
    if target.release and "JetPack 7" in target.release:
        said.append(
            "JetPack 7.2.2 and later bring TensorRT 11: engines of an earlier one do not load, so "
            "run `edgefoundad export --trt` again after an upgrade. The graphs stay as they are"
        )
    return said


def _memory_advice(target: Target, costs: Mapping[Precision, Cost]) -> list[str]:
    said = []
    if target.frames == "mapped" and target.memory <= 8:
        said.append(
            f"{target.memory:g} GB are shared by CPU and GPU: build the engine before the camera "
            "starts, with the desktop and other large programs stopped"
        )
    free = target.memory - target.reserved
    for precision in sorted(costs, key=_order(target)):
        need = _need(target, costs[precision])
        if need > free:
            doing = "Building" if "tensorrt" in target.runners else "Running"
            said.append(
                f"{doing} the {precision} graph may take {need:.1f} GB (an estimate) and about "
                f"{free:g} GB are free on this target: fit with a smaller --size or fewer --tiles"
            )
    return said


def _precision_advice(target: Target, bundle: Bundle) -> list[str]:
    have, preferred = {*bundle.manifest.graphs}, target.precisions[0]
    said = []
    if have and preferred not in have:
        wanted = ",".join(p for p in get_args(Precision) if p in have | {preferred})
        path = shlex.quote(str(bundle.path))
        said.append(
            f"{preferred} is what to try first here, and it is not exported: run `edgefoundad "
            f"export {path} --precision {wanted} --force` on the PC"
        )
    if "fp16" in have and "fp16" not in target.precisions:
        said.append("fp16 is no faster than fp32 here: a CPU computes it in fp32")
    return said


def _memory(target: Target, costs: Mapping[Precision, Cost]) -> str:
    shared = ", shared by CPU and GPU" if target.frames == "mapped" else ""
    text = f"{target.memory:g} GB{shared}"
    if costs:
        most = max(cost.memory for cost in costs.values()) / 1e6
        text += f"; the largest graph holds {_short(most)} MB while it runs, and the runtime more"
    return text


def _need(target: Target, cost: Cost) -> float:
    """GB while an engine is built, or while the graph runs where none is."""
    if "tensorrt" not in target.runners:
        return cost.memory / 1e9
    in_use = cost.memory - cost.weights
    return (_WEIGHTS_WHILE_BUILDING * cost.weights + _IN_USE_WHILE_BUILDING * in_use) / 1e9


def _exported(manifest: Manifest) -> str:
    return ", ".join(manifest.graphs) or "none yet"


def _order(target: Target) -> Callable[[Precision], int]:
    return lambda p: (
        target.precisions.index(p) if p in target.precisions else len(target.precisions)
    )


def _short(value: float) -> str:
    """Two significant figures: more would be made up."""
    return f"{value:.2g}" if value < 10 else f"{float(f'{value:.2g}'):.0f}"

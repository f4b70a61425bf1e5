"""The fp16 and int8 graphs of a detector: made, judged against fp32, and refused where they lose.

What a precision costs is judged here, on the PC, on frames with synthetic defects and on good ones;
what a *device* makes of the graph is judged there, against what onnxruntime gets from it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import onnx

from edgefoundad.errors import GateError
from edgefoundad.golden import Infer
from edgefoundad.manifest import Precision
from edgefoundad_export import int8
from edgefoundad_export.bias_correction import mean_shifts, take_back
from edgefoundad_export.graph import stage
from edgefoundad_export.half import (
    COMPUTED,
    LARGEST,
    STAGES_IN_HALF,
    half_nodes,
    simulate_half,
    to_half,
)
from edgefoundad_export.losses import HALF, INT8, Bounds, Losses
from edgefoundad_export.outliers import outliers, part
from edgefoundad_export.overflow import peaks
from edgefoundad_export.probe import Probe
from edgefoundad_export.sensitivity import Effect, Kept, Lack, keep_fewest, table
from edgefoundad_export.session import Progress, Watch, open_session
from edgefoundad_export.smoothquant import smooth

MOST_KEPT = 0.5
"""Share of the layers that may stay in fp32 for the graph to be called int8."""

MANY_KEPT = 4
"""Layers that may stay by what each costs alone before it is tried which help more."""

FLIPPED = 0.01
"""Share of verdicts on good frames that may differ at the precision's own threshold."""


@dataclass(frozen=True)
class Made:
    """A graph with what is known of it; see `GraphRecord` for the figures."""

    model: onnx.ModelProto
    score_error: float
    map_correlation: float
    score_scale: float
    map_scale: float
    peak: float | None
    kept: dict[str, str]


class Workshop:
    """Makes graphs of other precisions from the fp32 one.

    Args:
        model: the fp32 graph.
        probe: frames to calibrate and judge on.
        limit: the fp32 graph's threshold.
    """

    def __init__(self, model: onnx.ModelProto, probe: Probe, *, limit: float) -> None:
        self.model, self.probe = model, probe
        self.losses = Losses(open_session(model).infer, probe, limit=limit)

    def make(self, precision: Precision, progress: Progress) -> Made:
        """The graph in fp16 or int8.

        Raises:
            GateError: it loses too much, with a table of what loses most.
        """
        return self.half(progress) if precision == "fp16" else self.int8(progress)

    def half(self, progress: Progress) -> Made:
        """The graph in fp16, normalisations and everything outside encoder and projector in fp32.

        Raises:
            GateError: no part of it can be in half precision.
        """
        others = self.probe.calibrating[::2]
        frames = [*others, *self.probe.normal, *self.probe.damaged]
        highest = peaks(self.model, frames, _watch(progress, "looking for overflow in fp16"))
        every = half_nodes(self.model, highest)
        modules = sorted({_module(name) for name in every})
        if not modules:
            raise GateError(
                "fp16 was not written: on real frames all of encoder and projector reaches more "
                f"than {LARGEST:,.0f}, where half precision ends at 65,504: use fp32"
            )

        def lower(parts: Collection[str]) -> onnx.ModelProto:
            chosen = {name for name in every if _module(name) in set(parts)}
            return simulate_half(self.model, chosen)

        found = self._fewest(
            modules,
            lower,
            HALF,
            most=len(modules) - 1,
            watch=_watch(progress, "measuring fp16 part by part"),
        )
        if found.parts is None:
            raise GateError(
                f"fp16 was not written: {found.lacking}, with one part alone in half precision. "
                f"Part by part, the map correlation and the score's difference with it alone in "
                f"half precision:\n{table(found.effects)}"
            )
        nodes = {name for name in every if _module(name) not in found.parts}
        kept = _reasons(found, "half precision") | self._overflowing(highest)
        in_half = {n for node in self.model.graph.node if node.name in nodes for n in node.output}
        model = to_half(self.model, nodes)
        # Rounded as a GPU would, which onnxruntime's own run of the file on a CPU hides; and the
        # file itself, as a fault in it would be the truth that every device is held against.
        simulated = open_session(simulate_half(self.model, nodes)).infer
        self._judged(model, open_session(model).infer, "fp16", peak=None, kept={})
        return self._judged(
            model,
            simulated,
            "fp16",
            peak=max(highest.get(name, 0.0) for name in in_half),
            kept=kept,
        )

    def int8(self, progress: Progress) -> Made:
        """The graph with its weight products and convolutions in int8, as many as its maps bear.

        Raises:
            GateError: too few can be.
        """
        every = int8.quantisable(self.model)
        if not every:
            raise GateError("int8 was not written: the encoder has no layer that int8 can run")
        few = self.probe.calibrating[::4]
        smoothed = smooth(self.model, every, few)
        apart = outliers(smoothed, every, few)
        whole, its_layers = part(smoothed, every, apart)
        watch = _watch(progress, "taking the ranges for int8")
        scales = int8.activation_scales(smoothed, every, self.probe.calibrating, watch, apart=apart)
        watch = _watch(progress, "taking what int8 shifts")
        shifts = mean_shifts(whole, its_layers, scales, self.probe.calibrating[::2], watch)
        layers = {layer.node: layer for layer in its_layers}

        def lower(parts: Collection[str]) -> onnx.ModelProto:
            chosen = [layers[one] for one in parts]
            return take_back(int8.to_int8(whole, chosen, scales), chosen, shifts)

        most = int(MOST_KEPT * len(layers))
        watch = _watch(progress, "measuring int8 layer by layer")
        comparing = _watch(progress, "comparing what int8 finds, at most")
        found = self._fewest(list(layers), lower, INT8, most=most, watch=watch, comparing=comparing)
        kept = _reasons(found, "int8")
        if found.parts is not None and len(found.parts) > MANY_KEPT:
            fewer = self._fewest(
                list(layers),
                lower,
                INT8,
                most=len(found.parts) - 1,
                watch=_watch(progress, "measuring fp32 layer by layer"),
                comparing=comparing,
                others=True,
            )
            if fewer.parts is not None:
                found, kept = fewer, _reasons(fewer, "fp32")
        if found.parts is None:
            raise GateError(
                f"int8 was not written: more than {most} of {len(layers)} layers would have to "
                f"stay in fp32: with so many, {found.lacking}. Use fp16. Layer by layer, the map "
                "correlation and the score's difference with it alone in int8:\n"
                f"{table(found.effects)}"
            )
        model = lower([part for part in layers if part not in found.parts])
        return self._judged(model, open_session(model).infer, "int8", peak=None, kept=kept)

    def _fewest(
        self,
        parts: Sequence[str],
        lower: Callable[[Collection[str]], onnx.ModelProto],
        bounds: Bounds,
        *,
        most: int,
        watch: Watch,
        comparing: Watch = lambda done, total: None,
        others: bool = False,
    ) -> Kept:
        """What has to stay, by what a part costs alone; with `others`, by what keeping it is worth.

        The two differ, as errors cancel or are lost in one another. Where few parts harm, the first
        finds them; where harm is spread, the second: of a ViT on bottles five layers stay by the
        first, the worst of which brings nothing, and two by the second.
        """

        def lacking(model: onnx.ModelProto) -> Lack | None:
            return self.losses.lacking(open_session(model).infer, bounds, comparing)

        def rank(part: str) -> Effect:
            lowered = [one for one in parts if one != part] if others else [part]
            return Effect(part, *self.losses.singly(open_session(lower(lowered)).infer))

        return keep_fewest(parts, lower, lacking, rank, most=most, watch=watch, others=others)

    def _overflowing(self, highest: dict[str, float]) -> dict[str, str]:
        return {
            node.name: f"reaches {highest[name]:,.0f} on real frames"
            for node in self.model.graph.node
            if stage(node) in STAGES_IN_HALF and node.op_type in COMPUTED
            for name in node.output
            if highest.get(name, 0.0) > LARGEST
        }

    def _judged(
        self,
        model: onnx.ModelProto,
        infer: Infer,
        precision: Precision,
        *,
        peak: float | None,
        kept: dict[str, str],
    ) -> Made:
        onnx.checker.check_model(model, full_check=True)
        found = self.losses.figures(infer)
        if not (found.score_scale > 0 and found.map_scale > 0):
            raise GateError(
                f"{precision} was not written: good frames, which differ a little in fp32, come to "
                "nothing in it, so that no threshold can be set"
            )
        bounds = HALF if precision == "fp16" else INT8
        if not found.correlation >= bounds.correlation:
            raise GateError(
                f"{precision} was not written: its map correlates with fp32's by "
                f"{found.correlation:.6f} on defects, at least {bounds.correlation}"
            )
        if not found.error <= bounds.error:
            raise GateError(
                f"{precision} was not written: a score differs from fp32's by {found.error:.1%} in "
                f"its own scale, at most {bounds.error:.0%}"
            )
        if found.flipped > FLIPPED * found.judged:
            raise GateError(
                f"{precision} was not written: {found.flipped} of {found.judged} verdicts on good "
                f"frames differ from fp32's at its own threshold, at most {FLIPPED:.0%}"
            )
        return Made(
            model,
            found.error,
            found.correlation,
            found.score_scale,
            found.map_scale,
            peak,
            kept,
        )


def _watch(progress: Progress, what: str) -> Watch:
    return lambda done, total: progress(what, done, total)


def _module(name: str) -> str:
    """The block that a node lies in: `embedder.encoder.vit.blocks.3`, `head.projector`."""
    scope = name.rpartition("/")[0].split(".")
    numbers = [i for i, word in enumerate(scope) if word.isdigit()]
    return ".".join(scope[: numbers[0] + 1] if numbers else scope[:3])


def _reasons(found: Kept, precision: str) -> dict[str, str]:
    alone = {effect.part: effect for effect in found.effects}
    return {
        part: f"map correlation {alone[part].correlation:.6f}, scores {alone[part].error:.2%} off "
        f"with it alone in {precision}"
        for part in found.parts or ()
    }

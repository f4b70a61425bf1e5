"""The fp16 and int8 graphs of a detector: made, judged against fp32, and refused where they lose.

What a precision costs is judged here, on the PC, on frames with synthetic defects and on good ones;
what a *device* makes of the graph is judged there, against what onnxruntime gets from it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgefoundad.errors import GateError
from edgefoundad.golden import Infer, correlate
from edgefoundad.manifest import Precision
from edgefoundad_export import int8
from edgefoundad_export.graph import stage
from edgefoundad_export.half import (
    COMPUTED,
    LARGEST,
    STAGES_IN_HALF,
    half_nodes,
    simulate_half,
    to_half,
)
from edgefoundad_export.outliers import outliers, part
from edgefoundad_export.overflow import peaks
from edgefoundad_export.probe import Probe
from edgefoundad_export.sensitivity import Kept, keep_fewest, table
from edgefoundad_export.session import Progress, Watch, open_session, results
from edgefoundad_export.smoothquant import smooth

HALF_CORRELATION = 0.9995
"""Smallest map correlation of the fp16 graph with the fp32 one on damaged frames."""

INT8_CORRELATION = 0.995
"""The same of the int8 graph."""

HALF_ERROR = 0.02
"""Largest relative difference of a score of the fp16 graph from the fp32 one's, on any frame."""

INT8_ERROR = 0.1
"""The same of the int8 graph, in units of its own scale. What it costs at the threshold is counted
in verdicts."""

HEADROOM = 0.5
"""Share of what these bounds allow that is not used up: real defects are others."""

MOST_KEPT = 0.5
"""Share of the layers that may stay in fp32 for the graph to be called int8."""

FLIPPED = 0.01
"""Share of verdicts on good frames that may differ at the precision's own threshold."""

SCALING = 8
"""Good frames that a precision's scale of scores is taken from."""

JUDGED_SINGLY = 3
"""Damaged frames that a single layer's effect is measured on: it only ranks them."""


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
        self.model, self.probe, self.limit = model, probe, limit
        reference = open_session(model).infer
        self.normal = results(reference, probe.normal)
        self.damaged = results(reference, probe.damaged)
        # Good frames that a scale is taken from: not those that are then judged by it.
        self.scaling = probe.calibrating[:SCALING]
        self.scaled = results(reference, self.scaling)

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

        bar = 1 - (1 - HEADROOM) * (1 - HALF_CORRELATION)
        found = keep_fewest(
            modules,
            lower,
            self._worst,
            self._few,
            wanted=bar,
            watch=_watch(progress, "measuring fp16 part by part"),
        )
        if len(found.parts) == len(modules):
            raise GateError(
                f"fp16 was not written: the map correlation is {found.effects[0].correlation:.6f} "
                f"with one part alone in half precision, at least {HALF_CORRELATION}. Part by "
                f"part:\n{table(found.effects)}"
            )
        nodes = {name for name in every if _module(name) not in found.parts}
        kept = dict.fromkeys(found.parts, "the map would differ")
        kept |= self._overflowing(highest)
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
        layers = {layer.node: layer for layer in its_layers}

        def lower(parts: Collection[str]) -> onnx.ModelProto:
            return int8.to_int8(whole, [layers[one] for one in parts], scales)

        bar = 1 - (1 - HEADROOM) * (1 - INT8_CORRELATION)
        found = keep_fewest(
            list(layers),
            lower,
            self._worst,
            self._few,
            wanted=bar,
            watch=_watch(progress, "measuring int8 layer by layer"),
        )
        if len(found.parts) > MOST_KEPT * len(layers):
            raise GateError(
                f"int8 was not written: {len(found.parts)} of {len(layers)} layers would have to "
                f"stay in fp32 for a map correlation of {bar:.4f} on defects, at most "
                f"{MOST_KEPT:.0%}: use fp16. Layer by layer, the correlation with it alone in "
                f"int8:\n{table(found.effects)}"
            )
        model = lower([part for part in layers if part not in found.parts])
        return self._judged(
            model, open_session(model).infer, "int8", peak=None, kept=_reasons(found)
        )

    def _few(self, model: onnx.ModelProto) -> float:
        return self._worst(model, JUDGED_SINGLY)

    def _worst(self, model: onnx.ModelProto, frames: int | None = None) -> float:
        """The worst map correlation on damaged frames; -1 where one is not a number."""
        said = results(open_session(model).infer, self.probe.damaged[:frames])
        pairs = zip(said, self.damaged, strict=False)
        found = [correlate(got, wanted) for (got, _), (wanted, _) in pairs]
        return -1.0 if np.isnan(found).any() else min(found)

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
        scaling = results(infer, self.scaling)
        score_scale = _ratio([s for _, s in scaling], [s for _, s in self.scaled])
        map_scale = _ratio([m.max() for m, _ in scaling], [m.max() for m, _ in self.scaled])
        if not (score_scale > 0 and map_scale > 0):
            raise GateError(
                f"{precision} was not written: good frames, which differ a little in fp32, come to "
                "nothing in it, so that no threshold can be set"
            )
        normal, damaged = results(infer, self.probe.normal), results(infer, self.probe.damaged)
        correlation = min(
            correlate(got, wanted)
            for (got, _), (wanted, _) in zip(damaged, self.damaged, strict=True)
        )
        bound = HALF_CORRELATION if precision == "fp16" else INT8_CORRELATION
        if not correlation >= bound:
            raise GateError(
                f"{precision} was not written: its map correlates with fp32's by {correlation:.6f} "
                f"on defects, at least {bound}"
            )
        pairs = [
            (got / score_scale, wanted)
            for (_, got), (_, wanted) in zip(
                [*normal, *damaged], [*self.normal, *self.damaged], strict=True
            )
        ]
        # A map that shrinks with its defects correlates as well as ever: their scores tell.
        error = float(np.max([abs(got / max(wanted, 1e-12) - 1) for got, wanted in pairs]))
        most = HALF_ERROR if precision == "fp16" else INT8_ERROR
        if not error <= most:
            raise GateError(
                f"{precision} was not written: a score differs from fp32's by {error:.1%} in its "
                f"own scale, at most {most:.0%}"
            )
        good = pairs[: len(normal)]
        flipped = sum((got > self.limit) != (wanted > self.limit) for got, wanted in good)
        if flipped > FLIPPED * len(good):
            raise GateError(
                f"{precision} was not written: {flipped} of {len(good)} verdicts on good frames "
                f"differ from fp32's at its own threshold, at most {FLIPPED:.0%}"
            )
        return Made(model, error, float(correlation), score_scale, map_scale, peak, kept)


def _watch(progress: Progress, what: str) -> Watch:
    return lambda done, total: progress(what, done, total)


def _module(name: str) -> str:
    """The block that a node lies in: `embedder.encoder.vit.blocks.3`, `head.projector`."""
    scope = name.rpartition("/")[0].split(".")
    numbers = [i for i, word in enumerate(scope) if word.isdigit()]
    return ".".join(scope[: numbers[0] + 1] if numbers else scope[:3])


def _ratio(these: Sequence[float], those: Sequence[float]) -> float:
    pairs = zip(these, those, strict=True)
    return float(np.median([a / b for a, b in pairs if b > 0] or [1.0]))


def _reasons(found: Kept) -> dict[str, str]:
    alone = {effect.part: effect.correlation for effect in found.effects}
    return {
        part: f"map correlation {alone[part]:.6f} with it alone in int8" for part in found.parts
    }

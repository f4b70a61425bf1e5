"""What a bundle says about itself: a versioned, strict schema."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from edgefoundad.geometry import Geometry, Size

SCHEMA_VERSION: Literal[1] = 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
"""A plain name: a bundle never refers to anything outside its own folder."""

Channels = Literal["gray", "bgr", "rgb", "bgrx", "rgba"]
Precision = Literal["fp32", "fp16", "int8"]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FileRecord(_Record):
    """One file of the bundle, so that an altered byte is noticed."""

    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class WeightsRecord(_Record):
    """Where the encoder's weights came from; they are needed again to export, never to run."""

    source: Literal["file", "cache", "hub", "package"]
    file: str
    sha256: Sha256
    licence: str


class EncoderRecord(_Record):
    """The frozen encoder and where it is cut.

    Attributes:
        levels: transformer blocks, or stages of a convolutional encoder, that are read, counted
            from 0; what lies behind the deepest is cut off.
        fusion: how several levels become one embedding.
        neighbourhoods: sides of the squares of patches that an embedding is averaged over; each
            gives channels of its own.
        dimension: channels of a patch embedding.
        patch: side of a patch, model pixels.
    """

    name: str
    model: str
    levels: Annotated[tuple[int, ...], Field(min_length=1)]
    fusion: Literal["concat", "mean"] = "concat"
    neighbourhoods: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (1,)
    dimension: int
    patch: int
    weights: WeightsRecord

    @property
    def features(self) -> str:
        """What is read, in words."""
        levels = "+".join(str(level) for level in self.levels)
        mean = "mean of " if self.fusion == "mean" and len(self.levels) > 1 else ""
        if self.neighbourhoods == (1,):
            return f"{mean}{levels}"
        sides = " and ".join(f"{side}x{side}" for side in self.neighbourhoods)
        return f"{mean}{levels}, {sides} averaged"


ProjectorKind = Literal["subspace", "memory", "blend", "foundad"]
Views = Literal["none", "turns", "turns+flips"]


class ProjectorRecord(_Record):
    """The projector and what is needed to build it empty; its weights are in the safetensors."""

    kind: ProjectorKind
    settings: dict[str, int | FiniteFloat]
    parameters: int
    why: str


FEWEST_SCORED = 3
"""Patches that the score averages over at least: a single one is as high on many a good part."""


def scored_patches(top_fraction: float, geometry: Geometry) -> int:
    """How many patches the image score averages over.

    A share of one tile's: a defect fills as many patches however many tiles there are.
    """
    wanted = round(top_fraction * math.prod(geometry.tile_grid))
    return min(max(FEWEST_SCORED, wanted), math.prod(geometry.grid))


class ScoreRule(_Record):
    """The image score: a power mean of the largest patch differences.

    Attributes:
        top_fraction: how many, as a share of the patches of one tile; three at least.
        power: exponent of their power mean: 1 is the arithmetic mean, a large one nears their
            maximum.
        smoothing: of the difference map, standard deviation of a Gaussian in patches.
        background: whether differences away from anything that looks like the part are suppressed.
        rim: what the differences of patches at the frame's border weigh, the outermost first: an
            encoder's padding makes good parts look odd there.
    """

    top_fraction: Fraction
    power: Annotated[FiniteFloat, Field(ge=1, le=16)] = 1.0
    smoothing: Annotated[FiniteFloat, Field(ge=0)] = 0.5
    background: Literal["kept", "suppressed"] = "kept"
    rim: list[Annotated[FiniteFloat, Field(gt=0, le=1)]] = []


def hash_scores(scores: Sequence[float]) -> str:
    """sha256 of scores as little-endian float64, so that a threshold can show its evidence."""
    return hashlib.sha256(np.asarray(scores, "<f8").tobytes()).hexdigest()


class Calibration(_Record):
    """The evidence behind a threshold.

    Attributes:
        rule: how the threshold was computed from the scores.
        false_alarms: the rate that was asked for.
        n: scores that took part, one per part for `conformal`.
        parts: distinct normal images behind those scores.
        scores: the image scores, ascending.
        scores_sha256: hash of `scores` as little-endian float64.
        realised_95: for `conformal`, the false-alarm rate that 95 of 100 such calibrations stay
            under (a Beta quantile); None where there is no guarantee.
        backend: what computed the scores.
    """

    rule: Literal["conformal", "held-out", "leave-one-out", "views"]
    false_alarms: Fraction
    n: Annotated[int, Field(ge=1)]
    parts: Annotated[int, Field(ge=1)]
    scores: list[FiniteFloat]
    scores_sha256: Sha256
    realised_95: Fraction | None
    backend: str

    @model_validator(mode="after")
    def _evidence(self) -> Calibration:
        if self.n != len(self.scores) or self.scores != sorted(self.scores):
            raise ValueError("scores must be n, in ascending order")
        if self.scores_sha256 != hash_scores(self.scores):
            raise ValueError("scores_sha256 is not the hash of the scores")
        return self


class Threshold(_Record):
    """When a frame is anomalous, and where.

    Attributes:
        score: a frame is anomalous when its score is greater than this, strictly.
        map: cells of an anomalous frame's difference map above this belong to a region.
        provisional: no guarantee holds: too few normals were left out of the fit.
    """

    score: FiniteFloat
    map: FiniteFloat
    provisional: bool
    calibration: Calibration

    def scaled(self, score: float, map_scale: float) -> Threshold:
        """For a graph whose scores are `score` times, and map peaks `map_scale` times, as high.

        Provisional, whatever this one promises: that graph has judged none of the parts itself.
        """
        if score == map_scale == 1:
            return self
        scores = [score * one for one in self.calibration.scores]
        evidence = {
            "scores": scores,
            "scores_sha256": hash_scores(scores),
            "realised_95": None,
        }
        return Threshold(
            score=score * self.score,
            map=map_scale * self.map,
            provisional=True,
            calibration=self.calibration.model_copy(update=evidence),
        )


class NormalsRecord(_Record):
    """The normal images: which were used, and whether they hold colour.

    Attributes:
        outliers: of the fitted ones, those that differ from all others; left out of the fit where
            that was asked for.
        views: of each normal, that the projector was fitted on beside the image itself.
        categories: folders that the normals came from, where there are several.
    """

    found: int
    fitted: list[str]
    calibrated: int
    colour: bool
    outliers: list[str] = Field(default_factory=list)
    views: Views = "none"
    categories: list[str] = Field(default_factory=list)


class GraphRecord(_Record):
    """One exported graph, and how closely it follows what it was made of.

    Attributes:
        precision: of its encoder's products; some nodes are kept in a higher one.
        safe: a file with the same graph, written so that no fused attention kernel matches it; None
            where there is no attention.
        score_error: largest relative difference of a score: of the fp32 graph from the trainer's on
            the golden frames, of the others from the fp32 graph's on damaged normals.
        map_correlation: smallest Pearson correlation of a map, likewise.
        score_scale: its scores of normals in units of the fp32 graph's; thresholds follow.
        map_scale: the peaks of its maps of normals, likewise.
        peak: largest magnitude of what nodes in half precision give, on the frames that were tried.
        kept: what stays in a higher precision, and why.
    """

    file: FileName
    precision: Precision
    opset: int
    channels: Channels
    frame: Geometry
    score_error: FiniteFloat
    map_correlation: FiniteFloat
    safe: FileName | None = None
    score_scale: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    map_scale: Annotated[FiniteFloat, Field(gt=0)] = 1.0
    peak: FiniteFloat | None = None
    kept: dict[str, str] = Field(default_factory=dict)


class Candidate(_Record):
    """One way to make the detector that `auto` tried.

    Attributes:
        features: the encoder's levels and their neighbourhoods, in words.
        smoothing: of the difference map, see `ScoreRule`.
        detection: AUROC of image scores, damaged against untouched normals left out of the fit.
        margin: how far damage lifts a score beyond the spread of untouched ones, 0 to 1.
        localisation: AUROC of the smoothed patch differences inside against outside the damage.
        head_start: what it is ahead by before any evidence.
        seconds: taken to compare it.
        chosen: whether the detector is made this way.
    """

    features: str
    projector: ProjectorKind
    background: Literal["kept", "suppressed"]
    top_fraction: Fraction
    smoothing: Annotated[FiniteFloat, Field(ge=0)]
    detection: FiniteFloat
    margin: FiniteFloat
    localisation: FiniteFloat
    head_start: FiniteFloat = 0.0
    seconds: FiniteFloat
    chosen: bool = False

    @property
    def standing(self) -> float:
        """What candidates are ranked by: the mean of the three figures, and the head start."""
        return (self.detection + self.margin + self.localisation) / 3 + self.head_start


class FitRecord(_Record):
    """How and when the detector was fitted.

    Attributes:
        left_out: candidates that were not compared, in words; for lack of time unless they say why.
    """

    seed: int
    seconds: FiniteFloat
    device: str
    candidates: list[Candidate]
    left_out: list[str] = Field(default_factory=list)


class Manifest(_Record):
    """Everything about one detector that is not a tensor.

    Attributes:
        geometry: of the frames of the fit.
        other_frames: geometries of further categories whose frames have another size.
        graphs: what was exported, by precision; all for the same frames.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str
    created: str
    edgefoundad: str
    encoder: EncoderRecord
    projector: ProjectorRecord
    geometry: Geometry
    other_frames: list[Geometry] = Field(default_factory=list)
    score: ScoreRule
    threshold: Threshold
    normals: NormalsRecord
    fit: FitRecord
    graphs: dict[Precision, GraphRecord] = Field(default_factory=dict)
    files: dict[FileName, FileRecord] = Field(default_factory=dict)

    @property
    def frames(self) -> list[Geometry]:
        """For every size of frames that the detector was fitted on; the first category's first."""
        return [self.geometry, *self.other_frames]

    @property
    def graph(self) -> GraphRecord | None:
        """The reference: the graph in fp32; None before export."""
        return self.graphs.get("fp32")

    def threshold_for(self, precision: Precision) -> Threshold:
        """The threshold for the scores of one exported graph."""
        graph = self.graphs[precision]
        return self.threshold.scaled(graph.score_scale, graph.map_scale)

    def geometry_for(self, frame: Size) -> Geometry:
        """How to judge frames of a size: as those of the fit of that size, else of that shape.

        Raises:
            InputError: the fit saw no frames of that aspect ratio, or they have too few pixels.
        """
        for own in self.frames:
            if own.frame == frame:
                return own
        if min(frame) < 1:
            return self.geometry.for_frame(frame)  # Which refuses it: it has no shape.
        return min(self.frames, key=lambda own: own.stretch(frame)).for_frame(frame)

    def to_json(self) -> str:
        """The manifest as indented JSON that ends in a newline."""
        return self.model_dump_json(indent=2) + "\n"

    def summary(self) -> dict[str, Any]:
        """What a command reports about a detector, as plain JSON values."""
        threshold = self.threshold
        return {
            "name": self.name,
            "encoder": self.encoder.name,
            "features": self.encoder.features,
            "weights": self.encoder.weights.source,
            "licence": self.encoder.weights.licence,
            "projector": self.projector.kind,
            "why": self.projector.why,
            "frame": str(self.geometry.frame),
            "roi": list(self.geometry.roi) if self.geometry.roi else None,
            "tiles": f"{self.geometry.tiles.height}x{self.geometry.tiles.width}",
            "model": str(self.geometry.tile),
            "views": self.normals.views,
            "background": self.score.background,
            "top_fraction": self.score.top_fraction,
            "outliers": self.normals.outliers,
            "categories": self.normals.categories,
            "shots": len(self.normals.fitted),
            "threshold": threshold.score,
            "provisional": threshold.provisional,
            "false_alarms": threshold.calibration.false_alarms,
            "fit_seconds": self.fit.seconds,
        }

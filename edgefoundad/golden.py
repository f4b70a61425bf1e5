"""Golden frames: what is known of them, so that every later graph and engine is held to it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.manifest import Precision

SCORE_ERROR = 1e-3
"""Largest relative difference of an fp32 graph's score from the trainer's."""

MAP_CORRELATION = 0.9999
"""Smallest Pearson correlation of an fp32 graph's map with the trainer's."""

MAP_ERROR = 1e-2
"""Largest difference of any cell of an fp32 graph's map, relative to the trainer's peak. The
correlation cannot see a map that is scaled or offset, and its regions depend on both."""

ENGINE_SCORE_DRIFT = 0.01
"""Largest difference of a device's score from onnxruntime's on the same graph, in thresholds."""

ENGINE_MAP_CORRELATION = 0.999
"""Smallest Pearson correlation of a device's map with onnxruntime's, on every frame with
something to see."""

ENGINE_MAP_ERROR = 0.05
"""Largest difference of any cell of a device's map, relative to the peak."""

FEWEST = {"normal": 2, "defect": 2, "colour": 1}
"""Golden frames of each kind, all distinct: fewer, or one many times, and a wrong engine passes."""

Infer = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], float]]
"""A frame, uint8 [H, W, C], to its difference map, float32 [h, w], and its image score."""


@dataclass(frozen=True)
class Results:
    """What one graph says of the golden frames.

    Attributes:
        maps: float32 [n, h, w].
        scores: float64 [n].
    """

    maps: NDArray[np.float32]
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, infer: Infer, frames: NDArray[np.uint8]) -> Results:
        """Run every frame."""
        said = [(difference.copy(), score) for difference, score in map(infer, frames)]
        return cls(np.stack([m for m, _ in said]), np.array([s for _, s in said], np.float64))


@dataclass(frozen=True)
class GoldenFrames:
    """Frames with their results.

    Attributes:
        frames: uint8 [n, H, W, C], in the graph's channel order.
        kinds: what each is: "normal", "defect" or "colour" (asymmetric, so that a swapped channel
            or a flipped axis cannot pass).
        maps: float32 [n, h, w], the trainer's.
        scores: float64 [n], the trainer's.
        graphs: what onnxruntime gets from the graph of each precision.
    """

    frames: NDArray[np.uint8]
    kinds: tuple[str, ...]
    maps: NDArray[np.float32]
    scores: NDArray[np.float64]
    graphs: dict[Precision, Results] = field(default_factory=dict)

    def by_graph(self, precision: Precision) -> GoldenFrames:
        """The frames with what onnxruntime gets from one graph in the trainer's place.

        Raises:
            InputError: that graph's results were not kept.
        """
        if precision not in self.graphs:
            raise InputError(f"the golden frames hold no results in {precision}: export again")
        results = self.graphs[precision]
        return replace(self, maps=results.maps, scores=results.scores)

    def save(self, path: Path) -> None:
        """Write an npz without pickled objects."""
        arrays: dict[str, Any] = {"maps": self.maps, "scores": self.scores}
        for name, results in self.graphs.items():
            arrays |= {f"maps_{name}": results.maps, f"scores_{name}": results.scores}
        np.savez_compressed(path, frames=self.frames, kinds=np.asarray(self.kinds), **arrays)

    @classmethod
    def load(cls, path: Path) -> GoldenFrames:
        """Read an npz; pickled objects in it are refused, never run.

        Raises:
            InputError: the file is not a golden file.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                kinds = tuple(str(kind) for kind in data["kinds"])
                graphs = {
                    name: Results(data[f"maps_{name}"], data[f"scores_{name}"])
                    for name in get_args(Precision)
                    if f"maps_{name}" in data
                }
                golden = cls(data["frames"], kinds, data["maps"], data["scores"], graphs)
        except Exception as error:  # numpy, zipfile and zlib each have their own for a broken file.
            raise InputError(f"{path} holds no golden frames ({error}): export again") from None
        if not golden._is_sound():
            raise InputError(
                f"{path} holds too few golden frames, or some without their results: export again"
            )
        return golden

    def _is_sound(self) -> bool:
        n = len(self.kinds)
        results = [Results(self.maps, self.scores), *self.graphs.values()]
        return (
            all(self.kinds.count(kind) >= least for kind, least in FEWEST.items())
            and _is_array(self.frames, np.uint8, 4, n)
            # Hashed, so that no frame is held twice: a camera's can be large.
            and len({hashlib.sha256(frame.tobytes()).digest() for frame in self.frames}) == n
            and all(
                _is_array(one.maps, np.float32, 3, n)
                and one.maps.shape == self.maps.shape
                and _is_array(one.scores, np.float64, 1, n)
                and bool(np.isfinite(one.maps).all() and np.isfinite(one.scores).all())
                for one in results
            )
        )


def _is_array(array: NDArray[Any], dtype: type[np.generic], ndim: int, n: int) -> bool:
    return array.dtype == dtype and array.ndim == ndim and len(array) == n


@dataclass(frozen=True)
class Comparison:
    """How far a graph's results lie from the trainer's, at worst over the golden frames.

    Attributes:
        score_error: relative difference of the score.
        map_correlation: Pearson correlation of the map.
        fault: what is wrong, or None where the graph may be trusted.
    """

    frames: int
    score_error: float
    map_correlation: float
    fault: str | None


def compare(golden: GoldenFrames, infer: Infer) -> Comparison:
    """Run every golden frame and compare; without any, nothing is proved, which is a fault."""
    if not len(golden.frames):
        return Comparison(0, float("inf"), -1.0, "there are no golden frames")
    errors: list[float] = []
    correlations: list[float] = []
    faults: list[str] = []
    for index, frame in enumerate(golden.frames):
        kind, wanted, score = golden.kinds[index], golden.maps[index], float(golden.scores[index])
        got_map, got_score = infer(frame)
        if got_map.shape != wanted.shape:
            faults.append(f"map of {got_map.shape} cells, expected {wanted.shape}")
            continue
        error = abs(got_score - score) / max(abs(score), 1e-12)
        correlation = correlate(got_map, wanted)
        worst_cell = float(np.abs(got_map - wanted).max() / max(np.abs(wanted).max(), 1e-12))
        errors.append(error)
        correlations.append(correlation)
        # Written so that a NaN fails.
        if not error <= SCORE_ERROR:
            faults.append(
                f"{kind} frame {index}: score {got_score:.6g}, trainer {score:.6g} "
                f"({error:.2%} off, at most {SCORE_ERROR:.1%})"
            )
        elif not correlation >= MAP_CORRELATION:
            faults.append(
                f"{kind} frame {index}: map correlation {correlation:.6f}, "
                f"at least {MAP_CORRELATION}"
            )
        elif not worst_cell <= MAP_ERROR:
            faults.append(
                f"{kind} frame {index}: a cell of the map is {worst_cell:.2%} of its peak off, "
                f"at most {MAP_ERROR:.0%}"
            )
    return Comparison(
        frames=len(golden.frames),
        # NumPy's, which keep a NaN where Python's may drop it.
        score_error=float(np.max(errors)) if errors else float("inf"),
        map_correlation=float(np.min(correlations)) if correlations else -1.0,
        fault="; ".join(faults) if faults else None,
    )


def gate(golden: GoldenFrames, infer: Infer, *, precision: Precision, limit: float) -> Comparison:
    """Decide whether what runs a graph on this machine may be armed (DESIGN.md, promise 1).

    Args:
        golden: with what onnxruntime got from the same graph on the PC.
        infer: the backend.
        precision: of the graph.
        limit: the threshold for this precision's scores, in which drift is measured.

    Raises:
        InputError: the golden frames hold no results in this precision.
    """
    wanted = golden.by_graph(precision)
    drifts: list[float] = []
    correlations: list[float] = []
    faults: list[str] = []
    said: list[float] = []
    for index, frame in enumerate(wanted.frames):
        name, expected = f"{wanted.kinds[index]} frame {index}", float(wanted.scores[index])
        got_map, got_score = infer(frame)
        reference = wanted.maps[index]
        if got_map.shape != reference.shape:
            faults.append(f"{name}: map of {got_map.shape} cells, expected {reference.shape}")
            continue
        said.append(got_score)
        if not (np.isfinite(got_map).all() and np.isfinite(got_score)):
            faults.append(f"{name}: the map or the score is not finite")
            continue
        if got_map.min() == got_map.max() and reference.min() != reference.max():
            faults.append(f"{name}: the map is constant ({got_map.flat[0]:.6g})")
            continue
        drift = abs(got_score - expected) / max(abs(limit), 1e-12)
        correlation = correlate(got_map, reference)
        peak = max(float(np.abs(reference).max()), 1e-12)
        cell = float(np.abs(got_map - reference).max()) / peak
        drifts.append(drift)
        correlations.append(correlation)
        if not drift <= ENGINE_SCORE_DRIFT:
            faults.append(
                f"{name}: score {got_score:.6g}, onnxruntime {expected:.6g} ({drift:.2%} of the "
                f"threshold off, at most {ENGINE_SCORE_DRIFT:.0%})"
            )
        elif not correlation >= ENGINE_MAP_CORRELATION:
            faults.append(
                f"{name}: map correlation {correlation:.6f}, at least {ENGINE_MAP_CORRELATION}"
            )
        elif not cell <= ENGINE_MAP_ERROR:
            faults.append(
                f"{name}: a cell of the map is {cell:.1%} of its peak off, at most "
                f"{ENGINE_MAP_ERROR:.0%}"
            )
    if len(said) > 1 and len(set(said)) == 1 and len(set(wanted.scores.tolist())) > 1:
        faults.insert(0, f"every frame has the score {said[0]:.6g}")
    return Comparison(
        frames=len(wanted.frames),
        score_error=float(np.max(drifts)) if drifts else float("inf"),
        map_correlation=float(np.min(correlations)) if correlations else -1.0,
        fault="; ".join(faults) if faults else None,
    )


def correlate(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Pearson correlation of two maps; NaN where either is constant or not finite."""
    x = a.astype(np.float64).ravel() - a.mean(dtype=np.float64)
    y = b.astype(np.float64).ravel() - b.mean(dtype=np.float64)
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm > 0 else float("nan")

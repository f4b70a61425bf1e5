"""What judges in a station: a bundle that was armed, with the golden frames that prove it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edgefoundad.bundle import GOLDEN, Bundle
from edgefoundad.errors import GateError
from edgefoundad.golden import GoldenFrames
from edgefoundad_jetson import arming
from edgefoundad_jetson.arming import Armed, Say
from edgefoundad_jetson.config.station_config import StationConfig
from edgefoundad_jetson.deciding import Deciding
from edgefoundad_jetson.loop import Judge
from edgefoundad_jetson.outcome import Standing

Arm = Callable[..., Armed]
"""As `arming.arm`."""


@dataclass(frozen=True, kw_only=True)
class Detector(Judge):
    """A judge that knows what it was made of.

    Attributes:
        armed: how it was armed.
        deciding: where its threshold comes from.
        frames: golden ones, uint8 [n, H, W, C].
        scores: what the backend said of them once it was armed, float64 [n].
    """

    armed: Armed
    deciding: Deciding
    frames: NDArray[np.uint8]
    scores: NDArray[np.float64]

    @property
    def bundle(self) -> Bundle:
        """What was armed."""
        return self.armed.bundle

    def takes_frames_of(self, bundle: Bundle) -> bool:
        """Whether another bundle takes the frames that this one takes."""
        other = next(iter(bundle.manifest.graphs.values()), None)
        mine = self.backend.graph
        return other is not None and (
            (other.frame.frame, other.channels) == (mine.frame.frame, mine.channels)
        )

    def decided(self, config: StationConfig) -> Detector:
        """The same with the threshold as it is now.

        Raises:
            InputError: there is a calibration that cannot be used.
        """
        deciding = _deciding(self.armed, config)
        return replace(self, deciding=deciding, threshold=deciding.threshold)

    def doubts(self, config: StationConfig) -> list[str]:
        """What somebody should know of it, one line each."""
        armed = self.armed
        said = [f"{one.rung} is refused: {one.reason}" for one in armed.refused]
        if said:
            said.append(f"standing on {armed.rung} instead")
        if config.decision.threshold == "calibrated":
            said += [one for one in (armed.uncalibrated, self.deciding.doubt) if one]
        return said + ([armed.advice] if armed.advice else [])


def make(
    bundle: Bundle, config: StationConfig, *, say: Say = lambda line: None, arm: Arm = arming.arm
) -> Detector:
    """Arm a bundle as a station's file has it, and warm it up.

    Raises:
        InputError: it has no graph or no golden frames, or a calibration that cannot be used.
        GateError: no rung holds; or it is not calibrated, which `strict` does not allow.
    """
    wanted = config.backend
    precision = wanted.named_precision
    armed = arm(bundle, backend=wanted.name, precision=precision, strict=wanted.strict, say=say)
    try:
        if wanted.strict and armed.uncalibrated and config.decision.threshold == "calibrated":
            raise GateError(armed.uncalibrated)
        deciding = _deciding(armed, config)
        frames = GoldenFrames.load(bundle.file(GOLDEN, advice="export it again")).frames
        scores = np.array([armed.backend.infer(frame)[1] for frame in frames], np.float64)
        for index in range(len(frames), config.service.warm_up):
            armed.backend.infer(frames[index % len(frames)])
        if wanted.name == "auto" and precision is None:
            armed.remember()
    except BaseException:
        armed.backend.close()
        raise
    return Detector(
        backend=armed.backend,
        threshold=deciding.threshold,
        standing=Standing(bundle.sha256[:32], str(armed.rung)),
        armed=armed,
        deciding=deciding,
        frames=frames,
        scores=scores,
    )


def _deciding(armed: Armed, config: StationConfig) -> Deciding:
    if config.decision.threshold == "bundle":
        return Deciding(armed.bundle.manifest.threshold_for(armed.rung.precision))
    return armed.deciding

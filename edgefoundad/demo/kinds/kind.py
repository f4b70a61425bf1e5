"""A kind of part: how it is laid out, what can be wrong with it, and how a frame of it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from edgefoundad.demo.change import outline, subdue
from edgefoundad.demo.kinds.blemish import Blemish
from edgefoundad.demo.kinds.camera import Image, Light, Studio, develop, expose, sample_light
from edgefoundad.demo.kinds.canvas import Canvas, Float, Frame

LOW_CONTRAST = "low_contrast"

_VISIBLE = 3.0
"""Grey levels from which on a change counts as part of the defect."""
_ATTEMPTS = 40
_MARGIN = 8


@dataclass(frozen=True)
class Flaw:
    """A fault in how the part is made, for the layout to build in.

    Attributes:
        name: which fault.
        rng: source of its draws; the layout's own draws must not depend on it.
        severity: factor on the fault's size.
    """

    name: str
    rng: np.random.Generator
    severity: float = 1.0


Lay = Callable[[np.random.Generator, Frame, Flaw | None], Canvas]


@dataclass(frozen=True)
class Kind:
    """A kind of part.

    Attributes:
        name: what it is called.
        height: rows of a frame at scale 1.
        width: columns of a frame at scale 1.
        lay: draws a good part into a frame, or one with a flaw of `flaws`.
        blemishes: damage done to the surface of a good part, by name.
        flaws: faults that the layout builds in.
        studio: the lamps and the camera.
        least_area: pixels at scale 1; a defect that shows less is drawn again.
    """

    name: str
    height: int
    width: int
    lay: Lay
    blemishes: Mapping[str, Blemish]
    flaws: tuple[str, ...] = ()
    studio: Studio = field(default_factory=Studio)
    least_area: float = 25.0

    @property
    def defects(self) -> tuple[str, ...]:
        """What can be wrong; `low_contrast` is any blemish brought down to a few grey levels."""
        return (*self.blemishes, *self.flaws, LOW_CONTRAST)


def render(
    kind: Kind,
    rng: np.random.Generator,
    defect: str | None = None,
    *,
    severity: float = 1.0,
    scale: float = 1.0,
) -> tuple[Image, npt.NDArray[np.bool_]]:
    """Photograph a part.

    The same state of `rng` gives the same part under the same light with and without a defect, and
    the same defect at the same place for every severity as long as it is visible.

    Args:
        kind: the kind of part.
        rng: source of all draws.
        defect: one of `kind.defects`, or None for a good part.
        severity: factor on the defect's size.
        scale: factor on the frame's size.

    Returns:
        The frame, uint8 [H, W, 3] in RGB order, and the mask of the pixels that the defect
        changed, bool [H, W]: outside of it the frame is the good part's to the bit.

    Raises:
        ValueError: if the kind has no such defect.
        RuntimeError: if no draw of the defect can be seen.
    """
    if defect is not None and defect not in kind.defects:
        raise ValueError(
            f"unknown defect {defect!r} of {kind.name}, expected one of {', '.join(kind.defects)}"
        )
    frame = Frame(round(kind.height * scale), round(kind.width * scale), scale)
    seed = int(rng.integers(2**31))
    light = sample_light(rng, kind.studio, scale)
    canvas = kind.lay(np.random.default_rng(seed), frame, None)
    good = expose(canvas, light, frame, slice(0, frame.height), slice(0, frame.width))
    if defect is None:
        return develop(good, light), np.zeros(good.shape[:2], bool)
    least = kind.least_area * scale * scale * min(severity, 1.0)
    for _ in range(_ATTEMPTS):
        levels, mask = _spoil(kind, canvas, good, light, frame, seed, rng, defect, severity)
        if np.count_nonzero(mask) >= least:
            return develop(levels, light), mask > 0
    raise RuntimeError(f"no visible {defect} of {kind.name} in {_ATTEMPTS} draws")


def _spoil(
    kind: Kind,
    canvas: Canvas,
    good: Float,
    light: Light,
    frame: Frame,
    seed: int,
    rng: np.random.Generator,
    defect: str,
    severity: float,
) -> tuple[Float, Image]:
    """Grey levels with the defect, and its mask."""
    name = defect
    if defect == LOW_CONTRAST:
        name = tuple(kind.blemishes)[int(rng.integers(len(kind.blemishes)))]
    if name in kind.flaws:
        bad = kind.lay(np.random.default_rng(seed), frame, Flaw(name, rng, severity))
    else:
        bad = canvas.copy()
        kind.blemishes[name](bad, rng, severity)
    target = float(rng.uniform(0.035, 0.055))
    rows, cols = _changed(canvas, bad)
    levels, mask = good.copy(), np.zeros(good.shape[:2], np.uint8)
    if rows.stop <= rows.start:
        return levels, mask
    faulty, before = expose(bad, light, frame, rows, cols), good[rows, cols]
    # The window's rim is blurred against nothing; the defect ends before it.
    faulty = np.where(_rim(faulty.shape[:2])[..., None], before, faulty)
    if defect == LOW_CONTRAST:
        aim = 2.5 + target * float(before.mean())
        seen, changed = subdue(before, faulty, aim, _VISIBLE)
    else:
        changed = outline(np.abs(faulty - before).max(axis=2) > _VISIBLE)
        seen = np.where(changed[..., None] > 0, faulty, before)
    levels[rows, cols], mask[rows, cols] = seen, changed
    return levels, mask


def _changed(canvas: Canvas, bad: Canvas) -> tuple[slice, slice]:
    """The window in which two canvases differ, with a margin for the lens blur."""
    shape = canvas.relief.shape
    differs: npt.NDArray[np.bool_] = np.zeros(shape, bool)
    for name, value in vars(canvas).items():
        if isinstance(value, np.ndarray):
            apart = np.abs(value - vars(bad)[name]).reshape(*shape, -1)
            differs |= apart.max(axis=2) > 1e-4
    x, y, w, h = cv2.boundingRect(differs.astype(np.uint8))
    if w == 0:
        return slice(0, 0), slice(0, 0)
    margin = int(np.ceil(_MARGIN * max(canvas.unit, 1.0)))
    rows = slice(max(y - margin, 0), min(y + h + margin, differs.shape[0]))
    return rows, slice(max(x - margin, 0), min(x + w + margin, differs.shape[1]))


def _rim(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """The outermost pixels of a window, bool [h, w]."""
    rim = np.ones(shape, bool)
    rim[4:-4, 4:-4] = False
    return rim

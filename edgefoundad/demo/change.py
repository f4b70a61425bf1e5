"""What a defect changed in a frame: its mask, and how to bring it down to a few grey levels."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


def outline(changed: npt.NDArray[np.bool_]) -> Image:
    """Close gaps, fill enclosed places and drop specks.

    Args:
        changed: bool [H, W], pixels that changed visibly.

    Returns:
        The mask, uint8 [H, W], 0 or 255.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    closed = cv2.morphologyEx(changed.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    contours, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    kept = [contour for contour in contours if len(contour) >= 8]
    mask = np.zeros(changed.shape, np.uint8)
    cv2.drawContours(mask, kept, -1, 255, cv2.FILLED)
    return mask


def subdue(good: Float, faulty: Float, target: float, visible: float) -> tuple[Float, Image]:
    """Weaken a defect until its mean change is `target` grey levels.

    Args:
        good: grey levels without the defect, float32 [H, W, 3].
        faulty: the same with it.
        target: mean absolute change inside of the mask, in grey levels.
        visible: grey levels from which on a change counts.

    Returns:
        Grey levels that differ from `good` inside of the mask only, and the mask, uint8 [H, W].
    """
    # Where the frame is clipped a change would vanish in part, so compare what can be seen.
    change = np.minimum(faulty, 255.0) - np.minimum(good, 255.0)
    strength = np.abs(change).mean(axis=2)
    mask = outline(strength > max(0.22 * float(strength.max()), visible))
    inside = mask > 0
    if not inside.any():
        return good, mask
    # Two rounds, because limiting the strongest places lowers the mean.
    for _ in range(2):
        change *= target / float(np.abs(change[inside]).mean())
        np.clip(change, -2.2 * target, 2.2 * target, out=change)
    return np.where(inside[..., None], np.minimum(good, 255.0) + change, good), mask

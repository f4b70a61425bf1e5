"""Outlines as signed distances: negative inside, in nominal pixels, float32 [H, W]."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from edgefoundad.demo.kinds.canvas import Float, Point


def turn(x: Float, y: Float, angle: float, centre: Point = (0.0, 0.0)) -> tuple[Float, Float]:
    """Coordinates in a frame that lies at `centre`, turned by `angle` radians."""
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    return c * dx + s * dy, c * dy - s * dx


def circle(x: Float, y: Float, centre: Point, radius: float) -> Float:
    """Distance to a circle."""
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    return np.asarray(np.sqrt(dx * dx + dy * dy) - np.float32(radius), np.float32)


def box(x: Float, y: Float, centre: Point, half: Point, corner: float) -> Float:
    """Distance to a rectangle with rounded corners; `half` are half its sides."""
    qx = np.abs(x - np.float32(centre[0])) - np.float32(half[0] - corner)
    qy = np.abs(y - np.float32(centre[1])) - np.float32(half[1] - corner)
    outside = np.sqrt(np.square(np.maximum(qx, 0)) + np.square(np.maximum(qy, 0)))
    return np.asarray(outside + np.minimum(np.maximum(qx, qy), 0) - corner, np.float32)


def capsule(x: Float, y: Float, start: Point, end: Point, radius: float) -> Float:
    """Distance to a line with round ends."""
    tx, ty = end[0] - start[0], end[1] - start[1]
    px, py = x - np.float32(start[0]), y - np.float32(start[1])
    t = np.clip((px * tx + py * ty) / np.float32(tx * tx + ty * ty), 0, 1)
    dx, dy = px - t * np.float32(tx), py - t * np.float32(ty)
    return np.asarray(np.sqrt(dx * dx + dy * dy) - np.float32(radius), np.float32)


def inside(distance: Float, unit: float = 1.0, soft: float = 0.7) -> Float:
    """Cover of an outline, 1 inside to 0 outside, over an edge of about `soft` pixels."""
    t = np.clip(np.float32(0.5) - distance * np.float32(unit / (2 * soft)), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def blob(dx: Float, dy: Float, radius: float, rng: np.random.Generator) -> Float:
    """Distance from a centre in units of an irregular outline's radius."""
    angle = np.arctan2(dy, dx)
    outline = np.ones_like(dx)
    for order, size in ((2, 0.2), (3, 0.13), (5, 0.07), (8, 0.04)):
        phase = np.float32(rng.uniform(0, 6.3))
        outline += np.float32(size * rng.uniform(0.3, 1.0)) * np.cos(order * angle + phase)
    return np.asarray(np.sqrt(dx * dx + dy * dy) / (np.float32(radius) * outline), np.float32)


def stroke(shape: tuple[int, int], points: Float, widths: Sequence[float]) -> Float:
    """Cover of a line of changing width, 0..1, [H, W].

    Args:
        shape: rows and columns.
        points: [n, 2] pixel positions, x and y.
        widths: n widths in pixels; below 1 the line is as faint as it is thin.
    """
    fine = 4
    drawn = np.zeros((shape[0] * fine, shape[1] * fine), np.uint8)
    corners = np.rint((points + 0.5) * fine * 16).astype(np.int32)
    for i in range(len(points) - 1):
        wide = max(1, round(fine * max(widths[i], 0.25)))
        a, b = corners[i].tolist(), corners[i + 1].tolist()
        cv2.line(drawn, a, b, 255, wide, cv2.LINE_AA, shift=4)
    small = cv2.resize(drawn, shape[::-1], interpolation=cv2.INTER_AREA)
    return np.asarray(np.divide(small, 255, dtype=np.float32), np.float32)

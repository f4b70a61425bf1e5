"""Damage to a part's surface, in the part's own frame: the lamps light it as they light the part.

Each function changes the maps of a laid-out `Surface` in place. Lengths are in part pixels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edgefoundad.demo import surface as sf
from edgefoundad.demo.scene import Shot, Surface, lay
from edgefoundad.demo.surface import Float, step

Point = tuple[float, float]

_HEAT_TINTS = ((1.0, 0.97, 0.92), (1.0, 0.84, 0.5), (0.62, 0.74, 1.0))
_PLASTICS = ((0.85, 0.16, 0.1), (0.1, 0.32, 0.8), (0.9, 0.72, 0.1), (0.1, 0.1, 0.11))
_STAINS = ((0.52, 0.42, 0.29), (0.42, 0.28, 0.18), (0.36, 0.4, 0.46))


def spot(rng: np.random.Generator, clearance: float) -> Point:
    """Draw a point on a machined face.

    Args:
        rng: source of the draw.
        clearance: least distance to holes, in part pixels.

    Returns:
        The point in part pixels.
    """
    holes = np.concatenate([sf.bolt_centres(), sf.tapped_centres()])
    radii = np.array([sf.BOLT_RADIUS + sf.COUNTERSINK] * 6 + [sf.TAPPED_RADIUS] * 3)
    while True:
        on_flange = rng.random() < 0.75
        low, high = (sf.GROOVE[1], sf.PART_RADIUS - 6.0) if on_flange else (50.0, 88.0)
        r = float(rng.uniform(low + 0.6 * clearance, high - 0.6 * clearance))
        angle = float(rng.uniform(0, 2 * np.pi))
        point = (r * float(np.cos(angle)), r * float(np.sin(angle)))
        if np.all(np.hypot(holes[:, 0] - point[0], holes[:, 1] - point[1]) > radii + clearance):
            return point


def _around(surface: Surface, centre: Point, reach: float) -> Surface:
    """The surface within `reach` of a point, as views."""
    inside = (np.abs(surface.x - centre[0]) < reach) & (np.abs(surface.y - centre[1]) < reach)
    x, y, w, h = cv2.boundingRect(inside.astype(np.uint8))
    return surface.crop(slice(y, y + h), slice(x, x + w))


def _blend(target: Float, weight: npt.NDArray[Any], value: npt.NDArray[Any] | float) -> None:
    """Move a map towards a value, in place."""
    target += weight * (value - target)


def _curve(start: Point, heading: float, length: float, bend: float) -> Float:
    """Points along an arc that turns by `bend` radians in all, [n, 2]."""
    n = 5 + int(length / 7.0 + 4.0 * abs(bend))
    angle = heading + bend * (np.arange(n) / (n - 1) - 0.5)
    steps = length / (n - 1) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.cumsum(steps, axis=0)
    return np.asarray(points - points[n // 2] + np.array(start), np.float32)


def _to_curve(surface: Surface, points: Float) -> tuple[Float, Float, Float, Float]:
    """Nearest point of a polyline from each pixel.

    Returns:
        Signed distance, course along the line 0..1, and the tangent's x and y, all [H, W].
    """
    best = np.full(surface.x.shape, np.inf, np.float32)
    signed, course = np.zeros_like(best), np.zeros_like(best)
    tangent_x, tangent_y = np.ones_like(best), np.zeros_like(best)
    for i, (a, b) in enumerate(pairwise(points)):
        length = float(np.hypot(*(b - a)))
        tx, ty = (b - a) / length
        px, py = surface.x - a[0], surface.y - a[1]
        t = np.clip((px * tx + py * ty) / length, 0.0, 1.0)
        ox, oy = px - t * length * tx, py - t * length * ty
        d2 = ox * ox + oy * oy
        nearer = d2 < best
        best = np.where(nearer, d2, best)
        side = np.where(px * -ty + py * tx < 0, np.float32(-1), np.float32(1))
        signed = np.where(nearer, side * np.sqrt(d2), signed)
        course = np.where(nearer, (i + t) / (len(points) - 1), course)
        tangent_x = np.where(nearer, tx, tangent_x)
        tangent_y = np.where(nearer, ty, tangent_y)
    return signed, course, tangent_x, tangent_y


def _blob(surface: Surface, centre: Point, radius: float, rng: np.random.Generator) -> Float:
    """Distance from the centre in units of an irregular outline's radius, [H, W]."""
    dx, dy = surface.x - centre[0], surface.y - centre[1]
    angle = np.arctan2(dy, dx)
    outline: Float = np.ones_like(dx)
    for order, size in ((2, 0.16), (3, 0.09), (5, 0.05)):
        outline += size * float(rng.uniform(0.3, 1.0)) * np.cos(order * angle + rng.uniform(0, 6.3))
    return np.asarray(np.sqrt(dx * dx + dy * dy) / (radius * outline), np.float32)


def scratch(surface: Surface, rng: np.random.Generator, size: float) -> None:
    """Gouge a scratch `size` pixels long."""
    whole = _curve(spot(rng, 6.0), float(rng.uniform(0, 6.3)), size, float(rng.uniform(-0.9, 0.9)))
    near = _around(surface, (float(whole[:, 0].mean()), float(whole[:, 1].mean())), size / 2 + 12)
    d, course, tx, ty = _to_curve(near, whole)
    width = float(rng.uniform(1.3, 2.1)) * (0.5 + 0.5 * np.sqrt(np.sin(np.pi * course) + 0.02))
    wobble = 0.75 + 0.25 * np.sin(course * float(rng.uniform(9, 25)) + float(rng.uniform(0, 6)))
    u = d / width
    ends = step(course, 0.0, 0.06) * step(1.0 - course, 0.0, 0.06)
    # Metal on the machined faces only: a scratch skips over holes and off the rim.
    groove = np.exp(-u * u) * wobble * ends * near.cover * (1.0 - near.hole)
    slope = 0.9 * u * groove
    near.slope_x[...] += slope * ty
    near.slope_y[...] -= slope * tx
    _blend(near.grain_x, groove, tx)
    _blend(near.grain_y, groove, ty)
    _blend(near.turned, groove, 0.35)
    _blend(near.rough, groove, 0.2)
    near.albedo[...] *= 1.0 + 0.2 * groove
    near.ambient[...] *= 1.0 - 0.45 * groove * np.exp(-u * u * 2.0)


def dent(surface: Surface, rng: np.random.Generator, size: float) -> None:
    """Press in a dent of radius `size` with a small raised lip."""
    centre = spot(rng, size + 2.0)
    near = _around(surface, centre, 1.9 * size)
    rho = np.maximum(_blob(near, centre, size, rng), 1e-3)
    dx, dy = near.x - centre[0], near.y - centre[1]
    d = np.maximum(np.hypot(dx, dy), 1e-3)
    bowl = rho * np.maximum(1.0 - rho * rho, 0.0) * 2.6
    lip = np.exp(-np.square((rho - 1.08) / 0.1))
    solid = near.cover * (1.0 - near.hole)
    facing = (float(rng.uniform(0.38, 0.6)) * (-bowl + 0.32 * lip)) * solid
    near.slope_x[...] += facing * dx / d
    near.slope_y[...] += facing * dy / d
    pressed = step(1.05 - rho, 0.0, 0.4) * solid
    _blend(near.turned, pressed, 0.35)
    _blend(near.rough, pressed, 0.17)
    near.ambient[...] *= 1.0 - 0.22 * pressed


def stain(surface: Surface, rng: np.random.Generator, size: float) -> None:
    """Let oil or coolant dry in a stain of radius `size`, with some droplets beside it."""
    centre = spot(rng, 4.0)
    colour = np.array(_STAINS[int(rng.integers(len(_STAINS)))], np.float32)
    strength = float(rng.uniform(0.6, 1.0))
    drops = [(centre, size)]
    for _ in range(int(rng.integers(0, 4))):
        angle, far = rng.uniform(0, 6.3), size * rng.uniform(1.25, 1.6)
        drop = (centre[0] + far * float(np.cos(angle)), centre[1] + far * float(np.sin(angle)))
        drops.append((drop, float(rng.uniform(1.8, 3.8))))
    for middle, radius in drops:
        near = _around(surface, middle, 1.5 * radius)
        rho = _blob(near, middle, radius, rng)
        # Drying carries the residue to the edge, as in a coffee ring.
        film = (1.0 - step(rho, 0.94, 1.04)) * (0.62 + 0.38 * step(rho, 0.55, 0.97))
        film = film * strength * near.cover * (1.0 - near.hole)
        near.tint[...] *= 1.0 + film[..., None] * (colour - 1.0)
        _blend(near.rough, 0.5 * film, 0.3)
        near.slope_x[...] *= 1.0 - 0.35 * film
        near.slope_y[...] *= 1.0 - 0.35 * film


def missing_hole(surface: Surface, rng: np.random.Generator, shot: Shot) -> None:
    """Leave one of the bolt holes undrilled: only the centre punch and the scribed circle show."""
    centres = sf.bolt_centres()
    x, y = centres[int(rng.integers(len(centres)))]
    plain = lay(shot, drilled=False)
    reach = sf.BOLT_RADIUS + sf.COUNTERSINK
    dx, dy = surface.x - x, surface.y - y
    d = np.maximum(np.hypot(dx, dy), np.float32(1e-3))
    weight = 1.0 - step(d, reach + 1.0, reach + 3.0)
    for name in ("slope_x", "slope_y", "hole", "albedo", "rough", "ambient", "turned"):
        _blend(getattr(surface, name), weight, getattr(plain, name))
    punch = 1.0 - step(d, 4.0, 5.2)
    scribe = (d - 0.8 * sf.BOLT_RADIUS) / 1.1
    line = np.exp(-scribe * scribe)
    facing = 0.6 * scribe * line - 0.5 * punch
    surface.slope_x[...] += facing * dx / d
    surface.slope_y[...] += facing * dy / d
    _blend(surface.turned, np.maximum(punch, line), 0.2)
    surface.ambient[...] *= (1.0 - 0.55 * line) * (1.0 - 0.8 * (1.0 - step(d, 0.5, 4.5)))


def foreign_body(surface: Surface, rng: np.random.Generator, size: float) -> None:
    """Drop a curl of swarf or a crumb of plastic of radius about `size` onto a face."""
    centre = spot(rng, size)
    near = _around(surface, centre, 3.0 * size + 8.0)
    if rng.random() < 0.5:
        _swarf(near, centre, size, rng)
    else:
        _crumb(near, centre, size, rng)


def _cast_shadow(surface: Surface, reach: npt.NDArray[Any]) -> None:
    """Shade the face under a body; `reach` is the distance to its shifted outline."""
    surface.ambient[...] *= 1.0 - 0.6 * (1.0 - step(reach, -1.0, 3.5)) * surface.cover


def _shifted(points: npt.ArrayLike) -> Float:
    """Where a body's points cast their shadow: away from the key lamp."""
    return np.asarray(points, np.float32) + np.array([1.7, 2.2], np.float32)


def _swarf(surface: Surface, centre: Point, size: float, rng: np.random.Generator) -> None:
    """A curled chip: a bent ribbon of bright, heat-tinted metal."""
    bend = float(rng.choice([-1.0, 1.0]) * rng.uniform(2.6, 4.6))
    points = _curve(centre, float(rng.uniform(0, 6.3)), 3.2 * size, bend)
    _cast_shadow(surface, np.abs(_to_curve(surface, _shifted(points))[0]) - 2.6)
    d, course, tx, ty = _to_curve(surface, points)
    half = float(rng.uniform(2.0, 3.0)) * (0.55 + 0.45 * np.sin(np.pi * course))
    weight = 1.0 - step(np.abs(d), half - 0.5, half + 0.5)
    serration = 0.14 * np.sin(course * size * 2.6)
    _blend(surface.slope_x, weight, -ty * d / half * 0.7 + serration * tx)
    _blend(surface.slope_y, weight, tx * d / half * 0.7 + serration * ty)
    _blend(surface.turned, weight, 0.1)
    _blend(surface.rough, weight, 0.2)
    _blend(surface.ambient, weight, 1.0)
    _blend(surface.albedo, weight, 0.85)
    tint = np.array(_HEAT_TINTS[int(rng.integers(len(_HEAT_TINTS)))], np.float32)
    surface.tint[...] += weight[..., None] * (tint - surface.tint)


def _crumb(surface: Surface, centre: Point, size: float, rng: np.random.Generator) -> None:
    """A rounded crumb of coloured plastic or of black rubber."""
    radius = 0.62 * size
    x, y = _shifted(centre)
    shadow = np.hypot(surface.x - x, surface.y - y)
    _cast_shadow(surface, shadow - radius)
    rho = _blob(surface, centre, radius, rng)
    weight = 1.0 - step(rho, 1.0 - 0.6 / radius, 1.0 + 0.6 / radius)
    d = np.maximum(np.hypot(surface.x - centre[0], surface.y - centre[1]), 1e-3)
    bulge = 0.95 * np.square(np.minimum(rho, 1.0))
    _blend(surface.slope_x, weight, bulge * (surface.x - centre[0]) / d)
    _blend(surface.slope_y, weight, bulge * (surface.y - centre[1]) / d)
    _blend(surface.turned, weight, 0.0)
    _blend(surface.rough, weight, 0.42)
    _blend(surface.ambient, weight, 1.0)
    _blend(surface.albedo, weight, 0.6)
    tint = np.array(_PLASTICS[int(rng.integers(len(_PLASTICS)))], np.float32)
    surface.tint[...] += weight[..., None] * (tint - surface.tint)

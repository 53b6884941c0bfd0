"""Solids on a table as a camera above it sees them, by sphere tracing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

SIDE: Final = 64
FOCAL: Final = 180.0
"""Pixels of a picture's side, and length of the camera."""

SHAPES: Final = ("ball", "box", "cylinder", "cone", "ring", "octahedron")
_DISTANCE: Final = 0.9  # metres from the camera to what it looks at
_LOOKS_AT: Final = np.array([0, 0.04, 0])  # above the table
_RING: Final = (0.65, 0.35)  # radii of the ring and of its tube
_STEPS: Final = 64
_CLOSE: Final = 1e-4  # of a solid's half side: some micrometres

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rendering:
    """What the camera sees.

    Attributes:
        depth: [S, S] metres along the camera's axis; infinite where it meets nothing.
        there: [S, S] bool, where the solid is; the n pixels of it give the others their order.
        points: [n, 3] in the solid's own coordinates, from -1 to 1.
        normals: [n, 3] outwards, across, up and towards the viewer from the table.
        facing: [n] cosine between normal and line of sight.
    """

    depth: Floats
    there: NDArray[np.bool_]
    points: Floats
    normals: Floats
    facing: Floats


def rendered(
    shape: str, scale: Floats, turn: float, elevation: float, place: tuple[float, float] = (0, 0)
) -> Rendering:
    """Render a solid that stands on a table.

    Args:
        shape: one of ``SHAPES``.
        scale: [3] metres, its half sides before it is turned; the second one is its height's.
        turn: radians about the vertical.
        elevation: of the camera, radians above the table.
        place: metres from the middle of the table, across and towards the viewer.
    """
    sine, cosine = np.sin(elevation), np.cos(elevation)
    camera = _LOOKS_AT + _DISTANCE * np.array([0, sine, cosine])
    rays = pixel_rays() @ np.array([[1, 0, 0], [0, -cosine, sine], [0, -sine, -cosine]])
    height = _RING[1] if shape == "ring" else 1.0
    centre = np.array([place[0], scale[1] * height, place[1]])
    turned = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    )
    origin, directions = (camera - centre) @ turned / scale, rays @ turned / scale
    depth = _traced(shape, origin, directions)
    there = np.isfinite(depth)
    points = origin + depth[there, None] * directions[there]
    normals = _unit(_outwards(shape, points) / scale @ turned.T)
    facing = -(normals * _unit(rays[there])).sum(1)
    table = np.where(rays[:, 1] < 0, -camera[1] / np.minimum(rays[:, 1], -1e-9), np.inf)
    return Rendering(
        np.where(there, depth, table).reshape(SIDE, SIDE),
        there.reshape(SIDE, SIDE),
        points,
        normals,
        facing,
    )


def pixel_rays() -> Floats:
    """Through every pixel, [S * S, 3]: across, down and, always 1, along the camera's axis."""
    at = (np.arange(SIDE) - (SIDE - 1) / 2) / FOCAL
    down, across = np.meshgrid(at, at, indexing="ij")
    return np.stack([across, down, np.ones_like(down)], -1).reshape(-1, 3)


def _traced(shape: str, origin: Floats, directions: Floats) -> Floats:
    """How far along each ray the solid begins; infinite where it is missed."""
    speed = np.linalg.norm(directions, axis=1)
    middle = -(directions @ origin) / speed**2
    square = np.square(origin + middle[:, None] * directions).sum(1)
    half = np.sqrt(np.maximum(3 - square, 0)) / speed  # within a ball about the box
    found = np.full(len(directions), np.inf)
    active = np.flatnonzero(square < 3)
    at = (middle - half)[active]
    for _ in range(_STEPS):
        gap = _distance(shape, origin + at[:, None] * directions[active])
        hit = gap < _CLOSE
        found[active[hit]] = at[hit]
        at = at + gap / speed[active]
        going = ~hit & (at < (middle + half)[active])
        active, at = active[going], at[going]
    return found


def _distance(shape: str, points: Floats) -> Floats:
    """At most how far a solid is, in its own coordinates; negative within."""
    x, y, z = points.T
    radius = np.hypot(x, z)
    found: Any
    match shape:
        case "ball":
            found = np.linalg.norm(points, axis=1) - 1
        case "box":
            found = np.abs(points).max(1) - 1
        case "cylinder":
            found = np.maximum(radius, np.abs(y)) - 1
        case "cone":
            found = np.maximum((2 * radius + y - 1) / np.sqrt(5), -y - 1)
        case "ring":
            found = np.hypot(radius - _RING[0], y) - _RING[1]
        case "octahedron":
            found = (np.abs(points).sum(1) - 1) / np.sqrt(3)
        case _:
            raise ValueError(f"shape is {shape!r}; allowed: {', '.join(SHAPES)}")
    return np.asarray(found)


def _outwards(shape: str, points: Floats) -> Floats:
    """The direction in which the distance grows."""
    steps = 1e-4 * np.eye(3)
    return np.stack(
        [_distance(shape, points + one) - _distance(shape, points - one) for one in steps], 1
    )


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Floats = vectors / np.maximum(lengths, 1e-12)
    return found

"""Rendered solids with true depth, a stand-in that is built in. It is NOT Washington RGB-D.

A class is a shape with a texture: depth tells the shape and nothing of the texture, colours tell
the texture and, by outline and shading, something of the shape. Its objects differ in size,
proportions, colours and in the fineness of their texture; they stand on a table, turned at random,
and are seen from 30, 45 and 60 degrees above it. Depth is missing where it is to a camera that
projects a pattern: on steep flanks, in the pattern's shadow beside an object, and in a few spots.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fusion_search.datasets.rgbd.rendering import SHAPES, SIDE, Rendering, rendered
from fusion_search.datasets.rgbd.view import View

NOTE: Final = "built-in stand-in (rendered solids), NOT Washington RGB-D"
VIEWS: Final = 12  # of an object
TEXTURES: Final = ("striped", "chequered", "dotted", "sectored")
MOST_CLASSES: Final = len(SHAPES) * len(TEXTURES)
_SEED: Final = 1900
_ELEVATIONS: Final = (30, 45, 60)  # degrees
_STEEP: Final = 0.2  # cosine below which a flank gives no depth
_SHADOW: Final = 2  # pixels
_AMBIENT: Final = 0.45  # share of the light
_NOISE: Final = 0.015  # of a colour, 1 for white
_ROUGH: Final = 1.0  # millimetres that measured depth errs by

_TINT: Final = 0.15  # of the light

# Few, so that objects of all classes share them: a colour alone tells no class.
_PALETTE: Final = np.array(
    [[0.8, 0.2, 0.2], [0.2, 0.6, 0.25], [0.2, 0.3, 0.8], [0.9, 0.8, 0.2], [0.9] * 3, [0.12] * 3]
)

Floats = NDArray[np.float64]


@functools.cache  # rendering takes seconds, and a search and its confirmation ask twice
def stand_in(classes: int, instances: int, views: int = VIEWS) -> tuple[View, ...]:
    """Render views of ``instances`` objects of each class, always the same ones."""
    return tuple(
        _view(number, instance, view)
        for number in range(classes)
        for instance in range(instances)
        for view in range(views)
    )


def class_of(number: int) -> tuple[str, str]:
    """Shape and texture of a class: the first two textures of every shape, then the others."""
    shape = number // 2 % len(SHAPES)
    texture = number % 2 + 2 * (number // (2 * len(SHAPES)))
    return SHAPES[shape], TEXTURES[texture]


def _view(number: int, instance: int, view: int) -> View:
    shape, texture = class_of(number)
    own = np.random.default_rng([_SEED, number, instance])
    scale = own.uniform(0.05, 0.075) * own.uniform(0.75, 1.3, 3)
    pair, fineness = _two_colours(own), own.uniform(0.8, 1.25)
    chance = np.random.default_rng([_SEED, number, instance, view])
    seen = rendered(
        shape,
        scale,
        turn=chance.uniform(0, 2 * np.pi),
        elevation=np.radians(_ELEVATIONS[view % len(_ELEVATIONS)]),
        place=(chance.uniform(-0.02, 0.02), chance.uniform(-0.02, 0.02)),
    )
    light = np.array([chance.uniform(-1, 1), 1, chance.uniform(-0.5, 1)])
    light /= np.linalg.norm(light)
    bright = _AMBIENT + (1 - _AMBIENT) * np.clip(seen.normals @ light, 0, 1)
    on_table = chance.uniform(0.25, 0.75) + chance.uniform(-0.1, 0.1, 3)
    colour = np.tile(on_table * (_AMBIENT + (1 - _AMBIENT) * light[1]), (SIDE, SIDE, 1))
    first = _painted(texture, fineness * seen.points)
    colour[seen.there] = np.where(first[:, None], *pair) * bright[:, None]
    colour *= chance.uniform(1 - _TINT, 1 + _TINT, 3)
    colour += _NOISE * chance.standard_normal(colour.shape)
    stem = f"{texture}_{shape}_{instance + 1}"
    return View(
        f"{stem}_{view + 1:03}",
        f"{texture}_{shape}",
        stem,
        np.clip(np.round(255 * colour), 0, 255).astype(np.uint8),
        _measured(seen, chance),
        seen.there.astype(np.uint8),
    )


def _two_colours(chance: np.random.Generator) -> tuple[Floats, Floats]:
    """Two of the palette, a little changed."""
    chosen = chance.permutation(len(_PALETTE))[:2]
    first, second = np.clip(_PALETTE[chosen] + chance.uniform(-0.08, 0.08, (2, 3)), 0, 1)
    return first, second


def _painted(texture: str, points: Floats) -> NDArray[np.bool_]:
    """Where a solid has the first of its colours."""
    x, y, z = points.T
    first: NDArray[np.bool_]
    match texture:
        case "striped":
            first = np.sin(10 * y) > 0
        case "chequered":
            first = np.sin(6 * x) * np.sin(6 * y) * np.sin(6 * z) > 0
        case "dotted":
            first = np.square((points / 0.5) % 1 - 0.5).sum(1) < 0.16
        case _:  # sectored
            first = np.sin(6 * np.arctan2(z, x)) > 0
    return first


def _measured(seen: Rendering, chance: np.random.Generator) -> NDArray[np.uint16]:
    """Whole millimetres, 0 where the camera measures nothing."""
    found = np.isfinite(seen.depth)
    found[seen.there] &= seen.facing > _STEEP
    shadow = np.zeros_like(seen.there)
    shadow[:, _SHADOW:] = seen.there[:, :-_SHADOW]
    found &= seen.there | ~shadow
    for _ in range(2):
        row, column = chance.integers(0, SIDE - 3, 2)
        found[row : row + 3, column : column + 3] = False
    rough = 1000 * seen.depth + _ROUGH * chance.standard_normal(seen.depth.shape)
    return np.where(found, np.round(np.where(found, rough, 0)), 0).astype(np.uint16)

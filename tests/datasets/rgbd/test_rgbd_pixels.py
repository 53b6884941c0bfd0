from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from other_threads import others_share
from PIL import Image

from fusion_search.datasets.rgbd.pixels import normals, resized_colours, resized_measured
from fusion_search.datasets.rgbd.rendering import FOCAL, SHAPES, pixel_rays, rendered

CHANCE = np.random.default_rng(0)


def naive(
    values: NDArray[np.float64], measured: NDArray[np.bool_], size: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Every pixel cut into squares so small that they fit the old and the new pixels."""
    for axis in (0, 1):
        values, measured = (np.repeat(one, size, axis) for one in (values, measured))
    found, enough = np.zeros((size, size)), np.zeros((size, size), bool)
    high, wide = (one // size for one in values.shape)
    for row in range(size):
        for column in range(size):
            place = np.s_[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
            there = measured[place]
            enough[row, column] = there.mean() >= 0.5
            if enough[row, column]:
                found[row, column] = values[place][there].mean()
    return found, enough


@pytest.mark.parametrize("sides", [(12, 9), (5, 7), (3, 20), (6, 6), (1, 1)])
def test_depth_is_the_mean_of_what_was_measured_in_a_new_pixel(sides: tuple[int, int]) -> None:
    values = CHANCE.uniform(700, 1200, sides)
    measured = CHANCE.random(sides) < 0.6
    wanted, enough = naive(values, measured, 6)
    for unmeasured in (0, np.nan, 65_535):
        given = np.where(measured, values, unmeasured)
        means, there = resized_measured(given[None], measured, 6)
        assert np.array_equal(there[0], enough)
        assert np.allclose(means[0], wanted, rtol=1e-5)


def test_resizing_takes_the_threads_that_torch_has_and_no_more() -> None:
    """A trial sets torch's alone; the tests have one."""
    depth, measured = CHANCE.random((1, 240, 320)), CHANCE.random((240, 320)) < 0.9

    def resize() -> None:
        for _ in range(8):
            resized_measured(depth, measured, 224)

    assert others_share(resize) < 0.2


def test_colours_are_resized_as_pillow_does() -> None:
    colour = CHANCE.integers(0, 256, (20, 13, 3)).astype(np.uint8)
    assert np.array_equal(resized_colours(colour[:13], 13) * 255, colour[:13].transpose(2, 0, 1))
    for size in (8, 31):
        wanted = Image.fromarray(colour).resize((size, size), Image.Resampling.BILINEAR)
        found = 255 * resized_colours(colour, size).permute(1, 2, 0).numpy()
        assert np.abs(found - np.asarray(wanted).astype(float)).max() <= 1.5


def test_normals_of_a_tilted_plane_are_its_own() -> None:
    normal = np.array([0.3, -0.5, 0.8])
    normal /= np.linalg.norm(normal)
    depth = (1 / (pixel_rays() @ normal)).reshape(64, 64)
    measured = CHANCE.random(depth.shape) < 0.7
    vectors, found = normals(depth, measured, FOCAL)
    # Away from the plane, towards the camera: (n_x, n_y, n_z) is seen as (-n_x, -n_y, n_z).
    assert found.any()
    error = np.abs(vectors - (normal * [-1, -1, 1])[:, None, None])[:, found]
    assert error.max() < 0.02
    assert np.isfinite(vectors).all()
    assert not found[~measured].any()


def test_normals_of_a_ball_point_away_from_its_middle() -> None:
    seen = rendered("ball", np.full(3, 0.08), turn=1.0, elevation=0.7)
    vectors, found = normals(seen.depth, seen.there, FOCAL)
    sine, cosine = np.sin(0.7), np.cos(0.7)
    camera = np.array([[1, 0, 0], [0, -cosine, sine], [0, sine, cosine]])  # across, down, towards
    wanted = np.zeros((3, 64, 64))
    wanted[:, seen.there] = camera @ seen.normals.T
    facing = np.zeros((64, 64))
    facing[seen.there] = seen.facing
    flat = found & (facing > 0.6)
    assert flat.sum() > 200
    # The camera looks past the ball's middle by a little.
    assert np.sum(vectors * wanted, 0)[flat].min() > 0.99


def test_a_lone_pixel_has_no_normal() -> None:
    measured = np.zeros((5, 5), bool)
    measured[2, 2] = measured[0, 0] = measured[0, 1] = measured[1, 0] = True
    _, found = normals(np.ones((5, 5)), measured, 525.0)
    assert np.argwhere(found).tolist() == [[0, 0]]


def ellipsoid(scale: NDArray[np.float64], turn: float, elevation: float) -> NDArray[np.float64]:
    """Where rays meet one that stands on the table: roots of a quadratic, in the camera's frame."""
    sine, cosine = np.sin(elevation), np.cos(elevation)
    eye = np.array([0, 0.04 + 0.9 * sine, 0.9 * cosine]) - [0, scale[1], 0]
    across, down, ahead = [1, 0, 0], [0, -cosine, sine], [0, -sine, -cosine]
    rays = pixel_rays() @ np.array([across, down, ahead])
    c, s = np.cos(turn), np.sin(turn)
    turned = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    form = turned @ np.diag(scale**-2.0) @ turned.T
    a = np.einsum("ni,ij,nj->n", rays, form, rays)
    b = rays @ form @ eye
    root = b**2 - a * (eye @ form @ eye - 1)
    return np.where(root > 0, (-b - np.sqrt(np.maximum(root, 0))) / a, np.inf).reshape(64, 64)


def test_rendered_depth_is_that_of_the_solid() -> None:
    scale = np.array([0.09, 0.05, 0.06])
    seen = rendered("ball", scale, turn=0.6, elevation=0.8)
    wanted = ellipsoid(scale, 0.6, 0.8)
    assert (seen.there != np.isfinite(wanted)).sum() <= 8  # grazed
    both = seen.there & np.isfinite(wanted)
    assert both.sum() > 500
    assert (
        np.abs(seen.depth - wanted)[both & (np.abs(wanted - wanted[both].min()) < 0.05)].max()
        < 3e-4
    )
    table = ~seen.there
    points = pixel_rays().reshape(64, 64, 3) * seen.depth[..., None]
    height = 0.04 + 0.9 * np.sin(0.8) - points @ [0, np.cos(0.8), np.sin(0.8)]
    assert np.abs(height[table]).max() < 1e-9


@pytest.mark.parametrize("shape", SHAPES)
def test_points_of_solids_lie_on_their_surface(shape: str) -> None:
    seen = rendered(shape, np.array([0.06, 0.05, 0.07]), turn=0.3, elevation=0.6)
    x, y, z = seen.points.T
    around = np.hypot(x, z)
    surface = {
        "ball": around**2 + y**2 - 1,
        "box": np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z)) - 1,
        "cylinder": np.maximum(around, np.abs(y)) - 1,
        "cone": np.maximum(around - (1 - y) / 2, -1 - y),
        "ring": (around - 0.65) ** 2 + y**2 - 0.35**2,
        "octahedron": np.abs(x) + np.abs(y) + np.abs(z) - 1,
    }[shape]
    assert len(surface) > 150
    assert np.abs(surface).max() < 5e-4
    assert (seen.facing > 0).mean() > 0.99  # but where a back is grazed at an edge
    assert np.allclose(np.linalg.norm(seen.normals, axis=1), 1)


def test_mirrored_colours_stay_colours() -> None:
    assert resized_colours(np.full((4, 6, 3), 255, np.uint8), 9).allclose(torch.ones(3, 9, 9))

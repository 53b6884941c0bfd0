"""A small table with files of every kind, made up: to see the formats, and to try them.

Each of three gestures shows in every column a little, none of them says it all.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.tables.files import Array

TABLE: Final = "gestures.csv"

_LABELS: Final = ("wave", "push", "circle")
_PERSONS: Final = 8
_RATE: Final = 8000
_SIDE: Final = 24
_FRAMES: Final = 8


def write_sample(folder: Path, times: int = 5) -> Path:
    """Write it.

    Args:
        folder: a new or empty one.
        times: how often each of eight persons makes each gesture.

    Returns:
        The path of the table.

    Raises:
        DataError: the folder is not empty, or cannot be written.
    """
    try:
        if folder.exists() and any(folder.iterdir()):
            raise DataError(f"folder {str(folder)!r} is not empty; name a new one")
        for name in ("videos", "photos", "sounds", "motions"):
            (folder / name).mkdir(parents=True)
        kinds = itertools.product(range(_PERSONS), range(len(_LABELS)), range(times))
        rows = [_row(folder, *one) for one in kinds]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        unnamed = folder / f"{TABLE}.part"
        unnamed.write_text(text.getvalue(), newline="")
        unnamed.rename(folder / TABLE)
    except OSError as error:
        raise DataError(f"folder {str(folder)!r} cannot be written: {error.strerror}") from error
    return folder / TABLE


def _row(folder: Path, person: int, what: int, time: int) -> dict[str, Any]:
    """An example's cells; its files are written."""
    from PIL import Image

    rng = np.random.default_rng((person, what, time))
    name = f"{_LABELS[what]}-{person}-{time}"
    files = {
        "video": _video(folder, name, _moving(rng, what)),
        "photo": f"photos/{name}.png",
        "sound": f"sounds/{name}.wav",
        "motion": f"motions/{name}.npy",
    }
    Image.fromarray(_photo(rng, what)).save(folder / files["photo"])
    soundfile.write(folder / files["sound"], _sound(rng, what, person), _RATE)
    np.save(folder / files["motion"], _motion(rng, what))
    spectrum = np.exp(-(((np.arange(6) - 2 * what) / 1.5) ** 2)) + 0.5 * rng.standard_normal(6)
    return {
        **files,
        "spectrum": json.dumps([round(float(one), 3) for one in spectrum]),
        "distance": round(1 + 0.2 * what + 0.2 * float(rng.standard_normal()), 3),
        "brightness": round(80 + 10 * float(rng.standard_normal()), 1),
        "person": f"person{person}",
        "label": _LABELS[what],
    }


def _moving(rng: np.random.Generator, what: int) -> NDArray[np.uint8]:
    """A bright square that goes right, down or to and fro, [T, H, W, 3]."""
    frames = rng.integers(0, 90, (_FRAMES, _SIDE, _SIDE, 3)).astype(np.uint8)
    start = int(rng.integers(0, 6))
    for time, frame in enumerate(frames):
        to_and_fro = start + 2 * abs(_FRAMES // 2 - time)
        there = ((6, start + time), (start + time, 6), (to_and_fro, to_and_fro))[what]
        frame[there[0] : there[0] + 6, there[1] : there[1] + 6] = 200
    return frames


def _video(folder: Path, name: str, frames: NDArray[np.uint8]) -> str:
    """Write a clip; its path within the folder. Without av, which writes videos, an array."""
    if find_spec("av") is None:
        np.save(folder / f"videos/{name}.npy", frames)
        return f"videos/{name}.npy"
    import av

    with av.open(str(folder / f"videos/{name}.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.height, stream.width, stream.pix_fmt = _SIDE, _SIDE, "yuv420p"
        stream.bit_rate = 400_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return f"videos/{name}.mp4"


def _photo(rng: np.random.Generator, what: int) -> NDArray[np.uint8]:
    """A bar that lies, stands or leans, [H, W, 3]."""
    image = rng.integers(0, 150, (_SIDE, _SIDE, 3))
    down, across = np.indices((_SIDE, _SIDE)) - _SIDE // 2 + rng.integers(-3, 4)
    image[abs((down, across, down - across)[what]) < 3] += 70
    return image.astype(np.uint8)


def _sound(rng: np.random.Generator, what: int, person: int) -> Array:
    """A tone of 0.3 to 0.5 s in noise; how high, depends on the person too. [samples]."""
    times = np.arange(int(_RATE * rng.uniform(0.3, 0.5))) / _RATE
    pitch = (300, 380, 480)[what] * (1 + 0.03 * person)
    tone = 0.2 * np.sin(2 * np.pi * pitch * times)
    return (tone + 0.1 * rng.standard_normal(len(times))).astype(np.float32)


def _motion(rng: np.random.Generator, what: int) -> Array:
    """Three sensors over 20 to 30 steps, [T, 3]; one of them swings."""
    motion = 0.7 * rng.standard_normal((int(rng.integers(20, 31)), 3))
    motion[:, what] += np.sin(np.arange(len(motion)) / 2 + rng.uniform(0, 6))
    return motion.astype(np.float32)

"""What a cell names or holds, decoded within bounds: arrays, sounds, images, videos.

Errors say in a few words what is wrong with the file; who asks knows row and column.
"""

from __future__ import annotations

import json
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from fusion_search.datasets.errors import count_label, said

if TYPE_CHECKING:
    from PIL import Image

SOUNDS: Final = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
IMAGES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
VIDEOS: Final = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v")
ARRAYS: Final = (".npy",)

_FORMATS: Final = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
_DEEP: Final = ("I", "I;16", "I;16B", "I;16L", "F")  # modes of more than 8 bits
_MOST_PIXELS: Final = 1 << 26
_MOST_BYTES: Final = 1 << 28  # of one decoded example
_RATES: Final = (1000, 384_000)

Array = NDArray[Any]


class FileError(ValueError):
    """A file or cell cannot be used; the message says what about it, in a few words."""


def check_file(path: str) -> int:
    """Bytes of a file; no folder, and no pipe, which would be waited for."""
    try:
        found = os.stat(path)  # noqa: PTH116 (50,000 of these a second)
    except (OSError, ValueError) as error:
        # A name that is no file's, such as a very long one, is one that is not there.
        raise FileError("is not there") from error
    if not stat.S_ISREG(found.st_mode):
        raise FileError("is a folder" if stat.S_ISDIR(found.st_mode) else "is no file")
    return found.st_size


def read_array(path: str) -> Array:
    """The numbers of a .npy file, never its pickles."""
    check_file(path)
    try:
        # Mapped, so that a header that promises more than there is allocates nothing.
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise _unread(error) from error
    except (ValueError, EOFError, SyntaxError, OverflowError, MemoryError) as error:
        raise FileError(f"is no .npy file of numbers: {_said(error)}") from error
    if not isinstance(mapped, np.ndarray):  # of .npz
        raise FileError("is no .npy file of one array")
    return checked_array(mapped)


def checked_array(array: Array) -> Array:
    """A copy in memory of numbers that are finite, within bounds."""
    if array.dtype.kind not in "buif":
        raise FileError(f"holds {array.dtype}; allowed: numbers")
    if not array.ndim:
        raise FileError("holds one number and no array")
    if not array.size:
        raise FileError(f"holds an array of shape {list(array.shape)}, which is empty")
    if array.nbytes > _MOST_BYTES:
        raise FileError(f"holds {array.nbytes:,} bytes; allowed: {_MOST_BYTES:,} an example")
    with np.errstate(over="ignore"):  # what float32 does not hold comes to infinity
        copied = np.array(array, dtype=np.uint8 if array.dtype == np.uint8 else np.float32)
    if not np.isfinite(copied).all():
        raise FileError("holds values that are not finite, or are too large for float32")
    return copied


def cell_array(cell: Any) -> Array:
    """The numbers that a cell itself holds: a list of Parquet, or JSON such as ``[0.5, 2]``."""
    try:
        return checked_array(np.asarray(json.loads(cell) if isinstance(cell, str) else cell))
    except FileError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise FileError(f"is no array of numbers: {_said(error)}") from error


def read_sound(path: str, seconds: float | None = None) -> tuple[NDArray[np.float32], int]:
    """Samples [n] in -1 .. 1, mixed down to mono, and their rate.

    Args:
        path: of a file that libsndfile reads.
        seconds: how much of its beginning is read; None for all.
    """
    check_file(path)
    try:
        with soundfile.SoundFile(path) as file:
            rate = _checked_rate(file.samplerate)
            frames = file.frames if seconds is None else min(file.frames, int(seconds * rate) + 1)
            # Before anything is allocated: a small file can promise, or pack, years of silence.
            if frames * file.channels * 4 > _MOST_BYTES:
                raise FileError(
                    f"lasts {frames / rate:,.0f} s with {count_label(file.channels, 'channel')}"
                )
            values = file.read(frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError, RuntimeError, TypeError) as error:
        raise FileError(f"is no sound that libsndfile reads: {_said(error)}") from error
    if not len(values) or len(values) < frames:
        raise FileError(f"has {count_label(len(values), 'sample')} and promises {frames:,}")
    if not np.isfinite(values).all():
        raise FileError("has samples that are not finite")
    return values.mean(axis=1), rate


def sound_length(path: str) -> tuple[int, int]:
    """Samples of a sound, at least one, and their rate, as its header says."""
    check_file(path)
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError, RuntimeError) as error:
        raise FileError(f"is no sound that libsndfile reads: {_said(error)}") from error
    if not info.frames:
        raise FileError("has no samples")
    return info.frames, _checked_rate(info.samplerate)


def _checked_rate(rate: float) -> int:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise FileError(f"is at {rate:,} Hz; {_RATES[0]:,} to {_RATES[1]:,} can be read")
    return int(rate)


def read_image(path: str, size: tuple[int, int] | None = None, *, colour: bool = True) -> Array:
    """An image [H, W, 3 or 1]: uint8, or float32 in 0 .. 1 where a pixel has more than 8 bits.

    Args:
        path: of a PNG, JPEG, BMP, TIFF, WebP, GIF (its first frame) or PPM file.
        size: height and width to bring it to; None for its own.
        colour: three channels, or one.
    """
    from PIL import Image, ImageOps

    with opened_image(path) as image:
        if size is not None:
            image.draft(None, (size[1], size[0]))  # a JPEG is decoded as small as suffices
        turned = ImageOps.exif_transpose(image)
        deep = turned.mode in _DEEP
        mode = "F" if deep else "RGB" if colour else "L"
        made = turned.convert(mode)
        if size is not None and made.size != (size[1], size[0]):
            made = made.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        values = np.array(made)
    if not deep:
        return values if values.ndim == 3 else values[:, :, None]
    scaled = np.clip(values / np.float32(65535), 0, 1)[:, :, None]
    return np.repeat(scaled, 3, axis=2) if colour else scaled


@contextmanager
def opened_image(path: str, formats: tuple[str, ...] = _FORMATS) -> Iterator[Image.Image]:
    """An image of pillow, within bounds; what its decoder meets within ``with`` is a FileError."""
    from PIL import Image, UnidentifiedImageError

    check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise FileError(
                        f"has {image.width:,} x {image.height:,} pixels; allowed: "
                        f"{_MOST_PIXELS:,} in all"
                    )
                yield image
    except UnidentifiedImageError as error:
        raise FileError(f"is no image of {', '.join(formats)}") from error
    except Image.DecompressionBombError as error:
        raise FileError(f"promises more pixels than the {_MOST_PIXELS:,} allowed") from error
    except (OSError, SyntaxError, EOFError) as error:
        raise FileError(f"is no whole image: {_said(error)}") from error
    except (ValueError, IndexError, TypeError, KeyError, OverflowError, MemoryError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"is no image that can be read: {_said(error)}") from error


def read_video(path: str, size: tuple[int, int] | None = None, *, colour: bool = True) -> Array:
    """All frames of a video, [T, H, W, 3 or 1] uint8.

    Args:
        path: of a file that FFmpeg reads.
        size: height and width to bring them to; None for their own.
        colour: three channels, or one.
    """
    try:
        import av
    except ImportError as error:
        raise FileError(
            "is a video; to read them: pip install 'fusion-search[video]', which brings av"
        ) from error
    check_file(path)
    try:
        return np.stack(list(_frames(av, path, size, "rgb24" if colour else "gray")))
    except FileError:
        raise
    except (av.error.FFmpegError, OSError, ValueError, MemoryError) as error:
        raise FileError(f"is no whole video: {_said(error)}") from error


def _frames(av: Any, path: str, size: tuple[int, int] | None, form: str) -> Iterator[Array]:
    total = 0
    with av.open(path) as container:
        if not container.streams.video:
            raise FileError("holds no video")
        for frame in container.decode(video=0):
            height, width = size or (frame.height, frame.width)
            if frame.width * frame.height > _MOST_PIXELS:
                raise FileError(f"has frames of {frame.width:,} x {frame.height:,} pixels")
            small = frame.reformat(width=width, height=height, format=form).to_ndarray()
            total += small.nbytes
            if total > _MOST_BYTES:
                raise FileError(f"has more than {_MOST_BYTES:,} bytes; cut it into shorter clips")
            yield small if small.ndim == 3 else small[:, :, None]
    if not total:
        raise FileError("has no frame")


def _unread(error: OSError) -> FileError:
    return FileError(f"cannot be read: {error.strerror or _said(error)}")


def _said(error: Exception) -> str:
    return said(error)[:200]

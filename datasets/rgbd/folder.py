"""A folder of views: CLASS/GROUP/NAME_rgb.png, NAME_depth.png and, if there is one, NAME_mask.png.

A group is an object or a person; one that is in several classes, as a person with several
expressions, has one name in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fusion_search.datasets.errors import DataError
from fusion_search.datasets.files import lacking
from fusion_search.datasets.rgbd.view import View, read_view

FOLDER: Final = "rgbd"  # of the data folder
COLOUR, DEPTH, MASK = "_rgb.png", "_depth.png", "_mask.png"
FORM: Final = f"CLASS/GROUP/NAME{COLOUR}, NAME{DEPTH} and NAME{MASK}"
_ENDINGS: Final = (COLOUR, DEPTH, MASK)


def find_views(folder: Path) -> list[Path]:
    """The files of a folder of views.

    Raises:
        DataError: it is missing, or holds none.
    """
    if not folder.is_dir():
        raise DataError(
            f"{lacking(folder)}put views there, name another folder of the data folder by "
            "data.path, or name a folder that has it by --data or FUSION_SEARCH_DATA"
        )
    found = sorted(filter(_is_of_a_view, folder.glob("*/*/*.png")))
    if not found:
        raise DataError(
            f"{folder} holds no view: put CLASS/GROUP/NAME{COLOUR} and CLASS/GROUP/NAME{DEPTH} "
            "there"
        )
    return found


def _is_of_a_view(path: Path) -> bool:
    return path.name.endswith(_ENDINGS) and not path.name.startswith(".")


def read_views(folder: Path, files: list[Path]) -> Iterator[View]:
    """Read what ``find_views`` found.

    Raises:
        DataError: a file is damaged, foreign or without its partner.
    """
    there = set(files)
    stems = {
        str(path)[: -len(one)] for path in files for one in _ENDINGS if path.name.endswith(one)
    }
    for stem in sorted(stems):
        colour, depth, mask = (Path(stem + ending) for ending in _ENDINGS)
        for path, other in ((colour, depth), (depth, colour)):
            if path not in there:
                raise DataError(
                    f"{other if other in there else mask} has no partner: {path.name} is missing "
                    "beside it; put it there, or move the other away"
                )
        name = Path(stem).relative_to(folder)
        label, group = name.parts[:2]
        yield read_view(
            name.as_posix(), label, group, colour, depth, mask if mask in there else None
        )

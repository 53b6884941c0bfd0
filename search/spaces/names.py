"""What parts of a sample are called."""

from __future__ import annotations

from typing import Final

from fusion_search.models.layout import COUPLING, direction
from fusion_search.search.tasks.base import Condition
from fusion_search.search.trials.plain import train_text

END: Final = "end"
STREAMS: Final = "streams"
TRAIN: Final = "train_condition"


def placed_name(site: str, name: str) -> str:
    """In a sample: ``coupling_s1``, or ``to_audio_from_image_s1``."""
    if name == COUPLING:
        return f"{COUPLING}_{site}"
    source, target = direction(name)
    return f"to_{target}_from_{source}_{site}"


def option_name(key: str, option: str) -> str:
    """In a sample: ``mmtm.ratio``, or ``cross image>audio.kernel``."""
    return f"{key}.{option}"


def condition_text(condition: Condition) -> str:
    """A train condition in a sample, such as ``0.5/0.25``."""
    return "/".join(train_text(one) for one in condition.values()) or "original"

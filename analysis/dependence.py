"""How much each accuracy map depends on either sense: a few numbers beside the figure.

After Barnum, Talukder and Yue, who read the maps by eye: visual-dependent ones hardly change along
the test audio SNR, audio-dependent ones hardly along the test visual SNR.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from fusion_search.analysis.records.selection import TrainPair, condition_columns


def compute_dependence(sheet: pd.DataFrame) -> pd.DataFrame:
    """The numbers of every map of a sheet.

    With A[i, j] the accuracy at test audio SNR i and test visual SNR j, all seeds together, and a,
    v the train pair's SNRs. Each is a share from 0 to 1, NaN where the grid lacks the condition.

    - ``train_pair_accuracy``: A[a, v].
    - ``mean_accuracy``: the mean of A.
    - ``audio_range``: mean over j of (max over i of A[i, j] - min over i of A[i, j]): how far
      accuracy moves when only the audio's SNR does. ``visual_range``: the same of rows.
    - ``audio_lost``: A[lowest i, v], the audio drowned in noise and the image as in training.
      ``visual_lost``: A[a, lowest j].
    - Means of A over the four regions that the train pair divides the conditions into:
      ``accuracy_at_or_above`` (i >= a, j >= v), ``accuracy_audio_below`` (i < a, j >= v),
      ``accuracy_visual_below`` (i >= a, j < v), ``accuracy_both_below`` (i < a, j < v); and
      ``worst_at_or_above``, the lowest A of the first.

    Args:
        sheet: as ``figures.grids.compute_sheet`` returns it. Its axes give the names: that of
            ``test_audio_snr`` gives ``audio_range``.

    Returns:
        One row per fusion depth and train pair, in the order of ``sheet``: ``fusion_depth``,
        ``train_audio_snr``, ``train_visual_snr``, ``seeds`` (how many) and the numbers above.
    """
    condition = condition_columns(sheet)
    audio, visual = (name.removeprefix("test_").removesuffix("_snr") for name in condition)
    keys = ["fusion_depth", f"train_{audio}_snr", f"train_{visual}_snr"]
    rows = []
    for _, part in sheet.groupby(keys, sort=False):
        identity = {key: part[key].iloc[0] for key in keys}
        accuracy = part.set_index(condition)["accuracy"].unstack(condition[1])
        train_pair = float(identity[keys[1]]), float(identity[keys[2]])
        numbers = _numbers(accuracy, train_pair, audio, visual)
        rows.append({**identity, "seeds": part["seeds"].max(), **numbers})
    return pd.DataFrame(rows)


def _numbers(
    accuracy: pd.DataFrame, train_pair: TrainPair, audio: str, visual: str
) -> dict[str, float]:
    """Of one map, rows audio and columns visual; the last two are the axes' names."""
    a, v = train_pair
    i = accuracy.index.to_numpy(float)[:, None]
    j = accuracy.columns.to_numpy(float)[None]

    def values(region: npt.NDArray[np.bool_]) -> pd.Series:
        return pd.Series(accuracy.to_numpy(float)[region], dtype=float)

    at_or_above = values((i >= a) & (j >= v))
    return {
        "train_pair_accuracy": values((i == a) & (j == v)).mean(),
        "mean_accuracy": accuracy.stack().mean(),
        f"{audio}_range": (accuracy.max() - accuracy.min()).mean(),
        f"{visual}_range": (accuracy.max(axis=1) - accuracy.min(axis=1)).mean(),
        f"{audio}_lost": values((i == i.min()) & (j == v)).mean(),
        f"{visual}_lost": values((i == a) & (j == j.min())).mean(),
        "accuracy_at_or_above": at_or_above.mean(),
        f"accuracy_{audio}_below": values((i < a) & (j >= v)).mean(),
        f"accuracy_{visual}_below": values((i >= a) & (j < v)).mean(),
        "accuracy_both_below": values((i < a) & (j < v)).mean(),
        "worst_at_or_above": at_or_above.min(),
    }

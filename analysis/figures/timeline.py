"""Class values over time: what the network would answer if the recording ended at each step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import matplotlib as mpl
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_search.analysis.figures.drawing import add_caption, drawn, new_figure
from fusion_search.analysis.figures.noise import FRAME_MILLISECONDS, check_pair, draw_spectrogram
from fusion_search.analysis.records.parquet.bounds import LARGEST_BYTES
from fusion_search.analysis.records.selection import AnalysisError, Search, snr_label
from fusion_search.analysis.records.storage import UnfitError
from fusion_search.analysis.records.tables import CHECKPOINTS
from fusion_search.analysis.records.torch_file import TorchFileError, load_torch
from fusion_search.datasets.digits.data import DigitData, DigitsSettings, Examples
from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings

TrainPair: TypeAlias = tuple[float, float]  # audio SNR, visual SNR

# Barnum et al.: original, audio above visual, equal, and visual above audio.
SNR_PAIRS: Final = ((math.inf, math.inf), (1.0, 0.25), (0.5, 0.5), (0.25, 1.0))

# What reading a file that is no checkpoint of ours, or no longer, ends with.
_DAMAGE: Final = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True)
class TrainedNetwork:
    """A network read from a trial's checkpoint, in evaluation mode on the CPU."""

    network: EarlyFusionNetwork
    data: DigitsSettings
    noise_seed: int
    train_pair: TrainPair


def choose_trial(search: Search, prefix: str | None) -> pd.Series:
    """The row of the finished trial whose id or name starts with ``prefix``.

    Without a prefix: the best at its train condition among those with both senses at fusion
    depth 0.

    Raises:
        AnalysisError: no trial or several match.
    """
    finished = search.finished
    if prefix is None:
        initial = finished[(finished["fusion_depth"] == 0) & (finished["streams"] == "")]
        if initial.empty:
            raise AnalysisError(
                f"search {search.name} has no finished trial at fusion depth 0; "
                f"name one with --trial: {', '.join(finished['trial_name'])}"
            )
        metric = search.description.metric
        order = metric.sign * initial[f"train_condition_{metric.name}"]
        initial = initial.assign(order=order)
        return initial.sort_values("order", kind="stable").iloc[-1]
    matches = finished[(finished["trial_id"] == prefix) | (finished["trial_name"] == prefix)]
    if matches.empty:
        starts = [finished[column].str.startswith(prefix) for column in ("trial_id", "trial_name")]
        matches = finished[starts[0] | starts[1]]
    if len(matches) != 1:
        found = ", ".join((matches if len(matches) else finished)["trial_name"])
        problem = "several finished trials match" if len(matches) else "no finished trial matches"
        raise AnalysisError(f"{problem} {prefix!r} in search {search.name}; choose from: {found}")
    return matches.iloc[0]


def load_trial(search: Search, trial_id: str) -> TrainedNetwork:
    """Read a trial's checkpoint.

    Raises:
        AnalysisError: it is missing or damaged.
    """
    name = f"{trial_id}.pt"
    where = search.storage.named(CHECKPOINTS, name)
    try:
        checkpoint = load_torch(search.storage.read(CHECKPOINTS, name, most=LARGEST_BYTES))
        with torch.device("meta"):  # memory is taken by the weights that are there, not promised
            network = EarlyFusionNetwork(EarlyFusionSettings.from_plain(checkpoint["network"]))
        network.load_state_dict(checkpoint["state"], assign=True)
        audio, visual = checkpoint["train_pair"]
        return TrainedNetwork(
            network.eval(),
            DigitsSettings(**checkpoint["data"]),
            int(checkpoint["noise_seed"]),
            (float(audio), float(visual)),
        )
    except FileNotFoundError as error:
        raise AnalysisError(f"checkpoint {where} is missing; choose another --trial") from error
    except _DAMAGE as error:
        reason = error if isinstance(error, TorchFileError | UnfitError) else type(error).__name__
        raise AnalysisError(
            f"checkpoint {where} is damaged or of another version ({reason}); choose another "
            "--trial"
        ) from error


def example_numbers(data: DigitData, count: int) -> list[int]:
    """``count`` test pairs spread evenly over the test split.

    Raises:
        AnalysisError: ``count`` is not between 1 and the number of test pairs.
    """
    total = len(data.splits["test"])
    if not 1 <= count <= total:
        raise AnalysisError(f"--examples is {count}; allowed: 1 to {total}")
    return [(2 * number + 1) * total // (2 * count) for number in range(count)]


def make_example(trained: TrainedNetwork, data: DigitData, number: int) -> Examples:
    """Test pair ``number`` as a batch of one."""
    check_pair(data, number)
    return data.examples("test", torch.tensor([number]), noise_seed=trained.noise_seed)


def compute_timeline(
    trained: TrainedNetwork, example: Examples, snr_pairs: Sequence[TrainPair] = SNR_PAIRS
) -> pd.DataFrame:
    """Output-layer values (logits) at every time step, under some pairs of SNRs.

    Args:
        trained: the network.
        example: a batch of one.
        snr_pairs: (audio SNR, visual SNR); the paper's four by default.

    Returns:
        One row per SNR pair and time step: ``audio_snr``, ``visual_snr``, ``time_step`` (from 0),
        ``onset`` (the first time step that hears the recording), ``label`` and the value of each
        class, ``class_0``, ``class_1`` and so on.
    """
    tables = []
    for audio, visual in snr_pairs:
        with torch.inference_mode():
            values = trained.network.outputs_over_time(
                example.visual(visual), example.audio(audio)
            )[0]
        table = pd.DataFrame(
            values.float().numpy(), columns=[f"class_{digit}" for digit in range(values.shape[1])]
        )
        table.insert(0, "audio_snr", audio)
        table.insert(1, "visual_snr", visual)
        table.insert(2, "time_step", range(len(table)))
        table.insert(3, "onset", int(example.onset_frames[0]))
        table.insert(4, "label", int(example.labels[0]))
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


@drawn
def draw_timeline(
    table: pd.DataFrame, example: Examples, *, title: str = "", caption: str = ""
) -> Figure:
    """Draw one column per SNR pair: image, spectrogram and, on the same time axis, class values.

    Args:
        table: as :func:`compute_timeline` returns it.
        example: the batch of one it was made of.
        title: above everything.
        caption: small text below; what the lines mean is added to it.
    """
    distinct = table[["audio_snr", "visual_snr"]].drop_duplicates()
    pairs = [(float(audio), float(visual)) for audio, visual in distinct.to_numpy()]
    figure = new_figure(2.8 * len(pairs) + 1.2, 6.6)
    panels = figure.subplots(
        3, len(pairs), height_ratios=[0.8, 1, 1.4], sharey="row", squeeze=False
    )
    highest = max(float(example.audio(audio).max()) for audio, _ in pairs)
    onset, label = int(table["onset"].iloc[0]), int(table["label"].iloc[0])
    for column, (audio, visual) in enumerate(pairs):
        image_axes, audio_axes, value_axes = panels[:, column]
        image_axes.imshow(example.visual(visual)[0, 0].numpy(), cmap="gray", vmin=0, vmax=1)
        image_axes.set_axis_off()
        image_axes.set_title(f"audio {snr_label(audio)}, visual {snr_label(visual)}", fontsize=9)
        draw_spectrogram(audio_axes, example.audio(audio)[0].numpy(), highest)
        audio_axes.tick_params(labelbottom=False)
        rows = table[(table["audio_snr"] == audio) & (table["visual_snr"] == visual)]
        _draw_values(value_axes, rows, label)
        value_axes.set_xlim(audio_axes.get_xlim())
        for axes, colour in ((audio_axes, "white"), (value_axes, "black")):
            axes.axvline(onset - 0.5, color=colour, linestyle="--", linewidth=1)
    panels[1, 0].set_ylabel("frequency, kHz", fontsize=9)
    panels[2, 0].set_ylabel("class value (logit)", fontsize=9)
    lines = panels[2, -1].get_lines()[:-1]  # but the onset's
    figure.legend(
        handles=lines, loc="outside right lower", title="class", fontsize=8, title_fontsize=8
    )
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(f"time step ({FRAME_MILLISECONDS} ms each)", fontsize=9)
    note = f"Thick: the true class, {label}. Dashed: the recording starts, at time step {onset}."
    add_caption(figure, f"{caption} {note}".strip())
    return figure


def _draw_values(axes: Axes, rows: pd.DataFrame, label: int) -> None:
    names = [column for column in rows.columns if column.startswith("class_")]
    colours = mpl.colormaps["tab10"]
    if len(names) > colours.N:
        colours = mpl.colormaps["turbo"].resampled(len(names))
    for digit, name in enumerate(names):
        axes.plot(
            rows["time_step"],
            rows[name],
            color=colours(digit),
            linewidth=2.6 if digit == label else 1.0,
            alpha=1.0 if digit == label else 0.85,
            zorder=3 if digit == label else 2,
            label=str(digit),
        )
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)

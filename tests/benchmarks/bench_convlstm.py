"""The C-LSTM layer against one convolution per step over [h, image, broadcast audio].

The baseline is the layer as its equations stand: at every step the state, the image and the audio
vector at every position are concatenated and go through one convolution, in float32.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fusion_search.models import gates
from fusion_search.models.convlstm import ConvLSTM, set_engine
from tests.benchmarks.table import Measurement, side_by_side

BATCH = 32
BINS = 201
SIZE = 28
FRAMES = 43

AIMS = {  # (what, units, precision)
    ("forward", 64, "float32"): 2.2,
    ("forward", 64, "bfloat16"): 4.5,
    ("training step", 64, "float32"): 2.8,
    ("training step", 64, "bfloat16"): 5.0,
    ("training step", 16, "float32"): 6.5,
    ("training step", 16, "bfloat16"): 9.0,
}


class ConcatenatedConvLSTM(nn.Module):
    """[B, 1, S, S] and [B, T, V] to h_t for all t, a list of [B, U, S, S]."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.units = units
        self.gates = nn.Conv2d(units + 1 + BINS, 4 * units, 3, padding=1)

    def forward(self, image: Tensor, audio: Tensor) -> list[Tensor]:
        shape = (len(image), self.units, *image.shape[2:])
        hidden, cell = image.new_zeros(shape), image.new_zeros(shape)
        outputs = []
        for step in range(audio.shape[1]):
            heard = audio[:, step, :, None, None].expand(-1, -1, *image.shape[2:])
            z = self.gates(torch.cat([hidden, image, heard], dim=1))
            forget, write, output, candidate = z.chunk(4, dim=1)
            cell = forget.sigmoid() * cell + write.sigmoid() * candidate.tanh()
            hidden = output.sigmoid() * cell.tanh()
            outputs.append(hidden)
        return outputs


def pair(units: int) -> tuple[ConcatenatedConvLSTM, ConvLSTM]:
    """Two layers with the same weights."""
    torch.manual_seed(0)
    plain, ours = ConcatenatedConvLSTM(units), ConvLSTM(1, units, vector_size=BINS)
    with torch.no_grad():
        ours.cell.recurrent.weight.copy_(plain.gates.weight[:, :units])
        ours.from_maps.weight.copy_(plain.gates.weight[:, units : units + 1])
        assert ours.from_maps.bias is not None
        assert plain.gates.bias is not None
        ours.from_maps.bias.copy_(plain.gates.bias)
        # Every position has the same audio: what the kernel sees of it is summed, inside the map.
        assert ours.from_vectors is not None
        centre = plain.gates.weight[:, units + 1 :]
        centre[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        ours.from_vectors.weight.copy_(centre[:, :, 1, 1])
    return plain, ours


def trainer(layer: nn.Module, run: Callable[[], Tensor]) -> Callable[[], None]:
    """A step of Adam towards random values of the last h.

    Towards zero, training would end in denormal numbers, which take ten times longer.
    """
    optimiser = torch.optim.Adam(layer.parameters(), lr=1e-4)
    target = torch.rand_like(run(), dtype=torch.float32) - 0.5

    def step() -> None:
        loss = (run().float() - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def inference(run: Callable[[], Tensor]) -> Callable[[], None]:
    def forward() -> None:
        with torch.inference_mode():
            run()

    return forward


def matrix_peak(size: int = 2048) -> float:
    """Multiply-accumulates per second of a bfloat16 matrix product."""
    a, b = (torch.randn(size, size, dtype=torch.bfloat16) for _ in range(2))
    (seconds,) = side_by_side(lambda: a @ b, rounds=9)
    return float(size**3 / seconds)


def compare(units: int, frames: int, precision: str, rounds: int, peak: float) -> list[Measurement]:
    """Forward and training step of one width and precision."""
    image, audio = torch.rand(BATCH, 1, SIZE, SIZE), torch.randn(BATCH, frames, BINS) / 4
    plain, ours = pair(units)
    set_engine(ours, arithmetic=gates.compiled())

    def run_plain() -> Tensor:
        return plain(image, audio)[-1]

    def run_ours() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            return ours(image, audio)[0][:, -1]

    with torch.no_grad():
        difference = float((run_plain() - run_ours().float()).abs().max())
    assert difference < (1e-5 if precision == "float32" else 0.05), difference
    recurrent = BATCH * frames * SIZE**2 * 9 * units * 4 * units
    measurements = []
    for what, actions, passes in (
        ("forward", (inference(run_plain), inference(run_ours)), 1),
        ("training step", (trainer(plain, run_plain), trainer(ours, run_ours)), 3),
    ):
        baseline, seconds = side_by_side(*actions, rounds=rounds)
        share = passes * recurrent / seconds / peak
        measurements.append(
            Measurement(
                what=f"C-LSTM {what}, {units} units, {precision}",
                against="one convolution per step, float32",
                unit="s",
                baseline=baseline,
                ours=seconds,
                aim=AIMS.get((what, units, precision)) if frames == FRAMES else None,
                note=f"{share:.0%} of the bfloat16 matrix peak, differs by {difference:.0e}",
            )
        )
        print(f"  {measurements[-1].what}: {measurements[-1].ratio:.2f}", flush=True)
    return measurements


def measure(
    units: tuple[int, ...] = (16, 64), frames: int = FRAMES, rounds: int = 3
) -> list[Measurement]:
    peak = matrix_peak()
    return [
        measurement
        for width, precision in itertools.product(units, ("float32", "bfloat16"))
        for measurement in compare(width, frames, precision, rounds, peak)
    ]

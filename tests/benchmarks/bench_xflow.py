"""A training step of XFlow's networks against the same layer by layer, on one thread.

The baseline is the network as the paper goes: maps with their channels first, transposed
convolutions by PyTorch, PReLU by its equation, and all steps of a padded clip computed, of which
the state of the LSTM behind the last valid one is taken.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fusion_search.models.couplings.spreading import as_the_equation
from fusion_search.models.layout import Placement
from fusion_search.models.xflow.averaged import AveragedXFlow
from fusion_search.models.xflow.recurrent import RecurrentXFlow
from tests.benchmarks.table import Measurement, side_by_side

CLASSES = 26
COEFFICIENTS = 26
SIDES = (80, 60)
MAPS = {"level1": (40, 30), "level2": (20, 15)}
POOLS = {"level1": ((4, 4), (4, 4)), "level2": ((8, 8), (8, 4))}
EPSILON = 1e-3
LEVELS = tuple(MAPS)
KINDS = {"no connections": "none", "residuals": "residual", "all connections": "both"}
Clips = dict[str, dict[str, Tensor]]


class Slopes(nn.Module):
    """PReLU with a slope per element."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.slopes = nn.Parameter(torch.zeros(shape))

    def forward(self, values: Tensor) -> Tensor:
        return values.clamp(min=0) + self.slopes * values.clamp(max=0)


class StepNorm(nn.Module):
    """[B, T, ...], normalised step by step over the clips [B, T] that last so long."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(steps)), nn.Parameter(torch.zeros(steps))

    def forward(self, values: Tensor, there: Tensor) -> Tensor:
        flat, valid = values.flatten(2), there[:, :, None]
        counts = (there.sum(0) * flat.shape[2]).clamp(min=1)
        mean = (flat * valid).sum((0, 2)) / counts
        centred = flat - mean[:, None]
        variance = (centred.square() * valid).sum((0, 2)) / counts
        scale = self.weight / (variance + EPSILON).sqrt()
        return (centred * scale[:, None] + self.bias[:, None]).view_as(values)


class Plain(nn.Module):
    """What both networks share: two levels of each stream, and what connects them.

    Attributes:
        streams, exchanges: with the names of ours, so that these give the weights.
    """

    def __init__(self, kind: str, regular: bool, image: int, audio: int, end: int) -> None:
        super().__init__()
        self.kind, self.regular = kind, regular
        channels, units = ((16, 32), 128) if regular else ((8, 16), 32)
        crosses, kernels = ((64, 128), (8, 4)) if regular else ((32, 64), (16, 8))
        images, sounds = nn.ModuleDict(), nn.ModuleDict()
        if regular:
            images["norm"] = nn.BatchNorm2d(image, eps=EPSILON)
        self.exchanges = nn.ModuleDict()
        maps, vector = image, audio
        for number, level in enumerate(LEVELS):
            out = channels[number]
            images[level] = self._convolved(maps, out)
            sounds[level] = self._dense(vector, units, last=number == 1)
            there = {name: nn.ModuleDict() for name in ("crosses", "residuals", "merged")}
            maps, vector = out, units
            if kind != "none":
                there["residuals"]["image>audio"] = self._pooled(image, level, units)
                there["residuals"]["audio>image"] = self._upward(
                    audio, level, out, kernels[number], (0.25, 0.5)[number], final=number == 0
                )
            if kind == "both":
                there["crosses"]["image>audio"] = self._downward(out, level, crosses[number])
                there["crosses"]["audio>image"] = self._upward(
                    units, level, out, kernels[number], 0.5
                )
                maps, vector = 2 * out, units + crosses[number]
            if regular and kind != "none":
                there["merged"]["image"] = nn.Sequential(self._norm(maps, 2), nn.Dropout(0.5))
                if number == 0:
                    there["merged"]["audio"] = nn.Sequential(self._norm(vector), nn.Dropout(0.5))
            self.exchanges[level] = nn.ModuleDict(there)
        height, width = MAPS["level2"]
        flat = maps * height * width
        images["dense"] = nn.Sequential(nn.Flatten(), nn.Linear(flat, end), nn.ReLU())
        self.streams = nn.ModuleDict({"image": images, "audio": sounds})
        self.joined = end + vector

    def ends(self, image: Tensor, audio: Tensor) -> Tensor:
        """[N, C, 80, 60] and [N, V] to both streams' ends, side by side."""
        images: Any = self.streams["image"]
        sounds: Any = self.streams["audio"]
        start = images["norm"](image) if self.regular else image
        maps, vector = start, audio
        for level in LEVELS:
            maps, vector = images[level](maps), sounds[level](vector)
            there: Any = self.exchanges[level]
            beside = {name: [one] for name, one in (("image", maps), ("audio", vector))}
            if self.kind == "both":
                beside["image"].append(there["crosses"]["audio>image"](vector))
                beside["audio"].append(there["crosses"]["image>audio"](maps))
            if self.kind != "none":
                beside["image"][0] = maps + there["residuals"]["audio>image"](audio)
                beside["audio"][0] = vector + there["residuals"]["image>audio"](start)
            maps, vector = (torch.cat(beside[name], 1) for name in ("image", "audio"))
            if "image" in there["merged"]:
                maps = there["merged"]["image"](maps)
            if "audio" in there["merged"]:
                vector = there["merged"]["audio"](vector)
        return torch.cat([images["dense"](maps), vector], 1)

    def _norm(self, size: int, rank: int = 0) -> nn.Module:
        if not self.regular:
            return nn.Identity()
        return (nn.BatchNorm2d if rank else nn.BatchNorm1d)(size, eps=EPSILON)

    def _convolved(self, into: int, out: int) -> nn.Module:
        first = [nn.Conv2d(into, out, 3, padding=1), nn.ReLU()]
        if not self.regular:
            return nn.Sequential(*first, nn.MaxPool2d(2))
        second = [nn.Conv2d(out, out, 3, padding=1), nn.ReLU(), self._norm(out, 2)]
        return nn.Sequential(*first, *second, nn.MaxPool2d(2), nn.Dropout(0.25))

    def _dense(self, into: int, out: int, last: bool) -> nn.Module:
        layer = nn.Sequential(nn.Flatten(), nn.Linear(into, out), nn.ReLU())
        if not self.regular or (last and self.kind == "none"):
            return layer
        return nn.Sequential(layer, self._norm(out), nn.Dropout(0.5))

    def _downward(self, channels: int, level: str, size: int) -> nn.Module:
        sides = MAPS[level]
        return nn.Sequential(
            nn.Conv2d(channels, channels, 1),
            Slopes(channels, *sides),
            self._norm(channels, 2),
            nn.Flatten(),
            nn.Linear(channels * sides[0] * sides[1], size),
            Slopes(size),
        )

    def _pooled(self, channels: int, level: str, size: int) -> nn.Module:
        (high, wide), (down, right) = POOLS[level]
        values = channels * ((SIDES[0] - high) // down + 1) * ((SIDES[1] - wide) // right + 1)
        return nn.Sequential(
            nn.MaxPool2d((high, wide), (down, right)),
            nn.Dropout(0.25 if self.regular else 0.0),
            nn.Flatten(),
            nn.Linear(values, size),
            Slopes(size),
        )

    def _upward(
        self, size: int, level: str, channels: int, kernel: int, drop: float, final: bool = False
    ) -> nn.Module:
        height, width = MAPS[level]
        grid = (1, height - kernel + 1, width - kernel + 1)
        count = grid[1] * grid[2]
        return nn.Sequential(
            nn.Linear(size, count),
            Slopes(count),
            self._norm(count),
            nn.Dropout(drop if self.regular else 0.0),
            nn.Unflatten(1, grid),
            nn.ConvTranspose2d(1, channels, kernel),
            Slopes(channels, height, width),
            self._norm(channels, 2) if final else nn.Identity(),
        )


class PlainAveraged(Plain):
    """CNN x MLP."""

    def __init__(self, kind: str, steps: int) -> None:
        super().__init__(kind, True, steps, COEFFICIENTS * steps, 256)
        self.head = nn.Sequential(
            self._norm(self.joined),
            nn.Dropout(0.5),
            nn.Linear(self.joined, 512),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(512, CLASSES),
        )

    def forward(self, image: Mapping[str, Tensor], audio: Mapping[str, Tensor]) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.ends(image["frames"], audio["coefficients"].flatten(1)))
        return logits


class PlainRecurrent(Plain):
    """{CNN x MLP}-LSTM."""

    def __init__(self, kind: str, steps: int) -> None:
        super().__init__(kind, False, 1, COEFFICIENTS, 64)
        self.norm = StepNorm(steps)
        lstm = nn.LSTM(self.joined, 64, batch_first=True)
        lstm.bias_hh_l0.requires_grad_(False)  # one bias a gate
        self.head = nn.ModuleDict(
            {
                "norm": StepNorm(steps),
                "dropout": nn.Dropout(0.25 if kind == "none" else 0.5),
                "lstm": lstm,
                "classes": nn.Linear(64, CLASSES),
            }
        )

    def forward(self, image: Mapping[str, Tensor], audio: Mapping[str, Tensor]) -> Tensor:
        """Logits."""
        there, frames = image["there"], image["frames"]
        normal = self.norm(frames, there).flatten(0, 1)[:, None]
        joined = self.ends(normal, audio["coefficients"].flatten(0, 1))
        head: Any = self.head
        sequence = head["norm"](joined.view(*there.shape, -1), there)
        states, _ = head["lstm"](head["dropout"](sequence))
        last = states[torch.arange(len(there)), there.sum(1) - 1]
        logits: Tensor = head["classes"](last)
        return logits


NETWORKS: list[tuple[str, type[nn.Module], type[Plain], int, int]] = [
    ("CNN x MLP", AveragedXFlow, PlainAveraged, 11, 128),
    ("{CNN x MLP}-LSTM", RecurrentXFlow, PlainRecurrent, 39, 32),
]


def clips(count: int, steps: int, padded: bool) -> Clips:
    """Random ones of AVletters' shapes; padded ones last from 11 steps to all."""
    generator = torch.Generator().manual_seed(0)
    shortest = 11 if padded else steps
    lengths = torch.randint(shortest, steps + 1, (count,), generator=generator)
    lengths[0] = steps
    there = torch.arange(steps) < lengths[:, None]
    frames = torch.rand(count, steps, *SIDES, generator=generator)
    vectors = torch.randn(count, steps, COEFFICIENTS, generator=generator)
    return {
        "image": {"frames": frames * there[:, :, None, None], "there": there},
        "audio": {"coefficients": vectors * there[:, :, None], "there": there},
    }


def pair(network: type[Any], plain: type[Plain], kind: str, given: Clips) -> list[nn.Module]:
    """The plain network and ours, with the same weights."""
    torch.manual_seed(0)
    placed = {} if kind == "none" else dict.fromkeys(("image>audio", "audio>image"), kind)
    ours = network(given, CLASSES, Placement(dict.fromkeys(LEVELS, placed)))
    theirs = plain(kind, given["image"]["frames"].shape[1])  # type: ignore[call-arg,arg-type]
    weights = {
        name.replace("module.layers.", "").replace("head.layers.", "head."): one
        for name, one in ours.named_parameters()
    }
    assert weights.keys() == dict(theirs.named_parameters()).keys()
    theirs.load_state_dict(weights, strict=False)
    return [theirs, ours]


def difference_of(networks: list[nn.Module], given: Clips, count: int = 4) -> float:
    """Of the losses of two steps on some clips, in float64 and without dropout.

    In float32 the networks' normalisations would make several digits of the rounding.
    """
    some = {
        name: {
            part: (one.double() if one.is_floating_point() else one)[:count]
            for part, one in parts.items()
        }
        for name, parts in given.items()
    }
    losses = []
    for network in networks:
        exact = copy.deepcopy(network).double()
        for one in exact.modules():
            if isinstance(one, nn.Dropout):
                one.p = 0.0
        step = trainer(exact, some)
        losses.append([step(), step()])
    return max(abs(one - other) for one, other in zip(*losses, strict=True))


def trainer(network: nn.Module, given: Clips) -> Callable[[], float]:
    """A step of Adam, which gives the loss before it."""
    optimiser = torch.optim.Adam([one for one in network.parameters() if one.requires_grad])
    targets = torch.arange(len(given["image"]["frames"])) % CLASSES

    def step() -> float:
        loss = functional.cross_entropy(network(**given), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()

    return step


def operations(network: nn.Module, given: Clips) -> int:
    """Floating-point operations of the products in a step, forward and backward."""
    counter = FlopCounterMode(display=False)
    with as_the_equation(), counter:
        network(**given).sum().backward()
    return int(counter.get_total_flops())


def compare(
    name: str, what: str, networks: tuple[type[Any], type[Plain]], given: Clips, rounds: int
) -> Measurement:
    """Training steps of one network and placement."""
    pairs = pair(*networks, KINDS[what], given)
    count = len(given["image"]["frames"])
    work = operations(pairs[1], given)
    difference = difference_of(pairs, given)
    assert difference < 1e-9, difference
    steps = [trainer(one, given) for one in pairs]
    a, b = torch.randn(2, 2048, 2048)
    baseline, seconds, product = side_by_side(*steps, lambda: a @ b, rounds=rounds)
    share = work / seconds / (2 * 2048**3 / product)
    measurement = Measurement(
        what=f"training step of {name}, {what}, batches of {count}",
        against="layer by layer, padding included",
        unit="s",
        baseline=baseline,
        ours=seconds,
        note=f"{work / seconds / 1e9:.0f} GFLOP/s, {share:.0%} of a float32 matrix product's; "
        f"losses differ by {difference:.0e} in float64",
    )
    print(f"  {measurement.what}: {measurement.ratio:.2f}", flush=True)
    return measurement


def measure(rounds: int = 3, clips_of_a_batch: int | None = None) -> list[Measurement]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a trial has
    try:
        return [
            compare(name, what, (network, plain), given, rounds)
            for name, network, plain, steps, count in NETWORKS
            for given in [clips(clips_of_a_batch or count, steps, plain is PlainRecurrent)]
            for what in KINDS
        ]
    finally:
        torch.set_num_threads(threads)

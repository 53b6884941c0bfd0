"""Several networks of one architecture run side by side as one.

A small network leaves most of a GPU idle: its time goes into starting kernels. Run side by side,
N networks start no more kernels than one: their convolutions are one grouped convolution, their
matrix products one batched product.

Shapes: N networks, B examples each, T time steps, C channels, U units, H x W map; maps of all
networks lie as [B, N C, H, W] (network by network), sequences as [N, B, T, C].
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fusion_search.models.early_fusion import EarlyFusionNetwork, EarlyFusionSettings
from fusion_search.models.placement import PLAIN


def can_pack(settings: EarlyFusionSettings) -> bool:
    """Whether networks of this architecture can be packed: plain fusion, and no dropout.

    Dropout draws from a random stream that each network would need for itself.
    """
    return settings.placement == PLAIN and settings.dropout == 0


class PackedNetwork(nn.Module):
    """The outputs of N networks in one pass; a stand-in for them, with no parameters of its own.

    The networks' parameters are stacked anew in every pass, so gradients arrive at each network's
    own parameters, and what an optimiser does to these is seen by the next pass.

    Args:
        networks: of equal settings, on one device.

    Raises:
        ValueError: the settings differ or cannot be packed.
    """

    def __init__(self, networks: Sequence[EarlyFusionNetwork]) -> None:
        super().__init__()
        if not networks or any(one.settings != networks[0].settings for one in networks):
            raise ValueError("only networks with equal settings can be packed")
        if not can_pack(networks[0].settings):
            raise ValueError("only networks without couplings, gate and dropout can be packed")
        self.settings = networks[0].settings
        self.networks = nn.ModuleList(networks)
        self._padding = self.settings.kernel // 2 if self.settings.padding else 0

    def forward(self, images: Tensor, spectrograms: Tensor) -> Tensor:
        """Logits [N, B, classes] after the last time step.

        Args:
            images: [N, B, 1, S, S], each network's own.
            spectrograms: [N, B, T, F].
        """
        settings, networks = self.settings, len(self.networks)
        if settings.modality == "audio":
            images = torch.zeros_like(images)
        if settings.modality == "visual":
            spectrograms = torch.zeros_like(spectrograms)
        weights = self._stacked()
        maps, sequence = images.transpose(0, 1).flatten(1, 2), spectrograms
        for level in range(settings.fusion_depth):
            convolution = _below(weights, f"image_levels.{level}.layers.0.")
            maps = functional.relu(_convolve(maps, convolution, self._padding))
            maps = self._pooled(level, maps)
            sequence = _lstm(sequence, _below(weights, f"audio_levels.{level}.lstm."))
        if settings.fusion_depth == settings.levels:
            features = torch.cat([_per_network(maps, networks), sequence[:, :, -1]], dim=2)
        else:
            features = _per_network(self._joined(maps, sequence, weights), networks)
        hidden = functional.relu(_dense(features, _below(weights, "head.0.")))
        return _dense(hidden, _below(weights, "head.2."))

    def _joined(self, maps: Tensor, sequence: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
        """The C-LSTM levels: pooled maps [B, N U, H', W'] after the last time step."""
        settings = self.settings
        vectors: Tensor | None = sequence
        for level in range(settings.fusion_depth, settings.levels):
            layer = _below(weights, f"joint_levels.{level - settings.fusion_depth}.")
            hidden = _conv_lstm(maps, vectors, layer, self._padding)
            if level == settings.levels - 1:
                hidden = hidden[-1:]
            pooled = self._pooled(level, torch.cat(hidden))
            maps, vectors = pooled.unflatten(0, (len(hidden), -1)), None
        return maps[-1]

    def _pooled(self, level: int, maps: Tensor) -> Tensor:
        side = self.settings.pool_at(level + 1, maps.shape[-1])
        return functional.max_pool2d(maps, side) if side > 1 else maps

    def _stacked(self) -> Mapping[str, Tensor]:
        """Name of a parameter -> all networks' [N, ...]."""
        each = [dict(one.named_parameters()) for one in self.networks]
        stacked = {name: torch.stack([one[name] for one in each]) for name in each[0]}
        device = next(iter(stacked.values())).device.type
        if not torch.is_autocast_enabled(device):
            return stacked
        # Once, as autocast does with a network's own weights, and not at every time step.
        low = torch.get_autocast_dtype(device)
        return {name: value.to(low) for name, value in stacked.items()}


def _below(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The parameters of one layer, by their names in it."""
    return {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }


def _convolve(maps: Tensor, layer: Mapping[str, Tensor], padding: int) -> Tensor:
    """Each network's convolution of its own maps: [B, N C, H, W] to [B, N C', H', W']."""
    weight = layer["weight"]
    bias = layer["bias"].flatten() if "bias" in layer else None
    return functional.conv2d(
        maps, weight.flatten(0, 1), bias, padding=padding, groups=weight.shape[0]
    )


def _dense(features: Tensor, layer: Mapping[str, Tensor]) -> Tensor:
    """Each network's dense layer: [N, B, C] to [N, B, C']."""
    return torch.baddbmm(layer["bias"][:, None], features, layer["weight"].mT)


def _per_network(maps: Tensor, networks: int) -> Tensor:
    """Maps [B, N C, H, W] flattened for each network, [N, B, C H W]."""
    flat: Tensor = maps.unflatten(1, (networks, -1)).transpose(0, 1).flatten(2)
    return flat


def _over_time(sequence: Tensor, weight: Tensor) -> Tensor:
    """A projection of every time step at once: [N, B, T, C] by [N, C', C] to [N, B, T, C']."""
    projected: Tensor = torch.bmm(sequence.flatten(1, 2), weight.mT)
    return projected.view(*sequence.shape[:3], -1)


def _lstm(sequence: Tensor, layer: Mapping[str, Tensor]) -> Tensor:
    """Each network's LSTM (gates in torch's order i, f, g, o): [N, B, T, C] to [N, B, T, U]."""
    recurrent = layer["weight_hh_l0"].mT
    bias = (layer["bias_ih_l0"] + layer["bias_hh_l0"])[:, None, None]
    inputs = _over_time(sequence, layer["weight_ih_l0"]) + bias
    hidden = cell = inputs.new_zeros(*inputs.shape[:2], recurrent.shape[1])
    outputs = []
    for step in inputs.unbind(2):
        gates = torch.baddbmm(step, hidden, recurrent)
        write, forget, new, output = gates.chunk(4, dim=2)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(write) * torch.tanh(new)
        hidden = torch.sigmoid(output) * torch.tanh(cell)
        outputs.append(hidden)
    return torch.stack(outputs, dim=2)


def _conv_lstm(
    maps: Tensor, vectors: Tensor | None, layer: Mapping[str, Tensor], padding: int
) -> list[Tensor]:
    """Each network's C-LSTM without pooling: [B, N U, H', W'] for every time step.

    Args:
        maps: [B, N C, H, W], the same at every time step, or [T, B, N C, H, W].
        vectors: [N, B, T, V], with maps that stay the same.
        layer: parameters as ``ConvLSTM`` names them.
        padding: of the input convolution; the recurrent one keeps the state's size.
    """
    recurrent = _below(layer, "cell.recurrent.")
    networks, units, kernel = (recurrent["weight"].shape[axis] for axis in (0, 2, 3))
    from_maps = _below(layer, "from_maps.")
    if vectors is None:
        inputs = _convolve(maps.flatten(0, 1), from_maps, padding).unflatten(0, maps.shape[:2])
        steps: Iterable[Tensor] = inputs.unbind(0)
    else:
        projected = _over_time(vectors, layer["from_vectors.weight"])
        projected = projected.permute(2, 1, 0, 3).flatten(2)[..., None, None]
        convolved = _convolve(maps, from_maps, padding)
        # Summed at each step: for all at once this would be the pack's largest tensor.
        steps = (convolved + one for one in projected.unbind(0))
    hidden: Tensor | None = None
    cell: Tensor | None = None
    outputs = []
    for step in steps:
        gates = step if hidden is None else step + _convolve(hidden, recurrent, kernel // 2)
        gates = gates.unflatten(1, (networks, 4, units))
        # Split, since the gradient of slices would be two tensors of zeros to be filled and added.
        logistic, new = gates.split([3, 1], dim=2)
        forget, write, output = torch.sigmoid(logistic).unbind(2)
        written = write * torch.tanh(new.squeeze(2))
        cell = written if cell is None else forget * cell + written
        hidden = (output * torch.tanh(cell)).flatten(1, 2)
        outputs.append(hidden)
    return outputs

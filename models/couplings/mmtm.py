"""The multimodal transfer module (MMTM) and the variants it is compared with.

Vaezi Joze, Shaban, Iuzzolino, Koishida: "MMTM: Multimodal Transfer Module for CNN Fusion".

Shapes: B examples; stream m has C_m channels and any number of spatial dimensions, none included:
[B, C_m, *spatial_m]. Z is the size of a joint representation. There may be any number of streams.

    S_m = average of F_m over all its positions                     squeeze       [B, C_m]
    Z   = relu(W [S_1, S_2, ...] + b)                               joint         [B, Z]
    E_m = V_m Z + c_m                                               excitation    [B, C_m]
    F_m * 2 logistic(E_m)                                           output        as F_m

E = 0 leaves a stream as it is. The ReLU is the authors' released code, not their equation: a
setting, on by default (a choice).

Every class takes the same settings and has the same inputs and outputs:

Args:
    channels: C_m of every stream.
    ratio: channels read for one element of the joint representation.
    relu: put a ReLU on the joint representation.
    gated: which streams are changed; all when None. A stream that is not gated is read, returned
        as it came, and has no excitation weights.
    identity: start all excitation weights and biases at zero, so that a fresh module leaves every
        stream unchanged.

Inputs: one tensor per stream, [B, C_m, *spatial_m]; ``masks`` say where there is something and
    no padding, which averages leave out.

Output: as many tensors of the same shapes.

Raises:
    ValueError: a setting is outside its range, or the streams do not fit ``channels``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

Combine = Literal["gate", "sum"]


def joint_size(channels: Sequence[int], ratio: int) -> int:
    """Size Z of the joint representation: one element for every ``ratio`` channels, at least 1."""
    return max(1, sum(channels) // ratio)


def squeeze(stream: Tensor, mask: Tensor | None = None) -> Tensor:
    """Average over all positions, or those that ``mask`` [B, *spatial] allows: [B, C]."""
    if stream.dim() == 2:
        return stream
    if mask is None:
        return stream.flatten(2).mean(2)
    there = mask.flatten(1)[:, None].to(stream.dtype)
    return (stream.flatten(2) * there).sum(2) / there.sum(2).clamp(min=1)


def over_positions(values: Tensor, stream: Tensor) -> Tensor:
    """Reshape [B, C] to [B, C, 1, ...], so that it holds at all positions of ``stream``."""
    return values.reshape(*values.shape, *[1] * (stream.dim() - 2))


def logistic_gate(excitation: Tensor) -> Tensor:
    """2 logistic(E): between 0 and 2, and 1 where E is 0."""
    return 2 * torch.sigmoid(excitation)


MaskList = Sequence[Tensor | None] | None
"""One per stream, [B, *spatial_m] bool, True where there is something; None for everywhere."""


def _all(masks: MaskList, streams: Sequence[Tensor]) -> Sequence[Tensor | None]:
    return masks or [None] * len(streams)


class _Coupling(nn.Module):
    """What the modules share: checked settings and one excitation per gated stream.

    Args:
        joint_sizes: size of the joint representation that excites each stream.
    """

    def __init__(
        self,
        channels: Sequence[int],
        joint_sizes: Iterable[int],
        *,
        relu: bool,
        gated: Sequence[bool] | None,
        identity: bool,
    ) -> None:
        super().__init__()
        if gated is None:
            gated = [True] * len(channels)
        if len(gated) != len(channels):
            raise ValueError(
                f"gated has {len(gated)} values; allowed: one per stream ({len(channels)})"
            )
        if not any(gated):
            raise ValueError("gated is false for every stream; allowed: at least one gated stream")
        self.channels = tuple(channels)
        self.gated = tuple(stream for stream, is_gated in enumerate(gated) if is_gated)
        self.activation = nn.ReLU() if relu else nn.Identity()
        sizes = list(joint_sizes)
        self.excitations = nn.ModuleList(
            nn.Linear(sizes[stream], self.channels[stream]) for stream in self.gated
        )
        if identity:
            for parameter in self.excitations.parameters():
                nn.init.zeros_(parameter)

    def _check(self, streams: Sequence[Tensor]) -> None:
        if len(streams) != len(self.channels):
            raise ValueError(f"number of streams is {len(streams)}; expected {len(self.channels)}")
        for index, (stream, channels) in enumerate(zip(streams, self.channels, strict=True)):
            if stream.dim() < 2 or stream.shape[1] != channels:
                raise ValueError(
                    f"stream {index} has shape {list(stream.shape)}; "
                    f"expected {channels} channels: [B, {channels}, *spatial]"
                )


def _check_sizes(channels: Sequence[int], ratio: int) -> None:
    if not channels:
        raise ValueError("channels is empty; allowed: at least one stream")
    if min(channels) < 1:
        raise ValueError(f"channels is {list(channels)}; allowed: 1 or more for every stream")
    if ratio < 1:
        raise ValueError(f"ratio is {ratio}; allowed: 1 or more")


class MMTM(_Coupling):
    """Gates every stream by a joint representation of all of them. See the module."""

    def __init__(
        self,
        channels: Sequence[int],
        *,
        ratio: int = 4,
        relu: bool = True,
        gated: Sequence[bool] | None = None,
        identity: bool = False,
    ) -> None:
        _check_sizes(channels, ratio)
        size = joint_size(channels, ratio)
        super().__init__(
            channels, [size] * len(channels), relu=relu, gated=gated, identity=identity
        )
        self.joint = nn.Linear(sum(channels), size)

    def forward(self, *streams: Tensor, masks: MaskList = None) -> list[Tensor]:
        """Couple the streams."""
        self._check(streams)
        squeezed = [squeeze(*one) for one in zip(streams, _all(masks, streams), strict=True)]
        joint = self.activation(self.joint(torch.cat(squeezed, dim=1)))
        outputs = list(streams)
        for m, excitation in zip(self.gated, self.excitations, strict=True):
            gate = logistic_gate(excitation(joint))
            outputs[m] = streams[m] * over_positions(gate, streams[m])
        return outputs


class SqueezeExcitation(_Coupling):
    """Gates every stream by itself alone: an MMTM without the exchange. See the module.

    The joint representation of stream m is made from S_m, of size ``joint_size([C_m], ratio)``.
    The gate is 2 logistic(E) here too, so that the exchange is the only difference (a choice).
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        ratio: int = 4,
        relu: bool = True,
        gated: Sequence[bool] | None = None,
        identity: bool = False,
    ) -> None:
        _check_sizes(channels, ratio)
        sizes = [joint_size([count], ratio) for count in channels]
        super().__init__(channels, sizes, relu=relu, gated=gated, identity=identity)
        self.joints = nn.ModuleList(nn.Linear(channels[m], sizes[m]) for m in self.gated)

    def forward(self, *streams: Tensor, masks: MaskList = None) -> list[Tensor]:
        """Gate each stream by itself."""
        self._check(streams)
        outputs, there = list(streams), _all(masks, streams)
        for m, own, excitation in zip(self.gated, self.joints, self.excitations, strict=True):
            gate = logistic_gate(excitation(self.activation(own(squeeze(streams[m], there[m])))))
            outputs[m] = streams[m] * over_positions(gate, streams[m])
        return outputs


class ConvolutionalMMTM(_Coupling):
    """An MMTM without the squeeze: a gate, or a summand, for every position. See the module.

    For a gated stream m and each position p of it, with 1 x 1 convolutions,

        Z_m(p) = relu(sum over streams n of W_mn F_n(p) + b_m)
        E_m(p) = V_m Z_m(p) + c_m
        output = F_m(p) * 2 logistic(E_m(p))      combine = "gate"
                 F_m(p) + E_m(p)                  combine = "sum"

    where F_n(p) is stream n at the same position when its map has the same spatial shape as m's,
    and its average S_n otherwise (a choice; the paper's streams have equal maps).

    With ``shared``, for maps that all have one shape, W_mn, b_m and so Z(p) are the same for every
    m: as in the paper, whose variant has as many parameters as MMTM.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        ratio: int = 4,
        relu: bool = True,
        gated: Sequence[bool] | None = None,
        identity: bool = False,
        combine: Combine = "gate",
        shared: bool = False,
    ) -> None:
        _check_sizes(channels, ratio)
        if combine not in get_args(Combine):
            raise ValueError(f"combine is {combine!r}; allowed: {', '.join(get_args(Combine))}")
        size = joint_size(channels, ratio)
        super().__init__(
            channels, [size] * len(channels), relu=relu, gated=gated, identity=identity
        )
        self.combine, self.shared = combine, shared
        # One layer per pair m, n, not one per m: the products with an average are then made once,
        # not at every position.
        self.joints = nn.ModuleList(
            nn.ModuleList(nn.Linear(count, size, bias=n == m) for n, count in enumerate(channels))
            for m in (self.gated[:1] if shared else self.gated)
        )

    def forward(self, *streams: Tensor, masks: MaskList = None) -> list[Tensor]:
        """Couple the streams position by position."""
        self._check(streams)
        sizes = {tuple(one.shape[2:]) for one in streams}
        if self.shared and len(sizes) > 1:
            raise ValueError(
                f"maps have sizes {', '.join(map(str, sorted(sizes)))}; a shared joint needs one"
            )
        outputs, there = list(streams), _all(masks, streams)
        joint: Tensor | None = None
        for number, (m, excitation) in enumerate(zip(self.gated, self.excitations, strict=True)):
            if joint is None or not self.shared:
                joint = self._joint(m, self.joints[number], streams, there)
            excited = excitation(joint).movedim(-1, 1)
            if self.combine == "gate":
                outputs[m] = streams[m] * logistic_gate(excited)
            else:
                outputs[m] = streams[m] + excited
        return outputs

    def _joint(
        self, m: int, joints: nn.Module, streams: Sequence[Tensor], there: Sequence[Tensor | None]
    ) -> Tensor:
        """Z_m at every position, channels last."""
        assert isinstance(joints, nn.ModuleList)
        seen = [
            _seen_from(streams[m], other, mask) for other, mask in zip(streams, there, strict=True)
        ]
        joint = sum(layer(features) for layer, features in zip(joints, seen, strict=True))
        activated: Tensor = self.activation(joint)
        return activated


def _seen_from(stream: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
    """F_n(p), channels last as linear maps want them.

    [B, *spatial, C_n] where ``other`` has the positions of ``stream``, else [B, 1, ..., C_n].
    """
    if other.shape[2:] != stream.shape[2:]:
        other = over_positions(squeeze(other, mask), stream)
    return other.movedim(1, -1)

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from fusion_search.models.encoders.convolutional import ConvolutionalNetwork
from fusion_search.models.layout import Feature, Placement
from fusion_search.models.rgbd.head import DenseLayers, FusionHead
from fusion_search.models.rgbd.network import ENDS, Encoder, build_rgbd

PLAIN = DenseLayers(sizes=(), dropout=0.0, batch_norm=False)
TWO_LAYERS = DenseLayers(sizes=(6, 5), dropout=0.5, batch_norm=True)
FEATURES = {"rgb": Feature(3), "depth": Feature(4)}


def ends() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(5, one.channels, generator=generator) for name, one in FEATURES.items()
    }


def dense(layer: nn.Module, values: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    return values @ layer.weight.T + layer.bias


@pytest.mark.parametrize("source", ["depth", "rgb", None])
def test_the_head_is_the_papers_equation_behind_layers_of_one_size(source: str | None) -> None:
    torch.manual_seed(0)
    head, given = FusionHead(FEATURES, 2, 7, PLAIN, source), ends()
    rgb, depth = (dense(head.fitted[name], given[name]) for name in ("rgb", "depth"))
    if source is None:
        fused = torch.cat([rgb, depth], 1)
    else:
        assert head.gate is not None
        first, second = (rgb, depth) if source == "depth" else (depth, rgb)
        gate = 1 / (1 + torch.exp(-dense(head.gate.gate, second)))
        fused = torch.cat([first * (1 - gate), second * gate], 1)
    torch.testing.assert_close(head(given), dense(head.layers[0], fused))


def test_a_gate_needs_another_stream() -> None:
    with pytest.raises(ValueError, match="there are: depth; allowed: concatenate"):
        FusionHead({"depth": Feature(4)}, 2, 7, PLAIN, "depth")


def test_dense_layers_are_as_many_as_asked_for() -> None:
    layers = FusionHead(FEATURES, 2, 7, TWO_LAYERS).layers
    assert [type(one).__name__ for one in layers] == [
        *["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2,
        "Linear",
    ]
    assert [one.weight.shape for one in layers if isinstance(one, nn.Linear)] == [
        (6, 14),
        (5, 6),
        (2, 5),
    ]


def test_what_was_not_measured_says_nothing_but_where_it_is() -> None:
    torch.manual_seed(0)
    network = ConvolutionalNetwork(1, masked=True, widths=(4, 6)).eval()
    values = torch.randn(2, 1, 12, 12)
    measured = torch.rand(2, 1, 12, 12) > 0.3
    other = torch.where(measured, values, 9.0)
    torch.testing.assert_close(network(values, measured), network(other, measured))
    assert not torch.allclose(
        network(values * measured, measured), network(values * measured, measured | True)
    )
    assert network(values, measured).shape == (2, 6)


def network_of(placement: Placement, rgb: Tensor | None = None, name: str = "small") -> nn.Module:
    torch.manual_seed(3)
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 32, 32, generator=generator)
    depth = torch.randn(2, 1, 32, 32, generator=generator)
    example = {
        "rgb": images if rgb is None else rgb,
        "depth": {"values": depth, "measured": torch.ones(2, 1, 32, 32, dtype=torch.bool)},
    }
    encoders = {"rgb": Encoder(name=name), "depth": Encoder()}
    made = build_rgbd(
        encoders, example, placement, classes=3, widths=(4, 4, 8), size=6, dense=TWO_LAYERS
    )
    assert made.eval()(**example).shape == (2, 3)
    return made


def test_sites_lie_behind_the_last_levels_that_both_streams_have() -> None:
    pytest.importorskip("torchvision")
    placement = Placement({"level3": {"coupling": "mmtm"}})
    layout = network_of(placement, name="mobilenet_v3_small").layout
    stages = ("features.3", "features.8", "features.12")  # of four
    assert [(site.name, dict(site.after)) for site, _ in layout.sites] == [
        (f"level{number}", {"rgb": f"network.{stage}", "depth": f"level{number}"})
        for number, stage in enumerate(stages, 1)
    ]
    assert layout.ends == tuple(ENDS)
    assert network_of(Placement(), rgb=torch.rand(2, 9)).layout.sites == ()


def test_an_end_changes_no_weight_of_a_stream_or_of_what_all_ends_have() -> None:
    plain, gated = (
        network_of(Placement(end=end)).state_dict() for end in ("concatenate", "gate_by_rgb")
    )
    alone = network_of(Placement(streams=("depth",))).state_dict()
    for name, one in plain.items():
        if name.startswith("streams."):
            assert torch.equal(one, gated[name]), name
            if name.startswith("streams.depth."):
                assert torch.equal(one, alone[name]), name
    assert not any(name.startswith("streams.rgb") for name in alone)
